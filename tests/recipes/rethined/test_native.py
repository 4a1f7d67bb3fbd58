"""librethined against the caller in NumPy with the patch program in torch."""

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rethined_export.errors import UserError
from rethined_export.recipes.rethined import native
from rethined_export.recipes.rethined.native import Choice, Layout, NativeError, Order, Status
from rethined_export.recipes.rethined.native.compile import SOURCE
from rethined_export.recipes.rethined.pair import Pair
from rethined_export.recipes.rethined.patches import PatchStage
from rethined_export.recipes.rethined.windows import Filling
from tests import plain_caller as plain

FUZZ = Path(__file__).parent / "native"
COMPILER = shutil.which("cc")
NUMBERS = np.random.default_rng(0)
LOW = NUMBERS.random((512, 512, 3), dtype=np.float32)
#: Largest difference of a filled float pixel: some 20 roundings of at most 2^-24, of sums whose
#: terms' sizes add up to at most 5.4 (a pixel, and two low images under bicubic weights, which add
#: up to 2.2 in size over both sides).
ROUNDING = 20 * 5.4 * 2.0**-24


@pytest.fixture(scope="module", params=["as it chooses", "without AVX2"])
def library(request, tmp_path_factory) -> Iterator[None]:
    """Run a test with the library as it is, and as it is on older processors."""
    if request.param == "as it chooses":
        yield
        return
    if COMPILER is None:
        pytest.skip("no C compiler on this machine")
    path = tmp_path_factory.mktemp("native") / native.LIBRARY
    build = [COMPILER, "-std=c11", "-O1", "-DRETHINED_NO_AVX2", "-shared", "-fPIC", str(SOURCE),
             "-o", str(path), "-lm"]  # fmt: skip
    subprocess.run(build, check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "library_path", lambda: path)
        native._library.cache_clear()
        yield
    native._library.cache_clear()


# --- Cases ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A photo with its hole, as the library takes it and as the plain caller does.

    ``memory`` is what the photo lies in, between rows and around it too; ``mine`` says of each of
    its bytes whether it is a colour of a hole pixel.
    """

    memory: np.ndarray
    mine: np.ndarray
    photo: np.ndarray
    hole: np.ndarray
    scale: int
    top: int
    left: int
    order: Order

    @property
    def square(self) -> native.Square:
        return native.Square(self.photo, self.hole, self.scale, self.top, self.left, self.order)

    def colours(self) -> np.ndarray:
        """The photo as RGB in memory of its own."""
        reverse = self.order in (Order.BGR, Order.BGRA)
        return np.ascontiguousarray(self.photo[..., 2::-1] if reverse else self.photo[..., :3])

    def plain(self) -> plain.Square:
        hole = np.ascontiguousarray(self.hole) > 0
        return plain.Square(self.colours(), hole, self.scale, self.top, self.left)


def strided(memory: np.ndarray, shape: tuple[int, ...], kind: Any, extra: int, upside: bool) -> Any:
    """A view of bytes as rows with some bytes between them, a few behind the beginning."""
    itemsize = np.dtype(kind).itemsize
    pixel = itemsize * int(np.prod(shape[2:]))
    stride = shape[1] * pixel + extra * itemsize
    strides = (stride, pixel, itemsize)[: len(shape)]
    view = np.ndarray(shape, kind, memory.data, 64, strides)
    return view[::-1] if upside else view


@st.composite
def cases(draw) -> Case:
    scale = draw(st.sampled_from([1, 2, 2, 3]))
    side = 512 * scale
    lengths = st.integers(1, 600) | st.integers(side - 2, side + 20)
    height, width = draw(lengths), draw(lengths)
    order, kind = (
        draw(st.sampled_from(Order)),
        draw(st.sampled_from([np.uint8, np.uint16, np.float32])),
    )
    shape = (height, width, 4 if order in (Order.RGBA, Order.BGRA) else 3)
    extra, upside = draw(st.integers(0, 9)), draw(st.booleans())
    random = np.random.default_rng(draw(st.integers(0, 2**31)))
    memory = random.integers(0, 256, 128 + height * (width * shape[2] + extra) * 4, np.uint8)
    photo = strided(memory, shape, kind, extra, upside)
    if kind == np.float32:
        photo[:] = random.random(shape, dtype=np.float32)
    holes = np.zeros(128 + height * (width + extra), np.uint8)
    hole = strided(holes, shape[:2], np.uint8, extra, draw(st.booleans()))
    for _ in range(draw(st.integers(1, 4))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        down, across = draw(st.sampled_from([1, 3, 20])), draw(st.sampled_from([1, 2, 31]))
        hole[top : top + down, left : left + across] = draw(st.integers(1, 255))
    for corner in draw(st.sets(st.sampled_from([(0, 0), (0, -1), (-1, 0), (-1, -1)]))):
        hole[corner] = 1
    mine = np.zeros(len(memory), np.uint8)
    colours = strided(mine.view(np.uint8), shape, kind, extra, upside)
    colours.view(np.uint8).reshape(height, width, shape[2], -1)[hole > 0, :3] = 1
    # The square covers the photo, or lies in it: the plain caller takes no other.
    top, left = (
        draw(st.integers(min(length - side, 0), max(length - side, 0)))
        for length in (height, width)
    )
    return Case(memory, mine > 0, photo, hole, scale, top, left, order)


def chosen(mask: np.ndarray, k: int, seed: int) -> Choice:
    """What a network might choose: any tokens, those at the borders often."""
    random = np.random.default_rng(seed)
    choice = Choice(mask, k)
    choice.low[:] = LOW
    choice.indices[:] = random.integers(0, 4096, (4096, k))
    borders = np.array([0, 1, 63, 64, 127, 2000, 4031, 4032, 4095], np.int32)
    some = random.random((4096, k)) < 0.5
    choice.indices[some] = random.choice(borders, some.sum())
    choice.scores[:] = random.normal(0, 3, (4096, k))
    return choice


@cache
def patch_program(scale: int, k: int) -> Any:
    stage = PatchStage(scale, k)

    def run(**inputs: np.ndarray) -> dict[str, np.ndarray]:
        names = ("sources", "low_sources", "low_targets", "weights")[: 3 + (k > 1)]
        with torch.no_grad():
            return {"patches": stage(*(torch.from_numpy(inputs[name]) for name in names)).numpy()}

    return run


def fill_plain(square: plain.Square, choice: Choice) -> np.ndarray:
    """The photo, filled by the plain caller."""
    low = np.ascontiguousarray(choice.low.transpose(0, 2, 1))
    given = Filling(choice.flags > 0, low, choice.indices, choice.scores)
    patch = patch_program(square.scale, choice.k) if square.scale > 1 else None
    plain.complete(patch, square, given)
    return square.photo


def levels(case: Case, filled: np.ndarray) -> np.ndarray:
    """Differences of the photo from another, in levels of whole numbers or as floats."""
    return np.abs(case.colours().astype(np.float64) - filled)


# --- It equals the plain caller ------------------------------------------------------------------


@settings(deadline=None, max_examples=15)
@given(case=cases(), layout=st.sampled_from(Layout), threads=st.sampled_from([1, 2]))
def test_shrinking(library, case, layout, threads):
    image, mask = case.square.shrink(layout, threads)
    expected, flags = case.plain().shrink()
    assert np.array_equal(mask, flags)
    # Up to 25 values of at most 1 are summed, and twice scaled, in either order.
    assert np.abs(image - expected).max() <= 27 * 2.0**-24
    assert image.transpose(0, 2, 3, 1).flags.c_contiguous == (layout == Layout.PIXELS)


def at(index: int, length: int) -> int:
    """An index reflected until it is inside, step by step."""
    while length > 1 and not 0 <= index < length:
        index = -index if index < 0 else 2 * (length - 1) - index
    return index if length > 1 else 0


@settings(deadline=None, max_examples=20)
@given(height=st.integers(1, 600), width=st.integers(1, 600), data=st.data())
def test_reflection(height, width, data):
    """Wherever the square lies."""
    photo = NUMBERS.integers(0, 256, (height, width, 3), np.uint8)
    top, left = (data.draw(st.integers(-511, length - 1)) for length in (height, width))
    image, _ = native.Square(photo, np.zeros((height, width), np.bool_), 1, top, left).shrink()
    rows = [at(row, height) for row in range(top, top + 512)]
    columns = [at(column, width) for column in range(left, left + 512)]
    expected = photo[np.ix_(rows, columns)].transpose(2, 0, 1) * np.float32(1 / 255)
    assert np.array_equal(image[0], expected)


@settings(deadline=None, max_examples=25)
@given(
    case=cases(),
    k=st.sampled_from([1, 1, 2, 3]),
    seed=st.integers(0, 2**31),
    threads=st.sampled_from([1, 2]),
)
def test_filling(library, case, k, seed, threads):
    mask = case.plain().shrink()[1]
    flags = plain.flags(mask[0, 0] > 0, 8)
    assume(flags.any() and not flags.all())
    choice = chosen(mask, k, seed)
    before = case.memory.copy()
    expected = fill_plain(case.plain(), choice)
    case.square.fill(choice, threads)
    difference = levels(case, expected)
    if case.photo.dtype == np.float32:
        assert difference.max() <= ROUNDING
    else:
        # Where the value lies halfway, rounding tells the smallest difference apart. Of 65535
        # levels a rounding of floats is 1/256: that many values may round the other way.
        assert difference.max() <= 1
        pixels = max(3 * int((case.hole > 0).sum()), 1)
        assert (difference > 0).sum() <= 3 + pixels * (0.02 if case.photo.itemsize == 2 else 0.001)
    assert np.array_equal(case.memory[~case.mine], before[~case.mine])


def test_sources_at_the_border_and_beside_the_hole(library):
    """Of a square inside a photo, which shows something else beyond the square's border."""
    photo = NUMBERS.integers(0, 256, (1100, 1090, 3), np.uint8)
    hole = np.zeros(photo.shape[:2], np.uint8)
    hole[30 + 160 : 30 + 192, 40 + 320 : 40 + 352] = 1  # tokens 10 and 11 down, 20 and 21 across
    square = plain.Square(photo.copy(), hole > 0, 2, 30, 40)
    choice = chosen(square.shrink()[1], 1, 0)
    beside = [9 * 64 + 20, 12 * 64 + 21, 10 * 64 + 19, 11 * 64 + 22]
    for sources in (
        beside,
        [9 * 64 + 19, 12 * 64 + 22, 0, 4095],
        [30, 4050, 20 * 64, 20 * 64 + 63],
    ):
        choice.indices[choice.tokens, 0] = sources
        filled = photo.copy()
        native.Square(filled, hole, 2, 30, 40).fill(choice)
        expected = fill_plain(plain.Square(photo.copy(), hole > 0, 2, 30, 40), choice)
        assert np.abs(filled.astype(int) - expected).max() <= 1


@settings(deadline=None, max_examples=100)
@given(
    share=st.floats(0.01, 1.0),
    budget=st.integers(131, 1000),
    coherence=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_parts(share, budget, coherence, seed):
    tokens = np.flatnonzero(np.random.default_rng(seed).random(4096) < share).astype(np.int32)
    expected = list(plain.parts(tokens, budget, 65 if coherence else 0)) if len(tokens) else []
    found = list(native.parts(tokens, budget, coherence))
    assert len(found) == len(expected)
    for part, (listed, done) in zip(found, expected, strict=True):
        assert np.array_equal(part.listed[: len(listed)], listed)
        assert not part.listed[len(listed) :].any()
        assert np.array_equal(part.kept[: len(listed)] > 0, done)
        assert not part.kept[len(listed) :].any()
        if part.rows is not None:
            rows = np.full(4096, budget)
            rows[listed] = np.arange(len(listed))
            assert np.array_equal(part.rows, rows)
        assert coherence == (part.rows is not None)


class Network:
    """A choosing program that says of each token what follows from its number."""

    name = "made up"

    def __init__(self, k: int, coherence: bool = False) -> None:
        random = np.random.default_rng(0)
        self.runs = 0
        self.takes = frozenset({"rows"} if coherence else ())
        self.made = {
            "low": random.random((4096, 8, 3, 8), dtype=np.float32),
            "indices": random.integers(0, 4096, (4096, k)).astype(np.int32),
            "scores": random.random((4096, k), dtype=np.float32),
        }

    def __call__(self, *, tokens: np.ndarray, **_inputs: np.ndarray) -> dict[str, np.ndarray]:
        self.runs += 1
        made = {name: values[tokens] for name, values in self.made.items()}
        made["indices"], made["scores"] = made["indices"][None], made["scores"][None]
        return made


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize(("k", "coherence"), [(1, False), (3, True)])
def test_choosing(layout, k, coherence):
    """One run after the other until all is chosen, kept as the plain caller keeps it."""
    mask = np.zeros((1, 1, 512, 512), np.float32)
    mask[..., 100:300, 37:391] = 1
    image, network = np.zeros((1, 3, 512, 512), np.float32), Network(k, coherence)
    composite = NUMBERS.random((1, 3, 512, 512), dtype=np.float32)
    if layout == Layout.PIXELS:
        pixels = np.ascontiguousarray(composite.transpose(0, 2, 3, 1))
        composite = pixels.transpose(0, 3, 1, 2)

    def low(**_inputs: np.ndarray) -> dict[str, np.ndarray]:
        return {"composite": composite}

    choice = Pair(low, network, None, 1, 410, k).look(image, mask)
    assert network.runs == 3 + coherence
    expected = plain.choose(plain.Programs(low, network, None, 1, 410, k), image, mask)
    assert np.array_equal(choice.flags > 0, expected.hole)
    assert np.array_equal(choice.low, expected.low.transpose(0, 2, 1))
    assert np.array_equal(choice.indices, expected.indices)
    assert np.array_equal(choice.scores, expected.scores)


# --- It writes nothing else ----------------------------------------------------------------------


class Fenced:
    """Arrays with a pattern before and behind each."""

    def __init__(self) -> None:
        self._memory: list[tuple[np.ndarray, int]] = []

    def __call__(self, shape: tuple[int, ...] | int, kind: Any, value: Any = 0) -> np.ndarray:
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        memory = np.full(size + 256, 0xA5, np.uint8)
        self._memory.append((memory, size))
        array = memory[128 : 128 + size].view(kind).reshape(shape)
        array[...] = value
        return array

    def hold(self) -> bool:
        return all(
            (memory[:128] == 0xA5).all() and (memory[128 + size :] == 0xA5).all()
            for memory, size in self._memory
        )


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(("scale", "channels"), [(1, 4), (2, 3), (16, 4)])
def test_every_buffer_keeps_its_bounds(library, scale, channels, kind):
    fenced, k, budget = Fenced(), 3, 131
    shape = (70, 95, channels)
    full = 1 if kind == np.float32 else np.iinfo(kind).max
    photo = fenced(shape, kind, (NUMBERS.random(shape) * full).astype(kind))
    hole = fenced(shape[:2], np.uint8)
    hole[:9, :9] = hole[-1, -1] = hole[30:60, 70] = 1
    square = native.Square(photo, hole, scale, -20, -11)
    image, mask = fenced((3, 512, 512), np.float32), fenced((512, 512), np.float32)
    scratch = fenced(native._scratch_bytes("shrink"), np.uint8)
    assert not native._call("shrink", square._struct, 0, 512, 0, image, mask, scratch)
    flags, tokens, count = fenced(4096, np.uint8), fenced(4096, np.int32), ctypes.c_int32()
    assert native._call("list", mask, flags, tokens, count) in (Status.OK, Status.NOTHING_KNOWN)
    listed, rows = fenced(budget, np.int32), fenced(4096, np.int32)
    kept, following = fenced(budget, np.uint8), ctypes.c_int32()
    given = (tokens, count.value, 0, budget)
    assert not native._call("part", *given, listed, rows, kept, following)
    choice = Choice(np.zeros_like(mask), k)
    choice.low = fenced((512, 512, 3), np.float32)
    choice.flags, choice.indices = flags, fenced((4096, k), np.int32)
    choice.scores = fenced((4096, k), np.float32)
    assert not native._call("compose", image, 0, choice.low)
    made = fenced((budget, 8, 3, 8), np.float32, 0.5)
    indices = fenced((budget, k), np.int32, NUMBERS.integers(0, 4096, (budget, k)))
    scores = fenced((budget, k), np.float32, 1)
    results = (made, indices, scores, listed, kept)
    assert not native._call("keep", *results, budget, choice.struct())
    scratch = fenced(native._scratch_bytes("fill", scale, k), np.uint8)
    assert not native._call(
        "fill", square._struct, choice.struct(), tokens, count.value, 0, 9, scratch
    )
    assert fenced.hold()


# --- It refuses what is wrong --------------------------------------------------------------------


def simple(kind: Any = np.uint8) -> native.Square:
    photo = np.ones((64, 64, 3), kind)
    hole = np.zeros((64, 64), np.bool_)
    hole[20:30, 20:30] = True
    return native.Square(photo, hole, 2)


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"pixels": None}, Status.NULL),
        ({"hole": None}, Status.NULL),
        ({"order": 4}, Status.FORMAT),
        ({"order": -1}, Status.FORMAT),
        ({"depth": 3}, Status.FORMAT),
        ({"height": 0}, Status.SIZE),
        ({"width": -5}, Status.SIZE),
        ({"width": 65537}, Status.SIZE),
        ({"scale": 0}, Status.SIZE),
        ({"scale": 17}, Status.SIZE),
        ({"stride": 64 * 3 - 1}, Status.STRIDE),
        ({"stride": 0}, Status.STRIDE),
        ({"stride": -(2**63)}, Status.STRIDE),
        ({"stride": 2**62}, Status.STRIDE),
        ({"hole_stride": 63}, Status.STRIDE),
        ({"depth": 1, "stride": 64 * 6 + 1}, Status.ALIGNMENT),
        ({"top": 64}, Status.OUTSIDE),
        ({"left": -1024}, Status.OUTSIDE),
        ({"left": -(2**31)}, Status.OUTSIDE),
    ],
)
def test_wrong_photos(changed, status):
    square = simple()
    for name, value in changed.items():
        setattr(square._struct, name, value)
    before = square.photo.copy()
    with pytest.raises(NativeError) as raised:
        square.shrink()
    assert raised.value.status == status
    with pytest.raises(NativeError) as raised:
        square.fill(chosen(simple().shrink()[1], 1, 0))
    assert raised.value.status == status
    assert np.array_equal(square.photo, before)


def test_overlapping_buffers():
    square = simple(np.float32)
    image = np.zeros((3, 512, 512), np.float32)
    scratch = np.zeros(native._scratch_bytes("shrink"), np.uint8)
    for mask in (image[0], square.photo):
        status = native._call("shrink", square._struct, 0, 512, 0, image, mask, scratch)
        assert status == Status.OVERLAP
    choice = chosen(square.shrink()[1], 1, 0)
    choice.low = square.photo
    with pytest.raises(NativeError) as raised:
        square.fill(choice)
    assert raised.value.status == Status.OVERLAP


def test_too_little_scratch():
    square = simple()
    choice = chosen(square.shrink()[1], 1, 0)
    few = np.zeros(native._scratch_bytes("fill", square.scale) // 2, np.uint8)
    given = (square._struct, choice.struct(), choice.tokens, 1, 0, 1)
    assert native._call("fill", *given, few) == Status.SCRATCH
    assert (square.photo == 1).all()


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("indices", 4096, Status.INDEX),
        ("indices", -1, Status.INDEX),
        ("scores", np.nan, Status.NOT_FINITE),
        ("low", np.inf, Status.NOT_FINITE),
    ],
)
def test_a_broken_network(name, value, status):
    """Nothing of it is kept; and were it kept, nothing of it would be written."""
    square, network = simple(), Network(2)
    mask = square.shrink()[1]
    choice = chosen(mask, 2, 0)
    network.made[name][choice.tokens[-1]].flat[-1] = value
    before = choice.low.copy(), choice.indices.copy(), choice.scores.copy()
    (part,) = native.parts(choice.tokens, 4096, False)
    with pytest.raises(NativeError) as raised:
        choice.keep(network(tokens=part.listed), part)
    assert raised.value.status == status
    after = choice.low, choice.indices, choice.scores
    assert all(np.array_equal(*pair) for pair in zip(before, after, strict=True))
    if name == "low":
        return
    getattr(choice, name)[choice.tokens[-1], -1] = value
    with pytest.raises(NativeError) as raised:
        square.fill(choice)
    assert raised.value.status == status
    assert (square.photo == 1).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_photo_that_is_not_finite(value):
    """In the hole it changes nothing; beside it, even in the same low pixel, it is refused."""
    clean, dirty = simple(np.float32), simple(np.float32)
    clean.photo[clean.hole] = 0
    dirty.photo[dirty.hole] = value
    (image, mask), (other, _) = clean.shrink(), dirty.shrink()
    assert np.isfinite(other).all()
    assert np.array_equal(other[mask.repeat(3, 1) == 0], image[mask.repeat(3, 1) == 0])
    choice = chosen(mask, 1, 0)
    clean.fill(choice)
    dirty.fill(choice)
    assert np.array_equal(clean.photo, dirty.photo)
    for place in ((0, 0), (19, 19), (20, 19)):
        dirty = simple(np.float32)
        dirty.hole[20, 19] = dirty.hole[21, 19] = False
        dirty.photo[place] = value
        with pytest.raises(UserError, match="NaN or infinite"):
            dirty.shrink()


def test_nothing_known():
    with pytest.raises(native.NothingKnownError, match="use a smaller hole"):
        Choice(np.ones((1, 1, 512, 512), np.float32), 1)


@pytest.mark.parametrize(
    ("photo", "hole", "match"),
    [
        (np.zeros((4, 4, 3), np.int32), np.zeros((4, 4), np.bool_), "uint8, uint16 or float32"),
        (np.zeros((4, 4, 1), np.uint8), np.zeros((4, 4), np.bool_), r"\[H, W, 3\]"),
        (np.zeros((4, 4, 3), np.uint8)[:, ::2], np.zeros((4, 2), np.bool_), "copy it first"),
        (np.zeros((4, 4, 3), np.uint8)[..., ::-1], np.zeros((4, 4), np.bool_), "copy it first"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), np.bool_), "bool or uint8"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.int8), "bool or uint8"),
    ],
)
def test_wrong_arrays(photo, hole, match):
    with pytest.raises(ValueError, match=match):
        native.Square(photo, hole, 1)


# --- C -------------------------------------------------------------------------------------------


@pytest.mark.skipif(COMPILER is None, reason="no C compiler on this machine")
def test_under_sanitizers(tmp_path):
    """Right and wrong arguments, made from bytes; every buffer as small as it may be."""
    options = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-DALONE"]
    program = compiled(tmp_path / "fuzz", [*options, str(FUZZ / "fuzz.c")])
    corpus = sorted((FUZZ / "corpus").iterdir())
    assert len(corpus) > 20
    done = subprocess.run(
        [program, "60", *corpus], capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(COMPILER is None, reason="no C compiler on this machine")
@pytest.mark.parametrize("depth", [0, 2])
def test_threads_share_nothing_that_one_writes(tmp_path, depth):
    """Four threads shrink rows and fill tokens of one photo, as on a device."""
    options = ["-fsanitize=thread", str(SOURCE.with_name("timing.c")), "-lpthread"]
    program = compiled(tmp_path / "timing", options)
    photo = NUMBERS.random((1024, 1024, 3), dtype=np.float32)
    hole = np.zeros((1024, 1024), np.uint8)
    hole[100:300, 200:500] = 1
    files = {
        "photo": photo if depth else (photo * 255).astype(np.uint8),
        "hole": hole,
        "low": LOW,
        "indices": NUMBERS.integers(2000, 4096, (4096, 1), dtype=np.int32),
        "scores": NUMBERS.random((4096, 1), dtype=np.float32),
    }
    for name, values in files.items():
        values.tofile(tmp_path / f"{name}.raw")
    command = [program, "1024", "2", str(depth), "1", "4", "0", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "data race" not in done.stderr


def compiled(program, options):
    """librethined and what calls it; skips where the compiler lacks a sanitizer."""
    build = [COMPILER, "-std=c11", "-g", "-O1", f"-I{SOURCE.parent}", *options, str(SOURCE)]
    built = subprocess.run(
        [*build, "-o", str(program), "-lm"], capture_output=True, text=True, check=False
    )
    if "cannot find" in built.stderr:
        pytest.skip("the C compiler has no sanitizers")
    assert built.returncode == 0, built.stderr
    return program
