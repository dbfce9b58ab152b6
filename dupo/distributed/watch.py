"""All ranks end together: an error, a signal or a dead rank ends every rank within seconds, with one message.

Each rank has a thread that looks into the store of the process group twice a second:

    fault         what ended a rank, told by the first that has something to tell: rank, message, exit code
    alive/RANK    a number that grows as long as the rank is alive

A rank that waits for another in NCCL or gloo would wait for minutes, or for ever. So the thread ends its
process where the main thread does not.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from dupo.distributed.faults import Fault, RankFault, mark_told
from dupo.distributed.launch import Launch
from dupo.distributed.meeting import Meeting
from dupo.distributed.ranks import ALONE, Ranks, raised_by
from dupo.errors import UserError, in_one_line

LOOK_SECONDS = 0.5
LOST_SECONDS = 30.0  # without a sign of life; a rank in a long computation still has its thread
PEER_SECONDS = 4.0  # for the rank that broke a connection to tell why
END_SECONDS = 10.0  # for the main thread to end by itself
# Raises `RankFault` in the main thread; nobody else sends it (Slurm sends SIGUSR1).
_SIGNAL = getattr(signal, "SIGUSR2", signal.SIGINT)
_FAULT = "fault"


class Watch(threading.Thread):
    """The thread of one rank.

    Args:
        store: of this thread alone: a store serves one caller at a time.
    """

    def __init__(self, launch: Launch, store: Store) -> None:
        super().__init__(name="watch of the ranks", daemon=True)
        self.launch, self.store = launch, store
        self.fault: Fault | None = None
        self._over, self._parent = threading.Event(), os.getppid()
        self._is_main_ending, self._is_main_over = threading.Event(), threading.Event()
        self._seen: dict[int, tuple[str, float]] = {}
        self._beats = 0
        self.store.set(f"host/{launch.rank}", f"process {os.getpid()} on {socket.gethostname()}")

    def run(self) -> None:
        """Looks until the run is over."""
        while not self._over.wait(LOOK_SECONDS):
            try:
                fault = self._look()
            except Exception:  # whatever a store raises whose owner is gone
                fault = self.fault or _without_store(self.launch)
            if fault is not None and not self._over.is_set():
                self._end(fault)
                return

    def _look(self) -> Fault | None:
        """Gives a sign of life, and looks for a fault and for signs of others."""
        if os.getppid() != self._parent:
            return self.tell("the process that started the ranks is gone", 1)
        self._beats += 1
        self.store.set(f"alive/{self.launch.rank}", str(self._beats))
        if (fault := self.told()) is not None:
            return fault
        lost = self.silent_ranks(LOST_SECONDS)
        return self.tell(self._gone(lost[0]), 1) if lost else None

    def silent_ranks(self, seconds: float) -> list[int]:
        """Ranks without a new sign of life for so long."""
        now = time.monotonic()
        for rank in range(self.launch.size):
            key = f"alive/{rank}"
            beat = self.store.get(key).decode() if self.store.check([key]) else ""
            if rank not in self._seen or self._seen[rank][0] != beat:
                self._seen[rank] = beat, now
        return [rank for rank, (_, since) in self._seen.items() if now - since > seconds]

    def told(self) -> Fault | None:
        """The fault that a rank has told."""
        if self.fault is None and self.store.check([_FAULT]):
            self._learn(self.store.get(_FAULT))
        return self.fault

    def _learn(self, text: bytes) -> Fault:
        self.fault = Fault(*json.loads(text))
        self.store.set(f"seen/{self.launch.rank}", "")
        return self.fault

    def tell(self, message: str, code: int) -> Fault:
        """Tells all ranks what ended this one; returns the fault that was told first, by any rank."""
        own = json.dumps(Fault(self.launch.rank, message, code))
        return self._learn(self.store.compare_set(_FAULT, "", own))

    def main_ends(self) -> None:
        """The main thread has an error of its own, and is not to be told of one any more."""
        self._is_main_ending.set()

    def wait_until_seen(self) -> None:
        """Waits a moment for all ranks to know what ended the run: the store ends with the first rank."""
        end, names = time.monotonic() + PEER_SECONDS, [f"seen/{rank}" for rank in range(self.launch.size)]
        with suppress(Exception):  # the store is gone already
            while self.launch.is_first and not self.store.check(names) and time.monotonic() < end:
                time.sleep(LOOK_SECONDS / 5)

    def lost_peer(self) -> Fault | None:
        """What broke a connection: the fault of another rank, or a rank that is gone; None for neither."""
        end = time.monotonic() + PEER_SECONDS
        while time.monotonic() < end:
            if (fault := self.told()) is not None:
                return fault
            time.sleep(LOOK_SECONDS / 5)
            lost = [rank for rank in self.silent_ranks(PEER_SECONDS / 2) if rank != self.launch.rank]
            if lost:
                return self.tell(self._gone(lost[0]), 1)
        return None

    def wait_until_told(self) -> Fault | None:
        """The fault that another rank is about to tell; None where it tells none in time."""
        end = time.monotonic() + PEER_SECONDS
        while (fault := self.told()) is None and time.monotonic() < end:
            time.sleep(LOOK_SECONDS / 5)
        return fault

    def _gone(self, rank: int) -> str:
        key = f"host/{rank}"
        who = self.store.get(key).decode() if self.store.check([key]) else "which never came"
        return f"rank {rank} of {self.launch.size} is gone ({who}): it was killed, or its machine is gone"

    def _end(self, fault: Fault) -> None:
        """Ends this process: by an error in the main thread, or where that waits for a dead rank, at once."""
        self.fault = fault
        if threading.main_thread().is_alive() and not self._is_main_ending.is_set():
            signal.raise_signal(_SIGNAL)
        if not self._is_main_over.wait(END_SECONDS):
            if fault.rank == self.launch.rank:
                print(f"error: {fault.message}", file=sys.stderr, flush=True)
            os._exit(fault.code)

    def stop(self) -> None:
        """Ends the thread; what it is just looking at, it still looks at."""
        self._over.set()
        self._is_main_over.set()
        if self.is_alive() and threading.current_thread() is not self:
            self.join(LOOK_SECONDS)


@contextmanager
def joined_ranks(launch: Launch, timeout: float, device: str = "auto") -> Iterator[Ranks]:
    """Joins the process group of a launch, and leaves it at the end.

    On a GPU, tensors go through NCCL and all else through gloo.

    Args:
        timeout: most seconds that a rank waits for the others in one exchange.
        device: `--device`; with `cpu` no rank takes a GPU.

    Raises:
        RankFault: another rank ended the run. What this rank raises inside the block ends all others.
        UserError: the ranks did not meet, or there are more of them than GPUs.
    """
    if launch.is_alone:
        yield ALONE
        return
    has_gpu = device != "cpu" and torch.cuda.is_available()
    if has_gpu:
        _take_gpu(launch)
    store = _meet(launch, timeout, has_gpu=has_gpu)
    watch = Watch(launch, PrefixStore("dupo watch", store))
    meeting = Meeting(PrefixStore("dupo meeting", _store(timeout)), launch.rank, launch.size, timeout)
    with _raising(watch):
        watch.start()
        try:
            yield Ranks(launch.rank, launch.size, launch.local_size, meeting)
            watch.stop()
            dist.barrier()  # else the owner of the store would leave while others look into it
        except GeneratorExit:  # the caller wants no more steps
            raise
        except RankFault:  # told already
            watch.main_ends()
            watch.wait_until_seen()
            raise
        except BaseException as problem:
            watch.main_ends()
            fault = _cause(watch, problem)
            watch.wait_until_seen()
            if fault.rank != launch.rank:
                raise RankFault(fault, is_own=False) from problem
            if fault.message != _message(problem):  # another rank that is gone
                raise RankFault(fault, is_own=True) from problem
            # Of an error that all have raised, any rank may be the first to tell.
            rank = raised_by(problem)
            mark_told(problem, launch.rank if rank is None else rank)
            raise
        finally:
            watch.stop()
    # vLLM ends its own groups when the process ends, and finds none after this.
    if "vllm" not in sys.modules:
        dist.destroy_process_group()


def _take_gpu(launch: Launch) -> None:
    # torch names no option where a GPU is not there.
    if launch.local_size > (count := torch.cuda.device_count()):
        expected = f"at most {count}, the GPUs of this machine (or --device cpu)"
        raise UserError(f"num_processes: expected {expected}, got {launch.local_size}")
    torch.cuda.set_device(launch.local_rank)


def _meet(launch: Launch, timeout: float, *, has_gpu: bool) -> Store:
    """Makes the process group; returns a line to its store for the watch."""
    wait = timedelta(seconds=timeout)
    # NCCL cannot send what lies on the CPU, such as completions.
    backend = "cpu:gloo,cuda:nccl" if has_gpu else "gloo"
    try:
        dist.init_process_group(backend, timeout=wait)
        return _store(timeout)
    except (RuntimeError, ValueError) as problem:
        host, port = _address()
        where = f"{launch.size} ranks at {host}:{port}"
        reason = in_one_line(problem, kind=True)
        raise UserError(f"ranks: expected {where} within {timeout:g} s (ddp_timeout), got {reason}") from None


def _address() -> tuple[str, str]:
    return os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", "")


def _store(timeout: float) -> Store:
    """Another line to the store of the process group."""
    host, port = _address()
    return TCPStore(host, int(port), is_master=False, timeout=timedelta(seconds=timeout))


def _cause(watch: Watch, problem: BaseException) -> Fault:
    """What ended the run, told to all ranks: the problem of this rank, or what another met before."""
    try:
        # What torch raises where a connection breaks tells nothing of the rank at its other end.
        fault = watch.lost_peer() if isinstance(problem, RuntimeError) else None
        # Every rank has met it: the one that raised it tells, in its own words.
        if fault is None and raised_by(problem) not in (None, watch.launch.rank):
            fault = watch.wait_until_told()
        return fault or watch.tell(_message(problem), _code(problem))
    except Exception:  # the store is gone
        if isinstance(problem, RuntimeError):
            return _without_store(watch.launch)
        return Fault(watch.launch.rank, _message(problem), _code(problem))


def _without_store(launch: Launch) -> Fault:
    """What ended the run where no rank can tell the others: the owner of the store is gone.

    Told by the first rank of each machine: nobody knows which machines are left.
    """
    first = launch.rank - launch.local_rank
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        return Fault(first, "the process that started the ranks is gone, and with it what they meet in", 1)
    teller = max(first, 1)  # rank 0 itself is gone
    return Fault(teller, f"rank 0 of {launch.size} is gone: it was killed, or its machine is gone", 1)


def _message(problem: BaseException) -> str:
    return in_one_line(problem, kind=not isinstance(problem, UserError), limit=500)


def _code(problem: BaseException) -> int:
    """With which exit code a program ends after an error."""
    if isinstance(problem, KeyboardInterrupt):
        return 130
    return getattr(problem, "exit_code", 1)


@contextmanager
def _raising(watch: Watch) -> Iterator[None]:
    """Raises in the main thread what the watch has seen, when the watch sends its signal."""

    def stop(*_: object) -> None:
        if watch.fault is not None:
            raise RankFault(watch.fault, is_own=watch.fault.rank == watch.launch.rank)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(_SIGNAL, stop)
    try:
        yield
    finally:
        with suppress(TypeError):  # a handler that was not set from Python
            signal.signal(_SIGNAL, before)
