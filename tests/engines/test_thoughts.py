"""Answers of models that think first: what is thought is never the answer, also where the prompt opens it."""

from pathlib import Path
from typing import Any

import pytest

from dupo.config.task_options import TaskOptions
from dupo.duality.judge import Judge
from dupo.duality.reconstruct import reconstruct
from dupo.engines.base import Sampling, sample_answers
from dupo.rewards.refusals import refusal_metrics
from dupo.tasks.word_problems import WordProblems
from dupo.text.tokenizer import PromptTokenizer
from tests.helpers.engines import FakeEngine
from tests.helpers.thinking import OPENED, thinking_bytes
from tests.helpers.tokenizers_made import THINKING


def tokenizer(template: str, *, special: bool = False, **arguments: Any) -> PromptTokenizer:
    return PromptTokenizer(thinking_bytes(template, special=special), arguments=arguments)


@pytest.mark.parametrize("special", [False, True])
def test_a_template_may_open_a_thought(special: bool) -> None:
    assert tokenizer(OPENED, special=special).opens_thought("1 + 1?")
    assert tokenizer(OPENED, special=special).opens_thought(("1 +", " 1?"))
    # Thinking off closes the thought at once; the template of Qwen3 leaves it to the model to open one.
    assert not tokenizer(OPENED, special=special, enable_thinking=False).opens_thought("1 + 1?")
    assert not tokenizer(THINKING, special=special).opens_thought("1 + 1?")
    # The question of a user opens nothing.
    assert not tokenizer(THINKING, special=special).opens_thought("1 + 1? <think>")


def test_the_marks_of_a_thought_stay_in_the_text_and_other_special_tokens_do_not() -> None:
    text = "<think>so</think> 7<|im_end|>"
    for special in (False, True):
        made = tokenizer(THINKING, special=special)
        ids = made.hf(text, add_special_tokens=False).input_ids
        assert made.decode([ids, []]) == ["<think>so</think> 7", ""]


SAID = [r"so \boxed{1}", r"so \boxed{1}</think> It is \boxed{2}", r"\boxed{1}</think>", "</think>3"]


def task(tmp_path: Path) -> WordProblems:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"question": "Ann has 12 pears and eats 5. How many are left?"}\n')
    return WordProblems(TaskOptions(task="word_problems", dataset=str(file), eval_size=0), seed=0)


def engine(opens: bool) -> FakeEngine:
    """Says `SAID`; its chat template opens a thought, or does not."""
    made = FakeEngine(lambda prompt, k: SAID[k])
    made.tokenizer.opens_thought = lambda prompt: opens
    return made


def test_a_completion_that_is_cut_in_its_thought_has_no_answer(tmp_path: Path) -> None:
    words = task(tmp_path)
    rollout = sample_answers(engine(True), words, words.train, 4, Sampling(1.0, 50), seed=0)
    assert rollout.answers == [[None, "2", None, "3"]]
    assert refusal_metrics(words, rollout) == {"completions/refused/unreadable": 0.5}
    # What people and reward functions see is what was sampled.
    assert [completion.text for completion in rollout.completions[0]] == SAID
    # Without a thought of the prompt, the first text is an answer.
    rollout = sample_answers(engine(False), words, words.train, 4, Sampling(1.0, 50), seed=0)
    assert rollout.answers == [["1", "2", None, "3"]]


@pytest.mark.parametrize(
    ("opens", "expected"), [(True, [None, 1.0, None, 1.0]), (False, [1.0, 1.0, None, 1.0])]
)
def test_so_it_is_with_the_answer_to_a_dual(
    tmp_path: Path, opens: bool, expected: list[float | None]
) -> None:
    words = task(tmp_path)
    judge = Judge(engine(opens), 4, Sampling(1.0, 50))
    (by_answer,) = reconstruct(words, words.train, [["7"]], judge.asking(0))
    assert [row.distances for row in by_answer["7"]] == [expected] * 2
