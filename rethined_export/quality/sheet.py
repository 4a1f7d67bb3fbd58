"""The best, median and worst of what a method filled, on one sheet."""

import io
from pathlib import Path

from PIL import Image, ImageDraw

from rethined_export.output import write_bytes
from rethined_export.quality.evaluate import Row
from rethined_export.quality.pictures import Pictures, case_name
from rethined_export.quality.st_lpips import CROP

#: Holes in each of the three groups, and pixels between them and over them, for their names.
_ROWS, _GAP, _HEAD = 10, 12, 18
#: What is looked at, the first that there is; all are less where a hole looks more like the truth.
_JUDGES = ("st_lpips", "features", "flip")


def ranked(rows: list[Row]) -> list[Row]:
    """Those of the last method at its last side, the best first by how different they look."""
    last = rows[-1]
    own = [row for row in rows if (row.method, row.side) == (last.method, last.side)]
    judge = next(name for name in _JUDGES if all(name in row.figures for row in own))
    return sorted(own, key=lambda row: row.figures[judge])


def groups(rows: list[Row]) -> dict[str, list[Row]]:
    """The best, those around the median, and the worst of a ranking; none of them twice."""
    count = min(_ROWS, -(-len(rows) // 3))
    last = max(len(rows) - count, count)
    middle = min(max((len(rows) - count) // 2, count), last)
    return {
        "best": rows[:count],
        "median": rows[middle:last][:count],
        "worst": rows[last:],
    }


def write_sheet(rows: list[Row], pictures: Pictures, path: Path) -> None:
    """Three columns, best to worst: hole, what the last method made of it, truth, at 100 %.

    Raises:
        UserError: it cannot be written.
    """
    chosen = groups(ranked(rows))
    shown = ("hole", rows[-1].method, "truth")
    width, height = len(shown) * CROP + _GAP, CROP + _HEAD
    tall = max(len(found) for found in chosen.values())
    sheet = Image.new("RGB", (len(chosen) * width - _GAP, tall * height), "white")
    draw = ImageDraw.Draw(sheet)
    for column, (name, found) in enumerate(chosen.items()):
        for line, row in enumerate(found):
            left, top = column * width, line * height
            draw.text((left + 2, top + 2), f"{name} {line + 1}: {row.photo}, {row.kind}", "black")
            files = pictures.files[case_name(row.photo, row.kind, row.side)]
            for place, what in enumerate(shown):
                with Image.open(pictures.folder / files[what]) as crop:
                    sheet.paste(crop, (left + place * CROP, top + _HEAD))
    written = io.BytesIO()
    sheet.save(written, format="JPEG", quality=85)
    write_bytes(path, written.getvalue())
