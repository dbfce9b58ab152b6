"""Packing and padding up to 100,000 sequences: the extension against its plain Python twin.

    pytest --benchmark-only bench/text/bench_packing.py

Lengths are log-normal around 400 tokens, as the completions of a reasoning model, and cut to the token
budget.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dupo import text
from dupo.text import extension

SEQUENCES = 100_000
# The default token_budget of dupo.train.
TOKEN_BUDGET = 16_384
FUNCTIONS = {
    "pack": lambda lengths: text.pack(lengths, TOKEN_BUDGET),
    "packed": lambda lengths: text.packed(ids(lengths[:4_000]), ids(lengths[4_000:8_000] // 2)),
    "padded": lambda lengths: text.padded(ids(lengths[:1_000]), pad_id=0),
}


def ids(lengths: np.ndarray) -> text.Ids:
    """Sequences of these lengths."""
    bounds = np.cumsum([0, *lengths], dtype=np.int32)
    return text.Ids(np.arange(bounds[-1], dtype=np.int64), bounds)


def make_lengths() -> np.ndarray:
    """Lengths as completions have them."""
    draws = np.random.default_rng(0).lognormal(mean=6.0, sigma=0.8, size=SEQUENCES)
    return np.clip(draws.astype(np.int64), 1, TOKEN_BUDGET)


@pytest.mark.parametrize("built", [True, False], ids=["extension", "python"])
@pytest.mark.parametrize("name", FUNCTIONS)
def bench_packing(benchmark: Callable[..., Any], monkeypatch: Any, name: str, built: bool) -> None:
    """One function on all lengths."""
    if built and extension.core() is None:
        pytest.skip("dupo._C is not built")
    if not built:
        monkeypatch.setattr(extension, "core", lambda: None)
    benchmark.group = name  # type: ignore[attr-defined]
    benchmark.pedantic(FUNCTIONS[name], args=(make_lengths(),), rounds=5, warmup_rounds=1)  # type: ignore[attr-defined]
