"""Our rewards as TRL calls reward functions."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dupo.errors import UserError
from dupo.integrations.duals import Duals, load_duals
from dupo.integrations.trl import as_reward

QUESTIONS = [
    "Ann has 12 pens and buys 30 more. How many pens has Ann now?",
    "Bo has 9 caps and sells 4. How many?",
]
TEXTS = [
    r"\boxed{42}",
    r"\boxed{42}",
    r"\boxed{7}",
    "?",
    r"\boxed{5}",
    r"\boxed{6}",
    r"\boxed{6}",
    r"\boxed{5}",
]


@pytest.fixture
def duals(tmp_path: Path) -> Duals:
    path = tmp_path / "problems.jsonl"
    answers = [42, 5]
    rows = [f'{{"question": "{q}", "answer": {a}}}\n' for q, a in zip(QUESTIONS, answers, strict=True)]
    path.write_text("".join(rows))
    return load_duals(task="word_problems", dataset=str(path), eval_size=0)


def call(reward: Any, duals: Duals, is_chat: bool = False, step: int = 0) -> list[float | None]:
    prompts: list[Any] = [prompt for prompt in duals.prompts for _ in range(4)]
    completions: list[Any] = TEXTS
    if is_chat:
        prompts = [[{"role": "user", "content": prompt}] for prompt in prompts]
        completions = [[{"role": "assistant", "content": text}] for text in TEXTS]
    ids = [[1] * (3 + 2 * place) for place in range(8)]
    state = SimpleNamespace(global_step=step)
    return reward(
        prompts=prompts, completions=completions, completion_ids=ids, trainer_state=state, answer=[0] * 8
    )


@pytest.mark.parametrize("is_chat", [False, True])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gold", [1, 1, 0, 0, 1, 0, 0, 1]),
        ("format_only", [1, 1, 1, 0, 1, 1, 1, 1]),
        ("majority", [1, 1, 0, 0, 1, 0, 0, 1]),  # of two that are as frequent, the first
        ("soft_vote", [0.5, 0.5, 0.25, 0, 0.5, 0.5, 0.5, 0.5]),
        ("soft_overlong_punishment", [0, 0, 0, 0, -0.25, -0.75, -1, -1]),
    ],
)
def test_a_reward_gives_a_number_for_each_completion(
    duals: Duals, name: str, expected: list[float], is_chat: bool
) -> None:
    options = {"max_completion_length": 14, "soft_punish_cache": 4}
    reward = as_reward(name, duals, num_generations=4, **options)
    assert reward.__name__ == name
    assert call(reward, duals, is_chat) == expected


def test_coins_are_tossed_anew_at_every_step(duals: Duals) -> None:
    reward = as_reward("random", duals)
    tosses = [call(reward, duals, step=step) for step in range(3)]
    assert tosses[0] == call(reward, duals) and tosses[0] != tosses[1]
    assert {value for row in tosses for value in row} == {0.0, 1.0}


def test_parts_of_groups_are_refused(duals: Duals) -> None:
    message = "completions: expected 8 completions of each prompt on every rank, got parts of groups"
    with pytest.raises(UserError, match=re.escape(message) + ".*num_generations_eval must be the same"):
        call(as_reward("soft_vote", duals, num_generations=8), duals)


@pytest.mark.parametrize(("name", "size"), [("majority", 3), ("soft_vote", 2)])
def test_a_group_that_is_larger_is_no_two_groups(duals: Duals, name: str, size: int) -> None:
    got = f"got {size} where 4 completions of a prompt follow one another"
    with pytest.raises(
        UserError, match=f"^num_generations: expected that of the trainer.*num_generations_eval, {got}$"
    ):
        call(as_reward(name, duals, num_generations=size), duals)


def test_two_problems_of_one_prompt_may_be_neighbours(tmp_path: Path) -> None:
    path = tmp_path / "twice.jsonl"
    path.write_text(f'{{"question": "{QUESTIONS[0]}", "answer": 42}}\n' * 2)
    duals = load_duals(task="word_problems", dataset=str(path), eval_size=0)
    assert len(duals.prompts) == 2
    vote = as_reward("soft_vote", duals, num_generations=4)
    assert call(vote, duals) == [0.5, 0.5, 0.25, 0, 0.5, 0.5, 0.5, 0.5]
    with pytest.raises(UserError, match="got 2 where 8 completions of a prompt"):
        call(as_reward("soft_vote", duals, num_generations=2), duals)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dual", "name: expected any of gold, majority, soft_vote, random, format_only"),
        ("entropy", "got 'entropy'; duals need dual_rollout"),
        ("majority", "num_generations: expected that of the trainer for majority, got none"),
        ("soft_overlong_punishment", "max_completion_length: expected that of the trainer"),
    ],
)
def test_a_reward_that_cannot_be_is_refused(duals: Duals, name: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        as_reward(name, duals)


@pytest.mark.parametrize("size", [0, 1, -2])
def test_a_vote_of_less_than_two_is_refused(duals: Duals, size: int) -> None:
    with pytest.raises(
        UserError, match=f"num_generations: expected that of the trainer for majority, got {size}"
    ):
        as_reward("majority", duals, num_generations=size)


@pytest.mark.parametrize(
    ("answers", "got"),
    [(["", ""], "none"), (["42", "41"], "another than a problem before it")],
)
def test_gold_needs_one_right_answer_for_every_prompt(tmp_path: Path, answers: list[str], got: str) -> None:
    path = tmp_path / "unlabelled.jsonl"
    labels = [f', "answer": {answer}' if answer else "" for answer in answers]
    path.write_text("".join(f'{{"question": "{QUESTIONS[0]}"{label}}}\n' for label in labels))
    duals = load_duals(task="word_problems", dataset=str(path), eval_size=0)
    with pytest.raises(UserError, match=f"gold: expected one right answer for every prompt, .* has {got}"):
        as_reward("gold", duals)


def test_messages_are_read_in_every_form(duals: Duals) -> None:
    """Models of pictures get blocks; a reply that only calls a tool has no text."""
    blocks = [{"type": "image"}, {"type": "text", "text": r"\boxed{42}"}]
    asked = [{"role": "user", "content": [{"type": "text", "text": duals.prompts[0]}]}]
    contents: list[Any] = [blocks, r"\boxed{42}", None]
    completions: list[Any] = [[{"role": "assistant", "content": content}] for content in contents]
    gold = as_reward("gold", duals)
    assert gold(prompts=[asked] * 3, completions=completions, completion_ids=[[1]] * 3) == [1, 1, 0]
    with pytest.raises(UserError, match="messages: expected at least one, got none"):
        gold(prompts=[[]], completions=["1"], completion_ids=[[1]])


def test_a_thought_that_the_template_opened_is_no_answer(duals: Duals) -> None:
    texts = [r"try \boxed{42}", r"so</think> \boxed{42}"]
    called = {"prompts": duals.prompts[:1] * 2, "completion_ids": [[1]] * 2}
    chats = [[{"role": "assistant", "content": text}] for text in texts]
    for completions in (texts, chats):
        assert as_reward("gold", duals)(completions=completions, **called) == [1, 1]
        assert as_reward("gold", duals, opens_thought=True)(completions=completions, **called) == [0, 1]
