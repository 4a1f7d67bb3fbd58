"""Which holes are shown as the best, the median and the worst."""

import pytest

from rethined_export.quality.evaluate import Row
from rethined_export.quality.sheet import groups, ranked


def row(number: int, method: str = "ours", side: int = 1024, **figures: float) -> Row:
    return Row(method, side, str(number), "thick", 0.3, 1.0, {"flip": 0.0, **figures})


@pytest.mark.parametrize("count", [1, 2, 3, 7, 29, 30, 31, 39, 72])
def test_groups_of_any_count(count):
    """Ten of each where there are enough; none twice, in order, the ends at the ends."""
    rows = [row(number) for number in range(count)]
    found = groups(rows)
    shown = [int(one.photo) for some in found.values() for one in some]
    assert shown == sorted(set(shown))
    assert (shown[0], shown[-1]) == (0, count - 1)
    assert len(shown) == min(count, 30)
    middle = [int(one.photo) for one in found["median"]]
    if count >= 30:
        assert [len(some) for some in found.values()] == [10, 10, 10]
        assert abs(sum(middle) / 10 - (count - 1) / 2) <= 0.5


def test_ranked_by_the_first_figure_that_all_have():
    rows = [row(1, "other", st_lpips=0.0), row(2, side=512, st_lpips=0.0)]
    rows += [row(3, st_lpips=0.2, flip=0.1), row(4, st_lpips=0.1, flip=0.3)]
    assert [one.photo for one in ranked(rows)] == ["4", "3"]
    rows += [row(5, flip=0.2)]
    assert [one.photo for one in ranked(rows)] == ["3", "5", "4"]
