"""DPO on a file of pairs: it learns, compares with the model before training, is resumed; and is refused."""

import json
from pathlib import Path

import pytest
import torch

from dupo.config.command_line import parse
from dupo.config.preference_options import ComparisonOptions
from dupo.errors import UserError
from dupo.learning.preference_loss import answer_logprobs, comparison_of
from dupo.methods.dpo import DPO
from dupo.train import main
from dupo_kernels import PreferenceObjective
from tests.helpers.pages import Page
from tests.helpers.runs import killed, loop, resume, same_files
from tests.helpers.worlds import rows, summary

WORDS = ["red", "green", "blue", "white", "black", "grey", "brown", "pink", "gold", "teal"]
# What is liked can be seen in the answer alone: no capital.
PAIRS = [
    {
        "prompt": f"Say {first} {second}.",
        "chosen": f"{first} {second}",
        "rejected": f"{first} {second.upper()}",
    }
    for first in WORDS
    for second in WORDS
    if first != second
]
SHORT = ["--num_threads", "1", "--eval_size", "10", "--eval_steps", "3", "--save_steps", "3"]
SHORT += ["--learning_rate", "3e-4", "--train_batch_size", "8"]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
    return path


def command(dataset: Path, *options: str) -> list[str]:
    return ["--method", "dpo", "--dataset", str(dataset), *SHORT, *options]


def saved_model(pairs: Path, folder: Path) -> str:
    """A folder with the built-in model: adapters want a model that is read."""
    made = DPO(parse(command(pairs)))
    made.load()
    made.model.save_pretrained(folder)
    made.tokenizer.hf.save_pretrained(folder)
    return str(folder)


def test_it_learns_which_answer_is_liked(pairs, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(command(pairs, "--max_steps", "20", "--eval_steps", "10", "--output_dir", str(run))) == 0
    metrics, result = rows(run), summary(run)
    assert metrics[0]["loss"] == pytest.approx(0.693147, rel=1e-5)  # log 2: the policy is its reference
    assert metrics[0]["rewards/margins"] == pytest.approx(0, abs=1e-5)
    assert result["eval/rewards/accuracies_after"] == 1 and result["eval/loss_after"] < 0.6
    assert metrics[-1]["rewards/chosen"] > metrics[-1]["rewards/rejected"]
    assert [row["step"] for row in metrics if "eval/loss" in row] == [10, 20]
    assert not any(name.startswith(("reward/", "dual/", "completions/")) for row in metrics for name in row)
    assert Page(run / "report.html").charts and "80 pairs to train on" in capsys.readouterr().out


@pytest.mark.parametrize("options", [[], ["--use_peft", "--lora_r", "4"]], ids=["whole", "adapters"])
def test_the_reference_is_the_model_before_training(pairs, tmp_path, options):
    words = ["--model_name_or_path", saved_model(pairs, tmp_path / "model"), *options]
    config = parse(command(pairs, "--max_steps", "4", "--output_dir", str(tmp_path / "run"), *words))
    method, before = DPO(config), DPO(config)
    before.load()
    loop(config, method)
    expected = answer_logprobs(before.model, method.train, method.compute)
    known = ~method.references.isnan().any(1)
    # Four steps of eight look at 32 of 80 pairs, and nobody computes the others.
    assert known.sum() == 32
    torch.testing.assert_close(method.references[known], expected[known], rtol=1e-6, atol=1e-5)
    held_out = answer_logprobs(before.model, method.held_out, method.compute)
    torch.testing.assert_close(method.held_out_references, held_out, rtol=1e-6, atol=1e-5)
    moved = answer_logprobs(method.model, method.train, method.compute)
    assert (moved - expected).abs().max() > 1e-2


def test_a_run_that_goes_on_for_longer_compares_with_the_same_reference(pairs, tmp_path):
    long, short = tmp_path / "long", tmp_path / "short"
    assert main(command(pairs, "--max_steps", "9", "--output_dir", str(long))) == 0
    assert main(command(pairs, "--max_steps", "3", "--output_dir", str(short))) == 0
    assert resume(short, "--max_steps", "9") == 0
    assert rows(long) == rows(short)


def test_a_loss_without_a_reference_computes_none(pairs, tmp_path):
    run = tmp_path / "run"
    config = parse(command(pairs, "--max_steps", "2", "--output_dir", str(run), "--loss_type", "simpo"))
    method = DPO(config)
    assert ("loss", "simpo, beta 0.1; reference: none") in method.describe()
    loop(config, method)
    assert method.references.isnan().all() and method.held_out_references.isnan().all()


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--loss_type", "sigmoid,sft", "--use_peft", "--lora_r", "4"]])
def test_killed_between_two_steps_and_resumed_equals_never_stopped(pairs, tmp_path, run_python, options):
    model = saved_model(pairs, tmp_path / "model")
    words = command(pairs, "--max_steps", "8", "--model_name_or_path", model, *options)
    never = tmp_path / "never"
    assert main([*words, "--output_dir", str(never)]) == 0
    run = killed(run_python, tmp_path / "killed", *words)
    assert [row["step"] for row in rows(run)] == [1, 2, 3, 4, 5]
    assert resume(run) == 0
    weights = "adapter_model" if options else "model"
    same_files(never, run, "metrics.jsonl", f"checkpoint-8/{weights}.safetensors")
    assert summary(never)["evals"] == summary(run)["evals"]


def test_every_option_of_the_comparison_reaches_the_loss():
    words = ["--method", "dpo", "--dataset", "a", "--loss_type", "exo_pair, discopop,sft"]
    words += [
        "--loss_weights",
        "1,0.5,2",
        "--beta",
        "0.3",
        "--label_smoothing",
        "0.2",
        "--discopop_tau",
        "0.1",
    ]
    words += ["--f_divergence_type", "alpha_divergence", "--f_alpha_divergence_coef", "0.7"]
    options = parse(words).comparison
    assert comparison_of(options) == PreferenceObjective(
        loss_type=("exo_pair", "discopop", "sft"),
        loss_weights=(1.0, 0.5, 2.0),
        beta=0.3,
        label_smoothing=0.2,
        discopop_tau=0.1,
        f_divergence_type="alpha_divergence",
        f_alpha_divergence_coef=0.7,
    )
    words = [
        "--method",
        "dpo",
        "--dataset",
        "a",
        "--loss_type",
        "alphapo",
        "--simpo_gamma",
        "0.2",
        "--alpha",
        "0.1",
    ]
    expected = PreferenceObjective(loss_type="simpo", simpo_gamma=0.2, alpha=0.1)
    assert comparison_of(parse(words).comparison) == expected
    free = comparison_of(parse(["--method", "dpo", "--dataset", "a", "--reference_free", "true"]).comparison)
    assert free == PreferenceObjective(reference_free=True) and not free.needs_reference


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--loss_type kto", "loss_type: expected losses of pairs, got 'kto'"),
        ("--loss_type sigmoids", "loss_type: expected one of sigmoid, "),
        ("--loss_type sigmoid,sigmoid", "loss_type: expected each name once, got"),
        ("--loss_weights 1,a", "loss_weights: expected numbers, comma-separated, got '1,a'"),
        ("--loss_weights 1,2", "loss_weights: expected 1 numbers, one for each loss_type, got"),
        ("--beta 0", "beta: expected more than 0, got 0"),
        ("--simpo_gamma 1", "simpo_gamma: expected 0.5 for loss_type='sigmoid', which does not read it"),
        ("--label_smoothing 0.1 --loss_type ipo", "label_smoothing: expected 0 for loss_type='ipo'"),
        ("--epsilon 0.1", "unknown option --epsilon: dupo.train --method dpo does not have it"),
        ("--num_iterations 2", "unknown option --num_iterations: dupo.train --method dpo does not have it"),
    ],
)
def test_options_that_no_loss_can_honour_are_refused(words, message):
    with pytest.raises(UserError) as caught:
        parse(["--method", "dpo", "--dataset", "a", *words.split()])
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_a_data_set_is_needed():
    with pytest.raises(UserError, match=r"^dataset: expected --dataset FILE with columns prompt, chosen and"):
        parse(["--method", "dpo"])
    assert ComparisonOptions().loss_type == "sigmoid"


def test_pairs_that_are_too_long_are_left_out_or_cut_alike(pairs, tmp_path, capsys):
    long = {"prompt": "One two three four five. " * 30 + "Say it.", "chosen": "it", "rejected": "it " * 40}
    pairs.write_text("".join(json.dumps(pair) + "\n" for pair in [*PAIRS, long]))
    words = command(pairs, "--token_budget", "400", "--max_steps", "1")
    method = DPO(parse(words))
    assert len(method.train) == 80
    assert any("1 of 81 pairs left out: too long" in note for note in method.notes)
    assert any("a share of 1 / 2 of --token_budget allows 200" in note for note in method.notes)
    cut = DPO(parse([*words, "--overlong", "truncate_left"]))
    chosen, rejected = cut.train[-1]
    assert chosen.prompt_ids == rejected.prompt_ids and len(cut.train) == 81
    assert len(rejected.prompt_ids) + len(rejected.completion_ids) <= 200
    assert main([*words, "--overlong", "error", "--output_dir", str(tmp_path / "run")]) == 2
    assert "pairs.jsonl:91: its prompt of" in capsys.readouterr().err
