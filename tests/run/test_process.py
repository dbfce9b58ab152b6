"""The end of a process: threads, exit handlers, output and exit code as of Python, and nothing freed."""

import shlex
import sys

import pytest

from tests.helpers.project import RunPython

PROGRAM = """
import atexit, threading, time
from dupo.process import run_process

class Held:
    def __del__(self):
        print("freed")

held = Held()

def wait():
    time.sleep(0.2)
    print("thread ended")

def main():
    atexit.register(print, "exit handler ran", end="")  # no line end: nothing flushes it
    threading.Thread(target=wait).start()
    END

run_process(main)
"""


@pytest.mark.parametrize("code", [0, 1, 130])
def test_all_is_done_but_nothing_is_freed(code: int, run_python: RunPython) -> None:
    done = run_python("-c", PROGRAM.replace("END", f"return {code}"))
    assert (done.returncode, done.stdout, done.stderr) == (code, "thread ended\nexit handler ran", "")


def test_an_error_ends_as_ever(run_python: RunPython) -> None:
    done = run_python("-c", PROGRAM.replace("END", "raise RuntimeError('why')"))
    assert done.returncode == 1 and done.stdout == "thread ended\nexit handler ranfreed\n"
    assert done.stderr.startswith("Traceback") and done.stderr.endswith("RuntimeError: why\n")


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_streams_that_were_never_there(closed: str, run_python: RunPython) -> None:
    # bash closes what Python would open.
    start = "import subprocess, sys; sys.exit(subprocess.run(['bash', '-c', sys.argv[1]]).returncode)"
    program = PROGRAM.replace("END", "return 3").replace('"exit handler ran", end=""', "''")
    done = run_python("-c", start, f"{sys.executable} -c {shlex.quote(program)} {closed}")
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
