"""Packing: the extension equals its Python twin, and the twin equals the definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dupo import text

native = pytest.mark.skipif(not text.BUILT, reason="dupo._C is not built")

LENGTHS = st.lists(st.integers(1, 60), max_size=80)
# Few distinct values, so that ties between lengths and between bins decide the result.
TIED = st.lists(st.sampled_from([1, 2, 3, 5, 8, 30]), max_size=80)
BUDGETS = st.integers(60, 200)
PAIRS = st.lists(st.tuples(st.integers(1, 20), st.integers(0, 20)), max_size=40)


@pytest.fixture(params=[pytest.param(True, marks=native, id="extension"), pytest.param(False, id="python")])
def served_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "BUILT", request.param)


def assert_same(actual: tuple[np.ndarray, ...], expected: tuple[np.ndarray, ...]) -> None:
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def int64(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int64)


# --- the extension against the twin ---


@native
@given(lengths=LENGTHS | TIED, budget=BUDGETS)
def test_pack_equals_twin(lengths: list[int], budget: int) -> None:
    assert_same(text._C.pack(int64(lengths), budget), text._pack_py(int64(lengths), budget))


@native
@given(lengths=LENGTHS)
def test_layout_equals_twin(lengths: list[int]) -> None:
    assert_same(text._C.layout(int64(lengths)), text._layout_py(int64(lengths)))


@native
@given(pairs=PAIRS)
def test_loss_rows_equal_twin(pairs: list[tuple[int, int]]) -> None:
    prompts, completions = int64([p for p, _ in pairs]), int64([c for _, c in pairs])
    assert_same(text._C.loss_rows(prompts, completions), text._loss_rows_py(prompts, completions))


@native
@pytest.mark.parametrize(
    "call",
    [
        lambda: text._C.pack(int64([3, 9]), 8),
        lambda: text._C.pack(int64([0]), 8),
        lambda: text._C.layout(int64([-5, 10])),
        lambda: text._C.layout(int64([2**31 - 1, 1])),
        lambda: text._C.loss_rows(int64([1]), int64([1, 2])),
        lambda: text._C.layout(np.ones((2, 2), dtype=np.int64)),
    ],
    ids=["long", "zero", "negative", "overflow", "sizes", "matrix"],
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


@given(lengths=LENGTHS)
def test_layout_is_the_definition(lengths: list[int]) -> None:
    position_ids, cu_seqlens, owner = text.layout(lengths)
    assert position_ids.tolist() == [t for length in lengths for t in range(length)]
    assert cu_seqlens.tolist() == [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    assert owner.tolist() == [i for i, length in enumerate(lengths) for _ in range(length)]
    assert (position_ids.dtype, cu_seqlens.dtype, owner.dtype) == (np.int64, np.int32, np.int32)


@given(pairs=PAIRS)
def test_loss_rows_are_those_before_a_sampled_token(pairs: list[tuple[int, int]]) -> None:
    sampled = [flag for prompt, completion in pairs for flag in [False] * prompt + [True] * completion]
    rows, cu_seqlens = text.pack_completions([p for p, _ in pairs], [c for _, c in pairs])
    assert rows.tolist() == [row for row in range(len(sampled) - 1) if sampled[row + 1]]
    assert cu_seqlens.tolist() == [sum(c for _, c in pairs[:i]) for i in range(len(pairs) + 1)]
    assert (rows.dtype, cu_seqlens.dtype) == (np.int64, np.int32)


@pytest.mark.usefixtures("served_by")
def test_no_sequences() -> None:
    assert text.pack([], 8) == []
    assert_same(text.layout([]), (int64([]), np.zeros(1, np.int32), np.zeros(0, np.int32)))
    assert_same(text.pack_completions([], []), (int64([]), np.zeros(1, np.int32)))


@pytest.mark.usefixtures("served_by")
@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.int64])
def test_any_integer_array_and_stride_serves(dtype: type) -> None:
    strided = np.array([2, 99, 3, 99, 1, 99], dtype=dtype)[::2]
    assert text.layout(strided)[1].tolist() == [0, 2, 5, 6]
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
        (lambda: text.layout([2**31 - 1, 1]), "at most 2147483647 tokens .* got 2147483648"),
        (lambda: text.layout([2**62, 2**62, 2**62]), "at most 2147483647 tokens"),
        (lambda: text.layout([-1]), r"lengths\[0\]: expected at least 1 token\(s\), got -1"),
        (lambda: text.pack_completions([2, 0], [1, 1]), r"prompt_lengths\[1\]: expected at least 1 .* got 0"),
        (lambda: text.pack_completions([2], [-1]), r"completion_lengths\[0\]: expected at least 0 .* got -1"),
        (lambda: text.pack_completions([2], [1, 1]), "one for each of the 1 prompts, got 2"),
        (lambda: text.pack_completions([2**31 - 1], [1]), "at most 2147483647 tokens .* got 2147483648"),
    ],
)
def test_errors_say_what_was_expected(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
