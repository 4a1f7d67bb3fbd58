"""Files that hold no artifact are named for what they are."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from rethined_export.artifacts import hash_artifact, size_of
from rethined_export.converters import converter
from rethined_export.converters import onnx as onnx_converter
from rethined_export.converters.files import weights_beside
from rethined_export.converters.types import ArtifactError, run_program

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12345\n"


@pytest.mark.parametrize("target", ["onnx", "tflite"])
@pytest.mark.parametrize(
    ("content", "said"),
    [("", "is empty (0 bytes)"), (POINTER, "is a Git LFS pointer"), (None, "No such file")],
)
def test_files_without_data(target: str, content: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{target}"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ArtifactError, match=said.replace("(", r"\(").replace(")", r"\)")):
        converter(target).metadata(path)


def test_a_pointer_inside_a_package(tmp_path: Path) -> None:
    package = tmp_path / "a.mlpackage"
    (package / "Data").mkdir(parents=True)
    (package / "Manifest.json").write_text("{}")
    (package / "Data" / "weight.bin").write_text(POINTER)
    with pytest.raises(ArtifactError, match=r"weight\.bin is a Git LFS pointer"):
        converter("coreml").load(package, 1)


@pytest.mark.parametrize("name", ["Manifest.json", "Data/model.mlmodel", ""])
@pytest.mark.parametrize(("content", "said"), [("", "is empty"), (POINTER, "is a Git LFS pointer")])
@pytest.mark.parametrize("read", ["metadata", "load"])
def test_whatever_a_package_lacks_is_named(
    name: str, content: str, said: str, read: str, tmp_path: Path
) -> None:
    package = tmp_path / "a.mlpackage"
    if name:
        (package / "Data").mkdir(parents=True)
        (package / "Manifest.json").write_text("{}")
        (package / name).write_text(content)
    else:
        package.write_text(content)
    reader = converter("coreml")
    with pytest.raises(ArtifactError, match=said) as caught:
        reader.metadata(package) if read == "metadata" else reader.load(package, 1)
    assert str(package / name) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "is empty"), (POINTER, "is a Git LFS pointer"), ("x" * 99, "not an ONNX")],
)
def test_a_runtime_that_refuses_a_file_is_asked_second(
    content: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "a.onnx").write_text(content)
    with pytest.raises(ArtifactError, match=said):
        converter("onnx").load(tmp_path / "a.onnx", 1)


def test_weights_in_a_file_that_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    weight = numpy_helper.from_array(np.ones((8, 8), np.float32), "w")
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [8, 8])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [8, 8])
    node = helper.make_node("Add", ["x", "w"], ["y"])
    model = helper.make_model(helper.make_graph([node], "g", [value], [result], [weight]))
    onnx.save(model, path, save_as_external_data=True, location="a.data", size_threshold=0)
    converter("onnx").metadata(path)
    for content, said in (("", "is empty"), (POINTER, "is a Git LFS pointer")):
        (tmp_path / "a.data").write_text(content)
        with pytest.raises(ArtifactError, match=rf"a\.data {said}"):
            converter("onnx").load(path, 1)
    (tmp_path / "a.data").unlink()
    with pytest.raises(ArtifactError, match="keeps weights in another file, which is not there"):
        converter("onnx").metadata(path)


class Two(torch.nn.Module):
    """A weight that is large, and a small one."""

    def __init__(self) -> None:
        super().__init__()
        self.large, self.small = torch.nn.Linear(200, 300), torch.nn.Linear(300, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.small(torch.relu(self.large(x)))


@pytest.mark.conversion
def test_weights_that_one_file_cannot_hold_lie_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same graph and numbers; and the same bytes once more, whatever the file is called."""
    module, x = Two().eval(), torch.rand(1, 200)
    program = run_program(module, {"x": x}, ("y",), ())
    whole, parted = tmp_path / "whole.onnx", tmp_path / "parted.onnx"
    onnx_converter.convert(program, whole)
    monkeypatch.setattr(onnx_converter, "MOST_INSIDE", 200_000)
    onnx_converter.convert(program, parted)
    assert not weights_beside(whole).exists()
    beside = weights_beside(parted).stat().st_size
    assert beside == module.large.weight.nbytes
    assert parted.stat().st_size + beside < whole.stat().st_size + 2000
    kinds = [[node.op_type for node in onnx.load(path).graph.node] for path in (whole, parted)]
    assert kinds[0] == kinds[1]
    assert [given.name for given in onnx.load(parted).graph.input] == ["x"]
    runs = [onnx_converter.load(path, 1)(x=x.numpy())["y"] for path in (whole, parted)]
    np.testing.assert_array_equal(*runs)
    (tmp_path / "again").mkdir()
    onnx_converter.convert(program, tmp_path / "again" / parted.name)
    assert hash_artifact(tmp_path / "again" / parted.name) == hash_artifact(parted)


def test_hash_and_size_count_the_weights_beside_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"graph")
    alone = hash_artifact(path)
    weights_beside(path).write_bytes(b"weights")
    both = hash_artifact(path)
    assert size_of(path) == 12
    weights_beside(path).write_bytes(b"Weights")
    assert len({alone, both, hash_artifact(path)}) == 3


def test_what_a_system_drops_into_a_package_does_not_count(tmp_path: Path) -> None:
    package = tmp_path / "a.mlpackage"
    package.mkdir()
    (package / "Manifest.json").write_text("{}")
    before = hash_artifact(package), size_of(package)
    dropped = (".DS_Store", "._Manifest.json", ".localized", "Thumbs.db", "desktop.ini", "Icon\r",
               "__MACOSX/._Manifest.json", ".AppleDouble/x", "@eaDir/x", ".nfs0001")  # fmt: skip
    for name in dropped:
        (package / name).parent.mkdir(exist_ok=True)
        (package / name).write_text("dropped")
    assert (hash_artifact(package), size_of(package)) == before
    (package / "other").write_text("meant")
    assert hash_artifact(package) != before[0]
