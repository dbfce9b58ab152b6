"""A program in several processes, forked from this one: torch is loaded already, which takes longest."""

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch


class Ended(NamedTuple):
    """How the processes ended.

    Attributes:
        codes: exit code of each; minus the signal that killed it.
        err: what all of them wrote to stderr.
        seconds: until the last had ended.
    """

    codes: list[int]
    err: str
    seconds: float


def run_ranks(
    program: Callable[[], int],
    folder: Path,
    size: int = 2,
    before: Callable[[int], None] = lambda rank: None,
    timeout: float = 240.0,
) -> Ended:
    """Runs a program in `size` processes that know each other as those of torchrun do.

    Args:
        folder: for what they print.
        before: is called in each with its rank, before the program.
        timeout: seconds after which they are killed, and the test fails.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    start, children = time.monotonic(), dict[int, int]()
    # Threads of OpenMP do not survive a fork.
    torch.set_num_threads(1)
    for rank in range(size):
        child = os.fork()
        if child == 0:
            values = places | {"RANK": rank, "LOCAL_RANK": rank}
            os.environ.update({name: str(value) for name, value in values.items()})
            _become(program, folder, rank, before)
        children[child] = rank
    codes = dict[int, int]()
    while len(codes) < size:
        for child, rank in children.items():
            if rank not in codes and (ended := os.waitpid(child, os.WNOHANG))[0]:
                codes[rank] = os.waitstatus_to_exitcode(ended[1])
        if time.monotonic() - start > timeout:
            for child, rank in children.items():
                if rank not in codes:
                    os.kill(child, signal.SIGKILL)
            raise AssertionError(f"ranks hang after {timeout} s; ended: {codes}")
        time.sleep(0.02)
    err = "".join((folder / f"rank{rank}.err").read_text() for rank in range(size))
    return Ended([codes[rank] for rank in range(size)], err, time.monotonic() - start)


def _become(program: Callable[[], int], folder: Path, rank: int, before: Callable[[int], None]) -> None:
    """The life of one process, from the fork to its end."""
    code = 70
    try:
        folder.mkdir(exist_ok=True)
        for number, end in ((1, "out"), (2, "err")):
            os.dup2(os.open(folder / f"rank{rank}.{end}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        # pytest has put others into their place.
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        before(rank)
        code = program()
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
