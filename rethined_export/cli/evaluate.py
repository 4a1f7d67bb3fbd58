"""``rethined-eval``: how well a network, and artifacts made from it, fill holes."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rethined_export.cli.common import (
    err,
    fail,
    out,
    parser,
    plain,
    print_table,
    print_text,
    run,
    say,
    write_reports,
)
from rethined_export.cli.pictures import add_mask_options, mask_rule
from rethined_export.errors import UnavailableError, UserError
from rethined_export.models.rethined import LOW_RESOLUTION, PRESETS, Rethined
from rethined_export.names import choose
from rethined_export.output import prepare, write_text

if TYPE_CHECKING:
    from rethined_export.quality.scenes import PhotoSet

EXAMPLES = """\
  rethined-eval
  rethined-eval dist/*.onnx dist/*.tflite --output build/quality
  rethined-eval --checkpoint weights.safetensors --images ~/photos --hr 1024 --hr 2048
  rethined-eval dist/dfnet*.onnx dist/two-stage*.onnx --images ~/DIV2K --resolution-study"""

_SIDES = ("256", "512", "1024", "2048", "4096")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``rethined-eval``."""
    return run(_command, arguments)


def _command(arguments: Sequence[str] | None) -> int:
    chosen = _options().parse_args(arguments)
    sides = [int(choose("--hr", side, _SIDES)) for side in chosen.hr or ["512"]]
    preset = choose("--preset", chosen.preset, PRESETS)
    if chosen.seed < 0:
        raise UserError(f"--seed {chosen.seed}; use 0 or more")
    rule = mask_rule(chosen)
    if chosen.resolution_study and (chosen.hr or chosen.masks is not None):
        raise UserError("--resolution-study has sides and holes of its own; leave --hr and --masks")
    if chosen.masks is not None and chosen.images is None:
        raise UserError("--masks goes with --images, the folder of the photos they belong to")
    try:
        from rethined_export.quality.attention import mass_kept
        from rethined_export.quality.evaluate import Evaluation, evaluate
        from rethined_export.quality.layouts import read_layout
        from rethined_export.quality.methods import Artifact, classical, network
        from rethined_export.quality.pictures import Pictures
        from rethined_export.quality.report import plot, to_html, to_json, to_markdown
        from rethined_export.quality.scenes import STUDY_SIDES, PhotoSet, bundled
        from rethined_export.quality.sheet import write_sheet
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"measuring quality needs {error.name}: pip install 'rethined-export[eval]'"
        ) from error
    from rethined_export.recipes.rethined.options import RethinedOptions
    from rethined_export.spec import ExportSpec, load_reference

    checkpoint = None if chosen.checkpoint is None else str(chosen.checkpoint)
    options = RethinedOptions(preset=preset)
    reference = load_reference(ExportSpec("rethined", "onnx", options, checkpoint=checkpoint))
    network_model = reference.model
    assert isinstance(network_model, Rethined)
    photos = bundled()
    if chosen.images is not None:
        photos = PhotoSet(read_layout(chosen.images, chosen.masks), rule)
    for note in _several(photos):
        say(err, f"note: {note}")
    methods = [*classical(), *network(network_model), *(Artifact(p) for p in chosen.artifacts)]
    crops = chosen.output / "crops"
    reports = {kind: chosen.output / f"quality.{kind}" for kind in ("json", "md", "html", "png")}
    reports["sheet"] = chosen.output / "best-median-worst.jpg"
    prepare(reports.values(), [chosen.output, crops])
    pictures = Pictures(crops)
    whole = Evaluation([], [])
    study = chosen.resolution_study
    for side in STUDY_SIDES if study else sides:
        cases = list(photos.study(side) if study else photos.cases(side, chosen.seed))
        part = evaluate(methods, cases, pictures, lambda text: say(err, text))
        whole = Evaluation(whole.rows + part.rows, whole.summaries + part.summaries)
    kept = mass_kept(network_model, list(photos.cases(LOW_RESOLUTION, chosen.seed)))
    facts = {
        "photos": f"{len(photos.photos)} photos, "
        + ("bundled (scikit-image's)" if chosen.images is None else f"of {chosen.images.name}"),
        "holes": _holes(photos, study, chosen.seed),
        "weights": f"weights {reference.weights}, sha256 {reference.sha256[:12]}",
        "attention": "attention kept by k keys: "
        + ", ".join(f"{share:.0%} (k = {k})" for k, share in kept.items()),
    }
    document = to_json(whole, facts)
    unwritten = [
        str(error)
        for error in write_reports(
            (reports["json"], lambda: write_text(reports["json"], document)),
            (reports["md"], lambda: write_text(reports["md"], to_markdown(whole, facts))),
            (
                reports["html"],
                lambda: write_text(reports["html"], to_html(whole, facts, pictures, crops.name)),
            ),
            (reports["png"], lambda: plot(whole, reports["png"])),
            (
                None if pictures.failure else reports["sheet"],
                lambda: write_sheet(whole.rows, pictures, reports["sheet"]),
            ),
        )
    ]
    unwritten += [pictures.failure] if pictures.failure else []
    if chosen.json:
        print_text(document.rstrip("\n"))
        return _told(unwritten)
    print_table(
        [("method", "side", "holes", "hole PSNR", "hole SSIM", "BPE", "texture", "ms")]
        + [
            (
                s.method,
                str(s.side),
                s.kind,
                f"{s.figures['psnr_hole']:.2f}",
                f"{s.figures['ssim_hole']:.4f}",
                f"{s.figures['bpe']:.4f}",
                f"{s.figures['texture']:.2f}",
                f"{s.milliseconds:.0f}",
            )
            for s in whole.summaries
        ]
    )
    if not unwritten:
        say(out, f"report: {plain(str(reports['html']))}")
    return _told(unwritten)


def _holes(photos: "PhotoSet", study: bool, seed: int) -> str:
    """Which holes the photos were given, in words."""
    if study:
        return "reduced by taking the nearest pixel, holes of half the side in the centre"
    return photos.layout.matched or f"generated holes (strokes, boxes), seed {seed}"


def _several(photos: "PhotoSet") -> Iterator[str]:
    """Which files hold more pictures than the one that is taken."""
    from rethined_export.photo.files import frames_in

    for path in (*photos.photos, *(photos.masks or ())):
        if (count := frames_in(path)) > 1:
            yield f"{path.name} holds {count} pictures; the first is taken"


def _told(unwritten: list[str]) -> int:
    """The exit code, and why reports could not be written: the figures are worth more."""
    for failure in unwritten:
        fail(failure)
    return UserError.exit_code if unwritten else 0


def _options() -> argparse.ArgumentParser:
    options = parser(
        "rethined-eval",
        "Fill photos by the network, by its artifacts and by classical methods, and compare with "
        "what was under the holes.",
        EXAMPLES,
    )
    options.add_argument("artifacts", type=Path, nargs="*", metavar="ARTIFACT",
        help="of any model; of a split pair the low half")  # fmt: skip
    options.add_argument("--checkpoint", type=Path, metavar="FILE", help="safetensors or .pth")
    options.add_argument("--preset", default="mobile", metavar="NAME", help="mobile or paper")
    options.add_argument("--hr", action="append", metavar="SIDE",
        help="256, 512 (default), 1024, 2048 or 4096; repeatable")  # fmt: skip
    options.add_argument("--images", type=Path, metavar="DIR",
        help="photos, or a folder with images/ and masks/; default: 13 bundled ones")  # fmt: skip
    options.add_argument("--masks", type=Path, metavar="DIR",
        help="masks by the photos' names, or numbered ones, taken in turn; default: "
        "generated")  # fmt: skip
    options.add_argument("--resolution-study", action="store_true",
        help="1024, 1536, 1792 and 2048, nearest-pixel reduction, a centre hole")  # fmt: skip
    add_mask_options(options)
    options.add_argument("--seed", type=int, default=0, metavar="N", help="of generated holes")
    options.add_argument("--output", type=Path, default=Path("build/quality"), metavar="DIR",
        help="for quality.json, .md, .html, .png, best-median-worst.jpg and crops/")  # fmt: skip
    options.add_argument("--json", action="store_true", help="print the results as JSON")
    return options


if __name__ == "__main__":
    raise SystemExit(main())
