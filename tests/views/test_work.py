"""Work that tells how far it is: what a terminal and a log show of it, and who hears whom."""

import threading
import time

from dupo.progress import listening, tell_progress
from dupo.views.progress import Plan
from dupo.views.terminal import Display
from tests.helpers.streams import Clock, Stream, without_codes


def tell_for(clock: Clock, seconds: float, unit: str, total: int) -> None:
    """Tells of `total` things that take so many seconds together."""
    for done in range(1, total + 1):
        clock.now += seconds / total
        tell_progress(unit, done, total)


def test_a_log_gets_a_line_every_half_minute_and_none_of_short_work() -> None:
    stream, clock = Stream(), Clock()
    display = Display(stream, clock=clock)
    with display.work("held-out evaluation"):
        tell_for(clock, 20, "samples", 2000)
    assert stream.written() == ""
    with display.work("held-out evaluation"):
        tell_for(clock, 100, "samples", 2000)
    assert stream.written().splitlines() == [
        "held-out evaluation: 602/2,000 samples, 1:10 left",
        "held-out evaluation: 1,203/2,000 samples, 0:40 left",
        "held-out evaluation: 1,804/2,000 samples, 0:10 left",
    ]


def test_a_part_that_follows_another_has_its_own_count_and_rate() -> None:
    stream, clock = Stream(), Clock()
    with Display(stream, clock=clock).work("reward"):
        tell_for(clock, 20, "samples", 100)
        tell_for(clock, 40, "samples", 100)  # the same number again: answers, then duals
    # 30 s after the first word of the second part, that part alone is at 76 of 100.
    assert stream.written() == "reward: 76/100 samples, 0:10 left\n"


def test_steps_that_take_minutes_say_what_they_do() -> None:
    stream, clock = Stream(), Clock()
    with Display(stream, clock=clock).progress(Plan(3)) as progress:
        tell_for(clock, 62, "samples", 512)
        clock.now += 1
        progress.update(1, {"reward": 0.5})
    shown = stream.written().splitlines()
    assert [line.partition(":")[0] for line in shown] == [
        "sampling",
        "sampling",
        "step 1/3  reward 0.500  63.0 s/step  2",
    ]


def test_a_bound_is_said_to_be_one() -> None:
    stream, clock = Stream(), Clock()
    plan = Plan(3000, 100, title="teaching", is_most=True, line_every=100)
    with Display(stream, clock=clock).progress(plan) as progress:
        for step in range(101, 301):
            clock.now += 0.1
            progress.update(step, {}, "41 of 500 answers right, goal 225" if step == 125 else None)
    assert stream.written().splitlines() == [
        "teaching step 101/3000  10.0 steps/s  at most 4:50 left",
        "teaching step 200/3000  41 of 500 answers right, goal 225  10.0 steps/s  at most 4:40 left",
        "teaching step 300/3000  41 of 500 answers right, goal 225  10.0 steps/s  at most 4:30 left",
    ]


def test_a_terminal_has_a_bar_that_leaves_nothing_behind() -> None:
    stream, clock = Stream(terminal=True), Clock()
    display = Display(stream, width=80, clock=clock)
    with display.work("held-out evaluation"):
        tell_for(clock, 10, "samples", 50)
    shown = stream.written()
    assert "held-out evaluation" in without_codes(shown)
    assert shown.endswith("\r\x1b[2K\x1b[?25h\r"), "the line of the bar is not erased"
    display.note("done")
    assert without_codes(stream.written()).endswith("done\n")


def test_a_second_bar_stands_below_the_first_only_for_what_takes_long() -> None:
    stream, clock = Stream(terminal=True), Clock()
    display = Display(stream, width=80, clock=clock)
    with display.progress(Plan(3)) as progress:
        with display.work("held-out evaluation"):
            tell_for(clock, 1, "samples", 50)
        progress.update(1, {})
        assert "held-out" not in without_codes(stream.written())
        with display.work("held-out evaluation"):
            tell_for(clock, 10, "samples", 50)
            clock.now += 1
            tell_progress("samples", 20, 51)
            clock.now += 10
            tell_progress("samples", 30, 51)
            time.sleep(0.4)  # the bars are drawn four times a second
    assert "held-out evaluation" in without_codes(stream.written())
    assert "30/51 samples" in without_codes(stream.written())


def test_an_inner_block_is_heard_by_its_own_listener_and_a_thread_by_none() -> None:
    outer, inner = list[int](), list[int]()
    tell_progress("samples", 0, 9)  # nobody listens
    with listening(lambda unit, done, total: outer.append(done)):
        tell_progress("samples", 1, 9)
        with listening(lambda unit, done, total: inner.append(done)):
            tell_progress("samples", 2, 9)
        tell_progress("samples", 3, 9)
        thread = threading.Thread(target=tell_progress, args=("samples", 4, 9))
        thread.start()
        thread.join()
    tell_progress("samples", 5, 9)
    assert (outer, inner) == ([1, 3], [2])
