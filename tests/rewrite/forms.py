"""The forms of the model that graphs are tested in."""

from dataclasses import replace

from rethined_export.models.rethined import preset_config

_PAPER = preset_config("mobile", "paper")
FORMS = {
    "paper": _PAPER,
    "published": preset_config("mobile", "published"),
    # From a push–pull fill, and without the coherence layer.
    "filled": replace(_PAPER, start="push-pull", coherence=False),
}
