"""Functions that a user names on the command line by a dotted path, package.module.function.

Modules are looked for where Python looks, and then in the current directory.
"""

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from dupo.errors import UserError


def load_function(option: str, path: str) -> Callable[..., Any]:
    """The function at `path`; the value of the option of that name.

    Raises:
        UserError: there is no such module or function, or importing it fails.
    """
    module, _, name = path.rpartition(".")
    if not module or not all(part.isidentifier() for part in path.split(".")):
        raise UserError(f"{option}: expected package.module.function, got {path!r}")
    here = os.getcwd()
    added = [] if here in sys.path else [here]
    sys.path.extend(added)
    try:
        importlib.invalidate_caches()
        found = getattr(importlib.import_module(module), name, None)
    except Exception as error:  # anything can go wrong in a module of the user's
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"{option}: expected a module to import, {module}, got {reason}") from error
    finally:
        for folder in added:
            sys.path.remove(folder)
    if not callable(found):
        got = "none of that name" if found is None else f"a {type(found).__name__}"
        raise UserError(f"{option}: expected a function {name} in {module}, got {got}")
    return found
