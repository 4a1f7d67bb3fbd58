"""Models and scenes for the graph's tests, made once."""

import pytest
from forms import FORMS

from rethined_export.models.rethined import Rethined, untrained


@pytest.fixture(scope="module")
def models() -> dict[str, Rethined]:
    """A narrow untrained model in every form."""
    made = {name: untrained(config) for name, config in FORMS.items()}
    # As sharp as the projections: the rounding of larger scores hides what is wrong with a mix.
    made["shipped"].generator.multihead_attention.closeness.fill_(30)
    return made
