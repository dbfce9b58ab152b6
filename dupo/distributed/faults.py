"""What ends a run of several ranks, as one rank tells it and all others know it. Needs no torch."""

from typing import NamedTuple

_TELLER = "_dupo_told_by_rank"


class Fault(NamedTuple):
    """What ended a run.

    Attributes:
        rank: that met it.
        code: exit code of every rank.
    """

    rank: int
    message: str
    code: int


class RankFault(BaseException):
    """A rank has ended the run.

    Comes at any place of a program, as Ctrl-C does. So it is no `Exception`: those that a library raises are
    caught at many places, and told as a fault of the library.

    Attributes:
        fault: what the rank met.
        is_own: this rank has told it, and has to tell the user.
    """

    def __init__(self, fault: Fault, *, is_own: bool) -> None:
        super().__init__(fault.message)
        self.fault, self.is_own = fault, is_own


def mark_told(problem: BaseException, rank: int) -> None:
    """Marks an error of `rank` that this process has told all others, so that it has to tell the user."""
    setattr(problem, _TELLER, rank)


def told_by(problem: BaseException) -> int | None:
    """The rank whose error all others were told of; None where ranks had not met yet."""
    return getattr(problem, _TELLER, None)
