"""The forms of the model that graphs are tested in.

Narrow ones, of every kind of layer: what surrounds the layers is as large as in any network, and
whole exports compare those people use.
"""

from dataclasses import replace

from rethined_export.models.rethined import RethinedConfig, Variant, preset_config


def narrow(variant: Variant) -> RethinedConfig:
    """The mobile preset with fewer and narrower layers."""
    return replace(
        preset_config("mobile", variant),
        widths=(16, 24, 32, 40, 48),
        blocks=(1, 1, 1, 2, 1),
        squeeze_excite=(0, 0, 0, 1, 1),
        decoder_widths=(16, 16, 8, 8),
        branches=2,
        d_k=16,
    )


_PAPER = narrow("paper")
FORMS = {
    "paper": _PAPER,
    "published": narrow("published"),
    # As shipped: from a push–pull fill, no coherence layer, scores that compare surroundings, and
    # copied details blended in.
    "shipped": replace(_PAPER, start="push-pull", coherence=False, surroundings=True, blended=True),
}
