"""Whole runs of the door `train`: what they leave, that they learn, and that they read no label."""

import time
from dataclasses import replace
from itertools import pairwise

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from dupo.engines.base import Sampling
from dupo.models import attention
from dupo.tasks.arithmetic import Arithmetic
from dupo.train import main
from tests.helpers.pages import Page
from tests.helpers.runs import SMALL, same_files, start
from tests.helpers.worlds import rows, summary, tiny


@pytest.mark.slow
def test_the_built_in_run_learns_without_labels(taught):
    result = summary(taught)
    assert 0.4 <= result["eval/accuracy_before"] <= 0.8  # teaching stops at about half right
    assert result["eval/accuracy_after"] > result["eval/accuracy_before"] + 0.03
    assert result["reward_auc"] > 0.9
    assert result["teaching_labels"] == 64 * result["teaching_steps"] > 0
    assert {"eval/accuracy_peak", "eval/problems", "steps", "seconds", "seed", "signature"} <= result.keys()
    assert (result["method"], result["task"], result["reward"]) == ("dupo", "arithmetic", "dual")
    metrics = rows(taught)
    assert all(
        {"dual/reconstruct_rate", "dual/none_rate", "dual/cache_hit_rate"} <= row.keys() for row in metrics
    )
    assert metrics[-1]["reward"] == pytest.approx(metrics[-1]["dual/reconstruct_rate"])
    samples = rows(taught, "samples.jsonl")
    assert {row["correct"] for row in samples} == {True, False, None}
    for row in samples:
        for dual in row["duals"]:
            assert dual["prompt"].startswith("@") and dual["prompt"].endswith(f"{row['answer']}:")
            assert (dual["distance"] == 0) == (dual["completion"] == dual["unknown"])


def test_one_row_per_optimizer_step_with_the_names_people_know(hardly_taught):
    metrics = rows(hardly_taught)
    assert [row["step"] for row in metrics] == list(range(1, 13))
    names = "reward reward_std frac_reward_zero_std loss grad_norm learning_rate entropy num_tokens"
    names += " completions/mean_length completions/clipped_ratio clip_ratio/low_mean clip_ratio/high_mean"
    assert all(set(names.split()) <= row.keys() for row in metrics)
    assert [row["step"] for row in metrics if "eval/accuracy" in row] == [6, 12]


def test_seconds_are_told_by_phase(hardly_taught):
    timings = rows(hardly_taught, "timings.jsonl")
    phases = [{*row} - {"step", "seconds"} for row in timings]
    assert phases[0] == {"answers", "rewards", "update"}
    assert [step for step, names in enumerate(phases, 1) if "evaluation" in names] == [6, 12]
    for last, row in pairwise([{"seconds": 0.0}, *timings]):
        spent = [row[name] for name in row if name not in ("step", "seconds")]
        assert min(spent) > 0 and sum(spent) <= row["seconds"] - last["seconds"] + 0.01


def test_samples_are_readable_exchanges(hardly_taught):
    samples = rows(hardly_taught, "samples.jsonl")
    assert {row["step"] for row in samples} == set(range(13))
    judged = [row for row in samples if row["correct"] is not None]
    assert [row["step"] for row in judged] == [0, 0, 12, 12, 12]
    assert all(row["prompt"].startswith("#") for row in samples)
    assert Page(hardly_taught / "report.html").charts


def test_a_checkpoint_is_a_model_folder(hardly_taught):
    folder = hardly_taught / (hardly_taught / "latest").read_text().strip()
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(["#321+654="], return_tensors="pt").input_ids
    continued = model.generate(ids, max_new_tokens=5, do_sample=False)[0, ids.shape[1] :]
    engine = tiny("--model_name_or_path", str(folder)).engine
    sampled = engine.sample(["#321+654="], 1, Sampling(0.0, 5), seed=0)[0][0].ids
    assert continued.tolist()[: len(sampled)] == sampled.tolist()


class Trap:
    """Stands for a label; goes off at any use."""

    def _caught(self, *_: object) -> bool:
        raise AssertionError("a training label was read")

    __eq__ = __ne__ = __str__ = __repr__ = __format__ = __bool__ = __len__ = __iter__ = _caught  # type: ignore[assignment]
    __hash__ = _caught  # type: ignore[assignment]


def test_the_method_never_touches_gold(hardly_taught, tmp_path, monkeypatch):
    """With the labels of all training problems replaced by a trap that goes off at any use, the dual reward
    gives the same metrics, and the gold reward falls into the trap."""
    options = ["--max_steps", "2", "--num_iterations", "1"]
    honest = start(hardly_taught / "checkpoint-0", tmp_path / "honest", *options)
    make = Arithmetic.__init__

    def trapped(self, options, seed):
        make(self, options, seed)
        self.train = [replace(p, gold=Trap()) for p in self.train]  # type: ignore[arg-type]

    monkeypatch.setattr(Arithmetic, "__init__", trapped)
    blind = start(hardly_taught / "checkpoint-0", tmp_path / "blind", *options)
    same_files(honest, blind, "metrics.jsonl", "samples.jsonl")
    with pytest.raises(AssertionError, match="a training label was read"):
        start(hardly_taught / "checkpoint-0", tmp_path / "gold", *options, "--reward", "gold")


@pytest.mark.slow
@pytest.mark.parametrize(
    "reward", ["majority", *(pytest.param(r, marks=pytest.mark.full) for r in ("gold", "random"))]
)
def test_rewards_that_use_no_dual_ask_none(reward, untrained, tmp_path):
    run = start(untrained, tmp_path / reward, "--reward", reward, "--max_steps", "1", "--eval_size", "8")
    assert not any("dual/prompts" in row for row in rows(run))
    assert summary(run)["reward"] == reward


@pytest.mark.slow
@pytest.mark.full
def test_the_loop_uses_what_the_options_say(taught, tmp_path):
    """Options that change no shape are easy to drop on the way: each must leave its mark on the metrics."""
    model = taught / "checkpoint-0"
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
    assert rows(kl)[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert rows(kl)[-1]["kl"] > 1e-4  # the reference stays


@pytest.mark.slow
def test_a_model_that_leaks_is_refused_at_the_start(untrained, tmp_path, capsys, monkeypatch):
    honest = attention.packed_attention

    def leaky(q, k, v, cu_seqlens, *more):
        return honest(q, k, v, cu_seqlens[[0, -1]], *more)

    monkeypatch.setattr(attention, "packed_attention", leaky)
    options = ["--model_name_or_path", str(untrained), "--output_dir", str(tmp_path / "run")]
    assert main(options) == 2
    assert "cannot be trained packed" in capsys.readouterr().err
    monkeypatch.undo()
    assert main([*SMALL, *options, "--max_steps", "1"]) == 0  # a start that failed does not block the next


@pytest.mark.slow
def test_the_default_run(tmp_path, run_python):
    """`python -m dupo.train` as it stands: at most three minutes, at least twenty points, no label in RL."""
    run = tmp_path / "run"
    started = time.monotonic()
    variables = {"OMP_NUM_THREADS": None, "PYTHONWARNINGS": "default"}
    done = run_python("-m", "dupo.train", "--output_dir", str(run), env=variables)
    seconds = time.monotonic() - started
    assert (done.returncode, done.stderr) == (0, "")
    result = summary(run)
    assert result["eval/problems"] >= 2000 and result["steps"] == 150
    assert result["eval/accuracy_after"] >= result["eval/accuracy_before"] + 0.2
    assert result["reward_auc"] >= 0.9
    assert seconds <= 180, f"{seconds:.0f} s"
