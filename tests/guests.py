"""Guest models a few channels wide, their artifacts, and how those are judged."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import nn

from rethined_export.converters import TARGETS, converter, target_of
from rethined_export.converters.types import Runner
from rethined_export.models import (
    aot_gan,
    context_encoder,
    deepfill,
    dfnet,
    hifill,
    lama,
    migan,
    partial_conv,
    pmrf,
    repaint,
    twostage,
)
from rethined_export.models.seeded import seed_weights
from rethined_export.parity.gates import Gate
from rethined_export.parity.report import check_parity
from rethined_export.recipes import recipe
from rethined_export.recipes.aot_gan.options import AotGanOptions
from rethined_export.recipes.context_encoder.options import ContextEncoderOptions
from rethined_export.recipes.deepfill.options import DeepfillOptions
from rethined_export.recipes.dfnet.options import DfNetOptions
from rethined_export.recipes.hifill.options import HiFillOptions
from rethined_export.recipes.lama.options import LamaOptions
from rethined_export.recipes.migan.options import MiGanOptions
from rethined_export.recipes.options import Options
from rethined_export.recipes.partial_conv.options import PartialConvOptions
from rethined_export.recipes.pmrf.options import PmrfOptions
from rethined_export.recipes.repaint.options import RepaintOptions
from rethined_export.recipes.twostage.options import TwoStageOptions
from rethined_export.recipes.types import Reference

Artifacts = dict[str, Path]


@dataclass(frozen=True)
class Guest:
    """A network, by the name of its recipe, and the options of its artifacts."""

    name: str
    options: Options
    model: nn.Module

    def write(self, target: str, folder: Path) -> Artifacts:
        """Convert all parts."""
        chosen, paths = recipe(self.name), {}
        for part in chosen.parts(self.options):
            paths[part] = folder / f"{part}{TARGETS[target].suffix}"
            program = chosen.program(self.options, self.model, part)
            converter(target).convert(program, paths[part])
        return paths

    def failures(
        self, artifacts: Artifacts, scenes: int = 1, gate: Gate | None = None
    ) -> list[str]:
        """Gates that artifacts miss on the last bundled photos, whose holes are the largest.

        Args:
            gate: of their precision; None: fp32.
        """
        chosen = recipe(self.name)
        judge = chosen.judge(self.options, Reference(self.model, "untrained", ""))
        photos = list(chosen.scenes(self.options, None, None))[-scenes:]
        runners: dict[str, Runner] = {
            part: converter(target_of(path)).load(path, 1) for part, path in artifacts.items()
        }
        caller = chosen.caller(self.options, runners)
        return check_parity(judge, caller, "", photos, gate).failures


def narrow_partial_conv() -> Guest:
    network = partial_conv.PartialConvNet(replace(partial_conv.PRESETS["256"], width=8))
    partial_conv.seed_stand_in(network.requires_grad_(False))
    options = PartialConvOptions(size="256x128")
    return Guest("partial-conv", options, partial_conv.Inpainter(network).eval())


def narrow_aot_gan() -> Guest:
    network = aot_gan.AotGan(aot_gan.AotGanConfig("published", blocks=2, width=8))
    seed_weights(network.requires_grad_(False), aot_gan.STAND_IN_GAIN)
    # A gate that is the same everywhere divides by no deviation; sums of halves are exact.
    gate = network.get_submodule("middle.0.gate.1")
    gate.weight[0], gate.bias[0] = 0, 0.5
    return Guest("aot-gan", AotGanOptions(size="96x64"), aot_gan.AotGanInpainter(network).eval())


def narrow_context_encoder() -> Guest:
    config = context_encoder.ContextEncoderConfig("centre", width=8, bottleneck=40)
    network = context_encoder.ContextEncoder(config).requires_grad_(False)
    seed_weights(network, context_encoder.STAND_IN_GAIN)
    inpainter = context_encoder.Inpainter(network).eval()
    return Guest("context-encoder", ContextEncoderOptions(), inpainter)


def narrow_dfnet() -> Guest:
    network = dfnet.DfNet((16, 12, 10, 8, 8, 8, 8, 8)).requires_grad_(False)
    seed_weights(network, dfnet.STAND_IN_GAIN)
    return Guest("dfnet", DfNetOptions(size="512x256"), dfnet.DfNetInpainter(network).eval())


def narrow_two_stage(io: str = "plain") -> Guest:
    """Half as wide again as high: enlarged by no whole number, with black above and below."""
    widths = (12, 10, 9, 8, 8, 8, 8, 8), (10, 12, 9, 8, 8, 8, 8, 8)
    networks = twostage.TwoStageNetworks(*widths).requires_grad_(False)
    seed_weights(networks.coarse, dfnet.STAND_IN_GAIN)
    seed_weights(networks.refine, dfnet.STAND_IN_GAIN)
    options = TwoStageOptions(size="768x512", io=io)
    return Guest("two-stage", options, twostage.TwoStageInpainter(networks).eval())


def narrow_deepfill(preset: str, size: str = "80x72") -> Guest:
    """By default 9 positions high and 10 wide, so that neither side can be taken for the other."""
    config = deepfill.PRESETS[preset]
    small = replace(config, width=4, painter_width=config.painter_width // 6)
    network = deepfill.Deepfill(small).requires_grad_(False)
    seed_weights(network, config.gain, deepfill.fixed_keys(network))
    options = DeepfillOptions(preset=preset, size=size)
    return Guest("deepfill", options, deepfill.DeepfillInpainter(network).eval())


def narrow_hifill() -> Guest:
    """Half of the positions along each side, and residuals of an image twice as large.

    With a width of 4 the map of positions is a cube of 16, and a TFLite file of it is wrong by
    0.03, which parity tells and ``rethined-bisect`` traces to the product that mixes the first of
    the four phases: the converter joins the transposition that numbers its positions column by
    column with that to NHWC, and drops both.
    """
    network = hifill.HiFill(hifill.HiFillConfig("places2", side=256, width=3))
    hifill.seed_stand_in(network.requires_grad_(False))
    for name, tensor in network.named_parameters():
        # Of so few channels little would pass so many gates, and no patch would win.
        tensor.mul_(1.3 if name.startswith("generator/re_") else 1)
    inpainter = hifill.HiFillInpainter(network, network.config).eval()
    return Guest("hifill", HiFillOptions(size="512x512"), inpainter)


def narrow_lama() -> Guest:
    network = lama.Lama(replace(lama.PRESETS["fourier"], width=8, blocks=1)).requires_grad_(False)
    seed_weights(network, gain=1.0)
    options = LamaOptions(preset="fourier", size="96x64")
    return Guest("lama", options, lama.Inpainter(network).eval())


def narrow_migan() -> Guest:
    config = migan.MiGanConfig("256", 256, channel_base=4096, channel_max=32)
    network = migan.MiGan(config).requires_grad_(False)
    seed_weights(network, migan.STAND_IN_GAIN["256"], migan.fixed_keys(network))
    return Guest("migan", MiGanOptions(), migan.MiGanInpainter(network).eval())


def narrow_repaint(io: str = "plain") -> Guest:
    """A level less than the tiny preset; groups of 32 channels let it be no narrower."""
    options = RepaintOptions(preset="tiny", steps=20, jumps="5x2", io=io)
    config = replace(repaint.PRESETS["tiny"], widths=(1, 2), attention=(2,))
    network = repaint.RepaintUNet(config).eval().requires_grad_(False)
    seed_weights(network, repaint.STAND_IN_GAIN)
    model = repaint.RepaintInpainter(network, options.schedule).eval()
    return Guest("repaint", options, model)


def narrow_pmrf() -> Guest:
    """One stage of each kind, whose single block a level makes two updates of the mask."""
    config = replace(
        pmrf.PRESETS["slides"], width=4, key_width=8, masked_stages=1, attended_stages=1
    )
    network = pmrf.Pmrf(config).requires_grad_(False)
    pmrf.seed_stand_in(network)
    return Guest("pmrf", PmrfOptions(size="96x64"), pmrf.Inpainter(network).eval())


#: DeepFill without and with fusing; a square's transpositions may be merged as they may not be.
GUESTS: dict[str, Callable[[], Guest]] = {
    "partial-conv": narrow_partial_conv,
    "aot-gan": narrow_aot_gan,
    "context-encoder": narrow_context_encoder,
    "dfnet": narrow_dfnet,
    "two-stage": narrow_two_stage,
    "deepfill v2-tf": partial(narrow_deepfill, "v2-tf"),
    "deepfill v1-daa": partial(narrow_deepfill, "v1-daa", "96x96"),
    "hifill": narrow_hifill,
    "lama": narrow_lama,
    "repaint": narrow_repaint,
    "migan": narrow_migan,
    "pmrf": narrow_pmrf,
}
