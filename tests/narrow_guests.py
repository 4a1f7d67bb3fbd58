"""Guest models a few channels wide, and their artifacts; light to import, for other processes."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from rethined_export.converters import converter, target_of
from rethined_export.parity.report import check_parity
from rethined_export.recipes import recipe
from rethined_export.recipes.options import Options
from rethined_export.recipes.types import Reference


@dataclass(frozen=True)
class Guest:
    """A network, and the options of its artifact."""

    options: Options
    model: nn.Module


def partial_conv() -> Guest:
    from rethined_export.models.partial_conv import (
        PRESETS,
        Inpainter,
        PartialConvNet,
        seed_stand_in,
    )
    from rethined_export.recipes.partial_conv.options import PartialConvOptions

    network = PartialConvNet(replace(PRESETS["256"], width=8)).requires_grad_(False)
    seed_stand_in(network)
    return Guest(PartialConvOptions(size="256x128"), Inpainter(network).eval())


def aot_gan() -> Guest:
    from rethined_export.models.aot_gan import (
        STAND_IN_GAIN,
        AotGan,
        AotGanConfig,
        AotGanInpainter,
    )
    from rethined_export.models.seeded import seed_weights
    from rethined_export.recipes.aot_gan.options import AotGanOptions

    network = AotGan(AotGanConfig("published", blocks=2, width=8)).requires_grad_(False)
    seed_weights(network, STAND_IN_GAIN)
    # A gate that is the same everywhere divides by no deviation; sums of halves are exact.
    gate = network.get_submodule("middle.0.gate.1")
    gate.weight[0], gate.bias[0] = 0, 0.5
    return Guest(AotGanOptions(size="96x64"), AotGanInpainter(network).eval())


def context_encoder() -> Guest:
    from rethined_export.models.context_encoder import (
        STAND_IN_GAIN,
        ContextEncoder,
        ContextEncoderConfig,
        Inpainter,
    )
    from rethined_export.models.seeded import seed_weights
    from rethined_export.recipes.context_encoder.options import ContextEncoderOptions

    network = ContextEncoder(ContextEncoderConfig("centre", width=8, bottleneck=40))
    seed_weights(network, STAND_IN_GAIN)
    network.requires_grad_(False)
    return Guest(ContextEncoderOptions(), Inpainter(network).eval())


GUESTS = {
    "partial-conv": partial_conv,
    "aot-gan": aot_gan,
    "context-encoder": context_encoder,
}


def write_artifact(name: str, target: str, path: Path) -> Path:
    """Convert in a process of its own: this one may have loaded an artifact before."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(_convert, name, target, path).result()
    return path


def _convert(name: str, target: str, path: Path) -> None:
    guest = GUESTS[name]()
    converter(target).convert(recipe(name).program(guest.options, guest.model, "whole"), path)


def failures(name: str, artifact: Path, scenes: int = 1) -> list[str]:
    """Gates that an artifact misses on the last bundled photos, whose holes are the largest."""
    guest, chosen = GUESTS[name](), recipe(name)
    judge = chosen.judge(guest.options, Reference(guest.model, "untrained", ""))
    photos = list(chosen.scenes(guest.options, None, None))[-scenes:]
    with converter(target_of(artifact)).load(artifact, 1) as runtime:
        runner = chosen.caller(guest.options, {"whole": runtime})
        return check_parity(judge, runner, "", photos).failures
