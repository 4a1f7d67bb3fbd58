"""The forms of the model that graphs are tested in."""

from dataclasses import replace

from rethined_export.models.rethined import preset_config
from rethined_export.models.rethined.attention import POSITION

_PAPER = preset_config("mobile", "paper")
FORMS = {
    "paper": _PAPER,
    "published": preset_config("mobile", "published"),
    # As shipped: from a push–pull fill, no coherence layer, tokens that know their place.
    "shipped": replace(_PAPER, start="push-pull", coherence=False, position=POSITION),
}
