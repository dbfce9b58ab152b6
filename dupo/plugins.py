"""Functions that a user names by a dotted path, package.module.function, or hands over from Python.

`load_function` imports one, `function_fingerprint` tells whether it is what it was, `call_function` calls it,
`read_numbers` reads what it returned, and `within` ends it where it takes too long. Whatever goes wrong in
code of the user is one line that names the function, the error and the line of the user.

Modules are looked for where Python looks, and then in the current directory.
"""

import asyncio
import hashlib
import importlib
import inspect
import math
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from pathlib import Path
from typing import Any

from dupo.errors import UserError, cut, in_one_line, quoted

# Which nobody uses: libraries of mathematics set SIGALRM.
TIMER, SIGNAL = signal.ITIMER_VIRTUAL, signal.SIGVTALRM
AGAIN_SECONDS = 1.0  # after which a function that swallowed its end is told again
GIVEN_FUNCTION = "dupo.given."  # opens the name of a function that came as an object, from Python
_given_functions: ContextVar[Mapping[str, Callable[..., Any]]] = ContextVar("given_functions")


def without_given(text: str) -> str:
    """Names of functions as a person knows them: what came as an object has no module to show."""
    return text.replace(GIVEN_FUNCTION, "")


def give_functions(functions: Mapping[str, Callable[..., Any]]) -> None:
    """Lets `load_function` find functions by names that open with `GIVEN_FUNCTION`, in this context alone."""
    _given_functions.set(functions)


def load_function(option: str, path: str) -> Callable[..., Any]:
    """Imports the function at `path`.

    Args:
        option: the option that names the function, for the message.
        path: package.module.function.

    Raises:
        UserError: there is no such module or function, or importing the module fails.
    """
    if path.startswith(GIVEN_FUNCTION):
        name = path.removeprefix(GIVEN_FUNCTION)
        functions = _given_functions.get({})
        if path not in functions:
            again = f"dupo.api.train({option}=..., ...), or whichever function of dupo.api started the run"
            raise UserError(f"{option}: expected the function {name} again, which came from Python: {again}")
        return functions[path]
    module, _, name = path.rpartition(".")
    if not module or not all(word.isidentifier() for word in path.split(".")):
        raise UserError(f"{option}: expected package.module.function, got {quoted(path)}")
    with _current_directory_importable():
        try:
            # The module may be younger than what Python remembers of its folder.
            importlib.invalidate_caches()
            function = getattr(importlib.import_module(module), name, None)
        # Anything can go wrong in a module of the user. One that calls sys.exit must not end the program,
        # with exit code 0 perhaps; Ctrl-C must.
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            what = f"{option}: expected a module to import, {cut(module)}"
            raise UserError(f"{what}, got {in_one_line(error, kind=True)}") from error
    if not callable(function):
        actual = "none of that name" if function is None else f"a {type(function).__name__}"
        raise UserError(f"{option}: expected a function {cut(name)} in {module}, got {actual}")
    return function


def function_fingerprint(option: str, path: str) -> str:
    """The sha256 of the source of a function of the user, in hex digits.

    The whole file of the function is read, with its helpers; of a function that came as an object, the
    function alone, as a notebook or a script has much else in it. What a closure holds is not looked at.

    Args:
        option: as in `load_function`.
        path: as in `load_function`.
    """
    function = load_function(option, path)
    # An object that can be called has its source in its class.
    code = function if inspect.isroutine(function) or inspect.isclass(function) else type(function)
    try:
        if path.startswith(GIVEN_FUNCTION):
            source = inspect.getsource(code)
        else:
            source = Path(inspect.getsourcefile(code) or "").read_text(encoding="utf-8")
    except (OSError, TypeError, ValueError):  # typed into an interpreter, or compiled from C
        compiled = getattr(function, "__code__", None)
        source = repr((compiled.co_code, compiled.co_consts) if compiled else type(function))
    return hashlib.sha256(source.encode(errors="backslashreplace")).hexdigest()


def call_function(name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Calls a function of the user, and waits for an asynchronous one.

    Args:
        name: of the function, for the message.

    Raises:
        UserError: the function fails, or ends the program.
    """
    try:
        returned = function(*args, **kwargs)
        return _waited_for(returned) if inspect.isawaitable(returned) else returned
    except (KeyboardInterrupt, UserError, OutOfTime):  # a UserError is of ours that the function called
        raise
    except BaseException as error:  # SystemExit and CancelledError of asyncio are no Exception
        # The last line of the user's own file says more than the line of a library that this line called.
        own = getattr(getattr(function, "__code__", None), "co_filename", None)
        raise UserError(f"{name} failed: {in_one_line(error, kind=True)}{_place(error, own)}") from error


def _waited_for(awaitable: Awaitable[Any]) -> Any:
    async def wait() -> Any:
        return await awaitable

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(wait())
    # A notebook has a loop in this thread, and a thread can have one loop alone.
    threads = ThreadPoolExecutor(max_workers=1)
    try:
        return threads.submit(asyncio.run, wait()).result()
    finally:
        # A thread that hangs is not waited for: nothing but its end could stop it.
        threads.shutdown(wait=False)


class OutOfTime(BaseException):
    """The time of a function of the user is over. No Exception: code of the user would swallow one."""


@contextmanager
def within(name: str, seconds: float | None, option: str) -> Iterator[None]:
    """Ends the block where it takes longer than `seconds` by the clock.

    A function that loops, sleeps, searches with a regular expression or waits for a network is ended. One
    that does not come back from compiled code is not, nor is one elsewhere than in the main thread, where
    Python delivers no signals.

    Args:
        name: of the function, for the message.
        seconds: None: no limit.
        option: that sets the limit, for the message.

    Raises:
        UserError: the block takes longer.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    is_over, main = threading.Event(), threading.get_ident()
    deadline = time.monotonic() + seconds

    def end(*_: object) -> None:
        # A signal that was sent before the block ended may come after. The timer counts time of processors,
        # of which several pass at once.
        if not is_over.is_set() and time.monotonic() >= deadline:
            raise OutOfTime

    def watch() -> None:
        wait = seconds
        while not is_over.wait(wait):
            # Sent to the thread: a sleep or a wait for a network ends with the signal.
            signal.pthread_kill(main, SIGNAL)
            wait = AGAIN_SECONDS

    watcher = threading.Thread(target=watch, name=f"time limit of {name}", daemon=True)
    before = signal.signal(SIGNAL, end)
    # A regular expression lets no other thread run, the watcher neither; it does look for signals.
    signal.setitimer(TIMER, seconds, AGAIN_SECONDS)
    watcher.start()
    try:
        try:
            yield
        finally:
            is_over.set()
    except OutOfTime as error:
        expected = f"expected an answer within {seconds:g} s (--{option})"
        raise UserError(f"{name}: {expected}, got none{_place(error, None)}") from error
    finally:
        is_over.set()  # again: the end may have come at the line above
        signal.setitimer(TIMER, 0)
        watcher.join()
        signal.signal(SIGNAL, before)


def read_numbers(
    name: str, values: object, count: int, noun: str, *, low: float, high: float, or_none: bool = False
) -> list[float | None]:
    """Reads the numbers that a function of the user returned: floats, truth values, NumPy or torch scalars.

    Args:
        name: of the function, for the message.
        values: what the function returned.
        count: how many numbers there must be.
        noun: what a number is for, for the message: "completion".
        low: the least number.
        high: the largest number.
        or_none: None may stand in the place of a number.

    Raises:
        UserError: another count, or something that is no number between `low` and `high`.
    """
    kinds = f"numbers from {low:g} to {high:g}"
    if or_none:
        kinds += " or None"
    what = f"{name}: expected {count} {kinds}, one a {noun}"
    # The characters of a text and the keys of a mapping would be read as numbers, the wrong ones.
    if not isinstance(values, Iterable) or isinstance(values, str | bytes | Mapping | set | frozenset):
        raise UserError(f"{what}, got {quoted(values)}")
    # A generator may have no end, and may fail like any code of the user.
    items = call_function(name, lambda: list(islice(values, count + 1)))
    if len(items) != count:
        raise UserError(f"{what}, got {'more' if len(items) > count else len(items)}")
    return [
        None if item is None and or_none else read_number(item, f"{what}, number {place} is", low, high)
        for place, item in enumerate(items, start=1)
    ]


def read_number(item: Any, message: str, low: float, high: float) -> float:
    """Reads one number from `low` to `high`.

    Raises:
        UserError: something else; the message is `message` and the item.
    """
    try:
        # float() would read a text as well: "1e5" is more likely a mistake than a number.
        value = math.nan if isinstance(item, str | bytes) else float(item)
    except Exception:  # of an object of the user
        value = math.nan
    if not low <= value <= high:  # also refuses NaN
        raise UserError(f"{message} {quoted(item)}")
    return value


def _place(error: BaseException, own_file: str | None) -> str:
    """Where the user's code failed; empty where a function without source was called."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    of_user = [frame for frame in frames if frame.filename == own_file] or frames
    return f" ({of_user[-1].filename}, line {of_user[-1].lineno})" if of_user else ""


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
