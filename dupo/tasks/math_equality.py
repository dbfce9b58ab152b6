"""Equality of two formulas by math-verify (the extra `math`), in processes that can be killed.

A formula of a model can be hostile: 9^{9^{9^{9}}} never ends. So each pair has a limit of processor time,
which does not depend on what else the machine does. A process that reaches the limit ends, and the pair
counts as different. A deadline by the clock is only a net. No process is started before the first formula
that needs one, and none outlives this one.
"""

import atexit
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import threading
import warnings
from functools import lru_cache
from importlib.util import find_spec

from dupo.tasks.answer_text import ARC, OF_ANGLE
from dupo.tasks.math_worker import EQUAL, READY

SECONDS = 5.0  # of processor time for one pair
WAIT_SECONDS = 60.0  # by the clock for one pair
START_SECONDS = 60.0  # for a process to import math-verify on a busy machine
MOST_PROCESSES = 2
WORKER = "dupo.tasks.math_worker"
# What math-verify is asked about. It reads any other command as a variable, or as nothing.
_NAMES = (
    "frac sqrt pi cdot times infty binom log ln exp lfloor rfloor lceil rceil le ge ne alpha beta gamma delta"
    " theta lambda mu phi omega"
)
_COMMANDS = "|".join((*_NAMES.split(), *OF_ANGLE, *ARC))
FORMULA = re.compile(rf"(?:\\(?:{_COMMANDS})(?![A-Za-z])|[A-Za-z0-9+\-*/^_(){{}}|!=<>.\[\] ])+")
DEGREES = re.compile(r"([0-9]+(?:\.[0-9]+)?)\^\{\\circ\}")


def is_installed() -> bool:
    """Says whether math-verify is there."""
    return find_spec("math_verify") is not None


@lru_cache(maxsize=2**14)  # the same few answers come again and again
def equal_formulas(first: str, second: str) -> bool:
    """Says whether math-verify shows in time that two formulas are equal; False without math-verify.

    Args:
        first, second: expressions or relations as `answer_forms` writes them.
    """
    # math-verify overlooks degrees.
    first, second = (DEGREES.sub(r"(\\frac{\1\\pi}{180})", text) for text in (first, second))
    if not (is_installed() and FORMULA.fullmatch(first) and FORMULA.fullmatch(second)):
        return False
    # math-verify knows no capitals: R + r would be 2r.
    letters = set(re.findall(r"(?<![\\A-Za-z])[A-Za-z]+", first + " " + second))
    if len({letter.lower() for word in letters for letter in word}) != len({*"".join(letters)}):
        return False
    # A process that was forked has no share in the processes of its parent.
    return _pools.setdefault(os.getpid(), Pool()).ask(first, second)


class Pool:
    """Up to `MOST_PROCESSES` processes, each started when it is needed first; safe to use from threads.

    Args:
        seconds: processor time for one pair.

    Attributes:
        num_unanswered: pairs that counted as different because no answer came.
        failure: why no process can be started; "" while processes start.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self.owner = os.getpid()
        self.num_unanswered = 0
        self.failure = ""
        self._idle: list[Worker] = []
        self._all: set[Worker] = set()
        self._places = threading.Semaphore(MOST_PROCESSES)
        self._closes_at_exit = False

    def ask(self, first: str, second: str) -> bool:
        """Says whether two formulas are equal; False where no answer came in time."""
        with self._places:
            if self.failure:
                self.num_unanswered += 1
                return False
            if not self._closes_at_exit:
                self._closes_at_exit = True
                atexit.register(self.close)
            worker = self._idle.pop() if self._idle else Worker()
            self._all.add(worker)
            reply = worker.ask(first, second, self.seconds)
            if reply:
                self._idle.append(worker)
                return reply == EQUAL
            self._all.discard(worker)
            error = worker.stop()
            if not worker.is_ready:
                self.failure = error or f"no sign of life within {START_SECONDS:g} s"
            self.num_unanswered += 1
            is_first = self.num_unanswered == 1
        if self.failure:
            warnings.warn(
                f"math-verify did not start: {self.failure}; from here on formulas are compared as they are"
                " written",
                stacklevel=2,
            )
        elif is_first:
            pair = f"{first[:40]} and {second[:40]}"
            warnings.warn(
                f"math-verify gave no answer within {self.seconds:g} s: {pair} count as different, and so do"
                " other such formulas; their number follows at the end",
                stacklevel=2,
            )
        return False

    def close(self) -> None:
        """Kills the processes of this pool, and says how many pairs had no answer.

        A process that was forked has no processes, and says nothing.
        """
        if self.num_unanswered > 1 and os.getpid() == self.owner:
            warnings.warn(
                f"math-verify gave no answer for {self.num_unanswered} pairs of formulas, which count as"
                " different",
                stacklevel=2,
            )
            self.num_unanswered = 0
        while self._all and os.getpid() == self.owner:
            self._all.pop().stop()
        self._idle.clear()


class Worker:
    """One process of `math_worker`, and the pipes to it."""

    def __init__(self) -> None:
        # `stop` closes the file.
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
            # Ctrl-C at a terminal is for the run, which may want an answer yet.
            start_new_session=True,
        )
        self.is_ready = False

    def ask(self, first: str, second: str, seconds: float) -> bytes:
        """Returns the reply of the process; empty where there is none in time.

        Args:
            seconds: processor time.
        """
        if not self.is_ready:
            self.is_ready = self._reply(START_SECONDS) == READY
            if not self.is_ready:
                return b""
        assert self.process.stdin is not None
        try:
            # The alarm is later than the deadline: it serves where nobody waits any more.
            limits = [seconds, 2 * WAIT_SECONDS]
            self.process.stdin.write(json.dumps([first, second, *limits]).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return b""
        return self._reply(WAIT_SECONDS)

    def stop(self) -> str:
        """Kills the process, waits for its end, and returns the last line of its errors."""
        self.process.kill()
        self.process.communicate()
        with self.errors as errors:
            errors.seek(0)
            lines = errors.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def _reply(self, seconds: float) -> bytes:
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], seconds)
        return os.read(self.process.stdout.fileno(), 1) if readable else b""


_pools: dict[int, Pool] = {}
