"""Whether a text is read in time in proportion to its length: a limit in seconds fails on slow machines."""

import gc
import time
from collections.abc import Callable

SHORT, LONG = 1_000, 10_000  # characters
# Square time is a hundred times as much. A text of ten times the length may also meet a rule of its own.
MOST_TIMES, SPARE_SECONDS = 35, 0.1
TRIES = 3


def check_linear(read: Callable[[str], object], piece: str, before: str = "", behind: str = "") -> None:
    """Reads `piece` over and over, between two texts, at two lengths.

    A machine that is busy makes single measurements long: only what is slow every time is slow.

    Raises:
        AssertionError: the long text takes more time than its length explains.
    """
    cases = list[str]()
    for _ in range(TRIES):
        short, long = (
            _seconds(read, before + (piece * (size // len(piece) + 1))[:size] + behind)
            for size in (SHORT, LONG)
        )
        if long <= MOST_TIMES * short + SPARE_SECONDS:
            return
        cases.append(f"{short:.3f} s for {SHORT:,} characters, {long:.3f} s for {LONG:,}")
    raise AssertionError(f"{piece!r} behind {before!r}: {'; '.join(cases)}")


def _seconds(read: Callable[[str], object], text: str) -> float:
    """Processor time of one call. What other tests left behind is not collected within the call."""
    collects = gc.isenabled()
    gc.disable()
    start = time.process_time()
    try:
        read(text)
        return time.process_time() - start
    finally:
        if collects:
            gc.enable()
