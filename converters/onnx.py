"""ONNX: the dynamo exporter and onnxsim one way, ONNX Runtime the other."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from rethined_export.converters.files import check_file, weights_beside
from rethined_export.converters.types import Array, ArtifactError, Program

OPSET = 18
#: Bytes of weights that one file holds: protobuf ends at 2 GiB, and the graph needs room.
MOST_INSIDE = 2_000_000_000
#: Bytes of a tensor that lies beside the graph, where they do not fit; and of what each begins at a
#: multiple of, so that runtimes can map it into memory.
_LARGE, _PAGE = 1 << 16, 4096
#: Type of an image that an artifact takes as 255 levels from 0 to 1.
_LEVELS = "tensor(uint8)"


def convert(program: Program, path: Path) -> None:
    """Trace, export at opset 18, simplify, and write one self-contained file.

    Weights that are too many for one lie beside it (see :func:`weights_beside`).

    Raises:
        ImportError: onnxsim is not installed.
        RuntimeError: onnxsim's own check failed.
    """
    import onnxsim
    import torch  # with onnxsim a third of a gigabyte, which running an artifact must not cost

    exported = torch.onnx.export(
        program.module,
        tuple(program.inputs.values()),
        dynamo=True,
        opset_version=OPSET,
        input_names=list(program.inputs),
        output_names=list(program.outputs),
        verbose=False,
    )
    assert exported is not None
    heavy = _set_aside(exported.model.graph)
    model, checked = onnxsim.simplify(exported.model_proto)
    if not checked:
        raise RuntimeError("onnxsim changed what the graph computes; its self-check failed")
    _drop_traces(model)
    onnx.helper.set_model_props(model, dict(sorted(program.metadata.items())))
    model.producer_name, model.producer_version = "rethined-export", ""
    onnx.checker.check_model(model, full_check=True)
    if heavy:
        _write_beside(model.graph, heavy, weights_beside(path))
    path.write_bytes(model.SerializeToString(deterministic=True))


def _set_aside(graph: Any) -> dict[str, Any]:
    """Make large weights inputs of an exporter's graph, where all are too many for one file.

    Returns:
        The tensors that were taken out, by name.
    """
    stored = {name: value.const_value for name, value in graph.initializers.items()}
    if sum(tensor.nbytes for tensor in stored.values()) <= MOST_INSIDE:
        return {}
    heavy = {name: tensor for name, tensor in stored.items() if tensor.nbytes >= _LARGE}
    for name in heavy:
        value = graph.initializers.pop(name)
        value.const_value = None
        graph.inputs.append(value)
    return heavy


def _write_beside(graph: Any, heavy: dict[str, Any], place: Path) -> None:
    """Store in a file of their own the weights that had been made inputs."""
    inputs = {given.name: given.type.tensor_type for given in graph.input}
    kept = [given for given in graph.input if given.name not in heavy]
    del graph.input[:]
    graph.input.extend(kept)
    with place.open("wb") as file:
        for name, tensor in heavy.items():
            file.write(bytes(-file.tell() % _PAGE))
            stored = graph.initializer.add(name=name, data_type=inputs[name].elem_type)
            stored.dims.extend(tensor.shape.numpy())
            stored.data_location = onnx.TensorProto.EXTERNAL
            where = {"location": place.name, "offset": file.tell(), "length": tensor.nbytes}
            for key, value in where.items():
                stored.external_data.add(key=key, value=str(value))
            file.write(tensor.tobytes())


def _drop_traces(model: Any) -> None:
    """Remove what names source files of this machine: exporter metadata and doc strings."""
    graph = model.graph
    for item in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]
    del graph.value_info[:]
    del graph.metadata_props[:]


def session_options(threads: int) -> Any:
    """Options of a session with threads of its own."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Between runs its threads would spin, and hold the cores of who goes on with the output.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    return options


def to_levels(image: Array) -> Array:
    """Floats in [0, 1] as an artifact wants them that takes uint8; integers as they are."""
    if image.dtype.kind != "f":
        return image
    made: Array = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return made


def _to_floats(value: Array) -> Array:
    """What levels stand for; others as they are."""
    if value.dtype != np.uint8:
        return value
    return np.asarray(value, np.float32) / np.float32(255)


class _Session:
    """An ONNX Runtime session on the CPU.

    Callers give and get floats also where the artifact holds uint8.
    """

    name = "ONNX Runtime"

    def __init__(self, path: Path, threads: int) -> None:
        options = session_options(threads)
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors share no base class of their own
            read(path)  # which says what the file is, if it is at fault
            raise ArtifactError(f"ONNX Runtime cannot load {path}: {_first_line(error)}") from error
        self.takes = frozenset(given.name for given in self._session.get_inputs())
        self._levels = {g.name for g in self._session.get_inputs() if g.type == _LEVELS}
        self._outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        for name in self._levels & inputs.keys():
            inputs[name] = to_levels(inputs[name])
        try:
            results = self._session.run(None, inputs)
        except Exception as error:
            raise ArtifactError(f"ONNX Runtime cannot run it: {_first_line(error)}") from error
        return dict(zip(self._outputs, map(_to_floats, results), strict=True))

    def __enter__(self) -> "_Session":
        return self

    def __exit__(self, *_exception: object) -> None:
        del self._session


def load(path: Path, threads: int) -> _Session:
    """An ONNX Runtime session; layouts are the artifact's own (NCHW).

    Raises:
        ArtifactError: not an ONNX model, or one the runtime refuses.
    """
    return _Session(path, threads)


def count_operators(path: Path) -> Counter[str]:
    """Nodes of the graph by operator type."""
    nodes = read(path).graph.node
    return Counter(node.op_type for node in nodes if node.op_type != "Constant")


def channels_last(_path: Path) -> frozenset[str]:
    """None: ONNX keeps torch's layout."""
    return frozenset()


def metadata(path: Path) -> dict[str, str]:
    """The facts embedded in the file."""
    return {entry.key: entry.value for entry in read(path).metadata_props}


def read(path: Path) -> Any:
    """The graph, without weights that lie in another file; those must be there.

    Raises:
        ArtifactError: not an ONNX file, or one without its weights.
    """
    check_file(path)
    try:
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # protobuf's DecodeError, which moved between releases
        raise ArtifactError(f"{path} is not an ONNX file, or is truncated") from error
    for place in _other_files(model):
        other = path.parent / place
        if not other.is_file():
            raise ArtifactError(
                f"{path} keeps weights in another file, which is not there: {place}; put it beside"
            )
        check_file(other)
    return model


def _other_files(model: Any) -> list[str]:
    """Names of the files that hold weights."""
    entries = (entry for tensor in model.graph.initializer for entry in tensor.external_data)
    return sorted({entry.value for entry in entries if entry.key == "location"})


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
