"""Which of a file's mappings is taken, what is said of it, and how another is asked for."""

from pathlib import Path

import pytest
import torch
from checkpoint_files import as_legacy, as_zip, weights
from torch import Tensor

from rethined_export.checkpoints import Checkpoint, CheckpointError, read

A, B = weights(1), weights(2)
OPTIMISER = {"state": {n: {"exp_avg": torch.ones(2), "step": torch.ones(())} for n in range(4)}}


def taken(tmp_path: Path, content: object, key: str | None = None, known=None) -> Checkpoint:
    as_zip(content, tmp_path / "model.pth")
    return read(tmp_path / "model.pth", key, known)


def is_a(tensors: dict[str, Tensor]) -> bool:
    return tensors.keys() == A.keys() and all(torch.equal(tensors[k], A[k]) for k in A)


@pytest.mark.parametrize(
    "wrapper",
    [
        "state_dict", "model_state_dict", "gen_state_dict", "generator_state_dict", "model",
        "generator", "params", "params_ema", "ema", "net", "netG", "G_ema", "anything",
    ],
)  # fmt: skip
@pytest.mark.parametrize("save", [as_zip, as_legacy])
def test_any_wrapper(tmp_path: Path, wrapper: str, save) -> None:
    content = {"epoch": 3, wrapper: A, "optimizer": OPTIMISER, "loss": torch.ones(())}
    save(content, tmp_path / "model.pth")
    checkpoint = read(tmp_path / "model.pth")
    assert is_a(checkpoint.tensors)
    assert (checkpoint.at, checkpoint.others, checkpoint.notes) == (wrapper, (), ())
    assert checkpoint.ignored["optimizer"] == 8


@pytest.mark.parametrize(
    "content,at,others",
    [
        ({"params": B, "params_ema": A}, "params_ema", ("params",)),
        ({"ema": {"first.weight": torch.ones(1)}, "model": A}, "model", ()),
        ({"G": B, "D": B, "G_ema": A}, "G_ema", ("G",)),
        ({"generator": A, "discriminator": B | {"extra": torch.ones(1)}}, "generator", ()),
        ({"netG": A, "netD": B}, "netG", ()),
        ({"disc": B | {"extra": torch.ones(1)}, "mine": A}, "mine", ()),
        ({"gen_state_dict": A, "str_state_dict": B}, "gen_state_dict", ("str_state_dict",)),
        ({"checkpoint": {"model": {"weights": A}}}, "checkpoint.model.weights", ()),
        ([{"epoch": 1}, A], "1", ()),
        (A | {"optimizer": OPTIMISER}, "", ()),
        (A | {"state_dict": {"mean": torch.ones(3)}}, "", ()),
        ({"state_dict": A, "mean": torch.ones(3)}, "state_dict", ()),
        ({"one": A, "two": B}, "one", ("two",)),
        ({"optimizer": {"state_dict": B}, "weights": A}, "weights", ()),
    ],
)
def test_the_likeliest_is_taken(tmp_path: Path, content, at: str, others) -> None:
    checkpoint = taken(tmp_path, content)
    assert (checkpoint.at, checkpoint.others) == (at, others)
    assert is_a(checkpoint.tensors)
    assert bool(checkpoint.notes) == bool(others)
    for other in others:
        assert other in checkpoint.notes[0]
        assert "key" in checkpoint.notes[0]


def test_names_that_are_known_decide(tmp_path: Path) -> None:
    other = {f"x{n}": torch.ones(1) for n in range(50)}
    content = {"state_dict": other, "mine": {f"module.{k}": t for k, t in A.items()}}
    assert taken(tmp_path, content).at == "state_dict"
    assert taken(tmp_path, content, known=A.__contains__).at == "mine"


@pytest.mark.parametrize(
    "content,key",
    [
        ({"params": A, "params_ema": B}, "params"),
        ({"a": {"b": A, "c": B}, "d": B}, "a.b"),
        ({"G": B, "discriminator": A}, "discriminator"),
        ({"state_dict": {f"generator.{k}": t for k, t in A.items()} | B}, "state_dict.generator"),
        ({f"generator.{k}": t for k, t in A.items()} | B, "generator."),
        ({"a.b": A, "c": B}, "a.b"),
        (A | {"state_dict": B}, ""),
    ],
)
def test_key_overrides(tmp_path: Path, content, key: str) -> None:
    checkpoint = taken(tmp_path, content, key)
    assert is_a(checkpoint.tensors)
    assert checkpoint.others == checkpoint.notes == ()


@pytest.mark.parametrize("key", ["nothing", "params.first.weigh", "param", "params.x.y.z"])
def test_key_that_is_not_there(tmp_path: Path, key: str) -> None:
    with pytest.raises(CheckpointError, match=rf"at '{key}'; it has tensors at params \(10\)"):
        taken(tmp_path, {"params": A}, key)


def test_optimiser_among_flat_names(tmp_path: Path) -> None:
    checkpoint = taken(tmp_path, A | {"optimizer.0.exp_avg": torch.ones(1)})
    assert is_a(checkpoint.tensors)
    assert checkpoint.ignored == {"optimizer": 1}


def test_training_state_alone_can_be_read(tmp_path: Path) -> None:
    assert taken(tmp_path, {"optimizer": A}).at == "optimizer"
