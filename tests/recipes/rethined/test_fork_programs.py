"""Forks through the recipe: options, file names, and programs against the originals' results."""

from argparse import ArgumentParser
from pathlib import Path

import pytest
import torch
from forks import golden, scene

from rethined_export.errors import UserError
from rethined_export.models.rethined import AUTHORS, DIALECTS, from_tensors
from rethined_export.models.rethined.copying import CopyConfig, CopyModel, untrained_copy
from rethined_export.recipes import recipe
from rethined_export.recipes.rethined.copying import CopyGraph
from rethined_export.recipes.rethined.graph import ExportGraph
from rethined_export.recipes.rethined.options import RethinedOptions
from rethined_export.recipes.types import Source
from rethined_export.spec import ExportSpec

RECIPE = recipe("rethined")


def read(*given: str) -> RethinedOptions:
    parser = ArgumentParser()
    RethinedOptions.add_to(parser)
    return RethinedOptions.read(parser.parse_args(given))


@pytest.mark.parametrize(
    "given,named",
    [
        ([], "rethined-mobile"),
        (["--variant", "published"], "rethined-published-mobile"),
        (["--variant", "published", "--context", "masked"], "rethined-published-mobile"),
        (["--variant", "published", "--context", "full"], "rethined-published-full-mobile"),
        (
            ["--variant", "published", "--dialect", "mikanquyt"],
            "rethined-published-mikanquyt-mobile",
        ),
        (
            ["--variant", "published", "--dialect", "mikanquyt", "--context", "masked"],
            "rethined-published-mikanquyt-masked-mobile",
        ),
        (["--variant", "copy"], "rethined-copy"),
    ],
)
def test_file_names_tell_what_was_chosen(given, named):
    spec = ExportSpec("rethined", "onnx", read(*given), checkpoint="theirs.pth")
    assert spec.stem() == f"{named}-1024-gather-fp32"


@pytest.mark.parametrize(
    "given,said",
    [
        (["--dialect", "mikanquyt"], "--dialect is for --variant published, not paper"),
        (["--context", "full"], "--context is for --variant published, not paper"),
        (["--variant", "copy", "--dialect", "mikanquyt"], "--dialect is for --variant published"),
        (["--variant", "copy", "--upscale", "dense"], "--upscale dense"),
        (["--variant", "copy", "--upscale", "patches"], "--upscale patches"),
        (["--variant", "copy", "--top-k", "4"], "one patch a token, not 4"),
        (["--variant", "copy", "--preset", "paper"], "no preset paper"),
        (["--variant", "published", "--dialect", "mikan"], "did you mean mikanquyt?"),
        (["--variant", "copying"], "did you mean copy?"),
    ],
)
def test_contradictions_are_refused(given, said):
    with pytest.raises(UserError) as caught:
        read(*given)
    assert said in str(caught.value)


def test_a_copys_file_is_read_as_its_trainer_saves_it(tmp_path: Path):
    """Weights beside counters, metrics and the whole config."""
    model = untrained_copy(CopyConfig(widths=(8, 12, 16, 20, 24), head=6, d_k=32))
    settings = {"model": {"inpainter": {"attention_temperature": 0.25}}, "training": {"lr": 1e-3}}
    path = tmp_path / "best.pth"
    content = {"step": 3, "model_state_dict": model.state_dict(), "metrics": {"l1": 0.1}}
    torch.save(content | {"config": settings}, path)
    made = RECIPE.reference(read("--variant", "copy"), Source(path))
    assert isinstance(made.model, CopyModel)
    assert made.model.config.temperature == 0.25
    assert any(line.startswith("widths = ") for line in made.derived)
    assert RECIPE.recognises(frozenset(model.state_dict())) == 1
    settings["model"]["inpainter"]["use_transport"] = True
    torch.save(content | {"config": settings}, path)
    with pytest.raises(UserError, match="use_transport is True"):
        RECIPE.reference(read("--variant", "copy"), Source(path))


def test_no_weights_are_shipped_for_another_variant():
    assert RECIPE.shipped(read()) is not None
    assert RECIPE.shipped(read("--variant", "copy")) is None
    assert RECIPE.shipped(read("--variant", "published")) is None


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("fork", ["authors", "musashi", "mikanquyt", "copy"])
def test_programs_reproduce_the_originals(fork):
    """The rewritten graph, all keys mixed, within four times the original's own float32 noise."""
    stored, variant = golden(fork), "copy" if fork == "copy" else "published"
    model = from_tensors(stored.weights(), "paper", variant, DIALECTS.get(fork, AUTHORS)).model
    graph = CopyGraph(model, 1024) if fork == "copy" else ExportGraph(model, 1024, "dense")
    del model
    with torch.no_grad():
        output = graph(*scene())[0]
    name = {"copy": "hr_crop", "mikanquyt": "hr_final_crop"}.get(fork, "hr_masked_crop")
    expected, _ = stored.image(name)
    bound = 4 * stored.arrays["noise_fp32"][2] + 4 * torch.finfo(torch.float32).eps
    assert (output[0, :, 216:280, 512:576] - expected).abs().max().item() <= bound
