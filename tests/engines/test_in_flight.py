"""Many calls at once: each is made once, and what has come is handed over whatever ends the work."""

import threading
import time
from collections import Counter
from threading import Event

import pytest

from dupo.engines import in_flight
from dupo.engines.in_flight import run_all


class GivenUp(Exception):
    """What a call raises once another one has failed."""


def is_given_up(problem: BaseException) -> bool:
    return isinstance(problem, GivenUp)


def test_every_call_is_made_once_and_no_more_at_once_than_allowed() -> None:
    made, now, most, lock = Counter[int](), [0], [0], threading.Lock()

    def call(number: int, stop: Event) -> int:
        with lock:
            made[number] += 1
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.002)
        with lock:
            now[0] -= 1
        return number * number

    outcomes: dict[int, int] = {}
    calls = [lambda stop, number=number: call(number, stop) for number in range(200)]
    run_all(calls, 16, outcomes.__setitem__, is_given_up)
    assert outcomes == {number: number**2 for number in range(200)} and set(made.values()) == {1}
    assert 8 < most[0] <= 16


def test_nothing_to_do() -> None:
    run_all([], 4, lambda number, outcome: None, is_given_up)


def test_after_a_failure_nothing_is_started_and_what_comes_is_taken() -> None:
    started, taken, all_four = [], dict[int, int](), threading.Barrier(4)

    def call(number: int, stop: Event) -> int:
        started.append(number)
        all_four.wait(5)
        if number == 1:
            raise ValueError("first")
        # The other calls of the first four end after the failure: one with a result, one gives up.
        stop.wait(5)
        if number == 2:
            raise GivenUp
        return number

    calls = [lambda stop, number=number: call(number, stop) for number in range(50)]
    with pytest.raises(ValueError, match="first"):
        run_all(calls, 4, taken.__setitem__, is_given_up)
    assert taken == {0: 0, 3: 3} and len(started) == 4


def test_calls_that_do_not_end_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_flight, "GRACE", 0.2)

    def call(number: int, stop: Event) -> int:
        if number == 0:
            raise ValueError("first")
        time.sleep(3)
        return number

    started = time.monotonic()
    calls = [lambda stop, number=number: call(number, stop) for number in range(4)]
    with pytest.raises(ValueError, match="first"):
        run_all(calls, 4, lambda number, outcome: None, is_given_up)
    assert time.monotonic() - started < 2


def test_ctrl_c_takes_what_has_come() -> None:
    """The signal comes while the first result is handed over; the others have ended by then."""
    taken = dict[int, int]()

    def take(number: int, outcome: int) -> None:
        taken[number] = outcome
        if len(taken) == 1:
            time.sleep(0.2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_all([lambda stop: 7] * 6, 6, take, is_given_up)
    assert len(taken) == 6
