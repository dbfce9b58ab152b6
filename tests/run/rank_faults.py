"""Run by test_ranks.py, as each of two ranks: training in which something happens to one rank.

python -m tests.run.rank_faults FAULT RANK OPTION...
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from dupo.distributed.launch import start_ranks

STEP = 3  # of the run: in it the fault happens, between two steps of the optimizer


def fail() -> None:
    raise ValueError("the disk of this rank is made of cheese")


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def asked() -> None:
    signal.raise_signal(signal.SIGTERM)


def stopped() -> None:
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)


def spoiled(method: Any) -> None:
    """A weight that is NaN in the part of this rank alone."""
    from dupo.models.sharding import local

    local(next(method.model.parameters()).data).view(-1)[0] = float("nan")


FAULTS: dict[str, Callable[[], None]] = {"fail": fail, "killed": killed, "asked": asked, "stopped": stopped}


def wait_for_ever() -> None:
    """What a rank does whose computation hangs, if nobody ends it."""
    while True:
        time.sleep(0.1)


def main() -> int:
    fault, rank, *options = sys.argv[1:]
    if "RANK" not in os.environ:
        return start_ranks([sys.executable, "-m", "tests.run.rank_faults", *sys.argv[1:]], 2)
    from dupo import train
    from dupo.methods.dupo import DuPO

    own_update, is_here = DuPO.update, os.environ["RANK"] == rank

    def update(self: DuPO, batch: Any, step: int) -> dict[str, float]:
        if step + 1 == STEP and fault == "hangs elsewhere":
            fail() if is_here else wait_for_ever()
        if step + 1 == STEP and is_here:
            spoiled(self) if fault == "spoiled" else FAULTS[fault]()
        return own_update(self, batch, step)

    if fault != "none":
        DuPO.update = update
    return train.main(options)


if __name__ == "__main__":
    sys.exit(main())
