"""TFLite artifacts of less precision: a small one, loaded and run."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from rethined_export.converters import tflite as target
from rethined_export.converters.reducing.tflite import reducer
from rethined_export.converters.reducing.types import Reduction, Sample
from rethined_export.tracing.artifact import recorder
from rethined_export.tracing.tensors import traced
from tests.lint.tiny_tflite import FLOAT, INT, Step, Tensor, constant, tflite_model

SIDE, WIDTH = 16, 48
#: Least PSNR in dB of the filled hole against fp32: of noise through three convolutions.
LEAST = {"fp16": 60.0, "int8": 25.0, "int8-weights": 35.0, "int8-dynamic": 25.0}
#: Most bytes over those in fp32; the graph itself takes as much room in any.
MOST = {"fp16": 0.56, "int8": 0.40, "int8-weights": 0.40, "int8-dynamic": 0.40}
_CONV = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}


def photos(count: int = 3) -> Iterator[Sample]:
    for seed in range(count):
        random = np.random.default_rng(seed)
        mask = np.zeros((1, 1, SIDE, SIDE), np.float32)
        mask[:, :, 4:12, 4:12] = 1
        levels = random.integers(0, 256, (1, 3, SIDE, SIDE))
        yield {"image": (levels / 255).astype(np.float32), "mask": mask}


def filler(path: Path, widths: tuple[int, ...] = (WIDTH, WIDTH, 3)) -> Path:
    """Convolutions set into the photo, codes added behind the first; a table of large indices.

    Convolutions behind the first that are of one shape share their weights.
    """
    random = np.random.default_rng(0)
    image, mask = Tensor((1, SIDE, SIDE, 3)), Tensor((1, SIDE, SIDE, 1))
    steps, now, channels, weights = [], image, 3, {}
    for number, made in enumerate(widths):
        weight = random.normal(0, (channels * 9) ** -0.5, (made, 3, 3, channels))
        out = Tensor((1, SIDE, SIDE, made))
        shared = weights.setdefault((made, channels), constant(weight, FLOAT))
        inputs = [now, shared, constant(np.full(made, 0.1), FLOAT)]
        steps.append(Step("CONV_2D", inputs, [out], "Conv2DOptions", _CONV))
        now, channels = out, made
        if number == 0:
            codes = constant(random.random((1, SIDE, SIDE, made)), FLOAT)
            now = Tensor(out.shape)
            steps.append(Step("ADD", [out, codes], [now], "AddOptions"))
    known, outside, inside, output = (Tensor((1, SIDE, SIDE, n)) for n in (1, 3, 3, 3))
    found, indices = Tensor((SIDE, 1)), Tensor((SIDE, 1), INT)
    table = constant(np.arange(4095, 4095 - 1200, -1).reshape(-1, 1), FLOAT)
    steps += [
        Step("SUB", [constant([1.0], FLOAT), mask], [known], "SubOptions"),
        Step("MUL", [image, known], [outside], "MulOptions"),
        Step("MUL", [now, mask], [inside], "MulOptions"),
        Step("ADD", [inside, outside], [output], "AddOptions"),
        Step("GATHER", [table, constant(np.arange(SIDE))], [found], "GatherOptions"),
        Step("CAST", [found], [indices], "CastOptions",
             {"inDataType": schema.TensorType.FLOAT32, "outDataType": schema.TensorType.INT32}),
    ]  # fmt: skip
    model = target._parse(tflite_model(*steps))
    graph, signature = model.subgraphs[0], schema.SignatureDefT()
    graph.inputs = sorted(graph.inputs, key=lambda place: graph.tensors[place].shape[-1] != 3)
    named = (("image", "mask"), graph.inputs), (("output", "indices"), graph.outputs)
    entries = []
    for names, places in named:
        entries.append([])
        for name, place in zip(names, places, strict=True):
            graph.tensors[place].name = name
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = name, int(place)
            entries[-1].append(entry)
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    signature.inputs, signature.outputs = entries
    model.signatureDefs = [signature]
    images = json.dumps(["image", "mask", "output"])
    target._embed_metadata(model, {"rethined.spec": "{}", "rethined.channels_last": images})
    path.write_bytes(target.pack(model))
    return path


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filler(tmp_path_factory.mktemp("exact") / "exact.tflite")


def reduced(exact: Path, folder: Path, precision: str, **how: object) -> Path:
    path = folder / f"{precision}.tflite"
    reducer(exact).reduce(path, Reduction(precision, photos, **how))
    return path


def run(path: Path) -> dict[str, np.ndarray]:
    with target.load(path, 1) as runtime:
        return runtime(**next(photos()))


def nearness(path: Path, exact: Path) -> float:
    """PSNR of the hole in dB, its values as they are."""
    hole = np.s_[:, :, 4:12, 4:12]
    error = run(path)["output"][hole] - run(exact)["output"][hole]
    return float(-10 * np.log10(np.square(error).mean()))


def psnr(path: Path, exact: Path) -> float:
    """Of the hole, against what of it lies in [0, 1]."""
    hole = np.s_[:, :, 4:12, 4:12]
    wanted = np.clip(run(exact)["output"][hole], 0, 1)
    return float(-10 * np.log10(np.square(run(path)["output"][hole] - wanted).mean()))


@pytest.mark.parametrize("precision", LEAST)
def test_smaller_and_near(precision: str, exact: Path, tmp_path: Path) -> None:
    path = reduced(exact, tmp_path, precision)
    assert nearness(path, exact) >= LEAST[precision]
    assert path.stat().st_size <= MOST[precision] * exact.stat().st_size
    assert target.metadata(path) == target.metadata(exact)


def test_ranges_are_those_of_all_samples(exact: Path, tmp_path: Path) -> None:
    """The first of which is dark here, so that its ranges would cut off most of the next."""
    first, second = photos(2)
    dark = {"image": first["image"] / 50, "mask": first["mask"]}
    made = {}
    for name, samples in (("both", [dark, second]), ("turned", [second, dark])):
        made[name] = tmp_path / f"{name}.tflite"
        how = Reduction("int8", lambda samples=samples: iter(samples))
        reducer(exact).reduce(made[name], how)
    assert made["both"].read_bytes() == made["turned"].read_bytes()
    assert nearness(made["both"], exact) >= LEAST["int8"]


@pytest.mark.parametrize("precision", LEAST)
def test_known_pixels_and_indices_are_exact(precision: str, exact: Path, tmp_path: Path) -> None:
    made, sample = run(reduced(exact, tmp_path, precision)), next(photos())
    np.testing.assert_array_equal(made["indices"], run(exact)["indices"])
    known = np.repeat(sample["mask"] == 0, 3, axis=1)
    np.testing.assert_array_equal(made["output"][known], sample["image"][known])


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_same_bytes_each_time(precision: str, exact: Path, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    first, second = (reduced(exact, place, precision) for place in (tmp_path, tmp_path / "again"))
    assert first.read_bytes() == second.read_bytes()


def test_layers_that_are_kept_stay_in_floats(exact: Path, tmp_path: Path) -> None:
    layers = reducer(exact).layers()
    assert len(layers) == 3
    path = reduced(exact, tmp_path, "mixed", kept=frozenset(layers[1:2]))
    graph = target.unpack(path).subgraphs[0]
    convs = [op for op in graph.operators if len(op.inputs) == 3]
    kinds = [graph.tensors[op.inputs[1]].type for op in convs]
    assert kinds == [schema.TensorType.INT8, schema.TensorType.FLOAT32, schema.TensorType.INT8]
    makers = {op.outputs[0]: op.inputs[0] for op in graph.operators}
    assert graph.tensors[makers[convs[1].inputs[1]]].type == schema.TensorType.FLOAT16


def test_weights_that_layers_share(tmp_path: Path) -> None:
    """One is kept and the other is not; which the quantiser cannot do in float16."""
    shared = filler(tmp_path / "shared.tflite", (WIDTH, WIDTH, WIDTH, 3))
    kept = frozenset(reducer(shared).layers()[1:2])
    graph = target.unpack(reduced(shared, tmp_path, "mixed", kept=kept)).subgraphs[0]
    convs = [op for op in graph.operators if len(op.inputs) == 3]
    kinds = [graph.tensors[op.inputs[1]].type for op in convs]
    assert kinds == [
        schema.TensorType.INT8,
        schema.TensorType.FLOAT32,
        *[schema.TensorType.INT8] * 2,
    ]


@pytest.mark.parametrize("precision", ["int8", "mixed"])
def test_which_layers_were_kept_first_changes_nothing(
    precision: str, exact: Path, tmp_path: Path
) -> None:
    one, path = reducer(exact), tmp_path / "made.tflite"
    for kept in (frozenset(one.layers()), frozenset[str]()):
        one.reduce(path, Reduction(precision, photos, kept=kept))
    assert path.read_bytes() == reduced(exact, tmp_path, precision).read_bytes()


@pytest.mark.parametrize("precision", ["int8", "int8-dynamic"])
def test_layers_that_compute_in_floats_are_stored_in_8_bits(
    precision: str, exact: Path, tmp_path: Path
) -> None:
    layers = frozenset(reducer(exact).layers())
    path = reduced(exact, tmp_path, precision, kept=layers)
    weights = reduced(exact, tmp_path, "int8-weights")
    assert nearness(path, exact) == pytest.approx(nearness(weights, exact), abs=1e-3)
    assert path.stat().st_size <= MOST["int8"] * exact.stat().st_size


def test_equal_vectors_are_written_once(exact: Path, tmp_path: Path) -> None:
    """But for the data of buffers."""
    model = target.unpack(reduced(exact, tmp_path, "int8-weights"))
    given = [tensor.quantization for tensor in model.subgraphs[0].tensors if tensor.quantization]
    given = [one for one in given if one.zeroPoint is not None and len(one.zeroPoint) > 1]
    lengths = [len(one.zeroPoint) for one in given]
    once = target.pack(model)
    for number, one in enumerate(given):
        one.zeroPoint = one.zeroPoint + number
    assert len(target.pack(model)) - len(once) >= 8 * (sum(lengths) - sum(set(lengths))) > 0
    (tmp_path / "once.tflite").write_bytes(once)
    read = target.unpack(tmp_path / "once.tflite").subgraphs[0].tensors
    zeros = [tensor.quantization.zeroPoint for tensor in read if tensor.quantization]
    assert not any(np.any(zero) for zero in zeros if zero is not None)


def test_images_as_integers(exact: Path, tmp_path: Path) -> None:
    """The runtime here gives and takes floats all the same; 8-bit levels come back exactly."""
    path = reduced(exact, tmp_path, "int8", integer_io=True)
    graph = target.unpack(path).subgraphs[0]
    kinds = {graph.tensors[i].name: graph.tensors[i].type for i in (*graph.inputs, *graph.outputs)}
    integers = schema.TensorType.INT8
    assert {kinds[name] for name in (b"image", b"mask", b"output")} == {integers}
    assert kinds[b"indices"] == schema.TensorType.INT32
    made, sample = run(path), next(photos())
    known = np.repeat(sample["mask"] == 0, 3, axis=1)
    np.testing.assert_allclose(made["output"][known], sample["image"][known], atol=1e-6)
    trace = traced(recorder(path, 1), sample, tmp_path / "trace")  # which is given floats too
    levels = trace.tensors[trace.gives["output"]].transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(levels[known], np.rint(sample["image"][known] * 255) - 128)
    assert psnr(path, exact) >= LEAST["int8"]


def test_constants_behind_the_flatbuffer_are_read(exact: Path, tmp_path: Path) -> None:
    """The quantiser writes them there; whatever is packed again must still hold them."""
    path = reduced(exact, tmp_path, "int8-weights")
    again = tmp_path / "again.tflite"
    again.write_bytes(target.pack(target.unpack(path)))
    np.testing.assert_array_equal(run(again)["output"], run(path)["output"])
