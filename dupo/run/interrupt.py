"""What asks a run to stop: Ctrl-C, SIGTERM (Slurm, Kubernetes, `timeout`), SIGHUP (a terminal that is gone).

Inside `graceful_interrupt` the first of them ends the run after the current step. Only Ctrl-C ends the run at
once when it comes again: schedulers and shells send their signals more than once, and mean no more by it.
Outside, while a program starts or ends, each of them raises KeyboardInterrupt.
"""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

# Windows knows no SIGHUP.
_POLITE = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
Handler = Callable[[int, Any], object] | int | signal.Handlers


@contextmanager
def graceful_interrupt(on_first: Callable[[], None]) -> Iterator[None]:
    """Calls `on_first` when the run is asked to stop for the first time; a second Ctrl-C raises
    KeyboardInterrupt. Elsewhere than in the main thread Python delivers no signals: nothing changes there."""
    is_asked = False

    def stop(number: int, _: object) -> None:
        nonlocal is_asked
        if not is_asked:
            is_asked = True
            on_first()
        elif number == signal.SIGINT:
            raise KeyboardInterrupt

    with _handlers(dict.fromkeys([signal.SIGINT, *_POLITE], stop)) as before:
        yield
    # A run that is ending already is not asked again: SIGHUP comes from the shell and from the terminal.
    if is_asked:
        for number in _POLITE:
            if callable(before.get(number)):
                signal.signal(number, signal.SIG_IGN)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP raise KeyboardInterrupt, once, as Ctrl-C does.

    Whatever else is raised after a signal counts as KeyboardInterrupt too: an import that is stopped in the
    middle may turn it into an error of its own.
    """
    is_asked = False

    def stop(*_: object) -> None:
        nonlocal is_asked
        is_first, is_asked = not is_asked, True
        if is_first:
            raise KeyboardInterrupt

    def stop_at_once(*_: object) -> None:
        nonlocal is_asked
        is_asked = True
        raise KeyboardInterrupt

    with _handlers({signal.SIGINT: stop_at_once} | dict.fromkeys(_POLITE, stop)):
        try:
            yield
        except Exception as problem:
            if is_asked:
                raise KeyboardInterrupt from problem
            raise


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Sets the handlers of now again at its end: a call from Python leaves none of its own."""
    numbers = [signal.SIGINT, *_POLITE]
    # None: a handler that was not set from Python, and cannot be set again.
    with _handlers({n: handler for n in numbers if (handler := signal.getsignal(n)) is not None}):
        yield


@contextmanager
def _handlers(handlers: Mapping[Any, Handler]) -> Iterator[dict[int, Any]]:
    """Sets handlers of signals, gives those that were there before, and sets them again at the end."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            # Under nohup SIGHUP is ignored, and whoever started the program so wants it to go on.
            is_ignored = signal.getsignal(number) == signal.SIG_IGN
            if number == signal.SIGINT or not is_ignored:
                before[number] = signal.signal(number, handler)
    try:
        yield before
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
