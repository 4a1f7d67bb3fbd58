"""LaMa: its options, programs, callers and its authors' way around the hole."""

from collections.abc import Mapping

import torch
from torch import nn

from rethined_export.converters.types import Program, Runner
from rethined_export.models.lama import PRESETS, Inpainter, Lama
from rethined_export.models.seeded import seed_weights
from rethined_export.recipes.lama.caller import NativeRunner, fill_padded
from rethined_export.recipes.lama.graph import rewritten
from rethined_export.recipes.lama.options import LamaOptions
from rethined_export.recipes.reference import loaded_reference, untrained_reference
from rethined_export.recipes.types import (
    Facts,
    Pipeline,
    Recipe,
    Reference,
    Source,
    image_info,
    plain_io,
    scene,
)

_PACKED = "RGB in [0, 1], 0 in the hole, and the mask, 1 = hole to fill"
_PAINTED = "RGB in (0, 1), known pixels painted too"


class LamaRecipe(Recipe[LamaOptions]):
    """One program; with ``--io native``, what lies around it is the caller's."""

    facts = Facts(
        name="lama",
        title="LaMa",
        paper="WACV 2022, arXiv:2109.07161",
        presets=tuple(PRESETS),
        sizes="multiples of 8 from 16 (preset dilated: from 72) to 2048",
        code_licence="Apache-2.0",
        weights_licence="no statement of their own beside the code's Apache-2.0",
        weights_from="github.com/advimman/lama (big-lama.zip, lama-models.zip)",
    )
    options = LamaOptions
    rewrites = (
        "real FFT and its inverse → products with constant matrices",
        "transposed convolution with output padding → one without padding, cropped",
        "reflect padding → slices; batch norms folded",
    )

    def reference(self, options: LamaOptions, source: Source | None) -> Reference:
        """A checkpoint, or a stand-in."""
        network = Lama(PRESETS[options.preset])
        if source is not None:
            return loaded_reference(Inpainter(network), network, source)
        seed_weights(network, network.config.gain)
        return untrained_reference(Inpainter(network))

    def program(self, options: LamaOptions, model: nn.Module, part: str) -> Program:
        """The whole, or the network alone."""
        assert isinstance(model, Inpainter)
        assert isinstance(model.lama, Lama)
        window, example = options.window, scene(options.window)
        network = rewritten(model.lama, *window)
        if options.io == "plain":
            return Program(Inpainter(network).eval(), example, *plain_io(window))
        packed = torch.cat([example["image"] * (1 - example["mask"]), example["mask"]], dim=1)
        takes = (image_info("input", 4, window, _PACKED),)
        return Program(
            network, {"input": packed}, takes, (image_info("output", 3, window, _PAINTED),)
        )

    def caller(self, options: LamaOptions, programs: Mapping[str, Runner]) -> Runner:
        """From image and mask to image."""
        return programs["whole"] if options.io == "plain" else NativeRunner(programs["whole"])

    def pipelines(self) -> Mapping[str, Pipeline]:
        """The authors': the photo at its own size."""
        return {"lama": fill_padded}

    def recognises(self, names: frozenset[str]) -> float:
        """By what only its blocks have; plain residual ones are pix2pixHD's too."""
        if "model.5.conv1.ffc.convg2g.fu.conv_layer.weight" in names:
            return 1.0
        if "model.13.conv_block.0.convs.0.weight" in names:
            return 1.0
        return 0.8 if {"model.13.conv_block.5.weight", "model.32.weight"} <= names else 0.0


RECIPE = LamaRecipe()
