"""Hole tokens in one program: image and mask in, image out."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.rethined import GRID, LOW_RESOLUTION, PATCH, Rethined
from rethined_export.models.rethined.config import TOKENS
from rethined_export.recipes.rethined.graph import Scene
from rethined_export.recipes.rethined.holes import Choosing, Looking, as_read
from rethined_export.recipes.rethined.low import all_scores, mass_kept
from rethined_export.recipes.rethined.patches import LOW_HALO, PatchStage
from rethined_export.rewrite.bicubic import replicate_pad
from rethined_export.rewrite.fetch import CHUNK, PatchFetch


class HoleList(nn.Module):
    """Lists the hole tokens of a grid of flags, in order, without data-dependent shapes.

    Args:
        budget: K, places in the list.
    """

    upto: Tensor
    wanted: Tensor

    def __init__(self, budget: int) -> None:
        super().__init__()
        self.budget = budget
        self.register_buffer("upto", torch.ones(GRID, GRID).triu())
        self.register_buffer("wanted", torch.arange(budget).reshape(budget, 1).float())

    def forward(self, hole: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """List hole tokens.

        Args:
            hole: flags ``[1, 1, 64, 64]``, 1 = hole.

        Returns:
            Tokens int32 ``[K]``, spare places holding the last token; place of each token in the
            list, K for known ones and those that found none, int32 ``[N]``; and how many found
            none, int32 ``[1]``.
        """
        flags = hole.reshape(GRID, GRID)
        inside = torch.matmul(flags, self.upto)  # hole tokens of the row, up to this one
        rows = inside[:, GRID - 1 :]
        ended = torch.matmul(self.upto.transpose(0, 1), rows)  # up to the end of the row
        count = inside + ended - rows
        place = flags * (count - 1).clamp(max=self.budget) + (1 - flags) * self.budget
        # The j-th hole token lies behind all rows, and all tokens of its row, that count j or less.
        row = (ended.reshape(1, GRID) <= self.wanted).float().sum(1).clamp(max=GRID - 1)
        counts = F.embedding(row.to(torch.int32), count)
        column = (counts <= self.wanted).float().sum(1).clamp(max=GRID - 1)
        left = (ended[GRID - 1] - self.budget).clamp(min=0)
        return (
            (row * GRID + column).to(torch.int32),
            place.reshape(TOKENS).to(torch.int32),
            left.to(torch.int32),
        )


class PatchPaste(nn.Module):
    """Puts patches in the place of tokens: what ``scatter`` does, as a look-up.

    Args:
        patch: side of a patch in the image.
    """

    within: Tensor
    rows: Tensor
    columns: Tensor

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.patch, self.side = patch, patch * GRID
        within = torch.arange(patch).reshape(1, -1) * 3 + torch.arange(3).reshape(-1, 1)
        self.register_buffer("within", within.to(torch.int32).reshape(3, 1, patch, 1))
        rows = torch.arange(3 * self.side, dtype=torch.int32) * GRID
        self.register_buffer("rows", rows.reshape(3, GRID, patch, 1))
        self.register_buffer("columns", torch.arange(GRID, dtype=torch.int32).reshape(1, 1, 1, -1))

    def forward(self, x: Tensor, patches: Tensor, places: Tensor) -> Tensor:
        """Paste.

        Args:
            x: ``[1, 3, side, side]``.
            patches: ``[K, patch, 3, patch]``.
            places: which patch each token becomes, K for none, int32 ``[N]``.

        Returns:
            ``[1, 3, side, side]``.
        """
        count = patches.shape[0]
        place = places.reshape(1, GRID, 1, GRID)
        pasted = (place < count).to(torch.int32)
        # Sums in this order leave no constant of the image's size to be folded.
        first = pasted * (place * 3 * self.patch + 3 * self.side * GRID)
        kept = (1 - pasted) * self.columns
        rows = pasted * self.within + (1 - pasted) * self.rows + (first + kept)
        table = torch.cat([x.reshape(-1, self.patch), patches.reshape(-1, self.patch)])
        return F.embedding(rows.reshape(-1), table).reshape(1, 3, self.side, self.side)


class HoleGraph(nn.Module):
    """RETHINED for one resolution, computing hole tokens only.

    Args:
        model: reference of the ``paper`` variant, in eval mode; it is copied.
        hr: side of the image, 512·s.
        budget: K, the most hole tokens that are filled.
        top_k: keys kept for each.
    """

    upscale: str = "patches"
    keeps_known = True

    def __init__(self, model: Rethined, hr: int, budget: int, top_k: int = 1) -> None:
        super().__init__()
        self.hr, self.scale, self.budget, self.top_k = hr, hr // LOW_RESOLUTION, budget, top_k
        self.looking, self.choosing = Looking(model), Choosing(model, top_k)
        self.list_holes = HoleList(budget)
        self.paste_low = PatchPaste(PATCH)
        if self.scale > 1:
            size = PATCH * self.scale
            self.stage = PatchStage(self.scale, top_k)
            self.fetch_low = PatchFetch(3, PATCH, GRID, LOW_HALO, margin=CHUNK)
            self.fetch_image = PatchFetch(3, size, GRID)
            self.fetch_mask = PatchFetch(1, size, GRID)
            self.paste = PatchPaste(size)
        self.eval().requires_grad_(False)

    output_names = ("output", "indices", "scores", "left")

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Fill the hole.

        Args:
            image: RGB ``[1, 3, hr, hr]`` in [0, 1].
            mask: ``[1, 1, hr, hr]``, 1 = hole, 0 = known.

        Returns:
            The image ``[1, 3, hr, hr]``; keys int32 ``[1, N, k]`` and their scores ``[1, N, k]``
            (rows of known tokens carry no meaning); and how many hole tokens were over the budget
            and left as they came, int32 ``[1]``.
        """
        x_low, mask_low = self._shrink(image, mask)
        tokens, places, left = self.list_holes(F.max_pool2d(mask_low, PATCH, PATCH))
        seen = as_read(self.looking.look(x_low, mask_low))
        low, keys, scores = self.choosing(*seen, tokens, places)
        output = self._finish(image, mask, low, seen[0], tokens, places, keys, scores)
        rows = places.clamp(max=self.budget - 1)
        keys_of_all = F.embedding(rows, keys[0].float()).to(torch.int32)
        return output, keys_of_all[None], F.embedding(rows, scores[0])[None], left

    def describe(self, image: Tensor, mask: Tensor) -> Scene:
        """The scores that a dense map would hold; what parity judges an artifact's keys by."""
        x_low, mask_low = self._shrink(image, mask)
        hole = F.max_pool2d(mask_low, PATCH, PATCH)
        look = self.looking.look(x_low, mask_low)
        return Scene(look, mask_low, hole, all_scores(look))

    def mass_kept(self, scene: Scene, indices: Tensor) -> float:
        """Mean share of hole tokens' attention on the keys int32 ``[1, N, k]``."""
        return mass_kept(scene.scores, indices, scene.hole)

    def complete(
        self, image: Tensor, mask: Tensor, scene: Scene, indices: Tensor, scores: Tensor
    ) -> Tensor:
        """The image from given keys and scores of all tokens, whatever the budget."""
        tokens = scene.hole.flatten().nonzero()[:, 0]
        places = torch.full((TOKENS,), len(tokens), dtype=torch.int32)
        places[tokens] = torch.arange(len(tokens), dtype=torch.int32)
        listed, keys, theirs = tokens.to(torch.int32), indices[:, tokens], scores[:, tokens]
        composite, details, _, _, shares = as_read(scene.look)
        low = self.choosing.settle(composite, details, shares, listed, places, keys, theirs)
        return self._finish(image, mask, low, composite, listed, places, keys, theirs)

    def _shrink(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """x_LR before its hole is cut, and m_LR.

        Cutting the hole out of the large image first would change only pixels that m_LR cuts out.
        """
        if self.scale == 1:
            return image, mask
        return (
            F.avg_pool2d(image, self.scale, self.scale),
            F.max_pool2d(mask, self.scale, self.scale),
        )

    def _finish(
        self,
        image: Tensor,
        mask: Tensor,
        low: Tensor,
        composite: Tensor,
        tokens: Tensor,
        places: Tensor,
        keys: Tensor,
        scores: Tensor,
    ) -> Tensor:
        """Everything after the low-resolution patches."""
        x_low = self.paste_low(composite, low, places)
        if self.scale == 1:
            return mask * x_low + (1 - mask) * image
        # Beyond the border the nearest pixel repeats.
        framed = replicate_pad(x_low, CHUNK)
        sources = keys.reshape(-1)
        patches = self.stage(
            self.fetch_image(image, sources),
            self.fetch_low(framed, sources),
            self.fetch_low(framed, tokens),
            torch.softmax(scores, dim=2)[0] if self.top_k > 1 else None,
        )
        known, hole = self.fetch_image(image, tokens), self.fetch_mask(mask, tokens)
        return self.paste(image, hole * patches + (1 - hole) * known, places)
