"""What the programs of a pair are measured on, and held to."""

from dataclasses import replace

import numpy as np

from rethined_export.models.rethined import LOW_RESOLUTION, Rethined
from rethined_export.parity.gates import GATES
from rethined_export.recipes.rethined.options import RethinedOptions
from rethined_export.recipes.types import UNTRAINED, Reference, TorchRunner
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


def test_a_pair_is_judged_where_its_whole_would_run_out_of_budget() -> None:
    """The whole graph fills a tenth of the tokens; the pair, and what it is held to, all."""
    model: Rethined = small_model(replace(small_config(), coherence=False))
    options = RethinedOptions(hr=512, upscale="patches", split=True)
    spec = ExportSpec("rethined", "onnx", options)
    programs = {part: TorchRunner(spec.recipe.program(options, model, part)) for part in spec.parts}
    judge = spec.recipe.judge(options, Reference(model, UNTRAINED, ""))
    scene = list(spec.recipe.scenes(options, None, None))[-1]
    assert scene.cover > 0.4
    outputs = spec.recipe.caller(options, programs)(**scene.inputs)
    # The same arithmetic in another order; a tie may be broken otherwise, which costs a patch.
    assert judge.fidelity(outputs, scene).psnr_hole_db >= GATES["fp16"].psnr_hole_db
