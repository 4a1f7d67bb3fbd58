"""The training loop: stages one after another, resumable to the same numbers.

One process, or several under ``torchrun``: each takes its share of every batch.
"""

import functools
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from rethined_export.models.rethined.mobileone import reparameterise
from rethined_export.models.rethined.model import Rethined
from rethined_export.models.rethined.push_pull import push_pull
from rethined_export.models.rethined.training.average import Average
from rethined_export.models.rethined.training.critic import Critic
from rethined_export.models.rethined.training.images import Images
from rethined_export.models.rethined.training.journal import Journal
from rethined_export.models.rethined.training.losses import hole_psnr
from rethined_export.models.rethined.training.objective import Descent, Judges, Stepped
from rethined_export.models.rethined.training.perception import perception
from rethined_export.models.rethined.training.samples import (
    Batch,
    PackedBatch,
    Samples,
    collate,
)
from rethined_export.models.rethined.training.settings import Settings, Stage, TrainingError
from rethined_export.models.rethined.training.start import new_model
from rethined_export.models.rethined.training.state import (
    CHECKPOINT,
    WEIGHTS,
    described,
    load_optimiser,
    load_start,
    load_state,
    save_state,
    save_weights,
)

#: Steps between checkpoints and grids, and between points of a curve.
SAVE_EVERY, NOTE_EVERY = 500, 20
#: A critic whose loss stays under this for so many steps has won: it teaches nothing any more.
_WON, _WON_FOR = 0.02, 300
#: Kernels that cuDNN tries for a convolution: of all of them it took 20 to 60 s a stage.
_TRIED = 4
#: Batches that each process keeps ready.
_AHEAD = 4
#: Images that deployed weights are looked at with before they are trained.
_SIGHT = 16


class DivergedError(RuntimeError):
    """A loss is not a number, or a critic has won; the message says what reproduces it."""


@dataclass(frozen=True)
class Noted:
    """Where a run stands.

    Attributes:
        step: of all stages. of: steps in all. part: what is being trained.
        figures: means since the last note, by name.
        skipped: images that could not be used, named, since the run began.
    """

    step: int
    of: int
    part: str
    figures: dict[str, float]
    skipped: frozenset[str]


@dataclass(frozen=True)
class Place:
    """Which process of how many this is, and where it computes."""

    rank: int
    world: int
    device: torch.device


def place() -> Place:
    """Join the processes that ``torchrun`` started, if it did; a GPU each, if there are any."""
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    gpu = torch.cuda.is_available()
    device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if gpu else "cpu")
    if gpu:
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.benchmark_limit = _TRIED
        torch.set_float32_matmul_precision("high")
    if world > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if gpu else "gloo")
    return Place(rank, world, device)


class Trained:
    """Everything a run changes: the network, its running mean, and the critic beside it."""

    def __init__(self, settings: Settings) -> None:
        self.model = new_model(settings)
        self.average = Average(self.model, settings.average) if settings.average else None
        judged = any(stage.has_critic for stage in settings.stages)
        seen = any(stage.features for stage in settings.stages)
        self.judges = Judges(Critic() if judged else None, perception() if seen else None)

    @property
    def modules(self) -> dict[str, torch.nn.Module]:
        """What a checkpoint holds of it, by name."""
        found: dict[str, torch.nn.Module] = {"model": self.model}
        if self.average is not None:
            found["average"] = self.average.model
        if self.judges.critic is not None:
            found["critic"] = self.judges.critic
        return found

    @property
    def shipped(self) -> Rethined:
        """The network whose weights the run gives."""
        return self.model if self.average is None else self.average.model

    def to(self, device: torch.device) -> None:
        """Move everything; on a GPU, in the layout that its convolutions like."""
        # On a CPU that layout crashed torch 2.13 in the backward pass.
        layout = torch.channels_last if device.type == "cuda" else torch.preserve_format
        judges = [net for net in (self.judges.perception,) if net is not None]
        for module in (*self.modules.values(), *judges):
            module.to(device, memory_format=layout)  # type: ignore[call-overload]


def train(
    settings: Settings,
    images: Images,
    trained_on: str,
    folder: Path,
    *,
    workers: int,
    tell: Callable[[Noted], None],
    seconds: float | None = None,
    start: Path | None = None,
) -> Path:
    """Run the stages that are left, from the folder's checkpoint if it has one.

    Args:
        images: what to train on. trained_on: the same in words, compared on resuming.
        folder: for the checkpoint, the journal and the weights.
        workers: processes that prepare samples; 0 prepares them in this one.
        seconds: stop after so many, in the middle of a stage if need be, with a checkpoint and the
            weights as they are; None runs to the end.
        start: another run's checkpoint, whose weights and critic this one begins with.

    Returns:
        The file of weights.

    Raises:
        TrainingError: the checkpoint is of other settings, ``start`` of another network, no image
            can be used, no room.
        DivergedError: a loss became NaN or infinite, or the critic always tells painted patches
            from true ones; the last checkpoint is from before.
    """
    ending = None if seconds is None else time.monotonic() + seconds
    where = place()
    folder.mkdir(parents=True, exist_ok=True)
    run = described(settings, trained_on)
    trained, done, tensors = Trained(settings), 0, dict[str, Tensor]()
    if (folder / CHECKPOINT).exists():
        done, tensors = load_state(folder / CHECKPOINT, trained.modules, settings, run)
    elif start is not None:
        load_start(start, trained.modules, functools.partial(_sight, settings, images, workers))
    trained.to(where.device)
    first = 0
    with Journal(folder) as journal:
        for number, stage in enumerate(settings.stages):
            last = first + stage.steps
            if done < last:
                runner = _Stage(settings, number, first, trained, where, run, folder, journal, tell)
                if done > first:
                    runner.load(tensors)
                samples = Samples(images, stage.side, settings.seed + number)
                done = runner.run(samples, done, workers, ending)
                if done < last:
                    break
            first = last
    if where.rank == 0:
        shipped = trained.shipped.cpu().eval()
        reparameterise(shipped)
        save_weights(folder / WEIGHTS, shipped)
    if where.world > 1:
        torch.distributed.destroy_process_group()
    return folder / WEIGHTS


def _sight(settings: Settings, images: Images, workers: int) -> Iterator[Batch]:
    """A few images as the first stage sees them."""
    samples = Samples(images, settings.stages[0].side, settings.seed)
    for packed in _loaded(samples, range(_SIGHT), 1, workers):
        yield packed.to(torch.device("cpu"))


def _loaded(samples: Samples, which: range, size: int, workers: int) -> Iterator[PackedBatch]:
    """Batches of some samples, prepared by other processes: none of ours runs OpenCV's threads,
    so that it can be copied."""
    yield from DataLoader(
        Subset(samples, which),
        size,
        num_workers=workers,
        collate_fn=collate,
        prefetch_factor=_AHEAD if workers else None,
        worker_init_fn=_alone,
    )


def _alone(_worker: int) -> None:
    """Each process is one thread: there are as many as there should be."""
    cv2.setNumThreads(1)


class _Clock:
    """The time of a stage that has a limit. It runs from the first step: kernels are built by then.

    Args:
        ending: of the whole run; a limited stage fits into what is left until then.
    """

    def __init__(self, stage: Stage, ending: float | None) -> None:
        self._seconds, self._ending = 60 * stage.minutes, ending
        self._begun: float | None = None

    def stepped(self) -> None:
        """A step is done."""
        if self._begun is None and self._seconds:
            self._begun = time.monotonic()
            if self._ending is not None:
                self._seconds = max(min(self._seconds, self._ending - self._begun), 1e-3)

    def spent(self) -> float:
        """Share of the time that is over; 0 without a limit."""
        return 0.0 if self._begun is None else (time.monotonic() - self._begun) / self._seconds


class _Stage:
    """One stage of a run."""

    def __init__(
        self,
        settings: Settings,
        number: int,
        first: int,
        trained: Trained,
        where: Place,
        run: dict[str, str],
        folder: Path,
        journal: Journal,
        tell: Callable[[Noted], None],
    ) -> None:
        self._settings, self._stage, self._first = settings, settings.stages[number], first
        self._trained, self._where, self._run, self._folder = trained, where, run, folder
        self._journal, self._tell = journal, tell
        if self._stage.batch % where.world:
            raise TrainingError(f"batch {self._stage.batch} is no multiple of {where.world}")
        bf16 = settings.precision == "bf16"
        self._descent = Descent(trained.model, self._stage, bf16, where.world, trained.judges)
        self._doubts: deque[float] = deque(maxlen=_WON_FOR)

    @property
    def _optimisers(self) -> dict[str, torch.optim.Optimizer]:
        found = {"optimiser": self._descent.optimiser}
        if self._descent.critic_optimiser is not None:
            found["critic_optimiser"] = self._descent.critic_optimiser
        return found

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Put back what the optimisers remembered."""
        for name, optimiser in self._optimisers.items():
            load_optimiser(optimiser, name, tensors)

    def run(self, samples: Samples, done: int, workers: int, ending: float | None) -> int:
        """The steps from ``done`` to the stage's last, or to the time when a run must end."""
        skipped: set[str] = set()
        seen: list[Stepped] = []
        last, step = self._first + self._stage.steps, done
        clock = _Clock(self._stage, ending)
        for step, packed in enumerate(self._batches(samples, done, workers), done + 1):
            batch = packed.to(self._where.device)
            skipped |= set(batch.skipped)
            seen.append(self._step(step, batch, clock.spent()))
            clock.stepped()
            if self._agreed(clock.spent() >= 1):
                step = last  # what is left of the stage is left out
            stopping = step == last or self._late(ending)
            if self._where.rank == 0:
                if step % NOTE_EVERY == 0 or stopping:
                    self._note(step, batch, seen, skipped)
                    seen.clear()
                if step % SAVE_EVERY == 0 or stopping:
                    path = self._folder / CHECKPOINT
                    save_state(path, self._trained.modules, self._optimisers, step, self._run)
                    self._journal.grid(step, self._pictures(batch))
            if stopping:
                break
        return step

    def _late(self, ending: float | None) -> bool:
        """Whether a run must end now."""
        return ending is not None and self._agreed(time.monotonic() > ending)

    def _agreed(self, said: bool) -> bool:
        """Whether any process says so: all of them then know."""
        if self._where.world == 1:
            return said
        late = torch.tensor(float(said), device=self._where.device)
        torch.distributed.all_reduce(late)
        return bool(late > 0)

    def _batches(self, samples: Samples, done: int, workers: int) -> Iterator[PackedBatch]:
        """This process's share of every batch that is left of the stage."""
        size, world = self._stage.batch, self._where.world
        left = range((done - self._first) * size, self._stage.steps * size)
        mine = left[self._where.rank :: world]
        return _loaded(samples, mine, size // world, workers)

    def _step(self, step: int, batch: Batch, spent: float) -> Stepped:
        seen = self._descent.step(step - self._first, batch, spent)
        about = (
            f"at step {step} (seed {self._settings.seed}, batch of {self._stage.batch} at "
            f"{self._stage.side}); {self._folder / CHECKPOINT} is from before: lower the rate of "
            "this stage"
        )
        if not seen.finite:
            what = "loss" if seen.critic is None else "the critic's loss"
            value = seen.loss if seen.critic is None else seen.critic
            raise DivergedError(f"{what} is {value} {about}")
        if seen.critic is not None:
            self._doubts.append(seen.critic)
            if len(self._doubts) == _WON_FOR and max(self._doubts) < _WON:
                raise DivergedError(
                    f"the critic's loss stayed under {_WON} for {_WON_FOR} steps, so that it "
                    f"teaches nothing, {about} or the critic's weight"
                )
        if self._trained.average is not None:
            self._trained.average.follow(self._trained.model, step)
        return seen

    @torch.no_grad()
    def _note(self, step: int, batch: Batch, seen: list[Stepped], skipped: set[str]) -> None:
        """Tell the mean losses and, for the coarse model, what it gains over the plain fill."""
        figures = {f"{self._stage.part}/loss": sum(one.loss for one in seen) / len(seen)}
        if doubts := [one.critic for one in seen if one.critic is not None]:
            figures["critic/loss"] = sum(doubts) / len(doubts)
        if self._stage.part != "attention":
            _, fill, composite, truth = self._pictures(batch)
            painted, plain = (hole_psnr(x, truth, batch.mask).mean() for x in (composite, fill))
            figures |= {"coarse/psnr": float(painted), "coarse/gain": float(painted - plain)}
        figures["rate"] = self._descent.optimiser.param_groups[0]["lr"]
        self._journal.figures(step, figures)
        of = self._settings.steps
        self._tell(Noted(step, of, self._stage.part, figures, frozenset(skipped)))

    @torch.no_grad()
    def _pictures(self, batch: Batch) -> list[Tensor]:
        """Rows of a grid: what is known, the plain fill, what the model paints, the truth."""
        known = batch.image * (1 - batch.mask)
        painted, _ = self._trained.shipped.eval().coarse_model(known, batch.mask)
        composite = known + batch.mask * painted
        return [known, push_pull(known, batch.mask), composite, batch.image]
