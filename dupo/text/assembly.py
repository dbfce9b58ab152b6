"""Token ids of many texts that share pieces: the plain Python twin of csrc/batches_assembly.cpp.

    piece    a text that several prompts share, such as a question or an answer
    cut      the place before a space between two characters that are not blank
    chunk    what lies between two cuts: "ab cd" -> "ab", " cd"
    inside   the chunks of a piece between its first cut and its last cut
    seam     the text between the last cut of a piece and the first cut of a later piece

Where a tokenizer is local (`dupo.text.locality`), no token spans a cut, and the text on one side of a cut
does not change the tokens on the other side. So the ids of a text are the ids of its chunks, one after
another. Only the first chunk of a text may have other ids than an equal chunk further on: the cache tells the
two apart. A piece is cut once. A seam is joined to one text, and this text is cut anew.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from dupo.text.ids import INT32_MAX, Int32, Int64

Key = tuple[str, bool]  # a chunk, and whether the chunk opens its text

# White space and controls, what Unicode or a tokenizer may treat alike, and the space mark of SentencePiece.
BLANK = "\0- \x85\xa0\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u2064\u2581\u3000\ufeff"
CUT = re.compile(f"(?<=[^{BLANK}]) (?=[^{BLANK}])")
ENTRY_BYTES = 64  # cost of a cached chunk beside its text and its ids


class Assembler:
    """Assembles in two steps: `begin` names the unknown chunks, `finish` takes the ids of these chunks.

    Args:
        cuts: whether texts may be cut.
        limit: `begin` empties a cache of more bytes.
    """

    def __init__(self, cuts: bool, limit: int) -> None:
        self._cuts, self._limit = cuts, limit
        self._cache: dict[Key, list[int]] = {}
        self._cache_bytes = 0
        self._unknown: dict[Key, None] | None = None  # None: no call is under way
        self._insides: dict[int, list[Key]] = {}
        self._sequences: list[list[Key | int]] = []  # chunks, and pieces whose inside stands there
        self._counts = dict.fromkeys(("sequences", "uncut", "seams", "lookups", "tokenized"), 0)

    def begin(
        self, text: bytes, bounds: Int64, members: Int64, offsets: Int64, threads: int
    ) -> tuple[list[str], list[bool]]:
        """Returns the chunks that the cache lacks, each once, and which of the chunks open a text.

        Piece p is `text[bounds[p]:bounds[p + 1]]`. Sequence s consists of the pieces
        `members[offsets[s]:offsets[s + 1]]`.

        Raises:
            ValueError: bounds, members or offsets that do not fit, a piece that is not UTF-8, or threads
                below 1.
        """
        _check_threads(threads)
        _check_bounds(bounds, len(text), "bounds: expected 0, ascending, up to the size of the text")
        _check_bounds(offsets, len(members), "offsets: expected 0, ascending, up to the number of members")
        if ((members < 0) | (members >= len(bounds) - 1)).any():
            raise ValueError("members: expected numbers of pieces")
        # Between two calls, never within one: a sequence holds keys of the cache.
        if self._cache_bytes > self._limit:
            self._cache, self._cache_bytes = {}, 0
        try:
            pieces = [text[start:end].decode() for start, end in pairwise(bounds.tolist())]
        except UnicodeDecodeError:
            raise ValueError("text: expected UTF-8") from None
        self._unknown, self._insides = {}, {}
        cuts: dict[int, tuple[int, int] | None] = {}  # first and last cut of each piece in use
        for p in sorted(set(members.tolist())):
            places = [match.start() for match in CUT.finditer(pieces[p])] if self._cuts else []
            cuts[p] = (places[0], places[-1]) if places else None
            # With one cut, the piece has a head and a tail, and nothing between.
            if len(places) > 1:
                self._insides[p] = list(self._keys(pieces[p][places[0] : places[-1]], opens_text=False))
        self._sequences = [
            list(self._sequence(pieces, cuts, members[start:end].tolist()))
            for start, end in pairwise(offsets.tolist())
        ]
        self._counts["sequences"] += len(self._sequences)
        self._counts["uncut"] += 0 if self._cuts else len(self._sequences)
        return [chunk for chunk, _ in self._unknown], [opens_text for _, opens_text in self._unknown]

    def _sequence(
        self, pieces: list[str], cuts: dict[int, tuple[int, int] | None], members: list[int]
    ) -> Iterator[Key | int]:
        seam: list[str] = []  # texts since the last cut
        opens_text = True
        for p in members:
            cut = cuts[p]
            if cut is None:
                seam.append(pieces[p])
                continue
            first, last = cut
            yield from self._seam_keys([*seam, pieces[p][:first]], opens_text)
            if first < last:
                yield p
            seam, opens_text = [pieces[p][last:]], False
        yield from self._seam_keys(seam, opens_text)

    def _seam_keys(self, seam: list[str], opens_text: bool) -> Iterator[Key]:
        self._counts["seams"] += self._cuts and sum(map(bool, seam)) > 1
        return self._keys("".join(seam), opens_text)

    def _keys(self, text: str, opens_text: bool) -> Iterator[Key]:
        assert self._unknown is not None
        cuts = [match.start() for match in CUT.finditer(text)] if self._cuts else []
        for start, end in pairwise([0, *cuts, len(text)]):
            key = (text[start:end], opens_text and start == 0)
            self._counts["lookups"] += 1
            if key not in self._cache:
                self._unknown[key] = None
            yield key

    def finish(
        self, ids: Int64, bounds: Int64, before: Int64, after: Int64, threads: int
    ) -> tuple[Int64, Int32]:
        """Takes the ids of the unknown chunks. Returns the ids of every sequence, framed, and cu_seqlens.

        Unknown chunk i has the ids `ids[bounds[i]:bounds[i + 1]]`.

        Raises:
            ValueError: no `begin` before, bounds that do not fit, or more than 2**31 - 1 tokens.
        """
        _check_threads(threads)
        if self._unknown is None:
            raise ValueError("finish: expected after begin, once")
        _check_bounds(bounds, len(ids), "bounds: expected 0, ascending, up to the number of ids")
        if len(bounds) != len(self._unknown) + 1:
            raise ValueError("bounds: expected one for every chunk")
        for key, (start, end) in zip(self._unknown, pairwise(bounds.tolist()), strict=True):
            self._cache[key] = ids[start:end].tolist()
            self._cache_bytes += len(key[0].encode()) + 8 * (end - start) + ENTRY_BYTES
        self._counts["tokenized"] += len(self._unknown)
        self._unknown = None
        # Ids of an inside are joined once, however many sequences contain the piece.
        inside_ids = {p: [i for key in keys for i in self._cache[key]] for p, keys in self._insides.items()}
        opening, closing = before.tolist(), after.tolist()
        rows: list[Int64] = []
        for sequence in self._sequences:
            runs = (inside_ids[item] if isinstance(item, int) else self._cache[item] for item in sequence)
            rows.append(np.array([*opening, *(i for run in runs for i in run), *closing], np.int64))
        cu_seqlens = np.cumsum([0, *map(len, rows)])
        if cu_seqlens[-1] > INT32_MAX:
            raise ValueError("sequences: expected tokens whose sum fits int32")
        self._insides, self._sequences = {}, []
        return np.concatenate([np.zeros(0, np.int64), *rows]), cu_seqlens.astype(np.int32)

    def counts(self) -> tuple[int, ...]:
        """Returns the fields of `dupo.text.Counts`, in order."""
        return tuple(self._counts.values())


def _check_bounds(bounds: Int64, size: int, message: str) -> None:
    if not len(bounds) or bounds[0] != 0 or bounds[-1] != size or (np.diff(bounds) < 0).any():
        raise ValueError(message)


def _check_threads(threads: int) -> None:
    if threads < 1:
        raise ValueError("threads: expected at least 1")
