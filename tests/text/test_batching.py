"""Packing: the extension equals its Python twin, and the twin equals the definition."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dupo import text
from dupo.text import packing
from tests.helpers.extension import CORE, needs_extension

LENGTHS = st.lists(st.integers(1, 60), max_size=80)
# Few distinct values, so that ties between lengths and between bins decide the result.
TIED = st.lists(st.sampled_from([1, 2, 3, 5, 8, 30]), max_size=80)
BUDGETS = st.integers(60, 200)
TOKENS = st.lists(st.integers(0, 2**40), max_size=6)
PAIRS = st.lists(st.tuples(TOKENS, TOKENS), max_size=20)
THREADS = st.sampled_from([1, 2, 5])


def assert_same(actual: tuple[np.ndarray, ...], expected: tuple[np.ndarray, ...]) -> None:
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def int64(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int64)


# --- the extension against the twin ---


@needs_extension
@given(lengths=LENGTHS | TIED, budget=BUDGETS)
def test_pack_equals_twin(lengths: list[int], budget: int) -> None:
    assert_same(CORE.pack(int64(lengths), budget), packing.pack(int64(lengths), budget))


def ids(pairs: list[tuple[list[int], list[int]]]) -> tuple[text.Ids, text.Ids]:
    return text.Ids.of([p for p, _ in pairs]), text.Ids.of([c for _, c in pairs])


@needs_extension
@given(pairs=PAIRS, threads=THREADS)
def test_packed_equals_twin(pairs: list[tuple[list[int], list[int]]], threads: int) -> None:
    prompts, completions = ids(pairs)
    args = *prompts, *completions
    native, twin = CORE.packed(*args, threads), packing.packed(*args, threads)
    assert native[3] == twin[3]
    assert_same(native[:3] + native[4:], twin[:3] + twin[4:])


@needs_extension
@given(pairs=PAIRS, left=st.booleans(), threads=THREADS)
def test_padded_equals_twin(pairs: list[tuple[list[int], list[int]]], left: bool, threads: int) -> None:
    prompts, completions = ids(pairs)
    args = *prompts, *completions, -7, left
    assert_same(CORE.padded(*args, threads), packing.padded(*args, threads))


def int32(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int32)


NOTHING = np.zeros(0, np.int64), np.zeros(3, np.int32)


@needs_extension
@pytest.mark.parametrize(
    "call",
    [
        lambda: CORE.pack(int64([3, 9]), 8),
        lambda: CORE.pack(int64([0]), 8),
        lambda: CORE.pack(np.ones((2, 2), dtype=np.int64), 8),
        lambda: CORE.packed(int64([1, 2]), int32([0, 3, 2]), *NOTHING, 1),
        lambda: CORE.packed(int64([1, 2]), int32([1, 1, 2]), *NOTHING, 1),
        lambda: CORE.packed(int64([1, 2]), int32([0, 1, 3]), *NOTHING, 1),
        lambda: CORE.packed(int64([1, 2]), int32([0, 2]), *NOTHING, 1),
        lambda: CORE.padded(int64([]), int32([]), *NOTHING, 0, True, 1),
        lambda: CORE.padded(*NOTHING, *NOTHING, 0, True, 0),
    ],
    ids=["long", "zero", "matrix", "falls", "starts", "ends", "sizes", "nothing", "threads"],
)
def test_extension_refuses_what_would_write_out_of_bounds(call) -> None:
    with pytest.raises(ValueError, match="expected"):
        call()


# --- the twin against the definition ---


def naive_pack(lengths: list[int], budget: int) -> list[list[int]]:
    """Best-fit decreasing as the docstring of `pack` says it, with a search over all bins."""
    bins: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        rooms = [budget - sum(lengths[i] for i in members) for members in bins]
        fitting = [b for b, room in enumerate(rooms) if room >= lengths[index]]
        if fitting:
            bins[min(fitting, key=lambda b: rooms[b])].append(index)
        else:
            bins.append([index])
    return sorted(sorted(members) for members in bins)


@given(lengths=LENGTHS | TIED, budget=BUDGETS)
def test_pack_is_best_fit_decreasing(lengths: list[int], budget: int) -> None:
    bins = [members.tolist() for members in text.pack(lengths, budget)]
    assert bins == naive_pack(lengths, budget)
    assert sorted(index for members in bins for index in members) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in members) <= budget for members in bins)
    assert len(bins) <= 1.7 * -(-sum(lengths) // budget) + 1


@pytest.mark.usefixtures("served_by")
def test_pack_known_case() -> None:
    # 7 opens A, 6 opens B; 4 fits B exactly (10), 3 fits A exactly (10), 2 opens C, 1 joins it.
    bins = text.pack([1, 7, 2, 6, 3, 4], 10)
    assert [members.tolist() for members in bins] == [[0, 2], [1, 4], [3, 5]]
    assert all(members.dtype == np.int64 for members in bins)


@pytest.mark.usefixtures("served_by")
def test_packed_is_the_definition() -> None:
    prompts, completions = ids([([7, 8], [1]), ([9], []), ([], [3, 4, 5])])
    batch = text.packed(prompts, completions, threads=2)
    assert batch.input_ids.tolist() == [7, 8, 1, 9, 3, 4, 5]
    assert batch.position_ids.tolist() == [0, 1, 2, 0, 0, 1, 2]
    assert batch.cu_seqlens.tolist() == [0, 3, 4, 7]
    assert batch.max_seqlen == 3
    assert batch.loss_mask.tolist() == [False, False, True, False, True, True, True]
    assert [a.dtype for a in batch if not isinstance(a, int)] == [np.int64, np.int64, np.int32, bool]
    assert not text.packed(prompts).loss_mask.any()


@pytest.mark.usefixtures("served_by")
@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_is_the_definition(side: str) -> None:
    prompts, completions = ids([([7, 8], [1]), ([9], []), ([], [])])
    batch = text.padded(prompts, completions, pad_id=5, side=side, threads=2)  # type: ignore[arg-type]
    lines = ["781 111 012 001", "559 001 000 000", "555 000 000 000"]
    if side == "right":
        lines[1] = "955 100 000 000"
    for row, line in enumerate(lines):
        assert [a[row].astype(int).tolist() for a in batch] == [list(map(int, word)) for word in line.split()]
    assert [a.dtype for a in batch] == [np.int64, np.int64, np.int64, bool]
    twice = text.padded(*ids([([3] * 4, []), ([6, 6], [])]), pad_id=5, side=side)  # type: ignore[arg-type]
    assert twice.position_ids[1].tolist() == ([0, 0, 0, 1] if side == "left" else [0, 1, 1, 1])


@given(sequences=st.lists(TOKENS))
def test_ids_are_lists_end_to_end(sequences: list[list[int]]) -> None:
    joined = text.Ids.of(sequences)
    assert joined.lists() == sequences
    assert (joined.ids.dtype, joined.cu_seqlens.dtype) == (np.int64, np.int32)


@given(sequences=st.lists(TOKENS, min_size=1), data=st.data())
def test_ids_of_arrays_and_tensors_are_ids_of_their_lists(
    sequences: list[list[int]], data: st.DataObject
) -> None:
    kinds = [lambda x: x, int64, lambda x: torch.tensor(x, dtype=torch.int64)]
    kinds += [lambda x: torch.tensor([0, *x, 0], dtype=torch.int64)[1:-1]]
    drawn = [data.draw(st.sampled_from(kinds))(sequence) for sequence in sequences]
    joined, expected = text.Ids.of(drawn), text.Ids.of(sequences)
    assert_same(joined, expected)


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.int64])
def test_ids_of_any_integer_tensors(dtype: torch.dtype) -> None:
    joined = text.Ids.of([torch.tensor([7, 8], dtype=dtype), [], np.array([9], np.uint64)])
    assert joined.lists() == [[7, 8], [], [9]]
    assert joined.ids.dtype == np.int64


@pytest.mark.usefixtures("served_by")
def test_no_sequences() -> None:
    assert text.pack([], 8) == []
    none = text.Ids.of([])
    assert none.cu_seqlens.tolist() == text.packed(none).cu_seqlens.tolist() == [0]
    assert text.packed(none, none).max_seqlen == 0
    assert text.padded(none, none, pad_id=0).input_ids.shape == (0, 0)


@pytest.mark.usefixtures("served_by")
@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.int64])
def test_any_integer_array_and_stride_serves(dtype: type) -> None:
    strided = np.array([2, 99, 3, 99, 1, 99], dtype=dtype)[::2]
    assert [members.tolist() for members in text.pack(strided, 4)] == [[0], [1, 2]]


# --- errors: what, what was expected, what was got ---


@pytest.mark.usefixtures("served_by")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: text.pack([1] * 17 + [5000], 4096),
            "sequence 17 has 5000 tokens, more than token_budget 4096",
        ),
        (lambda: text.pack([3, 0], 8), r"lengths\[1\]: expected at least 1 token\(s\), got 0"),
        (lambda: text.pack([3], 0), "token_budget: expected 1 to 2147483647 .* got 0"),
        (lambda: text.pack([3], 2**31), "token_budget: expected 1 to 2147483647 .* got 2147483648"),
        (lambda: text.pack([1.5], 8), "lengths: expected a flat list of integers, got float64"),
        (lambda: text.pack(np.ones((2, 2), dtype=int), 8), r"flat list .* shape \(2, 2\)"),
        (lambda: text.packed(*ids([([1], [])] * 2)[:1], ids([([], [])])[1]), "each of the 2 prompts, got 1"),
        (lambda: text.packed(text.Ids(int64([1]), int32([0, 2]))), "cu_seqlens: expected 0, ascending"),
        (
            lambda: text.padded(text.Ids.of([]), pad_id=0, side="top"),
            "side: expected left or right, got 'top'",
        ),
        (lambda: text.Ids.of([range(2**31)]), "at most 2147483647 tokens .* got 2147483648"),
        (lambda: text.Ids.of([np.array([1.5])]), "1-D arrays of integers, got float64"),
        (lambda: text.Ids.of([torch.ones(2, 2, dtype=torch.int64)]), r"got int64 of shape \(2, 2\)"),
    ],
)
def test_errors_say_what_was_expected(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
