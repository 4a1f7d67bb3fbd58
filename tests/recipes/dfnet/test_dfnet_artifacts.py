"""DFNet in every target: a narrow network whole, the real one by the command line."""

import json

import pytest

from rethined_export.cli import export as export_cli
from rethined_export.converters import TARGETS
from rethined_export.recipes.dfnet import RECIPE
from tests.recipes.artifacts import assert_equals_torch, assert_plain_operators, made
from tests.recipes.dfnet.narrow import OPTIONS, narrow, write


@pytest.mark.conversion
@pytest.mark.parametrize("target", TARGETS)
def test_artifact_equals_torch(target, tmp_path):
    path = made(write, target, "whole", tmp_path)
    assert_plain_operators(target, path, RECIPE.program(OPTIONS, narrow(), "whole").module)
    assert_equals_torch(RECIPE, OPTIONS, narrow(), target, {"whole": path})


@pytest.mark.slow
@pytest.mark.conversion
@pytest.mark.parametrize("io", ["plain", "native"])
def test_whole_network_by_the_command_line(io, tmp_path, capsys):
    options = ["--model", "dfnet", "--untrained", "--preset", "celeba", "--io", io, "--json"]
    assert export_cli.main([*options, "--output", str(tmp_path)]) == 0
    for entry in json.loads(capsys.readouterr().out)["artifacts"]:
        assert entry["parity"]["passed"]
        assert entry["bytes"] <= 1.05 * 4 * entry["parameters"]
