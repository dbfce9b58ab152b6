"""Faults of one line that the tests of the kernels must catch: each is put into a copy of the package, where
the test named beside it must fail by an assertion. All of these tests pass on a copy without a fault."""

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from dupo_kernels import _triton
from tests.helpers.faults import DEVICE_FAULTS, Fault
from tests.helpers.project import ROOT, RunPython

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not _triton.HAS_TRITON, reason="Triton is not installed"),
]

# Two of these run at a time, with Triton interpreted and not. Each imports what is slow and not under test,
# then forks once for every copy: no fault meets another.
RUN_EACH = """
import json, os, sys
import hypothesis, numpy, pytest, torch, torch._dynamo, triton
options = ["-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=short"]
sys.dont_write_bytecode = True
for folder, tests in json.loads(sys.argv[1]).items():
    if not (child := os.fork()):
        os.chdir(folder)
        for stream in (1, 2):
            os.dup2(os.open("output", os.O_CREAT | os.O_WRONLY | os.O_APPEND), stream)
        code = pytest.main([*options, *(f"tests/{test}" for test in tests)])
        sys.stdout.flush()
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with open(f"{folder}/code", "w") as file:
        file.write(str(code))
"""


class Run(NamedTuple):
    """Of pytest in one copy."""

    code: int
    output: str


def kernel(text: str, change: str, test: str) -> Fault:
    return Fault(text, change, f"kernels/logits/test_token_logprobs.py::{test}", interpreted=True)


def nan(text: str, change: str, broken: str) -> Fault:
    test = f"kernels/test_nan.py::test_a_row_of_logits[{broken}-None-7-fp32]"
    return Fault(text, change, test, interpreted=True)


def check(text: str, change: str, test: str) -> Fault:
    return Fault(text, change, f"kernels/test_checks.py::test_{test}")


SUM = "total = tl.where(higher, total * w + 1.0, total + w)"
LONG_ROW = "test_matches_the_definition[32000-flat-fp32]"
SHORT_ROW = "test_matches_the_definition[7-flat-fp32]"
FORMULA = "kernels/tokens/test_policy_loss.py::test_equals_the_formula"
ALIGNED = "90-V=32000/32000"
LINEAR, OBJECTIVE = "kernels/hidden/test_linear_logprobs.py", "kernels/hidden/test_linear_objective.py"
COST, USE = "kernels/hidden/test_objective_cost.py", "kernels/hidden/test_objective_use.py"
PEAK = "kernels/hidden/test_memory.py::test_the_peak_is_the_formula"
CHUNKED = f"{LINEAR}::test_matches_the_definition_whatever_the_chunks"
NEEDS = f"{COST}::test_rows_without_a_gradient_get_the_first_product_alone"
NEEDS_OF_ROWS = f"{COST}::test_rows_without_a_gradient_are_those_of_the_tokens_not_of_the_list"
HALF = f"{USE}::test_float16_needs_the_loss_scale_and_uses_it[policy]"
WRITE = '"""Writes the logits of the rows, before softcap and temperature."""\n    '
RECOMPUTED = "min(chunks.chunk_size, chunks.num_with_grad - chunks.num_kept)\n"
READS, HOST = "(check or on_host(tensor))", "tensors_on_the_host_are_read"
PRODUCT = "gemm(head.hidden[rows], head.weight.t(), logits_CV)\n    "

FAULTS = DEVICE_FAULTS | {
    # the kernels
    "the running sum is not rescaled": kernel(SUM, SUM.replace("total * w", "total"), LONG_ROW),
    "the running moment is not rescaled": kernel(
        "(moment - total * gap) * w,", "moment - total * gap,", LONG_ROW
    ),
    "a sum in bf16": kernel(SUM, f"{SUM}.to(tl.bfloat16).to(tl.float32)", LONG_ROW),
    "a sum over the lanes in fp16": kernel(
        "tl.sum(total * w, 0)", "tl.sum((total * w).to(tl.float16), 0).to(tl.float32)", LONG_ROW
    ),
    "the last token is left out": kernel(
        "z = tl.where(v < V, _floored(z)", "z = tl.where(v < V - 1, _floored(z)", SHORT_ROW
    ),
    "the last token has no gradient": kernel(
        "tl.where(v < width, dz, 0.0)", "tl.where(v < width - 1, dz, 0.0)", SHORT_ROW
    ),
    "lse without the peak": kernel('-float("inf"), highest + log_sum)', '-float("inf"), log_sum)', SHORT_ROW),
    "the temperature twice": kernel(
        "    z *= inv_t\n", "    z *= inv_t * inv_t\n", "test_softcap_comes_before_temperature[0.7-None]"
    ),
    "no derivative of the softcap": kernel(
        "dz *= 1.0 - squashed * squashed", "dz *= 1.0", "test_softcap_comes_before_temperature[1.0-5.0]"
    ),
    "no gradient of the target": kernel("tl.where(v == target, 1.0, 0.0) - p", "0.0 - p", SHORT_ROW),
    "the wrong sign of the entropy's gradient": kernel(
        "dz -= dentropy * p * (log_p + entropy)",
        "dz += dentropy * p * (log_p + entropy)",
        "test_identities_of_the_gradient",
    ),
    "top is the largest logit": kernel(
        "tl.where(empty, 0.0, -log_sum)",
        "tl.where(empty, 0.0, highest)",
        "test_top_is_the_log_probability_of_the_likeliest",
    ),
    "rows without a gradient are not told apart": kernel(
        "has_gradient = dlogp != 0\n    dentropy,",
        "has_gradient = dlogp == dlogp\n    dentropy,",
        "test_rows_without_upstream_gradient_get_exact_zeros",
    ),
    # NaN
    "a row of NaN is a row of nothing": nan(" & (row_total > 0.0)", "", "all_nan"),
    "a target at -inf sees no NaN": nan(
        'tl.where(empty, -float("inf"), z_target) - highest - log_sum',
        'tl.where(z_target <= LOWEST, -float("inf"), z_target - highest - log_sum)',
        "target_at_minus_inf",
    ),
    "the floor drops NaN": nan("tl.where(z < LOWEST, LOWEST, z)", "tl.maximum(z, LOWEST)", "one_nan"),
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
    # what only the compiler shows
    "rows are counted in 32 bits": Fault(
        "tl.program_id(0).to(tl.int64)\n",
        "tl.program_id(0)\n",
        f"kernels/test_aot.py::test_rows_start_at_64_bit_offsets[{ALIGNED}]",
    ),
    "narrow dlogits wait for nobody": Fault(
        "tl.debug_barrier()",
        "pass",
        f"kernels/test_aot.py::test_narrow_dlogits_wait_until_all_threads_have_read[{ALIGNED}]",
    ),
    # the torch path
    "-inf times a probability of 0": Fault(
        "log_p.clamp_(min=FLOOR).add_(",
        "log_p.add_(",
        "kernels/logits/test_token_logprobs.py::test_minus_inf_is_no_probability",
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
    # which rows, in what pieces
    "a masked row reaches a product": Fault(
        "mask.flatten().nonzero()[:, 0]", "torch.arange(N)", f"{LINEAR}::test_masked_rows_reach_no_product"
    ),
    "masked rows that need no gradient count": Fault(
        "torch.where(mask.flatten().to(rank.device) != 0, rank, 2)",
        "torch.where(mask.flatten().to(rank.device) != 0, rank, 0)",
        NEEDS,
    ),
    "rows that need a gradient stand last": Fault(
        "torch.cat([with_grad, without_grad])", "torch.cat([without_grad, with_grad])", NEEDS
    ),
    "what needs a gradient is looked up by place in the list": Fault(
        "rank = rank[rows.to(rank.device)]", "rank = rank[: rows.numel()]", NEEDS_OF_ROWS
    ),
    "the order of rows is not that of the tokens": Fault(
        "rows.to(device, torch.int64)[order], num_with_grad", "order, num_with_grad", NEEDS_OF_ROWS
    ),
    "rows without a gradient get one in their chunk": Fault(
        "slice(0, min(rows.stop, chunks.num_with_grad) - rows.start)",
        "slice(0, rows.stop - rows.start)",
        NEEDS,
    ),
    "rows are sorted": Fault(
        "return values_M.new_zeros(N).index_copy_(0, row_index, values_M)",
        "return values_M.new_zeros(N).index_copy_(0, row_index.sort().values, values_M)",
        f"{LINEAR}::test_rows_and_mask_say_the_same",
    ),
    "kept logits are consumed twice": Fault(
        "*slices(self.num_kept, self.num_with_grad, self.chunk_size)",
        "*slices(0, self.num_with_grad, self.chunk_size)",
        CHUNKED,
    ),
    "pieces are larger than they may be": Fault(
        "chunks = -(-num_rows // CHUNK_TOKENS)",
        "chunks = num_rows // CHUNK_TOKENS",
        "kernels/hidden/test_memory.py::test_rows_that_have_logits_at_once",
    ),
    "the budget counts elements": Fault(
        "return min(num_rows, save_budget // (V * itemsize))",
        "return min(num_rows, save_budget // V)",
        "kernels/hidden/test_memory.py::test_rows_whose_logits_are_kept",
    ),
    "logits are kept without a gradient": Fault(
        "if keeps_logits and head.wants_gradient else 0", "if keeps_logits else 0", PEAK
    ),
    "each chunk has logits of its own": Fault(
        f"{RECOMPUTED}            scratch = logits_buffer(head, num_rows) if scratch is None else scratch",
        f"{RECOMPUTED}            scratch = logits_buffer(head, num_rows)",
        PEAK,
    ),
    "backward starts with zeros": Fault("ctx.set_materialize_grads(False)  # else", "pass  # else", PEAK),
    # the products
    "dweight is that of the last chunk": Fault("self.dweight_VH, add=True)", "self.dweight_VH)", CHUNKED),
    "dweight is summed in bf16": Fault(
        "wide if self.several else hidden_CH.dtype",
        "hidden_CH.dtype",
        f"{LINEAR}::test_gradients_of_many_chunks_are_rounded_once",
    ),
    "a row has no bias": Fault(
        f"{WRITE}{PRODUCT}if head.bias is not None:", f"{WRITE}{PRODUCT}if False:", CHUNKED
    ),
    "a product of halves is rounded to half": Fault(
        "torch.mm(wide_left, wide_right, out=total)",
        "total.copy_(left[rows, terms] @ right[terms, columns])",
        f"{LINEAR}::test_keeps_the_promise_for_bf16[fp32-logits-whole]",
    ),
    "a softcap of scaled logits": Fault(
        "(softcap or 0.0) / logit_scale",
        "softcap or 0.0",
        f"{LINEAR}::test_matches_the_definition_whatever_the_chunks[softcap-{{}}]",
    ),
    # how it is used
    "a second backward of log-probabilities": Fault(
        "    ctx.consumed = True\n    head,", "    head,", f"{LINEAR}::test_a_second_backward_raises"
    ),
    "a second backward of an objective": Fault(
        "    ctx.consumed = True\n    # The loss", "    # The loss", f"{USE}::test_a_second_backward_raises"
    ),
    "the loss scale is not taken in": Fault("dlogp = dlogp * grad_scale", "dlogp = dlogp", HALF),
    "the entropy knows no loss scale": Fault(
        "None if dentropy is None else dentropy * grad_scale", "dentropy", HALF
    ),
    "top1 counts all": Fault(
        '{"top1_agreement": statistics.logp == statistics.top}',
        '{"top1_agreement": statistics.logp <= statistics.top}',
        f"{OBJECTIVE}::test_top1_agreement_counts_the_likeliest_targets",
    ),
    "the compiler takes sums for bf16": Fault(
        "wide if plan.sums_dweight(head.hidden.shape[0]) else head.hidden.dtype",
        "head.hidden.dtype",
        f"{USE}::test_operator_is_registered_correctly",
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


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, run_python: RunPython, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Run]:
    """What came of each copy that this session asks for."""
    names = [item.callspec.params["name"] for item in request.session.items if item.path == Path(__file__)]  # type: ignore[attr-defined]
    copies = {name: copy_of_the_project(tmp_path_factory.mktemp("copy")) for name in names}
    for name in FAULTS.keys() & copies.keys():
        insert(FAULTS[name], copies[name] / "kernels")

    def run(interpreted: bool) -> None:
        env = {"TRITON_INTERPRET": "1" if interpreted else None, "PYTHONPATH": None}
        chosen = {
            str(copy): tests_of(name)
            for name, copy in copies.items()
            if (FAULTS[name].interpreted if name in FAULTS else WITHOUT[name]) == interpreted
        }
        done = run_python("-c", RUN_EACH, json.dumps(chosen), env=env, cwd=tmp_path_factory.getbasetemp())
        assert done.returncode == 0, done.stderr

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, (False, True)))
    return {n: Run(int((c / "code").read_text()), (c / "output").read_text()) for n, c in copies.items()}


@pytest.mark.parametrize("name", WITHOUT)
def test_passes_without_a_fault(name: str, runs: dict[str, Run]) -> None:
    code, output = runs[name]
    assert code == 0, output[-3000:]
    assert "skipped" not in output.splitlines()[-1]


@pytest.mark.parametrize("name", FAULTS)
def test_is_caught(name: str, runs: dict[str, Run]) -> None:
    code, output = runs[name]
    assert code == 1, output[-3000:]
    assert re.search(r"^1 failed", output.splitlines()[-1]), output[-3000:]
    assert re.search(r"^E +(AssertionError|assert |Failed: DID NOT RAISE|.*OpCheckError)", output, re.M), (
        output[-3000:]
    )
