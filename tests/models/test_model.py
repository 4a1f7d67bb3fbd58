"""The reference, step by step, against explicit loops and sums."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import small_config, small_model
from torch import Tensor
from torch.nn import functional as F

from rethined_export.models.rethined import (
    DIALECTS,
    GRID,
    PATCH,
    TOKENS,
    VARIANTS,
    Rethined,
)
from rethined_export.models.rethined.attention import (
    FORBIDDEN,
    PatchAttention,
    attention_map,
    mask_scores,
    prefer_self,
)
from rethined_export.models.rethined.filters import (
    bicubic_downsample,
    bicubic_upsample,
    bilinear_downsample,
    bilinear_upsample,
    cubic_downsample,
    fold,
    gaussian_blur,
    gaussian_taps,
    high_frequencies,
    unfold,
)

EPS = torch.finfo(torch.float32).eps
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def noise(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def models() -> dict[str, Rethined]:
    return {variant: small_model(small_config(variant)) for variant in VARIANTS}


# --- Filters ----------------------------------------------------------------------------------


def test_gaussian_taps_are_the_papers():
    taps = [math.exp(-(d**2) / (2 * 2.01**2)) for d in range(-3, 4)]
    assert gaussian_taps().tolist() == pytest.approx([tap / sum(taps) for tap in taps])


def mirrored(index: int, count: int) -> int:
    """Reflection that does not repeat the border."""
    index = abs(index)
    return min(index, 2 * (count - 1) - index)


@pytest.mark.parametrize("height,width", [(4, 4), (5, 9), (12, 7)])
def test_blur_is_a_reflected_weighted_sum(height, width):
    x, taps = noise(height, 1, 3, height, width), gaussian_taps()
    expected = torch.zeros(1, 3, height, width, dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            for i in range(7):
                for j in range(7):
                    source = x[:, :, mirrored(row + i - 3, height), mirrored(column + j - 3, width)]
                    expected[:, :, row, column] += taps[i] * taps[j] * source
    assert (gaussian_blur(x) - expected).abs().max() <= 49 * EPS
    assert torch.equal(high_frequencies(x), x - gaussian_blur(x))


@pytest.mark.parametrize("patch,rows,columns", [(1, 3, 2), (2, 2, 3), (8, 2, 2)])
def test_unfold_cuts_patches_row_by_row(patch, rows, columns):
    x = noise(patch, 1, 3, patch * rows, patch * columns)
    tokens = unfold(x, patch)
    for row in range(rows):
        for column in range(columns):
            here = (
                slice(row * patch, (row + 1) * patch),
                slice(column * patch, (column + 1) * patch),
            )
            assert torch.equal(tokens[row * columns + column], x[0][:, here[0], here[1]].flatten())
    assert torch.equal(fold(tokens, patch, *x.shape[2:]), x)


def cubic(distance: float, a: float) -> float:
    distance = abs(distance)
    if distance <= 1:
        return (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    return a * (distance**3 - 5 * distance**2 + 8 * distance - 4) if distance < 2 else 0.0


def resampling(count: int, out: int, a: float, stretch: float, clamp: bool) -> Tensor:
    """Matrix ``[out, count]`` of a cubic resize, straight from its definition."""
    matrix = torch.zeros(out, count, dtype=torch.float64)
    for target in range(out):
        centre = (target + 0.5) * count / out - 0.5
        for source in range(math.floor(centre - 2 * stretch), math.ceil(centre + 2 * stretch) + 1):
            if clamp or 0 <= source < count:
                weight = cubic((source - centre) / stretch, a)
                matrix[target, min(max(source, 0), count - 1)] += weight
    return matrix / matrix.sum(1, keepdim=True)


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [1, 2, 5, 16])
def test_downsample_is_antialiased_and_renormalised(scale, size):
    """a = −0.5, the filter stretched by the scale, weights past the border left out."""
    x = noise(size, 1, 3, size * scale, size * scale)
    matrix = resampling(size * scale, size, -0.5, scale, clamp=False)
    expected = matrix @ x.double() @ matrix.T
    assert (bicubic_downsample(x, scale) - expected).abs().max() <= 3 * 8 * scale * EPS


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [1, 2, 5, 16])
def test_upsample_repeats_the_border(scale, size):
    """a = −0.75, no antialias."""
    x = noise(size, 1, 3, size, size)
    matrix = resampling(size, size * scale, -0.75, 1, clamp=True)
    expected = matrix @ x.double() @ matrix.T
    assert (bicubic_upsample(x, scale) - expected).abs().max() <= 2 * 16 * EPS


def tents(count: int, out: int, stretch: float, clamp: bool) -> Tensor:
    """Matrix ``[out, count]`` of a bilinear resize, straight from its definition."""
    matrix = torch.zeros(out, count, dtype=torch.float64)
    for target in range(out):
        centre = (target + 0.5) * count / out - 0.5
        for source in range(math.floor(centre - stretch), math.ceil(centre + stretch) + 1):
            if clamp or 0 <= source < count:
                weight = max(1 - abs(source - centre) / stretch, 0)
                matrix[target, min(max(source, 0), count - 1)] += weight
    return matrix / matrix.sum(1, keepdim=True)


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("size", [1, 2, 5, 16])
def test_bilinear_resizes_and_the_reduction_without_antialias(scale, size):
    large, small = noise(size, 1, 3, size * scale, size * scale), noise(size, 1, 3, size, size)
    shrink = tents(size * scale, size, scale, clamp=False)
    enlarge = tents(size, size * scale, 1, clamp=True)
    plain = resampling(size * scale, size, -0.75, 1, clamp=True)
    for actual, matrix, x in (
        (bilinear_downsample(large, scale), shrink, large),
        (bilinear_upsample(small, scale), enlarge, small),
        (cubic_downsample(large, scale), plain, large),
    ):
        expected = matrix @ x.double() @ matrix.T
        assert (actual - expected).abs().max() <= 3 * 8 * scale * EPS


# --- Attention --------------------------------------------------------------------------------


@every_variant
def test_scores_are_scaled_products(variant):
    attention = PatchAttention(small_config(variant))
    size, d_k = attention.w_qs.in_features, attention.w_qs.out_features
    tokens = noise(0, 5, size)
    with torch.no_grad():
        actual = attention.scores(tokens, tokens)
        for i in range(5):
            for j in range(5):
                query, key = attention.w_qs.weight @ tokens[i], attention.w_ks.weight @ tokens[j]
                expected = sum((query * key).tolist()) / math.sqrt(d_k)
                assert actual[i, j].item() == pytest.approx(expected, abs=size * EPS, rel=1e-4)


@settings(deadline=None, max_examples=50)
@given(
    flags=st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=12), seed=st.integers(0, 99)
)
def test_bias_of_each_variant(flags, seed):
    """Paper: hole keys are forbidden. Published: hole tokens are forbidden to themselves."""
    hole, count = torch.tensor(flags), len(flags)
    scores = noise(seed, count, count)
    paper, published = (mask_scores(scores, hole, variant) for variant in VARIANTS)
    for i in range(count):
        for j in range(count):
            forbidden = scores[i, j] + FORBIDDEN
            assert paper[i, j] == (forbidden if flags[j] else scores[i, j])
            assert published[i, j] == (forbidden if flags[j] and i == j else scores[i, j])


@settings(deadline=None, max_examples=60)
@given(
    flags=st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=16),
    top_k=st.sampled_from([None, 1, 2, 4]),
    variant=st.sampled_from(VARIANTS),
    spread=st.sampled_from([0.0, 1.0, 300.0]),
    seed=st.integers(0, 2**31),
)
def test_attention_rows(flags, top_k, variant, spread, seed):
    """Rows sum to one, known rows are the identity, hole rows hold k keys and keep off the hole."""
    hole, count = torch.tensor(flags), len(flags)
    top_k = top_k and min(top_k, count)
    scores = mask_scores(spread * noise(seed, count, count), hole, variant)
    weights, keys = attention_map(scores, hole, top_k)
    assert (weights >= 0).all()
    assert (weights.sum(1) - 1).abs().max() <= count * EPS
    assert torch.equal(weights[hole == 0], torch.eye(count)[hole == 0])
    if top_k is None:
        assert keys is None
    else:
        assert keys.shape == (count, top_k)
        assert ((weights > 0).sum(1) <= top_k).all()
    filled = weights[hole > 0]
    if variant == "paper" and not hole.all():
        assert not filled[:, hole > 0].any()
    if variant == "published":
        assert not weights.diagonal()[hole > 0].any()


def test_all_keys_kept_is_the_dense_map():
    scores, hole = noise(0, 9, 9), torch.ones(9)
    dense, none = attention_map(scores, hole)
    kept, keys = attention_map(scores, hole, top_k=9)
    assert none is None
    assert keys.shape == (9, 9)
    assert (dense - kept).abs().max() <= 9 * EPS


def test_given_keys_are_used_and_renormalised():
    scores, hole = noise(0, 4, 4), torch.tensor([1.0, 0.0, 1.0, 1.0])
    keys = torch.tensor([[1, 2], [0, 3], [3, 0], [2, 1]])
    weights, used = attention_map(scores, hole, indices=keys)
    assert used is keys
    for row in (0, 2, 3):
        powers = {key: math.exp(scores[row, key]) for key in keys[row].tolist()}
        expected = [powers.get(key, 0) / sum(powers.values()) for key in range(4)]
        assert weights[row].tolist() == pytest.approx(expected, rel=1e-6)
    assert weights[1].tolist() == [0, 1, 0, 0]


# --- Masks and low resolution -----------------------------------------------------------------


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("offset", [0, 1, 7, -1])
def test_flag_of_a_patch_with_one_pixel(models, scale, offset):
    """Paper: any pixel, the maximum. Published: only the first pixel of the patch is looked at."""
    side = PATCH * scale
    row, column = 5 * side, 9 * side
    place = offset % side
    mask = torch.zeros(1, 1, 512 * scale, 512 * scale)
    mask[:, :, row + place, column + place] = 1
    image = noise(0, 1, 3, 512 * scale, 512 * scale)
    token = 5 * GRID + 9
    for variant in VARIANTS:
        _, mask_low, hole = models[variant].downsample(image, mask, scale)
        expected = torch.zeros(TOKENS)
        expected[token] = float(variant == "paper" or place == 0)
        assert torch.equal(hole, expected)
        pixels = float(variant == "paper" or place % scale == 0)
        assert mask_low.sum() == pixels


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_paper_averages_known_blocks(models, scale):
    """A low-resolution pixel is known only if every pixel under it is."""
    side = 512 * scale
    image, mask = noise(1, 1, 3, side, side), (noise(2, 1, 1, side, side) > 0.9).float()
    x_low, mask_low, _ = models["paper"].downsample(image, mask, scale)
    for row, column in [(0, 0), (0, 511), (17, 400), (255, 256), (511, 511)]:
        rows, columns = (
            slice(row * scale, (row + 1) * scale),
            slice(column * scale, (column + 1) * scale),
        )
        block, covered = image[0, :, rows, columns], mask[0, 0, rows, columns].max().item()
        assert mask_low[0, 0, row, column] == covered
        expected = block.mean((1, 2)) * (1 - covered)
        assert (x_low[0, :, row, column] - expected).abs().max() <= scale**2 * EPS


@pytest.mark.parametrize("scale", [1, 2])
def test_published_reduces_the_image_before_masking(models, scale):
    side = 512 * scale
    image, mask = noise(1, 1, 3, side, side), (noise(2, 1, 1, side, side) > 0.5).float()
    x_low, mask_low, _ = models["published"].downsample(image, mask, scale)
    assert torch.equal(mask_low, mask[:, :, ::scale, ::scale])
    assert torch.equal(x_low, bicubic_downsample(image, scale) * (1 - mask_low))


# --- Refinement and upscaling -----------------------------------------------------------------


def block_mask(side: int) -> Tensor:
    mask = torch.zeros(1, 1, side, side)
    mask[:, :, side // 4 : side // 2 + 3, : side // 3] = 1
    return mask


def patch_of(x: Tensor, token: int, patch: int) -> Tensor:
    row, column = token // GRID * patch, token % GRID * patch
    return x[0, :, row : row + patch, column : column + patch]


def cohered(model: Rethined, tokens: dict[int, Tensor], token: int) -> Tensor:
    """The coherence layer at one token: a weighted sum of its 3×3 neighbours, then a sigmoid."""
    layer = model.generator.final_conv[0]
    row, column = divmod(token, GRID)
    total = layer.bias.double()
    for i in range(3):
        for j in range(3):
            near = mirrored(row + i - 1, GRID) * GRID + mirrored(column + j - 1, GRID)
            total = total + layer.weight[:, :, i, j].double() @ tokens[near].double()
    return torch.sigmoid(total).reshape(3, PATCH, PATCH)


@every_variant
def test_refinement_of_single_tokens(models, variant):
    """Hole, known, border and corner tokens of both variants, from their equations."""
    model = models[variant]
    composite, mask = noise(3, 1, 3, 512, 512), block_mask(512)
    _, mask_low, hole = model.downsample(composite, mask, 1)
    keys = torch.randint(TOKENS, (TOKENS, 1), generator=torch.Generator().manual_seed(0))
    attention, _ = attention_map(torch.zeros(TOKENS, TOKENS), hole, indices=keys)
    low = model.refine(composite, mask_low, hole, attention)
    blurred, high = gaussian_blur(composite), high_frequencies(composite)
    head = model.generator.multihead_attention
    tokens = {}
    for i in range(TOKENS):
        b, f, x = (patch_of(plane, i, PATCH).flatten() for plane in (blurred, high, composite))
        if variant == "paper":
            tokens[i] = b + patch_of(high, keys[i].item(), PATCH).flatten() if hole[i] else x
        elif hole[i]:
            source = patch_of(high, keys[i].item(), PATCH).flatten()
            tokens[i] = head.fc.weight @ (head.w_vs.weight @ source) - b
        else:
            tokens[i] = f
    for token in (0, 63, 16 * GRID, 20 * GRID + 7, 33 * GRID + 20, 40 * GRID + 50, TOKENS - 1):
        expected = cohered(model, tokens, token)
        if variant == "paper":
            inside = patch_of(mask_low, token, PATCH)
            expected = inside * expected + (1 - inside) * patch_of(composite, token, PATCH)
        # 9·192 products of numbers near 0.01 and below 1; the sigmoid shrinks the sum's error.
        assert (patch_of(low, token, PATCH) - expected).abs().max() <= 1e-5


def test_details_are_copied_within_and_the_coarse_images_own_at_the_edge():
    """The hole's columns begin at 200: by the third from there, all details are copied ones."""
    model = small_model(small_config(coherence=False, blended=True))
    composite, mask = noise(2, 1, 3, 512, 512), torch.zeros(1, 1, 512, 512)
    mask[..., 200:300] = 1
    hole = F.max_pool2d(mask, PATCH).flatten()
    keys = torch.randint(TOKENS, (TOKENS, 1), generator=torch.Generator().manual_seed(3))
    attention, _ = attention_map(torch.zeros(TOKENS, TOKENS), hole, indices=keys)
    low = model.refine(composite, mask, hole, attention)
    own, copied = high_frequencies(composite), torch.empty_like(composite)
    for token in range(TOKENS):
        patch_of(copied, token, PATCH)[:] = patch_of(own, keys[token].item(), PATCH)
    raised = composite - own + model.generator.gain * copied
    assert torch.equal(low[..., :200], composite[..., :200])
    assert torch.equal(low[..., 300:], composite[..., 300:])
    # Shares are four times a sum of 49 terms, and differences of details below 1.125 + 1.
    bound = 4 * 49 / 2 * EPS * 2.25
    within = slice(203, 297)
    assert (low[..., within] - raised[..., within]).abs().max() <= bound
    changed, whole = (x[..., 3:-3, :] - composite[..., 3:-3, :] for x in (low, raised))
    for column, share in enumerate(edge_shares(), 200):
        assert (changed[..., column] - share * whole[..., column]).abs().max() <= bound
        assert 0 <= share < 1


def edge_shares() -> list[float]:
    """Of the three columns next to a straight edge, by the blur's taps beyond it."""
    beyond = [gaussian_taps()[distance:].sum().item() for distance in (4, 5, 6)]
    return [max(0.0, 1 - 4 * known) for known in beyond]


@pytest.mark.parametrize("scale", [2, 4])
def test_paper_upscaling_copies_patches(models, scale):
    """Every hole pixel is the enlarged low image plus what the chosen patch holds beyond it."""
    side, patch = 512 * scale, PATCH * scale
    image, mask, low = noise(4, 1, 3, side, side), block_mask(side), noise(5, 1, 3, 512, 512)
    _, _, hole = models["paper"].downsample(image, mask, scale)
    keys = torch.randint(TOKENS, (TOKENS, 1), generator=torch.Generator().manual_seed(1))
    attention, _ = attention_map(torch.zeros(TOKENS, TOKENS), hole, indices=keys)
    output = models["paper"].upscale(image, mask, low, attention, scale)
    base = bicubic_upsample(low, scale)
    high = (1 - mask) * (image - base)
    for token in range(TOKENS):
        here = patch_of(output, token, patch)
        if not hole[token]:
            assert torch.equal(here, patch_of(image, token, patch))
            continue
        filled = patch_of(base, token, patch) + patch_of(high, keys[token].item(), patch)
        inside = patch_of(mask, token, patch)
        assert torch.equal(here, torch.where(inside > 0, filled, patch_of(image, token, patch)))


def test_published_upscaling_blurs_the_empty_hole_and_keeps_no_pixel(models):
    """No hole filling before the blur, no compositing after."""
    image, mask, low = noise(4, 1, 3, 1024, 1024), block_mask(1024), noise(5, 1, 3, 512, 512)
    _, _, hole = models["published"].downsample(image, mask, 2)
    keys = torch.randint(TOKENS, (TOKENS, 1), generator=torch.Generator().manual_seed(1))
    attention, _ = attention_map(torch.zeros(TOKENS, TOKENS), hole, indices=keys)
    output = models["published"].upscale(image, mask, low, attention, 2)
    base, high = bicubic_upsample(low, 2), high_frequencies(image * (1 - mask))
    for token in range(TOKENS):
        source = keys[token].item() if hole[token] else token
        expected = patch_of(base, token, 16) + patch_of(high, source, 16)
        assert torch.equal(patch_of(output, token, 16), expected)
    assert not torch.equal(output * (1 - mask), image * (1 - mask))


# --- The whole --------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [512, 1024])
@every_variant
def test_only_the_paper_keeps_known_pixels(models, variant, side):
    image, mask = noise(6, 1, 3, side, side), block_mask(side)
    with torch.no_grad():
        result = models[variant](image, mask, top_k=1)
    known = mask.expand_as(image) == 0
    assert torch.equal(result.output[known], image[known]) == (variant == "paper")
    assert not torch.equal(result.output[~known], image[~known])
    assert result.output.shape == image.shape
    assert result.low.shape == result.coarse.shape == (1, 3, 512, 512)
    assert result.indices.shape == (TOKENS, 1)
    assert result.scores.shape == (TOKENS, TOKENS)


def test_low_resolution_result_is_the_output_at_512(models):
    with torch.no_grad():
        result = models["paper"](noise(7, 1, 3, 512, 512), block_mask(512))
    assert torch.equal(result.output, result.low)
    assert result.indices is None


@pytest.mark.parametrize(
    "image,mask",
    [
        ((1, 3, 500, 500), (1, 1, 500, 500)),
        ((1, 3, 512, 1024), (1, 1, 512, 1024)),
        ((1, 3, 1024, 512), (1, 1, 1024, 512)),
        ((1, 3, 1024, 1024), (1, 1, 512, 512)),
    ],
)
def test_other_sides_are_refused(models, image, mask):
    with pytest.raises(ValueError, match="multiple of 512"):
        models["paper"](torch.zeros(image), torch.zeros(mask))


# --- Dialects ---------------------------------------------------------------------------------


def test_clamped_attention_is_a_softmax_of_every_row():
    """A known token's own key gets the limit, a hole token's own its negative, others what is left
    of theirs within it."""
    scores, limit = (noise(5, 6, 6) - 0.5) * 100, 20.0
    hole = torch.tensor([1.0, 0, 0, 1, 0, 1])
    biased = prefer_self(mask_scores(scores, hole, "published"), hole)
    weights, _ = attention_map(biased, hole, limit=limit)
    for query in range(6):
        own = -limit if hole[query] else limit
        clamped = [
            own if key == query else min(max(scores[query, key].item(), -limit), limit)
            for key in range(6)
        ]
        grown = [math.exp(score) for score in clamped]
        expected = [value / sum(grown) for value in grown]
        # The bias of 3e4 rounds the query's own score alone, which is clamped away.
        assert weights[query].tolist() == pytest.approx(expected, rel=1e-5, abs=1e-12)


def test_keys_kept_are_the_strongest_before_the_clamp():
    """So that equal clamped scores are no ties; known tokens keep themselves first."""
    scores = torch.tensor([[0.0, 70, 60, 30], [90, 0, 80, 0], [55, 99, 0, 0], [1, 2, 3, 0]])
    hole = torch.tensor([1.0, 1, 0, 0])
    biased = prefer_self(mask_scores(scores, hole, "published"), hole)
    weights, indices = attention_map(biased, hole, top_k=2, limit=50)
    assert indices.tolist() == [[1, 2], [0, 2], [2, 1], [3, 2]]
    assert weights[0].tolist() == pytest.approx([0, 0.5, 0.5, 0])
    assert weights[2].tolist() == pytest.approx([0, 0.5, 0.5, 0])
    assert weights[3, 3] == pytest.approx(1)


@pytest.mark.parametrize("context", ["masked", "full"])
def test_a_dialect_computes_what_it_says(context):
    """At full resolution: bilinear base, high frequencies of the context, known pixels put back."""
    dialect = replace(DIALECTS["mikanquyt"], context=context)
    model = small_model(small_config("published", dialect=dialect))
    image, mask = noise(6, 1, 3, 1024, 1024), torch.zeros(1, 1, 1024, 1024)
    mask[:, :, 200:420, 333:600] = 1
    with torch.no_grad():
        made = model(image, mask)
        weights, _ = attention_map(made.scores, made.hole, limit=50)
    high = unfold(high_frequencies(image if context == "full" else image * (1 - mask)), 16)
    filled = bilinear_upsample(made.low, 2) + fold(weights @ high, 16, 1024, 1024)
    expected = mask * filled + (1 - mask) * image
    assert (made.output - expected).abs().max() <= 1e-6
    known = mask.expand_as(image) == 0
    assert torch.equal(made.output[known], image[known])


@pytest.mark.parametrize(
    "side,changes",
    [
        (512, {"variant": "paper", "start": "push-pull", "surroundings": True}),
        (512, {"variant": "paper", "coherence": False, "blended": True}),
        (1024, {"variant": "published", "dialect": DIALECTS["mikanquyt"]}),
    ],
)
def test_doubles_run_through_everything(side, changes):
    """What rounding adds can be measured: weights and images in float64, an image in float64."""
    model = small_model(small_config(**changes))
    image, mask = noise(7, 1, 3, side, side), torch.zeros(1, 1, side, side)
    mask[:, :, 100:300, 50:250] = 1
    with torch.no_grad():
        single = model(image, mask, top_k=1)
        exact = model.double()(image.double(), mask.double(), indices=single.indices)
    for name in ("output", "low", "coarse", "scores", "hole"):
        assert getattr(exact, name).dtype == torch.float64, name
    assert 0 < (single.output - exact.output).abs().max() <= 1e-4
