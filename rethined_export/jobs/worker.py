"""The process in which one conversion or one comparison runs, apart from everything else.

Converters crash, hang and take tens of gigabytes; here that ends one process, not the export. The
job comes as JSON on standard input; stages and the result go as JSON lines to standard output, and
whatever the converters print goes to standard error.
"""

import errno
import json
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from rethined_export.errors import OperatorError, UnavailableError, UserError
from rethined_export.jobs.memory import peak_rss_bytes

Report = Callable[[str], None]
_WATCH_S = 1.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main() -> None:
    """Read a job, run it, write its result."""
    # The parent decides what Ctrl-C means, and ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = _claim_stdout()
    job = json.load(sys.stdin)
    threading.Thread(target=_watch, args=(job.pop("parent"),), daemon=True).start()

    def report(stage: str) -> None:
        _send(channel, {"stage": stage})

    try:
        result = _JOBS[job.pop("job")](report, **job)
    except Exception as error:
        traceback.print_exc()  # first: the parent ends this process once it has the error
        _send(channel, {"error": _describe(error)})
        sys.exit(1)
    result["peak_rss_bytes"] = peak_rss_bytes()
    _send(channel, {"result": result})


def _watch(parent: int) -> None:
    """End this process and what it started when the parent is gone and nobody waits."""
    while os.getppid() == parent:
        time.sleep(_WATCH_S)
    os.killpg(0, signal.SIGKILL)


def _claim_stdout() -> TextIO:
    """Keep standard output for results; native code that prints gets standard error instead."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return channel


def _send(channel: TextIO, message: dict[str, Any]) -> None:
    channel.write(json.dumps(message) + "\n")
    channel.flush()


def _describe(error: Exception) -> dict[str, Any]:
    """One line and an exit code: known kinds keep theirs, the rest are unexpected failures."""
    text = " ".join(str(error).splitlines()) or type(error).__name__
    unexpected = {"message": f"{type(error).__name__}: {text[:500]}", "exit_code": 1}
    try:
        from rethined_export.converters import MissingConverterError
        from rethined_export.converters.types import ArtifactError, UnsupportedOperatorError
    except ImportError:  # a broken installation: that is what failed in the first place
        return unexpected
    codes: list[tuple[type[Exception], int]] = [
        (MissingConverterError, UnavailableError.exit_code),
        (UnsupportedOperatorError, OperatorError.exit_code),
        (ArtifactError, UserError.exit_code),
    ]
    if isinstance(error, UserError):
        return {"message": text, "exit_code": error.exit_code}
    if isinstance(error, OSError):
        file = "" if error.filename is None else f" ({error.filename})"
        advice = "; free some space, or choose another folder" if error.errno in _FULL else ""
        return {
            "message": f"{error.strerror or text}{file}{advice}",
            "exit_code": UserError.exit_code,
        }
    for kind, code in codes:
        if isinstance(error, kind):
            return {"message": text, "exit_code": code}
    return unexpected


def convert(report: Report, *, spec: dict[str, Any], path: str, threads: int) -> dict[str, Any]:
    """Write one artifact to ``path``; returns its operators, weights and seconds."""
    report("loading the model")
    weights, made = _load(spec, threads)
    import torch

    from rethined_export.converters import converter, installed
    from rethined_export.recipes.rethined.programs import exportable

    asked = exportable(made, weights.model)
    metadata = {
        "rethined.spec": json.dumps({**spec, "checkpoint": weights.name}, sort_keys=True),
        "rethined.weights_sha256": weights.sha256,
        "rethined.coherence": json.dumps(weights.model.config.coherence),
        "rethined.mask_polarity": "1 = hole, 0 = known",
        "rethined.value_range": "image RGB in [0, 1]",
    }
    target = converter(made.target)
    report("converting")
    started = time.perf_counter()
    with torch.no_grad(), installed(made.target):
        target.convert(replace(asked, metadata=metadata), Path(path))
    seconds = time.perf_counter() - started
    report("reading it back")
    deployed = sum(p.numel() for p in asked.module.parameters())
    return {
        "seconds": seconds,
        "operators": dict(sorted(target.count_operators(Path(path)).items())),
        "weights": weights.name,
        "weights_sha256": weights.sha256,
        "derived": list(weights.derived),
        "parameters": deployed,
        "coherence": weights.model.config.coherence,
    }


def verify(
    report: Report,
    *,
    spec: dict[str, Any],
    path: str,
    threads: int,
    image: str | None = None,
    mask: str | None = None,
) -> dict[str, Any]:
    """Run a saved artifact on photos and compare it with torch; returns the parity report."""
    from rethined_export.converters import converter
    from rethined_export.parity.check import check_parity
    from rethined_export.photo.scenes import Scene, default_scenes, user_scene
    from rethined_export.recipes.rethined.caller import TOKENS
    from rethined_export.recipes.rethined.programs import in_place_of_whole, whole_graph

    report("loading the model")
    weights, made = _load(spec, threads)
    chosen = (
        [user_scene(Path(image), Path(mask), made.hr)]
        if image is not None and mask is not None
        else default_scenes(made.hr, made.places if made.part == "whole" else TOKENS)
    )
    report("loading the artifact")

    def announced(scene: Scene) -> Scene:
        report(f"comparing on {scene.name}")
        return scene

    graph = whole_graph(made, weights.model)
    with converter(made.target).load(Path(path), threads) as runtime:
        runs = in_place_of_whole(made, weights.model, runtime)
        parity = check_parity(weights.model, graph, runs, (announced(s) for s in chosen))
    return parity.to_dict()


def fill(
    report: Report, *, artifact: str | None, hr: int, folder: str, threads: int
) -> dict[str, Any]:
    """Inpaint one square: ``image.npy`` and ``mask.npy`` in ``folder`` become ``output.npy``.

    With no artifact the rewritten torch graph of the shipped mobile weights runs.
    """
    import numpy as np

    from rethined_export.deployed import image_runtime

    inputs = {name: np.load(Path(folder) / f"{name}.npy") for name in ("image", "mask")}
    report("loading the model" if artifact is None else "loading the artifact")
    with image_runtime(None if artifact is None else Path(artifact), hr, threads) as runtime:
        report("inpainting")
        produced = runtime(**inputs)
    _refuse_rest(artifact, produced)
    np.save(Path(folder) / "output.npy", produced["output"])
    return {}


def fill_scenes(
    report: Report, *, artifact: str, folder: str, count: int, threads: int
) -> dict[str, Any]:
    """Inpaint squares: ``image-i.npy`` and ``mask-i.npy`` in ``folder`` become ``output-i.npy``.

    Returns:
        ``seconds`` that each took.
    """
    import numpy as np

    from rethined_export.deployed import image_runtime

    report("loading the artifact")
    seconds = []
    with image_runtime(Path(artifact), 0, threads) as runtime:
        for number in range(count):
            report(f"inpainting {number + 1} of {count}")
            place = Path(folder)
            inputs = {name: np.load(place / f"{name}-{number}.npy") for name in ("image", "mask")}
            begun = time.perf_counter()
            produced = runtime(**inputs)
            seconds.append(time.perf_counter() - begun)
            _refuse_rest(artifact, produced)
            np.save(place / f"output-{number}.npy", produced["output"])
    return {"seconds": seconds}


def _refuse_rest(artifact: str | None, produced: dict[str, Any]) -> None:
    """Refuse a result in which part of the hole is over the artifact's budget."""
    import numpy as np

    if left := int(np.sum(produced.get("left", 0))):
        raise UserError(
            f"the hole has {left} patches more than {artifact} fills; export with a larger "
            "--hole-budget, or with --split, which fills any hole"
        )


def fill_photo(
    report: Report, *, artifact: str, top: int, left: int, folder: str, threads: int
) -> dict[str, Any]:
    """Fill the hole ``hole.npy`` in the photo ``photo.npy`` in place, with a split pair.

    Args:
        top, left: where the pair's square begins in the photo.
    """
    import numpy as np

    from rethined_export.deployed import split_pair
    from rethined_export.recipes.rethined import caller as runtime

    report("loading the artifact")
    place = Path(folder) / "photo.npy"
    photo = np.load(place, mmap_mode="r+")
    with split_pair(Path(artifact), threads) as pair:
        report("inpainting")
        hole = np.load(Path(folder) / "hole.npy")
        runtime.fill(pair, runtime.Square(photo, hole, pair.scale, top, left))
    photo.flush()
    return {}


def describe(report: Report, *, artifact: str) -> dict[str, Any]:
    """What a saved artifact says of itself: the ``hr`` and ``part`` of the spec embedded in it."""
    from rethined_export.deployed import embedded_spec

    report("reading the artifact")
    spec = embedded_spec(Path(artifact))
    return {"hr": spec.hr, "part": spec.part}


def measure(
    report: Report, *, artifact: str, threads: int, warm_up: int | None, runs: int | None
) -> dict[str, Any]:
    """Time fills by an artifact: ``before``, ``inference`` and ``after`` of each, in milliseconds.

    Args:
        warm_up: runs that do not count; None: until steady. runs: that do; None: 50 or 10 s.
    """
    from rethined_export.benchmarks.runners.types import RUNTIMES
    from rethined_export.benchmarks.subjects import subject
    from rethined_export.converters import target_of

    report("loading")
    begun = time.perf_counter()
    with subject(Path(artifact), threads) as fill:
        load = 1e3 * (time.perf_counter() - begun)
        times = _times(report, fill, warm_up, runs)
    return {"runtime": RUNTIMES[target_of(Path(artifact))], "load": load, **times}


def measure_in_browser(
    report: Report,
    *,
    artifact: str,
    folder: str,
    threads: int,
    warm_up: int | None,
    runs: int | None,
) -> dict[str, Any]:
    """Time fills by a whole artifact in Chromium, as ``measure`` does, and compare one output.

    Args:
        folder: what ``sample`` left there.
    """
    from rethined_export.benchmarks.browser.tab import opened
    from rethined_export.benchmarks.sample import Scene, read_sample
    from rethined_export.benchmarks.subjects import COVER, noise_photo
    from rethined_export.converters import target_of
    from rethined_export.recipes.rethined.caller import TOKENS

    path, target = Path(artifact), target_of(Path(artifact))
    photo, own = read_sample(Path(folder), target)
    scenes = {"noise": Scene(*noise_photo(len(photo.hole), round(COVER * TOKENS))), "photo": photo}
    report("starting the browser")
    # A place of its own under TMPDIR, which goes with this process.
    place = Path(tempfile.mkdtemp())
    with opened(path, target, scenes, threads, place) as tab:
        times = _times(report, tab.time, warm_up, runs)
        report("comparing")
        return {
            **times,
            "load": tab.load,
            "agent": tab.agent,
            "difference": tab.difference(photo, own, target),
            "peak_rss_bytes": tab.peak_rss_bytes(),  # the page's, not this process's
        }


def measure_on_apple(
    report: Report,
    *,
    artifact: str,
    folder: str,
    model: str,
    warm_up: int | None,
    runs: int | None,
) -> dict[str, Any]:
    """Time fills by a whole artifact in Core ML, as ``measure`` does, and compare one output.

    Inference is timed by Core ML where it runs; the photo becomes inputs, and output, here.

    Args:
        folder: what ``sample`` left there.
        model: type of the attached device; empty for this Mac.
    """
    import numpy as np

    from rethined_export.benchmarks import apple
    from rethined_export.benchmarks.subjects import COVER, Parts, noise_photo, whole
    from rethined_export.recipes.rethined.caller import TOKENS

    with np.load(Path(folder) / "inputs.npz") as stored:
        inputs = dict(stored)
    photo, hole = noise_photo(inputs["mask"].shape[-1], round(COVER * TOKENS))
    report("loading")
    with apple.loaded(Path(artifact), model) as program:

        def fill() -> Parts:
            return replace(whole(program, photo, hole, "C"), inference=program.last)

        times = _times(report, fill, warm_up, runs)
        report("comparing")
        with np.load(Path(folder) / "own.npz") as own:
            difference = float(np.abs(program(**inputs)["output"] - own["output"]).max())
        return {
            "load": program.load,
            "where": program.where,
            "units": program.units(),
            "difference": difference,
            **times,
        }


def _times(
    report: Report, fill: Callable[[], Any], warm_up: int | None, runs: int | None
) -> dict[str, Any]:
    """The first fill, warm-up, and the parts of the fills that count."""
    from rethined_export.benchmarks import timing

    report("warming up")
    first = fill().total
    warmed = 1 + timing.warm_up(partial(_total, fill), warm_up)
    report("measuring")
    begun = time.perf_counter()
    parts: list[Any] = []
    while not timing.enough(len(parts), begun, runs):
        parts.append(fill())
    return {
        "first": first,
        "warm_up": warmed,
        **{name: [getattr(p, name) for p in parts] for name in ("before", "inference", "after")},
    }


def measure_in_turn(
    report: Report, *, artifacts: list[str], threads: int, warm_up: int | None, runs: int | None
) -> dict[str, Any]:
    """Time two artifacts turn about in one process: ``times``, the milliseconds of each."""
    from rethined_export.benchmarks import timing
    from rethined_export.benchmarks.subjects import subject

    report("loading")
    with ExitStack() as stack:
        fills = [stack.enter_context(subject(Path(path), threads)) for path in artifacts]
        report("warming up")
        totals = [partial(_total, fill) for fill in fills]
        for run in totals:
            timing.warm_up(run, warm_up)
        report("measuring in turn")
        begun = time.perf_counter()
        times: list[list[float]] = [[] for _ in fills]
        while not timing.enough(len(times[0]), begun, runs):
            for run, own in zip(totals, times, strict=True):
                own.append(run())
    return {"times": times}


def operators(report: Report, *, artifact: str, threads: int) -> dict[str, Any]:
    """The heaviest operators of an artifact, by the runtime's own profiler."""
    from rethined_export.benchmarks.operators import profile

    report("profiling")
    return profile(Path(artifact), threads).to_dict()


def sample(report: Report, *, artifact: str, folder: str) -> dict[str, Any]:
    """Run a whole artifact on a photo: ``inputs.npz``, ``own.npz``, in the artifact's layouts."""
    import numpy as np

    from rethined_export.converters import converter, target_of
    from rethined_export.converters.types import IMAGES
    from rethined_export.deployed import embedded_spec
    from rethined_export.photo.scenes import default_scenes

    report("running it here")
    spec = embedded_spec(Path(artifact))
    if spec.part != "whole":
        raise UserError(
            f"{artifact} is half of a pair; devices and the emulator run whole artifacts"
        )
    target = target_of(Path(artifact))
    scene = next(default_scenes(spec.hr, spec.places))
    inputs = {"image": scene.image.numpy(), "mask": scene.mask.numpy()}
    with converter(target).load(Path(artifact), 1) as runtime:
        outputs = runtime(**inputs)

    def stored(arrays: dict[str, Any]) -> dict[str, Any]:
        if target != "tflite":
            return arrays
        return {n: a.transpose(0, 2, 3, 1) if n in IMAGES else a for n, a in arrays.items()}

    np.savez(Path(folder) / "inputs.npz", **stored(inputs))
    np.savez(Path(folder) / "own.npz", **stored(outputs))
    return {}


def _total(fill: Any) -> float:
    """Milliseconds of one fill."""
    return float(fill().total)


def _load(spec: dict[str, Any], threads: int) -> tuple[Any, Any]:
    """Weights, and the parsed spec."""
    import torch

    from rethined_export.artifacts import ExportSpec
    from rethined_export.recipes.rethined.weights import load_weights

    torch.set_num_threads(threads)
    made = ExportSpec(**spec)
    checkpoint = None if made.checkpoint is None else Path(made.checkpoint)
    return load_weights(checkpoint, made.preset, made.variant), made


_JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    "convert": convert,
    "verify": verify,
    "fill": fill,
    "fill_scenes": fill_scenes,
    "fill_photo": fill_photo,
    "describe": describe,
    "measure": measure,
    "measure_in_browser": measure_in_browser,
    "measure_on_apple": measure_on_apple,
    "measure_in_turn": measure_in_turn,
    "operators": operators,
    "sample": sample,
}

if __name__ == "__main__":
    main()
