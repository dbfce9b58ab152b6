"""What decoding in slots keeps of its requests and of its slots (`dupo.engines.slots`).

Shape letters: S slots, N completions of a prompt, H heads, D numbers of a head, T time, K measures of a
token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dupo.engines.base import Sampling

FLAG_EVERY = 16  # tokens: a row that has ended decodes on for less than that


class SlotOptions(NamedTuple):
    """What decoding in slots needs to know beside the model.

    Attributes:
        eos_ids: end tokens.
        pad_id: stands before shorter prompts.
        most_rows: `--max_concurrent_sequences`.
        measure_distributions: as in `BuiltinEngine`.
    """

    eos_ids: Sequence[int]
    pad_id: int
    most_rows: int
    measure_distributions: bool


class SlotRoom(NamedTuple):
    """What the slots are to hold.

    Attributes:
        tokens: of the longest prompt and its completion together.
        max_tokens: of the longest completion.
        rows: completions that may be under way at once.
        temperature: of all completions; None: each request has its own.
    """

    tokens: int
    max_tokens: int
    rows: int
    temperature: float | None


class Ended(NamedTuple):
    """A completion that has ended.

    Attributes:
        prompt, sample: its numbers.
        ids: (T,) int64, on the CPU.
        measures_KT: fp32, on the CPU; see `dupo.engines.choice`.
    """

    prompt: int
    sample: int
    ids: Tensor
    measures_KT: Tensor


@dataclass
class Waiting:
    """A prompt with completions that have not begun.

    Attributes:
        number: of the prompt, in the order in which prompts came.
        keys_N: of the random numbers of each completion.
        begun: number of completions that have.
        states: keys and values (H, T - 1, D) of each layer, once the prompt is read.
    """

    number: int
    ids: list[int]
    keys_N: Tensor
    sampling: Sampling
    begun: int = 0
    states: list[tuple[Tensor, Tensor]] | None = None

    @property
    def left(self) -> int:
        """Completions that have not begun."""
        return len(self.keys_N) - self.begun


class SlotState(NamedTuple):
    """What a slot is at; every tensor has S rows and keeps its address.

    Attributes:
        ids_S1: the token to be read next.
        positions_S: of that token.
        keys_S: of the random numbers of the row.
        uniform_ST: random numbers (S, FLAG_EVERY) of the next tokens.
        temperatures_S1: fp32; read where requests differ in it.
        limits_S: most tokens that the row draws.
        counts_S: tokens that were drawn.
        running_S: bool, has not ended.
        finite_S: bool, no logit of the row was NaN.
        drawn_ST: ids (S, max_tokens + 1); what an ended row draws goes into the last column.
        measures_SKT: fp32, of the ids.
    """

    ids_S1: Tensor
    positions_S: Tensor
    keys_S: Tensor
    uniform_ST: Tensor
    temperatures_S1: Tensor
    limits_S: Tensor
    counts_S: Tensor
    running_S: Tensor
    finite_S: Tensor
    drawn_ST: Tensor
    measures_SKT: Tensor

    @classmethod
    def empty(cls, slots: int, max_tokens: int, measures: int, device: torch.device) -> "SlotState":
        """The state of slots in which nothing runs."""

        def zeros(*shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
            return torch.zeros((slots, *shape), dtype=dtype, device=device)

        return cls(
            zeros(1),
            zeros(),
            zeros(),
            zeros(FLAG_EVERY, dtype=torch.float64),
            zeros(1, dtype=torch.float32),
            zeros(),
            zeros(),
            zeros(dtype=torch.bool),
            zeros(dtype=torch.bool),
            zeros(max_tokens + 1),
            zeros(measures, max_tokens + 1, dtype=torch.float32),
        )

    def front(self, rows: int) -> "SlotState":
        """The first rows of all tensors, at the same addresses."""
        return SlotState(*(values[:rows] for values in self))

    def begin(self, slots: Tensor, waiting: Waiting) -> None:
        """Puts the next completions of a prompt into slots.

        Args:
            slots: (N,) int64, their numbers.
        """
        self.ids_S1[slots] = waiting.ids[-1]
        self.positions_S[slots] = len(waiting.ids) - 1
        self.keys_S[slots] = waiting.keys_N[waiting.begun : waiting.begun + len(slots)]
        self.temperatures_S1[slots] = waiting.sampling.temperature
        self.limits_S[slots] = waiting.sampling.max_tokens
        self.counts_S[slots] = 0
        self.running_S[slots] = True
        self.finite_S[slots] = True

    def move(self, source: Tensor, target: Tensor) -> None:
        """Moves rows into other slots; nothing runs in those that they leave."""
        for values in self:
            values[target] = values[source]
        self.running_S[source] = False
        # A row that has ended goes on where it costs least.
        self.positions_S[source] = 0
