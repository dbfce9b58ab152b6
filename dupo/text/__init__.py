"""From texts to batches of token ids: assembling, packing, padding. The only face of `dupo._C`.

    find_numbers, hide_numbers
               texts -> their numbers; each text with one of them hidden, in turn
    Assembler  pieces of texts, and which texts they make -> token ids
    pack       lengths, token budget -> micro-batches (best-fit decreasing)
    packed     prompts and completions -> one run of tokens, end to end
    padded     prompts and completions -> one row of tokens each

Each has a plain Python twin of the same result (`numbers`, `assembly` and `packing` in this folder). The twin
defines it, serves where the extension was not built, and is what the tests compare the extension with. What a
token id means is not known here. The number of threads never changes a result.

Shape letters: S sequences, N tokens of all of them, T tokens of the longest one, P pieces, K places of pieces
in sequences.
"""

import threading
import warnings
from collections.abc import Callable, Sequence
from fractions import Fraction
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from dupo.text import assembly, numbers, packing
from dupo.text.assembly import INT32_MAX, Int32, Int64
from dupo.text.numbers import REASONS, ROLES, Hidden, Number
from dupo.text.packing import Bool, Ids

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
Tokenize = Callable[[list[str], list[bool]], Sequence[Sequence[int]]]

MOST_HIDDEN = 256  # numbers of one text: what has more is a table, not a problem
CACHE_BYTES = 2**28  # of chunks and their ids that an Assembler keeps from one call to the next


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
    """Token ids of texts that are made of pieces, each different chunk tokenised once (`dupo.text.assembly`).

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
    indices, offsets = (_C if BUILT else packing).pack(values, token_budget)
    bounds = offsets.tolist()
    return [indices[start:end] for start, end in pairwise(bounds)]


def packed(prompts: Ids, completions: Ids | None = None, *, threads: int = 1) -> Packed:
    """Each prompt followed by its completion, end to end.

    Raises:
        ValueError: bounds that do not fit, another number of completions than of prompts, or more than
            2**31 - 1 tokens.
    """
    sampled = _completions(prompts, completions)
    return Packed(*(_C if BUILT else packing).packed(*prompts, *sampled, threads))


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
    return Padded(*(_C if BUILT else packing).padded(*prompts, *sampled, pad_id, left, threads))


def find_numbers(texts: Sequence[str], *, threads: int = 1) -> list[list[Number]]:
    """The numbers of each text from left to right, each with the reason why it may not be hidden, if any.

    The rules are those of `dupo.text.numbers`; docs/duals.md has a table of them. The result does not depend
    on `threads`, how many share the work.

    Raises:
        ValueError: half a surrogate pair in a text (it has no UTF-8), or threads below 1.
    """
    _check_texts(texts, threads)
    if not BUILT:
        return [numbers.find_numbers(_checked_text(texts, i)) for i in range(len(texts))]
    found = _read(_C.find_numbers, texts, threads)
    return [_numbers(text, rows) for text, rows in zip(texts, found, strict=True)]


def hide_numbers(
    texts: Sequence[str], seeds: Sequence[int], *, most: int = MOST_HIDDEN, threads: int = 1
) -> list[list[Hidden]]:
    """The numbers of a text that may be hidden, each hidden in turn wherever it stands (DuPO, appendix A).

    Args:
        texts: T texts.
        seeds: T integers of 64 bits without sign, one a text. They alone decide the names of the variables,
            and which numbers are hidden where there are more than `most`.
        most: hidden numbers a text, 1 to 256: each is a copy of the text.
        threads: how many share the work; the result does not depend on it.

    Returns:
        For each text one `Hidden` for each different number, in the order in which they first stand there.

    Raises:
        ValueError: half a surrogate pair in a text, or an argument out of range.
    """
    _check_texts(texts, threads)
    if len(seeds) != len(texts) or not all(0 <= seed < 2**64 for seed in seeds):
        raise ValueError(f"seeds: expected {len(texts)} integers from 0 to 2**64 - 1, one a text")
    if not 1 <= most <= MOST_HIDDEN:
        raise ValueError(f"most: expected 1 to {MOST_HIDDEN}, got {most}")
    if not BUILT:
        return [numbers.hide_numbers(_checked_text(texts, i), seed, most) for i, seed in enumerate(seeds)]
    found = _read(_C.hide_numbers, texts, np.array(seeds, dtype=np.uint64), most, threads)
    return [
        [Hidden(known, variable, tuple(_numbers(text, rows))) for known, variable, rows in hidden]
        for text, hidden in zip(texts, found, strict=True)
    ]


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


def _check_texts(texts: Sequence[str], threads: int) -> None:
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"texts: expected a list of str, got {str(texts)[:40]!r}")
    if threads < 1:
        raise ValueError(f"threads: expected at least 1, got {threads}")


def _checked_text(texts: Sequence[str], index: int) -> str:
    try:
        texts[index].encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"texts[{index}]: expected text, got half a surrogate pair at character {error.start}"
        ) from None
    return texts[index]


def _read(call: Callable[..., list[Any]], texts: Sequence[str], *args: object) -> list[Any]:
    """What the extension says of texts; only where it cannot read one is it asked which."""
    try:
        return call(list(texts), *args)
    except UnicodeEncodeError:
        for index in range(len(texts)):
            _checked_text(texts, index)
        raise


def _numbers(text: str, rows: list[tuple[int, int, int, int, int, int]]) -> list[Number]:
    return [
        Number(start, end, text[start:end], Fraction(above, below), ROLES[role], _SKIP[skip])
        for start, end, above, below, role, skip in rows
    ]


_SKIP: tuple[str | None, ...] = (*REASONS, None)
