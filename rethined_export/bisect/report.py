"""The whole of a search: an artifact, its manifest, one made anew like it, and the answer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rethined_export.artifacts import Manifest, read_manifest
from rethined_export.bisect.runs import search
from rethined_export.converters.reducing.types import EXACT
from rethined_export.converters.types import ArtifactError
from rethined_export.cores import worker_threads
from rethined_export.deployed import embedded_spec
from rethined_export.errors import UserError
from rethined_export.export import find_checkpoints, make
from rethined_export.jobs.parent import JobError, run_job
from rethined_export.photo.calibration import Calibration
from rethined_export.photo.masks import AS_IT_SAYS, MaskRule
from rethined_export.spec import ExportSpec

#: Largest difference of a tensor that is called equal, in shares of its largest magnitude. Kernels
#: of two runtimes, which sum in another order, were up to 2e-5 apart.
TOLERANCE = 1e-4
_CALIBRATING = "--calibration", "--calibration-masks"


@dataclass(frozen=True)
class Request:
    """What to search.

    Attributes:
        artifact: one program, whoever wrote it.
        reference: an artifact to compare it with, in place of a fresh conversion and torch; there
            has to be one where it is not ours.
        checkpoints: where the weights lie now; default: where they lay when it was exported.
        calibration, calibration_masks: where the pictures lie now that its activations were
            measured on; default as of weights.
        image, mask: photo to run on instead of the bundled ones. rule: how to read the mask.
        frame: which picture of its file the photo is.
    """

    artifact: Path
    reference: Path | None = None
    checkpoints: tuple[Path, ...] = ()
    calibration: Path | None = None
    calibration_masks: Path | None = None
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
        UserError: its reference cannot be told, or its weights or what it was calibrated on are
            not there.
        ArtifactError: it is no artifact.
        JobError: it cannot be loaded or run, or the photo cannot be used.
    """
    for path in filter(None, (request.artifact, request.reference)):
        if not path.exists():
            raise ArtifactError(f"{path} does not exist")
    manifest = _manifest(request)
    arguments: dict[str, Any] = {
        "path": str(request.artifact),
        "reference": _text(request.reference),
        "spec": manifest and manifest.spec.to_dict(),
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
        if manifest is not None and request.reference is None:
            fresh = Path(folder) / f"fresh{request.artifact.suffix}"
            try:
                _make_again(manifest, fresh, stage)
                arguments["fresh"] = str(fresh)
            except JobError as error:
                notes = [_alone(manifest.spec, error)]
        answer = run_job(search, arguments, stage)
    del answer["peak_rss_bytes"]
    return {**answer, "notes": [*notes, *answer["notes"]]}


def _make_again(manifest: Manifest, path: Path, stage: Callable[[str], None]) -> None:
    """Convert its weights once more, and reduce what that gives as it was reduced.

    Raises:
        JobError: it cannot be done.
        UserError: what activations were measured on is something else by now.
    """
    made = make(manifest.spec, path, lambda text: stage(f"once more: {text}"), keep=manifest.kept)
    if made["calibrated"] != manifest.calibrated:
        raise UserError(
            f"the pictures that {manifest.artifact} was calibrated on have changed: they were "
            f"{_told(manifest.calibrated)}, and are {_told(made['calibrated'])}; say with "
            "--calibration DIR and --calibration-masks DIR where those are, or export again"
        )


def _told(calibrated: dict[str, Any] | None) -> str:
    if calibrated is None:
        return "none"
    return f"{calibrated['scenes']} of sha256 {calibrated['sha256'][:12]}…"


def _alone(spec: ExportSpec, error: JobError) -> str:
    """Why an artifact is compared with torch only, and what that means for its precision."""
    losses = "" if spec.precision == EXACT else f", and what {spec.precision} loses departs too"
    return f"it could not be made again, so torch alone was asked{losses}: {error}"


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _manifest(request: Request) -> Manifest | None:
    """The manifest, with weights and pictures where they lie now; None for artifacts of others.

    Raises:
        UserError: it is another's and there is no reference, or has no manifest, weights or
            pictures to calibrate on.
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
    found = tuple(str(path) for path in find_checkpoints(manifest, request.checkpoints))
    spec = replace(manifest.spec, calibration=_calibration(manifest.spec, request))
    if found:
        spec = replace(spec, checkpoint=found[0], more_checkpoints=found[1:])
    return replace(manifest, spec=spec)


def _calibration(spec: ExportSpec, request: Request) -> Calibration | None:
    """What to measure activations on.

    Raises:
        UserError: pictures are given that it was not calibrated on, or are not where they were.
    """
    recorded, moved = spec.calibration, (request.calibration, request.calibration_masks)
    before = (None, None) if recorded is None else (recorded.photos, recorded.masks)
    for option, now, was in zip(_CALIBRATING, moved, before, strict=True):
        if now is not None and was is None:
            raise UserError(
                f"{option} {now}: {request.artifact} was not calibrated on such; leave it out"
            )
    if recorded is None or request.reference is not None:
        return recorded
    photos, masks = (_text(now) or was for now, was in zip(moved, before, strict=True))
    found = replace(recorded, photos=photos, masks=masks)
    try:
        found.check()
    except UserError as error:
        raise UserError(
            f"{request.artifact} was calibrated on pictures that are needed again: {error}"
        ) from error
    return found
