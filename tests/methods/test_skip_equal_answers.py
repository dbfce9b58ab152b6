"""Groups of one answer that are not judged: the same gradient from fewer duals, no word of the unknown."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dupo import train
from dupo.config.command_line import parse
from dupo.duality.reconstruct import dual_questions
from dupo.errors import UserError
from dupo.methods.dupo import DuPO
from dupo.methods.dynamic_sampling import RewardedRollout, metrics_of_judged
from dupo.records import Completion, Rollout
from dupo.rewards import Rewards
from dupo.rewards.base import RewardLog

OPTIONS = ["--max_steps", "2", "--save_steps", "2", "--eval_size", "8", "--quiet", "--num_threads", "1"]
OPTIONS += ["--generation_batch_size", "64", "--num_generations", "4", "--temperature", "0.2"]


def rows(run: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (run / name).read_text().splitlines()]


def test_only_groups_of_one_readable_answer_are_skipped() -> None:
    task = DuPO(parse(["--eval_size", "4"])).task
    problems = task.train[:4]
    answers = [["12", "12"], ["12", "13"], [None, "12"], [None, None]]
    asked = {q.problem for q in dual_questions(task, problems, answers, skip_equal=True)}
    assert asked == {1, 2}
    assert {q.problem for q in dual_questions(task, problems, answers)} == {0, 1, 2}


@pytest.mark.slow
@pytest.mark.parametrize(
    "judge", [pytest.param("frozen", marks=pytest.mark.full), "policy"]
)  # asked afterwards, and beside the answers
def test_the_gradient_is_the_same_from_fewer_duals(judge: str, tmp_path: Path) -> None:
    runs = [tmp_path / "all", tmp_path / "fewer"]
    for run, more in zip(runs, ([], ["--skip_equal_answers"]), strict=True):
        assert train.main([*OPTIONS, "--dual_model", judge, "--output_dir", str(run), *more]) == 0
    weights = [load_file(run / "checkpoint-2" / "model.safetensors") for run in runs]
    assert all(bool((weight == weights[1][name]).all()) for name, weight in weights[0].items())
    for whole, fewer in zip(*(rows(run, "metrics.jsonl") for run in runs), strict=True):
        share = fewer["dual/skipped_groups"]
        assert 0 < share < 1 and fewer["dual/prompts"] < whole["dual/prompts"]
        assert fewer["completions/none_rate"] == pytest.approx(whole["completions/none_rate"])
        for name in ("loss", "grad_norm", "frac_reward_zero_std", "reward_std", "kl", "entropy"):
            assert fewer.get(name) == whole.get(name)
        # What is not known is in no mean: the other groups have the rewards that they had.
        assert fewer["reward"] == pytest.approx(fewer["rewards/dual/mean"])
        for name in ("reward", "dual/reconstruct_rate"):
            of_judged = (1 - share) * fewer[name]
            assert whole[name] - share - 1e-6 <= of_judged <= whole[name] + 1e-6
    pairs = list(zip(*(rows(run, "samples.jsonl") for run in runs), strict=True))
    unknown = [one for one, other in pairs if one["reward"] is not None and other["reward"] is None]
    assert unknown and all(
        other["reward"] in (None, one["reward"]) and other["completion"] == one["completion"]
        for one, other in pairs
    )


def test_a_rollout_in_which_all_agree_has_no_reward_to_tell() -> None:
    method = DuPO(parse([*OPTIONS, "--skip_equal_answers"]))
    problems = method.task.train[:3]
    rollout = Rollout(problems, [[1]] * 3, [[Completion.__new__(Completion)] * 4] * 3, [["12"] * 4] * 3)
    rewards_PG = torch.zeros(3, 4)
    everything = RewardedRollout(rollout, [{}, {}, {}], Rewards(rewards_PG, {}, RewardLog()))
    metrics = metrics_of_judged(everything, rewards_PG)
    assert metrics == {"dual/skipped_groups": 1.0, "completions/none_rate": 0.0}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--reward", "gold"], "without the reward dual"),
        (["--reward", "dual,shuffled"], "with shuffled"),
        (["--scale_rewards", "batch"], "which reads the rewards of all groups"),
    ],
)
def test_rewards_that_would_read_what_is_not_known_are_refused(options: list[str], expected: str) -> None:
    with pytest.raises(UserError, match=f"^skip_equal_answers: expected false .*{expected}"):
        parse(["--skip_equal_answers", *options])
