"""Shapes of the copying network, read off its weights, and the settings that are supported."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from rethined_export.models.rethined.config import PATCH_SIZE

#: Settings of ``config["model"]["inpainter"]`` that change the forward pass, and the only value
#: that is supported; a setting that is absent has it. Scores limited to the best of them still have
#: the same best one, so ``attention_top_k`` may be anything.
_SUPPORTED: dict[str, Any] = {
    "kernel_size": 8,
    "value_patch_size": 8,
    "attention_eval_selection": "argmax",
    "attention_normalize_qk": True,
    "attention_masking": True,
    "use_transport": False,
    "matching_descriptor_dim": None,
    "match_coarse_rgb": True,
    "query_image_context_matching": False,
    "key_image_context_matching": False,
    "query_boundary_only_matching": False,
    "separate_query_key_matching": False,
    "shared_query_key_descriptor": False,
    "concat_features": True,
    "use_positional_encoding": False,
    "nheads": 1,
    "stem_out_stride": 1,
    "stem_out_channels": 3,
    "image_size": 512,
    "final_conv": True,
}
_SUPPORTED_COARSE: dict[str, Any] = {
    "class": "CoarseModel",
    "enabled": True,
    "use_rep_blocks": True,
}


@dataclass(frozen=True)
class CopyConfig:
    """Everything that decides the shapes of the weights and the forward pass.

    Attributes:
        widths: output channels of the encoder's stages 0 to 4.
        head: channels before the coarse image.
        feature_stage: encoder stage whose features join the patch tokens.
        d_k: channels of queries and keys.
        temperature: cosines are divided by it; no choice depends on it.
    """

    widths: tuple[int, ...] = (64, 128, 256, 384, 512)
    head: int = 32
    feature_stage: int = 3
    d_k: int = 2048
    temperature: float = 0.5

    @property
    def token_size(self) -> int:
        """Numbers in one attention token: an RGB patch and the features beside it."""
        return PATCH_SIZE + self.widths[self.feature_stage]


def unsupported(config: Mapping[str, Any]) -> str | None:
    """Which setting of a checkpoint's config is not supported, in words; None if all are.

    Args:
        config: the repository's whole YAML as a mapping; parts of it may be absent.
    """
    model = _part(config, "model")
    groups = (("coarse_model", _SUPPORTED_COARSE), ("inpainter", _SUPPORTED))
    for group, supported in groups:
        found = _part(model, group)
        for name, value in supported.items():
            if name in found and found[name] != value:
                return f"model.{group}.{name} is {found[name]!r:.40} in its config, not {value!r}"
    return None


def copy_config(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> CopyConfig:
    """Read the shapes off the weights; the temperature from the config.

    Raises:
        KeyError: a weight that tells is missing; the message names it.
        ValueError: the config's temperature is none.
    """
    widths = tuple(
        len(state[f"coarse_model.stage{stage}.down.pointwise.weight"]) for stage in range(5)
    )
    queries = state["inpainter.multihead_attention.w_qs.weight"]
    features = queries.shape[1] - PATCH_SIZE
    if features not in widths:
        raise KeyError(f"an encoder stage of {features} channels, as w_qs expects,")
    return CopyConfig(
        widths=widths,
        head=state["coarse_model.out_conv.weight"].shape[1],
        feature_stage=widths.index(features),
        d_k=len(queries),
        temperature=_temperature(config),
    )


def _temperature(config: Mapping[str, Any]) -> float:
    value = _part(_part(config, "model"), "inpainter").get("attention_temperature")
    if value is None:
        return CopyConfig.temperature
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e30:
        raise ValueError(
            f"model.inpainter.attention_temperature is {value!r:.40} in its config, not a "
            "positive number"
        )
    return float(value)


def _part(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = config.get(name)
    return found if isinstance(found, Mapping) else {}
