"""In a terminal: frames, a bar that fits, and text that is never read as markup."""

import sys

import pytest

from dupo.views.progress import Plan
from dupo.views.terminal import Display
from tests.helpers.streams import Stream, without_codes

HOSTILE = "[red]x[/red] [link=file:///]y :smile: \x1b[31m\x00\r \u202eabc 日本"
SHOWN = "[red]x[/red] [link=file:///]y :smile: \\x1b[31m\\x00\\r \\u202eabc 日本"


@pytest.mark.parametrize("terminal", [False, True])
def test_model_text_is_printed_as_it_is(terminal: bool) -> None:
    stream = Stream(terminal)
    display = Display(stream, width=200)
    display.startup(HOSTILE, [(HOSTILE, HOSTILE)])
    display.note(HOSTILE)
    display.table(HOSTILE, [HOSTILE], [[HOSTILE]])
    display.exchange(HOSTILE, [(HOSTILE, HOSTILE)], correct=False)
    out = stream.written()
    assert without_codes(out).count(SHOWN) == 10
    assert "\x00" not in out and "\u202e" not in out and "\x1b[31mab" not in out


@pytest.mark.parametrize("terminal", [False, True])
def test_an_encoding_that_lacks_a_letter_does_not_stop_a_run(terminal: bool) -> None:
    stream = Stream(terminal, encoding="ascii")
    display = Display(stream, width=60)
    display.exchange("日", [("問", "本\ud800")])
    display.table("日", ["本"], [["日"]])
    with display.progress(Plan(10)) as progress:
        progress.update(1, {"reward": 0.5, "eval/精度": 0.5})
    assert "\\u65e5" in stream.written()


def test_terminal_shows_frames_and_wraps_inside_them() -> None:
    stream = Stream(terminal=True)
    Display(stream, width=40).startup("dupo", [("task", "word " * 20)])
    shown = without_codes(stream.written()).splitlines()
    assert shown[0].startswith("╭─ dupo ─") and shown[-1].startswith("╰")
    assert {len(line) for line in shown} == {40}
    assert sum(line.count("word") for line in shown) == 20


def test_terminal_progress_ends_on_the_last_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(terminal=True)
    with Display(stream, width=120).progress(Plan(20, 10, "accuracy")) as progress:
        for step in range(11, 21):
            progress.update(
                step, {"reward": step / 100, "dual/reconstruct_rate": 0.25, "eval/accuracy": 0.75}
            )
    last = [line for line in without_codes(stream.written()).split("\n") if line.strip()][-1]
    assert last.startswith("20/20 ")
    assert "reward 0.200 · rebuilt 0.250 · accuracy 0.750 · " in last and last.rstrip().endswith("0:00 left")


def test_resumed_bar_starts_where_the_run_stopped() -> None:
    stream = Stream(terminal=True)
    with Display(stream, width=80).progress(Plan(20, 10)):
        pass
    assert "10/20 " in without_codes(stream.written())


def test_bar_stays_within_eighty_columns() -> None:
    stream = Stream(terminal=True)
    with Display(stream, width=80).progress(Plan(2000, 0, "accuracy")) as progress:
        progress.update(1500, {"reward": 0.5, "dual/reconstruct_rate": 0.25, "eval/accuracy": 0.75})
    last = [line for line in without_codes(stream.written()).split("\n") if line.strip()][-1]
    assert len(last) <= 80 and last.count("━") >= 5 and "left" in last and "…" not in last


def test_redirected_stderr_stays_apart_from_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    out, errors = Stream(terminal=True), Stream()
    monkeypatch.setattr(sys, "stderr", errors)
    display = Display(out, width=80)
    with display.progress(Plan(2)) as progress:
        display.warn("kept in the file")
        progress.update(1, {"reward": 0.5})
    assert errors.written() == "warning: kept in the file\n"
    assert "kept" not in out.written()


def test_interrupted_progress_gives_the_cursor_back() -> None:
    stream = Stream(terminal=True)
    with pytest.raises(KeyboardInterrupt), Display(stream, width=80).progress(Plan(2)):
        raise KeyboardInterrupt
    assert stream.written().rindex("\x1b[?25h") > stream.written().rindex("\x1b[?25l")
