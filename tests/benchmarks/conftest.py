"""Fixtures of what only some machines have."""

import os

import pytest

from rethined_export.benchmarks.browser.chromium import executable


@pytest.fixture(scope="session")
def browser_here() -> str:
    """Chromium is installed; CI must have it."""
    found = executable()
    if found is None and not os.environ.get("CI"):
        pytest.skip("Chromium is not installed")
    assert found is not None, "Chromium is not installed"
    return found
