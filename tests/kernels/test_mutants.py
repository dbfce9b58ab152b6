"""Faults of one line that the tests of the kernels must catch: each is put into a copy of the package, where
the test named beside it must fail by an assertion. All of these tests pass on a copy without a fault."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from dupo_kernels import _triton
from tests.helpers.fault import Fault
from tests.helpers.project import ROOT
from tests.kernels.hidden import divergence_faults
from tests.kernels.hidden import faults as hidden_faults
from tests.kernels.logits import faults as kernel_faults
from tests.kernels.preferences import faults as preference_faults

pytestmark = [
    pytest.mark.slow,
    pytest.mark.full,
    pytest.mark.skipif(not _triton.HAS_TRITON, reason="Triton is not installed"),
]

# Imports what is slow and not under test, then forks once for every copy that is asked for. No fault meets
# another.
RUN_EACH = """
import json, os, signal, sys
import hypothesis, numpy, pytest, torch, torch._dynamo, triton
options = ["-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=short", "-m", "not full"]
sys.dont_write_bytecode = True
for line in sys.stdin:
    folder, tests = json.loads(line)
    if not (child := os.fork()):
        signal.alarm(600)
        os.chdir(folder)
        for stream in (1, 2):
            os.dup2(os.open("output", os.O_CREAT | os.O_WRONLY | os.O_APPEND), stream)
        code = pytest.main([*options, *(f"tests/{test}" for test in tests)])
        sys.stdout.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Run(NamedTuple):
    """Of pytest in one copy."""

    code: int
    output: str


def check(text: str, change: str, test: str) -> Fault:
    return Fault(text, change, f"kernels/test_checks.py::test_{test}")


def token(text: str, change: str, test: str) -> Fault:
    return Fault(text, change, f"kernels/tokens/test_fused_tokens.py::{test}", interpreted=True)


def fused(text: str, change: str, test: str) -> Fault:
    return Fault(text, change, f"kernels/logits/test_fused_policy_loss.py::test_{test}", interpreted=True)


FORMULA = "kernels/tokens/test_policy_loss.py::test_equals_the_formula"
READS, HOST = "(check or on_host(tensor))", "tensors_on_the_host_are_read"

FAULTS = {
    **kernel_faults.FAULTS,
    **hidden_faults.FAULTS,
    **preference_faults.FAULTS,
    **divergence_faults.FAULTS,
    # NaN
    "a token without an entropy is left out": Fault(
        "tokens.entropy.where(tokens.entropy.isnan(), is_high)",
        "is_high",
        "kernels/test_nan.py::test_a_token_without_an_entropy_is_not_left_out_in_silence",
    ),
    # what is refused
    "weights in half precision": check(
        "dtype not in (torch.float32, torch.float64)", "False", "weights_are_not_in_half_precision[dtype0]"
    ),
    "a negative temperature": check("if may_read(temperature, check):", "if False:", f"{HOST}[temperature0]"),
    "rows count twice": check("minlength=N) > 1", "minlength=N) > 2", f"{HOST}[repeated rows0]"),
    "a mask of NaN counts": check("~mask.isnan())", "mask.isnan() | True)", f"{HOST}[a mask of NaN0]"),
    "a device is waited for unasked": check(READS, "True", "tensors_on_a_device_are_not_read_unasked"),
    "a device is never waited for": check(READS, "on_host(tensor)", "tensors_on_a_device_are_read_if_asked"),
    # the torch path
    "-inf times a probability of 0": Fault(
        "log_p.clamp_(min=FLOOR).add_(",
        "log_p.add_(",
        "kernels/logits/test_token_logprobs.py::test_minus_inf_is_no_probability",
    ),
    # the kernels of tokens, and the loss from logits
    "masked tokens are counted": token(
        "count += tl.where(active, 1, 0)",
        "count += tl.where(token < stop, 1, 0)",
        "test_many_tokens_without_sequences",
    ),
    "bounds that fall are bounds": token(
        "falls = tl.where(low > high, 1, falls)",
        "falls = tl.where(low > high, 0, falls)",
        "test_bounds_that_are_none_give_no_number[fall-dapo-False]",
    ),
    "the mismatch weighs the loss and not its derivative": token(
        "loss, dlogp = loss * mismatch, dlogp * mismatch",
        "loss, dlogp = loss * mismatch, dlogp",
        "test_half_inputs_are_summed_in_float32[dtype0]",
    ),
    "tokens outside the bounds count": fused(
        "active = active & (is_inside | is_broken)",
        "active = active & (is_broken == is_broken)",
        "packed_and_with_advantages_of_sequences[grpo-kl-k3]",
    ),
    "a maximum drops NaN": fused(
        "is_nan, total_of_rows, tl.where(rows > 0, tl.max",
        "is_nan, 1.0, tl.where(rows > 0, tl.max",
        "nan_is_seen",
    ),
    "a gradient is scaled where it need not be": fused(
        "tl.where(upstream == divisor, 0, blocks)",
        "tl.where(upstream != divisor, 0, blocks)",
        "in_place_writes_the_same_over_the_logits[dtype0-plain]",
    ),
    "the kernel knows no loss scale": fused(
        "grad_scale=tokens.grad_scale,\n        by_sequence",
        "grad_scale=1.0,\n        by_sequence",
        "float16_needs_the_loss_scale_and_uses_it",
    ),
    "inputs are converted before the kernel": Fault(
        "None if x is None else x.reshape(-1).contiguous()",
        "None if x is None else x.reshape(-1).float()",
        "kernels/test_launches.py::test_policy_loss_launches_four_kernels[grpo-padded-dtype1]",
    ),
    # the objectives
    "the log-ratio is not held": Fault(
        "ops.exp(ops.where(held, MAX_LOG_RATIO, log_ratio))",
        "ops.exp(log_ratio)",
        "kernels/tokens/test_surrogates.py::test_ratio_is_held",
    ),
    "the edges of the clip are swapped": Fault(
        "low, high = 1.0 - epsilon, 1.0 + epsilon_high",
        "low, high = 1.0 - epsilon_high, 1.0 + epsilon",
        "kernels/tokens/test_surrogates.py::test_clipped_surrogate_is_the_pessimistic_one",
    ),
    "the KL is the other way round": Fault(
        "    d = ref_logp - logp\n",
        "    d = logp - ref_logp\n",
        "kernels/tokens/test_kl.py::test_kl_is_schulmans[k3]",
    ),
    "the entropy is a malus": Fault(
        "value - options.entropy_coef * tokens.entropy * has_bonus",
        "value + options.entropy_coef * tokens.entropy * has_bonus",
        f"{FORMULA}[dapo-entropy]",
    ),
    "the wrong sign of the bonus's gradient": Fault(
        "(-options.entropy_coef * has_bonus", "(options.entropy_coef * has_bonus", f"{FORMULA}[dapo-entropy]"
    ),
    "the mean of a sequence is its sum": Fault(
        "return self.sum(values) / self.lengths.clamp(min=1)",
        "return self.sum(values)",
        f"{FORMULA}[grpo-sequence]",
    ),
    "grpo's weights know no lengths": Fault(
        "return layout.lengths.clamp(min=1)",
        "return 1",
        "kernels/tokens/test_weights.py::test_padded_is_the_formula",
    ),
    "the mask is ignored": Fault(
        "active = mask != 0\n",
        "active = mask == mask\n",
        "kernels/tokens/test_policy_loss.py::test_masked_tokens_never_enter[dapo-plain]",
    ),
    "the loss in the type of its inputs": Fault(
        "torch.promote_types(logprobs.dtype, torch.float32)  # half inputs",
        "logprobs.dtype  # half inputs",
        "kernels/tokens/test_policy_loss.py::test_lower_precisions_follow",
    ),
    # sequences, masks and KL
    "the mismatch weight multiplies the KL": Fault(
        "value=loss.value + options.beta * ratio * kl",
        "value=loss.value + options.beta * ratio * kl * stats['sampling/importance_sampling_ratio/mean']",
        f"{FORMULA}[dapo-everything]",
    ),
    "the off-policy mask has the wrong sign": Fault(
        "difference(sampled, tokens.logp)",
        "difference(tokens.logp, sampled)",
        f"{FORMULA}[dapo-off-policy]",
    ),
    "the quantile is that of all tokens": Fault(
        "values.masked_fill(~active, INFINITY).flatten()",
        "values.flatten()",
        f"{FORMULA}[dapo-top-entropy]",
    ),
    "a sequence's derivative is not averaged": Fault(
        "ratio_slope = layout.mean(ratio_slope)",
        "ratio_slope = layout.sum(ratio_slope)",
        f"{FORMULA}[dapo-sequence]",
    ),
    "a product of 0 and -inf": Fault(
        "factor * logp.masked_fill(factor == 0, 0.0)",
        "factor * logp",
        "kernels/tokens/test_policy_loss.py::test_impossible_tokens_stay_finite[0.0-cispo-plain]",
    ),
}

WITHOUT = {f"no fault, {how}": how == "interpreted" for how in ("interpreted", "compiled")}


def copy_of_the_project(to: Path) -> Path:
    """What the tests need: pyproject.toml and their own place tell them where the package is."""
    skip = shutil.ignore_patterns("__pycache__", "*.so")
    for folder in ("kernels", "tests"):
        shutil.copytree(ROOT / folder, to / folder, ignore=skip)
    shutil.copy(ROOT / "pyproject.toml", to)
    return to


def insert(fault: Fault, kernels: Path) -> None:
    holders = [
        file for file in sorted(kernels.rglob("*.py")) for _ in range(file.read_text().count(fault.text))
    ]
    assert len(holders) == 1, f"{fault.text!r} must occur once, found in {[file.name for file in holders]}"
    holders[0].write_text(holders[0].read_text().replace(fault.text, fault.change))


def tests_of(name: str) -> list[str]:
    if name in FAULTS:
        return [FAULTS[name].test]
    return list(dict.fromkeys(f.test for f in FAULTS.values() if f.interpreted == WITHOUT[name]))


@contextmanager
def runner(interpreted: bool) -> Iterator[subprocess.Popen[str]]:
    env = {
        name: value for name, value in os.environ.items() if name not in ("TRITON_INTERPRET", "PYTHONPATH")
    }
    if interpreted:
        env["TRITON_INTERPRET"] = "1"
    command = [sys.executable, "-c", RUN_EACH]
    with subprocess.Popen(
        command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield process
        process.communicate()


@pytest.fixture(scope="module")
def runners() -> Iterator[dict[bool, subprocess.Popen[str]]]:
    with runner(False) as compiled, runner(True) as interpreted:
        yield {False: compiled, True: interpreted}


def run_tests(name: str, folder: Path, runners: dict[bool, subprocess.Popen[str]]) -> Run:
    """Copies the project, with the fault of that name, and runs the tests named beside the fault."""
    copy_of_the_project(folder)
    if name in FAULTS:
        insert(FAULTS[name], folder / "kernels")
    process = runners[FAULTS[name].interpreted if name in FAULTS else WITHOUT[name]]
    assert process.stdin and process.stdout
    process.stdin.write(json.dumps([str(folder), tests_of(name)]) + "\n")
    process.stdin.flush()
    return Run(int(process.stdout.readline()), (folder / "output").read_text())


@pytest.mark.parametrize("name", WITHOUT)
def test_passes_without_a_fault(
    name: str, tmp_path: Path, runners: dict[bool, subprocess.Popen[str]]
) -> None:
    code, output = run_tests(name, tmp_path, runners)
    assert code == 0, output[-3000:]
    assert "skipped" not in output.splitlines()[-1]


# .ci/run tries every third fault, .ci/full all of them.
CASES = [
    pytest.param(name, marks=[] if place % 3 == 0 else pytest.mark.full) for place, name in enumerate(FAULTS)
]


@pytest.mark.parametrize("name", CASES)
def test_is_caught(name: str, tmp_path: Path, runners: dict[bool, subprocess.Popen[str]]) -> None:
    code, output = run_tests(name, tmp_path, runners)
    assert code == 1, output[-3000:]
    assert re.search(r"^1 failed", output.splitlines()[-1]), output[-3000:]
    assert re.search(r"^E +(AssertionError|assert |Failed: DID NOT RAISE|.*OpCheckError)", output, re.M), (
        output[-3000:]
    )
