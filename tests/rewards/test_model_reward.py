"""The score of a reward model as a reward: exact, by its own tokenizer, in training and audits; refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from dupo.audit import main as audit
from dupo.config.command_line import parse
from dupo.errors import UserError
from dupo.methods.data import read_task
from dupo.methods.dupo import DuPO
from dupo.rerank import main as rerank
from dupo.run.model_card import command_of
from dupo.train import main
from tests.helpers.pages import Page
from tests.helpers.runs import resume
from tests.helpers.worlds import rows, save_tiny, summary

SEVENS = [
    {"prompt": f"What is {a} plus {b}?", "chosen": f"{c}7{d}", "rejected": f"{c}2{d}"}
    for a in range(4)
    for b in range(4)
    for c in ("", "1", "3")
    for d in ("", "4")
]
SHORT = ["--num_threads", "1", "--max_steps", "2", "--generation_batch_size", "16", "--num_generations", "4"]
SHORT += ["--eval_size", "20"]


@pytest.fixture(scope="module")
def likes_sevens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a reward model that prefers answers with a 7. Its tokens are bytes, not words."""
    folder = tmp_path_factory.mktemp("scores")
    data, run = folder / "pairs.jsonl", folder / "run"
    data.write_text("".join(json.dumps(pair) + "\n" for pair in SEVENS))
    words = ["--dataset", str(data), "--max_steps", "40", "--learning_rate", "1e-3", "--eval_size", "0"]
    words += ["--num_threads", "1", "--output_dir", str(run)]
    assert main(["--method", "reward_model", *words]) == 0
    return run / "checkpoint-40"


def method_with(reward: str, *options: str) -> Any:
    config = parse([*SHORT, "--reward", reward, *options])
    made = DuPO(config, read_task(config))
    made.load()
    made.start()
    return made


def test_a_completion_has_the_score_that_transformers_gives_its_text(likes_sevens):
    made = method_with(f"model:{likes_sevens}")
    assert made.judge is None  # no dual is asked for a score
    rollout = sampled(made)
    rewards_PG = made.reward(rollout)
    model = AutoModelForSequenceClassification.from_pretrained(likes_sevens)
    hf = AutoTokenizer.from_pretrained(likes_sevens)
    for problem, group, row in zip(rollout.problems, rollout.completions, rewards_PG.tolist(), strict=True):
        for completion, reward in zip(group, row, strict=True):
            text = made.task.prompt(problem) + completion.text + hf.eos_token
            ids = hf(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
            assert reward == pytest.approx(model(input_ids=ids).logits.item(), abs=1e-5)
    assert len({value for row in rewards_PG.tolist() for value in row}) > 4


def sampled(made: Any) -> Any:
    from dupo.engines.base import sample_answers

    return sample_answers(made.engine, made.task, made.problems[:4], 4, made.sampling, seed=1)


def test_the_policy_learns_what_the_reward_model_likes(likes_sevens, tmp_path):
    run = tmp_path / "run"
    words = [*SHORT, "--generation_batch_size", "64", "--max_steps", "8", "--learning_rate", "1e-3"]
    words += ["--reward", f"model:{likes_sevens}", "--output_dir", str(run)]
    assert main(words) == 0
    metrics = rows(run)
    name = "rewards/run-checkpoint-40/mean"
    assert metrics[-1][name] > metrics[0][name] + 0.5
    assert summary(run)["reward"] == "model:run-checkpoint-40"
    inputs = json.loads((run / "inputs.json").read_text())
    assert any("reward model run-checkpoint-40" in key for key in inputs)


def test_it_joins_other_rewards_by_weight(likes_sevens):
    alone = method_with(f"model:{likes_sevens}")
    both = method_with(f"model:{likes_sevens},format_only", "--reward_weights", "2,10")
    rollout = sampled(alone)
    score_PG, sum_PG = alone.reward(rollout), both.reward(rollout)
    readable = [answer is not None for group in rollout.answers for answer in group]
    for score, total, is_read in zip(score_PG.flatten(), sum_PG.flatten(), readable, strict=True):
        assert total.item() == pytest.approx(2 * score.item() + 10 * is_read, abs=1e-4)


def test_another_reward_model_in_its_place_is_not_gone_on_with(likes_sevens, tmp_path, capsys):
    run, scores = tmp_path / "run", tmp_path / "scores"
    model = AutoModelForSequenceClassification.from_pretrained(likes_sevens)
    model.save_pretrained(scores)
    AutoTokenizer.from_pretrained(likes_sevens).save_pretrained(scores)
    words = [*SHORT, "--max_steps", "1", "--reward", f"model:{scores}", "--output_dir", str(run)]
    assert main(words) == 0
    assert resume(run, "--max_steps", "2") == 0
    model.score.weight.data.mul_(2)
    model.save_pretrained(scores)
    assert resume(run, "--max_steps", "3") == 2
    assert "the weights of the reward model scores" in capsys.readouterr().err


def test_an_audit_reads_the_scores(likes_sevens, tmp_path, capsys):
    words = ["--num_threads", "1", "--num_problems", "12", "--reward", f"model:{likes_sevens}"]
    assert audit([*words, "--output_dir", str(tmp_path / "audit")]) == 0
    first = json.loads((tmp_path / "audit" / "audit.jsonl").read_text().splitlines()[0])
    assert len(set(first["rewards"])) > 1 and "reward model:run-checkpoint-40" in capsys.readouterr().out


def test_a_rerank_gives_the_answer_with_the_highest_score(likes_sevens, tmp_path, capsys):
    words = ["--num_threads", "1", "--num_problems", "12", "--reward", f"model:{likes_sevens}"]
    words += ["--num_generations", "6", "--temperature", "1.5", "--output_dir", str(tmp_path / "answers")]
    assert rerank(words) == 0
    model = AutoModelForSequenceClassification.from_pretrained(likes_sevens)
    hf = AutoTokenizer.from_pretrained(likes_sevens)
    lines = (tmp_path / "answers" / "answers.jsonl").read_text().splitlines()
    changed = 0
    for row in map(json.loads, lines):
        rewards = [candidate["reward"] for candidate in row["candidates"]]
        assert row["score"] == max(rewards) == rewards[0] and row["answers"]["reward"] == row["answer"]
        assert not row["reconstructions"] and row["tokens"]["duals"] == 0  # no dual is asked
        prompt = method_prompt(row["question"])
        ids = hf(prompt + row["completion"] + hf.eos_token, add_special_tokens=False, return_tensors="pt")
        assert row["score"] == pytest.approx(model(input_ids=ids["input_ids"]).logits.item(), abs=1e-5)
        changed += row["answer"] != row["answers"]["majority"]
    found = summary(tmp_path / "answers")
    assert changed == found["other_than_majority"] > 0 and found["chosen_by"] == "reward"
    assert set(found["reward_minus"]) == {"greedy", "mean@6", "majority@6"}
    told = capsys.readouterr().out
    row = next(row for row in map(json.loads, lines) if row["runner_up"] and row["problem"] in told)
    assert f"{row['runner_up']['answer']} (score {row['runner_up']['reward']:.2f}, " in told
    assert "what the duals gave back" not in told
    assert "reward rerank@6" in told and "the reward chose another answer than the majority" in told
    page = Page(tmp_path / "answers" / "report.html")
    assert "The rewards chose another answer" in page.text and "the duals" not in page.text.lower()


def method_prompt(question: str) -> str:
    """What the built-in task asks for a problem."""
    return question


def test_a_share_of_votes_is_multiplied_by_no_score():
    with pytest.raises(UserError, match=r"^rank_by: expected dual with another reward than dual"):
        parse(["--reward", "model:x", "--rank_by", "product"], "rerank")


def test_a_model_that_gives_no_score_is_refused(likes_sevens, tmp_path, capsys):
    tiny = save_tiny(tmp_path / "tiny")
    for name, expected in (
        (str(tiny), f"reward: expected a reward model, got {tiny}, Qwen3ForCausalLM"),
        ("tiny", "reward: expected a reward model, got tiny"),
        (str(tmp_path / "none"), "reward: "),
        (
            str(likes_sevens.parent),
            f"reward: expected the folder of a model, such as {likes_sevens}, got the run",
        ),
        ("", "reward: expected any of dual, gold, "),
    ):
        assert main([*SHORT, "--reward", f"model:{name}"]) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert line.startswith(f"error: {expected}")


def test_weights_that_are_broken_are_told_before_the_first_step(likes_sevens, tmp_path, capsys):
    scores = tmp_path / "scores"
    model = AutoModelForSequenceClassification.from_pretrained(likes_sevens)
    model.score.weight.data.fill_(float("nan"))
    model.save_pretrained(scores)
    AutoTokenizer.from_pretrained(likes_sevens).save_pretrained(scores)
    assert main([*SHORT, "--reward", f"model:{scores}", "--output_dir", str(tmp_path / "run")]) == 2
    assert f"error: reward: {scores}: expected finite weights" in capsys.readouterr().err


def test_two_models_of_one_name_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"^reward: expected different names, got"):
        parse(["--reward", "model:a/scores,model:b/scores"])
    names = parse(["--reward", "model:a/checkpoint-1,model:b/checkpoint-1"]).reward
    assert names.shown == "model:a-checkpoint-1,model:b-checkpoint-1"
    assert parse(["--reward", "model:my-scores.v2"]).reward.terms == [("model:my-scores.v2", 1.0)]


def test_a_model_card_tells_no_place(tmp_path):
    config = parse(["--reward", f"model:{tmp_path}/scores,gold"])
    assert "model:scores,gold" in command_of(config) and str(tmp_path) not in command_of(config)
    assert config.reward.labels_read == "the labels of its problems"
    assert parse(["--reward", "model:x"]).reward.labels_read == "the scores of a reward model"
