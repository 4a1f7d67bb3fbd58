"""What every recipe promises, whatever its model: a new one is held to it by its registry line."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rethined_export.parity.report import REWRITE_GATE
from rethined_export.recipes import RECIPES, recipe
from rethined_export.recipes.options import Options
from rethined_export.recipes.types import Reference, TorchRunner
from rethined_export.reduction.samples import Samples
from rethined_export.spec import ExportSpec, load_reference

DOCS = Path(__file__).parents[2] / "docs" / "models"
GOLDEN = Path(__file__).parents[1] / "golden"
#: A bring-your-own module has no options of its own to stand for.
MODELS = [model for model in RECIPES if model != "module"]
#: The smallest network and window of a model; the default's where it has only one size.
SMALL = {
    "lama": {"preset": "regular", "size": "64x48"},
    "deepfill": {"preset": "v1-daa", "size": "72x64"},
    "partial-conv": {"size": "128x256"},
    "aot-gan": {"size": "64x48"},
    "dfnet": {"size": "256x256"},
    "hifill": {"size": "512x512"},
    "two-stage": {"size": "256x256"},
    "repaint": {"preset": "tiny", "steps": 3, "jumps": "1x2"},
    "pmrf": {"size": "64x48"},
}


def options_of(model: str, **changes: object) -> Options:
    return recipe(model).options(**(SMALL.get(model, {}) | changes))


def spec_of(model: str, **changes: object) -> ExportSpec:
    return ExportSpec(model, "onnx", options_of(model, **changes), untrained=True)


@pytest.fixture(scope="module", params=[model for model in MODELS if model != "rethined"])
def stand_in(request: pytest.FixtureRequest) -> tuple[ExportSpec, torch.nn.Module]:
    """A small spec and its seeded network; RETHINED's own tests do this for its many forms."""
    spec = spec_of(request.param)
    return spec, load_reference(spec).model


@pytest.mark.parametrize("model", MODELS)
def test_options_go_through_a_manifest(model: str) -> None:
    spec = spec_of(model)
    assert ExportSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize("model", MODELS)
def test_every_preset_is_told_and_has_a_file_name_of_its_own(model: str) -> None:
    facts = recipe(model).facts
    assert facts.name == model
    names = {spec_of(model, preset=preset).file_name() for preset in facts.presets}
    assert len(names) == len(facts.presets)
    assert all(name.startswith(f"{model}-untrained-") for name in names)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_a_page(model: str) -> None:
    text = (DOCS / f"{model}.md").read_text()
    for preset in recipe(model).facts.presets:
        assert preset in text


@pytest.mark.parametrize("model", MODELS)
def test_options_are_explained(model: str) -> None:
    for field in dataclasses.fields(recipe(model).options):
        if "setting" in field.metadata:
            assert field.metadata["setting"].help


def test_programs_are_what_they_say(stand_in: tuple[ExportSpec, torch.nn.Module]) -> None:
    spec, model = stand_in
    ways = ("plain", "native") if "io" in {f.name for f in dataclasses.fields(spec.options)} else ()
    for io in ways:
        options = dataclasses.replace(spec.options, io=io)
        for part in spec.recipe.parts(options):
            program = spec.recipe.program(options, model, part)
            taken = {info.name: info.shape for info in program.takes}
            assert taken == {name: tuple(x.shape) for name, x in program.inputs.items()}
            made = TorchRunner(program)(**{name: x.numpy() for name, x in program.inputs.items()})
            assert {info.name: info.shape for info in program.gives} == {
                name: value.shape for name, value in made.items()
            }


@pytest.mark.parametrize("io", ["plain", "native"])
def test_programs_and_their_caller_equal_the_reference(
    io: str, stand_in: tuple[ExportSpec, torch.nn.Module]
) -> None:
    """Whatever way it is called; what lies in the hole must not matter, known pixels come back."""
    spec, model = stand_in
    options = dataclasses.replace(spec.options, io=io)
    programs = {
        part: TorchRunner(spec.recipe.program(options, model, part))
        for part in spec.recipe.parts(options)
    }
    caller = spec.recipe.caller(options, programs)
    photo = next(iter(spec.recipe.scenes(options, None, None)))  # a hole that it can fill
    image, mask = photo.image, photo.mask
    with torch.no_grad():
        truth = model(image, mask).numpy()
    hidden = torch.where(mask > 0, torch.rand_like(image), image).numpy()
    for given in (image.numpy(), hidden):
        made = caller(image=given, mask=mask.numpy())["output"]
        assert np.abs(made - truth).max() <= REWRITE_GATE
        known = mask.numpy().repeat(3, axis=1) == 0
        np.testing.assert_array_equal(made[known], given[known])


def test_activations_can_be_measured(stand_in: tuple[ExportSpec, torch.nn.Module]) -> None:
    """Each program is given what it takes, whoever calls it."""
    spec, model = stand_in
    has_native = "io" in {field.name for field in dataclasses.fields(spec.options)}
    for io in ("plain", "native") if has_native else ("plain",):
        options = dataclasses.replace(spec.options, io=io) if has_native else spec.options
        for part in spec.recipe.parts(options):
            program = spec.recipe.program(options, model, part)
            own = dataclasses.replace(spec, options=options, part=part)
            samples = Samples(own, Reference(model, "untrained", ""), count=1)
            first, *_ = samples()
            shapes = {name: value.shape for name, value in first.items()}
            assert shapes == {info.name: info.shape for info in program.takes}
            assert samples.fingerprint is not None
            assert samples.fingerprint.scenes == 1


def test_a_model_knows_its_own_tensors(stand_in: tuple[ExportSpec, torch.nn.Module]) -> None:
    spec, model = stand_in
    network = next(iter(model.children()))
    names = frozenset(network.state_dict())
    scores = {other: recipe(other).recognises(names) for other in RECIPES}
    assert max(scores, key=scores.__getitem__) == spec.model
    assert scores[spec.model] > 0
