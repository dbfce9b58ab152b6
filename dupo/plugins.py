"""Functions that a user names on the command line by a dotted path, package.module.function.

Modules are looked for where Python looks, and then in the current directory.
"""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dupo.errors import UserError


def load_function(option: str, path: str) -> Callable[..., Any]:
    """Imports the function at `path`.

    Args:
        option: the option that names the function, for the message.
        path: package.module.function.

    Raises:
        UserError: there is no such module or function, or importing the module fails.
    """
    module, _, name = path.rpartition(".")
    if not module or not all(word.isidentifier() for word in path.split(".")):
        raise UserError(f"{option}: expected package.module.function, got {path!r}")
    with _current_directory_importable():
        try:
            # The module may be younger than what Python remembers of its folder.
            importlib.invalidate_caches()
            function = getattr(importlib.import_module(module), name, None)
        except Exception as error:  # anything can go wrong in a module of the user
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UserError(f"{option}: expected a module to import, {module}, got {reason}") from error
    if not callable(function):
        actual = "none of that name" if function is None else f"a {type(function).__name__}"
        raise UserError(f"{option}: expected a function {name} in {module}, got {actual}")
    return function


@contextmanager
def _current_directory_importable() -> Iterator[None]:
    """Puts the current directory at the end of the path, as an installed program does not have it there."""
    folder = os.getcwd()
    is_new = folder not in sys.path
    if is_new:
        sys.path.append(folder)
    try:
        yield
    finally:
        if is_new:
            sys.path.remove(folder)
