"""Reward functions as TRL's documentation writes them: on texts, on messages, asynchronous, logging."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dupo.config.config import Config
from dupo.config.task_options import TaskOptions
from dupo.errors import UserError
from dupo.records import Rollout
from dupo.rewards import load_rewards, weighted_sum
from dupo.rewards.base import RewardInputs, TrainerState
from dupo.tasks.word_problems import PRIMAL_TEMPLATE, WordProblems
from tests.helpers.rollouts import completion, inputs_of

# The first five are those of "Using a custom reward function" in TRL's documentation of GRPOTrainer.
SOURCE = '''
import asyncio
import re

def reward_func(completion_ids, **kwargs):
    """Reward function that assigns higher scores to longer completions (in terms of token count)."""
    return [float(len(ids)) for ids in completion_ids]

def on_texts(prompts, completions, **kwargs):
    return [float(len(completion)) for completion in completions]

def format_reward_func(completions, **kwargs):
    """Reward function that checks if the completion has a specific format."""
    pattern = r"^<think>.*?</think><answer>.*?</answer>$"
    completion_contents = [completion[0]["content"] for completion in completions]
    matches = [re.match(pattern, content) for content in completion_contents]
    return [1.0 if match else 0.0 for match in matches]

def ground_truth_func(completions, ground_truth, **kwargs):
    matches = [re.search(r"\\\\boxed\\{(.*?)\\}", completion[0]["content"]) for completion in completions]
    contents = [match.group(1) if match else "" for match in matches]
    return [1.0 if c == gt else 0.0 for c, gt in zip(contents, ground_truth)]

async def async_reward_func(prompts, completions, **kwargs):
    await asyncio.sleep(0)
    return [float(len(completion[0]["content"])) for completion in completions]

async def async_failing(**kwargs):
    await asyncio.sleep(0)
    return 1 / 0

SEEN = []
def seeing(prompts, completions, trainer_state, **kwargs):
    SEEN.append((prompts, completions, trainer_state, kwargs))
    return [float(trainer_state.global_step / trainer_state.max_steps)] * len(completions)

def logging(completions, solution, log_extra=None, log_metric=None, **kwargs):
    log_metric("accuracy", 0.25)
    log_metric("accuracy", 0.75)
    log_extra("length", [len(completion[0]["content"]) for completion in completions])
    log_extra("ratio", [0.5, float("nan"), {1}, None])
    return [None] * len(completions)

def few(completions, ground_truth): return [1.0] * len(completions)
def of_mean(log_metric, **_): log_metric("mean", 1.0)
def of_text(log_metric, **_): log_metric("loss", "low")
def of_nan(log_metric, **_): log_metric("loss", float("nan"))
def of_fewer(log_extra, **_): log_extra("solution", [1])
def of_no_list(log_extra, **_): log_extra("solution", 1)
def of_other_columns(completions, difficulty, **_): return [0.0] * len(completions)
class Callable:
    async def __call__(self, completions, **_): return [2.0] * len(completions)
an_object = Callable()
'''
MODULE = "rewards_as_trl_writes_them"
ASKED = ["Ann has 5 pens and gets 8 more. How many?", "Bob has 7 cups and breaks 3. How many?"]
GOLD = ["13", "4"]
SYSTEM = {"role": "system", "content": "You are terse."}


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


CHATS: list[dict[str, Any]] = [
    {"prompt": [SYSTEM, user(ASKED[0])], "ground_truth": GOLD[0], "solution": "5 + 8"},
    {"prompt": [user(ASKED[1])], "ground_truth": GOLD[1], "solution": "7 - 3"},
]
TEXTS = [{**row, "prompt": text} for row, text in zip(CHATS, ASKED, strict=True)]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the module of the user."""
    (tmp_path / f"{MODULE}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def inputs(rows: Sequence[dict[str, Any]], name: str, texts: Sequence[str]) -> RewardInputs:
    """Two completions of each of two problems, as they are read from a file."""
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = WordProblems(TaskOptions(task="word_problems", dataset="rows.jsonl", eval_size=0), seed=0)
    completions = [[completion(text) for text in texts[:2]], [completion(text) for text in texts[2:]]]
    rollout = Rollout(list(task.problems), [[1]] * 2, completions, [[None] * 2] * 2)
    made = inputs_of(rollout, "--reward", f"{MODULE}.{name}", ask=None, task=task)
    return RewardInputs(task, rollout, [], made.options, 0, TrainerState(3, 12), max_completion_length=9)


def rewards(rows: Sequence[dict[str, Any]], name: str, texts: Sequence[str] = ("a", "bb", "", "d")) -> Any:
    given = inputs(rows, name, texts)
    return weighted_sum(load_rewards(Config(reward=given.options)), given)[0].flatten().tolist()


def seen_by(rows: Sequence[dict[str, Any]]) -> Any:
    """What a function is given: prompts, completions, state, the others."""
    given = inputs(rows, "seeing", ("a", "bb", "", "d"))
    values, _ = weighted_sum(load_rewards(Config(reward=given.options)), given)
    assert values.tolist() == [[0.25] * 2] * 2
    return __import__(MODULE).SEEN[-1]


def test_functions_of_the_documentation_run() -> None:
    assert rewards(TEXTS, "reward_func") == rewards(CHATS, "reward_func") == [1] * 4
    assert rewards(TEXTS, "on_texts") == rewards(CHATS, "async_reward_func") == [1, 2, 0, 1]
    shaped = "<think>x</think><answer>y</answer>"
    assert rewards(CHATS, "format_reward_func", [shaped, "x", shaped, ""]) == [1, 0, 1, 0]
    boxed = [rf"So \boxed{{{answer}}}" for answer in (13, 12, 13, 4)]
    assert rewards(CHATS, "ground_truth_func", boxed) == [1, 0, 0, 1]
    assert rewards(CHATS, "few") == [1] * 4 and rewards(TEXTS, "an_object") == [2] * 4


def test_data_of_messages_give_messages() -> None:
    prompts, completions, state, others = seen_by(CHATS)
    asked = [user(PRIMAL_TEMPLATE.format(question=text)) for text in ASKED]
    assert prompts == [[SYSTEM, asked[0]]] * 2 + [[asked[1]]] * 2
    assert completions == [[{"role": "assistant", "content": text}] for text in ("a", "bb", "", "d")]
    assert (state.global_step, state.max_steps) == (3, 12)
    assert others["ground_truth"] == ["13", "13", "4", "4"] and others["completion_ids"] == [[1]] * 4
    assert others.keys() == {"ground_truth", "solution", "completion_ids", "log_metric", "log_extra"}


def test_data_of_texts_give_texts() -> None:
    prompts, completions, _, _ = seen_by(TEXTS)
    asked = [PRIMAL_TEMPLATE.format(question=text) for text in ASKED]
    assert prompts == [asked[0]] * 2 + [asked[1]] * 2 and completions == ["a", "bb", "", "d"]


def test_the_first_row_gives_the_form_of_all() -> None:
    for rows, kind in (([CHATS[0], TEXTS[1]], list), ([TEXTS[0], CHATS[1]], str)):
        prompts, completions, _, _ = seen_by(rows)
        assert {type(item) for item in (*prompts, *completions)} == {kind}


def test_a_prompt_of_messages_beside_a_question_counts() -> None:
    """The form of the best-known example: GSM8K with a column `prompt` that was made from `question`."""
    rows = [{**row, "question": text} for row, text in zip(CHATS, ASKED, strict=True)]
    prompts, completions, _, _ = seen_by(rows)
    assert prompts[0] == [user(PRIMAL_TEMPLATE.format(question=ASKED[0]))]
    assert completions[0] == [{"role": "assistant", "content": "a"}]


def test_what_a_function_logs() -> None:
    given = inputs(CHATS, "logging", ("a", "bb", "", "d"))
    _, metrics = weighted_sum(load_rewards(Config(reward=given.options)), given)
    assert metrics == {"rewards/logging/accuracy": 0.5}
    assert given.log.columns == {"logging/length": [1, 2, 0, 1], "logging/ratio": [0.5, "nan", "{1}", None]}


WRONG = [
    (
        "of_other_columns",
        r"with the column difficulty, which it asks for, got the columns (?!.*prompts).*ground_truth",
    ),
    ("async_failing", r"failed: ZeroDivisionError: division by zero .*trl_writes_them.py, line 30\)"),
    ("of_mean", r"log_metric\('mean'\): expected another name"),
    ("of_text", r"log_metric\('loss'\): expected a finite number, got 'low'"),
    ("of_nan", r"log_metric\('loss'\): expected a finite number, got nan"),
    ("of_fewer", r"log_extra\('solution'\): expected 4 values, one a completion, got 1"),
    ("of_no_list", r"failed: TypeError: 'int' object is not iterable .*trl_writes_them.py, line "),
    ("on_messages_of_texts", "expected a function"),
]


@pytest.mark.parametrize(("name", "message"), WRONG)
def test_a_function_that_is_wrong_is_one_line(name: str, message: str) -> None:
    with pytest.raises(UserError, match=f"{MODULE}.*{message}|{message}") as caught:
        rewards(CHATS, name)
    assert "\n" not in str(caught.value)


def test_a_function_of_messages_on_texts_is_one_line() -> None:
    message = rf"^{MODULE}.format_reward_func failed: TypeError: string indices.*line "
    with pytest.raises(UserError, match=message):
        rewards(TEXTS, "format_reward_func")


def test_an_asynchronous_function_runs_inside_a_loop() -> None:
    """A notebook has a loop of its own."""

    async def notebook() -> Any:
        return rewards(CHATS, "async_reward_func")

    assert asyncio.run(notebook()) == [1, 2, 0, 1]
