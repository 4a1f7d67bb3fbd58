"""The loop: it learns, goes on to the same numbers, and loses nothing when it must stop."""

import dataclasses
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from rethined_export.models.rethined.push_pull import push_pull
from rethined_export.models.rethined.training import loop, objective
from rethined_export.models.rethined.training.average import Average
from rethined_export.models.rethined.training.images import Pixels
from rethined_export.models.rethined.training.loop import DivergedError, Noted, train
from rethined_export.models.rethined.training.procedural import scene
from rethined_export.models.rethined.training.samples import Batch, Samples
from rethined_export.models.rethined.training.settings import Settings, Stage, TrainingError
from rethined_export.models.rethined.training.start import new_model
from rethined_export.models.rethined.training.state import CHECKPOINT
from rethined_export.models.weights import shipped
from rethined_export.recipes.rethined.weights import load_checkpoint

COARSE = Stage("coarse", side=64, batch=2, steps=4, rate=1e-3)
ATTENTION = Stage("attention", side=512, batch=1, steps=2, rate=1e-3)
SETTINGS = Settings(stages=(COARSE, ATTENTION), images=4)


class Scenes:
    """A few procedural images in memory."""

    def __init__(self, count: int = 4) -> None:
        self._images = [scene((9, index), 512) for index in range(count)]

    def __len__(self) -> int:
        return len(self._images)

    def name(self, index: int) -> str:
        return f"scene {index}"

    def read(self, index: int) -> Pixels:
        return self._images[index]


@pytest.fixture(scope="module")
def images() -> Scenes:
    return Scenes()


def run(settings: Settings, images: Scenes, folder: Path) -> tuple[Path, list[Noted]]:
    told: list[Noted] = []
    return train(settings, images, "scenes", folder, workers=0, tell=told.append), told


@pytest.fixture(scope="module")
def finished(images: Scenes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    run(SETTINGS, images, folder)
    return folder


def test_it_starts_as_the_plain_fill() -> None:
    model = new_model(SETTINGS).eval()
    x, mask = torch.rand(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)
    mask[:, :, 10:30, 20:50] = 1
    with torch.no_grad():
        painted, _ = model.coarse_model(x * (1 - mask), mask)
    assert torch.equal(painted, push_pull(x * (1 - mask), mask))


def test_it_learns_one_batch(
    images: Scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that is dead, or whose gradients do not reach it, would stay at the fill."""
    monkeypatch.setattr(loop, "NOTE_EVERY", 1)
    stage = dataclasses.replace(COARSE, steps=60, rate=2e-3)
    monkeypatch.setattr(
        loop.Samples,
        "__getitem__",
        lambda self, index, get=loop.Samples.__getitem__: get(self, index % 2),
    )
    _, told = run(dataclasses.replace(SETTINGS, stages=(stage,)), images, tmp_path)
    first, last = (np.mean([noted.figures["coarse/loss"] for noted in part])
                   for part in (told[:3], told[-3:]))  # fmt: skip
    assert last < 0.85 * first


def test_resumed_is_uninterrupted(images: Scenes, finished: Path, tmp_path: Path,
                                  monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Stopped in the middle of either stage, a run goes on to the very same weights."""
    monkeypatch.setattr(loop, "SAVE_EVERY", 1)
    for stop in (3, 6):
        with interrupted_at(stop), pytest.raises(KeyboardInterrupt):
            run(SETTINGS, images, tmp_path)
    weights, _ = run(SETTINGS, images, tmp_path)
    expected = load_file(finished / weights.name)
    actual = load_file(weights)
    assert expected.keys() == actual.keys()
    assert all(torch.equal(expected[name], actual[name]) for name in expected)


def steps_done(folder: Path) -> int:
    return loop.load_state(folder / CHECKPOINT, loop.Trained(SETTINGS).modules, SETTINGS, {})[0]


@contextmanager
def interrupted_at(stop: int) -> Iterator[None]:
    """Runs end as by Ctrl-C when that step begins."""
    real = loop._Stage._step

    def step(self: loop._Stage, number: int, *others: Any) -> Any:
        if number == stop:
            raise KeyboardInterrupt
        return real(self, number, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop._Stage, "_step", step)
        yield


def test_weights_load_as_any_checkpoint(finished: Path) -> None:
    loaded = load_checkpoint(finished / "weights.safetensors", "mobile", "paper")
    assert loaded.model.config.deployed
    assert loaded.model.config.start == "push-pull"
    assert not loaded.model.config.coherence


JUDGED = dataclasses.replace(COARSE, features=1.0, critic=1.0, resemblance=0.5)


@pytest.fixture
def classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small random network in place of the classifier, whose weights are no dependency."""

    class Glance(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 8, 3, padding=1).requires_grad_(False)

        def difference(
            self, painted: torch.Tensor, truth: torch.Tensor, mask: torch.Tensor
        ) -> torch.Tensor:
            return (self.layer(painted) - self.layer(truth)).square().mean()

    monkeypatch.setattr(loop, "perception", Glance)


@pytest.mark.usefixtures("classifier")
def test_a_judged_run_resumes_to_the_same_weights(
    images: Scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Critic, its optimiser and the running mean are all in the checkpoint."""
    settings = dataclasses.replace(SETTINGS, stages=(COARSE, JUDGED), average=0.9)
    whole, told = run(settings, images, tmp_path / "whole")
    assert "critic/loss" in told[-1].figures
    monkeypatch.setattr(loop, "SAVE_EVERY", 1)
    with interrupted_at(7), pytest.raises(KeyboardInterrupt):
        run(settings, images, tmp_path / "parts")
    parts, _ = run(settings, images, tmp_path / "parts")
    expected, actual = load_file(whole), load_file(parts)
    assert all(torch.equal(expected[name], actual[name]) for name in expected)


@pytest.mark.usefixtures("classifier")
def test_a_whole_stage_runs(images: Scenes, tmp_path: Path) -> None:
    stage = dataclasses.replace(ATTENTION, part="whole", steps=1, critic=1.0)
    _, told = run(dataclasses.replace(SETTINGS, stages=(stage,)), images, tmp_path)
    assert np.isfinite(list(told[-1].figures.values())).all()
    assert load_checkpoint(
        tmp_path / "weights.safetensors", "mobile", "paper"
    ).model.config.deployed


@pytest.mark.usefixtures("classifier")
def test_a_critic_that_always_wins_stops_the_run(
    images: Scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_WON_FOR", 2)
    monkeypatch.setattr(objective.CriticObjective, "forward",
                        lambda self, *_: 0 * self.critic.verdict.bias.sum() + 0.001)  # fmt: skip
    settings = dataclasses.replace(SETTINGS, stages=(JUDGED,))
    with pytest.raises(DivergedError, match=r"stayed under 0.02 for 2 steps.*at step 2"):
        run(settings, images, tmp_path)


@pytest.mark.usefixtures("classifier")
def test_a_critic_that_breaks_stops_the_run(
    images: Scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its loss is a number, its gradient is not."""
    real = objective.CriticObjective.forward

    def steep(self: objective.CriticObjective, *inputs: object) -> torch.Tensor:
        return real(self, *inputs) + (0 * self.critic.verdict.bias.sum()).sqrt()

    monkeypatch.setattr(objective.CriticObjective, "forward", steep)
    with pytest.raises(DivergedError, match="the critic's loss is nan at step 1"):
        run(dataclasses.replace(SETTINGS, stages=(JUDGED,)), images, tmp_path)


def test_a_run_ends_in_time_and_goes_on(images: Scenes, finished: Path, tmp_path: Path) -> None:
    told: list[Noted] = []
    arguments = {"workers": 0, "tell": told.append}
    early = train(SETTINGS, images, "scenes", tmp_path, seconds=0, **arguments)
    assert told[-1].step == 1
    load_checkpoint(early, "mobile", "paper")  # what there is can be used
    weights = train(SETTINGS, images, "scenes", tmp_path, **arguments)
    expected, actual = load_file(finished / weights.name), load_file(weights)
    assert all(torch.equal(expected[name], actual[name]) for name in expected)


def test_stages_to_come_may_change(images: Scenes, tmp_path: Path) -> None:
    train(SETTINGS, images, "scenes", tmp_path, workers=0, tell=lambda noted: None, seconds=0)
    longer = dataclasses.replace(ATTENTION, steps=1)
    run(dataclasses.replace(SETTINGS, stages=(COARSE, longer)), images, tmp_path)
    begun = dataclasses.replace(SETTINGS, stages=(dataclasses.replace(COARSE, rate=1.0), longer))
    with pytest.raises(TrainingError, match="comes from other settings: stages was"):
        run(begun, images, tmp_path)


def test_a_stage_ends_with_its_minutes(images: Scenes, tmp_path: Path) -> None:
    """The rate is then at its least, and the next stage begins."""
    short = dataclasses.replace(COARSE, steps=100, minutes=1e-6)
    _, told = run(dataclasses.replace(SETTINGS, stages=(short, ATTENTION)), images, tmp_path)
    assert [noted.part for noted in told] == ["coarse", "attention"]
    assert [noted.step for noted in told] == [100, 102]
    assert objective._schedule(50, 100, 1.5) == pytest.approx(0.01)
    assert objective._schedule(50, 100, 0) == objective._schedule(50, 100, 0.1) > 0.4


def test_a_run_begins_with_what_another_ended_with(
    images: Scenes, finished: Path, tmp_path: Path
) -> None:
    """But for how much surroundings count and what copied details are raised by: these are set."""
    modules = loop.Trained(dataclasses.replace(SETTINGS, seed=3, average=0.5)).modules
    closeness = modules["model"].generator.multihead_attention.closeness
    closeness += 1
    gain = modules["model"].generator.gain
    gain += 1
    loop.load_start(finished / CHECKPOINT, modules, nothing_seen)
    ended = {
        name.removeprefix("model."): tensor
        for name, tensor in load_file(finished / CHECKPOINT).items()
        if name.startswith("model.")
    }
    for module in modules.values():
        for name, tensor in module.state_dict().items():
            assert torch.equal(tensor, ended[name]) or name.endswith((".closeness", ".gain")), name
    assert not torch.equal(closeness, ended["generator.multihead_attention.closeness"])
    assert not torch.equal(gain, ended["generator.gain"])
    shapes = loop.Trained(dataclasses.replace(SETTINGS, branches=2)).modules
    with pytest.raises(TrainingError, match=r"its model has another shape \(Missing"):
        loop.load_start(finished / CHECKPOINT, shapes, nothing_seen)
    save_file({"d0.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(TrainingError, match="neither a checkpoint of rethined-train nor"):
        loop.load_start(tmp_path / "other.safetensors", modules, nothing_seen)


def weights_file() -> Path:
    path = shipped("mobile", "paper")
    assert path is not None
    return path


def nothing_seen() -> Iterator[Batch]:
    raise AssertionError("a checkpoint needs no images")


def test_a_run_begins_with_deployed_weights(images: Scenes, tmp_path: Path) -> None:
    """After a step of nearly nothing it gives what it was given, but for what its norms take in of
    the moments of one small batch: a tenth."""
    stage = dataclasses.replace(COARSE, steps=1, rate=1e-12)
    settings = dataclasses.replace(SETTINGS, stages=(stage,), seed=4, average=0.9)
    weights = loop.train(settings, images, "scenes", tmp_path, workers=0,
                         tell=lambda noted: None, start=weights_file())  # fmt: skip
    case = Samples(images, 512, 1)[0].to(torch.device("cpu"))
    known = case.image * (1 - case.mask)
    filled = []
    for path in (weights_file(), weights):
        model = load_checkpoint(path, "mobile", "paper").model.eval()
        with torch.no_grad():
            filled.append(model.coarse_model(known, case.mask)[0])
    gained = (filled[0] - push_pull(known, case.mask)).square().mean()
    assert (filled[0] - filled[1]).square().mean() < 0.1 * gained
    shapes = loop.Trained(dataclasses.replace(settings, start="zeros")).modules
    with pytest.raises(TrainingError, match="its model has another shape"):
        loop.load_start(weights_file(), shapes, lambda: iter(()))


def test_the_running_mean_follows() -> None:
    """After a step it stands between where it was and the model: lerp with 1 − min(decay, 2/11)."""
    model = new_model(SETTINGS)
    mean = Average(model, 0.9)
    before = mean.model.coarse_model.d0.weight.clone()
    with torch.no_grad():
        model.coarse_model.d0.weight += 1
    mean.follow(model, 1)
    moved = mean.model.coarse_model.d0.weight - before
    assert torch.allclose(moved, torch.full_like(moved, 9 / 11), atol=1e-6)


def test_what_a_run_leaves(finished: Path) -> None:
    assert [path.name for path in (finished / "samples").iterdir()]
    assert list((finished / "tensorboard").iterdir())


def test_a_checkpoint_of_other_settings(images: Scenes, finished: Path) -> None:
    other = dataclasses.replace(SETTINGS, seed=5)
    with pytest.raises(TrainingError, match=r"other settings: seed was 0 and is 5"):
        run(other, images, finished)
    with pytest.raises(TrainingError, match="trained_on was scenes and is photos"):
        train(SETTINGS, images, "photos", finished, workers=0, tell=lambda noted: None)


def test_a_damaged_checkpoint(images: Scenes, finished: Path, tmp_path: Path) -> None:
    data = (finished / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(data[: len(data) // 2])
    with pytest.raises(TrainingError, match="cannot resume from"):
        run(SETTINGS, images, tmp_path)


def test_nan_stops_the_run(images: Scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY", 1)
    real = objective.hole_error
    calls = iter(range(100))
    monkeypatch.setattr(
        objective,
        "hole_error",
        lambda *inputs: real(*inputs) * (float("nan") if next(calls) == 2 else 1),
    )
    with pytest.raises(DivergedError, match=r"loss is nan at step 3 \(seed 0, batch of 2 at 64\)"):
        run(SETTINGS, images, tmp_path)
    assert steps_done(tmp_path) == 2


def test_no_room_for_a_checkpoint(images: Scenes, tmp_path: Path,
                                  monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """The last good one survives, and no half of the new one stays."""
    monkeypatch.setattr(loop, "SAVE_EVERY", 1)
    real = os.fsync
    calls = iter(range(100))

    def fsync(descriptor: int) -> None:
        if next(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(TrainingError, match="No space left on device; the last one stays"):
        run(SETTINGS, images, tmp_path)
    assert steps_done(tmp_path) == 2
    assert not list(tmp_path.glob("*.tmp"))


def test_two_processes_share_a_batch(tmp_path: Path) -> None:
    """Under torchrun; both see half of every batch and end with one set of weights."""
    settings = tmp_path / "settings.toml"
    settings.write_text(
        'images = 2\n[[stages]]\npart = "coarse"\nside = 32\nbatch = 4\nsteps = 2\nrate = 1e-3\n'
    )
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(2):
        Image.fromarray(scene((1, index), 64)).save(folder / f"{index}.png")
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ours = ["rethined_export.cli.train", str(settings), "--photos", str(folder), "--workers", "0"]
    command = [sys.executable, "-m", *torchrun, "-m", *ours, "--output", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "step 2/2" in done.stdout
    assert (tmp_path / "run" / "weights.safetensors").exists()
