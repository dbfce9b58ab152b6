"""Without a terminal: plain lines, no control code, and one line each for errors and warnings."""

import re

import pytest

from dupo.views.exchange import exchange_of
from dupo.views.plain import error
from dupo.views.progress import Plan, StepProgress
from dupo.views.terminal import Display
from tests.helpers.streams import SAMPLE, Clock, Stream


def test_error_is_one_unwrapped_line_without_colour(capfd: pytest.CaptureFixture[str]) -> None:
    error("word " * 100 + "[red]\x1b[31m\nend")
    assert capfd.readouterr() == ("", "error: " + "word " * 100 + "[red]\\x1b[31m\\nend\n")


def test_warnings_go_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    Display(Stream()).warn("12 prompts\nwere cut")
    assert capfd.readouterr() == ("", "warning: 12 prompts\\nwere cut\n")


def test_plain_output_in_full() -> None:
    clock = Clock()
    stream = Stream()
    display = Display(stream, clock=clock)
    display.startup(
        "dupo: arithmetic", [("task", "arithmetic"), ("warm-up", "a long line " * 12 + "\nand another")]
    )
    display.note("ready")
    with display.progress(Plan(25, 0, "accuracy")) as progress:
        for step in range(1, 26):
            clock.now += 0.5
            evaluated = {"eval/accuracy": 0.6, "eval/other": 0.9} if step == 12 else {}
            progress.update(step, {"reward": step / 100, "dual/reconstruct_rate": 0.25, **evaluated})
    display.table("Held out", ["", "before", "after"], [["accuracy", "51.0%", "93.8%"], ["AUC", "0.9", ""]])
    display.exchange(*exchange_of(SAMPLE), True)
    assert stream.written().split("\n") == [
        "",
        "dupo: arithmetic",
        "  task     arithmetic",
        "  warm-up  " + "a long line " * 12,
        "           and another",
        "ready",
        "step 1/25  reward 0.010  rebuilt 0.250  2.0 steps/s  0:12 left",
        "step 10/25  reward 0.100  rebuilt 0.250  2.0 steps/s  0:08 left",
        "step 12/25  reward 0.120  rebuilt 0.250  accuracy 0.600  2.0 steps/s  0:06 left",
        "step 20/25  reward 0.200  rebuilt 0.250  accuracy 0.600  2.0 steps/s  0:02 left",
        "step 25/25  reward 0.250  rebuilt 0.250  accuracy 0.600  2.0 steps/s  0:00 left",
        "",
        "Held out",
        "            before  after",
        "  accuracy   51.0%  93.8%",
        "  AUC          0.9       ",
        "",
        "step 7 · train.jsonl:17 · right",
        "  problem     17 + 25 =",
        "  completion  the sum is 42",
        "  answer      42 (right)",
        "  dual        A + 25 = 42, A?",
        "  came back   A = 71",
        "  was hidden  17 (distance 1.000)",
        "  reward      0.500",
        "",
    ]


def test_a_speed_near_one_step_a_second_keeps_its_unit() -> None:
    clock, pace = Clock(), list[str]()
    show = lambda status: pace.extend(status.pace[:1])  # noqa: E731
    progress = StepProgress(Plan(1000), clock=clock, show=show)
    for step, seconds in enumerate([1.1, 0.5, 0.1, 0.1, 3.0, 20.0], 1):
        clock.now += seconds
        progress.update(step, {})
    assert pace == ["1.1 s/step", "0.8 s/step", "0.6 s/step", "2.2 steps/s", "1.0 steps/s", "4.1 s/step"]


def test_slow_steps_are_reported_every_half_minute() -> None:
    clock = Clock()
    stream = Stream()
    with Display(stream, clock=clock).progress(Plan(100_000, 40)) as progress:
        for step in range(41, 46):
            clock.now += 20
            progress.update(step, {"reward": 0.5})
    shown = stream.written().splitlines()
    assert [line.split()[1] for line in shown] == ["41/100000", "43/100000", "45/100000"]
    assert shown[0].endswith("20.0 s/step  555:19:40 left")


def test_missing_metrics_are_left_out_and_the_first_evaluation_is_found() -> None:
    stream = Stream()
    # A clock that stands still: no rate can be told.
    with Display(stream, clock=Clock()).progress(Plan(3)) as progress:
        progress.update(1, {"loss": 1.0, "eval/bleu": 31.25})
    assert stream.written() == "step 1/3  bleu 31.250\n"


@pytest.mark.parametrize("term", ["dumb", "xterm-256color"])
def test_no_control_code_reaches_a_pipe_or_a_dumb_terminal(
    term: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = Stream(terminal=term == "dumb")
    display = Display(stream)
    display.startup("t", [("a", "b")])
    with display.progress(Plan(2)) as progress:
        progress.update(1, {"reward": 0.5})
    display.table("t", ["a"], [["b"]])
    display.exchange(*exchange_of(SAMPLE), True)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", stream.written())
