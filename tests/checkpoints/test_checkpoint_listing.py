"""What a checkpoint holds, said without reading it whole."""

import json
from pathlib import Path

import pytest
import torch
from checkpoint_files import as_safetensors, as_zip, weights

from rethined_export.checkpoints import CheckpointError, describe, guess, read, stored

NET = weights()
RECOGNISE = {
    "net": lambda names: len(NET.keys() & set(names)) / len(NET),
    "other": lambda names: 0.5 if "first.weight" in names else 0.0,
    "never": lambda names: 0.0,
}


def behind(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in NET.items()}


def test_listing(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    content = {"params": behind("module."), "params_ema": behind("module."), "optimizer": NET}
    as_zip(content, path)
    listing = describe(path, recognise=RECOGNISE)
    checkpoint = read(path)
    assert (listing.at, listing.sha256) == (checkpoint.at, checkpoint.sha256)
    assert (listing.container, listing.size) == ("torch zip", path.stat().st_size)
    assert (listing.notes, listing.ignored) == (checkpoint.notes, checkpoint.ignored)
    assert [(place.at, place.tensors) for place in listing.places] == [
        ("params", 10), ("params_ema", 10), ("optimizer", 10),
    ]  # fmt: skip
    assert listing.guess is not None
    assert (listing.guess.model, listing.guess.score) == ("net", 1.0)
    assert listing.prefix == listing.guess.prefix == "module."
    assert {entry.name: (entry.shape, entry.dtype, entry.size) for entry in listing.entries} == {
        name: (tuple(t.shape), str(t.dtype).removeprefix("torch."), t.numel() * t.itemsize)
        for name, t in checkpoint.tensors.items()
    }


def test_lines_and_json(tmp_path: Path) -> None:
    as_zip({"params": behind("module."), "params_ema": behind("module.")}, tmp_path / "model.pth")
    listing = describe(tmp_path / "model.pth", recognise=RECOGNISE)
    lines = listing.lines()
    assert all("\n" not in line for line in lines)
    assert lines[0].startswith(f"{tmp_path / 'model.pth'}: torch zip, ")
    for line in (
        "weights at params_ema: 10 tensors, 572 bytes",
        "also at params: 10 tensors, 572 bytes",
        "prefix module.",
        "looks like net (100% of its names)",
    ):
        assert line in lines
    kernel = ["module.first.weight", "4×3×3×3", "float32", "432", "bytes"]
    assert kernel in [line.split() for line in lines]
    assert json.loads(json.dumps(listing.to_dict()))["entries"][0]["shape"] == [3]


def test_key_and_refusal(tmp_path: Path) -> None:
    as_zip({"params": NET, "params_ema": NET}, tmp_path / "model.pth")
    assert describe(tmp_path / "model.pth", "params").at == "params"
    with pytest.raises(CheckpointError, match="no tensors at 'x'"):
        describe(tmp_path / "model.pth", "x")


def test_tensors_are_not_read(tmp_path: Path, monkeypatch) -> None:
    as_safetensors(NET, tmp_path / "model.safetensors")
    monkeypatch.setattr(stored, "available_bytes", lambda: 0)
    assert len(describe(tmp_path / "model.safetensors").entries) == len(NET)


@pytest.mark.parametrize("prefix", ["", "module.", "model.generator.", "weird.thing."])
def test_guess_behind_any_prefix(prefix: str) -> None:
    names = [*behind(prefix), *(f"discriminator.{n}.w" for n in range(20))]
    found = guess(names, RECOGNISE)
    assert found is not None
    assert (found.model, found.score, found.prefix) == ("net", 1.0, prefix)


def test_nothing_recognised(tmp_path: Path) -> None:
    assert guess(["a.b"], RECOGNISE) is None
    as_zip({f"module.net.{n}.w": torch.ones(1) for n in range(3)}, tmp_path / "model.pth")
    listing = describe(tmp_path / "model.pth", recognise=RECOGNISE)
    assert listing.guess is None
    assert listing.prefix == "module.net."
