"""From texts to batches of token ids: assembling, packing, padding. The only face of `dupo._C`.

    Assembler  pieces of texts, and which texts they make -> token ids
    pack       lengths, token budget -> micro-batches (best-fit decreasing)
    packed     prompts and completions -> one run of tokens, end to end
    padded     prompts and completions -> one row of tokens each

Each has a plain Python twin (`_*_py`, `dupo.assembly.Assembler`) of the same result. The twin defines it,
serves where the extension was not built, and is what the tests compare the extension with. What a token id
means is not known here. The number of threads never changes a result.

Shape letters: S sequences, N tokens of all of them, T tokens of the longest one, P pieces, K places of pieces
in sequences.
"""

import threading
import warnings
from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import chain, pairwise
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from dupo import assembly
from dupo.assembly import INT32_MAX, Int32, Int64

BUILT: bool = find_spec("dupo._C") is not None
if BUILT:
    from dupo import _C
else:
    warnings.warn(
        "dupo._C is not built: plain Python puts batches together, with the same results but slower. "
        "To build it, run `pip install -e .` in the repository where a C++17 compiler is installed.",
        stacklevel=2,
    )

Lengths = Sequence[int] | npt.NDArray[np.integer]
Bool = npt.NDArray[np.bool_]
Tokenize = Callable[[list[str], list[bool]], Sequence[Sequence[int]]]

CACHE_BYTES = 2**28  # of chunks and their ids that an Assembler keeps from one call to the next


class Ids(NamedTuple):
    """Token ids of S sequences, end to end.

    Attributes:
        ids: (N,) int64.
        cu_seqlens: (S + 1,) int32, where each sequence starts and the last one ends.
    """

    ids: Int64
    cu_seqlens: Int32

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]]) -> "Ids":
        """The same as lists. Raises ValueError for more than 2**31 - 1 tokens."""
        bounds = np.cumsum([0, *map(len, sequences)])
        if bounds[-1] > INT32_MAX:
            raise ValueError(
                f"sequences: expected at most {INT32_MAX} tokens (cu_seqlens are int32), got {bounds[-1]}"
            )
        ids = np.fromiter(chain.from_iterable(sequences), np.int64, int(bounds[-1]))
        return cls(ids, bounds.astype(np.int32))

    def lists(self) -> list[list[int]]:
        """One list of ids for each sequence."""
        ids = self.ids.tolist()
        return [ids[start:end] for start, end in pairwise(self.cu_seqlens.tolist())]


class Counts(NamedTuple):
    """What an Assembler did so far.

    Attributes:
        sequences: texts assembled.
        whole: of them, tokenised whole, the tokenizer not being local.
        windows: texts across a seam between pieces that were cut anew.
        lookups: chunks looked up in the cache.
        learned: chunks sent to the tokenizer.
    """

    sequences: int
    whole: int
    windows: int
    lookups: int
    learned: int


class Packed(NamedTuple):
    """Sequences end to end.

    Attributes:
        input_ids: (N,) int64.
        position_ids: (N,) int64, from 0 in every sequence.
        cu_seqlens: (S + 1,) int32, where each sequence starts and the last one ends.
        max_seqlen: tokens of the longest sequence, 0 where there is none.
        loss_mask: (N,) bool, true for the tokens of completions. Row r predicts token r + 1.
        owner: (N,) int32, which sequence a token belongs to.
    """

    input_ids: Int64
    position_ids: Int64
    cu_seqlens: Int32
    max_seqlen: int
    loss_mask: Bool
    owner: Int32


class Padded(NamedTuple):
    """Sequences as rows, all (S, T).

    Attributes:
        input_ids: int64, `pad_id` where no token stands.
        attention_mask: int64, 1 where a token stands, else 0.
        position_ids: int64, from 0 in every row; padding has the place of the nearest token before it, or 0.
        loss_mask: bool, true for the tokens of completions.
    """

    input_ids: Int64
    attention_mask: Int64
    position_ids: Int64
    loss_mask: Bool


class Assembler:
    """Token ids of texts that are made of pieces, each different chunk tokenised once (`dupo.assembly`).

    Args:
        tokenize: ids of each chunk, given the chunks and which of them open a text.
        local: whether texts may be cut; if not, each different text is tokenised whole.
        cache_bytes: past this much the cache is emptied between two calls.
    """

    def __init__(self, tokenize: Tokenize, *, local: bool, cache_bytes: int = CACHE_BYTES) -> None:
        self._tokenize, self._lock = tokenize, threading.Lock()
        self._core = (_C if BUILT else assembly).Assembler(local, cache_bytes)

    def __call__(
        self,
        pieces: Sequence[str],
        members: Lengths,
        offsets: Lengths,
        *,
        before: Sequence[int] = (),
        after: Sequence[int] = (),
        threads: int = 1,
    ) -> Ids:
        """Ids of S texts, each between the ids `before` and `after`.

        Args:
            pieces: P texts.
            members: (K,) numbers of pieces.
            offsets: (S + 1,) text s is pieces `members[offsets[s]:offsets[s + 1]]`, one after another.

        Raises:
            ValueError: a lone surrogate, members or offsets that do not fit, or more than 2**31 - 1 tokens.
        """
        text, bounds = _utf8(pieces)
        places = _checked("members", members, least=0), _checked("offsets", offsets, least=0)
        frame = np.array(before, np.int64), np.array(after, np.int64)
        with self._lock:
            chunks, first = self._core.begin(text, bounds, *places, threads)
            learned = Ids.of(self._tokenize(chunks, first) if chunks else [])
            found = self._core.finish(learned.ids, learned.cu_seqlens.astype(np.int64), *frame, threads)
        return Ids(*found)

    @property
    def counts(self) -> Counts:
        """What it did so far."""
        return Counts(*self._core.counts())


def pack(lengths: Lengths, token_budget: int) -> list[Int64]:
    """Splits sequences into few micro-batches of at most `token_budget` tokens: best-fit decreasing.

    Longest first (equal lengths: lowest index first), each into the micro-batch whose remaining room is the
    smallest that still holds it (equal room: the one opened first). At most 11/9 of the optimum + 4
    (Johnson et al., 1974). The result depends on the arguments only.

    Args:
        lengths: (S,) integers >= 1, tokens of each sequence.
        token_budget: tokens a micro-batch may hold, 1 to 2**31 - 1.

    Returns:
        One int64 array of ascending sequence indices per micro-batch, ordered by their first index. Every
        sequence is in exactly one. Empty for no sequences.

    Raises:
        ValueError: a length below 1 or above the budget, or a budget out of range.
    """
    values = _checked("lengths", lengths, least=1)
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
    indices, offsets = _C.pack(values, token_budget) if BUILT else _pack_py(values, token_budget)
    bounds = offsets.tolist()
    return [indices[start:end] for start, end in pairwise(bounds)]


def packed(prompts: Ids, completions: Ids | None = None, *, threads: int = 1) -> Packed:
    """Each prompt followed by its completion, end to end.

    Raises:
        ValueError: bounds that do not fit, another number of completions than of prompts, or more than
            2**31 - 1 tokens.
    """
    sampled = _completions(prompts, completions)
    made = _C.packed(*prompts, *sampled, threads) if BUILT else _packed_py(*prompts, *sampled)
    return Packed(*made)


def padded(
    prompts: Ids,
    completions: Ids | None = None,
    *,
    pad_id: int,
    side: Literal["left", "right"] = "left",
    threads: int = 1,
) -> Padded:
    """Each prompt followed by its completion, one a row; shorter rows are filled up on one side.

    Raises:
        ValueError: as `packed`, or another side.
    """
    if side not in ("left", "right"):
        raise ValueError(f"side: expected left or right, got {side!r}")
    sampled, left = _completions(prompts, completions), side == "left"
    if BUILT:
        return Padded(*_C.padded(*prompts, *sampled, pad_id, left, threads))
    return Padded(*_padded_py(*prompts, *sampled, pad_id, left))


# --- checks ---


def _checked(name: str, lengths: Lengths, least: int) -> Int64:
    """The lengths as a contiguous int64 array, the caller's own memory where it is one already."""
    values = np.asarray(lengths)
    if values.ndim != 1 or (values.size and values.dtype.kind not in "iu"):
        raise ValueError(
            f"{name}: expected a flat list of integers, got {values.dtype} of shape {values.shape}"
        )
    values = np.ascontiguousarray(values, dtype=np.int64)
    too_short = np.flatnonzero(values < least)
    if too_short.size:
        first = too_short[0]
        raise ValueError(f"{name}[{first}]: expected at least {least} token(s), got {values[first]}")
    return values


def _utf8(pieces: Sequence[str]) -> tuple[bytes, Int64]:
    """The pieces end to end as UTF-8, and their P + 1 bounds."""
    try:
        encoded = [piece.encode() for piece in pieces]
    except UnicodeEncodeError as error:
        raise ValueError(
            f"text: expected Unicode, got the lone surrogate {error.object[error.start]!r} at character "
            f"{error.start}"
        ) from None
    return b"".join(encoded), np.cumsum([0, *map(len, encoded)], dtype=np.int64)


def _completions(prompts: Ids, completions: Ids | None) -> Ids:
    if completions is None:
        return Ids(np.zeros(0, np.int64), np.zeros_like(prompts.cu_seqlens))
    if len(completions.cu_seqlens) != len(prompts.cu_seqlens):
        raise ValueError(
            f"completions: expected one for each of the {len(prompts.cu_seqlens) - 1} prompts, "
            f"got {len(completions.cu_seqlens) - 1}"
        )
    return completions


# --- plain Python twins: same arguments and results as the functions of dupo._C ---


def _pack_py(lengths: Int64, token_budget: int) -> tuple[Int64, Int64]:
    sizes: list[int] = lengths.tolist()
    bins: list[list[int]] = []
    open_bins: list[tuple[int, int]] = []  # (room left, bin), sorted
    for index in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        best = bisect_left(open_bins, (sizes[index], 0))
        if best == len(open_bins):
            bins.append([])
            room, number = token_budget, len(bins) - 1
        else:
            room, number = open_bins.pop(best)
        bins[number].append(index)
        if room > sizes[index]:
            insort(open_bins, (room - sizes[index], number))
    bins = sorted(sorted(members) for members in bins)
    indices = np.array([index for members in bins for index in members], dtype=np.int64)
    return indices, np.cumsum([0, *map(len, bins)], dtype=np.int64)


def _pairs(*args: Int64 | Int32) -> list[tuple[list[int], list[int]]]:
    """Each prompt and its completion, from prompt ids, their bounds, completion ids, their bounds."""
    sides = []
    for ids, bounds in (args[:2], args[2:]):
        if not bounds.size or bounds[0] != 0 or bounds[-1] != ids.size or (np.diff(bounds) < 0).any():
            raise ValueError("cu_seqlens: expected 0, ascending, up to the number of ids")
        sides.append(Ids(*(np.asarray(ids, np.int64), np.asarray(bounds, np.int32))).lists())
    return list(zip(*sides, strict=True))


def _packed_py(
    prompt_ids: Int64, prompt_bounds: Int32, completion_ids: Int64, completion_bounds: Int32
) -> tuple[Int64, Int64, Int32, int, Bool, Int32]:
    pairs = _pairs(prompt_ids, prompt_bounds, completion_ids, completion_bounds)
    input_ids, cu_seqlens = Ids.of([prompt + completion for prompt, completion in pairs])
    lengths = np.diff(cu_seqlens)
    owner = np.repeat(np.arange(lengths.size, dtype=np.int32), lengths)
    position_ids = np.arange(owner.size, dtype=np.int64) - cu_seqlens[owner]
    sampled = np.array([flag for p, c in pairs for flag in [False] * len(p) + [True] * len(c)], bool)
    return input_ids, position_ids, cu_seqlens, int(lengths.max(initial=0)), sampled, owner


def _padded_py(
    prompt_ids: Int64,
    prompt_bounds: Int32,
    completion_ids: Int64,
    completion_bounds: Int32,
    pad_id: int,
    left: bool,
) -> tuple[Int64, Int64, Int64, Bool]:
    pairs = _pairs(prompt_ids, prompt_bounds, completion_ids, completion_bounds)
    width = max((len(p) + len(c) for p, c in pairs), default=0)

    def rows(filled: list[list[int]], fill: int) -> Int64:
        out = np.full((len(pairs), width), fill, np.int64)
        for row, values in zip(out, filled, strict=True):
            start = width - len(values) if left else 0
            row[start : start + len(values)] = values
        return out

    attention_mask = rows([[1] * (len(p) + len(c)) for p, c in pairs], 0)
    position_ids = (attention_mask.cumsum(-1) - 1).clip(min=0)
    sampled = rows([[0] * len(p) + [1] * len(c) for p, c in pairs], 0).astype(bool)
    return rows([p + c for p, c in pairs], pad_id), attention_mask, position_ids, sampled
