"""What a stage brings down: the network's losses, and those of the critic beside it."""

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rethined_export.models.rethined.model import Rethined
from rethined_export.models.rethined.training.critic import (
    PENALISED_EVERY,
    Critic,
    CriticObjective,
    persuasion_loss,
)
from rethined_export.models.rethined.training.losses import hole_error
from rethined_export.models.rethined.training.perception import Perception
from rethined_export.models.rethined.training.recording import Differentiated
from rethined_export.models.rethined.training.refined import refined
from rethined_export.models.rethined.training.samples import Batch
from rethined_export.models.rethined.training.settings import Stage

#: Share of a stage in which the learning rate rises, and what is left of it at the end.
_WARM_UP, _LAST = 0.03, 0.01
#: Second-moment decay and largest norm of the gradients: with the usual 0.999 and no bound, the
#: first noisy steps held a model back for thousands of later ones.
_BETAS, _NORM = (0.9, 0.99), 1.0
#: How much a judge's loss is magnified at most: one that knows nothing should not shout.
_STRONGEST = 100.0
#: The critic's: the image it judges changes under it, so old gradients mislead.
_CRITIC_BETAS, _CRITIC_NORM = (0.5, 0.99), 10.0


@dataclass(frozen=True)
class Judges:
    """Networks that judge while training and are not shipped; None where no stage needs one."""

    critic: Critic | None = None
    perception: Perception | None = None


class Objective(nn.Module):
    """A stage's loss as a module, so that gradients of several processes are averaged."""

    def __init__(self, model: Rethined, stage: Stage, bf16: bool, judges: Judges) -> None:
        super().__init__()
        self.model, self._stage, self._bf16 = model, stage, bf16
        self._judges = (judges,)  # not a part of this module, whose parameters are trained
        model.requires_grad_(False)
        if stage.part != "attention":
            model.coarse_model.requires_grad_(True)
        if stage.part != "coarse":
            model.generator.requires_grad_(True)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss, a scalar, and the image that was judged."""
        stage, known = self._stage, batch.image * (1 - batch.mask)
        learning = stage.part != "attention"
        self.model.train(learning)
        with torch.set_grad_enabled(learning), self._autocast(batch, learning):
            painted, features = self.model.coarse_model(known, batch.mask)
        judged = batch.mask * painted.float() + known
        error = hole_error(judged, batch.image, batch.mask)
        pull = _pull(error, judged) if learning else None
        loss = stage.pixels * error if learning else judged.new_zeros(())
        if stage.part != "coarse":
            judged, cost = refined(self.model, judged, features, batch.image, batch.mask)
            loss = loss + stage.matching * cost
        if pull is not None:
            loss = loss + self._judgement(judged, batch, pull)
        return loss, judged

    def _judgement(self, judged: Tensor, batch: Batch, pull: Tensor) -> Tensor:
        """What the judges say, each weighed so that it pulls at the pixels as the stage wants.

        Its own gradient says little: a young critic's was a fiftieth of the pixels'. Each judge is
        differentiated once, down to the image; from there on their sum is.

        Args:
            pull: norm of the gradient of the pixels' error.
        """
        seen = judged.detach().requires_grad_(True)
        total, slope = judged.new_zeros(()), torch.zeros_like(judged)
        for weight, loss in self._opinions(seen, batch):
            (gradient,) = torch.autograd.grad(loss, seen, retain_graph=True)
            strength = (pull / gradient.norm().clamp(min=1e-12)).clamp(max=_STRONGEST)
            total = total + weight * strength * loss.detach()
            slope = slope + weight * strength * gradient
        return total + (slope * (judged - seen.detach())).sum()

    def _opinions(self, judged: Tensor, batch: Batch) -> list[tuple[float, Tensor]]:
        """The judges' losses of an image, with their weights."""
        (judges,), stage = self._judges, self._stage
        said: list[tuple[float, Tensor]] = []
        with self._autocast(batch, True):
            if stage.features and judges.perception is not None:
                apart = judges.perception.difference(judged, batch.image, batch.mask)
                said.append((stage.features, apart))
            if stage.has_critic and judges.critic is not None:
                judges.critic.requires_grad_(False)
                doubt, unlike = persuasion_loss(judges.critic, judged, batch.image, batch.mask)
                judges.critic.requires_grad_(True)
                said += [(stage.critic, doubt), (stage.resemblance, unlike)]
        return [(weight, loss) for weight, loss in said if weight]

    def _autocast(self, batch: Batch, enabled: bool) -> torch.autocast:
        kind = batch.image.device.type
        return torch.autocast(kind, torch.bfloat16, enabled=self._bf16 and enabled)


def _pull(loss: Tensor, image: Tensor) -> Tensor:
    """Norm of a loss's gradient at an image; a number, not something to differentiate."""
    (gradient,) = torch.autograd.grad(loss, image, retain_graph=True)
    return gradient.norm()


@dataclass(frozen=True)
class Stepped:
    """What a step saw.

    Attributes:
        loss: the network's. critic: the critic's without its penalty where there is one: 1.39
            where it cannot tell painted from true, 0 where it always can.
    """

    loss: float
    critic: float | None = None

    @property
    def finite(self) -> bool:
        """Whether every loss and gradient was a number."""
        return math.isfinite(self.loss) and math.isfinite(self.critic or 0)


class Descent:
    """A stage's losses, brought down a batch at a time.

    Args:
        model: trained in place. world: processes that share each batch.
        judges: the critic is trained in place where the stage has one.
    """

    def __init__(
        self,
        model: Rethined,
        stage: Stage,
        bf16: bool,
        world: int = 1,
        judges: Judges | None = None,
    ) -> None:
        judges = judges or Judges()
        self._stage = stage
        objective: nn.Module = Objective(model, stage, bf16, judges)
        trained = [p for p in model.parameters() if p.requires_grad]
        self.optimiser = _optimiser(trained, stage.rate, _BETAS)
        self.critic_optimiser: torch.optim.Optimizer | None = None
        alone = world == 1 and trained[0].is_cuda
        if world > 1:
            objective = DistributedDataParallel(objective)
        self._painting = Differentiated(
            lambda image, mask: objective(Batch(image, mask)), trained, alone
        )
        self._telling: dict[bool, Differentiated] = {}
        if stage.has_critic and judges.critic is not None:
            critic: nn.Module = CriticObjective(judges.critic, bf16)
            ours = list(judges.critic.requires_grad_(True).parameters())
            self.critic_optimiser = _optimiser(ours, stage.rate, _CRITIC_BETAS)
            if world > 1:
                critic = DistributedDataParallel(critic)
            for penalise in (False, True):
                run = functools.partial(_told, critic, penalise)
                self._telling[penalise] = Differentiated(run, ours, alone)

    def step(self, number: int, batch: Batch, spent: float = 0.0) -> Stepped:
        """The losses of a batch, the stage's ``number``-th from 1; the model is better for it.

        Where a loss or gradient is not a finite number, what it would have trained stays as it is.

        Args:
            spent: share of the stage's time, where that is limited.
        """
        rate = self._stage.rate * _schedule(number, self._stage.steps, spent)
        loss, judged = self._painting(batch.image, batch.mask)
        value = _descend(self.optimiser, loss, rate, _NORM)
        if self.critic_optimiser is None or not math.isfinite(value):
            return Stepped(value)
        telling = self._telling[number % PENALISED_EVERY == 0]
        (loss,) = telling(judged, batch.image, batch.mask)
        return Stepped(value, _descend(self.critic_optimiser, loss, rate, _CRITIC_NORM))


def _told(
    critic: nn.Module, penalise: bool, painted: Tensor, truth: Tensor, mask: Tensor
) -> tuple[Tensor]:
    return (critic(painted, truth, mask, penalise),)


def _optimiser(
    trained: list[nn.Parameter], rate: float, betas: tuple[float, float]
) -> torch.optim.Optimizer:
    fused = all(parameter.is_cuda for parameter in trained)
    return torch.optim.AdamW(trained, lr=rate, betas=betas, fused=fused)


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor, rate: float, norm: float) -> float:
    """One step along the gradients; the loss, or NaN where one is not finite, and then no step."""
    (group,) = optimiser.param_groups
    group["lr"] = rate
    steepness = nn.utils.clip_grad_norm_(group["params"], norm)
    value, slope = torch.stack([loss, steepness]).tolist()
    if math.isfinite(value) and math.isfinite(slope):
        optimiser.step()
        return float(value)
    return float(value) if not math.isfinite(value) else math.nan


def _schedule(step: int, steps: int, spent: float) -> float:
    """Share of the learning rate at a step counted from 1: up in a line, down along a cosine.

    The cosine follows the steps or the time that is spent, whichever is further.
    """
    warm = max(1, round(_WARM_UP * steps))
    if step <= warm:
        return step / warm
    progress = min(max((step - warm) / max(1, steps - warm), spent), 1)
    return _LAST + (1 - _LAST) * (1 + math.cos(math.pi * progress)) / 2
