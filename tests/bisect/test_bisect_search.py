"""How tensors of two runs are paired, and how a departure is walked back to where it begins."""

from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rethined_export.bisect.difference import difference
from rethined_export.bisect.origin import following, origin, preceding
from rethined_export.bisect.pairing import by_position, by_value
from rethined_export.bisect.search import apart_as_laid_out, first_by_value, first_in_line
from rethined_export.converters.types import Array
from rethined_export.lint.graph import Graph, Operator, Value
from rethined_export.tracing.tensors import Tensors, Trace

TOLERANCE = 1e-4


def chain(*kinds: str) -> Graph:
    """Operators in a row, each reading the one before it; the first reads ``x``."""
    operators, before = [], Value("x")
    for number, kind in enumerate(kinds):
        made = Value(f"{kind}{number}", "float32", (4,))
        operators.append(Operator(kind, made.name, (before,), (made,)))
        before = made
    return Graph("onnx", tuple(operators))


def run(folder: Path, graph: Graph, values: dict[str, Array]) -> Trace:
    folder.mkdir(exist_ok=True)
    tensors = Tensors(folder)
    for name, value in values.items():
        tensors.keep(name, np.asarray(value, np.float32))
    last = graph.operators[-1].outputs[0].name
    return Trace("test", graph, {"output": last}, tensors)


def numbered(graph: Graph) -> dict[str, Array]:
    """A value of its own for each tensor."""
    names = [value.name for one in graph.operators for value in one.outputs]
    return {name: np.linspace(n, n + 1, 4) for n, name in enumerate(names, 1)}


# --- Differences ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "two", "relative", "elements"),
    [
        ([1, 2], [1, 2], 0, 0),
        ([1, 4], [1, 3], 0.25, 1),
        ([np.nan, 2], [np.nan, 2], 0, 0),
        ([np.inf, 2], [np.inf, 2], 0, 0),
        ([np.nan, 2], [1, 2], np.inf, 1),
        ([np.inf, 2], [-np.inf, 2], np.inf, 1),
        ([], [], 0, 0),
        ([0, 0], [0, 0], 0, 0),
        (2, 4, 0.5, 1),
        ([1e-9, 0], [0, 0], 1e-3, 1),  # next to nothing is compared with a millionth
    ],
)
def test_difference(one: object, two: object, relative: float, elements: int) -> None:
    found = difference(np.array(one), np.array(two))
    assert found.relative == pytest.approx(relative)
    assert found.elements == elements


def test_whole_numbers_and_truths_are_compared_too() -> None:
    assert difference(np.array([3, 4]), np.array([3, 5])).elements == 1
    assert difference(np.array([True]), np.array([False])).relative == 1


def test_images_are_compared_in_either_layout() -> None:
    planes = np.random.default_rng(0).random((1, 3, 4, 5))
    assert apart_as_laid_out(planes.transpose(0, 2, 3, 1), planes) == 0
    assert apart_as_laid_out(planes, planes.transpose(0, 2, 3, 1)) == 0
    assert apart_as_laid_out(planes[..., :4], planes) == np.inf


# --- By position and name ------------------------------------------------------------------------


@given(
    st.lists(st.sampled_from(["Add", "Mul", "Relu"]), min_size=4, max_size=12),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_an_operator_too_many_leaves_the_others_paired(
    kinds: list[str], data: st.DataObject
) -> None:
    """By kind and name, whatever was put between them."""
    reference = chain(*kinds)
    place = data.draw(st.integers(0, len(kinds)))
    extra = Operator("Mul", "planted", (Value("x"),), (Value("planted", "float32", (4,)),))
    operators = [*reference.operators[:place], extra, *reference.operators[place:]]
    made = Graph("onnx", tuple(operators))
    with TemporaryDirectory() as name:
        folder = Path(name)
        values = numbered(reference)
        pairs = by_position(
            run(folder / "made", made, {**values, "planted": np.ones(4)}),
            run(folder / "reference", reference, values),
        )
    assert pairs is not None
    names = {value.name for one in reference.operators for value in one.outputs}
    assert {name: pair.reference for name, pair in pairs.items() if name in names} == {
        name: name for name in names
    }


def test_an_operator_in_place_of_another_is_paired_with_it(tmp_path: Path) -> None:
    made, reference = chain("Add", "Tanh", "Mul"), chain("Add", "Relu", "Mul")
    values = numbered(made)
    pairs = by_position(
        run(tmp_path / "made", made, values),
        run(tmp_path / "reference", reference, numbered(reference)),
    )
    assert pairs is not None
    assert pairs["Tanh1"].reference == "Relu1"


def test_names_that_all_differ_do_not_matter(tmp_path: Path) -> None:
    reference = chain("Add", "Relu", "Mul")
    renamed = Graph(
        "onnx",
        tuple(
            Operator(o.kind, f"other{n}", o.inputs, (Value(f"o{n}", "float32", (4,)),))
            for n, o in enumerate(reference.operators)
        ),
    )
    values = numbered(renamed)
    pairs = by_position(
        run(tmp_path / "made", renamed, values),
        run(tmp_path / "ref", reference, numbered(reference)),
    )
    assert pairs is not None
    assert {name: pair.reference for name, pair in pairs.items()} == {
        "o0": "Add0", "o1": "Relu1", "o2": "Mul2",
    }  # fmt: skip


def test_graphs_that_are_not_alike_are_not_lined_up(tmp_path: Path) -> None:
    made, reference = chain("Add", "Mul"), chain("Conv", "Relu", "Pad", "Conv", "Softmax")
    one = run(tmp_path / "made", made, numbered(made))
    assert by_position(one, run(tmp_path / "ref", reference, numbered(reference))) is None


# --- By value ------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.data(),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_a_tensor_is_found_in_any_order_of_its_axes(
    shape: list[int], data: st.DataObject, seed: int
) -> None:
    values = np.random.default_rng(seed).normal(size=shape)
    order = data.draw(st.sampled_from(list(permutations(range(len(shape))))))
    graph = chain("Add")
    with TemporaryDirectory() as name:
        folder = Path(name)
        made = run(folder / "made", graph, {"Add0": values.transpose(order)})
        pairs, found = by_value(made, run(folder / "ref", graph, {"Add0": values}), TOLERANCE)
        wrong = values.copy()
        wrong.reshape(-1)[0] += 1
        other = run(folder / "wrong", graph, {"Add0": wrong})
        assert not by_value(made, other, TOLERANCE)[0]
    assert pairs["Add0"].apart.relative <= 1e-6
    assert found == {"Add0"}


def test_the_nearest_of_several_is_taken(tmp_path: Path) -> None:
    made, reference = chain("Add"), chain("Mul", "Mul", "Mul")
    values = {"Mul0": np.full(4, 1.00004), "Mul1": np.full(4, 1.00001), "Mul2": np.full(4, 2)}
    pairs, found = by_value(
        run(tmp_path / "made", made, {"Add0": np.ones(4)}),
        run(tmp_path / "ref", reference, values),
        TOLERANCE,
    )
    assert pairs["Add0"].reference == "Mul1"
    assert found == {"Mul0", "Mul1"}


def test_a_wrong_output_that_has_a_right_tensors_values_departs(tmp_path: Path) -> None:
    """The last operator hands on what it reads."""
    graph = chain("Conv", "Relu")
    one, two = np.linspace(-1, 1, 4), np.linspace(0, 1, 4)
    made = run(tmp_path / "made", graph, {"Conv0": one, "Relu1": one})
    truth = run(tmp_path / "ref", graph, {"Conv0": one, "Relu1": two})
    assert first_by_value(made, truth, TOLERANCE).number == 1


# --- Where it begins -----------------------------------------------------------------------------


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Operators that read any of those before them, and the input."""
    operators = []
    for number in range(draw(st.integers(1, 12))):
        sources = st.integers(-1, number - 1)
        read = draw(st.lists(sources, min_size=1, max_size=3, unique=True))
        inputs = tuple(Value("x" if place < 0 else f"v{place}") for place in read)
        operators.append(Operator("Add", f"v{number}", inputs, (Value(f"v{number}"),)))
    return Graph("onnx", tuple(operators))


@given(graphs(), st.data())
@settings(max_examples=200, deadline=None)
def test_the_origin_is_the_operator_that_all_wrong_ones_come_from(
    graph: Graph, data: st.DataObject
) -> None:
    culprit = data.draw(st.integers(0, len(graph.operators) - 1))
    behind = following(graph, culprit)
    wrong = {f"v{number}" for number in (culprit, *behind)}
    for name in wrong:
        assert origin(graph, [name], lambda other: other not in wrong) == culprit
    assert all(culprit in preceding(graph, number) for number in behind)


def test_what_no_operator_writes_has_no_origin() -> None:
    assert origin(chain("Add"), ["x"], lambda name: False) is None


def test_an_error_below_the_tolerance_is_followed_to_where_it_begins(tmp_path: Path) -> None:
    """It grows from 1e-5 to 1e-3 over three operators."""
    graph = chain("Conv", "Mul", "Mul", "Mul")
    sound = {name: np.full(4, 1.0) for name in numbered(graph)}
    errors = (0, 1e-5, 5e-5, 1e-3)
    broken = {
        name: values + error for (name, values), error in zip(sound.items(), errors, strict=True)
    }
    made, truth = run(tmp_path / "made", graph, broken), run(tmp_path / "ref", graph, sound)
    pairs = by_position(made, truth)
    assert pairs is not None
    assert first_in_line(made, pairs, TOLERANCE).number == 1
