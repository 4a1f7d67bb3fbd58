"""Artifacts on disk as functions: what a file says it is decides how it is run."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from rethined_export.artifacts import ExportSpec
from rethined_export.converters import converter, target_of
from rethined_export.converters.types import Converter, Runner
from rethined_export.errors import UserError
from rethined_export.recipes.rethined.caller import LOW_RESOLUTION, Pair, PairRuntime


def embedded_spec(artifact: Path) -> ExportSpec:
    """The spec embedded in an artifact.

    Raises:
        ArtifactError: not an artifact, or unreadable.
        UserError: it holds no spec, or a damaged one.
    """
    text = converter(target_of(artifact)).metadata(artifact).get("rethined.spec")
    if text is None:
        raise UserError(f"{artifact} was not made by rethined-export (no rethined.spec in it)")
    try:
        return ExportSpec(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise UserError(f"{artifact} holds a damaged rethined.spec; export it again") from error


@contextmanager
def image_runtime(artifact: Path | None, side: int, threads: int) -> Iterator[Runner]:
    """A function from image and mask to image: a whole artifact, a split pair, or torch.

    Args:
        artifact: a whole, or the low half of a pair; None runs the rewritten torch graph of the
            shipped mobile weights.
        side: of the torch graph's image.
    """
    if artifact is None:
        from rethined_export.recipes.rethined.programs import TorchRuntime, whole_graph
        from rethined_export.recipes.rethined.weights import load_weights

        spec = ExportSpec("onnx", "mobile", "paper", side, "gather", 1, None)
        graph = whole_graph(spec, load_weights(None, spec.preset, spec.variant).model)
        yield TorchRuntime(graph, graph.output_names)
    elif embedded_spec(artifact).part == "whole":
        with converter(target_of(artifact)).load(artifact, threads) as runtime:
            yield runtime
    else:
        with split_pair(artifact, threads) as pair:
            yield PairRuntime(pair, "split pair")


@contextmanager
def split_pair(artifact: Path, threads: int) -> Iterator[Pair]:
    """A split pair from its low half; the patch half lies beside it.

    Raises:
        UserError: this is the patch half, or there is none beside it.
    """
    spec = embedded_spec(artifact)
    if spec.part != "low":
        raise UserError(f"{artifact} is the patch half of a split pair; give the low half")
    scale = spec.hr // LOW_RESOLUTION
    other = replace(spec, part="patch")
    name = artifact.name.replace(f"-{spec.form()}-", f"-{other.form()}-")
    partner = artifact.with_name(name)
    if scale > 1 and (partner == artifact or not partner.exists()):
        raise UserError(f"the patch half of {artifact} is not beside it ({name})")
    target = converter(target_of(artifact))
    coherence = has_coherence(target, artifact)
    with ExitStack() as stack:
        low = stack.enter_context(target.load(artifact, threads))
        patch = stack.enter_context(target.load(partner, threads)) if scale > 1 else None
        yield Pair(low, patch, scale, spec.places, spec.top_k, coherence)


def has_coherence(target: Converter, low: Path) -> bool:
    """Whether a pair's low half ends in a coherence layer; it then takes ``rows``."""
    return target.metadata(low)["rethined.coherence"] == "true"
