"""Dual prompts of generated word problems, from texts and answers to a packed batch, beside whole strings.

    pytest --benchmark-only bench/text/bench_duals.py

`python -m bench.text.duals` measures real problems, memory and threads. The tokenizer is the built-in one (a
token a byte), so that this runs anywhere; with a real vocabulary whole strings take longer.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.text.duals import dual_prompts, load_task, make_answers
from dupo import text
from dupo.tasks.word_problems import WordProblems
from dupo.text.builtin_tokenizers import raw_bytes
from dupo.text.tokenizer import PromptTokenizer

NAMES = ("Ann", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana")
THINGS = ("pens", "cups", "eggs", "cats", "books", "stamps")
# Enough that the cache of chunks is used, and whole strings take seconds.
PROBLEMS = 100


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> WordProblems:
    """Word problems of one pattern, with other names and numbers in each."""
    rng, rows = random.Random(0), list[dict[str, str]]()
    for _ in range(PROBLEMS):
        name, thing = rng.choice(NAMES), rng.choice(THINGS)
        first, more, price = rng.sample(range(2, 500), 3)
        question = (
            f"{name} has {first} {thing} in a box and buys {more} more on Monday for ${price}. On Tuesday "
            f"{name} gives half of all {thing} to a friend. How many {thing} does {name} have then?"
        )
        rows.append({"question": question, "answer": f"#### {(first + more) // 2}"})
    file: Path = tmp_path_factory.mktemp("duals") / "problems.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_task(str(file))


@pytest.mark.parametrize("way", ["assembled", "whole_strings"])
def bench_duals(benchmark: Callable[..., Any], task: WordProblems, way: str) -> None:
    """Texts and answers to one packed batch, by assembling pieces or by tokenising whole strings."""
    answers = make_answers(task)

    def assembled() -> None:
        text.packed(PromptTokenizer(raw_bytes()).encode_packed(dual_prompts(task, answers)))

    def whole_strings() -> None:
        strings = ["".join(prompt) for prompt in dual_prompts(task, answers)]
        ids = raw_bytes()(strings, add_special_tokens=False, split_special_tokens=True).input_ids
        text.packed(text.Ids.of(ids))  # type: ignore[arg-type]

    benchmark({"assembled": assembled, "whole_strings": whole_strings}[way])
