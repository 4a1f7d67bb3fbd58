"""What each kind of RETHINED artifact computes: the torch module, its inputs and outputs."""

import torch

from rethined_export.converters.types import Program, TensorInfo
from rethined_export.models.rethined import LOW_RESOLUTION, Inpainter, Rethined
from rethined_export.models.rethined.config import PATCH, TOKENS
from rethined_export.models.rethined.copying import CopyModel
from rethined_export.photo.window import Window
from rethined_export.recipes.rethined.copying import CopyGraph
from rethined_export.recipes.rethined.dropin import HoleGraph
from rethined_export.recipes.rethined.graph import ExportGraph
from rethined_export.recipes.rethined.holes import Choosing, Looking
from rethined_export.recipes.rethined.options import RethinedOptions
from rethined_export.recipes.rethined.patches import LOW_WINDOW, PatchStage
from rethined_export.recipes.rethined.windows import BATCH
from rethined_export.recipes.types import HOLE, RGB, image_info, scene
from rethined_export.rewrite.surroundings import CODE

_LOW = Window.square(LOW_RESOLUTION)


def whole_graph(options: RethinedOptions, model: Inpainter) -> ExportGraph | HoleGraph | CopyGraph:
    """Image and mask to image; for a part, the whole it belongs to."""
    if isinstance(model, CopyModel):
        return CopyGraph(model, options.hr)
    assert isinstance(model, Rethined)
    if options.upscale == "patches":
        return HoleGraph(model, options.hr, options.places, options.ranks)
    return ExportGraph(
        model, options.hr, "dense" if options.upscale == "dense" else "gather", options.ranks
    )


def whole(options: RethinedOptions, model: Inpainter) -> Program:
    """One file: image and mask to image, and what was copied from where."""
    window, shape = options.window, (1, TOKENS, options.ranks)
    takes = (image_info("image", 3, window, RGB), image_info("mask", 1, window, HOLE))
    said = "RGB, about [0, 1]; clip before rounding to 8 bits"
    gives = [image_info("output", 3, window, said)]
    if options.upscale != "dense":
        indices = "patch each token copies; rows of known tokens carry no meaning"
        gives.append(TensorInfo("indices", shape, "NTK", "int32", indices))
        gives.append(TensorInfo("scores", shape, "NTK", "float32", "their attention scores"))
    if options.upscale == "patches":
        over = "hole tokens over the budget, left as they came"
        gives.append(TensorInfo("left", (1,), "N", "int32", over))
    return Program(whole_graph(options, model), scene(window), takes, tuple(gives))


def low(options: RethinedOptions, model: Rethined) -> Program:
    """First of a pair: the photo at 512² to all that its hole tokens have in common."""
    inputs = scene(_LOW)
    takes = (image_info("image", 3, _LOW, RGB), image_info("mask", 1, _LOW, HOLE))
    return Program(Looking(model), inputs, takes, _seen(model))


def _seen(model: Rethined) -> tuple[TensorInfo, ...]:
    """What the first program says and the second reads; planes in every target."""
    size = model.config.d_k + CODE * model.config.surroundings + 1  # and the hole's bias
    said = "coarse image in the hole, photo elsewhere"
    shares = "how much of copied details each pixel takes, in [0, 1]"
    return (
        TensorInfo("composite", (1, 3, *_LOW), "BCHW", "float32", said),
        TensorInfo("details", (1, 3, *_LOW), "BCHW", "float32", "composite less its blur"),
        TensorInfo("queries", (TOKENS, size), "ND", "float32", "of each token, over √d"),
        TensorInfo("keys", (size, TOKENS), "DN", "float32", "of each token"),
        TensorInfo("shares", (1, 1, *_LOW), "BCHW", "float32", shares),
    )


def choose(options: RethinedOptions, model: Rethined) -> Program:
    """Second of a pair, run once for every K hole tokens: what to copy for each."""
    listed, ranks = options.places, options.ranks
    module, seen = Choosing(model, ranks), _seen(model)
    inputs = {info.name: torch.rand(info.shape) for info in seen}
    inputs["tokens"] = torch.arange(listed, dtype=torch.int32)
    said = "hole tokens; spare places repeat any"
    takes = [*seen, TensorInfo("tokens", (listed,), "K", "int32", said)]
    if module.coherent:
        inputs["rows"] = torch.arange(TOKENS, dtype=torch.int32).clamp(max=listed)
        place = f"place of each in tokens, else {listed}"
        takes.append(TensorInfo("rows", (TOKENS,), "N", "int32", place))
    gives = (
        TensorInfo("low", (listed, PATCH, 3, PATCH), "KHCW", "float32", "filled patches"),
        TensorInfo("indices", (1, listed, ranks), "NTK", "int32", "token each one copies"),
        TensorInfo("scores", (1, listed, ranks), "NTK", "float32", "their attention scores"),
    )
    return Program(module, inputs, tuple(takes), gives)


def patch(options: RethinedOptions) -> Program:
    """A pair's last, where asked for: patches of the photo to those of its hole."""
    scale, sources = options.hr // LOW_RESOLUTION, BATCH * options.ranks
    size = PATCH * scale
    inputs = {
        "sources": torch.rand(sources, size, 3, size),
        "low_sources": torch.rand(sources, LOW_WINDOW, 3, LOW_WINDOW),
        "low_targets": torch.rand(BATCH, LOW_WINDOW, 3, LOW_WINDOW),
    }
    meanings = {
        "sources": ("BHCW", "patches of the photo, RGB at any scale"),
        "low_sources": ("BHCW", "low image around them, same scale"),
        "low_targets": ("BHCW", "low image around the patches to fill, same scale"),
        "weights": ("BK", "sum to 1"),
    }
    if options.ranks > 1:
        inputs["weights"] = torch.full((BATCH, options.ranks), 1 / options.ranks)
    takes = tuple(
        TensorInfo(name, tuple(value.shape), meanings[name][0], "float32", meanings[name][1])
        for name, value in inputs.items()
    )
    said = "RGB at the scale of the inputs; clip before rounding"
    gives = (TensorInfo("patches", (BATCH, size, 3, size), "BHCW", "float32", said),)
    return Program(PatchStage(scale, options.ranks).eval(), inputs, takes, gives)
