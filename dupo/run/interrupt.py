"""Ctrl-C: the first ends the run after the current step, the second at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def graceful_interrupt(on_first: Callable[[], None]) -> Iterator[None]:
    """Calls `on_first` on the first Ctrl-C; the second raises KeyboardInterrupt. Elsewhere than in the main
    thread Python delivers no signals, so nothing changes there."""

    def stop(*_: object) -> None:
        on_first()
        # The second Ctrl-C finds Python's own handler.
        signal.signal(signal.SIGINT, signal.default_int_handler)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
