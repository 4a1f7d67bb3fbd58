"""Every container gives the same tensors back, whatever its name, and nothing is imported."""

import hashlib
import importlib
import json
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_files import (
    CONTAINERS,
    Net,
    as_legacy,
    as_module,
    as_safetensors,
    as_safetensors_shards,
    as_script,
    as_zip,
    tiny,
    weights,
)
from torch import Tensor, nn

from rethined_export.checkpoints import Checkpoint, CheckpointError, read
from rethined_export.models.rethined.training.state import save_state

TYPES = [
    "float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "bool",
    "int8", "uint8", "int16", "uint16", "int32", "int64",
]  # fmt: skip


def assert_same(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        assert actual[name].dtype == tensor.dtype, name
        assert torch.equal(actual[name], tensor), name


@pytest.mark.parametrize("container", CONTAINERS)
def test_each_container(tmp_path: Path, container: str) -> None:
    path = tmp_path / "anything.index.json"
    CONTAINERS[container](weights(), path)
    checkpoint = read(path)
    assert_same(checkpoint.tensors, weights())
    assert (checkpoint.container, checkpoint.at, checkpoint.notes) == (container, "", ())


@pytest.mark.parametrize("container", list(CONTAINERS)[:5])
@pytest.mark.parametrize("name", ["weights.SAFETENSORS", "weights.sft", "weights.ckpt", "weights"])
def test_names_do_not_matter(tmp_path: Path, container: str, name: str) -> None:
    CONTAINERS[container](weights(), tmp_path / name)
    assert read(tmp_path / name).container == container


@pytest.mark.parametrize("container", ["safetensors", "torch zip", "safetensors in 2 shards"])
def test_links_of_a_hub(tmp_path: Path, container: str) -> None:
    """A hub's cache keeps files under their hashes, and links with names in another folder."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots"
    blobs.mkdir(), snapshot.mkdir()
    CONTAINERS[container](weights(), snapshot / "model.safetensors")
    for file in list(snapshot.iterdir()):
        blob = blobs / hashlib.sha256(file.name.encode()).hexdigest()
        file.rename(blob)
        file.symlink_to(blob)
    checkpoint = read(snapshot / "model.safetensors")
    assert_same(checkpoint.tensors, weights())
    assert checkpoint.path == snapshot / "model.safetensors"


def test_hash_is_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    as_zip(weights(), path)
    assert read(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_hash_of_shards_is_of_index_and_shards_in_order(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors.index.json"
    as_safetensors_shards(weights(), path)
    shards = sorted(tmp_path.glob("*.safetensors"))
    content = b"".join(file.read_bytes() for file in [path, *shards])
    assert len(shards) == 2
    assert read(path).sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("save", [as_zip, as_legacy])
@pytest.mark.parametrize("parallel", [False, True])
def test_whole_modules_whose_class_is_gone(tmp_path: Path, save, parallel: bool) -> None:
    """The tensors are found by walking what was pickled; the class is nowhere to import from."""
    module = types.ModuleType("a_training_script")
    module.Generator = type("Generator", (Net,), {"__module__": module.__name__})
    sys.modules[module.__name__] = module
    try:
        torch.manual_seed(0)
        net = module.Generator().eval()
        save(nn.DataParallel(net) if parallel else net, tmp_path / "net.pt")
    finally:
        del sys.modules[module.__name__]
    checkpoint = read(tmp_path / "net.pt")
    prefix = "module." if parallel else ""
    assert_same(checkpoint.tensors, {prefix + name: t for name, t in net.state_dict().items()})
    assert module.__name__ not in sys.modules


def test_whole_module_in_a_mapping(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "ema": None, "model": tiny()}, tmp_path / "best.pt")
    checkpoint = read(tmp_path / "best.pt")
    assert checkpoint.at == "model"
    assert_same(checkpoint.tensors, weights())


def test_lightning_checkpoint_with_foreign_objects(tmp_path: Path) -> None:
    """Callbacks, hyper-parameters and enumerations of packages that are not installed."""
    module = types.ModuleType("lightning_like")
    exec(
        "import enum, collections\n"
        "class Config(dict): pass\n"
        "class Mode(enum.Enum):\n    MIN = 'min'\n"
        "class Callback:\n"
        "    def __init__(self): self.best, self.mode = Config(path='x'), Mode.MIN\n"
        "    def __setstate__(self, state): raise RuntimeError('was called')\n",
        module.__dict__,
    )
    for kind in (module.Config, module.Mode, module.Callback):
        kind.__module__ = module.__name__
    sys.modules[module.__name__] = module
    net = {f"generator.{name}": tensor for name, tensor in weights().items()}
    content = {
        "epoch": 9,
        "pytorch-lightning_version": "1.2.9",
        "state_dict": net | {"discriminator.weight": torch.ones(2), "loss_pl.w": torch.ones(1)},
        "callbacks": {module.Callback: module.Callback()},
        "hyper_parameters": module.Config(net=module.Config(widths=[1, 2]), path=tmp_path),
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(4)}}, "param_groups": []}],
        "lr_schedulers": [module.Mode.MIN],
    }
    try:
        torch.save(content, tmp_path / "best.ckpt")
    finally:
        del sys.modules[module.__name__]
    checkpoint = read(tmp_path / "best.ckpt")
    assert checkpoint.at == "state_dict"
    assert_same(checkpoint.tensors, content["state_dict"])
    assert checkpoint.ignored == {"optimizer_states": 1}
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(module.__name__)


def test_torchscript_is_not_run_and_names_are_those_of_its_state_dict(tmp_path: Path) -> None:
    class Filler(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.ModuleDict({"generator": tiny()})

        def forward(self, image: Tensor, mask: Tensor) -> Tensor:
            return self.model["generator"](image * (1 - mask))

    example = torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8)
    traced = torch.jit.trace(Filler().eval(), example)
    traced.save(str(tmp_path / "filler.pt"))
    checkpoint = read(tmp_path / "filler.pt")
    assert_same(checkpoint.tensors, dict(traced.state_dict()))
    assert all(name.startswith("model.generator.") for name in checkpoint.tensors)


def test_frozen_torchscript_has_constants_without_names(tmp_path: Path) -> None:
    traced = torch.jit.trace(tiny(), torch.zeros(1, 3, 8, 8))
    torch.jit.freeze(traced).save(str(tmp_path / "frozen.pt"))
    checkpoint = read(tmp_path / "frozen.pt")
    assert checkpoint.at == "constants"
    assert "frozen" in checkpoint.notes[0]
    kernel = weights()["body.1.weight"]  # freezing folds the first one into the normalisation
    assert any(torch.equal(kernel, t) for t in checkpoint.tensors.values() if t.ndim == 4)


def test_our_own_training_checkpoint(tmp_path: Path) -> None:
    net = tiny()
    optimiser = torch.optim.AdamW(net.parameters())
    net(torch.rand(1, 3, 8, 8)).sum().backward()
    optimiser.step()
    save_state(
        tmp_path / "checkpoint.safetensors",
        {"model": net},
        {"optimiser": optimiser},
        40,
        {"trained_on": "x"},
    )
    checkpoint = read(tmp_path / "checkpoint.safetensors")
    expected = {f"model.{name}": tensor for name, tensor in net.state_dict().items()}
    assert_same(checkpoint.tensors, expected)
    assert checkpoint.ignored == {"optimiser": 18}
    assert "rethined-train after 40 steps" in checkpoint.notes[0]


@pytest.mark.parametrize("save", [as_zip, as_legacy, as_safetensors])
@pytest.mark.parametrize("dtype", TYPES)
def test_types_stay_as_stored(tmp_path: Path, save, dtype: str) -> None:
    tensor = torch.arange(6).reshape(2, 3).to(getattr(torch, dtype))
    save({"a": tensor}, tmp_path / "file")
    found = read(tmp_path / "file").tensors["a"]
    assert found.dtype == tensor.dtype
    assert torch.equal(found.double(), tensor.double())


@pytest.mark.parametrize("save", [as_zip, as_legacy])
def test_views_and_shared_storage(tmp_path: Path, save) -> None:
    base = torch.arange(24.0)
    content = {
        "transposed": base.reshape(4, 6).t(),
        "part": base[5:11],
        "strided": base[1::5],
        "expanded": base[3:4].expand(2, 5),
        "twice": base,
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(2.0),
        "parameter": nn.Parameter(base[:3]),
        "buffer": nn.Buffer(base[3:5]),
    }
    save(content, tmp_path / "file")
    found = read(tmp_path / "file").tensors
    assert_same(found, {name: tensor.detach() for name, tensor in content.items()})
    assert found["transposed"].stride() == content["transposed"].stride()
    assert found["twice"].untyped_storage().data_ptr() == found["part"].untyped_storage().data_ptr()


@pytest.mark.parametrize("protocol", range(2, 6))
def test_plain_pickles_of_tensors_and_arrays(tmp_path: Path, protocol: int) -> None:
    state = weights()
    arrays = {f"{name}.array": tensor.numpy() for name, tensor in state.items()}
    arrays["fortran"] = np.asfortranarray(np.arange(6, dtype=np.float16).reshape(2, 3))
    content = pickle.dumps({"params": state | arrays, "lr": np.float64(1e-3)}, protocol)
    (tmp_path / "model.pkl").write_bytes(content)
    checkpoint = read(tmp_path / "model.pkl")
    assert checkpoint.at == "params"
    assert_same(checkpoint.tensors, state | {k: torch.from_numpy(a) for k, a in arrays.items()})


def test_objects_pickled_with_their_source(tmp_path: Path) -> None:
    """As StyleGAN's tools, and the inpainting networks built on them, save networks."""
    persistence, dnnlib = types.ModuleType("torch_utils.persistence"), types.ModuleType("dnnlib")
    exec("class EasyDict(dict):\n    __module__ = 'dnnlib'", dnnlib.__dict__)
    exec("def _reconstruct_persistent_obj(meta): raise RuntimeError", persistence.__dict__)
    persistence._reconstruct_persistent_obj.__module__ = persistence.__name__

    class Persistent(Net):
        def __reduce__(self) -> tuple[object, ...]:
            source = {"type": "class", "module_src": "import os", "class_name": "Generator"}
            meta = dnnlib.EasyDict(source, state=self.__dict__)
            return persistence._reconstruct_persistent_obj, (meta,)

    modules = {persistence.__name__: persistence, "dnnlib": dnnlib}
    modules["torch_utils"] = types.ModuleType("torch_utils")
    sys.modules |= modules
    try:
        torch.manual_seed(0)
        content = {"G": None, "D": None, "G_ema": Persistent().eval()}
        (tmp_path / "network.pkl").write_bytes(pickle.dumps(content))
    finally:
        for name in modules:
            del sys.modules[name]
    checkpoint = read(tmp_path / "network.pkl")
    assert checkpoint.at == "G_ema"
    assert_same(checkpoint.tensors, weights())


def test_checksums_may_be_left_out(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        as_zip(weights(), tmp_path / "model.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert_same(read(tmp_path / "model.pth").tensors, weights())


def test_a_flipped_bit_in_a_weight_is_found(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    as_zip(weights(), path)
    data = bytearray(path.read_bytes())
    place = data.index(weights()["first.weight"].numpy().tobytes())
    data[place + 5] ^= 4
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="CRC"):
        read(path)


def test_tensors_of_other_kinds_are_told(tmp_path: Path) -> None:
    sparse = torch.eye(3).to_sparse()
    torch.save(weights() | {"sparse": sparse}, tmp_path / "model.pth")
    checkpoint = read(tmp_path / "model.pth")
    assert_same(checkpoint.tensors, weights())
    assert "1 tensors are of kinds that are not read: sparse (torch._utils" in checkpoint.notes[0]


def test_one_shard_alone_is_told(tmp_path: Path) -> None:
    as_safetensors_shards(weights(), tmp_path / "model.safetensors.index.json")
    checkpoint = read(tmp_path / "model-00002-of-00002.safetensors")
    assert 0 < len(checkpoint.tensors) < len(weights())
    assert "one shard of 2" in checkpoint.notes[0]


def test_legacy_shards_and_other_orders(tmp_path: Path) -> None:
    """An index may name shards of any container, in any order."""
    names = list(weights())
    as_legacy({name: weights()[name] for name in names[3:]}, tmp_path / "b.bin")
    as_zip({name: weights()[name] for name in names[:3]}, tmp_path / "a.bin")
    places = {name: "a.bin" if name in names[:3] else "b.bin" for name in reversed(names)}
    (tmp_path / "index.json").write_text(json.dumps({"weight_map": places}))
    checkpoint: Checkpoint = read(tmp_path / "index.json")
    assert_same(checkpoint.tensors, weights())
    assert checkpoint.container == "torch legacy and torch zip in 2 shards"


def test_script_files_need_no_torch_to_be_parsed(tmp_path: Path, monkeypatch) -> None:
    """Neither torch's loaders nor its compiler are asked."""
    as_script(weights(), tmp_path / "script.pt")
    as_module(weights(), tmp_path / "module.pt")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("was asked")

    for place in ("torch.load", "torch.jit.load", "pickle.loads", "pickle.load"):
        monkeypatch.setattr(place, refuse)
    assert_same(read(tmp_path / "script.pt").tensors, weights())
    assert_same(read(tmp_path / "module.pt").tensors, weights())
