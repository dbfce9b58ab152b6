"""Calls that wait for a server, many at once, and their results in the thread that wants them."""

import queue
import time
from collections.abc import Callable, Iterator, Sequence
from threading import Event, Thread
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
Call = Callable[[Event], T]
GRACE = 10.0  # seconds in which calls may still end after one has failed: their answers may have cost money


class _End(NamedTuple, Generic[T]):
    """How a call ended: with an outcome, or with what it raised."""

    number: int
    outcome: T | None
    problem: BaseException | None


def nothing_follows(number: int) -> Sequence[Call[T]]:
    """What follows from calls that stand for themselves."""
    return ()


def run_all(
    calls: Sequence[Call[T]],
    most_at_once: int,
    take: Callable[[int, T], None],
    is_given_up: Callable[[BaseException], bool],
    follow: Callable[[int], Sequence[Call[T]]] = nothing_follows,
) -> None:
    """Makes every call, some at once, and hands over each result as it comes.

    After the first call that raises, no other is started; those under way get `GRACE` seconds.

    Args:
        calls: each gets the event that is set once another call has failed.
        take: gets (number of the call, its result), in the thread of the caller.
        is_given_up: whether a call raised this only because the event was set.
        follow: further calls, from the number of a call whose result was taken. They are made after all
            calls that wait, and have the next numbers. Asked in the thread of the caller.

    Raises:
        Exception: what the first call raised, or `take`, or `follow`.
    """
    waiting: queue.SimpleQueue[tuple[int, Call[T]] | None] = queue.SimpleQueue()
    # Results come back into one thread, as a file has one writer.
    ended: queue.SimpleQueue[_End[T]] = queue.SimpleQueue()
    stop = Event()
    # Daemons: Ctrl-C must not wait for a server that says nothing.
    threads: list[Thread] = []
    num_calls = num_open = 0

    def add(more: Sequence[Call[T]]) -> None:
        nonlocal num_calls, num_open
        for call in more:
            # At the end: what follows takes the place that the last calls leave.
            waiting.put((num_calls, call))
            num_calls, num_open = num_calls + 1, num_open + 1
            # No thread for a call that another one could make.
            if len(threads) < min(most_at_once, num_open):
                threads.append(Thread(target=_work, args=(waiting, ended, stop), daemon=True))
                threads[-1].start()

    failure: BaseException | None = None
    try:
        add(calls)
        while num_open and failure is None:
            end = ended.get()
            failure = _taken(end, take, is_given_up)
            num_open -= 1
            if failure is None and end.problem is None:
                add(follow(end.number))
    finally:
        stop.set()
        # A thread that waits for a call learns by this that there will be none.
        for _ in threads:
            waiting.put(None)
        # Also after Ctrl-C, and where a result could not be written: what has come is kept.
        until = time.monotonic() + (GRACE if failure is not None else 0.0)
        for end in _last_ends(ended, threads, until):
            _taken(end, take, is_given_up)
    if failure is not None:
        raise failure


def _last_ends(
    ended: queue.SimpleQueue[_End[T]], threads: Sequence[Thread], until: float
) -> Iterator[_End[T]]:
    """What has ended, and what still ends until all threads have, or until a time of the clock."""
    while True:
        is_over = not any(thread.is_alive() for thread in threads) or time.monotonic() >= until
        try:
            yield ended.get(timeout=0.0 if is_over else 0.05)
        except queue.Empty:
            if is_over:
                return


def _work(
    waiting: queue.SimpleQueue[tuple[int, Call[T]] | None], ended: queue.SimpleQueue[_End[T]], stop: Event
) -> None:
    """Makes one call after another until it is told to stop."""
    while (turn := waiting.get()) is not None and not stop.is_set():
        number, call = turn
        # Whatever is raised is raised again in the thread of the caller.
        try:
            ended.put(_End(number, call(stop), None))
        except BaseException as problem:
            ended.put(_End(number, None, problem))
            stop.set()


def _taken(
    end: _End[T],
    take: Callable[[int, T], None],
    is_given_up: Callable[[BaseException], bool],
) -> BaseException | None:
    """Hands a result over; returns what its call raised."""
    problem = end.problem
    if problem is None:
        take(end.number, end.outcome)  # type: ignore[arg-type]
    return None if problem is not None and is_given_up(problem) else problem
