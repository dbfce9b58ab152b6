"""Token ids of texts that share pieces: every different chunk of text is tokenised once."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dupo.text import assembly, extension
from dupo.text.ids import Ids, Int64, Integers, int64_array

# Chunks, and which chunks open a text -> ids of each chunk.
Tokenize = Callable[[list[str], list[bool]], Sequence[Sequence[int]]]

CACHE_BYTES = 2**28  # chunks and ids that an Assembler keeps from one call to the next


class Counts(NamedTuple):
    """What an Assembler has done since it was made.

    Attributes:
        sequences: texts assembled.
        uncut: sequences tokenised without a cut, because the tokenizer is not local.
        seams: texts across a seam between pieces that were cut anew.
        lookups: chunks looked up in the cache.
        tokenized: chunks sent to the tokenizer.
    """

    sequences: int
    uncut: int
    seams: int
    lookups: int
    tokenized: int


class Assembler:
    """Makes token ids of texts that consist of pieces; `dupo.text.assembly` explains how.

    Args:
        tokenize: returns the ids of each chunk, given the chunks and which chunks open a text.
        local: whether texts may be cut. If not, every different text is one chunk.
        cache_bytes: a larger cache is emptied before the next call.
    """

    def __init__(self, tokenize: Tokenize, *, local: bool, cache_bytes: int = CACHE_BYTES) -> None:
        self._tokenize = tokenize
        self._lock = threading.Lock()  # a call of the core has two halves that belong together
        core: Any = extension.core() or assembly
        self._core = core.Assembler(local, cache_bytes)

    def __call__(
        self,
        pieces: Sequence[str],
        members: Integers,
        offsets: Integers,
        *,
        before: Sequence[int] = (),
        after: Sequence[int] = (),
        threads: int = 1,
    ) -> Ids:
        """Returns the ids of S texts, each between the ids `before` and `after`.

        Args:
            pieces: P texts.
            members: (K,) indices of pieces.
            offsets: (S + 1,) text s consists of the pieces `members[offsets[s]:offsets[s + 1]]`.

        Raises:
            ValueError: a lone surrogate, members or offsets that do not fit, or more than 2**31 - 1 tokens.
        """
        text, bounds = _utf8(pieces)
        member_array = int64_array("members", members, least=0)
        offset_array = int64_array("offsets", offsets, least=0)
        opening, closing = np.array(before, np.int64), np.array(after, np.int64)
        # The tokenizer runs between the halves and may fail. After a failure, the next `begin` starts anew.
        with self._lock:
            chunks, opens_text = self._core.begin(text, bounds, member_array, offset_array, threads)
            chunk_ids = Ids.of(self._tokenize(chunks, opens_text) if chunks else [])
            chunk_bounds = chunk_ids.cu_seqlens.astype(np.int64)
            ids, cu_seqlens = self._core.finish(chunk_ids.ids, chunk_bounds, opening, closing, threads)
        return Ids(ids, cu_seqlens)

    @property
    def counts(self) -> Counts:
        """What the Assembler has done so far."""
        return Counts(*self._core.counts())


def _utf8(pieces: Sequence[str]) -> tuple[bytes, Int64]:
    """Returns the pieces end to end as UTF-8, and the P + 1 bounds of the pieces in bytes."""
    try:
        encoded = [piece.encode() for piece in pieces]
    except UnicodeEncodeError as error:
        raise ValueError(
            f"text: expected Unicode, got the lone surrogate {error.object[error.start]!r} at character "
            f"{error.start}"
        ) from None
    return b"".join(encoded), np.cumsum([0, *map(len, encoded)], dtype=np.int64)
