"""Tiny checkpoints in every container, made as the tools that people use make them."""

import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

State = dict[str, Tensor]


class Net(nn.Module):
    """A convolution, a normalisation with buffers, and a member inside a member."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.body = nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
        self.register_buffer("mean", torch.rand(3))

    def forward(self, image: Tensor) -> Tensor:
        return self.body(self.first(image - self.mean[:, None, None]))


def tiny(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net().eval()


def weights(seed: int = 0) -> State:
    return {name: tensor.clone() for name, tensor in tiny(seed).state_dict().items()}


def as_safetensors(state: State, path: Path) -> None:
    save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, path)


def as_zip(content: object, path: Path) -> None:
    torch.save(content, path)


def as_legacy(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def as_pickle(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


def as_module(state: State, path: Path) -> None:
    torch.save(loaded(state), path)


def as_script(state: State, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(loaded(state), torch.zeros(1, 3, 8, 8)).save(str(path))


def as_safetensors_shards(state: State, path: Path) -> None:
    _shards(state, path, "model-{:05d}-of-00002.safetensors", as_safetensors)


def as_torch_shards(state: State, path: Path) -> None:
    _shards(state, path, "pytorch_model-{:05d}-of-00002.bin", as_zip)


def _shards(state: State, path: Path, pattern: str, save: Callable[[State, Path], None]) -> None:
    names = list(state)
    places = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        shard = pattern.format(number)
        save({name: state[name] for name in part}, path.parent / shard)
        places |= dict.fromkeys(part, shard)
    path.write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": places}))


def loaded(state: State) -> Net:
    net = tiny()
    net.load_state_dict(state)
    return net


#: How a state dict is written, and what the container is called.
CONTAINERS: dict[str, Callable[[State, Path], None]] = {
    "safetensors": as_safetensors,
    "torch zip": as_zip,
    "torch legacy": as_legacy,
    "pickle": as_pickle,
    "TorchScript archive": as_script,
    "safetensors in 2 shards": as_safetensors_shards,
    "torch zip in 2 shards": as_torch_shards,
}


def with_pickle(path: Path, data: bytes, storages: dict[str, bytes] | None = None) -> Path:
    """A zip as torch.save writes it, around any pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/version", "3\n")
        for key, content in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", content)
    return path


def legacy_bytes(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()
