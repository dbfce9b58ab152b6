"""Token ids of many texts that share pieces: the plain Python twin of csrc/assembly.cpp.

A *cut* stands before a space between two characters that are not blank. Where a tokenizer is local
(`text.tokenizer`), no token spans a cut, and neither side changes the tokens of the other. So the ids of a
text are those of its chunks, the parts between cuts, one after another; only the first chunk of a text may
differ, and is known apart. A piece is cut once. Where two pieces meet, what lies between the last cut of one
and the first cut of the other is a window, and is cut anew.

The twin defines every result, serves where the extension was not built, and is what the tests compare with.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
Key = tuple[str, bool]  # a chunk, and whether it is the first of its text

# White space and controls, what Unicode or a tokenizer may treat alike, and the space mark of SentencePiece.
BLANK = "\0- \x85\xa0\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u2064\u2581\u3000\ufeff"
CUT = re.compile(f"(?<=[^{BLANK}]) (?=[^{BLANK}])")
INT32_MAX = 2**31 - 1
ENTRY_BYTES = 64  # of a chunk in the cache, beside its text and its ids


class Assembler:
    """See csrc/assembly.hpp: `begin` tells which chunks are unknown, `finish` takes their ids."""

    def __init__(self, cuts: bool, limit: int) -> None:
        self._cuts, self._limit = cuts, limit
        self._known: dict[Key, list[int]] = {}
        self._bytes = 0
        self._fresh: dict[Key, None] | None = None
        self._insides: dict[int, list[Key]] = {}
        self._sequences: list[list[Key | int]] = []  # chunks, and pieces whose inside stands there
        self._counts = dict.fromkeys(("sequences", "whole", "windows", "lookups", "learned"), 0)

    def begin(
        self, text: bytes, bounds: Int64, members: Int64, offsets: Int64, threads: int
    ) -> tuple[list[str], list[bool]]:
        """The chunks that the cache lacks, each once, and which of them open a text."""
        _check_threads(threads)
        _check_bounds(bounds, len(text), "bounds: expected 0, ascending, up to the size of the text")
        _check_bounds(offsets, len(members), "offsets: expected 0, ascending, up to the number of members")
        if ((members < 0) | (members >= len(bounds) - 1)).any():
            raise ValueError("members: expected numbers of pieces")
        if self._bytes > self._limit:
            self._known, self._bytes = {}, 0
        try:
            pieces = [text[start:end].decode() for start, end in pairwise(bounds.tolist())]
        except UnicodeDecodeError:
            raise ValueError("text: expected UTF-8") from None
        self._fresh, used, cuts = {}, set(members.tolist()), {}
        self._insides = {}
        for p in sorted(used):
            found = [match.start() for match in CUT.finditer(pieces[p])] if self._cuts else []
            cuts[p] = (found[0], found[-1]) if found else None
            if len(found) > 1:
                self._insides[p] = list(self._keys(pieces[p][found[0] : found[-1]], first=False))
        self._sequences = [
            list(self._sequence(pieces, cuts, members[start:end].tolist()))
            for start, end in pairwise(offsets.tolist())
        ]
        self._counts["sequences"] += len(self._sequences)
        self._counts["whole"] += 0 if self._cuts else len(self._sequences)
        return [chunk for chunk, _ in self._fresh], [first for _, first in self._fresh]

    def _sequence(
        self, pieces: list[str], cuts: dict[int, tuple[int, int] | None], members: list[int]
    ) -> Iterator[Key | int]:
        parts: list[str] = []  # of the window
        first = True
        for p in members:
            cut = cuts[p]
            if cut is None:
                parts.append(pieces[p])
                continue
            yield from self._window([*parts, pieces[p][: cut[0]]], first)
            if cut[0] < cut[1]:
                yield p
            parts, first = [pieces[p][cut[1] :]], False
        yield from self._window(parts, first)

    def _window(self, parts: list[str], first: bool) -> Iterator[Key]:
        self._counts["windows"] += self._cuts and sum(map(bool, parts)) > 1
        return self._keys("".join(parts), first)

    def _keys(self, text: str, first: bool) -> Iterator[Key]:
        assert self._fresh is not None
        cuts = [match.start() for match in CUT.finditer(text)] if self._cuts else []
        for start, end in pairwise([0, *cuts, len(text)]):
            key = (text[start:end], first and start == 0)
            self._counts["lookups"] += 1
            if key not in self._known:
                self._fresh[key] = None
            yield key

    def finish(
        self, ids: Int64, bounds: Int64, before: Int64, after: Int64, threads: int
    ) -> tuple[Int64, Int32]:
        """Takes the ids of the unknown chunks; the ids of every sequence, framed, and cu_seqlens."""
        _check_threads(threads)
        if self._fresh is None:
            raise ValueError("learn: expected after begin, once")
        _check_bounds(bounds, len(ids), "bounds: expected 0, ascending, up to the number of ids")
        if len(bounds) != len(self._fresh) + 1:
            raise ValueError("bounds: expected one for every chunk")
        for key, (start, end) in zip(self._fresh, pairwise(bounds.tolist()), strict=True):
            self._known[key] = ids[start:end].tolist()
            self._bytes += len(key[0].encode()) + 8 * (end - start) + ENTRY_BYTES
        self._counts["learned"] += len(self._fresh)
        self._fresh = None
        insides = {p: [i for key in keys for i in self._known[key]] for p, keys in self._insides.items()}
        opening, closing = before.tolist(), after.tolist()
        rows: list[Int64] = []
        for sequence in self._sequences:
            parts = (insides[part] if isinstance(part, int) else self._known[part] for part in sequence)
            rows.append(np.array([*opening, *(i for part in parts for i in part), *closing], np.int64))
        cu_seqlens = np.cumsum([0, *map(len, rows)])
        if cu_seqlens[-1] > INT32_MAX:
            raise ValueError("sequences: expected tokens whose sum fits int32")
        self._insides, self._sequences = {}, []
        return np.concatenate([np.zeros(0, np.int64), *rows]), cu_seqlens.astype(np.int32)

    def counts(self) -> tuple[int, ...]:
        """Sequences; of them, tokenised whole; windows; chunks looked up; chunks sent to the tokenizer."""
        return tuple(self._counts.values())


def _check_bounds(bounds: Int64, size: int, message: str) -> None:
    if not len(bounds) or bounds[0] != 0 or bounds[-1] != size or (np.diff(bounds) < 0).any():
        raise ValueError(message)


def _check_threads(threads: int) -> None:
    if threads < 1:
        raise ValueError("threads: expected at least 1")
