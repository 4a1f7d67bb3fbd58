"""The whole of a search: an artifact, its manifest, a fresh conversion, and the answer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rethined_export.artifacts import read_manifest
from rethined_export.bisect.runs import search
from rethined_export.converters.types import ArtifactError
from rethined_export.cores import worker_threads
from rethined_export.deployed import embedded_spec
from rethined_export.errors import UserError
from rethined_export.export import convert, find_checkpoints
from rethined_export.jobs.parent import JobError, run_job
from rethined_export.photo.masks import AS_IT_SAYS, MaskRule

#: Largest difference of a tensor that is called equal, in shares of its largest magnitude. Kernels
#: of two runtimes, which sum in another order, were up to 2e-5 apart.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Request:
    """What to search.

    Attributes:
        artifact: one program, whoever wrote it.
        reference: an artifact to compare it with, in place of a fresh conversion and torch; there
            has to be one where it is not ours.
        checkpoints: where the weights lie now; default: where they lay when it was exported.
        image, mask: photo to run on instead of the bundled ones. rule: how to read the mask.
        frame: which picture of its file the photo is.
    """

    artifact: Path
    reference: Path | None = None
    checkpoints: tuple[Path, ...] = ()
    tolerance: float = TOLERANCE
    image: Path | None = None
    mask: Path | None = None
    rule: MaskRule = AS_IT_SAYS
    frame: int = 1


def bisect(request: Request, stage: Callable[[str], None]) -> dict[str, Any]:
    """Find the first operator of an artifact that departs from its reference.

    Returns:
        The answer as ``--json`` has it.

    Raises:
        UserError: its reference cannot be told, or its weights are not there.
        ArtifactError: it is no artifact.
        JobError: it cannot be loaded or run, or the photo cannot be used.
    """
    for path in filter(None, (request.artifact, request.reference)):
        if not path.exists():
            raise ArtifactError(f"{path} does not exist")
    spec = _spec(request)
    arguments: dict[str, Any] = {
        "path": str(request.artifact),
        "reference": _text(request.reference),
        "spec": spec,
        "fresh": None,
        "threads": worker_threads(),
        "tolerance": request.tolerance,
        "image": _text(request.image),
        "mask": _text(request.mask),
        "rule": asdict(request.rule),
        "frame": request.frame,
    }
    with tempfile.TemporaryDirectory(prefix="rethined-") as folder:
        notes = []
        if spec is not None and request.reference is None:
            fresh = Path(folder) / f"fresh{request.artifact.suffix}"
            try:
                _convert_again(spec, fresh, stage)
                arguments["fresh"] = str(fresh)
            except JobError as error:
                notes = [f"it could not be converted again, so torch alone was asked: {error}"]
        answer = run_job(search, arguments, stage)
    del answer["peak_rss_bytes"]
    return {**answer, "notes": [*notes, *answer["notes"]]}


def _convert_again(spec: dict[str, Any], path: Path, stage: Callable[[str], None]) -> None:
    arguments = {"spec": spec, "path": str(path), "threads": worker_threads()}
    run_job(convert, arguments, lambda text: stage(f"once more: {text}"))


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _spec(request: Request) -> dict[str, Any] | None:
    """The spec by the manifest, its checkpoints where they lie now; None for artifacts of others.

    Raises:
        UserError: it is another's and there is no reference, or has no manifest or weights.
    """
    artifact = request.artifact
    try:
        embedded_spec(artifact)
    except UserError:
        if request.reference is not None:
            return None
        raise UserError(
            f"{artifact} was not made by rethined-export, so nothing says what it should compute; "
            "give another file of the same network with --reference"
        ) from None
    manifest = read_manifest(artifact)
    found = [str(path) for path in find_checkpoints(manifest, request.checkpoints)]
    places = {"checkpoint": found[0], "more_checkpoints": found[1:]} if found else {}
    return {**manifest.spec.to_dict(), **places}
