"""Ranks: the processes that train one model together, and what they tell each other.

Every rank runs the same program on the same problems. What costs time is shared out: completions are sampled,
and passes through the model are made, by the rank whose turn it is; results are then known to every rank. So
each decision (what to train on, whether to stop) is made everywhere alike, from the same numbers. What must
happen once (files, rewards of the user) happens on the first rank, which tells the others.
"""

import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar, cast

import torch
import torch.distributed as dist

from dupo.distributed.meeting import Meeting
from dupo.errors import UserError, in_one_line

T = TypeVar("T")
_EVERYWHERE = "_dupo_is_raised_on_every_rank"


class Wait(NamedTuple):
    """How ranks wait for long work of others.

    Attributes:
        what: the work is, for the message.
        patience: most seconds without a sign of the work; never less than ddp_timeout.
    """

    what: str
    patience: float = 0.0


@dataclass(frozen=True, slots=True)
class Ranks:
    """All ranks, seen from one of them.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes; with 1 there is no process group, and nothing is sent.
        per_node: number of processes of one machine.
        meeting: where ranks wait for long work of others; None: they wait in the exchange that follows.
        group: the process group of the exchanges; None: that which all ranks have met in.
    """

    rank: int = 0
    size: int = 1
    per_node: int = 1
    meeting: Meeting | None = None
    group: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this rank writes the files and talks to the user."""
        return self.rank == 0

    def apart(self, timeout: float) -> "Ranks":
        """The same ranks with a gloo group of their own, for a second thread; every rank has to ask.

        Args:
            timeout: most seconds that a rank waits for the others in one exchange.
        """
        if self.size == 1:
            return self
        # All ranks make the exchanges of a group in one order, and no order holds between two threads.
        group = dist.new_group(timeout=timedelta(seconds=timeout), backend="gloo")
        return replace(self, group=group, meeting=None)  # which is of the main thread alone

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, by rank; every rank has to ask.

        Args:
            value: whatever can be pickled, tensors on the CPU.
        """
        if self.size == 1:
            return [value]
        # Pickled: completions and statistics are small beside the weights, and of any shape.
        values: list[T | None] = [None] * self.size
        dist.all_gather_object(values, value, group=self.group)
        return cast(list[T], values)

    def sign(self) -> None:
        """Says that the long work of this rank goes on."""
        if self.meeting is not None:
            self.meeting.sign()

    def together(self, work: Callable[[], T], wait: Wait | None = None) -> list[T]:
        """What `work` gives on each rank; every rank has to ask. `work` itself waits for no other rank.

        Args:
            wait: how long the others wait, where that may be longer than ddp_timeout.

        Raises:
            Exception: what `work` raised on the first rank on which it raised, on every rank alike: else the
                others would wait for a rank that is gone.
        """
        if self.size == 1:
            return [work()]
        # Only now may a rank wait for the others: each has something to tell, whatever went wrong.
        own = _outcome(work)
        self._meet(wait)
        outcomes = self.gather((_sendable(own[0]), own[1]))
        for rank, (raised, _) in enumerate(outcomes):
            if raised is not None:
                raise self._everywhere(raised, own[0], rank)
        return [cast(T, result) for _, result in outcomes]

    def on_first(self, work: Callable[[], T], wait: Wait | None = None) -> T:
        """What `work` gives on the first rank, which alone does it; every rank has to ask.

        Args:
            wait: as that of `together`.

        Raises:
            Exception: what `work` raised, on every rank alike.
        """
        if self.size == 1:
            return work()
        own = _outcome(work) if self.is_first else (None, None)
        self._meet(wait)
        sent = [(_sendable(own[0]), own[1])]
        dist.broadcast_object_list(sent, src=0, group=self.group)
        raised, result = sent[0]
        if raised is not None:
            raise self._everywhere(raised, own[0], 0)
        return cast(T, result)

    def _meet(self, wait: Wait | None) -> None:
        if wait is not None and self.meeting is not None:
            self.meeting.wait(*wait)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank; every rank has to ask."""
        return any(self.gather(flag))

    def check_same(self, value: object, what: str) -> None:
        """Checks that all ranks were given the same; every rank has to ask.

        Args:
            value: can be compared and pickled.
            what: the value is, for the message.

        Raises:
            UserError: the ranks differ, on every rank alike.
        """
        values = self.gather(value)
        others = [rank for rank, other in enumerate(values) if other != values[0]]
        if others:
            expected = f"the same {what} on every rank, got others on rank {others[0]} than on rank 0"
            raise self._everywhere(UserError(f"ranks: expected {expected}"), None, others[0])

    def raised_everywhere(self, error: BaseException) -> bool:
        """Whether every rank has met the error, so that what follows can be done by all of them together."""
        # A loss that is not finite is the sum of all ranks.
        return self.size == 1 or isinstance(error, FloatingPointError) or raised_by(error) is not None

    def _everywhere(self, sent: Exception, own: Exception | None, rank: int) -> Exception:
        # The rank that raised it knows the traceback, which is not sent.
        return self.alike(own if own is not None and rank == self.rank else sent, rank)

    def alike(self, error: Exception, rank: int) -> Exception:
        """Marks an error that every rank raises now as one that `rank` has met; returns the error."""
        error.add_note(f"raised on rank {rank} of {self.size}")
        setattr(error, _EVERYWHERE, rank)
        return error


def _sendable(error: Exception | None) -> Exception | None:
    """The error as it can be sent; an error of the user's own making may not survive that."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(in_one_line(error, kind=True)) if error else None
    return error


def _outcome(work: Callable[[], T]) -> tuple[Exception | None, T | None]:
    """What work raised, and what it gave."""
    try:
        return None, work()
    except Exception as raised:
        return raised, None


def raised_by(error: BaseException) -> int | None:
    """The rank that raised an error which every rank has met; None for an error of this rank alone."""
    return getattr(error, _EVERYWHERE, None)


ALONE = Ranks()


@torch.no_grad()
def share_tensors(ranks: Ranks, tensors: list[torch.Tensor]) -> None:
    """Copies the tensors of the first rank to all others, in place."""
    if ranks.size > 1:
        for tensor in tensors:
            dist.broadcast(tensor.data, src=0)
