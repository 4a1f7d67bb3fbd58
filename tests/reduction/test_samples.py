"""What the programs of a pair are measured on."""

from dataclasses import replace

import numpy as np

from rethined_export.models.rethined import LOW_RESOLUTION, Rethined
from rethined_export.recipes.rethined.options import RethinedOptions
from rethined_export.recipes.types import Reference
from rethined_export.reduction.samples import Samples
from rethined_export.spec import ExportSpec
from tests.small import small_config, small_model


def test_each_program_is_given_what_the_twins_of_the_others_give() -> None:
    model: Rethined = small_model(replace(small_config(), coherence=False))
    options = RethinedOptions(hr=1024, upscale="patches", split=True)
    spec = ExportSpec("rethined", "onnx", options)
    for part, image in (("low", "image"), ("choose", "composite")):
        samples = Samples(replace(spec, part=part), Reference(model, "small", ""), count=1)
        [first, *more] = list(samples())
        assert first[image].shape == (1, 3, LOW_RESOLUTION, LOW_RESOLUTION)
        assert np.isfinite(first[image]).all()
        program = spec.recipe.program(options, model, part)
        for sample in (first, *more):
            shapes = {name: value.shape for name, value in sample.items()}
            assert shapes == {info.name: info.shape for info in program.takes}
