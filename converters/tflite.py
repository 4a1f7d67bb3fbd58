"""TFLite: litert-torch one way, LiteRT the other. Images are NHWC at the artifact's boundary."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from rethined_export.converters.files import check_file
from rethined_export.converters.types import Array, ArtifactError, Program
from rethined_export.errors import UserError

_IDENTIFIER = b"TFL3"
#: Bytes that offsets in a flatbuffer reach.
_MOST = 2**31 - 1
_METADATA = "rethined_export"
#: Key of the embedded facts under which the names of images stand.
_IMAGES = "rethined.channels_last"


def convert(program: Program, path: Path) -> None:
    """Trace and convert with NHWC images, then finish the flatbuffer.

    litert-torch lowers a table look-up to EMBEDDING_LOOKUP, which GPU delegates refuse; GATHER is
    the same read with its two inputs swapped. It also names tensors by number.

    Raises:
        ImportError: litert-torch is not installed.
        UserError: the weights are too many for a file.
    """
    weights = sum(parameter.nbytes for parameter in program.module.parameters())
    if weights > _MOST:
        raise UserError(
            f"a TFLite file ends at {_MOST / 1e9:.2f} GB, and the weights alone are "
            f"{weights / 1e9:.2f} GB; use --target onnx or coreml"
        )
    import litert_torch  # half a gigabyte, which running an artifact must not cost

    images = [
        [place for place, info in enumerate(infos) if info.is_image]
        for infos in (program.takes, program.gives)
    ]
    named = [info.name for info in (*program.takes, *program.gives) if info.is_image]
    inputs = tuple(
        tensor.permute(0, 2, 3, 1).contiguous() if name in named else tensor
        for name, tensor in program.inputs.items()
    )
    module = program.module
    if named:
        module = litert_torch.to_channel_last_io(module, args=images[0], outputs=images[1]).eval()
    litert_torch.convert(module, inputs).export(str(path))
    model = _parse(path.read_bytes())
    _gather_instead_of_lookup(model)
    _name_tensors(model, list(program.inputs), list(program.outputs))
    _embed_metadata(model, program.metadata | {_IMAGES: json.dumps(named)})
    path.write_bytes(pack(model))


def _parse(data: bytes) -> Any:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
    for buffer in model.buffers:
        if buffer.offset > 1:  # it lies behind the flatbuffer, as quantisers leave it
            place = np.frombuffer(data, np.uint8, buffer.size, buffer.offset)
            buffer.data, buffer.offset, buffer.size = place, 0, 0
    return model


def pack(model: Any) -> bytes:
    """Serialise a flatbuffer object tree; equal vectors are written once, but for buffers' data.

    Of a quantised layer every channel has a zero point of eight bytes, and all are zero.
    """
    import flatbuffers

    class Sharing(flatbuffers.Builder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(1 << 20)
            self._written: dict[tuple[str, bytes], int] = {}

        def CreateNumpyVector(self, x: Array) -> Any:  # noqa: N802 (as its base has it)
            if x.dtype == np.uint8:
                return super().CreateNumpyVector(x)
            key = (x.dtype.str, x.tobytes())
            if key not in self._written:
                self._written[key] = super().CreateNumpyVector(x)
            return self._written[key]

    builder = Sharing()
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def unpack(path: Path) -> Any:
    """The flatbuffer's object tree.

    Raises:
        ArtifactError: not a TFLite flatbuffer, or a truncated one.
    """
    check_file(path)
    try:
        data = path.read_bytes()
        if data[4:8] != _IDENTIFIER:
            raise ArtifactError(f"{path} is not a TFLite file (no {_IDENTIFIER.decode()} mark)")
        return _parse(data)
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path} is damaged or truncated") from error
    except Exception as error:  # struct.error and the like, from offsets that point outside
        raise ArtifactError(f"{path} is damaged or truncated") from error


def _gather_instead_of_lookup(model: Any) -> None:
    lookup, gather = schema.BuiltinOperator.EMBEDDING_LOOKUP, schema.BuiltinOperator.GATHER
    for position, code in enumerate(model.operatorCodes):
        if code.builtinCode != lookup:
            continue
        code.builtinCode, code.deprecatedBuiltinCode, code.version = gather, gather, 1
        for operator in _operators(model, position):
            operator.inputs = operator.inputs[::-1].copy()
            operator.builtinOptionsType = schema.BuiltinOptions.GatherOptions
            operator.builtinOptions = schema.GatherOptionsT()


def _operators(model: Any, opcode: int) -> list[Any]:
    return [
        operator
        for graph in model.subgraphs
        for operator in graph.operators
        if operator.opcodeIndex == opcode
    ]


def _name_tensors(model: Any, inputs: list[str], outputs: list[str]) -> None:
    """Give inputs and outputs the program's names, in the tensors and in the signature."""
    signature, graph = model.signatureDefs[0], model.subgraphs[0]
    # The signature lists them by sorted name; its own numbering carries the program's order.
    for entries, names in ((signature.inputs, inputs), (signature.outputs, outputs)):
        for entry in entries:
            name = names[int(entry.name.decode().rsplit("_", 1)[1])]
            entry.name = name
            graph.tensors[entry.tensorIndex].name = name


def _embed_metadata(model: Any, metadata: dict[str, str]) -> None:
    buffer = schema.BufferT()
    text = json.dumps(metadata, sort_keys=True)
    buffer.data = np.frombuffer(text.encode(), dtype=np.uint8)
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = _METADATA, len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]


def metadata(path: Path) -> dict[str, str]:
    """The facts embedded in the file."""
    model = unpack(path)
    for entry in model.metadata or []:
        if entry.name.decode() == _METADATA:
            data: dict[str, str] = json.loads(bytes(model.buffers[entry.buffer].data))
            return data
    return {}


def channels_last(path: Path) -> frozenset[str]:
    """Names of the inputs and outputs that are images."""
    return frozenset(json.loads(metadata(path).get(_IMAGES, "[]")))


def boundary(path: Path) -> tuple[list[str], list[str]]:
    """Names of inputs and of outputs, in the file's own order.

    Raises:
        ArtifactError: not a TFLite file, or truncated.
    """
    graph = unpack(path).subgraphs[0]

    def names(places: Any) -> list[str]:
        return [graph.tensors[place].name.decode() for place in places]

    return names(graph.inputs), names(graph.outputs)


def to_integers(value: Array, details: dict[str, Any]) -> Array:
    """Floats as a tensor wants them that holds int8; others as they are."""
    scale, zero = details["quantization"]
    if not scale:
        return value
    levels = np.rint(np.asarray(value, np.float32) / np.float32(scale)) + zero
    limits = np.iinfo(details["dtype"])
    made: Array = np.clip(levels, limits.min, limits.max).astype(details["dtype"])
    return made


def _to_floats(value: Array, details: dict[str, Any]) -> Array:
    """What a tensor stands for that holds int8; others as they are."""
    scale, zero = details["quantization"]
    if not scale:
        return value
    return (np.asarray(value, np.float32) - np.float32(zero)) * np.float32(scale)


class _Interpreter:
    """A LiteRT interpreter on the CPU; transposes to and from its NHWC images.

    Callers give and get floats also where the artifact holds int8.
    """

    name = "LiteRT"

    def __init__(self, path: Path, threads: int) -> None:
        # Reading it first: a truncated file can crash the native loader instead of failing.
        self._images = channels_last(path)
        try:
            self._interpreter = Interpreter(str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
            self._inputs = {d["name"]: d for d in self._interpreter.get_input_details()}
            self._outputs = {d["name"]: d for d in self._interpreter.get_output_details()}
            self.takes = frozenset(self._inputs)
        except (ValueError, RuntimeError) as error:
            raise ArtifactError(f"LiteRT cannot load {path}: {error}") from error

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        try:
            for name, value in inputs.items():
                if name in self._images:
                    value = np.ascontiguousarray(value.transpose(0, 2, 3, 1))
                given = self._inputs[name]
                self._interpreter.set_tensor(given["index"], to_integers(value, given))
            self._interpreter.invoke()
        except (ValueError, RuntimeError, KeyError) as error:
            raise ArtifactError(f"LiteRT cannot run it: {error}") from error
        results = {
            n: _to_floats(self._interpreter.get_tensor(d["index"]), d)
            for n, d in self._outputs.items()
        }
        return {n: v.transpose(0, 3, 1, 2) if n in self._images else v for n, v in results.items()}

    def __enter__(self) -> "_Interpreter":
        return self

    def __exit__(self, *_exception: object) -> None:
        del self._interpreter


def load(path: Path, threads: int) -> _Interpreter:
    """A LiteRT interpreter.

    Raises:
        ArtifactError: not a TFLite file, truncated, or one LiteRT refuses.
    """
    return _Interpreter(path, threads)


def count_operators(path: Path) -> Counter[str]:
    """Operators of all subgraphs by their schema name."""
    model = unpack(path)
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    codes = [names[code.builtinCode] for code in model.operatorCodes]
    return Counter(codes[op.opcodeIndex] for graph in model.subgraphs for op in graph.operators)
