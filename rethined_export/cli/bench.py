"""``rethined-bench``: does an artifact meet the budget on a device, and how do we know?"""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rethined_export.benchmarks.adb.tools import check as check_tools
from rethined_export.benchmarks.baseline import read_baseline, regressions
from rethined_export.benchmarks.profiles import Profile, load_profiles
from rethined_export.benchmarks.runners import stand_in, unreachable
from rethined_export.benchmarks.runners.types import Plan
from rethined_export.benchmarks.timing import LEAST_PAIRS, STATISTICS
from rethined_export.cli.common import (
    check_threads,
    err,
    fail,
    out,
    parser,
    print_json,
    print_table,
    run,
    say,
    stages,
    write_reports,
)
from rethined_export.cores import worker_threads
from rethined_export.errors import UnavailableError, UserError
from rethined_export.names import choose
from rethined_export.output import prepare, write_text

if TYPE_CHECKING:
    from rethined_export.benchmarks.calibration import Calibration

_EXAMPLES = """\
  rethined-bench dist/*.tflite --device host
  rethined-bench dist/a.onnx dist/b.onnx --compare
  rethined-bench dist/*.onnx --budget-ms 50 --stat p99 --junit build/bench.xml
  rethined-bench dist/*.tflite --device pixel7 --tool android_aarch64_benchmark_model
  rethined-bench --list-devices"""
OVER_BUDGET = 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run(_main, arguments)


def _parser() -> ArgumentParser:
    made = parser(
        "rethined-bench",
        "Time artifacts on a device, from an 8-bit photo to the filled one, against a budget. Exit "
        "codes: 0 within the budget, or not known; 2 unusable file; 4 over the budget; 6 the "
        "device cannot be reached.",
        _EXAMPLES,
    )
    add = made.add_argument
    add("artifacts", nargs="*", type=Path, metavar="ARTIFACT",
        help="whole, or low half of a split pair")  # fmt: skip
    add("--device", default="host", metavar="NAME", help="a profile (default host)")
    add("--devices", type=Path, metavar="DIR", help="more profiles, *.toml")
    add("--list-devices", action="store_true", help="all profiles, and which can be reached")
    add("--budget-ms", type=float, default=30.0, metavar="MS", help="default 30")
    add("--stat", default="p90", metavar="NAME", help=f"{', '.join(STATISTICS)} (default p90)")
    add("--runs", type=int, metavar="N", help="that count; default 50, or 10 s of them")
    add("--warmup", type=int, metavar="N", help="runs that do not; default: until steady")
    add("--threads", type=int, metavar="T", help="default: all cores")
    add("--tool", type=Path, action="append", default=[], metavar="FILE",
        help="a device's benchmark_model or onnxruntime_perf_test; repeatable")  # fmt: skip
    add("--compare", action="store_true", help="two artifacts turn about: ratio and its interval")
    add("--profile", action="store_true", help="the ten heaviest operators, in runs of their own")
    add("--calibrate", type=Path, metavar="FILE",
        help="write a device's rates: artifacts timed on it, counted in the emulator")  # fmt: skip
    add("--calibration", type=Path, metavar="FILE",
        help="such a file: narrows the estimate for an emulated device")  # fmt: skip
    add("--baseline", type=Path, metavar="FILE",
        help="what --json printed earlier: instruction counts may not grow")  # fmt: skip
    add("--max-regression", type=share, default="0.5%", metavar="SHARE",
        help="but by this (default 0.5%%)")  # fmt: skip
    add("--junit", type=Path, metavar="FILE", help="write JUnit XML")
    add("--markdown", type=Path, metavar="FILE", help="write a Markdown table")
    add(
        "--report",
        type=Path,
        metavar="FILE",
        help="write one self-contained HTML page, and its plot beside it as PNG",
    )
    add("--json", action="store_true", help="one JSON document on standard output")
    return made


def _main(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    _check(options)
    profiles = load_profiles(options.devices)
    if options.list_devices:
        _list(profiles, options.json)
        return 0
    if not options.artifacts:
        raise UserError("no artifact given; rethined-export writes them")
    profile = profiles[choose("--device", options.device, profiles)]
    if reason := unreachable(profile):
        raise UnavailableError(f"{profile.name} cannot be reached: {reason}")
    _check_for(profile, options)
    on_device = profile.kind == "adb" and not stand_in(profile)
    if options.threads is not None:
        check_threads(options.threads, _cores(profile) if on_device else os.cpu_count() or 1)
    plot = None if options.report is None else options.report.with_suffix(".png")
    prepare([options.junit, options.markdown, options.report, plot, options.calibrate])
    threads = options.threads or (_cores(profile) if on_device else worker_threads())
    plan = Plan(threads, options.warmup, options.runs, tuple(options.tool))
    baseline = None if options.baseline is None else read_baseline(options.baseline)
    if options.compare:
        return _compare(options, plan)
    if options.calibrate is not None:
        return _calibrate(options, profile, plan)
    return _measure(options, profile, plan, baseline)


def _check(options: Namespace) -> None:
    choose("--stat", options.stat, STATISTICS)
    for name, least in (("runs", 1), ("warmup", 0), ("threads", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise UserError(f"--{name} {value}; use {least} or more")
    if not options.budget_ms > 0:
        raise UserError(f"--budget-ms {options.budget_ms:g}; use a positive number")
    check_tools(options.tool)
    if options.compare and len(options.artifacts) != 2:
        raise UserError(f"--compare takes two artifacts, not {len(options.artifacts)}")
    if options.compare and options.runs is not None and options.runs < LEAST_PAIRS:
        raise UserError(
            f"--runs {options.runs} are too few for --compare; use {LEAST_PAIRS} or more"
        )
    if options.report is not None and find_spec("matplotlib") is None:
        raise UnavailableError("--report needs matplotlib: pip install 'rethined-export[bench]'")


def _cores(profile: Profile) -> int:
    """All of a device's cores, or one where its profile lists none."""
    return sum(cores.count for cores in profile.cores) or 1


def _check_for(profile: Profile, options: Namespace) -> None:
    """Refuse what means nothing on this device."""
    if options.tool and profile.kind != "adb":
        raise UserError(f"--tool runs on devices over adb; {profile.name} is none")
    if options.baseline is not None and not _emulated(profile):
        raise UserError("--baseline compares instruction counts, which only emulated runs have")
    if options.profile and profile.kind != "host":
        raise UserError(f"--profile runs on this machine (--device host), not on {profile.id}")
    for artifact in options.artifacts:
        _check_format(artifact, profile)


def share(text: str) -> float:
    """``5%`` → 0.05."""
    try:
        value = float(text.removesuffix("%")) / 100
    except ValueError:
        value = -1
    if not text.endswith("%") or not 0 <= value < 10:
        raise UserError(f"--max-regression {text}; use a share such as 5%")
    return value


def _list(profiles: dict[str, Profile], as_json: bool) -> None:
    entries: list[dict[str, Any]] = [
        {
            "device": profile.id,
            "name": profile.name,
            "formats": list(profile.formats),
            "reached": profile.reached,
            "reachable": not why_not,
            "why_not": why_not or None,
            "stand_in": stand_in(profile) or None,
        }
        for profile in profiles.values()
        for why_not in (unreachable(profile),)  # asks the device
    ]
    if as_json:
        print_json({"devices": entries})
        return
    print_table(
        [("device", "name", "runs", "now")]
        + [(e["device"], e["name"], ", ".join(e["formats"]), _now(e)) for e in entries]
    )


def _now(entry: dict[str, Any]) -> str:
    if entry["why_not"]:
        return f"no: {entry['why_not']}"
    return entry["stand_in"] or "yes"


def _measure(
    options: Namespace, profile: Profile, plan: Plan, baseline: dict[str, int] | None
) -> int:
    from rethined_export.benchmarks.bench import SCHEMA_VERSION, bench, profiled
    from rethined_export.benchmarks.operators import tables
    from rethined_export.benchmarks.page import write_report
    from rethined_export.benchmarks.reports import COLUMNS, junit, markdown, row
    from rethined_export.benchmarks.verdict import OVER

    calibration = _calibration(options, profile)
    with stages(err) as on_stage:
        results = bench(
            profile, options.artifacts, plan, options.budget_ms, options.stat, on_stage, calibration
        )
        if options.profile:
            results = [profiled(result, plan, on_stage) for result in results]
    budget = f"{options.budget_ms:g} ms at {options.stat}"

    def report() -> None:
        with stages(err) as on_stage:
            write_report(
                options.report, profile, results, options.budget_ms, options.stat, on_stage
            )

    unwritten = write_reports(
        (options.junit, lambda: write_text(options.junit, junit(profile, results))),
        (
            options.markdown,
            lambda: write_text(options.markdown, markdown(profile, results, budget)),
        ),
        (options.report, report),
    )
    if options.json:
        entries = [result.to_dict() for result in results]
        print_json({"schema_version": SCHEMA_VERSION, "device": profile.id,
                    "budget_ms": options.budget_ms, "stat": options.stat,
                    "threads": plan.threads, "results": entries})  # fmt: skip
    else:
        print_table([COLUMNS, *(row(result) for result in results)])
        provenance = results[0].provenance
        threads = 1 if provenance == "emulated" else plan.threads
        say(out, f"{provenance}; times in ms, threads: {threads}, budget {budget}")
        for result in results:
            if result.operators is not None:
                say(out, f"{result.path.name}: {result.operators}")
                for rows in tables(result.operators):
                    print_table(rows)
    for result in results:
        if result.failure:
            fail(f"{result.path}: {result.failure}")
    for failure in unwritten:
        fail(str(failure))
    codes = [result.exit_code for result in results] + [error.exit_code for error in unwritten]
    failed = max(codes)
    over = any(result.verdict.answer == OVER for result in results)
    if baseline is not None:
        for path, why in regressions(results, baseline, options.max_regression):
            over = True
            fail(f"{path}: {why}")
    return failed or (OVER_BUDGET if over else 0)


def _check_format(artifact: Path, profile: Profile) -> None:
    from rethined_export.converters import target_of
    from rethined_export.converters.types import ArtifactError

    if not artifact.exists():
        raise UserError(f"artifact {artifact} does not exist; rethined-export writes them")
    try:
        target = target_of(artifact)
    except ArtifactError as error:
        raise UserError(str(error)) from error
    if target not in profile.formats:
        raise UserError(
            f"{profile.name} runs {', '.join(profile.formats)}; {artifact} is for {target}"
        )


def _calibrate(options: Namespace, profile: Profile, plan: Plan) -> int:
    from rethined_export.benchmarks.calibration import calibrate

    if _emulated(profile):
        raise UserError(f"--calibrate needs wall times; {profile.id} is emulated here")
    with stages(err) as on_stage:
        made = calibrate(profile, options.artifacts, plan, on_stage)
    unwritten = write_reports(
        (options.calibrate, lambda: write_text(options.calibrate, made.to_json()))
    )
    for failure in unwritten:
        fail(str(failure))
    if options.json:
        print_json(asdict(made))
        return UserError.exit_code if unwritten else 0
    rows = [("artifact", "ms", "G instructions", "ms a G")]
    for rates in made.rates.values():
        rows += [(p.artifact, f"{p.ms:.1f}", f"{p.instructions / 1e9:.3f}", f"{p.rate:.1f}")
                 for p in rates.points]  # fmt: skip
    print_table(rows)
    if unwritten:
        return UserError.exit_code
    say(out, f"medians of {profile.name}, one thread; written to {options.calibrate}")
    return 0


def _calibration(options: Namespace, profile: Profile) -> "Calibration | None":
    from rethined_export.benchmarks.calibration import read_calibration, usable
    from rethined_export.converters import target_of

    if options.calibration is None:
        return None
    if not _emulated(profile):
        raise UserError(f"--calibration narrows an estimate; {profile.id} is measured")
    made = read_calibration(options.calibration)
    usable(made, options.calibration, profile, map(target_of, options.artifacts))
    return made


def _emulated(profile: Profile) -> bool:
    return profile.kind == "arm64-emulator" or bool(stand_in(profile))


def _compare(options: Namespace, plan: Plan) -> int:
    from rethined_export.benchmarks.bench import compare

    if options.device != "host":
        raise UserError(f"--compare runs on this machine, not on {options.device}")
    with stages(err) as on_stage:
        made = compare(options.artifacts, plan, lambda text: on_stage("both", text))
    if options.json:
        print_json({"device": "host", "first": str(made.first), "second": str(made.second),
                    "ratio": made.ratio, "interval_95": [made.low, made.high]})  # fmt: skip
        return 0
    say(out, f"{made.second.name} takes {made.ratio:.3f} times as long as {made.first.name}")
    say(out, f"95 % interval {made.low:.3f} to {made.high:.3f}; host wall times, turn about")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
