"""Which variant of the kernels serves which rows, and with how many threads.

Nothing here was measured on a GPU yet: the looped kernel serves everything, with what the compiler says is
best (registers, loads in flight). bench/ has a sweep that finds better rows of the table.
"""

from typing import NamedTuple


class Config(NamedTuple):
    """How rows are walked.

    Attributes:
        variant: "looped" (a program a row, two reads) or "persistent" (the same, a program an SM).
        warps: of a program.
        steps: 16-byte words that a thread has in flight.
    """

    variant: str = "looped"
    warps: int = 8
    steps: int = 4


def choose(V: int, itemsize: int) -> Config:
    """The configuration for rows of V logits of `itemsize` bytes."""
    del V, itemsize  # until a device says otherwise
    return Config()
