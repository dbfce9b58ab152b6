"""How far long work is, told from where it is done to whoever shows it.

An engine, or a reader of weights, knows how much is done and knows no display; a run has a display and does
not see into the engine. So the one tells and the other listens. Without a listener a word goes nowhere.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Item = TypeVar("Item")
MOST_WORDS = 200  # of one walk over many items: more of them would cost time and show nothing

# (what is counted, how many are done, how many there are)
Listener = Callable[[str, int, int], None]
# Of a context and not of the process: two runs in two threads do not hear each other.
_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


def tell_progress(unit: str, done: int, total: int) -> None:
    """Tells the listener, if there is one.

    Args:
        unit: what is counted, in the plural: "samples".
    """
    if (listener := _LISTENER.get()) is not None:
        listener(unit, done, total)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Hears what the block tells; an inner block has its own listener."""
    before = _LISTENER.get()
    _LISTENER.set(listener)
    try:
        yield
    finally:
        # Not by a token: a notebook may end the block in another context than it began in.
        _LISTENER.set(before)


@contextmanager
def also_listening(listener: Listener) -> Iterator[None]:
    """Hears what the block tells; whoever listens already hears it as well."""
    outer = _LISTENER.get()

    def both(unit: str, done: int, total: int) -> None:
        listener(unit, done, total)
        if outer is not None:
            outer(unit, done, total)

    with listening(both):
        yield


@contextmanager
def counted_as(unit: str) -> Iterator[None]:
    """Gives what the block counts another name: an engine does not know what it samples for.

    Args:
        unit: as in `tell_progress`.
    """
    listener = _LISTENER.get()
    if listener is None:
        yield
        return
    with listening(lambda _, done, total: listener(unit, done, total)):
        yield


def telling(unit: str, items: Collection[Item]) -> Iterator[Item]:
    """The items one by one, and tells how many there were.

    Args:
        unit: as in `tell_progress`.
    """
    total = len(items)
    every = max(1, total // MOST_WORDS)
    for number, item in enumerate(items):
        if number % every == 0:
            tell_progress(unit, number, total)
        yield item
