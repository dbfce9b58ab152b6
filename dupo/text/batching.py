"""Token ids into batches: micro-batches by token budget, sequences end to end, sequences as padded rows."""

from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np

from dupo.text import extension, packing
from dupo.text.ids import INT32_MAX, Bool, Ids, Int32, Int64, Integers, int64_array


class Packed(NamedTuple):
    """Sequences end to end.

    Attributes:
        input_ids: (N,) int64.
        position_ids: (N,) int64, from 0 in every sequence.
        cu_seqlens: (S + 1,) int32, the start of each sequence and the end of the last sequence.
        max_seqlen: tokens of the longest sequence, 0 for no sequences.
        loss_mask: (N,) bool, true for the tokens of completions. Row r predicts token r + 1.
    """

    input_ids: Int64
    position_ids: Int64
    cu_seqlens: Int32
    max_seqlen: int
    loss_mask: Bool


class Padded(NamedTuple):
    """Sequences as rows, all (S, T).

    Attributes:
        input_ids: int64, `pad_id` in padding.
        attention_mask: int64, 1 for a token, 0 for padding.
        position_ids: int64, from 0 in every row. Padding repeats the position of the nearest token before the
            padding, or has 0.
        loss_mask: bool, true for the tokens of completions.
    """

    input_ids: Int64
    attention_mask: Int64
    position_ids: Int64
    loss_mask: Bool


def pack(lengths: Integers, token_budget: int) -> list[Int64]:
    """Splits sequences into few micro-batches of at most `token_budget` tokens: best-fit decreasing.

    Takes the longest sequence first (equal lengths: lowest index first). Puts each sequence into the
    micro-batch with the smallest remaining room that still holds the sequence (equal room: the micro-batch
    opened first). Uses at most 11/9 of the optimum + 4 micro-batches (Johnson et al., 1974). The result
    depends on the arguments only.

    Args:
        lengths: (S,) integers >= 1, tokens of each sequence.
        token_budget: tokens that a micro-batch may hold, 1 to 2**31 - 1.

    Returns:
        One int64 array of ascending sequence indices per micro-batch, ordered by first index. Every sequence
        is in exactly one micro-batch. Empty for no sequences.

    Raises:
        ValueError: a length below 1 or above the budget, or a budget out of range.
    """
    # Checked here, where an error can name the sequence at fault.
    values = int64_array("lengths", lengths, least=1)
    if not 1 <= token_budget <= INT32_MAX:
        raise ValueError(
            f"token_budget: expected 1 to {INT32_MAX} tokens (cu_seqlens are int32), got {token_budget}"
        )
    too_long = np.flatnonzero(values > token_budget)
    if too_long.size:
        first = too_long[0]
        raise ValueError(
            f"sequence {first} has {values[first]} tokens, more than token_budget {token_budget}"
        )
    core: Any = extension.core() or packing
    indices, offsets = core.pack(values, token_budget)
    return [indices[start:end] for start, end in pairwise(offsets.tolist())]


def packed(prompts: Ids, completions: Ids | None = None, *, threads: int = 1) -> Packed:
    """Lays sequences end to end. A sequence is a prompt followed by the completion of the prompt, if any.

    Raises:
        ValueError: bounds that do not fit the ids, unequal numbers of prompts and completions, or more than
            2**31 - 1 tokens.
    """
    sampled = _checked_completions(prompts, completions)
    core: Any = extension.core() or packing
    return Packed(*core.packed(*prompts, *sampled, threads))


def padded(
    prompts: Ids,
    completions: Ids | None = None,
    *,
    pad_id: int,
    side: Literal["left", "right"] = "left",
    threads: int = 1,
) -> Padded:
    """Makes one row per sequence and fills shorter rows with `pad_id` on one side.

    A sequence is a prompt followed by the completion of the prompt, if any.

    Raises:
        ValueError: as in `packed`, or another side.
    """
    if side not in ("left", "right"):
        raise ValueError(f"side: expected left or right, got {side!r}")
    sampled = _checked_completions(prompts, completions)
    core: Any = extension.core() or packing
    return Padded(*core.padded(*prompts, *sampled, pad_id, side == "left", threads))


def _checked_completions(prompts: Ids, completions: Ids | None) -> Ids:
    # Without completions, every prompt gets an empty completion: the cores know pairs only.
    if completions is None:
        return Ids(np.zeros(0, np.int64), np.zeros_like(prompts.cu_seqlens))
    if len(completions.cu_seqlens) != len(prompts.cu_seqlens):
        raise ValueError(
            f"completions: expected one for each of the {len(prompts.cu_seqlens) - 1} prompts, "
            f"got {len(completions.cu_seqlens) - 1}"
        )
    return completions
