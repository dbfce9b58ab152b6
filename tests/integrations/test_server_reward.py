"""The dual reward of a judge behind a server, called as TRL calls reward functions."""

import re
from pathlib import Path

import pytest

from dupo.errors import UserError
from dupo.integrations.server import server_reward
from tests.helpers.stub_server import MODEL, StubServer, serving

PROBLEMS = '{"question": "Ann has 12 pens and buys 30 more. How many pens has Ann now?"}\n'


def say(prompt: str, seed: int) -> str:
    """Knows the question, and says what is hidden if the answer in the prompt is right."""
    hidden = {"12", "30"} - set(re.findall(r"\d+", prompt))
    return rf"try {seed}: \boxed{{{hidden.pop()}}}" if "42" in prompt and hidden else f"no idea {seed}"


def test_a_server_judges_what_trl_hands_over(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    path.write_text(PROBLEMS)
    with serving(StubServer(say)) as server:
        options = {"dual_model": f"{server.url}#{MODEL}", "dual_samples": 2, "dual_temperature": 1.0}
        reward = server_reward(task="word_problems", dataset=str(path), eval_size=0, **options)
        prompt = [{"role": "user", "content": reward.duals.prompts[0]}]
        completions = [
            [{"role": "assistant", "content": text}] for text in (r"\boxed{42}", "?", r"\boxed{7}")
        ]
        rewards = reward(
            prompts=[prompt] * 3, completions=completions, completion_ids=[[1]] * 3, trainer_state=None
        )
    assert rewards == [1, 0, 0]
    assert reward.__name__ == "dual"
    # Two answers, two duals of each, two samples of each dual.
    assert len(server.asked) == 8


def test_a_thought_that_the_template_opened_is_judged_by_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    path.write_text(PROBLEMS)
    texts = [r"try \boxed{42}", r"so</think> \boxed{42}"]
    with serving(StubServer(say)) as server:
        options = {"dataset": str(path), "eval_size": 0, "dual_model": f"{server.url}#{MODEL}"}
        for opens_thought, expected in ((False, [1, 1]), (True, [0, 1])):
            reward = server_reward(task="word_problems", opens_thought=opens_thought, **options)
            assert reward(prompts=reward.duals.prompts * 2, completions=texts) == expected


def test_a_judge_that_is_no_server_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dual_model: expected the address of a server.*got 'frozen'"):
        server_reward(task="word_problems", dataset=str(tmp_path / "none.jsonl"))
