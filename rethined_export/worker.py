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
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from rethined_export.errors import OperatorError, UnavailableError, UserError
from rethined_export.memory import peak_rss_bytes

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
    graph, weights, made = _build(spec, threads)
    import torch

    from rethined_export.converters import converter
    from rethined_export.converters.types import Program

    side = made.hr
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 1, side, side)
    mask[:, :, : side // 2] = 1
    metadata = {
        "rethined.spec": json.dumps({**spec, "checkpoint": weights.name}, sort_keys=True),
        "rethined.weights_sha256": weights.sha256,
        "rethined.mask_polarity": "1 = hole, 0 = known",
        "rethined.value_range": "image RGB in [0, 1]",
    }
    target = converter(made.target)
    report("converting")
    started = time.perf_counter()
    with torch.no_grad():
        target.convert(
            Program(graph, {"image": image, "mask": mask}, graph.output_names, metadata),
            Path(path),
        )
    seconds = time.perf_counter() - started
    report("reading it back")
    deployed = sum(p.numel() for p in graph.parameters())
    return {
        "seconds": seconds,
        "operators": dict(sorted(target.count_operators(Path(path)).items())),
        "weights": weights.name,
        "weights_sha256": weights.sha256,
        "derived": list(weights.derived),
        "parameters": deployed,
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
    from rethined_export.parity import check_parity
    from rethined_export.scenes import Scene, default_scenes, user_scene

    chosen = (
        [user_scene(Path(image), Path(mask), spec["hr"])]
        if image is not None and mask is not None
        else default_scenes(spec["hr"])
    )
    report("loading the model")
    graph, weights, made = _build(spec, threads)
    report("loading the artifact")
    runtime = converter(made.target).load(Path(path), threads)

    def announced(scene: Scene) -> Scene:
        report(f"comparing on {scene.name}")
        return scene

    with runtime:
        parity = check_parity(weights.model, graph, runtime, (announced(s) for s in chosen))
    return parity.to_dict()


def fill(
    report: Report, *, artifact: str | None, hr: int, folder: str, threads: int
) -> dict[str, Any]:
    """Inpaint one square: ``image.npy`` and ``mask.npy`` in ``folder`` become ``output.npy``.

    With no artifact the rewritten torch graph of the untrained mobile preset runs.
    """
    import numpy as np

    from rethined_export.converters import converter, target_of

    image, mask = (np.load(Path(folder) / f"{name}.npy") for name in ("image", "mask"))
    if artifact is None:
        import torch

        report("loading the model")
        spec = {"target": "onnx", "preset": "mobile", "variant": "paper", "hr": hr,
                "upscale": "gather", "top_k": 1, "checkpoint": None}  # fmt: skip
        graph, _, _ = _build(spec, threads)
        report("inpainting")
        with torch.no_grad():
            output = graph(torch.from_numpy(image), torch.from_numpy(mask))[0].numpy()
    else:
        report("loading the artifact")
        path = Path(artifact)
        with converter(target_of(path)).load(path, threads) as runtime:
            report("inpainting")
            output = runtime(image=image, mask=mask)["output"]
    np.save(Path(folder) / "output.npy", output)
    return {}


def describe(report: Report, *, artifact: str) -> dict[str, Any]:
    """What a saved artifact says of itself, in the spec embedded in it: its side, ``hr``."""
    from rethined_export.converters import converter, target_of

    report("reading the artifact")
    path = Path(artifact)
    embedded = converter(target_of(path)).metadata(path).get("rethined.spec")
    if embedded is None:
        raise UserError(f"{artifact} was not made by rethined-export (no rethined.spec in it)")
    try:
        return {"hr": int(json.loads(embedded)["hr"])}
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{artifact} holds a damaged rethined.spec; export it again") from error


def _build(spec: dict[str, Any], threads: int) -> tuple[Any, Any, Any]:
    """The rewritten graph, its weights, and the parsed spec."""
    import torch

    from rethined_export.artifacts import ExportSpec
    from rethined_export.rewrite.graph import ExportGraph
    from rethined_export.weights import load_weights

    torch.set_num_threads(threads)
    made = ExportSpec(**spec)
    checkpoint = None if made.checkpoint is None else Path(made.checkpoint)
    weights = load_weights(checkpoint, made.preset, made.variant)
    graph = ExportGraph(weights.model, made.hr, made.upscale, made.top_k)
    return graph, weights, made


_JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    "convert": convert,
    "verify": verify,
    "fill": fill,
    "describe": describe,
}

if __name__ == "__main__":
    main()
