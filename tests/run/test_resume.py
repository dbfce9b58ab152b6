"""Repeat and resume: the same bytes from the same seed, and from a run that was stopped at any moment."""

import shutil
from pathlib import Path

import pytest
import torch

from dupo.config.command_line import parse
from dupo.methods.dupo import DuPO
from dupo.train import main
from tests.helpers.runs import SMALL, killed, loop, resume, same_files, start
from tests.helpers.worlds import rows, summary


def test_same_seed_same_bytes(finished, untrained, tmp_path):
    options = ["--max_steps", "2", "--reward", "random"]
    again = start(untrained, tmp_path / "again", *options)
    same_files(finished, again, "metrics.jsonl", "samples.jsonl", "checkpoint-2/model.safetensors")
    other = start(untrained, tmp_path / "other", *options, "--seed", "1")
    assert rows(finished)[0]["loss"] != rows(other)[0]["loss"]


VARIANTS = {
    "dual": ["--beta", "0.05"],
    "ema": ["--dual_model", "ema", "--lr_scheduler_type", "linear", "--warmup_steps", "2"],
    "mid-rollout": ["--train_batch_size", "16", "--num_iterations", "2", "--reward", "random"],
}


@pytest.mark.slow
@pytest.mark.full
@pytest.mark.parametrize("variant", VARIANTS)
def test_killed_between_two_steps_and_resumed_equals_never_stopped(variant, taught, tmp_path, run_python):
    model = taught / "checkpoint-0"
    options = ["--max_steps", "8", "--save_steps", "3", "--eval_steps", "3", *VARIANTS[variant]]
    never_stopped = start(model, tmp_path / "never", *options)
    run = killed(run_python, tmp_path / "killed", *SMALL, "--model_name_or_path", str(model), *options)
    assert [row["step"] for row in rows(run)] == [1, 2, 3, 4, 5]
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "rew')  # killed while writing
    assert resume(run) == 0
    same_files(never_stopped, run, "metrics.jsonl", "samples.jsonl", "checkpoint-8/model.safetensors")
    assert summary(never_stopped)["evals"] == summary(run)["evals"]


@pytest.mark.slow
@pytest.mark.full
def test_teaching_is_not_repeated_on_resume(hardly_taught, tmp_path):
    class Untaught(DuPO):
        def make_stage(self):
            raise AssertionError("taught again")

    run = Path(shutil.copytree(hardly_taught, tmp_path / "taught"))
    resumed = ["--output_dir", str(run), "--resume_from_checkpoint", "latest", "--max_steps", "14"]
    config = parse(resumed)
    assert loop(config, Untaught(config))["teaching_steps"] == summary(hardly_taught)["teaching_steps"]
    assert [row["step"] for row in rows(run)] == list(range(1, 15))
    assert rows(run)[:12] == rows(hardly_taught)


@pytest.mark.slow
@pytest.mark.full
def test_going_back_to_the_start_gives_the_same_run_again(taught, tmp_path):
    """From checkpoint-0 everything must come back: the policy, the frozen model that judges, the sampler."""
    run = Path(shutil.copytree(taught, tmp_path / "again"))
    assert main(["--resume_from_checkpoint", str(run / "checkpoint-0"), "--max_steps", "12"]) == 0
    same_files(taught, run, "metrics.jsonl", "samples.jsonl", "checkpoint-12/model.safetensors")
    finished = (run / "samples.jsonl").read_bytes()
    assert resume(run) == 0
    assert (run / "samples.jsonl").read_bytes() == finished  # a finished run writes nothing twice


@pytest.mark.slow
@pytest.mark.full
def test_config_yaml_starts_the_same_run_elsewhere(finished, tmp_path):
    assert main(["--config", str(finished / "config.yaml"), "--output_dir", str(tmp_path / "again")]) == 0
    same_files(finished, tmp_path / "again", "metrics.jsonl", "config.yaml")


@pytest.mark.slow
def test_other_threads_are_pointed_out_on_resume(finished, tmp_path, capsys, monkeypatch):
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    assert resume(run, "--max_steps", "3") == 0
    assert "threads 1 is now 7" in capsys.readouterr().err


@pytest.mark.slow
def test_resume_refuses_other_settings(hardly_taught, capsys):
    assert resume(hardly_taught, "--learning_rate", "1e-5") == 2
    assert "learning_rate is 1e-5, the run was started with 4e-4" in capsys.readouterr().err
    assert resume(hardly_taught, "--method", "sft") == 2
    assert "method is sft, the run was started with dupo" in capsys.readouterr().err


@pytest.mark.slow
def test_latest_before_the_first_checkpoint_starts_anew(finished, tmp_path):
    """A run that was killed before its first checkpoint has settings and inputs only, and perhaps rows."""
    run = tmp_path / "early"
    run.mkdir()
    shutil.copy(finished / "config.yaml", run)
    shutil.copy(finished / "inputs.json", run)
    first_row = (finished / "metrics.jsonl").read_text().splitlines(keepends=True)[0]
    (run / "metrics.jsonl").write_text(first_row)
    assert resume(run) == 0
    same_files(finished, run, "metrics.jsonl", "samples.jsonl")


def test_what_cannot_be_resumed_is_left_as_it_was(finished, tmp_path, capsys):
    """An older format and a checkpoint that is not there are refused before a byte is written."""
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    config = run / "config.yaml"
    settings = config.read_bytes()
    options = ["--output_dir", str(run), "--max_steps", "4", "--resume_from_checkpoint"]
    assert main([*options, str(run / "checkpoint-99")]) == 2
    assert "checkpoint-99" in capsys.readouterr().err and config.read_bytes() == settings
    config.write_bytes(settings.partition(b"\n")[2])  # format 1 had no first line
    old = config.read_bytes()
    assert main([*options, "latest"]) == 2
    error = capsys.readouterr().err
    assert "holds a run of format 1, this dupo continues format 3: start anew" in error
    assert error.count("\n") == 1 and config.read_bytes() == old


@pytest.mark.slow
@pytest.mark.parametrize("how", ["--async_save true", "--async_save false"])
def test_moments_of_eight_bits_are_resumed_to_the_same_bytes(how, untrained, tmp_path, capsys):
    pytest.importorskip("torchao")
    options = ["--optim", "adamw_torch_8bit", "--reward", "random", "--lr_scheduler_type", "constant"]
    options += ["--learning_rate", "1e-3", "--eval_size", "0", *how.split()]
    # torchao compiles its step, which takes minutes on a CPU.
    with torch.compiler.set_stance("force_eager"):
        whole = start(untrained, tmp_path / "whole", *options, "--max_steps", "4")
        run = start(untrained, tmp_path / "run", *options, "--max_steps", "2")
        assert resume(run, "--max_steps", "4") == 0
    same_files(whole, run, "metrics.jsonl", "checkpoint-4/model.safetensors")
    assert resume(run, "--max_steps", "5", "--optim", "adamw_torch") == 2
    assert "optim" in capsys.readouterr().err
