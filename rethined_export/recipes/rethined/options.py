"""RETHINED's options and how its files are named."""

from dataclasses import dataclass, replace
from typing import Self

from rethined_export.errors import UserError
from rethined_export.models.rethined import AUTHORS, DIALECTS, NETWORKS, PRESETS, Dialect
from rethined_export.models.rethined.config import TOKENS, Context
from rethined_export.names import choose
from rethined_export.photo.window import Window
from rethined_export.recipes.options import Options, option, whole_number

RESOLUTIONS = (512, 1024, 2048, 4096, 8192)
#: Beyond it only patches are small enough to run.
LARGEST_WHOLE = 4096
#: How full-resolution patches come about: all copied (``gather``), all mixed with all (``dense``),
#: or only those of the hole computed (``patches``).
UPSCALES = ("gather", "dense", "patches")
CONTEXTS = ("masked", "full")
BUDGETS = ("10%", "25%", "100%")
#: Share of the attention, in percent, that the keys kept must hold to be the network trained.
LEAST_MASS = 50


def resolution(text: str) -> int:
    """The side of the image.

    Raises:
        UserError: not a supported resolution; the nearest is suggested.
    """
    known = ", ".join(map(str, RESOLUTIONS))
    try:
        side = int(text)
    except ValueError:
        raise UserError(f"--hr {text} is not a number; use one of {known}") from None
    if side in RESOLUTIONS:
        return side
    near = min(RESOLUTIONS, key=lambda known: abs(known - side))
    multiple = "" if side % 512 == 0 else "not a multiple of 512, "
    raise UserError(f"--hr {side} is {multiple}not supported; nearest is {near} (of {known})")


_ranks = whole_number("--top-k", 1, 64)


def _budget(text: str) -> int:
    name = text if text.endswith("%") else f"{text}%"
    return int(choose("--hole-budget", name, BUDGETS)[:-1])


def _share(text: str) -> int:
    parse = whole_number("--least-mass", 0, 100)
    return parse(text.removesuffix("%"))


@dataclass(frozen=True)
class RethinedOptions(Options):
    """What to export of a RETHINED network.

    Attributes:
        hr: side of the image, 512·s.
        upscale: see ``UPSCALES``.
        hole_budget: hole tokens a run can fill, in percent of all; None: as many as usual.
        split: two programs, for any hole, whose caller (librethined) makes the patches.
        patch_program: with ``split``, the patches are made by a third program.
        top_k: patches mixed for each token; None: one.
        least_mass: percent of the attention that the keys kept must hold.
        dialect: of the published code: whose, where no weight tells.
        context: what the published upscaler copies detail from; None: as the dialect has it.
    """

    preset: str = option("mobile", "mobile (default) or paper", choices=PRESETS)
    variant: str = option(
        "paper",
        "paper (default), published: the authors' code, or copy: ogkalu2's",
        choices=NETWORKS,
    )
    hr: int = option(
        1024,
        "side: 512, 1024 (default), 2048, 4096; with patches also 8192",
        parse=resolution,
        metavar="PIXELS",
    )
    upscale: str = option(
        "gather",
        "gather (default); patches: the hole's only; dense: for comparison",
        choices=UPSCALES,
    )
    hole_budget: int | None = option(
        None,
        "with patches: largest hole of one run, 10%% (default), 25%%, 100%%",
        parse=_budget,
        metavar="SHARE",
    )
    split: bool = option(False, "with patches: two programs, for any hole; librethined pastes")
    patch_program: bool = option(False, "with split: patches at full resolution by a program too")
    top_k: int | None = option(
        None,
        "patches mixed per token (default 1)",
        parse=_ranks,
        metavar="K",
    )
    least_mass: int = option(
        LEAST_MASS,
        f"attention the k keys must hold to be called verified (default {LEAST_MASS}%%)",
        parse=_share,
        metavar="SHARE",
    )

    dialect: str = option(
        "authors",
        "published: as whose code computes, authors (default) or mikanquyt",
        choices=DIALECTS,
    )
    context: str | None = option(
        None,
        "published: detail from the photo without its hole, masked, or from all of it, full",
        choices=CONTEXTS,
    )

    @property
    def forked(self) -> Dialect:
        """The dialect with what was chosen beside it."""
        named = DIALECTS[self.dialect]
        # Spelt out, since the value comes from a command line or a manifest.
        context: Context = "full" if self.context == "full" else "masked"
        return named if self.context is None else replace(named, context=context)

    @property
    def window(self) -> Window:
        """A square of side ``hr``."""
        return Window(self.hr, self.hr)

    def sized(self, window: Window) -> Self:
        """Another side."""
        return replace(self, hr=resolution(str(window.height)))

    @property
    def ranks(self) -> int:
        """k, the keys kept for each token."""
        return self.top_k or 1

    @property
    def budget(self) -> int:
        """Hole tokens a run can fill, in percent of all."""
        return self.hole_budget or (10 if self.upscale == "patches" else 100)

    @property
    def places(self) -> int:
        """K, the hole tokens a run can fill."""
        return -(-TOKENS * self.budget // 100)

    def check(self) -> None:
        """Refuse contradictions, and numbers that a manifest may hold but nobody can ask for."""
        super().check()
        resolution(str(self.hr))
        _share(str(self.least_mass))
        if self.top_k is not None:
            _ranks(str(self.top_k))
        if self.hole_budget is not None:
            _budget(str(self.hole_budget))
        if self.upscale == "dense" and self.top_k is not None:
            raise UserError(
                f"--top-k {self.top_k} and --upscale dense contradict each other: dense mixes all "
                "patches; drop one of them"
            )
        for name, given in (("--hole-budget", self.hole_budget), ("--split", self.split)):
            if given and self.upscale != "patches":
                raise UserError(f"{name} goes with --upscale patches, not {self.upscale}; add that")
        if self.patch_program and not self.split:
            raise UserError("--patch-program goes with --split; add that")
        if self.upscale == "patches" and self.variant == "published":
            raise UserError(
                "--upscale patches computes hole tokens only, and --variant published changes "
                "all; use --upscale gather"
            )
        if self.variant != "published" and self.forked != AUTHORS:
            flag = "--context" if self.dialect == "authors" else "--dialect"
            raise UserError(f"{flag} is for --variant published, not {self.variant}; drop it")
        if self.variant == "copy":
            self._check_copy()
        if self.hr > LARGEST_WHOLE and self.upscale != "patches":
            raise UserError(
                f"--hr {self.hr} is for --upscale patches; {self.upscale} goes up to "
                f"{LARGEST_WHOLE}"
            )

    def _check_copy(self) -> None:
        """The copying network comes in one size and copies one patch a token."""
        if self.preset != "mobile":
            raise UserError(f"--variant copy has no preset {self.preset}; drop --preset")
        if self.upscale != "gather":
            raise UserError(
                f"--variant copy copies patches, which --upscale {self.upscale} does not do for "
                "it; use --upscale gather"
            )
        if self.ranks > 1:
            raise UserError(
                f"--variant copy copies one patch a token, not {self.top_k}; drop --top-k"
            )

    @property
    def preset_text(self) -> str:
        """The ``copy`` variant has none."""
        return "" if self.variant == "copy" else self.preset

    def family(self, model: str) -> str:
        """Other variants than the paper's are named, and what was chosen of their dialect."""
        pieces = [model] if self.variant == "paper" else [model, self.variant]
        if self.forked != AUTHORS:
            pieces += [] if self.dialect == "authors" else [self.dialect]
            changed = self.forked.context != DIALECTS[self.dialect].context
            pieces += [self.forked.context] if changed else []
        return "-".join(pieces)

    def form(self, part: str) -> str:
        """``gather``, ``gather4``, ``dense``, ``patches10``, ``low10``, ``choose10``, ``patch``."""
        if self.upscale != "patches":
            return self.upscale + (str(self.ranks) if self.ranks > 1 else "")
        ranks = f"k{self.ranks}" if self.ranks > 1 else ""
        name = "patches" if part == "whole" else part
        return name + ("" if part == "patch" else str(self.budget)) + ranks
