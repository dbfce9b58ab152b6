import io
import re
import sys
from typing import Any

import pytest

from dupo.views.terminal import Display, error, exchange_of, shortened, visible

HOSTILE = "[red]x[/red] [link=file:///]y :smile: \x1b[31m\x00\r \u202eabc 日本"
SHOWN = "[red]x[/red] [link=file:///]y :smile: \\x1b[31m\\x00\\r \\u202eabc 日本"


class Stream(io.TextIOWrapper):
    """A text stream over memory, in any encoding, that may claim to be a terminal."""

    def __init__(self, terminal: bool = False, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding, newline="")
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def written(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)  # type: ignore[attr-defined]


def without_codes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).replace("\r", "\n")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


class Clock:
    """Stands in for time.monotonic; the test moves it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("dupo.views.terminal.time.monotonic", lambda: self.now)


SAMPLE: dict[str, Any] = {
    "step": 7,
    "problem": "train.jsonl:17",
    "prompt": "17 + 25 =",
    "completion": "the sum is 42",
    "answer": "42",
    "reward": 0.5,
    "correct": True,
    "duals": [{"prompt": "A + 25 = 42, A?", "completion": "A = 71", "unknown": "17", "distance": 1.0}],
}


# --- text ---


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 日本 مرحبا 👩‍🔬", "plain ü 日本 مرحبا 👩‍🔬"),
        ("two\nlines", "two\nlines"),
        ("\x00\x07\x1b[2J\t\r\x7f\x9b", "\\x00\\x07\\x1b[2J\\t\\r\\x7f\\x9b"),
        ("\u202e\u2066\u200b\ufeff\U000e0041", "\\u202e\\u2066\\u200b\\ufeff\\U000e0041"),
        ("\u2028\u2029\ud800\uffff", "\\u2028\\u2029\\ud800\\uffff"),
    ],
    ids=["ordinary", "break", "control", "format", "separators"],
)
def test_what_cannot_be_seen_is_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_shortened_says_how_much_is_missing() -> None:
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdef", 4) == "abcd ... (2 more characters)"


# --- stderr ---


def test_error_is_one_unwrapped_line_without_colour(capfd: pytest.CaptureFixture[str]) -> None:
    error("word " * 100 + "[red]\x1b[31m\nend")
    assert capfd.readouterr() == ("", "error: " + "word " * 100 + "[red]\\x1b[31m\\nend\n")


def test_warnings_go_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    Display(Stream()).warn("12 prompts\nwere cut")
    assert capfd.readouterr() == ("", "warning: 12 prompts\\nwere cut\n")


# --- plain output ---


def test_plain_output_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    stream = Stream()
    display = Display(stream)
    display.startup(
        "dupo: arithmetic", [("task", "arithmetic"), ("warm-up", "a long line " * 12 + "\nand another")]
    )
    display.note("ready")
    with display.progress(25, 0, "accuracy") as progress:
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


def test_slow_steps_are_reported_every_half_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    stream = Stream()
    with Display(stream).progress(100_000, 40) as progress:
        for step in range(41, 46):
            clock.now += 20
            progress.update(step, {"reward": 0.5})
    shown = stream.written().splitlines()
    assert [line.split()[1] for line in shown] == ["41/100000", "43/100000", "45/100000"]
    assert shown[0].endswith("20.0 s/step  555:19:40 left")


def test_missing_metrics_are_left_out_and_the_first_evaluation_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Clock(monkeypatch)  # stands still: no rate can be told
    stream = Stream()
    with Display(stream).progress(3) as progress:
        progress.update(1, {"loss": 1.0, "eval/bleu": 31.25})
    assert stream.written() == "step 1/3  bleu 31.250\n"


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


@pytest.mark.parametrize("term", ["dumb", "xterm-256color"])
def test_no_control_code_reaches_a_pipe_or_a_dumb_terminal(
    term: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = Stream(terminal=term == "dumb")
    display = Display(stream)
    display.startup("t", [("a", "b")])
    with display.progress(2) as progress:
        progress.update(1, {"reward": 0.5})
    display.table("t", ["a"], [["b"]])
    display.exchange(*exchange_of(SAMPLE), True)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", stream.written())


@pytest.mark.parametrize("terminal", [False, True])
def test_an_encoding_that_lacks_a_letter_does_not_stop_a_run(terminal: bool) -> None:
    stream = Stream(terminal, encoding="ascii")
    display = Display(stream, width=60)
    display.exchange("日", [("問", "本\ud800")])
    display.table("日", ["本"], [["日"]])
    with display.progress(10) as progress:
        progress.update(1, {"reward": 0.5, "eval/精度": 0.5})
    assert "\\u65e5" in stream.written()


# --- terminal output ---


def test_terminal_shows_frames_and_wraps_inside_them() -> None:
    stream = Stream(terminal=True)
    Display(stream, width=40).startup("dupo", [("task", "word " * 20)])
    shown = without_codes(stream.written()).splitlines()
    assert shown[0].startswith("╭─ dupo ─") and shown[-1].startswith("╰")
    assert {len(line) for line in shown} == {40}
    assert sum(line.count("word") for line in shown) == 20


def test_terminal_progress_ends_on_the_last_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(terminal=True)
    with Display(stream, width=120).progress(20, 10, "accuracy") as progress:
        for step in range(11, 21):
            progress.update(
                step, {"reward": step / 100, "dual/reconstruct_rate": 0.25, "eval/accuracy": 0.75}
            )
    last = [line for line in without_codes(stream.written()).split("\n") if line.strip()][-1]
    assert last.startswith("20/20 ")
    assert "reward 0.200 · rebuilt 0.250 · accuracy 0.750 · " in last and last.rstrip().endswith("0:00 left")


def test_resumed_bar_starts_where_the_run_stopped() -> None:
    stream = Stream(terminal=True)
    with Display(stream, width=80).progress(20, 10):
        pass
    assert "10/20 " in without_codes(stream.written())


def test_bar_stays_within_eighty_columns() -> None:
    stream = Stream(terminal=True)
    with Display(stream, width=80).progress(2000, 0, "accuracy") as progress:
        progress.update(1500, {"reward": 0.5, "dual/reconstruct_rate": 0.25, "eval/accuracy": 0.75})
    last = [line for line in without_codes(stream.written()).split("\n") if line.strip()][-1]
    assert len(last) <= 80 and last.count("━") >= 5 and "left" in last and "…" not in last


def test_redirected_stderr_stays_apart_from_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    out, errors = Stream(terminal=True), Stream()
    monkeypatch.setattr(sys, "stderr", errors)
    display = Display(out, width=80)
    with display.progress(2) as progress:
        display.warn("kept in the file")
        progress.update(1, {"reward": 0.5})
    assert errors.written() == "warning: kept in the file\n"
    assert "kept" not in out.written()


def test_interrupted_progress_gives_the_cursor_back() -> None:
    stream = Stream(terminal=True)
    with pytest.raises(KeyboardInterrupt), Display(stream, width=80).progress(2):
        raise KeyboardInterrupt
    assert stream.written().rindex("\x1b[?25h") > stream.written().rindex("\x1b[?25l")


# --- exchanges ---


@pytest.mark.parametrize(
    ("changes", "title", "answer"),
    [
        ({"correct": False}, "step 7 · train.jsonl:17 · wrong", "42 (wrong)"),
        ({"correct": None}, "step 7 · train.jsonl:17 · gold unknown", "42 (gold unknown)"),
        ({"answer": None, "correct": False}, "step 7 · train.jsonl:17 · wrong", "none could be read"),
    ],
    ids=["wrong", "unknown", "unreadable"],
)
def test_exchange_says_what_is_known(changes: dict[str, Any], title: str, answer: str) -> None:
    found, lines = exchange_of({**SAMPLE, **changes})
    assert found == title
    assert dict(lines)["answer"] == answer


def test_exchange_without_duals_or_text() -> None:
    stream = Stream()
    Display(stream).exchange(*exchange_of({**SAMPLE, "duals": [], "completion": " \n"}))
    assert "  completion  (empty)\n" in stream.written()
    assert "came back" not in stream.written()
