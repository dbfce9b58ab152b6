"""A process of our own: torch is imported without the garbage collector, and nothing is freed at the end."""

import atexit
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

_is_own = _is_log = False


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


def output_is_a_log() -> None:
    """Says that the program prints a log from now on: lines that a full disk takes are no error."""
    global _is_log
    _is_log = True


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
    except SystemExit as end:  # of a help, which is flushed like all else
        if isinstance(end.code, str):
            raise
        codes.append(end.code or 0)
    finally:
        if not codes:
            gc.unfreeze()  # Python frees all there is; libraries complain of what is left
    sys.exit(codes[0])


def _end(codes: list[int]) -> None:
    """Ends the process if its program has returned an exit code."""
    if not codes:
        return
    for stream in (sys.stdout, sys.stderr):
        if stream is None:  # a program may be started without them
            continue
        try:
            stream.flush()
        except BrokenPipeError:
            pass  # nobody reads any more
        except (OSError, ValueError) as fault:
            # A program that failed has said why. Python itself would end with 120.
            if not codes[0] and not _is_log:
                codes[0] = 1
                with suppress(OSError, ValueError):
                    print(f"error: {fault}", file=sys.stderr)
    os._exit(codes[0])
