"""Assembling: the extension equals its Python twin, and the twin equals cutting the whole text."""

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dupo import text
from dupo.text import assembly
from tests.helpers.extension import CORE, needs_extension

CORES = [
    pytest.param(lambda *args: CORE.Assembler(*args), marks=needs_extension, id="extension"),
    pytest.param(assembly.Assembler, id="python"),
]
BLANK = re.compile(f"[{assembly.BLANK}]")
BLANKS = "\x85\xa0\u1680\u180e\u2000\u200a\u200b\u200f\u2028\u202f\u205f\u2064\u2581\u3000\ufeff\0\t\n\r\x1f"
EDGES = "\u007f\u0084\u0086\u2027\u2010\u2065\u2580\u3001\ufefe\U0001f642\u0301"  # not blank, next to what is
TEXTS = st.text(st.sampled_from([*"    ab1.", *BLANKS, *EDGES]), max_size=9) | st.text(max_size=5)
TEXTS |= st.lists(st.sampled_from(["a", "b1", "é", "🙂", ""]), max_size=6).map(" ".join)
PIECES = st.lists(TEXTS, min_size=1, max_size=5)
SEQUENCES = st.lists(st.lists(st.integers(0, 4), max_size=4), max_size=5)


def naive_chunks(joined: str) -> list[str]:
    """Cuts a text as the docstring of `dupo.text.assembly` says it, one character after another."""
    starts = [0]
    for i, character in enumerate(joined[:-1]):
        if character == " " and i and not any(BLANK.match(c) for c in (joined[i - 1], joined[i + 1])):
            starts.append(i)
    return [joined[start:end] for start, end in pairwise([*starts, len(joined)])]


def ids_of(chunk: str, first: bool) -> list[int]:
    """A tokenizer that gives everything away: where a chunk starts, whether it is first, what is in it."""
    return [-2 if first else -1, *map(ord, chunk)]


def tokenize(chunks: list[str], first: list[bool]) -> list[list[int]]:
    return [ids_of(chunk, opens) for chunk, opens in zip(chunks, first, strict=True)]


def int64(values: Sequence[int]) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def arrays(pieces: list[str], sequences: list[list[int]]) -> tuple[bytes, np.ndarray, np.ndarray, np.ndarray]:
    members = [m % len(pieces) for sequence in sequences for m in sequence]
    encoded = [piece.encode() for piece in pieces]
    bounds, offsets = (np.cumsum([0, *map(len, x)], dtype=np.int64) for x in (encoded, sequences))
    return b"".join(encoded), bounds, int64(members), offsets


def run(core, call, threads: int):
    """What one call returns, all of it, as plain lists."""
    chunks, first = core.begin(*call, threads)
    learned = text.Ids.of(tokenize(chunks, first))
    bounds = learned.cu_seqlens.astype(np.int64)
    ids, cu_seqlens = core.finish(learned.ids, bounds, int64([7, 8]), int64([9]), threads)
    assert (ids.dtype, cu_seqlens.dtype) == (np.int64, np.int32)
    return chunks, first, ids.tolist(), cu_seqlens.tolist(), core.counts()


@pytest.mark.slow
@needs_extension
@given(
    calls=st.lists(st.tuples(PIECES, SEQUENCES), max_size=3), cuts=st.booleans(), limit=st.integers(0, 900)
)
def test_extension_equals_twin_for_any_number_of_threads(calls, cuts: bool, limit: int) -> None:
    cores = [assembly.Assembler(cuts, limit), *(CORE.Assembler(cuts, limit) for _ in range(3))]
    for call in calls:
        twin, *others = (run(core, arrays(*call), n) for core, n in zip(cores, (1, 1, 2, 5), strict=True))
        assert all(other == twin for other in others)


@needs_extension
def test_extension_cuts_beside_every_character_as_the_twin_does() -> None:
    characters = [chr(i) for i in (*range(0x3100), *range(0xFE00, 0x10100))]
    pieces = [piece for c in characters for piece in (f"{c} b", f"a {c}", f"a{c} {c}b c")]
    call = arrays(pieces, [[i] for i in range(len(pieces))])
    chunks, first = CORE.Assembler(True, 0).begin(*call, 2)
    assert (chunks, first) == assembly.Assembler(True, 0).begin(*call, 1)


@given(pieces=PIECES, sequences=SEQUENCES, cuts=st.booleans())
def test_twin_is_the_definition(pieces: list[str], sequences: list[list[int]], cuts: bool) -> None:
    twin, call = assembly.Assembler(cuts, 10**6), arrays(pieces, sequences)
    for cached in (False, True):
        chunks, _, ids, cu_seqlens, _ = run(twin, call, 1)
        assert not (cached and chunks)
        joined = ["".join(pieces[m % len(pieces)] for m in sequence) for sequence in sequences]
        cut = [naive_chunks(sequence) if cuts else [sequence] for sequence in joined]
        expected = [
            [7, 8, *(i for k, chunk in enumerate(chunks) for i in ids_of(chunk, k == 0)), 9] for chunks in cut
        ]
        assert text.Ids(int64(ids), np.array(cu_seqlens)).lists() == expected


def test_nothing_is_cut_beside_what_may_be_white_space() -> None:
    white = {chr(i) for i in range(0x110000) if chr(i).isspace()} | {*BLANKS}
    assert {c for c in map(chr, range(0x110000)) if BLANK.match(c)} > white
    assert not any(BLANK.match(c) for c in EDGES)


@pytest.mark.usefixtures("served_by")
def test_counts_and_chunks_of_a_known_case() -> None:
    seen: list[tuple[str, bool]] = []

    def spy(chunks: list[str], first: list[bool]) -> list[list[int]]:
        seen.extend(zip(chunks, first, strict=True))
        return tokenize(chunks, first)

    assembler = text.Assembler(spy, local=True)
    pieces = ["How many is", " it? The answer is ", "7", " apples now."]
    assembler(pieces, [0, 1, 2, 3, 0, 1, 2], [0, 4, 7], threads=2)
    # Inside of pieces: " many"; across seams: "is| it?", "is |7", "7| apples" and so on; the tails are alone.
    firsts = [chunk for chunk, first in seen if first]
    assert firsts == ["How"]
    assert sorted(c for c, f in seen if not f) == sorted(
        [" it?", " The", " answer", " is", " 7", " apples", " now.", " many"]
    )
    assert assembler.counts == text.Counts(sequences=2, uncut=0, seams=4, lookups=15, tokenized=9)
    assembler(pieces, [0, 1], [0, 2])
    assert len(seen) == assembler.counts.tokenized == 10  # "is |" ends a text now
    uncut = text.Assembler(tokenize, local=False)
    uncut(pieces, [0, 1, 0, 1], [0, 2, 4])
    assert uncut.counts == text.Counts(sequences=2, uncut=2, seams=0, lookups=2, tokenized=1)


@pytest.mark.usefixtures("served_by")
def test_the_cache_is_emptied_past_its_limit() -> None:
    small, large = (text.Assembler(tokenize, local=True, cache_bytes=n) for n in (100, 10**6))
    for _ in range(3):
        for assembler in (small, large):
            assert len(assembler(["a b c"], [0], [0, 1]).ids) == 8
    assert (small.counts.tokenized, large.counts.tokenized) == (9, 3)


@pytest.mark.usefixtures("served_by")
def test_an_error_of_the_tokenizer_does_no_harm() -> None:
    failing = [True]

    def sometimes(chunks: list[str], first: list[bool]) -> list[list[int]]:
        if failing.pop():
            raise OSError("once")
        failing.append(False)
        return tokenize(chunks, first)

    assembler = text.Assembler(sometimes, local=True)
    with pytest.raises(OSError, match="once"):
        assembler(["a b"], [0], [0, 1])
    failing.append(False)
    assert assembler(["a b"], [0], [0, 1]).lists() == [[-2, 97, -1, 32, 98]]


@pytest.mark.usefixtures("served_by")
def test_sizes_at_the_edges() -> None:
    assembler = text.Assembler(tokenize, local=True)
    assert assembler([], [], [0]).lists() == []
    assert assembler([""], [0, 0], [0, 2, 2]).lists() == [[-2], [-2]]
    assert assembler(["a\0b c"], [0], [0, 1]).lists() == [[-2, 97, 0, 98, -1, 32, 99]]
    long, dense = "x" * 2**20, "y " * 2**16
    ids = assembler([long, dense], [0, 1], [0, 2], threads=3).lists()[0]
    assert ids == [i for k, c in enumerate(naive_chunks(long + dense)) for i in ids_of(c, k == 0)]
    many = [f"{i} w"[: i % 5] for i in range(10**5)]
    ids = assembler(many, range(10**5), [0, 10**5], threads=2).lists()[0]
    assert ids == [i for k, c in enumerate(naive_chunks("".join(many))) for i in ids_of(c, k == 0)]


BAD_UTF8 = [b"\x80", b"a\xff", b"\xc3", b"\xc3(", b"\xc0\xaf", b"\xe0\x9f\xbf", b"\xed\xa0\x80", b"\xe2\x82"]
BAD_UTF8 += [b"\xf0\x8f\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf0\x9f\x99", b"\xe2\x28\xa1"]
ONE, TWO = int64([0, 1]), int64([0, 2])


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("data", BAD_UTF8, ids=repr)
def test_text_that_is_not_utf8_is_refused(core, data: bytes) -> None:
    for piece in (data, b"long enough " + data, data + b" and more"):
        with pytest.raises(ValueError, match="text: expected UTF-8"):
            core(True, 0).begin(piece, int64([0, len(piece)]), int64([0]), ONE, 1)
    with pytest.raises(ValueError, match="text: expected UTF-8"):  # a character cut in two
        core(True, 0).begin("é".encode(), int64([0, 1, 2]), int64([0, 1]), TWO, 1)


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize(
    ("bounds", "members", "offsets", "threads", "message"),
    [
        ([0, 1], [0], [0, 1], 1, "bounds"),
        ([1, 2], [0], [0, 1], 1, "bounds"),
        ([0, 2, 1, 2], [0], [0, 1], 1, "bounds"),
        ([], [], [0], 1, "bounds"),
        ([0, -1, 2], [0], [0, 1], 1, "bounds"),
        ([0, 2], [1], [0, 1], 1, "members"),
        ([0, 2], [-1], [0, 1], 1, "members"),
        ([0, 2], [0, 0], [0, 1], 1, "offsets"),
        ([0, 2], [0, 0], [0, 3], 1, "offsets"),
        ([0, 2], [0, 0], [1, 2], 1, "offsets"),
        ([0, 2], [0, 0], [0, 2, 1, 2], 1, "offsets"),
        ([0, 2], [0, 0], [], 1, "offsets"),
        ([0, 2], [0], [0, 1], 0, "threads"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(core, bounds, members, offsets, threads, message: str) -> None:
    with pytest.raises(ValueError, match=f"{message}: expected"):
        core(True, 0).begin(b"ab", int64(bounds), int64(members), int64(offsets), threads)


@pytest.mark.parametrize("core", CORES)
def test_ids_that_do_not_fit_are_refused(core) -> None:
    none = int64([])
    assembler = core(True, 10**6)
    with pytest.raises(ValueError, match="expected after begin"):
        assembler.finish(none, int64([0]), none, none, 1)
    for ids, bounds in (
        ([1, 2], [0, 2]),
        ([1, 2], [0, 1, 3]),
        ([1, 2], [0, 3, 2]),
        ([1, 2], [0, 1, 1, 2]),
        ([], []),
    ):
        assembler.begin(b"a b", int64([0, 3]), int64([0]), ONE, 1)
        with pytest.raises(ValueError, match="bounds: expected"):
            assembler.finish(int64(ids), int64(bounds), none, none, 1)
    assembler.begin(b"a b", int64([0, 3]), int64([0]), ONE, 1)
    ids, cu_seqlens = assembler.finish(int64([5, 6, 7]), int64([0, 1, 3]), none, none, 1)
    assert (ids.tolist(), cu_seqlens.tolist()) == ([5, 6, 7], [0, 3])


@pytest.mark.usefixtures("served_by")
@pytest.mark.parametrize(
    ("pieces", "members", "offsets", "message"),
    [
        (
            ["ab\ud800"],
            [0],
            [0, 1],
            r"text: expected Unicode, got the lone surrogate '\\ud800' at character 2",
        ),
        (["a"], [-1], [0, 1], r"members\[0\]: expected at least 0"),
        (["a"], [0.5], [0, 1], "members: expected a flat list of integers"),
        (["a"], [1], [0, 1], "members: expected numbers of pieces"),
        (["a"], [0], [0, 2], "offsets: expected 0, ascending"),
    ],
)
def test_errors_say_what_was_expected(pieces, members, offsets, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        text.Assembler(tokenize, local=True)(pieces, members, offsets)


@needs_extension
def test_more_tokens_than_int32_are_refused() -> None:
    frame = [0] * 2**20
    with pytest.raises(ValueError, match="fits int32"):
        text.Assembler(tokenize, local=True)(["a"], [0] * 2**11, range(2**11 + 1), before=frame)
