"""The only face of `dupo._C`, the C++ extension."""

import warnings
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


@cache
def core() -> ModuleType | None:
    """Returns the extension, or None where the extension is not built: the first call then warns.

    Callers write `extension.core()`, so that a test can put another function in this place.
    """
    # A look, not a try: an extension that is there and fails to load must not pass for a missing one.
    if find_spec("dupo._C") is not None:
        return import_module("dupo._C")
    warnings.warn(
        "dupo._C is not built: plain Python puts batches together, with the same results but slower. "
        "To build it, run `pip install -e .` in the repository where a C++17 compiler is installed.",
        stacklevel=2,
    )
    return None
