"""Ranks: the processes that train one model together, and what they tell each other.

Every rank runs the same program on the same problems. What costs time is shared out: completions are sampled,
and passes through the model are made, by the rank whose turn it is; results are then known to every rank. So
each decision (what to train on, whether to stop) is made everywhere alike, from the same numbers.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist

T = TypeVar("T")
WAIT_SECONDS = 600  # for the slowest rank: sampling may take long, a rank that died must not take hours


@dataclass(frozen=True, slots=True)
class Ranks:
    """All ranks, seen from one of them.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes; with 1 there is no process group, and nothing is sent.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this rank writes the files and talks to the user."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, by rank; every rank has to ask.

        Args:
            value: whatever can be pickled, tensors on the CPU.
        """
        if self.size == 1:
            return [value]
        # Pickled: completions and statistics are small beside the weights, and of any shape.
        values: list[T | None] = [None] * self.size
        dist.all_gather_object(values, value)
        return cast(list[T], values)

    def together(self, work: Callable[[], T]) -> list[T]:
        """What `work` gives on each rank; every rank has to ask. `work` itself waits for no other rank.

        Raises:
            Exception: what `work` raised on the first rank on which it raised, on every rank alike: else the
                others would wait for a rank that is gone.
        """
        if self.size == 1:
            return [work()]
        problem: Exception | None = None
        result: T | None = None
        try:
            result = work()
        except Exception as raised:
            problem = raised
        # Only now may a rank wait for the others: each has something to tell, whatever went wrong.
        outcomes = self.gather((problem, result))
        for rank, (raised, _) in enumerate(outcomes):
            if raised is not None:
                raised.add_note(f"raised on rank {rank} of {self.size}")
                raise raised
        return [cast(T, result) for _, result in outcomes]


ALONE = Ranks()


def join_ranks() -> Ranks:
    """Joins the process group of a launch such as torchrun's; `ALONE` without one.

    On a GPU, tensors go through NCCL and all else through gloo.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    # NCCL cannot send what lies on the CPU, such as completions.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=WAIT_SECONDS))
    return Ranks(dist.get_rank(), dist.get_world_size())
