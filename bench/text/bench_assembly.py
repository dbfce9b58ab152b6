"""Assembling a rollout's dual prompts: 358,704 texts of 22,000 questions, 20,000 answers and 22,000 endings.

    pytest --benchmark-only bench/text/bench_assembly.py

The questions consist of 20,000 words, a chunk has two tokens, and the cache is warm. So the time is that of
finding chunks and copying their ids, not of a tokenizer. The Python twin gets a hundredth of the texts.
"""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dupo import text
from dupo.text import extension

TEXTS, QUESTIONS, ANSWERS = 358_704, 22_000, 20_000


def tokenize(chunks: list[str], first: list[bool]) -> list[list[int]]:
    """Two tokens for every chunk."""
    return [[len(chunk), opens] for chunk, opens in zip(chunks, first, strict=True)]


def make_texts(count: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The pieces, the pieces that make each text, and where each text begins among them."""
    rng = random.Random(0)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randrange(1, 9))) for _ in range(20_000)]
    starts = [f"{' '.join(rng.choices(words, k=45))} The answer is \\boxed{{" for _ in range(QUESTIONS)]
    ends = [f"}}. {' '.join(rng.choices(words, k=15))}" for _ in range(QUESTIONS)]
    questions = np.arange(count) % QUESTIONS
    answers = 2 * QUESTIONS + np.random.default_rng(0).integers(0, ANSWERS, count)
    members = np.stack([questions, answers, QUESTIONS + questions], -1).ravel()
    return [*starts, *ends, *map(str, range(ANSWERS))], members, np.arange(0, 3 * count + 1, 3)


@pytest.mark.parametrize(("built", "threads"), [(True, 1), (True, 2), (False, 1)])
def bench_assembly(
    benchmark: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, built: bool, threads: int
) -> None:
    """All texts with a warm cache."""
    if built and extension.core() is None:
        pytest.skip("dupo._C is not built")
    if not built:
        monkeypatch.setattr(extension, "core", lambda: None)
    # The twin would take too long for all texts.
    count = TEXTS if built else TEXTS // 100
    assembler, texts = text.Assembler(tokenize, local=True), make_texts(count)
    benchmark.extra_info["texts"] = count  # type: ignore[attr-defined]
    benchmark.pedantic(  # type: ignore[attr-defined]
        assembler, args=texts, kwargs={"threads": threads}, rounds=2, warmup_rounds=1
    )
