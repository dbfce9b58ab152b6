"""Calls that wait for a server, many at once, and their results in the thread that wants them."""

import queue
import time
from collections.abc import Callable, Sequence
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")
GRACE = 10.0  # seconds in which calls may still end after one has failed: their answers may have cost money


def run_all(
    calls: Sequence[Callable[[Event], T]],
    most_at_once: int,
    take: Callable[[int, T], None],
    is_given_up: Callable[[BaseException], bool],
) -> None:
    """Makes every call, some at once, and hands over each result as it comes.

    After the first call that raises, no other is started; those under way get `GRACE` seconds.

    Args:
        calls: each gets the event that is set once another call has failed.
        take: gets (number of the call, its result), in the thread of the caller.
        is_given_up: whether a call raised this only because the event was set.

    Raises:
        Exception: what the first call raised, or `take`.
    """
    waiting = iter(range(len(calls)))
    # Results come back into one thread, as a file has one writer.
    ended: queue.SimpleQueue[tuple[int, T | None, BaseException | None]] = queue.SimpleQueue()
    stop = Event()

    def work() -> None:
        while not stop.is_set():
            # One step of an iterator of range is made as a whole, whichever thread asks.
            number = next(waiting, None)
            if number is None:
                return
            # Whatever is raised is raised again in the thread of the caller.
            try:
                ended.put((number, calls[number](stop), None))
            except BaseException as problem:
                ended.put((number, None, problem))
                stop.set()

    # Daemons: Ctrl-C must not wait for a server that says nothing.
    threads = [Thread(target=work, daemon=True) for _ in range(min(most_at_once, len(calls)))]
    for thread in threads:
        thread.start()
    failure: BaseException | None = None
    num_open = len(calls)
    try:
        while num_open and failure is None:
            failure = _taken(ended.get(), take, is_given_up)
            num_open -= 1
    finally:
        # Also after Ctrl-C, and where a result could not be written: what has come is kept.
        stop.set()
        until = time.monotonic() + (GRACE if failure is not None else 0.0)
        while True:
            is_over = not any(thread.is_alive() for thread in threads) or time.monotonic() >= until
            try:
                _taken(ended.get(timeout=0.0 if is_over else 0.05), take, is_given_up)
            except queue.Empty:
                if is_over:
                    break
    if failure is not None:
        raise failure


def _taken(
    end: tuple[int, T | None, BaseException | None],
    take: Callable[[int, T], None],
    is_given_up: Callable[[BaseException], bool],
) -> BaseException | None:
    """Hands a result over; returns what its call raised."""
    number, outcome, problem = end
    if problem is None:
        take(number, outcome)  # type: ignore[arg-type]
    return None if problem is not None and is_given_up(problem) else problem
