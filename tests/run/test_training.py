"""Whole runs of the command line, in process and killed: they learn, repeat, resume, and read no label."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dupo.methods.sft import WarmUp
from dupo.tasks.arithmetic import Arithmetic
from dupo.train import main
from tests.helpers.worlds import rows, save_tiny, summary

SMALL = [
    "--num_threads",
    "1",
    "--eval_size",
    "100",
    "--generation_batch_size",
    "32",
    "--eval_steps",
    "2",
    "--save_steps",
    "2",
]


@pytest.fixture(scope="session")
def untrained(tmp_path_factory) -> Path:
    """A policy with random weights; a run from it needs no warm-up."""
    return save_tiny(tmp_path_factory.mktemp("model") / "untrained")


@pytest.fixture(scope="session")
def warm(tmp_path_factory) -> Path:
    """The built-in run, cut short: its folder holds the warmed-up policy as checkpoint-0."""
    run = tmp_path_factory.mktemp("runs") / "warm"
    options = ["--max_steps", "12", "--eval_steps", "6", "--eval_size", "500", "--num_threads", "1"]
    options += ["--lr_scheduler_type", "constant"]
    assert main([*options, "--output_dir", str(run)]) == 0
    return run


def start(model: Path, out: Path, *options: str) -> Path:
    assert main([*SMALL, "--model_name_or_path", str(model), "--output_dir", str(out), *options]) == 0
    return out


def same_files(one: Path, two: Path, *names: str) -> None:
    for name in names:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


# --- what a run leaves ---


def test_the_built_in_run_learns_without_labels(warm):
    found = summary(warm)
    assert 0.4 <= found["eval/accuracy_before"] <= 0.8  # the warm-up stops at about half right
    assert found["eval/accuracy_after"] > found["eval/accuracy_before"] + 0.03
    assert found["reward_auc"] > 0.9
    assert found["warmup_labels"] == 64 * found["warmup_steps"] > 0
    assert {"eval/accuracy_peak", "eval/problems", "steps", "seconds", "seed", "signature"} <= found.keys()


def test_one_row_per_optimizer_step_with_the_names_people_know(warm):
    metrics = rows(warm)
    assert [row["step"] for row in metrics] == list(range(1, 13))
    names = "reward reward_std frac_reward_zero_std loss grad_norm learning_rate entropy num_tokens"
    names += " dual/reconstruct_rate dual/none_rate dual/cache_hit_rate completions/mean_length"
    names += " completions/clipped_ratio clip_ratio/low_mean clip_ratio/high_mean"
    assert all(set(names.split()) <= row.keys() for row in metrics)
    assert [row["step"] for row in metrics if "eval/accuracy" in row] == [6, 12]
    assert metrics[-1]["reward"] == pytest.approx(metrics[-1]["dual/reconstruct_rate"])


def test_samples_are_readable_exchanges(warm):
    samples = rows(warm, "samples.jsonl")
    assert {row["step"] for row in samples} == set(range(13))
    judged = [row for row in samples if row["correct"] is not None]
    assert {row["correct"] for row in judged} == {True, False}
    assert [row["step"] for row in judged] == [0, 0, 12, 12, 12]
    for row in samples:
        assert row["prompt"].startswith("#")
        for dual in row["duals"]:
            assert dual["prompt"].startswith("@") and dual["prompt"].endswith(f"{row['answer']}:")
            assert (dual["distance"] == 0) == (dual["completion"] == dual["unknown"])
    assert "<svg" in (warm / "report.html").read_text()


def test_a_checkpoint_is_a_model_folder(warm):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = warm / (warm / "latest").read_text().strip()
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(["#321+654="], return_tensors="pt").input_ids
    text = tokenizer.decode(model.generate(ids, max_new_tokens=5, do_sample=False)[0, ids.shape[1] :])
    assert text[:4].isdecimal()


# --- no label is read ---


def test_rl_never_touches_gold(warm, tmp_path, monkeypatch):
    """With the labels of all training problems replaced by a trap that goes off at any use, the dual arm
    gives the same figures, and the gold arm falls into it."""

    class Trap:
        def _caught(self, *_: object) -> bool:
            raise AssertionError("a training label was read")

        __eq__ = __ne__ = __str__ = __repr__ = __format__ = __bool__ = __len__ = __iter__ = _caught  # type: ignore[assignment]
        __hash__ = _caught  # type: ignore[assignment]

    options = ["--max_steps", "2", "--num_iterations", "1"]
    honest = start(warm / "checkpoint-0", tmp_path / "honest", *options)
    make = Arithmetic.__init__

    def trapped(self, config):
        make(self, config)
        self.train = [replace(p, gold=Trap()) for p in self.train]  # type: ignore[arg-type]

    monkeypatch.setattr(Arithmetic, "__init__", trapped)
    blind = start(warm / "checkpoint-0", tmp_path / "blind", *options)
    same_files(honest, blind, "metrics.jsonl", "samples.jsonl")
    with pytest.raises(AssertionError, match="a training label was read"):
        start(warm / "checkpoint-0", tmp_path / "gold", *options, "--reward", "gold")


# --- repeat and resume ---


def test_same_seed_same_bytes(untrained, tmp_path):
    options = ["--max_steps", "4", "--reward", "random"]
    one, two = (start(untrained, tmp_path / name, *options) for name in ("one", "two"))
    same_files(one, two, "metrics.jsonl", "samples.jsonl", "checkpoint-4/model.safetensors")
    other = start(untrained, tmp_path / "other", *options, "--seed", "1")
    assert rows(one)[0]["loss"] != rows(other)[0]["loss"]


ARMS = {
    "dual": ["--beta", "0.05"],
    "ema": ["--dual_model", "ema", "--lr_scheduler_type", "linear", "--warmup_steps", "2"],
    "mid-rollout": ["--train_batch_size", "16", "--num_iterations", "2", "--reward", "random"],
}


@pytest.mark.slow
@pytest.mark.parametrize("arm", list(ARMS))
def test_killed_between_two_steps_and_resumed_equals_never_stopped(arm, warm, tmp_path):
    model = warm / "checkpoint-0"
    options = ["--max_steps", "8", "--save_steps", "3", "--eval_steps", "3", *ARMS[arm]]
    whole = start(model, tmp_path / "whole", *options)
    killed = tmp_path / "killed"
    command = [*SMALL, "--model_name_or_path", str(model), "--output_dir", str(killed), *options]
    code = (
        "import os, signal, sys; from dupo.run.training import Session; after = Session.after_step\n"
        "def step(self, *a):\n    after(self, *a)\n    if self.step == 5: os.kill(os.getpid(), 9)\n"
        "Session.after_step = step; from dupo.train import main; main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, env=python_env()
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [row["step"] for row in rows(killed)] == [1, 2, 3, 4, 5]
    with (killed / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "rew')  # killed while writing
    assert main(["--output_dir", str(killed), "--resume_from_checkpoint", "latest"]) == 0
    names = ["metrics.jsonl", "samples.jsonl", "checkpoint-8/model.safetensors", "config.yaml"]
    same = [name for name in names if name != "config.yaml"]
    same_files(whole, killed, *same)
    assert summary(whole)["evals"] == summary(killed)["evals"]


def python_env() -> dict[str, str]:
    root = Path(__file__).parents[2]
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "kernels")])}


def test_a_warm_up_is_not_repeated_on_resume(warm, tmp_path, monkeypatch):
    run = Path(shutil.copytree(warm, tmp_path / "warm"))
    monkeypatch.setattr("dupo.run.training.WarmUp", None)
    assert main(["--output_dir", str(run), "--resume_from_checkpoint", "latest", "--max_steps", "14"]) == 0
    assert [row["step"] for row in rows(run)] == list(range(1, 15))
    assert rows(run)[:12] == rows(warm)


@pytest.mark.slow
def test_going_back_to_the_start_gives_the_same_run_again(warm, tmp_path):
    """From checkpoint-0 everything must come back: the policy, the frozen model that judges, the sampler."""
    run = Path(shutil.copytree(warm, tmp_path / "again"))
    assert main(["--resume_from_checkpoint", str(run / "checkpoint-0"), "--max_steps", "12"]) == 0
    same_files(warm, run, "metrics.jsonl", "samples.jsonl", "checkpoint-12/model.safetensors")
    finished = (run / "samples.jsonl").read_bytes()
    assert main(["--output_dir", str(run), "--resume_from_checkpoint", "latest"]) == 0
    assert (run / "samples.jsonl").read_bytes() == finished  # a finished run writes nothing twice


def test_config_yaml_starts_the_same_run_elsewhere(untrained, tmp_path):
    one = start(untrained, tmp_path / "one", "--max_steps", "2", "--reward", "random")
    assert main(["--config", str(one / "config.yaml"), "--output_dir", str(tmp_path / "two")]) == 0
    same_files(one, tmp_path / "two", "metrics.jsonl", "config.yaml")


def test_other_threads_are_pointed_out_on_resume(untrained, tmp_path, capsys, monkeypatch):
    run = start(untrained, tmp_path / "run", "--max_steps", "2", "--reward", "random")
    monkeypatch.setattr("dupo.run.training.torch.get_num_threads", lambda: 7)
    assert main(["--output_dir", str(run), "--resume_from_checkpoint", "latest", "--max_steps", "3"]) == 0
    assert "threads 1 is now 7" in capsys.readouterr().err


def test_resume_refuses_other_settings(warm, capsys):
    run = ["--output_dir", str(warm), "--resume_from_checkpoint", "latest"]
    assert main([*run, "--learning_rate", "1e-5"]) == 2
    assert "learning_rate is 1e-5, the run was started with 3e-4" in capsys.readouterr().err


def test_ctrl_c_saves_and_says_how_to_go_on(untrained, tmp_path):
    run = tmp_path / "stopped"
    command = [
        *SMALL,
        "--model_name_or_path",
        str(untrained),
        "--output_dir",
        str(run),
        "--max_steps",
        "100000",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "dupo.train", *command, "--reward", "random"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=python_env(),
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (run / "metrics.jsonl").is_file() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    steps = len(rows(run))
    assert "Traceback" not in err and f"--output_dir {run} --resume_from_checkpoint latest" in out
    assert (run / "latest").read_text().strip() == f"checkpoint-{steps}"
    assert (
        main(["--output_dir", str(run), "--resume_from_checkpoint", "latest", "--max_steps", str(steps + 1)])
        == 0
    )
    assert len(rows(run)) == steps + 1


def test_ctrl_c_in_the_warm_up_loses_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("dupo.methods.sft.PRIMAL_GOAL", 0.0)
    monkeypatch.setattr("dupo.methods.sft.DUAL_GOAL", 0.0)
    monkeypatch.setattr("dupo.methods.sft.CHECK_EVERY", 12)
    options = [*SMALL, "--max_steps", "1", "--reward", "random"]
    assert main([*options, "--output_dir", str(tmp_path / "whole")]) == 0
    step = WarmUp.step

    def stopped_at_7(warm: WarmUp) -> None:
        step(warm)
        if warm.steps == 7:
            os.kill(os.getpid(), signal.SIGINT)

    stopped = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(WarmUp, "step", stopped_at_7)
        assert main([*options, "--output_dir", str(stopped)]) == 130
    out, err = capsys.readouterr()
    assert "Ctrl-C again stops at once" in err and "warm-up, after step 7; saved" in out
    assert f"--output_dir {stopped} --resume_from_checkpoint latest" in out
    assert not (stopped / "metrics.jsonl").exists()
    assert main(["--output_dir", str(stopped), "--resume_from_checkpoint", "latest"]) == 0
    assert "resumed the warm-up after step 7" in capsys.readouterr().out
    assert summary(stopped)["warmup_steps"] == 12
    files = [f"checkpoint-{n}/model.safetensors" for n in (0, 1)]
    same_files(tmp_path / "whole", stopped, "metrics.jsonl", "samples.jsonl", *files)
    assert not (stopped / "teaching.pt").exists()


def test_a_step_that_is_not_finite_stops_the_run_and_saves_its_batch(untrained, tmp_path, capsys):
    run = tmp_path / "run"
    command = [*SMALL, "--model_name_or_path", str(untrained), "--output_dir", str(run), "--reward", "random"]
    assert main([*command, "--learning_rate", "1", "--beta", "1e38"]) == 1
    message = capsys.readouterr().err
    steps = len(rows(run))
    assert "is not finite" in message and "learning_rate is 1" in message and len(message.splitlines()) == 1
    assert steps < 200
    (file,) = run.glob("nonfinite-*")
    saved = json.loads(file.read_text())
    assert saved["problems"] and saved["batch"] and saved["step"] == int(file.stem.rpartition("-")[2])


def test_arms_that_use_no_dual_ask_none(untrained, tmp_path):
    for arm in ("gold", "majority", "random"):
        run = start(untrained, tmp_path / arm, "--reward", arm, "--max_steps", "1")
        assert not any("dual/prompts" in row for row in rows(run))
        assert summary(run)["reward"] == arm


@pytest.mark.slow
def test_the_loop_uses_what_the_options_say(warm, tmp_path):
    """Options that change no shape are easy to drop on the way: each must leave its mark on the figures."""
    model = warm / "checkpoint-0"
    base = start(model, tmp_path / "base", "--max_steps", "3")
    marks = {
        "scale_rewards": ["--scale_rewards", "none"],
        "loss_type": ["--loss_type", "dr_grpo", "--max_completion_length", "7"],
        "temperature": ["--temperature", "0.8"],
        "reward_shape": ["--reward_shape", "exp", "--reward_lambda", "0.5"],
        "duals_per_prompt": ["--duals_per_prompt", "1"],
        "dual_temperature": ["--dual_temperature", "1"],
    }
    for name, options in marks.items():
        other = start(model, tmp_path / name, "--max_steps", "3", *options)
        assert [r["grad_norm"] for r in rows(other)] != [r["grad_norm"] for r in rows(base)], name
    kl = start(model, tmp_path / "kl", "--max_steps", "3", "--beta", "0.1", "--learning_rate", "1e-2")
    assert (
        rows(kl)[0]["kl"] == pytest.approx(0, abs=1e-6) and rows(kl)[-1]["kl"] > 1e-4
    )  # the reference stays


def test_the_average_model_moves(warm, tmp_path, monkeypatch):
    from dupo.run.training import Session

    kept = []
    finish = Session.finish
    monkeypatch.setattr(Session, "finish", lambda self: kept.append(self) or finish(self))
    options = ["--max_steps", "3", "--dual_model", "ema", "--ema_decay", "0.5"]
    start(warm / "checkpoint-0", tmp_path / "ema", *options)
    (session,) = kept
    first = session.model.get_input_embeddings().weight
    average = session.ema.get_input_embeddings().weight
    begun = load_file(warm / "checkpoint-0" / "model.safetensors")["model.embed_tokens.weight"]
    assert (average - begun).abs().max() > 1e-5 < (average - first).abs().max()


def test_every_draw_is_its_own(untrained, tmp_path, monkeypatch):
    from dupo.run.training import Session

    seen = []
    draw = Session.draw
    monkeypatch.setattr(Session, "draw", lambda self, *a: seen.append(draw(self, *a)) or seen[-1])
    start(untrained, tmp_path / "run", "--max_steps", "4", "--reward", "random")
    assert len(set(seen)) == len(seen) - 1  # the arm's seed of rollout 0 serves the evaluation and step 1


def test_a_model_that_leaks_is_refused_at_the_start(untrained, tmp_path, capsys, monkeypatch):
    from dupo.models import attention

    honest = attention.packed_attention

    def leaky(q, k, v, cu_seqlens, *rest):
        return honest(q, k, v, cu_seqlens[[0, -1]], *rest)

    monkeypatch.setattr(attention, "packed_attention", leaky)
    monkeypatch.setattr("dupo.models.load.tiny_config", None)
    options = ["--model_name_or_path", str(untrained), "--output_dir", str(tmp_path / "run")]
    assert main(options) == 2
    assert "cannot be trained packed" in capsys.readouterr().err
    monkeypatch.undo()
    assert main([*SMALL, *options, "--max_steps", "1"]) == 0  # a start that failed does not block the next


def test_one_epoch_visits_every_problem_once(untrained, tmp_path, monkeypatch):
    from dupo.run.training import Session

    seen = []
    original = Session.next_problems

    def record(self):
        seen.append(original(self))
        return seen[-1]

    monkeypatch.setattr(Session, "next_problems", record)
    make = Arithmetic.__init__

    def few(self, config):
        make(self, config)
        self.train = self.train[:24]

    monkeypatch.setattr(Arithmetic, "__init__", few)
    start(untrained, tmp_path / "run", "--max_steps", "6", "--reward", "random")
    visited = [p.id for problems in seen for p in problems]
    assert len(set(visited[:24])) == len(set(visited[24:48])) == 24
    assert visited[:24] != visited[24:48]
    assert all(p.gold is None for problems in seen for p in problems)


@pytest.mark.slow
def test_the_default_run(tmp_path):
    """`python -m dupo.train` as it stands: at most three minutes, at least twenty points, no label in RL."""
    run = tmp_path / "run"
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "dupo.train", "--output_dir", str(run)], capture_output=True, text=True,
        env={k: v for k, v in python_env().items() if k != "OMP_NUM_THREADS"},
    )  # fmt: skip
    seconds = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    found = summary(run)
    assert found["eval/problems"] >= 2000 and found["steps"] == 150
    assert found["eval/accuracy_after"] >= found["eval/accuracy_before"] + 0.2
    assert found["reward_auc"] >= 0.9
    assert seconds <= 180, f"{seconds:.0f} s"
    assert torch.get_num_threads() >= 1
