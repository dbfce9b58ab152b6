"""Parameters of a test, of which few are tried in the quick tests and all in the slow ones."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def with_slow(values: Iterable[Any], quick: Collection[Any]) -> list[Any]:
    """Marks as slow whatever is not named as quick."""
    values = list(values)
    # A quick value that was renamed would leave the quick tests without a sound.
    assert all(value in values for value in quick), f"{quick} of {values}"
    return [value if value in quick else pytest.param(value, marks=pytest.mark.slow) for value in values]
