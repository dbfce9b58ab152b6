"""Duals for trainers of others: what is asked, and what the replies are worth."""

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from dupo.errors import UserError
from dupo.integrations.duals import Duals, answer_text, behind_thought, load_duals, sampling_temperature
from dupo.records import Completion, Prompt

PROBLEMS = '{"question": "Ann has 12 pens and buys 30 more. How many pens has Ann now?", "answer": 42}\n'


@pytest.fixture
def duals(tmp_path: Path) -> Duals:
    path = tmp_path / "problems.jsonl"
    path.write_text(PROBLEMS)
    return load_duals(task="word_problems", dataset=str(path), eval_size=0)


def prompt_of(duals: Duals) -> str:
    return duals.task.prompt(duals.task.train[0])


def reply_of(dual_prompt: str, right: bool) -> str:
    """What a judge says who knows the question: the number that is not in the dual prompt."""
    hidden = {"12", "30"} - set(re.findall(r"\d+", dual_prompt))
    assert len(hidden) == 1
    return rf"\boxed{{{hidden.pop() if right else 7}}}"


def test_the_reward_is_the_share_of_samples_that_recover_the_hidden_part(duals: Duals) -> None:
    asked = duals.ask_of(prompt_of(duals), r"12 + 30 = 42, so \boxed{42}")
    assert asked.answer == "42" and len(asked.prompts) == 2
    assert all("42" in prompt for prompt in asked.prompts)
    replies = [[reply_of(asked.prompts[0], right=right) for right in (True, True, False)]]
    replies.append([reply_of(asked.prompts[1], right=right) for right in (False, False, True)])
    assert duals.reward(asked, replies) == pytest.approx(3 / 6)


def test_an_answer_that_cannot_be_read_asks_nothing_and_is_worth_nothing(duals: Duals) -> None:
    asked = duals.ask_of(prompt_of(duals), "I do not know.")
    assert asked.prompts == [] and duals.reward(asked, []) == 0


def test_messages_are_read_by_their_last(duals: Duals) -> None:
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt_of(duals)}]
    completion = [{"role": "assistant", "content": r"\boxed{41}"}]
    assert duals.ask_of(prompt, completion) == duals.ask_of(prompt_of(duals), r"\boxed{41}")


def test_all_duals_are_asked_before_any_is_waited_for(duals: Duals) -> None:
    under_way: list[str] = []

    async def ask(prompt: str) -> list[str]:
        under_way.append(prompt)
        await asyncio.sleep(0)
        assert len(under_way) == 2
        return [reply_of(prompt, right=True)]

    assert asyncio.run(duals.judged(prompt_of(duals), r"\boxed{42}", ask)) == 1


@pytest.mark.parametrize("replies", [[], [["1"]], [["1"], []], [["1"], ["2"], ["3"]]], ids=str)
def test_replies_that_do_not_fit_the_prompts_are_refused(duals: Duals, replies: Any) -> None:
    asked = duals.ask_of(prompt_of(duals), r"\boxed{42}")
    with pytest.raises(UserError, match="replies: expected samples of 2 dual prompts, got"):
        duals.reward(asked, replies)


def test_a_prompt_of_no_problem_is_refused(duals: Duals) -> None:
    with pytest.raises(UserError, match=r"expected one of the 1 prompts of the data, .*got 'What is 1"):
        duals.ask_of("What is 1 + 1?", r"\boxed{2}")


def test_a_text_is_no_list_of_samples(duals: Duals) -> None:
    asked = duals.ask_of(prompt_of(duals), r"\boxed{42}")
    with pytest.raises(UserError, match="replies: expected a list of texts for each dual prompt, got a text"):
        duals.reward(asked, ["12", "30"])


@pytest.mark.parametrize(
    "option", ["dual_model", "dual_samples", "num_generations", "engine", "learning_rate"]
)
def test_an_option_without_effect_is_refused(option: str) -> None:
    with pytest.raises(UserError, match=f"{option}: expected an option of tasks and their duals, got one"):
        load_duals(task="arithmetic", **{option: "1"})


def test_held_out_prompts_are_asked_for_too() -> None:
    duals = load_duals(task="arithmetic", eval_size=3)
    assert len(duals.held_out_prompts) == 3 and not {*duals.held_out_prompts} & {*duals.prompts}
    assert duals.problem_of(duals.held_out_prompts[2]) == duals.task.held_out[2]


@pytest.mark.parametrize(
    ("prompt", "is_open"), [("a<think>\n", True), ("<think></think>", False), ("", False)]
)
def test_a_completion_stands_behind_the_thought_that_its_prompt_opens(prompt: str, is_open: bool) -> None:
    assert behind_thought(prompt, "x") == ("<think>x" if is_open else "x")


def test_several_samples_need_a_temperature() -> None:
    assert [sampling_temperature(1, None), sampling_temperature(3, None)] == [0, 1]
    assert sampling_temperature(3, 0.5) == 0.5 and sampling_temperature(1, 0.5) == 0.5


def test_the_shape_of_the_reward_is_an_option(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    path.write_text(PROBLEMS)
    duals = load_duals(
        task="word_problems", dataset=str(path), eval_size=0, reward_shape="exp", reward_lambda=2
    )
    asked = duals.ask_of(prompt_of(duals), r"\boxed{42}")
    wrong = [[reply_of(prompt, right=False)] for prompt in asked.prompts]
    assert duals.reward(asked, wrong) == pytest.approx(2.718281828**-2)


def test_many_completions_are_rewarded_by_one_call_that_asks_each_answer_once(duals: Duals) -> None:
    prompt, calls = prompt_of(duals), []

    def ask(prompts: Sequence[Prompt]) -> list[list[Completion]]:
        calls.append(["".join(pieces) for pieces in prompts if isinstance(pieces, tuple)])
        replies = [reply_of(text, right="42" in text) for text in calls[-1]]
        nothing = torch.empty(0)
        return [[Completion(nothing, nothing, reply, truncated=False)] for reply in replies]

    completions = [r"\boxed{42}", "I do not know.", r"\boxed{5}", r"so \boxed{42}"]
    assert duals.rewards([prompt] * 4, completions, ask) == [1, 0, 0, 1]
    assert [len(set(prompts)) for prompts in calls] == [4] == [len(calls[0])]


def test_the_prompts_are_those_of_training(duals: Duals) -> None:
    assert duals.prompts == [prompt_of(duals)]


CUT = r"try \boxed{42}, or"


@pytest.mark.parametrize(
    ("completion", "opens_thought", "answer"),
    [
        (CUT, False, "42"),
        (CUT, True, None),
        (rf"{CUT}</think> \boxed{{41}}", True, "41"),
        (rf"{CUT}</think> \boxed{{41}}", False, "41"),
        (rf"<think>{CUT}</think> \boxed{{41}}", True, "41"),
        ([{"role": "assistant", "content": CUT}], True, None),
        # A parser has put the thought aside, and its marks away.
        ([{"role": "assistant", "reasoning_content": "so", "content": r"\boxed{41}"}], True, "41"),
        ([{"role": "assistant", "thinking": "so", "content": r"\boxed{41}"}], True, "41"),
        ([{"role": "assistant", "reasoning_content": "", "content": CUT}], True, None),
    ],
)
def test_a_thought_that_never_closed_is_no_answer(
    duals: Duals, completion: Any, opens_thought: bool, answer: str | None
) -> None:
    text = answer_text(completion, opens_thought)
    assert duals.ask_of(prompt_of(duals), text).answer == answer


def test_whether_a_thought_is_open_is_true_or_false() -> None:
    with pytest.raises(UserError, match=r"^opens_thought: expected true or false, got 'no'$"):
        answer_text("1", "no")  # pyright: ignore[reportArgumentType]
