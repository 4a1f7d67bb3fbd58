"""A model from a dictionary of tensors: shapes are read off them, and what does not fit is said.

Knows nothing of files. Key names are the published ones, without prefixes.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor

from rethined_export.models.rethined.config import (
    AUTHORS,
    DIALECTS,
    LOW_RESOLUTION,
    PATCH,
    PATCH_SIZE,
    TOKENS,
    Decoder,
    Dialect,
    RethinedConfig,
    preset_config,
)
from rethined_export.models.rethined.copying import CopyModel, copy_config, unsupported
from rethined_export.models.rethined.model import Rethined
from rethined_export.models.rethined.reference import Inpainter

#: ``copy`` is the network of ogkalu2/Rethined-Implementation, whose weights have other names.
Network = Literal["paper", "published", "copy"]
NETWORKS: tuple[Network, ...] = get_args(Network)

M = TypeVar("M", bound=Inpainter)
_HEAD = "generator.multihead_attention"
_CLOSENESS = f"{_HEAD}.closeness"
_GAIN = "generator.gain"
#: Entries that no forward pass reads, or that are copies of others.
_IGNORED = re.compile(
    r"^generator\.(encoder_decoder\.|qk_mask$|mask_query$|positionalencoding$)"
    r"|^coarse_model\.model\.(linear|gap)\.|\.num_batches_tracked$"
)
_IGNORED_BY_COPY = re.compile(
    r"^inpainter\.(encoder_decoder\.|final_gaussian_blur\.|multihead_attention\.(w_vs|fc)\.)"
    r"|^hr_upscaler\.|\.num_batches_tracked$"
)
#: What names of weights begin with.
_OURS = ("coarse_model.", "generator.", "inpainter.")
#: A tensor that only one kind of network has, and how to ask for that kind.
_TELLING = {
    "paper": "coarse_model.model.stage0.",
    "published": f"{_HEAD}.w_vs.weight",
    "copy": "coarse_model.stage0.down.",
}
#: Encoder and decoder widths that no other public fork has.
_MIKANQUYT = ((64, 192, 448, 896, 2048), (1792, 896, 384, 64))
_UNTOLD = (
    "the weights do not tell use_argmax, mask_inpainting, attention_masking, or that the upscaler "
    "was fed the photo without its mask (--context full); taken as the authors' code has them"
)

_NO_CONFIG = "the checkpoint holds no config: its settings are taken as the repository has them"


class CheckpointError(ValueError):
    """The tensors are not those of a usable RETHINED network; the message says what to do."""


@dataclass(frozen=True)
class Derived:
    """A model in eval mode with its weights loaded.

    Attributes:
        model: float32, not re-parameterised unless the tensors were.
        derived: what was read off the tensors because it differs from the preset, one line each.
        notes: what the tensors do not tell, and was taken from the options or the authors' code.
    """

    model: Inpainter
    derived: tuple[str, ...]
    notes: tuple[str, ...]


def from_tensors(
    tensors: Mapping[str, Tensor],
    preset: str = "paper",
    variant: Network = "paper",
    dialect: Dialect = AUTHORS,
    config: Mapping[str, Any] | None = None,
) -> Derived:
    """Build the model that the tensors' shapes call for.

    Args:
        tensors: by published name. Copies, batch counters and unused entries are ignored.
        preset: decides what shapes do not (which of two stages as wide as the features).
        variant: the forward pass.
        dialect: of the ``published`` variant.
        config: settings that the checkpoint holds beside its weights, for ``copy``.

    Raises:
        CheckpointError: of another network, of a size or an option that is not supported,
            misshapen, not floating-point, or with NaN or Inf in it. The message is one line.
        ValueError: a dialect of a variant other than ``published``.
    """
    if not tensors:
        raise CheckpointError("not a RETHINED checkpoint: it holds no tensors")
    ignored = _IGNORED_BY_COPY if variant == "copy" else _IGNORED
    state = {name: tensor for name, tensor in tensors.items() if not ignored.search(name)}
    _check_values(state)
    if variant == "copy":
        if dialect != AUTHORS:
            raise ValueError(f"{dialect} changes the published variant, not variant copy")
        return _copy(state, config)
    _check_patches(tensors)
    _check_tokens(tensors)
    start = preset_config(preset, variant, dialect)
    try:
        found = _derived_config(start, state)
    except (KeyError, IndexError) as error:
        raise _another_network(error, Rethined(start).state_dict(), state, variant) from error
    model = _loaded(lambda: Rethined(found), state, variant)
    return Derived(model, _differences(start, found), _notes(found))


def _copy(state: dict[str, Tensor], config: Mapping[str, Any] | None) -> Derived:
    if reason := unsupported(config or {}):
        raise CheckpointError(f"a network of this kind is not supported: {reason}")
    try:
        found = copy_config(state, config or {})
    except (KeyError, IndexError) as error:
        raise _another_network(error, CopyModel().state_dict(), state, "copy") from error
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    model = _loaded(lambda: CopyModel(found), state, "copy")
    notes = () if config else (_NO_CONFIG,)
    return Derived(model, _differences(type(found)(), found), notes)


def _check_values(state: Mapping[str, Tensor]) -> None:
    """Refuse numbers that no weight can be, where the name may be a weight's."""
    for name, tensor in state.items():
        if not name.startswith(_OURS):
            continue
        if not tensor.ndim or not tensor.numel():
            raise CheckpointError(
                f"{name} has shape {tuple(tensor.shape)}, as no RETHINED weight does"
            )
        if not tensor.is_floating_point():
            raise CheckpointError(f"{name} is {tensor.dtype}, not floating-point numbers")
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{name} holds NaN or Inf; the training diverged")


def _check_patches(tensors: Mapping[str, Tensor]) -> None:
    """Refuse other patches and several heads by name: they change every shape after them."""
    values = tensors.get(f"{_HEAD}.w_vs.weight")
    if values is None or values.ndim != 2:
        return
    heads, size = values.shape[0] / values.shape[1], values.shape[1]
    if size != PATCH_SIZE:
        side = math.sqrt(size / 3)
        said = f"patches of {side:.0f}×{side:.0f}" if side.is_integer() else f"{size} values"
        raise CheckpointError(
            f"it was trained with {said} (kernel_size, by the shape of {_HEAD}.w_vs.weight); only "
            f"{PATCH}×{PATCH} is supported"
        )
    if heads > 1 and heads.is_integer():
        raise CheckpointError(
            f"it was trained with {heads:.0f} attention heads (nheads); only one is supported, as "
            "by the published upscaler"
        )


def _check_tokens(tensors: Mapping[str, Tensor]) -> None:
    """Refuse a network of another low resolution, which nothing but unused entries tells."""
    for name, axis in (("qk_mask", -1), ("mask_query", 1), ("positionalencoding", None)):
        tensor = tensors.get(f"generator.{name}")
        if tensor is None or tensor.ndim < 2:
            continue
        count = _token_axis(tensor, tensors) if axis is None else tensor.shape[axis]
        if count == TOKENS:
            continue
        side = math.sqrt(count) * PATCH
        size = f"{side:.0f}×{side:.0f}" if side.is_integer() else "another size"
        raise CheckpointError(
            f"it was trained at {size} (generator.{name} is for {count} tokens); only "
            f"{LOW_RESOLUTION}×{LOW_RESOLUTION} ({TOKENS} tokens) is supported"
        )


def _token_axis(encoding: Tensor, tensors: Mapping[str, Tensor]) -> int:
    """Tokens that a positional encoding is for: its axis that is no token's width."""
    queries = tensors.get(f"{_HEAD}.w_qs.weight")
    width = 0 if queries is None else queries.shape[-1]
    axes = [size for size in encoding.shape if size not in (1, width)]
    return TOKENS if TOKENS in axes or len(axes) != 1 else axes[0]


def _derived_config(start: RethinedConfig, state: Mapping[str, Tensor]) -> RethinedConfig:
    """Read widths, blocks, branches, decoder, feature stage and d_k off the weights."""
    encoder = "coarse_model.model."
    deployed = f"{encoder}stage0.reparam_conv.weight" in state
    layer = "reparam_conv" if deployed else "rbr_conv.0.conv"
    first = state[f"{encoder}stage0.{layer}.weight"]
    widths, channels = [len(first)], first.shape[1]
    blocks, gates = [1], [0]
    for stage in range(1, 5):
        within = rf"^coarse_model\.model\.stage{stage}\."
        blocks.append(len(_numbers(state, rf"{within}(\d+)\.")) // 2)
        widths.append(len(state[f"{encoder}stage{stage}.1.{layer}.weight"]))
        gates.append(len(_numbers(state, rf"{within}(\d+)\.se\.")) // 2)
    decoder: Decoder = "transposed" if "coarse_model.d4.weight" in state else "separable"
    if decoder == "transposed":
        outputs = [state[f"coarse_model.d{level}.weight"].shape[1] for level in (4, 3, 2, 1)]
    else:
        reduce = f"reduce.{layer}.weight"
        outputs = [len(state[f"coarse_model.d{level}.{reduce}"]) for level in (4, 3, 2, 1)]
    queries = state[f"{_HEAD}.w_qs.weight"]
    coherence = any(".final_conv." in key for key in state)
    branches, stage_branches = _branches(state)
    return replace(
        start,
        widths=tuple(widths),
        blocks=tuple(blocks),
        branches=branches,
        stage_branches=stage_branches,
        squeeze_excite=tuple(gates),
        decoder=decoder,
        decoder_widths=tuple(outputs),
        feature_stage=_feature_stage(start, widths, queries.shape[1] - PATCH_SIZE),
        d_k=len(queries),
        start="zeros" if channels == 3 else "push-pull",
        coherence=coherence,
        surroundings=_CLOSENESS in state,
        blended=_GAIN in state and not coherence,
        deployed=deployed,
    )


def _numbers(names: Iterable[str], pattern: str) -> list[int]:
    """The different numbers that a pattern's group finds in the names, ascending."""
    found = re.compile(pattern)
    return sorted({int(m[1]) for name in names if (m := found.search(name))})


def _branches(state: Mapping[str, Tensor]) -> tuple[int, tuple[int, ...]]:
    """k×k branches of a block in general, and those of each stage where they differ."""
    within = r"^coarse_model\.model\.stage{}\.(?:1\.)?rbr_conv\.(\d+)\."
    counts = [len(_numbers(state, within.format(stage))) or 1 for stage in range(5)]
    general = len(_numbers(state, r"^coarse_model\.d4\.reduce\.rbr_conv\.(\d+)\.")) or counts[1]
    return general, () if set(counts) == {general} else tuple(counts)


def _feature_stage(start: RethinedConfig, widths: list[int], features: int) -> int | None:
    """Which stage is as wide as the features beside a patch; the preset's, if that is."""
    if features == 0:
        return None
    if start.feature_stage is not None and widths[start.feature_stage] == features:
        return start.feature_stage
    if features not in widths:
        raise KeyError(f"an encoder stage of {features} channels, as w_qs expects,")
    return widths.index(features)


def _another_network(
    error: KeyError | IndexError,
    expected: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    variant: Network,
) -> CheckpointError:
    """What is missing, what is there instead, and which variant it may be."""
    known = len(expected.keys() & state.keys())
    lacking = error.args[0] if isinstance(error, KeyError) else "a weight of more dimensions"
    reason = (
        f"not a RETHINED checkpoint: {lacking} is missing ({known} of its {len(state)} "
        "tensors have names this model uses"
    )
    if known < len(state) // 2:
        reason += f"; the others: {_some(state.keys() - expected.keys(), state)}"
    return CheckpointError(f"{reason}){_hint(state, variant)}")


def _some(names: Iterable[str], state: Mapping[str, Tensor]) -> str:
    """The first names with their shapes, and how many more there are."""
    listed = [name for name in state if name in set(names)]
    first = ", ".join(f"{name} {tuple(state[name].shape)}" for name in listed[:3])
    return first + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")


def _hint(names: Iterable[str], asked: Network) -> str:
    """Which variant to ask for instead, if the names tell; empty if they do not."""
    found = [kind for kind in NETWORKS if any(_TELLING[kind] in name for name in names)]
    if not found or asked in found[-1:]:
        return ""
    made_by = {
        "paper": "a network without value projection",
        "published": "the authors' code or a fork of it",
        "copy": "ogkalu2/Rethined-Implementation",
    }
    return f"; it looks like {made_by[found[-1]]}: try --variant {found[-1]}"


def _loaded(build: Callable[[], M], state: Mapping[str, Tensor], variant: Network) -> M:
    """A model with its weights, for evaluation.

    Raises:
        CheckpointError: no such model can be built, or tensors do not fit it.
    """
    try:
        # Without memory: a few wide weights would ask for more of it than there is.
        with torch.device("meta"):
            expected = build().state_dict()
    except (ValueError, RuntimeError) as error:
        said = str(error).splitlines()[0]
        raise CheckpointError(
            f"its weights' shapes fit no network of this kind ({said})"
        ) from error
    _check_fit(expected, state, variant)
    model = build()
    model.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    return model.eval().requires_grad_(False)


def _check_fit(
    expected: Mapping[str, Tensor], state: Mapping[str, Tensor], variant: Network
) -> None:
    """Compare names and shapes.

    Raises:
        CheckpointError: naming every missing, unexpected or misshapen one.
    """
    wanted = {key for key in expected if not key.endswith("num_batches_tracked")}
    problems = []
    if missing := sorted(wanted - state.keys()):
        problems.append(f"missing: {', '.join(missing)}")
    if unexpected := sorted(state.keys() - wanted):
        problems.append(f"unexpected: {', '.join(unexpected)}")
    misshapen = [
        f"{key} is {tuple(state[key].shape)}, not {tuple(expected[key].shape)}"
        for key in sorted(wanted & state.keys())
        if state[key].shape != expected[key].shape
    ]
    if misshapen:
        problems.append(f"misshapen: {', '.join(misshapen)}")
    if problems:
        raise CheckpointError(
            f"does not fit this model; {'; '.join(problems)}{_hint(state, variant)}"
        )


def _differences(start: Any, found: Any) -> tuple[str, ...]:
    """Fields in which a configuration is not the one it started from, one line each."""
    named = f"preset {start.preset}" if isinstance(start, RethinedConfig) else "default"
    return tuple(
        f"{name} = {getattr(found, name)} ({named}: {getattr(start, name)})"
        for name in start.__dataclass_fields__
        if getattr(found, name) != getattr(start, name)
    )


def _notes(config: RethinedConfig) -> tuple[str, ...]:
    if config.variant == "paper":
        return ()
    notes = [_UNTOLD] if config.dialect == AUTHORS else []
    if (config.widths, config.decoder_widths) == _MIKANQUYT and (
        config.dialect.score_limit is None
    ):
        notes.insert(
            0,
            "the widths are those of MikanQuyt/Rethined, which clamps scores, resizes bilinearly "
            "and composites; if that trained it, the result here is another: --dialect mikanquyt",
        )
    if config.dialect == DIALECTS["mikanquyt"]:
        notes.append("computed as MikanQuyt/Rethined does, as asked; the weights do not tell")
    return tuple(notes)
