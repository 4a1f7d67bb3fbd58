"""Saved artifacts as functions: what a file says it is decides how it is run."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from rethined_export.converters import converter, target_of
from rethined_export.converters.types import Runner
from rethined_export.errors import UserError
from rethined_export.photo.squares import FillPhoto
from rethined_export.recipes.types import TorchRunner
from rethined_export.spec import ExportSpec, load_reference


@dataclass(frozen=True)
class Deployed:
    """A model's programs, ready to run.

    Attributes:
        programs: by part.
        threads: that they were loaded for, and that their caller uses.
    """

    spec: ExportSpec
    programs: Mapping[str, Runner]
    threads: int

    @property
    def runner(self) -> Runner:
        """From image and mask to image."""
        return self.spec.recipe.caller(self.spec.options, self.programs)

    @property
    def photo_caller(self) -> FillPhoto | None:
        """What fills a photo in place at its own resolution, where the model can."""
        return self.spec.recipe.photo_caller(self.spec.options, self.programs, self.threads)


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
        return ExportSpec.from_dict(json.loads(text))
    except (ValueError, TypeError, UserError) as error:
        raise UserError(
            f"{artifact} holds a rethined.spec of another version, or a damaged one; export it "
            "again"
        ) from error


@contextmanager
def deployed(artifact: Path, threads: int) -> Iterator[Deployed]:
    """An artifact, with the model's other programs, which lie beside it.

    Args:
        artifact: the only program, or the first of several.

    Raises:
        ArtifactError: it, or another, cannot be loaded.
        UserError: it is not the first program, or another is not beside it.
    """
    spec = embedded_spec(artifact)
    paths = partners(artifact, spec)
    target = converter(target_of(artifact))
    with ExitStack() as stack:
        programs = {p: stack.enter_context(target.load(path, threads)) for p, path in paths.items()}
        yield Deployed(spec, programs, threads)


def partners(artifact: Path, spec: ExportSpec) -> dict[str, Path]:
    """The file of each part, the first being an artifact.

    Raises:
        UserError: it is not the first, or another is not beside it.
    """
    first, *others = spec.parts
    if spec.part != first:
        raise UserError(f"{artifact} is the {spec.part} program of several; give the {first} one")
    paths = {first: artifact}
    for other in others:
        # A renamed file keeps its partners as long as they were renamed alike.
        name = artifact.name.replace(
            f"-{spec.options.form(first)}-", f"-{spec.options.form(other)}-"
        )
        paths[other] = artifact.with_name(name)
        if paths[other] == artifact or not paths[other].exists():
            raise UserError(f"the {other} program of {artifact} is not beside it ({name})")
    return paths


def in_torch(spec: ExportSpec, threads: int) -> Deployed:
    """The programs of a spec in torch, without any artifact.

    Raises:
        UserError: the weights cannot be used.
    """
    torch.set_num_threads(threads)
    recipe, model = spec.recipe, load_reference(spec).model
    programs = {p: TorchRunner(recipe.program(spec.options, model, p)) for p in spec.parts}
    return Deployed(spec, programs, threads)
