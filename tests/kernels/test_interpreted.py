"""The Triton kernels without a GPU: run under the interpreter, and absent. (Compiled: test_aot.py.)

TRITON_INTERPRET counts when triton is imported, so each of these is a process of its own.
"""

import re

import pytest

from dupo_kernels import _triton
from tests.helpers.project import ROOT, RunPython

needs_triton = pytest.mark.skipif(not _triton.HAS_TRITON, reason="Triton is not installed")
HIDE_TRITON = "import sys; sys.modules['triton'] = None\n"


# One process, as starting one takes seconds. Of each kernel a few cases: every loss with another option, and
# every broken row in the plainest place and in the hardest.
QUICK = ["kernels/tokens/test_triton_copies.py"]
QUICK += ["kernels/logits/test_fused_loss.py::test_the_default_configuration"]
QUICK += [
    f"kernels/tokens/test_fused_tokens.py::test_kernels_compute_what_torch_does[{case}]"
    for case in (
        "grpo-token_mask-packed",
        "dr_grpo-entropy-padded",
        "cispo-kl-k3+-plain-packed-shifted",
        "sapo-kl-k1-packed-masked",
    )
]
BROKEN = ["all_nan", "one_nan", "nan_and_minus_inf", "target_at_minus_inf", "target_alone_is_nan"]
QUICK += [
    f"kernels/test_nan.py::test_a_row_of_logits[{broken}-{place}]"
    for broken in BROKEN
    for place in ("None-7-fp32",)
]
KERNELS = [
    "kernels/tokens/test_triton_copies.py",
    "kernels/tokens/test_fused_tokens.py",
    "kernels/logits/test_fused_loss.py",
    "kernels/test_nan.py::test_a_row_of_logits",
]
CALLS = [
    "kernels/logits/test_token_logprobs.py",
    "kernels/logits/test_fused_policy_loss.py",
    "kernels/logits/test_traffic.py",
    "kernels/tokens/test_surrogates.py",
    "kernels/tokens/test_kl.py",
]
HEADS = ["kernels/test_nan.py", "kernels/test_hostile_values.py"]
# Of the linear head a sample: the rest of it is the same code.
LINEAR = ["linear_logprobs", "linear_objective", "objective_cost", "objective_use", "fused_chunks", "corners"]
LINEAR += ["head_outputs"]
LINEAR = [f"kernels/hidden/test_{name}.py" for name in LINEAR]
SAMPLE = ["test_masked_rows_change_nothing_whatever_they_hold", "test_few_tokens"]
SAMPLE = [f"linear_logprobs.py::{name}" for name in SAMPLE]
SAMPLE += [
    f"linear_objective.py::test_matches_the_definition[{case}]"
    for case in ("everything-chunks", "gspo-some-kept")
]
SAMPLE += [
    f"corners.py::test_{name}"
    for name in (
        "targets_and_temperatures_may_lie_anyhow[every other-strided]",
        "tokens_outside_the_bounds_do_not_count[token]",
        "row_needs_grad_may_be_of_any_type[bool]",
        "weights_and_targets_of_an_objective_may_lie_anyhow",
    )
]
SAMPLE = [f"kernels/hidden/test_{name}" for name in SAMPLE]


slow, full = pytest.mark.slow, [pytest.mark.slow, pytest.mark.full]


@needs_triton
@pytest.mark.parametrize(
    ("tests", "marked", "every", "at_least"),
    [
        # Every third of these cases leaves losses, broken rows and parts of the head.
        pytest.param([*QUICK, *SAMPLE], "not slow", 3, 10, id="quick"),
        pytest.param([*QUICK, *SAMPLE], "not slow", 1, 30, id="few", marks=slow),
        pytest.param(KERNELS, "not slow", 7, 20, id="kernels", marks=slow),
        pytest.param(HEADS, "not slow", 1, 60, id="heads", marks=full),
        pytest.param(KERNELS, "not slow", 1, 140, id="all-kernels", marks=full),
        pytest.param(CALLS, "not slow", 1, 150, id="all-calls", marks=full),
        pytest.param(LINEAR, "not slow", 1, 150, id="all-linear", marks=full),
        pytest.param(KERNELS, "slow and not full", 1, 150, id="large-kernels", marks=full),
    ],
)
def test_the_same_tests_pass_under_the_interpreter(
    run_python: RunPython, tests: list[str], marked: str, every: int, at_least: int
) -> None:
    options = ("-q", "-p", "no:cacheprovider", "--no-header", "-m", marked)
    nodes = [str(ROOT / "tests" / test) for test in tests]
    variables = {"TRITON_INTERPRET": "1", "DUPO_EVERY": str(every)}
    done = run_python("-m", "pytest", *options, *nodes, env=variables, timeout=1500)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= at_least  # type: ignore[index]


@pytest.mark.slow
def test_works_without_triton(run_python: RunPython) -> None:
    program = HIDE_TRITON + (
        "import torch, dupo_kernels as k; from dupo_kernels import _triton\n"
        "assert not _triton.HAS_TRITON\n"
        "z, y = torch.randn(3, 9, requires_grad=True), torch.tensor([0, 8, 4])\n"
        "logp, entropy = k.token_logprobs(z, y, entropy=True, softcap=9.0)\n"
        "loss, _ = k.policy_loss(logp, torch.ones(3), entropy=entropy, entropy_coef=0.1)\n"
        "loss.backward()\n"
        "expected = k.token_logprobs_ref(z, y, softcap=9.0)[0]\n"
        "torch.testing.assert_close(logp, expected)\n"
        "assert z.grad.abs().sum() > 0\n"
    )
    done = run_python("-c", program, env={"TRITON_INTERPRET": None})
    assert done.returncode == 0, done.stderr
