"""A process of our own: torch is imported without the garbage collector, and nothing is freed at the end."""

import atexit
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

_is_own = False


@contextmanager
def quick_imports() -> Iterator[None]:
    """Pauses the garbage collector: modules stay, and it would walk over all of them and free nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if _is_own:
            gc.freeze()
        if was_enabled:
            gc.enable()


def run_process(main: Callable[[], int]) -> NoReturn:
    """Runs a program in a process of its own, and ends the process with its exit code.

    Threads are waited for and exit handlers are run, as at every end of Python. Memory is left to the
    operating system: to free what torch and transformers hold takes Python more than a second.
    """
    global _is_own
    _is_own = True
    codes: list[int] = []
    # Exit handlers run in reverse order: those of the libraries, imported later, come before this one.
    atexit.register(_end, codes)
    try:
        codes.append(main())
    finally:
        if not codes:
            gc.unfreeze()  # Python frees all there is; libraries complain of what is left
    sys.exit(codes[0])


def _end(codes: list[int]) -> None:
    """Ends the process if its program has returned an exit code."""
    if not codes:
        return
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # a program may be started without them
                stream.flush()
    except (OSError, ValueError):
        gc.unfreeze()
        return  # Python meets the same fault at its end, and tells of it
    os._exit(codes[0])
