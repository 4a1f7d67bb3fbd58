"""What is no checkpoint is named for what it is, in one line that says what to do."""

import gzip
import json
import os
import pickle
import struct
import tarfile
import warnings
import zipfile
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest
import torch
from checkpoint_files import (
    CONTAINERS,
    as_legacy,
    as_safetensors,
    as_safetensors_shards,
    as_zip,
    weights,
)
from torch import nn

from rethined_export.checkpoints import CheckpointError, read, stored


def refusal(path: Path, key: str | None = None) -> str:
    """The message of the error that reading must raise: one line, with the file's name."""
    with pytest.raises(CheckpointError) as caught:
        read(path, key)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500 + len(str(path))
    assert str(path) in message
    return message


def onnx_bytes() -> bytes:
    graph = onnx.helper.make_graph([], "g", [], [])
    return onnx.helper.make_model(graph, producer_name="x").SerializeToString()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 204829112\n"
TEXTS = {
    "web page": (
        b"<!DOCTYPE html>\n<html><head><title>Google Drive - Quota exceeded</title>",
        ["web page", "Quota exceeded", "download"],
    ),
    "web page without a title": (b"\n  <html><body>404", ["web page"]),
    "LFS pointer": (LFS, ["Git LFS pointer", "204.8 MB", "git lfs pull"]),
    "JSON": (b'{"architectures": ["X"], "dim": 3}', ["JSON file", "architectures, dim"]),
    "JSON list": (b"[1, 2]", ["JSON file"]),
    "broken JSON": (b'{"weight_map": {', ["damaged"]),
    "YAML": (b"model:\n  name: lama\n", ["text file", "model: name: lama"]),
    "TFLite": (b"\x20\0\0\0TFL3" + bytes(64), ["TFLite model", "made from"]),
    "ExecuTorch": (b"\x20\0\0\0ET12" + bytes(64), ["ExecuTorch"]),
    "ONNX": (onnx_bytes(), ["ONNX model", "made from"]),
    "GGUF": (b"GGUF\x03\0\0\0" + bytes(64), ["GGUF"]),
    "gzip": (gzip.compress(b"weights"), ["gzip", "unpack"]),
    "PNG": (b"\x89PNG\r\n\x1a\n" + bytes(64), ["PNG image"]),
    "NumPy": (b"\x93NUMPY\x01\0" + bytes(64), ["NumPy array"]),
    "zeros": (bytes(64), ["begins with zeros", "again"]),
    "numbers": (bytes([1, 2] * 32), ["no checkpoint of a known kind", "64 bytes begin 01 02"]),
    "empty": (b"", ["empty (0 bytes)", "again"]),
    "empty zip": (b"PK\5\6" + bytes(18), ["zip archive without a checkpoint", "nothing"]),
}


@pytest.mark.parametrize("new", [True, False])
def test_quantised_tensors_are_named(tmp_path: Path, new: bool) -> None:
    path = tmp_path / "model.pth"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tensor = torch.quantize_per_tensor(torch.rand(3), 0.1, 0, torch.qint8)
        torch.save({"w": tensor}, path, _use_new_zipfile_serialization=new)
    message = refusal(path)
    assert "kinds that are not read" in message and "_rebuild_qtensor" in message


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@pytest.mark.parametrize("kind", TEXTS)
def test_files_of_another_kind(tmp_path: Path, kind: str, ending: str) -> None:
    content, words = TEXTS[kind]
    path = tmp_path / f"model.{ending}"
    path.write_bytes(content)
    message = refusal(path)
    assert all(word in message for word in words), message


def test_hdf5(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file["kernel"] = np.zeros(3)
    assert "HDF5 file, as Keras" in refusal(tmp_path / "model.h5")


@pytest.mark.parametrize(
    "names,words",
    [
        (["a.txt", "photo.jpg"], ["zip archive without a checkpoint", "a.txt, photo.jpg"]),
        (["net/config.yaml", "net/models/best.ckpt"], ["unpack", "net/models/best.ckpt"]),
        (["m/archive_format", "m/models/model.json"], ["torch.export"]),
        (["m/model.json", "m/tensors/0"], ["TorchScript from before"]),
        (["p/.data/python_version", "p/model.pkl"], ["torch.package"]),
        (["config.json", "model.weights.h5"], ["Keras"]),
        (["a.npy", "b.npy"], ["NumPy arrays"]),
    ],
)  # fmt: skip
def test_zip_archives_of_something_else(tmp_path: Path, names, words) -> None:
    with zipfile.ZipFile(tmp_path / "file.zip", "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    message = refusal(tmp_path / "file.zip")
    assert all(word in message for word in words), message


def test_tar(tmp_path: Path) -> None:
    (tmp_path / "storages").write_bytes(b"x")
    with tarfile.open(tmp_path / "model.tar", "w") as archive:
        archive.add(tmp_path / "storages", "storages")
    assert "tar archive" in refusal(tmp_path / "model.tar")


def test_missing_directory_pipe_and_forbidden(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    assert "No such file" in refusal(path)
    path.symlink_to("nowhere")
    assert "No such file" in refusal(path)
    path.unlink()
    os.mkfifo(path)
    assert "pipe" in refusal(path)
    path.unlink()
    assert "\\x00" in repr(refusal(tmp_path / "nul\0").encode())


@pytest.mark.parametrize(
    "names,words",
    [
        ([], ["is a directory; give a checkpoint file in it"]),
        (["b.bin", "model.safetensors", "m.index.json"], ["m.index.json, b.bin and 1 more"]),
        (["saved_model.pb"], ["TensorFlow SavedModel"]),
        (["Manifest.json"], ["Core ML package"]),
        (["data.pkl", "version"], ["unpacked checkpoint"]),
    ],
)
def test_directories(tmp_path: Path, names, words) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    message = refusal(tmp_path)
    assert all(word in message for word in words), message


@pytest.mark.parametrize("container", list(CONTAINERS)[:5])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_truncated(tmp_path: Path, container: str, share: float) -> None:
    path = tmp_path / "model"
    CONTAINERS[container](weights(), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    message = refusal(path)
    assert "damaged or truncated" in message
    assert "download it again" in message


def test_legacy_storage_of_another_size(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    as_legacy({"a": torch.arange(3.0)}, path)
    data = path.read_bytes()
    assert data[-20:-12] == struct.pack("<Q", 3)
    path.write_bytes(data[:-20] + struct.pack("<Q", 2) + data[-12:])
    assert "another size than its tensors say" in refusal(path)


def test_archives_that_unpack_to_much_more(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", pickle.dumps({}, 2))
        archive.writestr("a/data/0", bytes(4_000_000))
    assert "claims to unpack to 4.0 MB" in refusal(path)


def test_missing_shard_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors.index.json"
    as_safetensors_shards(weights(), path)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    assert "needs 2 shards and model-00002-of-00002.safetensors is missing" in refusal(path)


@pytest.mark.parametrize("name", ["../model.bin", "/etc/passwd", "", "sub/model.bin", "."])
def test_shards_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "index.json"
    path.write_text(json.dumps({"weight_map": {"a": name}}))
    assert "outside its folder" in refusal(path)


def test_shard_that_is_an_index_or_another_file(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    path.write_text(json.dumps({"weight_map": {"a": "index.json"}}))
    assert "index of shards where a shard should be" in refusal(path)
    (tmp_path / "shard").write_bytes(LFS)
    path.write_text(json.dumps({"weight_map": {"a": "shard"}}))
    with pytest.raises(CheckpointError, match="shard is a Git LFS pointer"):
        read(path)


def test_tensor_that_is_not_in_its_shard(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    as_safetensors(weights(), tmp_path / "shard")
    path.write_text(json.dumps({"weight_map": {"first.weight": "shard", "other": "shard"}}))
    assert "1 tensors are not in the shards it names, first other" in refusal(path)


@pytest.mark.parametrize("save", [as_zip, as_legacy])
@pytest.mark.parametrize(
    "content,words",
    [
        ({"epoch": 3, "names": ["a"]}, ["a dict of epoch (int), names (list)"]),
        ([], ["a list"]),
        ([torch.zeros(2), 3], ["a list of 2 (Tensor, int)"]),
        (torch.zeros(2), ["a Tensor"]),
        (3, ["an int"]),
        ("weights", ["a str"]),
        (None, ["None"]),
        ({}, ["an empty dict"]),
        ({3: torch.zeros(2)}, ["3 (Tensor)"]),
        ({"state_dict": {}}, ["state_dict (empty dict)"]),
    ],
)
def test_pickles_without_named_tensors(tmp_path: Path, save, content, words) -> None:
    save(content, tmp_path / "model.pth")
    message = refusal(tmp_path / "model.pth")
    assert all(word in message for word in [*words, "state_dict()"]), message


def test_network_without_tensors(tmp_path: Path) -> None:
    torch.jit.script(nn.ReLU()).save(str(tmp_path / "relu.pt"))
    assert "TorchScript archive without tensors" in refusal(tmp_path / "relu.pt")


def test_sparse_tensors_alone(tmp_path: Path) -> None:
    torch.save({"w": torch.eye(3).to_sparse()}, tmp_path / "model.pth")
    assert "w (torch._utils._rebuild_sparse_tensor)" in refusal(tmp_path / "model.pth")


def test_above_memory(tmp_path: Path, monkeypatch) -> None:
    as_safetensors(weights(), tmp_path / "model.safetensors")
    monkeypatch.setattr(stored, "available_bytes", lambda: 100)
    assert "100 bytes of memory are free" in refusal(tmp_path / "model.safetensors")


def test_other_byte_orders(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
        archive.writestr("archive/byteorder", "big")
    assert "big-endian" in refusal(tmp_path / "model.pth")
    as_legacy(weights(), tmp_path / "model.pth")
    data = (tmp_path / "model.pth").read_bytes()
    place = data.index(b"little_endian")
    (tmp_path / "model.pth").write_bytes(data[:place] + data[place:].replace(b"\x88", b"\x89", 1))
    assert "big-endian" in refusal(tmp_path / "model.pth")


def header(content: object, data: bytes = b"") -> bytes:
    text = json.dumps(content).encode() if not isinstance(content, bytes) else content
    return struct.pack("<Q", len(text)) + text + data


def described(shape: object, place: object, dtype: object = "F32", data: bytes = bytes(8)) -> bytes:
    return header({"a": {"dtype": dtype, "shape": shape, "data_offsets": place}}, data)


@pytest.mark.parametrize(
    "content,words",
    [
        (described([2], [0, 8], data=b""), ["ends at byte"]),
        (described([3], [0, 8]), ["damaged"]),
        (described([1], [0, 8]), ["damaged"]),
        (described([-2], [0, 8]), ["damaged"]),
        (described([2], [8, 0]), ["damaged"]),
        (described([2], [-8, 0]), ["damaged"]),
        (described([2], [0, 8, 8]), ["damaged"]),
        (described("2", [0, 8]), ["damaged"]),
        (described([1 << 62], [0, 8]), ["damaged"]),
        (described([2.0], [0, 8]), ["damaged"]),
        (described([2], [0, 8], "F4"), ["type F4"]),
        (described([2], [0, 8], 3), ["type 3"]),
        (header({"a": 3}), ["damaged"]),
        (header(b"{" * 9000), ["not JSON"]),
        (header(b'{"a":' + b"[" * 9000), ["not JSON"]),
        (header({}), ["an empty mapping"]),
    ],
)  # fmt: skip
def test_headers_that_contradict_themselves(tmp_path: Path, content: bytes, words) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    message = refusal(path)
    assert all(word in message for word in words), message


def test_names_in_messages_stay_on_one_line(tmp_path: Path) -> None:
    as_zip({"a\nb\x1b[31m" + "x" * 5000: 3}, tmp_path / "model.pth")
    message = refusal(tmp_path / "model.pth")
    assert "\x1b" not in message
