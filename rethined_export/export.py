"""The export pipeline: weights → rewritten graph → converter → artifact → parity → manifest."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from rethined_export.artifacts import (
    Manifest,
    hash_artifact,
    manifest_path,
    publish,
    remove,
    size_of,
    tool_versions,
)
from rethined_export.checkpoints import CheckpointError, combined, digest
from rethined_export.converters import TARGETS, converter, installed
from rethined_export.converters.diagnosis import diagnose
from rethined_export.converters.reducing.types import EXACT, PRECISIONS
from rethined_export.converters.types import (
    CHANNELS_LAST,
    Converter,
    Program,
    Runner,
    TensorInfo,
    UnsupportedOperatorError,
)
from rethined_export.cores import worker_threads
from rethined_export.errors import ParityError, UserError
from rethined_export.jobs.parent import (
    JobError,
    OnStage,
    run_job,
    scratch_name,
    stale_scratch,
)
from rethined_export.jobs.registry import Report, job
from rethined_export.output import place_of, prepare
from rethined_export.parity.gates import GATES, Gate
from rethined_export.parity.report import check_parity
from rethined_export.photo.masks import AS_IT_SAYS, MaskRule
from rethined_export.recipes.types import TorchRunner
from rethined_export.reduction.reduce import reduce
from rethined_export.reduction.rounding import round_weights
from rethined_export.reduction.samples import Samples
from rethined_export.spec import ExportSpec, load_reference

#: How an image is held in 8 bits.
_AS_INTEGERS = {"int8": ", as int8: value · 255 - 128", "uint8": ", as uint8: value · 255"}
_LOCK = ".rethined-export.lock"
#: Photos that weights are rounded on.
_ROUNDED_ON = 8
#: The parity of ``--json`` where the gates were not run.
NOT_RUN: dict[str, Any] = {
    "passed": None,
    "status": "not run",
    "max_abs": None,
    "mean_abs": None,
    "psnr_hole_db": None,
    "index_flips": None,
}


@dataclass(frozen=True)
class ExportRequest:
    """What one call exports.

    Attributes:
        specs: one artifact each.
        output: folder for artifacts and manifests; created if missing.
        verify: compare each with torch; off means the gates are reported as not run.
        image, mask: photo to compare on instead of the bundled ones; both or neither.
        rule: how to read the mask. frame: which picture of its file the photo is.
        overwrite: replace artifacts that exist.
        accept_quality: keep artifacts that miss the gate of their precision, and sign what they
            were found to reach.
    """

    specs: tuple[ExportSpec, ...]
    output: Path
    verify: bool = True
    image: Path | None = None
    mask: Path | None = None
    rule: MaskRule = AS_IT_SAYS
    frame: int = 1
    overwrite: bool = False
    accept_quality: bool = False


@dataclass(frozen=True)
class Exported:
    """How one artifact fared.

    Attributes:
        path: where it is, or would have been.
        seconds: conversion alone.
        parity: the report, also of a gate that was missed; None if it was not run.
        failure: None if it is in place; else one line.
        exit_code: 0 if it is in place.
        log: what a failed worker printed.
    """

    spec: ExportSpec
    path: Path
    manifest: Manifest | None = None
    seconds: float = 0.0
    peak_rss_bytes: int = 0
    parameters: int = 0
    parity: dict[str, Any] | None = None
    failure: str | None = None
    exit_code: int = 0
    log: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The entry of ``--json``; facts that a failed export does not have are None."""
        made = self.manifest
        return {
            "target": self.spec.target,
            "path": str(self.path),
            "exit_code": self.exit_code,
            "failure": self.failure,
            "bytes": made and made.bytes,
            "sha256": made and made.sha256,
            "seconds": round(self.seconds, 3) or None,
            "peak_rss_bytes": self.peak_rss_bytes or None,
            "parameters": self.parameters or None,
            "operators": made and made.operators,
            "weights": made and made.weights,
            "derived": made and list(made.derived),
            "precision": self.spec.precision,
            "calibrated": made and made.calibrated,
            "kept": made and list(made.kept),
            "accepted": made and made.accepted,
            "parity": self.parity or NOT_RUN,
        }


def export(request: ExportRequest, on_stage: OnStage) -> Iterator[Exported]:
    """Export one artifact after the other; a failure of one leaves the others alone.

    Nothing half-written stays behind, whatever ends this, and nothing that missed a gate.

    Args:
        on_stage: called with target and stage.

    Raises:
        UserError: before any work: an artifact exists, or the folder cannot be written.
    """
    with _locked_folder(request.output):
        for stale in stale_scratch(request.output):
            remove(stale)
        _refuse_existing(request)
        _prepare_links(request)
        for spec in request.specs:
            yield _export_one(request, spec, on_stage)


def _refuse_existing(request: ExportRequest) -> None:
    for spec in request.specs:
        path = request.output / spec.file_name()
        if (path.exists() or path.is_symlink()) and not request.overwrite:
            raise UserError(
                f"{path} exists; pass --overwrite to replace it, or choose another --output"
            )
        # A package is a folder too; any other folder is not ours to delete.
        for place in (path, manifest_path(path)):
            if place.is_dir() and not (place / "Manifest.json").is_file():
                raise UserError(f"{place} is a folder; move it away, or choose another --output")


def _prepare_links(request: ExportRequest) -> None:
    """Where an artifact's or a manifest's name is a link, it is written elsewhere.

    Raises:
        UserError: where that cannot be.
    """
    for spec in request.specs:
        path = request.output / spec.file_name()
        for link in filter(Path.is_symlink, (path, manifest_path(path))):
            try:
                prepare(folders=[place_of(link).parent])
            except OSError as error:
                raise UserError(f"cannot write {link}: {error.strerror}; remove it") from error


@contextmanager
def _locked_folder(folder: Path) -> Iterator[None]:
    """Hold a folder for one export at a time; remove what we made of it if it stays empty."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        with _lock(folder):
            yield
    finally:
        with suppress(OSError):  # not empty, or never made
            for place in missing:
                place.rmdir()


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Make a folder and lock it against other exports; the system frees the lock of a dead one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / _LOCK, blocking=False)
        lock.acquire()
    except Timeout as error:
        raise UserError(
            f"another export is writing into {folder}; wait for it, or choose another --output"
        ) from error
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"--output {folder} is not a folder; choose another") from error
    except OSError as error:
        raise UserError(
            f"cannot write into --output {folder}: {error.strerror or error}; choose another"
        ) from error
    try:
        yield
    finally:
        (folder / _LOCK).unlink(missing_ok=True)
        lock.release()


def _export_one(request: ExportRequest, spec: ExportSpec, on_stage: OnStage) -> Exported:
    destination = request.output / spec.file_name()
    # In a folder, where it has its name: an artifact with weights beside it says what theirs is.
    scratch = scratch_name(request.output, spec.stem())
    entry = Exported(spec, destination)

    def stage(text: str) -> None:
        on_stage(spec.target, text)

    try:
        scratch.mkdir()
        return _convert_and_check(request, entry, scratch / destination.name, stage)
    except JobError as error:
        return replace(entry, failure=str(error), exit_code=error.exit_code, log=error.log)
    except UserError as error:
        return replace(entry, failure=str(error), exit_code=error.exit_code)
    except OSError as error:
        reason = (
            f"cannot write {destination}: {error.strerror or error}; free some space, or choose "
            "another --output"
        )
        return replace(entry, failure=reason, exit_code=UserError.exit_code)
    finally:
        remove(scratch)


def _exact(scratch: Path) -> Path:
    """Where the artifact in fp32 lies that one of less precision is made from."""
    return scratch.with_name(f"{scratch.stem}-{EXACT}{scratch.suffix}")


def _convert_and_check(
    request: ExportRequest, entry: Exported, scratch: Path, stage: Callable[[str], None]
) -> Exported:
    # Who consents to what int8 costs wants all layers in it.
    throughout = request.accept_quality and PRECISIONS[entry.spec.precision].stores_all
    made = make(entry.spec, scratch, stage, keep=() if throughout else None)
    inputs, outputs = ([TensorInfo(**info) for info in made[side]] for side in ("takes", "gives"))
    manifest = Manifest(
        spec=entry.spec,
        artifact=entry.path.name,
        sha256=hash_artifact(scratch),
        bytes=size_of(scratch),
        weights=made["weights"],
        weights_sha256=made["weights_sha256"],
        derived=tuple(made["derived"]),
        notes=tuple(made["notes"]),
        rewrites=entry.spec.recipe.rewrites,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        operators=made["operators"],
        versions=tool_versions(entry.spec.target, entry.spec.precision),
        calibrated=made["calibrated"],
        kept=tuple(made["kept"]),
    )
    entry = replace(
        entry,
        seconds=made["seconds"],
        peak_rss_bytes=made["peak_rss_bytes"],
        parameters=made["parameters"],
    )
    if request.verify:
        parity = compare(
            manifest,
            scratch,
            stage,
            request.image,
            request.mask,
            rule=request.rule,
            frame=request.frame,
        )
        manifest, entry = replace(manifest, parity=parity), replace(entry, parity=parity)
        if not parity["passed"]:
            accepted = _consented(parity)
            if not request.accept_quality or accepted is None:
                return replace(entry, failure=missed(parity), exit_code=ParityError.exit_code)
            manifest = replace(manifest, accepted=accepted)
    stage("writing")
    publish(scratch, manifest, entry.path)
    stage("done")
    return replace(entry, manifest=manifest)


def missed(parity: dict[str, Any]) -> str:
    """What a report missed, in one line, and how to consent where that can be done."""
    consent = ""
    if _consented(parity) is not None:
        consent = "; export in a higher precision, or consent with --accept-quality"
    return f"parity failed: {'; '.join(parity['failures'])}{consent}"


def _consented(parity: dict[str, Any]) -> dict[str, float] | None:
    """The gate that consent would hold an artifact to; None where none can be given."""
    found: dict[str, float] | None = (parity.get("quality") or {}).get("accepting")
    return found


def make(
    spec: ExportSpec,
    path: Path,
    stage: Callable[[str], None],
    keep: tuple[str, ...] | None = None,
) -> dict[str, Any]:
    """Convert, and reduce where the precision asks for it; the facts of what was written.

    Args:
        keep: layers that compute in floats, without searching for them.

    Raises:
        JobError: it cannot be done.
    """
    arguments = {"spec": spec.to_dict(), "threads": worker_threads()}
    if spec.precision == EXACT:
        made = run_job(convert, {**arguments, "path": str(path)}, stage)
        return {**made, "kept": []}
    exact = _exact(path)
    made = run_job(convert, {**arguments, "path": str(exact)}, stage)
    places = {"source": str(exact), "path": str(path)}
    reduced = run_job(
        reduce, {**arguments, **places, "keep": None if keep is None else list(keep)}, stage
    )
    remove(exact)
    peak = max(made["peak_rss_bytes"], reduced["peak_rss_bytes"])
    calibrated = reduced["calibrated"] or made["calibrated"]
    return {**made, **reduced, "calibrated": calibrated, "peak_rss_bytes": peak}


def compare(
    manifest: Manifest,
    artifact: Path,
    stage: Callable[[str], None],
    image: Path | None = None,
    mask: Path | None = None,
    checkpoints: tuple[Path, ...] = (),
    rule: MaskRule = AS_IT_SAYS,
    frame: int = 1,
) -> dict[str, Any]:
    """Run a saved artifact in a process of its own and compare it with torch.

    Args:
        image, mask: photo to use instead of the bundled ones. rule: how to read the mask.
        frame: which picture of its file the photo is.
        checkpoints: where the weights lie now; default: where they lay when it was exported.

    Returns:
        The parity report (see :class:`rethined_export.parity.report.ParityReport`).

    Raises:
        JobError: the artifact could not be loaded or run.
        UserError: the weights are no longer there, or are others.
    """
    found = [str(path) for path in find_checkpoints(manifest, checkpoints)]
    places = {"checkpoint": found[0], "more_checkpoints": found[1:]} if found else {}
    arguments = {
        "spec": {**manifest.spec.to_dict(), **places},
        "path": str(artifact),
        "threads": worker_threads(),
        "image": None if image is None else str(image),
        "mask": None if mask is None else str(mask),
        "rule": asdict(rule),
        "frame": frame,
        "accepted": manifest.accepted,
    }
    report = run_job(verify, arguments, stage)
    del report["peak_rss_bytes"]
    return report


def find_checkpoints(manifest: Manifest, override: tuple[Path, ...]) -> tuple[Path, ...]:
    """The files of weights an artifact was made from; none for untrained ones.

    Raises:
        UserError: one cannot be read, or they are not those checkpoints.
    """
    recorded, made = manifest.spec.source, manifest.artifact
    if recorded is None:
        if override:
            raise UserError(
                f"--checkpoint {override[0]}: {made} was made from untrained weights; "
                "leave --checkpoint out"
            )
        return ()
    paths = override or recorded.files
    found = combined([_hash(path, made) for path in paths])
    if found != manifest.weights_sha256:
        several = len(recorded.files) > 1
        are, it = (
            ("are not the checkpoints", "those")
            if several
            else ("is not the checkpoint", "that one")
        )
        files = "FILE for each" if several else "FILE"
        raise UserError(
            f"{', '.join(map(str, paths))} {are} {made} was made from (sha256 "
            f"{found[:12]}…, not {manifest.weights_sha256[:12]}…); give {it} with "
            f"--checkpoint {files}, or export again"
        )
    return paths


def _hash(path: Path, artifact: str) -> str:
    """sha256 of a checkpoint, its shards too.

    Raises:
        UserError: it cannot be read.
    """
    try:
        path.open("rb").close()
        return digest(path)
    except OSError as error:
        raise UserError(
            f"cannot read checkpoint {path}, which {artifact} was made from: "
            f"{error.strerror}; say where it is with --checkpoint FILE"
        ) from error
    except CheckpointError as error:
        raise UserError(str(error)) from error


@job
def convert(report: Report, *, spec: dict[str, Any], path: str, threads: int) -> dict[str, Any]:
    """Write one artifact to ``path``; what it holds, and how long the conversion took.

    Its numbers are fp32. Where the spec's precision rounds weights, they are what is to be stored.
    """
    report("loading the model")
    torch.set_num_threads(threads)
    made = ExportSpec.from_dict(spec)
    reference = load_reference(made)
    program = made.recipe.program(made.options, reference.model, made.part)
    samples = Samples(made, reference, _ROUNDED_ON)
    precision = PRECISIONS[made.precision]
    if precision.rounded:
        report("rounding weights")
        round_weights(program, samples(), precision.palette)
    embedded = replace(
        made,
        options=made.options.embedded(),
        checkpoint=reference.weights,
        more_checkpoints=(),
        calibration=made.calibration and made.calibration.embedded(),
    )
    integers = TARGETS[made.target].integers if made.integer_io else ""
    metadata = {
        "rethined.spec": json.dumps(embedded.to_dict(), sort_keys=True),
        "rethined.weights_sha256": reference.sha256,
        "rethined.mask_polarity": "1 = hole, 0 = known",
        "rethined.value_range": f"image RGB in [0, 1]{_AS_INTEGERS.get(integers, '')}",
    }
    target = converter(made.target)
    report("converting")
    started = time.perf_counter()
    with torch.no_grad(), installed(made.target):
        _convert(target, made.target, replace(program, metadata=metadata), Path(path))
    seconds = time.perf_counter() - started
    report("reading it back")
    last = target.channels_last(Path(path))

    def stored(infos: Iterable[TensorInfo]) -> list[dict[str, Any]]:
        held = [info.channels_last() if info.name in last else info for info in infos]
        return [asdict(_as_integers(info, integers) if integers else info) for info in held]

    return {
        "seconds": seconds,
        "operators": dict(sorted(target.count_operators(Path(path)).items())),
        "weights": reference.weights,
        "weights_sha256": reference.sha256,
        "derived": list(reference.derived),
        "notes": list(reference.notes),
        "parameters": sum(p.numel() for p in program.module.parameters()),
        "calibrated": samples.fingerprint and samples.fingerprint.facts(),
        "takes": stored(program.takes),
        "gives": stored(program.gives),
    }


def _as_integers(info: TensorInfo, integers: str) -> TensorInfo:
    """An image as an artifact with ``--integer-io`` takes or gives it."""
    if not info.is_image and info.layout != CHANNELS_LAST:
        return info
    return replace(info, dtype=integers, meaning=info.meaning + _AS_INTEGERS[integers])


def _convert(target: Converter, name: str, program: Program, path: Path) -> None:
    """Convert; a failure names the operators that the target is known to refuse.

    Raises:
        UnsupportedOperatorError: there are such.
    """
    try:
        target.convert(program, path)
    except (ImportError, OSError, UserError):
        raise
    except Exception as error:
        if said := diagnose(program, name):
            raise UnsupportedOperatorError(said) from error
        raise


@job
def verify(
    report: Report,
    *,
    spec: dict[str, Any],
    path: str,
    threads: int,
    image: str | None,
    mask: str | None,
    rule: dict[str, Any] | None = None,
    frame: int = 1,
    accepted: dict[str, float] | None = None,
) -> dict[str, Any]:
    """Run a saved artifact on photos and compare it with torch; returns the parity report.

    A program that is one of several is completed by the torch twins of the others, so that each is
    judged by itself, in the image it helps to make.
    """
    report("loading the model")
    torch.set_num_threads(threads)
    made = ExportSpec.from_dict(spec)
    recipe, options = made.recipe, made.options
    reference = load_reference(made)
    scenes = recipe.scenes(
        options,
        Path(image) if image else None,
        Path(mask) if mask else None,
        MaskRule(**(rule or {})),
        frame,
    )

    def announced(scene: Any) -> Any:
        report(f"comparing on {scene.name}")
        return scene

    report("loading the artifact")
    with converter(made.target).load(Path(path), threads) as runtime:
        runners: dict[str, Runner] = {
            part: TorchRunner(recipe.program(options, reference.model, part))
            for part in made.parts
            if part != made.part
        }
        runs = recipe.caller(options, runners | {made.part: runtime})
        judge = recipe.judge(options, reference)
        gate = Gate(**accepted) if accepted else GATES.get(made.precision)
        parity = check_parity(judge, runs, runtime.name, (announced(s) for s in scenes), gate)
    return parity.to_dict()
