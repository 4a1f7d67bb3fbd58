"""Load a checkpoint without running code in it, and say what does not fit.

Accepted: safetensors, and ``.pth`` files of plain tensors, bare or under ``model_state_dict`` or
``state_dict``, with ``module.`` or ``_orig_mod.`` before the keys, in the published key names.
"""

import hashlib
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from rethined_export.models.rethined.config import (
    PATCH_SIZE,
    Decoder,
    RethinedConfig,
    Variant,
    preset_config,
)
from rethined_export.models.rethined.model import Rethined

_WRAPPERS = ("model_state_dict", "state_dict")
_POSITION = "generator.multihead_attention.position"
_PREFIX = re.compile(r"^(module\.|_orig_mod\.)+")
#: Published entries that the forward pass never reads, or reads under another name.
_IGNORED = re.compile(
    r"^generator\.(encoder_decoder\.|qk_mask$|mask_query$)"
    r"|^coarse_model\.model\.(linear|gap)\.|\.num_batches_tracked$"
)


class CheckpointError(ValueError):
    """The file is not a usable RETHINED checkpoint; the message says why and what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """A model in eval mode with its weights loaded.

    Attributes:
        model: float32, not re-parameterised unless the file was.
        sha256: hash of the file's bytes.
        derived: what was read off the weights because it differs from the preset, one line each.
    """

    model: Rethined
    sha256: str
    derived: tuple[str, ...]


def load_checkpoint(path: Path, preset: str, variant: Variant) -> Checkpoint:
    """Read a checkpoint and build the model its shapes call for.

    Raises:
        CheckpointError: unreadable, holding code, of another model, or with NaN or Inf in it.
    """
    data = _read(path)
    state = _normalise(_tensors(path, data))
    for name, tensor in state.items():
        if not tensor.ndim or not tensor.numel():
            shape = tuple(tensor.shape)
            raise CheckpointError(f"{path}: {name} has shape {shape}, as no RETHINED weight does")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {name} holds NaN or Inf; the training diverged")
    start = preset_config(preset, variant)
    config = _derive(path, start, state)
    model = Rethined(config)
    _check_keys(path, model.state_dict(), state)
    model.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    return Checkpoint(
        model.eval().requires_grad_(False),
        hashlib.sha256(data).hexdigest(),
        tuple(_differences(start, config)),
    )


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"cannot read checkpoint {path}: {error.strerror}; check the name and the folder"
        ) from error
    if not data:
        raise CheckpointError(f"checkpoint {path} is empty (0 bytes); copy or download it again")
    return data


def _tensors(path: Path, data: bytes) -> Mapping[str, object]:
    """The file's mapping; torch files go through the loader that refuses code."""
    if path.suffix == ".safetensors":
        try:
            return load_safetensors(data)
        except SafetensorError as error:
            raise CheckpointError(f"{path} is not a safetensors file: {error}") from error
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than plain tensors and was not loaded, since a pickle can run "
            "code; save model.state_dict() alone, or convert it to safetensors"
        ) from error
    except Exception as error:  # the unpickler meets damaged bytes with errors of any type
        raise CheckpointError(f"{path} is not a torch checkpoint or is truncated") from error
    if not isinstance(loaded, Mapping):
        raise CheckpointError(f"{path} holds a {type(loaded).__name__}, not a state dict")
    for wrapper in _WRAPPERS:
        inner = loaded.get(wrapper)
        if isinstance(inner, Mapping):
            return inner
    return loaded


def _normalise(raw: Mapping[str, object]) -> dict[str, Tensor]:
    """Drop prefixes, copies and unused entries; keep tensors only."""
    named = {_PREFIX.sub("", str(key)): value for key, value in raw.items()}
    return {
        key: value
        for key, value in named.items()
        if isinstance(value, Tensor) and not _IGNORED.search(key)
    }


def _derive(path: Path, start: RethinedConfig, state: dict[str, Tensor]) -> RethinedConfig:
    """Read widths, blocks, branches, decoder, feature stage and d_k off the weights."""
    try:
        return _derived_config(start, state)
    except (KeyError, IndexError) as error:
        known = len(Rethined(start).state_dict().keys() & state.keys())
        raise CheckpointError(
            f"{path} is not a RETHINED checkpoint: {error.args[0]} is missing "
            f"({known} of its {len(state)} tensors have names this model uses)"
        ) from error


def _derived_config(start: RethinedConfig, state: dict[str, Tensor]) -> RethinedConfig:
    encoder = "coarse_model.model."
    deployed = f"{encoder}stage0.reparam_conv.weight" in state
    layer = "reparam_conv" if deployed else "rbr_conv.0.conv"

    def numbers(pattern: str) -> list[int]:
        found = re.compile(pattern)
        return sorted({int(m[1]) for key in state if (m := found.search(key))})

    first = state[f"{encoder}stage0.{layer}.weight"]
    widths, channels = [len(first)], first.shape[1]
    blocks, gates = [1], [0]
    for stage in range(1, 5):
        layers = numbers(rf"^coarse_model\.model\.stage{stage}\.(\d+)\.")
        blocks.append(len(layers) // 2)
        widths.append(len(state[f"{encoder}stage{stage}.1.{layer}.weight"]))
        gated = numbers(rf"^coarse_model\.model\.stage{stage}\.(\d+)\.se\.")
        gates.append(len(gated) // 2)
    decoder: Decoder = "transposed" if "coarse_model.d4.weight" in state else "separable"
    if decoder == "transposed":
        outputs = [state[f"coarse_model.d{level}.weight"].shape[1] for level in (4, 3, 2, 1)]
    else:
        reduce = f"reduce.{layer}.weight"
        outputs = [len(state[f"coarse_model.d{level}.{reduce}"]) for level in (4, 3, 2, 1)]
    queries = state["generator.multihead_attention.w_qs.weight"]
    features = queries.shape[1] - PATCH_SIZE
    stage = start.feature_stage if widths[start.feature_stage] == features else -1
    if stage < 0:
        if features not in widths:
            raise KeyError(f"an encoder stage of {features} channels, as w_qs expects,")
        stage = widths.index(features)
    return replace(
        start,
        widths=tuple(widths),
        blocks=tuple(blocks),
        branches=len(numbers(r"stage0\.rbr_conv\.(\d+)\.")) or 1,
        squeeze_excite=tuple(gates),
        decoder=decoder,
        decoder_widths=tuple(outputs),
        feature_stage=stage,
        d_k=len(queries),
        start="zeros" if channels == 3 else "push-pull",
        coherence=start.variant == "published" or any(".final_conv." in key for key in state),
        position=state[_POSITION].shape[1] if _POSITION in state else 0,
        deployed=deployed,
    )


def _check_keys(path: Path, expected: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    """Name every missing, unexpected or misshapen key."""
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
        raise CheckpointError(f"{path} does not fit this model; {'; '.join(problems)}")


def _differences(start: RethinedConfig, config: RethinedConfig) -> list[str]:
    return [
        f"{name} = {getattr(config, name)} (preset {start.preset}: {getattr(start, name)})"
        for name in start.__dataclass_fields__
        if getattr(config, name) != getattr(start, name)
    ]
