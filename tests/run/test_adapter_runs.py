"""Whole runs of adapters: small checkpoints, the same bytes after a stop, another base, the merged model."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from dupo import api, rerank, train
from dupo.errors import UserError
from dupo.models.objects import model_of
from dupo.models.own_forward import own_logprobs
from dupo.run.hub import finished_checkpoint
from tests.helpers.runs import SMALL, killed, resume, same_files, start
from tests.helpers.worlds import rows, save_tiny, summary

PEFT = ["--use_peft", "--lora_r", "4", "--learning_rate", "0.01"]
RANDOM = [*PEFT, "--reward", "random", "--max_steps", "2"]
ADAPTER = "adapter_model.safetensors"
IDS = [[3, 9, 4, 17, 2, 11, 5], [7, 1, 12]]


@pytest.fixture(scope="session")
def adapted(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps of adapters on `untrained`, finished and merged. A test that changes the run takes a copy."""
    folder = tmp_path_factory.mktemp("runs") / "adapted"
    return start(untrained, folder, *RANDOM, "--merge_lora")


def logprobs(folder: Path) -> torch.Tensor:
    return own_logprobs(model_of(folder), IDS, "float32")


@pytest.mark.slow
def test_a_checkpoint_holds_the_adapter_alone(adapted: Path, untrained: Path) -> None:
    checkpoint = adapted / "checkpoint-2"
    files = {file.name for file in checkpoint.iterdir()}
    assert {ADAPTER, "adapter_config.json", "state.pt", "tokenizer.json", "SHA256SUMS"} <= files
    assert not files & {"model.safetensors", "config.json", "README.md"}
    config = json.loads((checkpoint / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(untrained.resolve())
    assert (config["r"], config["lora_alpha"], config["target_modules"]) == (4, 32, ["q_proj", "v_proj"])
    assert all("lora_" in name for name in load_file(checkpoint / ADAPTER))
    base = AutoModelForCausalLM.from_pretrained(untrained)
    theirs = own_logprobs(PeftModel.from_pretrained(base, str(checkpoint)).get_base_model(), IDS, "float32")
    assert (logprobs(checkpoint) - theirs).abs().max() < 1e-5
    assert (logprobs(untrained) - theirs).abs().max() > 1e-3
    assert "peft:" in summary(adapted)["signature"]


@pytest.mark.slow
def test_the_merged_folder_is_a_whole_model(adapted: Path) -> None:
    whole = AutoModelForCausalLM.from_pretrained(adapted / "merged")
    expected = logprobs(adapted / "checkpoint-2")
    assert torch.equal(own_logprobs(whole, IDS, "float32"), expected)
    assert finished_checkpoint(adapted) == adapted / "merged"  # what is pushed


@pytest.mark.slow
@pytest.mark.full
def test_a_finished_run_is_merged_later(adapted: Path, untrained: Path, tmp_path: Path) -> None:
    run = start(untrained, tmp_path / "run", *RANDOM)
    assert not (run / "merged").exists()
    with pytest.raises(UserError, match=r"as adapters are pushed merged: .* --merge_lora true"):
        finished_checkpoint(run)
    assert resume(run, "--merge_lora", "true") == 0
    same_files(adapted, run, "metrics.jsonl", "merged/model.safetensors")
    # A run that goes on writes the model of its new end.
    before = (run / "merged/model.safetensors").read_bytes()
    assert resume(run, "--max_steps", "4") == 0
    assert (run / "merged/model.safetensors").read_bytes() != before
    assert torch.equal(logprobs(run / "merged"), logprobs(run / "checkpoint-4"))


@pytest.mark.slow
@pytest.mark.full
def test_a_base_in_bfloat16_is_merged_as_it_was_read(untrained: Path, tmp_path: Path) -> None:
    # A rate that falls would depend on the number of steps.
    options = [*PEFT, "--reward", "random", "--compute_dtype", "bfloat16", "--merge_lora"]
    options += ["--lr_scheduler_type", "constant"]
    whole = start(untrained, tmp_path / "whole", *options, "--max_steps", "4")
    run = start(untrained, tmp_path / "run", *options, "--max_steps", "2")
    assert resume(run, "--max_steps", "4") == 0
    same_files(whole, run, "metrics.jsonl", f"checkpoint-4/{ADAPTER}", "merged/model.safetensors")
    merged, base = (load_file(folder / "model.safetensors") for folder in (run / "merged", untrained))
    adapter = {
        name.removeprefix("base_model.model."): weight
        for name, weight in load_file(run / "checkpoint-4" / ADAPTER).items()
    }
    for name, weight in base.items():
        layer = name.removesuffix(".weight")
        if f"{layer}.lora_A.weight" not in adapter:
            # Not what bfloat16 makes of the weight.
            assert torch.equal(merged[name], weight), name
            continue
        a, b = (adapter[f"{layer}.lora_{which}.weight"].double() for which in "AB")
        expected = weight.double() + 32 / 4 * b @ a
        assert b.abs().max() > 1e-3
        assert (merged[name].double() - expected).abs().max() < 1e-6


VARIANTS = {
    "frozen judge and penalty": ["--beta", "0.05", "--lora_target_modules", "all-linear"],
    "ema": ["--dual_model", "ema", "--lr_scheduler_type", "linear", "--warmup_steps", "2"],
    "mid-rollout": ["--train_batch_size", "16", "--num_iterations", "2", "--reward", "random"],
}


@pytest.mark.slow
@pytest.mark.full
@pytest.mark.parametrize("variant", list(VARIANTS))
def test_killed_and_resumed_equals_never_stopped(variant, taught, tmp_path, run_python) -> None:
    model, options = taught / "checkpoint-0", [*PEFT, *VARIANTS[variant]]
    options += ["--max_steps", "8", "--save_steps", "3", "--eval_steps", "3"]
    never_stopped = start(model, tmp_path / "never", *options)
    run = killed(run_python, tmp_path / "killed", *SMALL, "--model_name_or_path", str(model), *options)
    assert [row["step"] for row in rows(run)] == [1, 2, 3, 4, 5]
    assert resume(run) == 0
    files = ["metrics.jsonl", "samples.jsonl", f"checkpoint-8/{ADAPTER}", "checkpoint-8/adapter_config.json"]
    files += ["checkpoint-8/ema.safetensors"] if variant == "ema" else []
    same_files(never_stopped, run, *files)
    if variant == "ema":
        trained = sum(weight.nbytes for weight in load_file(run / "checkpoint-8" / ADAPTER).values())
        averages = load_file(run / "checkpoint-8/ema.safetensors").values()
        assert sum(weight.nbytes for weight in averages) == trained


@pytest.mark.slow
@pytest.mark.full
def test_a_killed_supervised_run_equals_one_never_stopped(untrained, tmp_path, run_python) -> None:
    options = ["--method", "sft", *PEFT, "--lora_dropout", "0.1", "--max_steps", "8", "--save_steps", "3"]
    few = [word for word in SMALL if word not in ("--generation_batch_size", "32")]
    options = [*few, *options, "--model_name_or_path", str(untrained)]
    assert train.main([*options, "--output_dir", str(tmp_path / "never")]) == 0
    run = killed(run_python, tmp_path / "killed", *options)
    assert resume(run) == 0
    same_files(tmp_path / "never", run, "metrics.jsonl", f"checkpoint-8/{ADAPTER}")


@pytest.mark.slow
@pytest.mark.full
def test_adapters_are_put_on_the_taught_model(tmp_path, run_python) -> None:
    options = [*PEFT, *SMALL, "--max_steps", "8", "--save_steps", "8"]
    assert train.main([*options, "--output_dir", str(tmp_path / "never")]) == 0
    # No checkpoint but that of the teaching: the adapters come from the seed again.
    run = killed(run_python, tmp_path / "killed", *options)
    assert [folder.name for folder in run.glob("checkpoint-*")] == ["checkpoint-0"]
    assert resume(run) == 0
    same_files(tmp_path / "never", run, "metrics.jsonl", "samples.jsonl", f"checkpoint-8/{ADAPTER}")
    base = AutoModelForCausalLM.from_pretrained(run / "checkpoint-0")
    assert all("lora_" not in name for name, _ in base.named_parameters())
    assert summary(run)["teaching_labels"] == 49_600
    # The base moves with the run.
    before = logprobs(run / "checkpoint-8")
    shutil.move(run, tmp_path / "moved")
    assert torch.equal(logprobs(tmp_path / "moved/checkpoint-8"), before)


@pytest.mark.slow
def test_another_base_is_refused_on_resume(adapted: Path, untrained: Path, tmp_path: Path, capsys) -> None:
    model = Path(shutil.copytree(untrained, tmp_path / "model"))
    run = start(model, tmp_path / "run", *RANDOM)
    save_tiny(model, 7)
    assert resume(run, "--max_steps", "4") == 2
    assert "the weights of the model have changed since the run was started" in capsys.readouterr().err
    assert [row["step"] for row in rows(run)] == [1, 2]


@pytest.mark.slow
def test_rerank_reads_the_adapter_as_it_reads_the_merged_model(adapted: Path, tmp_path: Path) -> None:
    options = ["--num_problems", "6", "--num_generations", "4", "--vote_samples", "8", "--num_threads", "1"]
    for name in ("checkpoint-2", "merged"):
        model = ["--model_name_or_path", str(adapted / name), "--output_dir", str(tmp_path / name)]
        assert rerank.main([*options, *model]) == 0
    same_files(tmp_path / "checkpoint-2", tmp_path / "merged", "answers.jsonl")
    # As the start of another run: all weights of the merged model are trained.
    second = start(adapted / "checkpoint-2", tmp_path / "second", "--reward", "random", "--max_steps", "2")
    same_files(
        second,
        start(adapted / "merged", tmp_path / "third", "--reward", "random", "--max_steps", "2"),
        "metrics.jsonl",
        "checkpoint-2/model.safetensors",
    )


@pytest.mark.slow
def test_a_call_from_python_gives_the_merged_model(untrained: Path, tmp_path: Path) -> None:
    result = api.train(
        model=str(untrained), use_peft=True, lora_target_modules=["q_proj", "up_proj"], reward="random",
        max_steps=1, generation_batch_size=32, eval_size=20, output_dir=str(tmp_path / "run"), quiet=True,
    )  # fmt: skip
    own = own_logprobs(result.model, IDS, "float32")
    assert result.checkpoint is not None and (result.checkpoint / ADAPTER).is_file()
    assert torch.equal(own, logprobs(result.checkpoint))
