"""Throws texts and arrays at every function of dupo._C for a time. For a build with sanitizers.

    python tests/repo/fuzz_extension.py SECONDS

`tests/repo/test_sanitizers.py` makes such a build and runs this in it.
"""

import contextlib
import sys
import time
from collections.abc import Callable

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dupo import text
from dupo.text import extension
from tests.helpers.number_texts import TEXTS

CORE = extension.core()
assert CORE is not None, "dupo._C is not built"

INTS = st.integers(-3, 40) | st.integers(-(2**63), 2**63 - 1)
ARRAYS = st.lists(INTS, max_size=12).map(lambda values: np.array(values, np.int64))
BOUNDS = st.lists(st.integers(0, 6), max_size=6).map(lambda steps: np.cumsum([0, *steps]))
THREADS = st.integers(1, 4)


@given(
    texts=st.lists(TEXTS | st.binary(max_size=30), max_size=5),
    seed=st.integers(0, 2**64 - 1),
    threads=THREADS,
)
def numbers(texts: list[str | bytes], seed: int, threads: int) -> None:
    CORE.find_numbers(texts, threads)
    CORE.hide_numbers(texts, np.full(len(texts), seed, np.uint64), 2, threads)


@given(first=ARRAYS | BOUNDS, budget=INTS)
def packing(first: np.ndarray, budget: int) -> None:
    CORE.pack(first, budget)


@given(data=st.data(), pieces=st.lists(TEXTS, max_size=5), local=st.booleans(), threads=THREADS)
def assembling(data: st.DataObject, pieces: list[str], local: bool, threads: int) -> None:
    def tokenize(chunks: list[str], opens_text: list[bool]) -> list[list[int]]:
        return [[ord(c) for c in chunk[:9]] for chunk in chunks]

    assembler = text.Assembler(tokenize, local=local, cache_bytes=data.draw(st.sampled_from([0, 200, 2**20])))
    for _ in range(2):
        members = data.draw(st.lists(st.integers(0, max(0, len(pieces) - 1)), max_size=9) | ARRAYS)
        cuts = data.draw(st.lists(st.integers(0, len(members)), max_size=5).map(sorted) | ARRAYS)
        assembler(pieces, members, [0, *cuts, len(members)], before=[1], after=[2], threads=threads)


@given(ids=ARRAYS, cu_seqlens=BOUNDS | ARRAYS, more=BOUNDS | ARRAYS, left=st.booleans(), threads=THREADS)
def batches(ids: np.ndarray, cu_seqlens: np.ndarray, more: np.ndarray, left: bool, threads: int) -> None:
    sides = [(np.arange(b[-1] if 0 <= b[-1] < 50 else 3), b.astype(np.int32)) for b in (cu_seqlens, more)]
    arrays = [array for side in sides for array in side]
    CORE.packed(*arrays, threads)
    CORE.padded(*arrays, 0, left, threads)


def refused(call: Callable[[], None]) -> Callable[[], None]:
    """What is refused with a ValueError is as good as an answer: only a crash counts here."""
    inner = call.hypothesis.inner_test  # type: ignore[attr-defined]

    def either(**values: object) -> None:
        with contextlib.suppress(ValueError, IndexError):
            inner(**values)

    call.hypothesis.inner_test = either  # type: ignore[attr-defined]
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    return settings(
        max_examples=400, derandomize=False, deadline=None, database=None, suppress_health_check=checks
    )(call)


def main(seconds: float) -> None:
    calls = [refused(call) for call in (numbers, packing, assembling, batches)]
    start, rounds = time.monotonic(), 0
    while time.monotonic() - start < seconds:
        for call in calls:
            call()
        rounds += 1
    took, examples = time.monotonic() - start, rounds * len(calls) * 400
    print(f"{examples} examples in {took:.0f} s, nothing found in {CORE.__file__}")


if __name__ == "__main__":
    main(float(sys.argv[1]))
