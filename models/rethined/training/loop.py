"""The training loop: stages one after another, resumable to the same numbers.

One process, or several under ``torchrun``: each takes its share of every batch.
"""

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Subset

from rethined_export.models.rethined.model import Rethined
from rethined_export.models.rethined.push_pull import push_pull
from rethined_export.models.rethined.training.images import Images
from rethined_export.models.rethined.training.journal import Journal
from rethined_export.models.rethined.training.losses import hole_error, hole_psnr, matching_loss
from rethined_export.models.rethined.training.samples import Batch, Samples, collate
from rethined_export.models.rethined.training.settings import Settings, Stage, TrainingError
from rethined_export.models.rethined.training.start import new_model
from rethined_export.models.rethined.training.state import (
    CHECKPOINT,
    WEIGHTS,
    described,
    load_optimiser,
    load_state,
    save_state,
    save_weights,
)

#: Steps between checkpoints and grids, and between points of a curve.
SAVE_EVERY, NOTE_EVERY = 500, 20
#: Share of a stage in which the learning rate rises, and what is left of it at the end.
_WARM_UP, _LAST = 0.03, 0.01
#: Second-moment decay and largest norm of the gradients: with the usual 0.999 and no bound, the
#: first noisy steps held a model back for thousands of later ones.
_BETAS, _NORM = (0.9, 0.99), 1.0


class DivergedError(RuntimeError):
    """The loss is not a number; the message says what reproduces it."""


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
    if world > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if gpu else "gloo")
    return Place(rank, world, device)


class Objective(nn.Module):
    """A stage's loss as a module, so that gradients of several processes are averaged."""

    def __init__(self, model: Rethined, stage: Stage, bf16: bool) -> None:
        super().__init__()
        self.model, self._part, self._bf16 = model, stage.part, bf16
        model.requires_grad_(False)
        trained = model.coarse_model if stage.part == "coarse" else model.generator
        trained.requires_grad_(True)

    def forward(self, batch: Batch) -> Tensor:
        """The loss, a scalar."""
        if self._part == "attention":
            self.model.eval()
            pairs = zip(batch.image, batch.mask, strict=True)
            losses = [matching_loss(self.model, image[None], mask[None]) for image, mask in pairs]
            return torch.stack(losses).mean()
        self.model.train()
        with torch.autocast(batch.image.device.type, torch.bfloat16, enabled=self._bf16):
            painted, _ = self.model.coarse_model(batch.image * (1 - batch.mask), batch.mask)
        return hole_error(painted.float(), batch.image, batch.mask)


class Descent:
    """A stage's loss, brought down a batch at a time.

    Args:
        model: trained in place. world: processes that share each batch.
    """

    def __init__(self, model: Rethined, stage: Stage, bf16: bool, world: int = 1) -> None:
        self._stage = stage
        self._objective: nn.Module = Objective(model, stage, bf16)
        self.optimiser = torch.optim.AdamW(
            [p for p in model.parameters() if p.requires_grad], lr=stage.rate, betas=_BETAS
        )
        if world > 1:
            self._objective = DistributedDataParallel(self._objective)

    def step(self, number: int, batch: Batch) -> float:
        """The loss of a batch, the stage's ``number``-th from 1; the model is better for it.

        Where the loss is not a finite number the model stays as it is.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = self._stage.rate * _schedule(number, self._stage.steps)
        loss = self._objective(batch)
        value = float(loss.detach())
        if math.isfinite(value):
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            # Not the objective's: an earlier stage's gradients still lie in what is frozen now.
            (trained,) = (group["params"] for group in self.optimiser.param_groups)
            nn.utils.clip_grad_norm_(trained, _NORM)
            self.optimiser.step()
        return value


def train(
    settings: Settings,
    images: Images,
    trained_on: str,
    folder: Path,
    *,
    workers: int,
    tell: Callable[[Noted], None],
) -> Path:
    """Run the stages that are left, from the folder's checkpoint if it has one.

    Args:
        images: what to train on. trained_on: the same in words, compared on resuming.
        folder: for the checkpoint, the journal and the weights.
        workers: processes that prepare samples; 0 prepares them in this one.

    Returns:
        The file of weights.

    Raises:
        TrainingError: the checkpoint is of other settings, no image can be used, no room.
        DivergedError: the loss became NaN or infinite; the last checkpoint is from before.
    """
    where = place()
    folder.mkdir(parents=True, exist_ok=True)
    run = described(settings, trained_on)
    model, done, tensors = new_model(settings), 0, dict[str, Tensor]()
    if (folder / CHECKPOINT).exists():
        done, tensors = load_state(folder / CHECKPOINT, model, run)
    model.to(where.device)
    first = 0
    with Journal(folder) as journal:
        for number, stage in enumerate(settings.stages):
            last = first + stage.steps
            if done < last:
                runner = _Stage(settings, number, first, model, where, run, folder, journal, tell)
                load_optimiser(runner.optimiser, tensors if done > first else {})
                runner.run(Samples(images, stage.side, settings.seed + number), done, workers)
                done = last
            first = last
    if where.rank == 0:
        save_weights(folder / WEIGHTS, model.cpu())
    if where.world > 1:
        torch.distributed.destroy_process_group()
    return folder / WEIGHTS


class _Stage:
    """One stage of a run."""

    def __init__(
        self,
        settings: Settings,
        number: int,
        first: int,
        model: Rethined,
        where: Place,
        run: dict[str, str],
        folder: Path,
        journal: Journal,
        tell: Callable[[Noted], None],
    ) -> None:
        self._settings, self._stage, self._first = settings, settings.stages[number], first
        self._model, self._where, self._run, self._folder = model, where, run, folder
        self._journal, self._tell = journal, tell
        if self._stage.batch % where.world:
            raise TrainingError(f"batch {self._stage.batch} is no multiple of {where.world}")
        self._descent = Descent(model, self._stage, settings.precision == "bf16", where.world)
        self.optimiser = self._descent.optimiser

    def run(self, samples: Samples, done: int, workers: int) -> None:
        """The steps from ``done`` to the stage's last."""
        skipped: set[str] = set()
        losses: list[float] = []
        last = self._first + self._stage.steps
        for step, cpu_batch in enumerate(self._batches(samples, done, workers), done + 1):
            batch = cpu_batch.to(self._where.device)
            skipped |= set(batch.skipped)
            losses.append(self._step(step, batch))
            if self._where.rank:
                continue
            if step % NOTE_EVERY == 0 or step == last:
                self._note(step, batch, losses, skipped)
                losses.clear()
            if step % SAVE_EVERY == 0 or step == last:
                path = self._folder / CHECKPOINT
                save_state(path, self._model, self.optimiser, step, self._run)
                self._journal.grid(step, self._pictures(batch))

    def _batches(self, samples: Samples, done: int, workers: int) -> Iterator[Batch]:
        """This process's share of every batch that is left of the stage."""
        size, world = self._stage.batch, self._where.world
        left = range((done - self._first) * size, self._stage.steps * size)
        mine = Subset(samples, left[self._where.rank :: world])
        loader = DataLoader(mine, size // world, num_workers=workers, collate_fn=collate)
        yield from loader

    def _step(self, step: int, batch: Batch) -> float:
        value = self._descent.step(step - self._first, batch)
        if not math.isfinite(value):
            raise DivergedError(
                f"loss is {value} at step {step} (seed {self._settings.seed}, "
                f"batch of {self._stage.batch} at {self._stage.side}); "
                f"{self._folder / CHECKPOINT} is from before: lower the rate of this stage"
            )
        return value

    @torch.no_grad()
    def _note(self, step: int, batch: Batch, losses: list[float], skipped: set[str]) -> None:
        """Tell the mean loss and, for the coarse model, what it gains over the plain fill."""
        figures = {f"{self._stage.part}/loss": sum(losses) / len(losses)}
        if self._stage.part == "coarse":
            _, fill, composite, truth = self._pictures(batch)
            painted, plain = (hole_psnr(x, truth, batch.mask).mean() for x in (composite, fill))
            figures |= {"coarse/psnr": float(painted), "coarse/gain": float(painted - plain)}
        figures["rate"] = self.optimiser.param_groups[0]["lr"]
        self._journal.figures(step, figures)
        of = self._settings.steps
        self._tell(Noted(step, of, self._stage.part, figures, frozenset(skipped)))

    @torch.no_grad()
    def _pictures(self, batch: Batch) -> list[Tensor]:
        """Rows of a grid: what is known, the plain fill, what the model paints, the truth."""
        known = batch.image * (1 - batch.mask)
        self._model.eval()
        painted, _ = self._model.coarse_model(known, batch.mask)
        composite = known + batch.mask * painted
        return [known, push_pull(known, batch.mask), composite, batch.image]


def _schedule(step: int, steps: int) -> float:
    """Share of the learning rate at a step counted from 1: up in a line, down along a cosine."""
    warm = max(1, round(_WARM_UP * steps))
    if step <= warm:
        return step / warm
    progress = (step - warm) / max(1, steps - warm)
    return _LAST + (1 - _LAST) * (1 + math.cos(math.pi * progress)) / 2
