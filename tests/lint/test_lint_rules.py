"""The tables, their conditions, and how graphs are cut."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rethined_export.converters import TARGETS
from rethined_export.lint.conditions import CONDITIONS, holds
from rethined_export.lint.graph import Graph, Operator, Value
from rethined_export.lint.partitions import partitions
from rethined_export.lint.report import report
from rethined_export.lint.rules import (
    FALLS_BACK,
    FOLDER,
    RUNS,
    UNKNOWN,
    accelerators,
    judge,
    read_rules,
)

TABLE = """
about = "a test"
formats = ["onnx"]
most_partitions = 1
[sources.page]
url = "https://example.org"
date = "2026"
[[rule]]
operators = ["Wide"]
when = { rank_over = 4 }
verdict = "falls back"
why = "too many dimensions"
source = "page"
[[rule]]
operators = ["Wide", "Fine"]
verdict = "runs"
why = "listed"
source = "page"
[[rule]]
operators = ["*"]
verdict = "unknown"
why = "not listed"
source = "page"
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "test.toml"
    path.write_text(text)
    return path


def operator(kind: str, shape: tuple[int, ...] | None, cost: int = 0, name: str = "y") -> Operator:
    read, made = Value("x", "float32", shape), Value(name, "float32", shape)
    return Operator(kind, name, (read,), (made,), multiply_adds=cost)


# --- Tables --------------------------------------------------------------------------------------


def test_every_accelerator_of_the_command() -> None:
    assert set(accelerators()) == {
        "ane", "coreml-gpu", "litert-gpu", "nnapi", "qnn-htp", "webgpu", "xnnpack",
    }  # fmt: skip


@pytest.mark.parametrize("name", accelerators())
def test_shipped_tables(name: str) -> None:
    """They follow the schema, every source is used, and no rule is out of reach."""
    path = FOLDER / f"{name}.toml"
    book = read_rules(path)
    assert set(book.targets) <= set(TARGETS)
    text = path.read_text()
    sources = {line[9:-1] for line in text.splitlines() if line.startswith("[sources.")}
    assert all(f'source = "{source}"' in text for source in sources)
    settled: set[str] = set()
    for rule in book.rules[:-1]:
        assert not rule.operators <= settled, f"{sorted(rule.operators)} is settled before"
        if not rule.when:
            settled |= rule.operators


@pytest.mark.parametrize(
    ("kind", "rank", "dtype", "verdict"),
    [
        ("relu", 4, "float16", RUNS),
        ("relu", 4, "float32", FALLS_BACK),  # the engine has none
        ("reshape", 3, "int32", UNKNOWN),
        ("pad", 4, "float16", RUNS),
        ("pad", 3, "float16", UNKNOWN),  # a plan kept one on the CPU
        ("gather", 2, "float16", UNKNOWN),
        ("less", 4, "float16", UNKNOWN),
        ("topk", 2, "float16", FALLS_BACK),
        ("max_pool", 4, "float16", UNKNOWN),  # in no plan that was read
    ],
)
def test_neural_engine(kind: str, rank: int, dtype: str, verdict: str) -> None:
    read, made = (Value(name, dtype, (2,) * rank) for name in "xy")
    [one] = judge(read_rules(FOLDER / "ane.toml"), [Operator(kind, "y", (read,), (made,))])
    assert one.verdict == verdict


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('why = "listed"\n', "", "missing why"),
        ('why = "listed"', 'why = "listed"\nnote = 1', "unknown key note"),
        ("rank_over", "rank_beyond", "no such condition: rank_beyond"),
        ('verdict = "runs"', 'verdict = "maybe"', "verdict 'maybe'"),
        ('verdict = "runs"\nwhy = "listed"\nsource = "page"',
         'verdict = "runs"\nwhy = "listed"\nsource = "paper"', "no source named 'paper'"),
        ('operators = ["*"]', 'operators = ["Rest"]', "apply to any operator"),
        ('date = "2026"\n', "", "missing date"),
    ],
)  # fmt: skip
def test_malformed_tables(old: str, new: str, said: str, tmp_path: Path) -> None:
    assert old in TABLE
    with pytest.raises(ValueError, match=said):
        read_rules(written(tmp_path, TABLE.replace(old, new)))


def test_the_first_rule_that_applies_decides(tmp_path: Path) -> None:
    book = read_rules(written(tmp_path, TABLE))
    operators = [
        operator("Wide", (1,) * 5), operator("Wide", (1,) * 4), operator("Fine", (1,) * 5),
        operator("Other", (1,)),
    ]  # fmt: skip
    verdicts = [one.verdict for one in judge(book, operators)]
    assert verdicts == [FALLS_BACK, RUNS, RUNS, UNKNOWN]


def test_what_the_file_does_not_tell_is_unknown(tmp_path: Path) -> None:
    (one,) = judge(read_rules(written(tmp_path, TABLE)), [operator("Wide", None)])
    assert one.verdict == UNKNOWN
    assert "does not tell" in one.why


# --- Conditions ----------------------------------------------------------------------------------

_FULL = Operator(
    "Any",
    "y",
    (
        Value("x", "float32", (2, 3, 4)),
        Value("k", "int32", (2, 2), constant=True, data=(1, 1, 2, 1)),
    ),
    (Value("y", "int64", (2, 3, 4)),),
    {"mode": "reflect", "dilations": (1, 2)},
)
_BARE = Operator("Any", "y", (Value("x"), None), (Value("y"),))
#: Name, a wanted value that holds for the full operator, one that does not, the answer of the bare.
_ANSWERS: list[tuple[str, Any, Any, bool | None]] = [
    ("dtype", ["int64"], ["int32"], None),
    ("dtype_not", ["float32"], ["float32", "int64"], None),
    ("output_dtype_not", ["float32"], ["int64"], None),
    ("input_dtype", {"1": ["int32"]}, {"1": ["float32"]}, None),
    ("rank_over", 2, 3, None),
    ("rank_under", 4, 3, None),
    ("size_over", 3, 4, None),
    ("open_shape", False, True, False),
    ("inputs_over", 1, 2, False),
    ("inputs_under", 3, 2, True),
    ("outputs_over", 0, 1, True),
    ("variable", 0, 1, True),
    ("absent", 2, 1, True),
    ("attribute", {"mode": ["reflect", "edge"]}, {"mode": ["constant"]}, False),
    ("attribute_not", {"dilations": [1]}, {"dilations": [1, 2]}, False),
    ("element_not", {"1": [1]}, {"1": [1, 2]}, False),
    ("input_rank_not", {"0": [4]}, {"0": [3]}, None),
    ("rows_not", {"1": [3, 4]}, {"1": [2]}, None),
    ("nested", False, True, True),
]


def test_every_condition_is_tested() -> None:
    assert {name for name, *_ in _ANSWERS} == CONDITIONS.keys()


@pytest.mark.parametrize(("name", "yes", "no", "bare"), _ANSWERS)
def test_conditions(name: str, yes: Any, no: Any, bare: bool | None) -> None:
    assert holds({name: yes}, _FULL) is True
    assert holds({name: no}, _FULL) is False
    assert holds({name: yes}, _BARE) is bare


def test_one_that_fails_settles_what_cannot_be_told() -> None:
    assert holds({"dtype": ["int8"], "inputs_over": 5}, _BARE) is False
    assert holds({"dtype": ["int8"], "inputs_over": 0}, _BARE) is None


# --- Parts ---------------------------------------------------------------------------------------


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[Operator], list[bool]]:
    """Operators that read what earlier ones wrote, and where each runs."""
    operators = []
    for number in range(draw(st.integers(1, 20))):
        read = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        inputs = tuple(Value(f"v{place}") for place in read) or (Value("x"),)
        operators.append(Operator("A", f"v{number}", inputs, (Value(f"v{number}"),)))
    return operators, [draw(st.booleans()) for _ in operators]


@given(graphs())
def test_parts(drawn: tuple[list[Operator], list[bool]]) -> None:
    """Every operator once, of one device each, after what it needs; neighbours differ."""
    operators, accelerated = drawn
    parts = partitions(operators, accelerated)
    assert sorted(number for part in parts for number in part) == list(range(len(operators)))
    assert all(len({accelerated[number] for number in part}) == 1 for part in parts)
    kinds = [accelerated[part[0]] for part in parts]
    assert all(one != other for one, other in pairwise(kinds))
    place = {number: n for n, part in enumerate(parts) for number in part}
    for number, one in enumerate(operators):
        needed = [int(value.name[1:]) for value in one.given if value.name != "x"]
        assert all(place[other] <= place[number] for other in needed)


def test_figures(tmp_path: Path) -> None:
    """Two parts with an unknown between them, of which the runtime takes the larger."""
    kinds = [("Fine", 10), ("Fine", 20), ("Other", 30), ("Fine", 40)]
    operators, before = [], Value("x", "float32", (1,))
    for number, (kind, cost) in enumerate(kinds):
        made = Value(f"v{number}", "float32", (1,))
        operators.append(Operator(kind, made.name, (before,), (made,), multiply_adds=cost))
        before = made
    figures = report(read_rules(written(tmp_path, TABLE)), Graph("onnx", tuple(operators)))
    assert figures["counts"] == {RUNS: 3, FALLS_BACK: 0, UNKNOWN: 1}
    assert figures["multiply_adds"] == {
        "total": 100, "uncounted_operators": 0, "share": 0.7, "share_if_unknown_runs": 1.0,
    }  # fmt: skip
    assert figures["partitions"] == {
        "count": 2, "count_if_unknown_runs": 1, "taken": 1, "share": 0.3,
    }  # fmt: skip
