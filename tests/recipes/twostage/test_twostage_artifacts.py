"""The two-stage system in every target: narrow networks, the real ones by the command line."""

import json

import pytest

from rethined_export.cli import export as export_cli
from rethined_export.converters import TARGETS
from rethined_export.recipes.twostage import RECIPE
from tests.recipes.artifacts import assert_equals_torch, assert_plain_operators, made
from tests.recipes.twostage.narrow import NATIVE, OPTIONS, narrow, write

#: A pair is what the whole holds; one target of it is enough by default.
CASES = [
    *((target, "plain") for target in TARGETS),
    ("onnx", "native"),
    *(pytest.param(t, "native", marks=pytest.mark.slow) for t in ("tflite", "coreml")),
]


@pytest.mark.conversion
@pytest.mark.parametrize(("target", "io"), CASES)
def test_artifact_equals_torch(target, io, tmp_path):
    options = OPTIONS if io == "plain" else NATIVE
    paths = {part: made(write, target, part, tmp_path) for part in RECIPE.parts(options)}
    for part, path in paths.items():
        assert_plain_operators(target, path, RECIPE.program(options, narrow(), part).module)
    assert_equals_torch(RECIPE, options, narrow(), target, paths)


@pytest.mark.slow
@pytest.mark.conversion
@pytest.mark.parametrize("io", ["plain", "native"])
def test_whole_networks_by_the_command_line(io, tmp_path, capsys):
    options = ["--model", "two-stage", "--untrained", "--size", "256x256", "--io", io, "--json"]
    assert export_cli.main([*options, "--output", str(tmp_path)]) == 0
    for entry in json.loads(capsys.readouterr().out)["artifacts"]:
        assert entry["parity"]["passed"]
        assert entry["bytes"] <= 1.05 * 4 * entry["parameters"]
