"""Photos filled by artifacts, each call in a process of its own."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rethined_export.cores import worker_threads
from rethined_export.errors import UserError
from rethined_export.jobs.parent import TIME_LIMIT_S, run_job
from rethined_export.jobs.registry import Job, Report, job
from rethined_export.photo.files import Pixels
from rethined_export.photo.squares import Bools, FillPhoto
from rethined_export.photo.window import Window

if TYPE_CHECKING:  # they load torch
    from rethined_export.converters.types import Runner
    from rethined_export.deployed import Deployed

Floats = npt.NDArray[np.float32]
#: What one of many runs of a network may take at most, and what lies between telling of them.
_RUN_LIMIT_S, _TELL_S = 120.0, 10.0


@dataclass(frozen=True)
class ArtifactFacts:
    """What an artifact says of itself.

    Attributes:
        window: pixels it takes. in_place: its caller fills photos at their own resolution.
        middle: side of the square in the window's middle that holes should lie in; None: anywhere.
        pipelines: ways around the hole that its model has beside ours.
        runs: how often a fill runs the network.
    """

    window: Window
    in_place: bool
    middle: int | None
    pipelines: tuple[str, ...]
    runs: int


def artifact_facts(artifact: Path) -> ArtifactFacts:
    """Read them from the file itself.

    Raises:
        UserError: missing.
        JobError: not an artifact, or damaged.
    """
    if not artifact.exists():
        raise UserError(f"artifact {artifact} does not exist; rethined-export writes them")
    facts = run_job(describe, {"artifact": str(artifact)}, lambda _: None)
    window = Window(*facts["window"])
    return ArtifactFacts(
        window,
        bool(facts["in_place"]),
        facts["middle"],
        tuple(facts["pipelines"]),
        int(facts["runs"]),
    )


def filler(
    artifact: Path | None, on_stage: Callable[[str], None], runs: int = 1
) -> Callable[[Floats, Floats], Floats]:
    """A function from image ``[1, 3, H, W]`` and mask ``[1, 1, H, W]`` to image.

    Args:
        artifact: file to run; None runs the torch graph of the default model's shipped weights.
        runs: of the network for each fill, which decide how long it may take.
    """

    def fill(image: Floats, mask: Floats) -> Floats:
        arguments = {"artifact": None if artifact is None else str(artifact)}
        arrays = {"image": image, "mask": mask}
        return _run(fill_window, arguments, arrays, "output", on_stage, runs)

    return fill


def fill_scenes(
    artifact: Path, images: list[Floats], masks: list[Floats], runs: int = 1
) -> tuple[list[Floats], list[float]]:
    """Fill windows with an artifact, all in one process.

    Args:
        artifact: the only program, or the first of several. images: ``[1, 3, H, W]``.
        masks: ``[1, 1, H, W]``. runs: of the network for each, as of :func:`filler`.

    Returns:
        The filled images, and the seconds that each took.
    """
    made: list[Floats] = []
    with _scratch() as folder:
        for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
            np.save(folder / f"image-{number}.npy", image)
            np.save(folder / f"mask-{number}.npy", mask)
        place = {"folder": str(folder), "threads": worker_threads(), "count": len(images)}
        given = {"artifact": str(artifact)} | place
        told = run_job(fill_windows, given, lambda _: None, _time_limit_s(runs * len(images)))
        made = [np.load(folder / f"output-{number}.npy") for number in range(len(images))]
    return made, list(told["seconds"])


def photo_filler(
    artifact: Path, on_stage: Callable[[str], None], pipeline: str | None = None
) -> FillPhoto:
    """A function that fills the hole in a photo, at the photo's own resolution.

    Args:
        artifact: the only program, or the first of several.
        pipeline: the model's own way around the hole; None: its caller fills photos in place.
    """

    def fill(photo: Pixels, hole: Bools, top: int, left: int) -> Pixels:
        arguments = {"artifact": str(artifact), "top": top, "left": left, "pipeline": pipeline}
        return _run(fill_photo, arguments, {"photo": photo, "hole": hole}, "photo", on_stage)

    return fill


def _run(
    job: Job,
    arguments: dict[str, Any],
    arrays: dict[str, npt.NDArray[Any]],
    result: str,
    on_stage: Callable[[str], None],
    runs: int = 1,
) -> npt.NDArray[Any]:
    """Run a job that takes arrays, as files by name in a folder, and leaves its result there."""
    with _scratch() as folder:
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
        place = {"folder": str(folder), "threads": worker_threads()}
        run_job(job, arguments | place, on_stage, _time_limit_s(runs))
        made: npt.NDArray[Any] = np.load(folder / f"{result}.npy")
        return made


def _time_limit_s(runs: int) -> float:
    """Past it a fill is taken for hung: networks that run once have all of it for that."""
    return max(TIME_LIMIT_S, _RUN_LIMIT_S * runs)


@contextmanager
def _scratch() -> Iterator[Path]:
    """A temporary folder.

    Raises:
        UserError: it cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="rethined-") as folder:
            yield Path(folder)
    except OSError as error:
        raise UserError(
            f"cannot write temporary files in {tempfile.gettempdir()}: "
            f"{error.strerror or error}; free some space there, or set TMPDIR"
        ) from error


@job
def describe(report: Report, *, artifact: str) -> dict[str, Any]:
    """What a saved artifact says of itself, read from the spec embedded in it."""
    from rethined_export.deployed import embedded_spec

    report("reading the artifact")
    spec = embedded_spec(Path(artifact))
    recipe, options = spec.recipe, spec.options
    in_place = recipe.fills_photos(options)
    return {
        "window": list(options.window),
        "in_place": in_place,
        "middle": options.middle,
        "pipelines": list(recipe.pipelines()),
        "runs": recipe.runs(options),
    }


@job
def fill_window(
    report: Report, *, artifact: str | None, folder: str, threads: int
) -> dict[str, Any]:
    """Fill one window: ``image.npy`` and ``mask.npy`` in ``folder`` become ``output.npy``.

    With no artifact the rewritten torch graph of the default model runs.
    """
    from rethined_export.deployed import deployed, in_torch
    from rethined_export.spec import default_spec

    inputs = {name: np.load(Path(folder) / f"{name}.npy") for name in ("image", "mask")}
    if artifact is None:
        report("loading the model")
        runner = in_torch(default_spec(Window(*inputs["image"].shape[2:])), threads).runner
        report("inpainting")
        produced = runner(**inputs)
    else:
        report("loading the artifact")
        with deployed(Path(artifact), threads) as made:
            report("inpainting")
            produced = _telling(made, report).runner(**inputs)
    _refuse_rest(artifact, produced)
    np.save(Path(folder) / "output.npy", produced["output"])
    return {}


@job
def fill_windows(
    report: Report, *, artifact: str, folder: str, count: int, threads: int
) -> dict[str, Any]:
    """Fill windows: ``image-i.npy`` and ``mask-i.npy`` in ``folder`` become ``output-i.npy``.

    Returns:
        ``seconds`` that each took.
    """
    from rethined_export.deployed import deployed

    report("loading the artifact")
    seconds = []
    with deployed(Path(artifact), threads) as made:
        runner, place = made.runner, Path(folder)
        for number in range(count):
            report(f"inpainting {number + 1} of {count}")
            inputs = {name: np.load(place / f"{name}-{number}.npy") for name in ("image", "mask")}
            begun = time.perf_counter()
            produced = runner(**inputs)
            seconds.append(time.perf_counter() - begun)
            _refuse_rest(artifact, produced)
            np.save(place / f"output-{number}.npy", produced["output"])
    return {"seconds": seconds}


@job
def fill_photo(
    report: Report,
    *,
    artifact: str,
    top: int,
    left: int,
    pipeline: str | None,
    folder: str,
    threads: int,
) -> dict[str, Any]:
    """Fill the hole ``hole.npy`` in the photo ``photo.npy`` in place.

    Args:
        top, left: where the window begins in the photo.
        pipeline: the model's own way around the hole, if that is asked for.
    """
    from rethined_export.deployed import deployed
    from rethined_export.recipes.types import Running

    report("loading the artifact")
    place = Path(folder) / "photo.npy"
    photo = np.load(place, mmap_mode="r+")
    with deployed(Path(artifact), threads) as made:
        hole = np.load(Path(folder) / "hole.npy")
        report("inpainting")
        if pipeline is not None:
            running = Running(made.spec.options, made.programs, made.runner)
            photo[:] = made.spec.recipe.pipelines()[pipeline](running, photo, hole)
        else:
            caller = made.photo_caller
            assert caller is not None
            caller(photo, hole, top, left)
    photo.flush()
    return {}


class _Counted:
    """A program that tells how often it has been run, and how long the other runs will take."""

    def __init__(self, program: "Runner", runs: int, report: Report) -> None:
        self._program, self._runs, self._report = program, runs, report
        self.name, self.takes = program.name, program.takes
        self._done, self._begun = 0, time.monotonic()
        self._told = self._begun

    def __call__(self, **inputs: Any) -> dict[str, Any]:
        now = time.monotonic()
        if self._done and now - self._told >= _TELL_S:
            left = (now - self._begun) / self._done * (self._runs - self._done) / 60
            self._report(f"inpainting, run {self._done} of {self._runs}, {left:.0f} minutes left")
            self._told = now
        self._done += 1
        return self._program(**inputs)


def _telling(made: "Deployed", report: Report) -> "Deployed":
    """The same, which tells how far it is where a fill runs the network many times."""
    runs = made.spec.recipe.runs(made.spec.options)
    if runs == 1:
        return made
    return replace(
        made, programs={part: _Counted(p, runs, report) for part, p in made.programs.items()}
    )


def _refuse_rest(artifact: str | None, produced: dict[str, Any]) -> None:
    """Refuse a result in which part of the hole is over the artifact's budget."""
    if left := int(np.sum(produced.get("left", 0))):
        raise UserError(
            f"the hole has {left} patches more than {artifact} fills; export with a larger "
            "--hole-budget, or with --split, which fills any hole"
        )
