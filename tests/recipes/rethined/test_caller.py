"""A pair's plain caller and its own, with torch programs in place of artifacts."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from rethined_export.models.rethined import preset_config, untrained
from rethined_export.photo.files import read_photo
from rethined_export.photo.scenes import photo_path
from rethined_export.recipes.rethined import RECIPE, native
from rethined_export.recipes.rethined.graph import ExportGraph
from rethined_export.recipes.rethined.options import RethinedOptions
from rethined_export.recipes.rethined.pair import Pair
from rethined_export.recipes.types import TorchRunner
from tests.plain_caller import GRID, TOKENS, Programs, Square, choose, fill, parts

#: Two orders of summation through some seventy layers, as for the rewritten graph.
TOLERANCE = 1e-5
BUDGET = 10
PLACES = -(-TOKENS * BUDGET // 100)


@pytest.fixture(scope="module")
def model():
    return untrained(preset_config("mobile", "paper"))


@pytest.fixture(scope="module")
def pair(model) -> Callable[..., Programs]:
    def make(hr: int = 1024, k: int = 1, budget: int = BUDGET) -> Programs:
        made = []
        options = RethinedOptions(hr=hr, upscale="patches", split=True, hole_budget=budget, top_k=k)
        for part in ("low", "choose", "patch"):
            made.append(TorchRunner(RECIPE.program(options, model, part)))
        return Programs(*made, hr // 512, options.places, k)

    return make


def texture(height: int, width: int) -> np.ndarray:
    """A real photo, repeated or cut to size."""
    pixels = read_photo(photo_path("coffee")).pixels
    tiles = (-(-height // pixels.shape[0]), -(-width // pixels.shape[1]), 1)
    return np.ascontiguousarray(np.tile(pixels, tiles)[:height, :width])


def whole(model, photo: np.ndarray, hole: np.ndarray, hr: int, k: int = 1) -> np.ndarray:
    """What the program of whole images makes of a photo reflected out to a square."""
    height, width = hole.shape
    room = ((0, hr - height), (0, hr - width))
    image = np.pad(photo, (*room, (0, 0)), mode="reflect").astype(np.float32) / 255
    mask = np.pad(hole, room, mode="reflect")
    with torch.no_grad():
        graph = ExportGraph(model, hr, "gather", k)
        filled = graph(
            torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)[None])),
            torch.from_numpy(mask[None, None].astype(np.float32)),
        )[0]
    return filled[0].permute(1, 2, 0).numpy()[:height, :width]


def flagged(tokens: np.ndarray, size: int) -> np.ndarray:
    """Whole tokens as a hole."""
    flags = np.zeros(TOKENS, np.bool_)
    flags[tokens] = True
    return flags.reshape(GRID, GRID).repeat(size, 0).repeat(size, 1)


def borders(size: int) -> np.ndarray:
    hole = np.zeros((GRID * size, GRID * size), np.bool_)
    hole[: size // 2] = hole[-3:] = hole[:, :2] = hole[:, -size:] = True
    return hole


def one_pixel(size: int) -> np.ndarray:
    hole = np.zeros((GRID * size, GRID * size), np.bool_)
    hole[-1, -1] = True
    return hole


HOLES: dict[str, Callable[[int], np.ndarray]] = {
    "every border and corner": borders,
    "one pixel": one_pixel,
    "checkerboard": lambda size: flagged(
        np.flatnonzero(np.indices((GRID, GRID)).sum(0).reshape(-1) % 2), size
    ),
    "all tokens but one": lambda size: flagged(np.arange(TOKENS - 1), size),
    "at the budget": lambda size: flagged(np.arange(PLACES) + 700, size),
    "one over": lambda size: flagged(np.arange(PLACES + 1) + 700, size),
    "nine times over": lambda size: flagged(np.arange(9 * PLACES), size),
}


@pytest.mark.parametrize("name", HOLES)
def test_equals_the_whole_image(model, pair, name):
    photo, hole = texture(1024, 1024), HOLES[name](16)
    given = photo.astype(np.float32) / 255
    expected = whole(model, photo, hole, 1024)
    square = Square(given.copy(), hole, 2)
    programs = pair()
    fill(programs, square)
    filled = [square.photo]
    for patch in (None, programs.patch):  # by librethined, and by the third program
        own = native.Square(given.copy(), hole, 2)
        Pair(programs.low, programs.choose, patch, 2, programs.budget, 1).fill(own, 1)
        filled.append(own.photo)
    for result in filled:
        assert np.abs(result - expected).max() <= TOLERANCE
        assert np.array_equal(result[~hole], given[~hole])


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("shape", [(1023, 1023), (941, 700), (600, 1024)])
def test_any_shape(model, pair, shape, k):
    """The token grid is padded by reflection; the photo is not resampled."""
    photo = texture(*shape)
    hole = np.zeros(shape, np.bool_)
    hole[100:300, 50:400] = hole[-40:, -90:] = True
    square = Square(photo.copy(), hole, 2)
    fill(pair(k=k), square)
    expected = np.rint(np.clip(whole(model, photo, hole, 1024, k), 0, 1) * 255)
    assert np.array_equal(square.photo[~hole], photo[~hole])
    # Where the value lies halfway, rounding tells the smallest difference apart.
    assert np.abs(square.photo[hole] - expected[hole]).max() <= 1
    assert np.mean(square.photo[hole] != expected[hole]) < 0.001


def test_photo_in_the_middle_of_the_square(pair):
    """Tokens beyond the photo, on every side, are filled nowhere."""
    photo, hole = texture(377, 581), np.zeros((377, 581), np.bool_)
    hole[:40, :50] = hole[-30:, 300:] = True
    square = Square(photo.copy(), hole, 2, top=-323, left=-221)
    fill(pair(), square)
    assert np.array_equal(square.photo[~hole], photo[~hole])
    assert (square.photo[hole] != photo[hole]).any(axis=1).mean() > 0.9


def test_square_inside_a_larger_photo(model, pair):
    photo, hole = texture(1400, 1600), np.zeros((1400, 1600), np.bool_)
    hole[500:700, 600:900] = True
    square = Square(photo.copy(), hole, 2, top=200, left=300)
    fill(pair(), square)
    inside = (slice(200, 1224), slice(300, 1324))
    expected = np.rint(np.clip(whole(model, photo[inside], hole[inside], 1024), 0, 1) * 255)
    assert np.abs(square.photo[inside].astype(int) - expected).max() <= 1
    assert np.array_equal(square.photo[~hole], photo[~hole])


def test_frames_leave_nothing_behind(pair):
    """One session, many frames: each gets its own result."""
    made = pair()
    results = []
    for name in ("one over", "one pixel", "one over"):
        square = Square(texture(1024, 1024), HOLES[name](16), 2)
        fill(made, square)
        results.append(square.photo)
    assert np.array_equal(results[0], results[2])
    assert not np.array_equal(results[0], results[1])


def test_sixteen_bits(pair):
    photo = texture(1024, 1024).astype(np.uint16) * 257
    hole = HOLES["one pixel"](16)
    square = Square(photo.copy(), hole, 2)
    eight = Square(texture(1024, 1024), hole, 2)
    fill(pair(), square)
    fill(pair(), eight)
    assert np.array_equal(square.photo[~hole], photo[~hole])
    assert np.abs(square.photo[hole] / 257 - eight.photo[hole]).max() <= 0.51


def test_nothing_but_hole_is_refused(pair):
    square = Square(texture(1024, 1024), np.ones((1024, 1024), np.bool_), 2)
    with pytest.raises(ValueError, match="no whole patch"):
        fill(pair(), square)


def test_an_empty_hole_runs_nothing_on_patches(pair):
    image, mask = Square(texture(1024, 1024), np.zeros((1024, 1024), np.bool_), 2).shrink()
    assert not choose(pair(), image, mask).hole.any()


@settings(deadline=None, max_examples=20)
@given(
    scale=st.sampled_from([1, 2, 3]),
    kind=st.sampled_from([np.uint8, np.uint16, np.float32]),
    seed=st.integers(0, 2**31),
)
def test_shrinking_equals_pooling(scale, kind, seed):
    random = np.random.default_rng(seed)
    side = 512 * scale
    full = 1 if kind == np.float32 else np.iinfo(kind).max
    photo = (random.random((side, side, 3)) * full).astype(kind)
    hole = random.random((side, side)) < 0.001
    image, mask = Square(photo, hole, scale).shrink()
    plain = torch.from_numpy((photo / np.float32(full)).astype(np.float32)).permute(2, 0, 1)[None]
    assert np.allclose(image, F.avg_pool2d(plain, scale).numpy(), atol=4e-7)
    flags = torch.from_numpy(hole[None, None].astype(np.float32))
    assert np.array_equal(mask, F.max_pool2d(flags, scale).numpy())


@settings(deadline=None, max_examples=200)
@given(
    share=st.floats(0.01, 1.0),
    budget=st.integers(200, 1000),
    coherence=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_every_hole_token_is_exact_in_one_part(share, budget, coherence, seed):
    """With a coherence layer, its neighbours are in the same part; without, no part overlaps."""
    flags = np.random.default_rng(seed).random(TOKENS) < share
    tokens = np.flatnonzero(flags)
    finished: list[int] = []
    for part, done in parts(tokens, budget, GRID + 1 if coherence else 0):
        assert len(part) <= budget
        listed = set(part.tolist())
        for token in part[done].tolist() if coherence else ():
            row, column = divmod(token, GRID)
            around = {
                (row + down) * GRID + column + across
                for down in (-1, 0, 1)
                for across in (-1, 0, 1)
                if 0 <= row + down < GRID and 0 <= column + across < GRID
            }
            assert {near for near in around if flags[near]} <= listed
        assert coherence or done.all()
        finished += part[done].tolist()
    assert set(finished) == set(tokens.tolist())
    assert coherence or len(finished) == len(tokens)


def test_the_network_looks_once_at_any_hole(pair):
    """Only choosing is repeated for a hole over the budget."""
    runs = {"low": 0, "choose": 0}

    def counted(name: str, program: TorchRunner) -> TorchRunner:
        class Counted:
            takes, name = program.takes, "counted"

            def __call__(self, **inputs):
                runs[part] += 1
                return program(**inputs)

        part = name
        return Counted()

    programs = pair()
    low, choose = (counted(name, getattr(programs, name)) for name in ("low", "choose"))
    square = native.Square(texture(1024, 1024), HOLES["all tokens but one"](16), 2)
    Pair(low, choose, None, 2, programs.budget, 1).fill(square, 1)
    assert runs["low"] == 1 and runs["choose"] >= TOKENS // PLACES
