"""Models and scenes for the graph's tests, made once."""

import pytest
from forms import FORMS

from rethined_export.models.rethined import Rethined, untrained


@pytest.fixture(scope="module")
def models() -> dict[str, Rethined]:
    """A narrow untrained model in every form."""
    return {name: untrained(config) for name, config in FORMS.items()}
