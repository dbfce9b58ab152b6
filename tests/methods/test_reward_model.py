"""Reward models: they learn from pairs and rankings, are saved for transformers, resumed, made whole."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from dupo.config.command_line import parse
from dupo.errors import UserError
from dupo.export import main as export
from dupo.methods.dpo import DPO
from dupo.methods.reward_model import RewardModel
from dupo.models.objects import model_of
from dupo.train import main
from tests.helpers.pages import Page
from tests.helpers.runs import killed, resume, same_files
from tests.helpers.worlds import rows, summary

WORDS = ["red", "green", "blue", "white", "black", "grey", "brown", "pink", "gold", "teal"]
# What is better can be seen in the answer alone: no capital.
PAIRS: list[dict[str, Any]] = [
    {"prompt": f"Say {a} {b}.", "chosen": f"{a} {b}", "rejected": f"{a} {b.upper()}"}
    for a in WORDS
    for b in WORDS
    if a != b
]
RANKINGS = [
    {"prompt": p["prompt"], "completions": [p["chosen"], p["rejected"], p["rejected"].upper()]} for p in PAIRS
]
SHORT = ["--num_threads", "1", "--eval_size", "10", "--eval_steps", "3", "--save_steps", "3"]
SHORT += ["--learning_rate", "3e-4", "--train_batch_size", "8"]


def written(path: Path, made: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return written(tmp_path / "pairs.jsonl", PAIRS)


def command(dataset: Path, *options: str) -> list[str]:
    return ["--method", "reward_model", "--dataset", str(dataset), *SHORT, *options]


def base_model(pairs: Path, folder: Path) -> str:
    """A folder with a language model of random weights that knows the bytes of any text."""
    made = DPO(parse(["--method", "dpo", "--dataset", str(pairs)]))
    made.load()
    made.model.save_pretrained(folder)
    made.tokenizer.hf.save_pretrained(folder)
    return str(folder)


def scored(folder: Path, tokenizer: Path, pair: dict[str, Any]) -> list[float]:
    """Scores of the two answers of a pair by transformers alone, one by one."""
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    hf = AutoTokenizer.from_pretrained(tokenizer)
    scores = []
    for answer in (pair["chosen"], pair["rejected"]):
        ids = hf(pair["prompt"] + answer + hf.eos_token, add_special_tokens=False, return_tensors="pt")
        scores.append(model(input_ids=ids["input_ids"]).logits.item())
    return scores


def test_it_learns_which_answer_is_better(pairs, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(command(pairs, "--max_steps", "20", "--eval_steps", "10", "--output_dir", str(run))) == 0
    metrics, result = rows(run), summary(run)
    assert result["eval/accuracy_after"] == 1 > result["eval/accuracy_before"]
    assert result["eval/calibration_error_peak"] == min(
        row["calibration_error"] for _, row in result["evals"]
    )
    assert metrics[-1].keys() >= {"loss", "accuracy", "margin", "mean_reward", "min_reward", "max_reward"}
    told = capsys.readouterr().out
    assert "80 rankings to train on" in told and "unseen pairs that its scores put in order rose" in told
    assert Page(run / "report.html").charts
    # The built-in template is the prompt as it is; the folder is that of a reward model of transformers.
    better, worse = scored(run / "checkpoint-20", run / "checkpoint-20", PAIRS[0])
    assert better > worse
    assert type(model_of(run / "checkpoint-20")).__name__ == "Qwen3ForSequenceClassification"


def test_it_learns_a_whole_order(tmp_path):
    rankings = written(tmp_path / "rankings.jsonl", RANKINGS)
    for loss_type in ("bradley_terry", "plackett_luce"):
        run = tmp_path / loss_type
        words = ["--max_steps", "25", "--loss_type", loss_type, "--output_dir", str(run)]
        assert main(command(rankings, *words)) == 0
        assert summary(run)["eval/accuracy_after"] > 0.95


def test_margins_reach_the_loss(pairs, tmp_path):
    wide = written(tmp_path / "wide.jsonl", [pair | {"margin": 2} for pair in PAIRS])
    plain, margin = RewardModel(parse(command(pairs))), RewardModel(parse(command(wide)))
    assert {group.margin for group in margin.train} == {2} and "80 with a margin" in margin.loss_row()
    assert plain.inputs()["the data set"] != margin.inputs()["the data set"]
    for method in (plain, margin):
        method.load()
    (lower, _), (higher, _) = plain.measure(), margin.measure()
    scores = torch.tensor([method_scores(plain, group) for group in plain.held_out], dtype=torch.float64)
    differences = scores[:, 0] - scores[:, 1]
    assert lower.item() == pytest.approx(-torch.log(torch.sigmoid(differences)).mean().item(), rel=1e-5)
    assert higher.item() == pytest.approx(-torch.log(torch.sigmoid(differences - 2)).mean().item(), rel=1e-5)


def method_scores(method: RewardModel, group: Any) -> list[float]:
    """The scores of a ranking by the forward pass of transformers, one answer at a time."""
    scores = []
    for answer in group.answers:
        ids = torch.tensor([[*answer.prompt_ids, *answer.completion_ids.tolist()]])
        scores.append(method.model(input_ids=ids).logits.item())
    return scores


def test_an_adapter_carries_its_score_and_can_be_made_whole(pairs, tmp_path, capsys):
    base, run, whole = base_model(pairs, tmp_path / "base"), tmp_path / "run", tmp_path / "whole"
    words = ["--model_name_or_path", base, "--use_peft", "--lora_r", "4", "--merge_lora"]
    assert (
        main(command(pairs, *words, "--max_steps", "20", "--output_dir", str(run), "--learning_rate", "2e-3"))
        == 0
    )
    assert export([str(run), "--output_dir", str(whole), "--merge_lora"]) == 0
    assert "MISSING" not in capsys.readouterr().err  # a new score is no fault of the folder
    made = model_of(run / "checkpoint-20")
    for folder in (run / "merged", whole):
        better, worse = scored(folder, folder, PAIRS[0])
        own = method_like(made, run / "checkpoint-20", PAIRS[0])
        assert [better, worse] == pytest.approx(own, abs=1e-4) and better > worse


def method_like(model: Any, tokenizer: Path, pair: dict[str, Any]) -> list[float]:
    hf = AutoTokenizer.from_pretrained(tokenizer)
    texts = [pair["prompt"] + pair[name] + hf.eos_token for name in ("chosen", "rejected")]
    ids = [hf(text, add_special_tokens=False, return_tensors="pt")["input_ids"] for text in texts]
    return [model(input_ids=row).logits.item() for row in ids]


def test_a_reward_model_goes_on_from_its_score(pairs, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(command(pairs, "--max_steps", "20", "--output_dir", str(first))) == 0
    words = ["--model_name_or_path", str(first / "checkpoint-20"), "--max_steps", "1"]
    assert main(command(pairs, *words, "--output_dir", str(second))) == 0
    assert summary(second)["eval/accuracy_before"] == summary(first)["eval/accuracy_after"] == 1


def test_a_reward_model_says_no_words(pairs, tmp_path, capsys):
    run = tmp_path / "run"
    words = ["--use_peft", "--lora_r", "4", "--model_name_or_path", base_model(pairs, tmp_path / "base")]
    for name, options in (("whole", []), ("adapter", words)):
        run = tmp_path / name
        assert main(command(pairs, *options, "--max_steps", "1", "--output_dir", str(run))) == 0
        capsys.readouterr()
        model = str(run / "checkpoint-1")
        for method in ("dpo", "sft", "dupo"):
            data = ["--dataset", str(written(tmp_path / "d.jsonl", PAIRS))] if method == "dpo" else []
            assert main(["--method", method, *data, "--model_name_or_path", model]) == 2
            told = capsys.readouterr().err
            assert f"model_name_or_path: expected a language model, got the reward model {model}" in told


@pytest.mark.parametrize("options", [[], ["--overlong", "truncate_left"]])
def test_bad_rankings_are_counted_and_not_trained_on(options, tmp_path):
    bad = [
        {"prompt": "Say it.", "completions": ["it", "it"]},
        {"prompt": "", "completions": ["it", "IT"]},
        {"prompt": "Say it.", "completions": ["it", ""]},
        {"prompt": "Say it.", "completions": ["it"]},
        {"prompt": "One two three. " * 60 + "Say it.", "completions": ["it", "it " * 30, "IT"]},
    ]
    dataset = written(tmp_path / "rankings.jsonl", [*RANKINGS, *bad])
    method = RewardModel(parse(command(dataset, "--token_budget", "600", *options)))
    assert len(method.train) == 80 + bool(options)
    told = "; ".join(method.notes)
    for words in ("answers that differ", "text in 'prompt'", "text in 'completions'", "at least two answers"):
        assert f"rows left out: 1, expected {words}" in told
    assert f"1 of 81 rankings {'cut at their start' if options else 'left out'}: too long" in told


def test_a_long_ranking_takes_no_room_from_pairs(tmp_path):
    long = {"prompt": "Say it.", "completions": [f"it {'!' * n}" for n in range(40)]}
    words = "word " * 60
    pair = {"prompt": "Say it all.", "completions": [f"{words}.", f"{words}!"]}
    dataset = written(tmp_path / "rankings.jsonl", [*RANKINGS, long, pair])
    method = RewardModel(parse(command(dataset, "--token_budget", "1200")))
    # 40 answers have 30 tokens each; a pair has 600.
    assert len(method.train) == 81 and any("1 of 82 rankings left out" in note for note in method.notes)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--loss_type sigmoid", "loss_type: expected one of bradley_terry, plackett_luce, got 'sigmoid'"),
        ("--beta 0.1", "unknown option --beta: dupo.train --method reward_model does not have it"),
        (
            "--loss_type plackett_luce --center_rewards_coefficient 0.1",
            "center_rewards_coefficient: expected 0 with loss_type plackett_luce, got 0.1",
        ),
        ("--center_rewards_coefficient -1", "center_rewards_coefficient: expected at least 0, got -1"),
    ],
)
def test_options_that_the_loss_cannot_honour_are_refused(words, message):
    with pytest.raises(UserError) as caught:
        parse(["--method", "reward_model", "--dataset", "a", *words.split()])
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_margins_that_no_loss_reads_are_refused(tmp_path):
    wide = written(tmp_path / "wide.jsonl", [pair | {"margin": 2} for pair in PAIRS])
    with pytest.raises(
        UserError, match=r"^loss_type: expected bradley_terry for 80 margins, got plackett_luce"
    ):
        RewardModel(parse(command(wide, "--loss_type", "plackett_luce")))


def test_a_data_set_is_needed():
    with pytest.raises(UserError, match=r"^dataset: expected --dataset FILE with columns prompt, chosen and"):
        parse(["--method", "reward_model"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [[], ["--use_peft", "--lora_r", "4", "--center_rewards_coefficient", "0.1"]]
)
def test_killed_between_two_steps_and_resumed_equals_never_stopped(pairs, tmp_path, run_python, options):
    words = command(
        pairs, "--max_steps", "8", "--model_name_or_path", base_model(pairs, tmp_path / "m"), *options
    )
    never = tmp_path / "never"
    assert main([*words, "--output_dir", str(never)]) == 0
    run = killed(run_python, tmp_path / "killed", *words)
    assert [row["step"] for row in rows(run)] == [1, 2, 3, 4, 5]
    assert resume(run) == 0
    weights = "adapter_model" if options else "model"
    same_files(never, run, "metrics.jsonl", f"checkpoint-8/{weights}.safetensors")
    assert summary(never)["evals"] == summary(run)["evals"]
