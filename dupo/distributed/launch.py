"""Which of the processes of a run this one is, and how one command starts several of them on one machine.

torchrun, and `start_ranks` as torchrun does, tell each process by variables:

    RANK, WORLD_SIZE                number of this process, from 0, and of how many
    LOCAL_RANK, LOCAL_WORLD_SIZE    the same on this machine
    MASTER_ADDR, MASTER_PORT        where the processes meet

Nothing here needs torch: a wrong option is told before torch is imported.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, Self

from dupo.errors import UserError, quoted

GRACE_SECONDS = 20.0  # for the others to end by themselves, once one process has ended with an error


class Launch(NamedTuple):
    """The place of this process among those of its run."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Reads the variables of torchrun; without any, the process is alone.

        Raises:
            UserError: the variables are those of another kind of launch, or do not fit each other.
        """
        size = environment.get("OMPI_COMM_WORLD_SIZE", "").strip() or "1"
        if size != "1" and not environment.get("WORLD_SIZE"):
            raise _unusable(f"one process of mpirun (OMPI_COMM_WORLD_SIZE={size})")
        # Without a size, a rank says that there are others.
        if environment.get("RANK") and not environment.get("WORLD_SIZE"):
            raise _unusable(f"RANK={environment['RANK']} without WORLD_SIZE")
        size = _number(environment, "WORLD_SIZE", 1)
        if size == 1:
            return cls()
        launch = cls(
            _number(environment, "RANK", None),
            size,
            _number(environment, "LOCAL_RANK", None),
            _number(environment, "LOCAL_WORLD_SIZE", size),
        )
        if not 0 <= launch.rank < size or not 0 <= launch.local_rank < launch.local_size <= size:
            raise _unusable(", ".join(f"{name} {value}" for name, value in launch._asdict().items()))
        for name in ("MASTER_ADDR", "MASTER_PORT"):
            if not environment.get(name):
                raise _unusable(f"no {name}")
        return launch

    @property
    def is_alone(self) -> bool:
        """Whether the run has no other process."""
        return self.size == 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files of the run and talks to the user."""
        return self.rank == 0


def _number(environment: Mapping[str, str], name: str, default: int | None) -> int:
    text = environment.get(name, "").strip() or ("" if default is None else str(default))
    if not text.isdecimal():
        raise _unusable(f"{name}={quoted(text)}")
    return int(text)


def _unusable(got: str) -> UserError:
    return UserError(
        f"expected one process, or the variables of torchrun in each of several, got {got}: start with "
        "torchrun --nproc-per-node N -m dupo.train, or with --num_processes N"
    )


def start_ranks(command: Sequence[str], size: int) -> int:
    """Runs a command in `size` processes of this machine, and waits for their end.

    Args:
        command: program and arguments.

    Returns:
        The exit code of the first process that ended with one; 1 where processes were killed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    # Each process would take all cores for itself.
    threads = {"OMP_NUM_THREADS": max(1, (os.cpu_count() or 1) // size)}
    common = {name: str(value) for name, value in threads.items()} | dict(os.environ)
    common |= {name: str(value) for name, value in places.items()}
    # Beneath torchrun, ranks would wait for its store, which knows nothing of them.
    common.pop("TORCHELASTIC_USE_AGENT_STORE", None)
    # A group of their own: Ctrl-C in a terminal comes here alone and is passed on once.
    ranks = [
        subprocess.Popen(command, env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, process_group=0)
        for rank in range(size)
    ]

    def pass_on(number: int, _: object) -> None:
        for process in ranks:
            with suppress(ProcessLookupError):
                process.send_signal(number)

    names = ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]  # Windows knows no SIGHUP
    before = {number: signal.signal(number, pass_on) for number in numbers}
    try:
        return _wait_for(ranks)
    finally:
        for process in ranks:
            if process.poll() is None:
                process.kill()
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_for(ranks: Sequence[subprocess.Popen[bytes]]) -> int:
    """Waits until all processes have ended; once one has failed, the others have `GRACE_SECONDS`."""
    failed_at: float | None = None
    codes: dict[int, int] = {}
    while len(codes) < len(ranks):
        time.sleep(0.05)
        for rank, process in enumerate(ranks):
            code = process.poll()
            if code is not None and rank not in codes:
                codes[rank] = code
                failed_at = time.monotonic() if code and failed_at is None else failed_at
        if failed_at is not None and time.monotonic() - failed_at > GRACE_SECONDS:
            for process in ranks:
                process.kill()
    told = [code for code in codes.values() if code > 0]
    killed = [f"rank {rank} by signal {-code}" for rank, code in codes.items() if code < 0]
    # A rank that is left tells of one that is gone; of several, the one that would tell may be among them.
    if killed and (len(killed) > 1 or not told):
        print(f"error: ranks were killed: {', '.join(killed)}", file=sys.stderr)
    return told[0] if told else int(bool(killed))


def this_program(program: str, options: Sequence[str]) -> list[str]:
    """The command that runs a program of dupo as this process runs it."""
    return [sys.executable, "-m", f"dupo.{program}", *options]
