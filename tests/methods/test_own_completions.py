"""Methods that learn from chosen completions of their own: which, what is learnt, how they resume."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dupo.config.catalogue import METHODS, load
from dupo.config.command_line import parse
from dupo.duality.judge import Judge
from dupo.engines.base import Sampling
from dupo.errors import UserError
from dupo.methods.rollout import RolloutMethod
from dupo.records import Trajectory
from tests.helpers.engines import FakeEngine
from tests.helpers.options import refusal
from tests.helpers.runs import SMALL, killed, loop, resume, same_files
from tests.helpers.worlds import rows, solver

OPTIONS = ["--num_generations", "4", "--generation_batch_size", "12", "--eval_size", "10"]
# A reward of this module, for texts of four digits: none of them is right.
REWARDS = {"0000": 0.0, "0001": 0.25, "0002": 0.25, "0003": 1.0, "0004": -1.0}
OWN = ["--reward", f"{__name__}.by_text"]
# The built-in task has defaults of its own.
PLAIN = {
    "rft": ["--min_reward", "0"],
    "online_dpo": ["--pairs", "best_worst"],
    "online_kto": ["--label_threshold", "0.5"],
}
BELOW_0 = ["--min_reward", "-2"]


def by_text(completions: list[str], **columns: Any) -> list[float]:
    return [REWARDS[text] for text in completions]


def scripted(method: str, texts: list[str], *options: str) -> RolloutMethod:
    """A method whose policy gives these texts to every prompt, one for each completion."""
    words = ["--method", method, *OPTIONS, *PLAIN[method], *options]
    made = load(METHODS[method].path)(parse(words))
    made.engine = FakeEngine(lambda prompt, k: texts[k])
    if made.asks_duals:
        judge = FakeEngine(lambda prompt, k: solver([prompt])[0][0].text)
        made.judge = Judge(judge, 1, Sampling(0.0, 6))
    return made


def chosen(made: RolloutMethod) -> list[list[str]]:
    """Texts of the trajectories of each step of a rollout."""
    return [[text_of(t) for t in batch.trajectories] for batch in made.new_rollout(0)]


def text_of(trajectory: Trajectory) -> str:
    """What a `FakeEngine` said, without the end."""
    return "".join(map(chr, trajectory.completion_ids[:-1].tolist()))


@pytest.mark.parametrize(
    ("texts", "options", "expected"),
    [
        (["0001", "0003", "0000", "0003"], [], ["0003"]),
        (["0001", "0003", "0002", "0003"], ["--kept_per_prompt", "4"], ["0003", "0001", "0002"]),
        (["0001", "0003", "0002", "0000"], ["--kept_per_prompt", "2"], ["0003", "0001"]),
        (["0001", "0003", "0002", "0000"], ["--kept_per_prompt", "4", "--min_reward", "0.25"], ["0003"]),
        (
            ["0004", "0000", "0004", "0000"],
            ["--kept_per_prompt", "4", *BELOW_0],
            ["0000", "0004"],
        ),
        (["0000", "0004", "0000", "0004"], [], []),
    ],
)
def test_rft_keeps_the_best_of_each_prompt_once(
    texts: list[str], options: list[str], expected: list[str]
) -> None:
    made = scripted("rft", texts, *OWN, *options)
    assert chosen(made) == [expected * 3]
    assert made.num_asked == 3 and made.num_rollouts == 1


@pytest.mark.parametrize(
    ("texts", "options", "expected"),
    [
        (["0001", "0003", "0000", "0002"], [], [("0003", "0000")]),
        (["0003", "0003", "0003", "0003"], [], []),
        (["0001", "0002", "0001", "0002"], [], []),
        (["0001", "0001", "0000", "0000"], ["--pairs", "all"], [("0001", "0000")]),
        (
            ["0000", "0001", "0002", "0003"],
            ["--pairs", "all"],
            [("0003", "0001"), ("0003", "0002"), ("0003", "0000"), ("0001", "0000"), ("0002", "0000")],
        ),
        (
            ["0000", "0001", "0002", "0003"],
            ["--pairs", "margin", "--pair_margin", "0.75"],
            [("0003", "0001"), ("0003", "0002"), ("0003", "0000")],
        ),
    ],
)
def test_online_dpo_pairs_better_with_worse_ones(
    texts: list[str], options: list[str], expected: list[tuple[str, str]]
) -> None:
    made = scripted("online_dpo", texts, *OWN, *options, "--loss_type", "simpo")
    (batch,) = made.new_rollout(0)
    told = [text_of(t) for t in batch.trajectories]
    assert list(zip(told[::2], told[1::2], strict=True)) == expected * 3
    assert batch.metrics["pairs/count"] == 3 * len(expected)
    if expected:
        apart = [REWARDS[better] - REWARDS[worse] for better, worse in expected]
        assert batch.metrics["pairs/reward_difference"] == pytest.approx(sum(apart) / len(apart))
    else:
        (warning,) = made.warnings()
        assert "nothing is learned" in warning
        made.new_rollout(1)
        assert made.warnings() == []


@pytest.mark.parametrize(
    ("options", "good"), [([], ["0003"]), (["--label_threshold", "0.1"], ["0001", "0003"])]
)
def test_online_kto_labels_each_completion_once(options: list[str], good: list[str]) -> None:
    made = scripted("online_kto", ["0001", "0003", "0000", "0003"], *OWN, *options)
    rewarded, _ = made.sample_and_judge(0)
    groups, metrics = made.choose(made.different(rewarded))  # type: ignore[attr-defined]
    assert metrics == {"labels/count": 9.0, "labels/good": len(good) / 3}
    threshold = made.config.labelling.label_threshold
    assert [text_of(answer) for answer, _ in groups] == ["0001", "0003", "0000"] * 3
    assert [text_of(a) for a, _ in groups if a.advantage > threshold] == good * 3
    # The completion of another prompt, in the same place, behind the prompt of the answer.
    for place, (answer, other) in enumerate(groups):
        assert other.prompt_ids == answer.prompt_ids
        assert (
            text_of(other) == text_of(groups[place - 3][0]) and other.problem == groups[place - 3][0].problem
        )


def test_how_far_a_policy_has_moved_needs_two_prompts() -> None:
    few = ["--num_generations", "4", "--generation_batch_size", "4"]
    message = "generation_batch_size: expected at least two prompts, 8 completions, got 4"
    assert refusal("--method", "online_kto", *few) == message


def test_a_step_has_whole_pairs_and_the_last_one_the_rest() -> None:
    made = scripted("online_dpo", ["0001", "0003", "0000", "0002"], *OWN, "--train_batch_size", "2")
    made.config = made.config.changed(loss_type="simpo")
    made.loss.objective = type(made.loss.objective)(loss_type="simpo", reference_free=True)  # type: ignore[attr-defined]
    assert [len(batch.trajectories) for batch in made.new_rollout(0)] == [4, 2]


def test_duals_judge_unless_another_reward_is_named() -> None:
    made = scripted("rft", ["1000", "0000", "1000", "0000"])
    # The judge solves masked equations; 0001 or 0000 may be right, or neither: no label is read.
    assert made.asks_duals and made.config.reward.labels_read == "no label"


@pytest.mark.parametrize("method", ["rft", "online_dpo"])
def test_a_step_without_completions_changes_nothing(untrained: Path, tmp_path: Path, method: str) -> None:
    words = ["--method", method, *SMALL, "--model_name_or_path", str(untrained), "--max_steps", "2"]
    words += ["--reward", "dual", "--output_dir", str(tmp_path / "run")]
    # Random weights answer nothing that can be read, so nothing comes back of any dual.
    made = load(METHODS[method].path)(parse(words))
    loop(parse(words), made)
    written = rows(tmp_path / "run")
    assert [row["loss"] for row in written] == [0.0, 0.0]
    assert [row["grad_norm"] for row in written] == [0.0, 0.0]
    fresh = load(METHODS[method].path)(parse(words))
    fresh.load()
    for before, after in zip(fresh.model.parameters(), made.model.parameters(), strict=True):
        assert torch.equal(before, after)


@pytest.mark.slow
@pytest.mark.full
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("rft", ["--kept_per_prompt", "3", "--train_batch_size", "5"]),
        ("rft", ["--num_iterations", "2"]),
        ("online_dpo", ["--pairs", "all", "--train_batch_size", "4"]),
        ("online_dpo", ["--loss_type", "sigmoid,sft", "--use_peft", "--lora_r", "4"]),
        ("online_kto", ["--train_batch_size", "7"]),
    ],
)
def test_killed_between_two_steps_and_resumed_equals_never_stopped(
    untrained: Path, tmp_path: Path, run_python: Any, method: str, options: list[str]
) -> None:
    words = [*SMALL, "--method", method, "--model_name_or_path", str(untrained), "--max_steps", "8"]
    words += ["--reward", "random", "--num_generations", "8", "--learning_rate", "1e-3", *options]
    never = tmp_path / "never"
    loop(parse([*words, "--output_dir", str(never)]))
    run = killed(run_python, tmp_path / "killed", *words)
    assert [row["step"] for row in rows(run)] == [1, 2, 3, 4, 5]
    assert resume(run) == 0
    weights = "adapter_model" if "--use_peft" in options else "model"
    same_files(never, run, "metrics.jsonl", f"checkpoint-8/{weights}.safetensors")
    assert any(row["grad_norm"] > 0 for row in rows(run))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["rft", "online_dpo", pytest.param("online_kto", marks=pytest.mark.full)])
def test_it_learns_what_the_reward_likes(untrained: Path, tmp_path: Path, method: str) -> None:
    words = [*SMALL, "--method", method, "--model_name_or_path", str(untrained), "--max_steps", "30"]
    words += [
        "--generation_batch_size",
        "256",
        "--reward",
        f"{__name__}.starts_with_one",
    ]
    words += ["--num_generations", "8", "--learning_rate", "1e-3", "--output_dir", str(tmp_path / "run")]
    loop(parse(words))
    means = [row["reward"] for row in rows(tmp_path / "run")]
    assert sum(means[-3:]) / 3 > 5 * means[0], means


def starts_with_one(completions: list[str], **columns: Any) -> list[float]:
    return [float(text.startswith("1")) for text in completions]


def test_a_margin_is_read_with_margin_alone() -> None:
    online = ["--method", "online_dpo"]
    assert refusal(*online, "--pairs", "margin").startswith("pair_margin: expected a difference of rewards")
    message = "pair_margin: expected none with pairs best_worst, got 0.5"
    assert refusal(*online, "--pairs", "best_worst", "--pair_margin", "0.5") == message


def test_options_of_the_comparison_are_those_of_dpo(tmp_path: Path) -> None:
    config = parse(["--method", "online_dpo", "--loss_type", "ipo", "--beta", "0.3"])
    made = load(METHODS["online_dpo"].path)(config)
    assert made.loss.objective.loss_type == ("ipo",) and made.loss.objective.beta == 0.3
    assert made.config.needs_reference and json.dumps(config.flat())


@pytest.mark.parametrize(("method", "fits"), [("rft", True), ("online_kto", True), ("online_dpo", False)])
def test_both_answers_of_a_pair_fit_into_a_micro_batch(method: str, fits: bool) -> None:
    # Nine tokens of a prompt and six of a completion; two of them need thirty.
    words = ["--method", method, *OPTIONS, *PLAIN[method], "--token_budget", "29"]
    if fits:
        load(METHODS[method].path)(parse(words))
        return
    with pytest.raises(UserError, match=r"a share of 1 / 2 of --token_budget allows 14"):
        load(METHODS[method].path)(parse(words))


def test_the_answer_of_another_prompt_is_one_of_another_prompt() -> None:
    made = scripted("online_kto", ["0001", "0003", "0000", "0003"], *OWN)
    rewarded, _ = made.sample_and_judge(0)
    groups = made.different(rewarded)
    same = [[t._replace(prompt_ids=[5]) for t in group] for group in groups[:2]]
    chosen_groups, _ = made.choose([*same, groups[2]])  # type: ignore[attr-defined]
    others = {(tuple(a.prompt_ids), other.problem) for a, other in chosen_groups}
    problems = [group[0].problem for group in groups]
    # The one before the second has its prompt, so the second takes the one before that.
    assert others == {((5,), problems[2]), (tuple(groups[2][0].prompt_ids), problems[1])}
    assert made.choose(same)[0] == []  # type: ignore[attr-defined]
