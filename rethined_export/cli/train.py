"""``rethined-train``: weights from photographs, from procedural images, or from both."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from rethined_export.cli.common import err, fail, out, parser, plain, run, say
from rethined_export.errors import UnavailableError, UserError
from rethined_export.models.rethined.training.images import (
    Folder,
    Images,
    Mixture,
    Source,
    procedural_pool,
)
from rethined_export.models.rethined.training.settings import (
    Settings,
    TrainingError,
    load_settings,
)
from rethined_export.models.rethined.training.state import (
    CHECKPOINT,
    CURVES,
    SAMPLES,
    WEIGHTS,
)
from rethined_export.output import prepare

EXAMPLES = """\
  rethined-train models/weights/rethined-mobile-procedural.toml --output build/training
  rethined-train settings.toml --photos ~/photos --output build/training
  rethined-train settings.toml --photos ~/photos --output build/training --minutes 30
  rethined-train settings.toml --output build/training --resume
  rethined-train finer.toml --output build/finer --from build/training/checkpoint.safetensors
  torchrun --nproc-per-node 4 -m rethined_export.cli.train settings.toml --output build/training"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``rethined-train``."""
    return run(_command, arguments)


def _command(arguments: Sequence[str] | None) -> int:
    options = parser(
        "rethined-train",
        "Train a RETHINED network. Without photographs it learns from procedural images, drawn "
        "from the seed; with them from both, as the settings say.",
        EXAMPLES,
    )
    options.add_argument("settings", type=Path, metavar="SETTINGS", help="TOML file of the run")
    options.add_argument("--output", type=Path, required=True, metavar="DIR",
        help="for checkpoint, samples, curves, weights")  # fmt: skip
    options.add_argument("--photos", "--images", type=Path, metavar="DIR",
        help="train on these photographs")  # fmt: skip
    options.add_argument("--minutes", type=float, metavar="N",
        help="stop after so many, with a checkpoint and the weights as they are")  # fmt: skip
    options.add_argument("--resume", action="store_true", help="go on from DIR's checkpoint")
    options.add_argument("--from", dest="start", type=Path, metavar="CHECKPOINT",
        help="begin with the weights of another run, and its critic")  # fmt: skip
    options.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 1) // 2),
        metavar="N", help="processes that prepare samples (default: half the cores)")  # fmt: skip
    chosen = options.parse_args(arguments)
    if chosen.workers < 0:
        raise UserError(f"--workers {chosen.workers}; use 0 or more")
    if chosen.minutes is not None and not 0 < chosen.minutes < float("inf"):
        raise UserError(f"--minutes {chosen.minutes}; use a positive number")
    if (chosen.output / CHECKPOINT).exists() and not chosen.resume:
        raise UserError(f"{chosen.output} holds a run; give --resume or another --output")
    if chosen.resume and not (chosen.output / CHECKPOINT).exists():
        raise UserError(f"{chosen.output} holds no {CHECKPOINT} to resume from")
    if chosen.resume and chosen.start is not None:
        raise UserError("--from begins a run and --resume goes on with one; give one of them")
    try:
        seconds = None if chosen.minutes is None else 60 * chosen.minutes
        return _train(
            chosen.settings, chosen.photos, chosen.output, chosen.workers, seconds, chosen.start
        )
    except TrainingError as error:
        raise UserError(str(error)) from error


def _train(
    settings_file: Path,
    folder: Path | None,
    output: Path,
    workers: int,
    seconds: float | None,
    start: Path | None,
) -> int:
    try:
        from rethined_export.models.rethined.training.loop import DivergedError, Noted, train
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"training needs {error.name}: pip install 'rethined-export[train]'"
        ) from error
    settings = load_settings(settings_file)
    photos = None if folder is None else _photographs(settings, folder)
    inside = [output / name for name in (SAMPLES, CURVES)]
    prepare([output / CHECKPOINT, output / WEIGHTS], [output, *inside])
    images, trained_on = _images(settings, photos, output, workers)
    begun = time.monotonic()
    named: set[str] = set()

    def tell(noted: Noted) -> None:
        figures = "  ".join(f"{name} {value:.4g}" for name, value in noted.figures.items())
        seconds = time.monotonic() - begun
        say(out, f"step {noted.step}/{noted.of}  {noted.part}  {figures}  {seconds:.0f} s")
        for name in sorted(noted.skipped - named):
            say(err, f"skipped {name}; {len(noted.skipped)} so far")
        named.update(noted.skipped)

    try:
        weights = train(
            settings,
            images,
            trained_on,
            output,
            workers=workers,
            tell=tell,
            seconds=seconds,
            start=start,
        )
    except DivergedError as error:
        fail(str(error))
        return 1
    if not weights.exists():  # another process of several writes them
        return 0
    say(out, f"weights: {weights} ({weights.stat().st_size / 1e6:.1f} MB)")
    say(out, f"next: rethined-export --checkpoint {plain(str(weights))} --preset {settings.preset}")
    return 0


def _photographs(settings: Settings, folder: Path) -> Source:
    """A folder's, by the settings' weights."""
    photos = Folder(folder)
    weights = photos.weights([(entry.files, entry.weight) for entry in settings.photos])
    return photos, weights, 1 - settings.procedural


def _images(
    settings: Settings, photos: Source | None, output: Path, workers: int
) -> tuple[Images, str]:
    """What to train on, and the same in words."""

    def tell(drawn: int) -> None:
        if drawn % 500 == 0 or drawn == settings.images:
            say(out, f"drew {drawn}/{settings.images} procedural images")

    def procedural() -> Images:
        return procedural_pool(output, settings.seed, settings.images, max(1, workers), tell)

    if photos is None:
        return procedural(), "procedural images"
    sources = [photos]
    trained_on = f"a folder of {len(photos[0])} images"
    if settings.procedural:
        sources.append((procedural(), None, settings.procedural))
        trained_on += " and procedural ones"
    return Mixture(sources), trained_on


if __name__ == "__main__":
    raise SystemExit(main())
