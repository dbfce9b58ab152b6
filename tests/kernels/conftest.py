"""Which cases of a large group are quick: the first, the last and every seventh. The next of each is slow."""

import os
from itertools import groupby

import pytest

# Seven has no divisor in common with most products of parameters: every value of each comes up.
LARGE, EVERY = 20, 7


@pytest.hookimpl(tryfirst=True)  # before -m leaves the slow ones out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the other cases as slow, and five of six among them as full."""
    # tests/kernels/test_interpreted.py chooses its own cases, and names some.
    if os.environ.get("TRITON_INTERPRET") == "1":
        return
    here = [item for item in items if item.path.is_relative_to(os.path.dirname(__file__))]
    for _, group in groupby(here, key=lambda item: item.nodeid.partition("[")[0]):
        cases = [item for item in group if item.get_closest_marker("slow") is None]
        for place, item in enumerate(cases):
            if len(cases) > LARGE and place % EVERY and item is not cases[-1]:
                item.add_marker(pytest.mark.slow)
                if place % EVERY > 1:
                    item.add_marker(pytest.mark.full)
