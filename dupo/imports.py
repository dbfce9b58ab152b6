"""Imports of torch and transformers without the garbage collector, which takes a third of their seconds."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_own_process = False


@contextmanager
def quick_imports() -> Iterator[None]:
    """Pauses the garbage collector: modules stay, and it would walk over all of them and free nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if _own_process:
            gc.freeze()
        if was_enabled:
            gc.enable()


@contextmanager
def modules_set_aside() -> Iterator[None]:
    """In a process of our own, the garbage collector never walks over what `quick_imports` made."""
    global _own_process
    _own_process = True
    try:
        yield
    finally:
        _own_process = False
        # At the end of a process all that is left is freed; libraries complain of what is not.
        gc.unfreeze()
