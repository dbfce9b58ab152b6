"""Ctrl-C, SIGTERM, SIGHUP: the first ends the run after its step and loses nothing; Ctrl-C again ends it."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from dupo.config.command_line import parse
from dupo.methods import teaching
from dupo.methods.dupo import DuPO
from dupo.methods.teaching import Teaching
from dupo.run.interrupt import graceful_interrupt, stopped_by_signals
from tests.helpers.project import ROOT
from tests.helpers.runs import SMALL, loop, resume, same_files
from tests.helpers.worlds import rows, summary


@pytest.fixture(autouse=True)
def hangups_are_heard():
    """Also where the suite was started by nohup, which dupo leaves in force."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def test_the_first_asks_and_the_second_raises():
    calls, before = [], signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), graceful_interrupt(lambda: calls.append(True)):
        os.kill(os.getpid(), signal.SIGINT)
        assert calls == [True]
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)  # the signal arrives within a few instructions
    assert calls == [True] and signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_asks_once_however_often_it_comes(number):
    calls, before = [], signal.getsignal(number)
    with graceful_interrupt(lambda: calls.append(True)):
        for _ in range(3):
            signal.raise_signal(number)
        assert calls == [True]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_outside_of_the_steps_is_like_ctrl_c_and_only_the_first(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), stopped_by_signals():
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            signal.raise_signal(number)  # while the run is ending
            raise
    assert signal.getsignal(number) is before


def test_a_run_that_is_ending_is_not_asked_again():
    with stopped_by_signals():
        with graceful_interrupt(lambda: None):
            signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN


def test_an_error_that_a_signal_became_on_its_way_is_still_the_signal():
    def load_library() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise ImportError("initialization failed") from None

    with pytest.raises(KeyboardInterrupt), stopped_by_signals():
        load_library()


def test_a_hangup_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopped_by_signals(), graceful_interrupt(lambda: pytest.fail("asked to stop")):
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_leaves_the_signals_alone():
    before, seen = signal.getsignal(signal.SIGINT), []

    def run() -> None:
        with graceful_interrupt(lambda: None):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_go_on(untrained, tmp_path):
    run = tmp_path / "stopped"
    command = [*SMALL, "--model_name_or_path", str(untrained), "--output_dir", str(run)]
    process = subprocess.Popen(
        [sys.executable, "-m", "dupo.train", *command, "--max_steps", "100000", "--reward", "random"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")])},
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (run / "metrics.jsonl").is_file() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    steps = len(rows(run))
    assert "Traceback" not in err and f"--output_dir {run} --resume_from_checkpoint latest" in out
    assert (run / "latest").read_text().strip() == f"checkpoint-{steps}"
    assert resume(run, "--max_steps", str(steps + 1)) == 0
    assert len(rows(run)) == steps + 1


class StoppedAt7(Teaching):
    """Ctrl-C is pressed in the seventh step."""

    def step(self) -> str | None:
        note = super().step()
        if self.steps == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return note


class StoppedDuPO(DuPO):
    """DuPO whose teaching is stopped."""

    def make_stage(self) -> StoppedAt7:
        return StoppedAt7(self.config, self.task, self.model)


@pytest.mark.slow
@pytest.mark.full
def test_ctrl_c_in_the_teaching_loses_nothing(tmp_path, capsys, monkeypatch):
    for name, value in (("PRIMAL_GOAL", 0.0), ("DUAL_GOAL", 0.0), ("CHECK_EVERY", 12)):
        monkeypatch.setattr(teaching, name, value)
    never_stopped, stopped = tmp_path / "never", tmp_path / "stopped"
    options = [*SMALL, "--max_steps", "1", "--reward", "random", "--teach"]
    loop(parse([*options, "--output_dir", str(never_stopped)]))
    config = parse([*options, "--output_dir", str(stopped)])
    assert loop(config, StoppedDuPO(config)) == {}
    out, err = capsys.readouterr()
    assert "Ctrl-C again stops at once" in err and "teaching, after step 7; saved" in out
    assert f"--output_dir {stopped} --resume_from_checkpoint latest" in out
    assert not (stopped / "metrics.jsonl").exists()
    assert resume(stopped) == 0
    assert "resumed the teaching after step 7" in capsys.readouterr().out
    assert summary(stopped)["teaching_steps"] == 12
    files = [f"checkpoint-{n}/model.safetensors" for n in (0, 1)]
    same_files(never_stopped, stopped, "metrics.jsonl", "samples.jsonl", *files)
    assert not (stopped / "teaching.pt").exists()
