"""Models and scenes for the graph's tests, made once."""

import pytest

from rethined_export.models.rethined import VARIANTS, Rethined, preset_config, untrained


@pytest.fixture(scope="module")
def models() -> dict[str, Rethined]:
    """The untrained mobile model in both variants."""
    return {variant: untrained(preset_config("mobile", variant)) for variant in VARIANTS}
