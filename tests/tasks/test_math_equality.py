"""math-verify in processes of its own: what is asked of them, how long they live, and what stops them."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dupo.tasks import math_equality
from dupo.tasks.final_answer import same_answer
from dupo.tasks.math_equality import Pool, is_installed
from tests.helpers.project import ROOT

needs_math = pytest.mark.skipif(not is_installed(), reason="needs the extra math")
HOSTILE = ["1000000!", "((((x+1)^{99}+y)^{99}+z)^{99}+1)^{99}", "(" * 10**6 + "7", r"\sqrt" * 10**5]


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ends_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_alive(pid)


CHEAP = [
    ("12", "12"),
    ("12", "13"),
    ("x^2", "x^2"),
    ("(1,2)", r"\{1,2\}"),
    ("7 tenths", "0.7"),
    ("50%", "0.5"),
]


@pytest.mark.parametrize("pair", CHEAP)
def test_no_process_starts_where_forms_or_kinds_decide(pair: tuple[str, str], monkeypatch) -> None:
    def refuse(*arguments: object) -> bool:
        raise AssertionError(arguments)

    monkeypatch.setattr(Pool, "ask", refuse)
    same_answer(*pair)


def test_without_math_verify_formulas_are_compared_as_written() -> None:
    assert not same_answer(r"\sqrt{12}", r"2\sqrt{3}", by_value=False)
    assert same_answer(r"2 \sqrt 3", r"2\sqrt{3}", by_value=False)


@needs_math
@pytest.mark.slow
def test_a_hostile_formula_is_stopped_and_said_once() -> None:
    pool = Pool(seconds=2)
    with pytest.warns(UserWarning, match=r"no answer within 2 s: 9\^\{9\^\{9\^9\}\} and 1") as warned:
        assert not pool.ask("9^{9^{9^9}}", "1")
        assert not pool.ask("1000000!", "1")
    assert len(warned) == 1
    assert pool.ask("x+1", "1+x")
    with pytest.warns(UserWarning, match="no answer for 2 pairs"):
        pool.close()


@needs_math
@pytest.mark.slow
def test_a_busy_machine_does_not_change_a_verdict() -> None:
    """A process that gets no processor for longer than its limit still answers."""
    pool = Pool(seconds=1)
    assert pool.ask("x+1", "1+x")
    (worker,) = pool._all
    os.kill(worker.process.pid, signal.SIGSTOP)
    timer = threading.Timer(2, os.kill, (worker.process.pid, signal.SIGCONT))
    timer.start()
    start = time.monotonic()
    assert pool.ask("x+2", "2+x") and time.monotonic() - start > 1.5
    timer.join()
    pool.close()


def test_a_process_that_cannot_start_is_told_with_its_error_and_asked_no_more(monkeypatch) -> None:
    monkeypatch.setattr(math_equality, "WORKER", "dupo.tasks.no_such_worker")
    pool = Pool()
    with pytest.warns(UserWarning, match="did not start: .*No module named dupo.tasks.no_such_worker"):
        assert not pool.ask("x+1", "1+x")
    monkeypatch.setattr(math_equality, "Worker", None)
    assert not pool.ask("x+1", "1+x")
    with pytest.warns(UserWarning, match="2 pairs"):
        pool.close()


@needs_math
@pytest.mark.slow
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_answers_take_no_longer_than_the_deadline(text: str) -> None:
    start = time.monotonic()
    assert not same_answer(text, "7") and not same_answer(text, "x+y")
    assert time.monotonic() - start < 60


@needs_math
@pytest.mark.slow
def test_threads_share_a_pool() -> None:
    pool = Pool(seconds=30)
    pairs = [(f"x+{k}", f"{k + k % 2}+x") for k in range(24)]
    with ThreadPoolExecutor(6) as threads:
        replies = list(threads.map(lambda pair: pool.ask(*pair), pairs))
    pool.close()
    assert replies == [k % 2 == 0 for k in range(24)]


PROGRAM = r"""
import multiprocessing, os, sys, time
from dupo.tasks import math_equality
from dupo.tasks import math_equality
from dupo.tasks.final_answer import same_answer

def ask(pair):
    return same_answer(*pair)

if __name__ == "__main__":
    assert ask((r"\sqrt{12}", r"2\sqrt{3}"))
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.map(ask, [("x+1", "1+x"), ("x+1", "2+x")]) == [True, False]
    workers = math_equality._pools[os.getpid()]._all
    print(*(worker.process.pid for worker in workers), flush=True)
    if sys.argv[1] == "wait":
        time.sleep(600)
"""


@needs_math
@pytest.mark.slow
@pytest.mark.parametrize("end", ["exit", "wait"])
def test_no_process_outlives_the_program(end: str, tmp_path) -> None:
    """At a plain exit, and where the program is killed."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")])}
    program = subprocess.Popen(
        [sys.executable, str(path), end], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert program.stdout is not None
    pids = [int(pid) for pid in program.stdout.readline().split()]
    assert len(pids) == 1
    if end == "wait":
        assert is_alive(pids[0])
        program.send_signal(signal.SIGKILL)
    program.wait()
    assert program.returncode == (0 if end == "exit" else -signal.SIGKILL)
    assert ends_within(pids[0], 10)
