"""Faults of one line in the kernels on logits, which test_mutants.py puts into copies of the package."""

from tests.helpers.fault import Fault

SUM = "total = total * shrink + tl.sum(tl.sum(e, 0), 1)"
READ = 'tl.load(body_ptr + (start + columns), eviction_policy="evict_last")'
LONG_ROW = "test_matches_the_definition[32000-flat-fp32]"
SHORT_ROW = "test_matches_the_definition[7-flat-fp32]"
TRAFFIC = "kernels/logits/test_traffic.py"
UNALIGNED = "test_rows_of_any_length_and_place[looped-(513, 513)-(torch.bfloat16, torch.bfloat16)-None]"
NARROW = "test_rows_of_any_length_and_place[looped-(1300, 1304)-(torch.float32, torch.bfloat16)-10.0]"


def kernel(text: str, change: str, test: str) -> Fault:
    return Fault(text, change, f"kernels/logits/test_token_logprobs.py::{test}", interpreted=True)


def fused(text: str, change: str, test: str) -> Fault:
    return Fault(text, change, f"kernels/logits/test_fused_loss.py::{test}", interpreted=True)


def traffic(text: str, change: str) -> Fault:
    test = f"{TRAFFIC}::test_the_one_launch_moves_as_little[looped-624-(torch.float32, torch.float32)]"
    return Fault(text, change, test, interpreted=True)


def nan(text: str, change: str, broken: str) -> Fault:
    test = f"kernels/test_nan.py::test_a_row_of_logits[{broken}-None-7-fp32]"
    return Fault(text, change, test, interpreted=True)


FAULTS = {
    # both directions
    "the running sum is not rescaled": kernel(SUM, SUM.replace("total * shrink", "total"), LONG_ROW),
    "the running moment is not rescaled": kernel(
        "(moment + total * drop) * shrink", "moment + total * drop", LONG_ROW
    ),
    "a sum in bf16": kernel(SUM, f"{SUM}.to(tl.bfloat16).to(tl.float32)", LONG_ROW),
    "a sum over the lanes in fp16": kernel(
        "tl.sum(total * weight, 0)", "tl.sum((total * weight).to(tl.float16), 0).to(tl.float32)", LONG_ROW
    ),
    "the last token is left out": kernel("(column < V) & ((place", "(column < V - 1) & ((place", SHORT_ROW),
    "the last token has no gradient": kernel(
        "dend = tl.where(has_gradient, dend", "dend = tl.where(end < V - 1, dend", SHORT_ROW
    ),
    "lse without the peak": kernel("highest * scale + log_sum), tl", "log_sum), tl", SHORT_ROW),
    "the temperature twice": kernel(
        "    scale = inv_temperature\n",
        "    scale = inv_temperature * inv_temperature\n",
        "test_softcap_comes_before_temperature[0.7-None]",
    ),
    "no derivative of the softcap": kernel(
        "dz *= 1.0 - u * u", "dz *= 1.0", "test_softcap_comes_before_temperature[1.0-5.0]"
    ),
    "no gradient of the target": kernel("tl.where(is_target, dz + dlogp, dz)", "dz", SHORT_ROW),
    "the wrong sign of the entropy's gradient": kernel(
        "(dentropy * log_p + (dentropy * entropy + dlogp))",
        "(dlogp - dentropy * log_p - dentropy * entropy)",
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
    # the one launch
    "narrow rows are written from the start": fused(
        "first = whole - BLOCK - back\n", "first = back\n", NARROW
    ),
    "the last tile is not folded": fused(
        "for start in range(whole, body, BLOCK):", "for start in range(body, body, BLOCK):", NARROW
    ),
    "the target is counted from the first word": fused(
        "target = target - first_end  # in the body", "target = target + 0", UNALIGNED
    ),
    "what lies before the first word is left out": fused("(place < first_end)", "(place < 0)", UNALIGNED),
    "the gradient is not scaled": fused(
        "dlogp * weight * numbers.grad_scale", "dlogp * weight", "test_the_gradient_is_scaled"
    ),
    "the bonus has half a gradient": fused(
        "(dentropy * log_p + (dentropy * entropy + dlogp))",
        "(dentropy * log_p + dlogp)",
        "test_objectives[cispo-bonus]",
    ),
    "a NaN of the row is no gradient": fused(
        "has_gradient & (empty == 0)",
        "has_gradient & (empty == 0) & (log_sum == log_sum)",
        "test_broken_rows_are_seen_and_rows_without_a_part_are_not_read[looped]",
    ),
    "a row is read twice before its loss": traffic(READ, f"({READ} + {READ}) / 2"),
    "a row without a gradient is read again": traffic(
        "tl.where(has_gradient, whole, 0), BLOCK", "whole, BLOCK"
    ),
    "the last tile of such a row is read again": traffic("tl.where(has_gradient, body, 0)", "body"),
    # NaN
    "a row of NaN is a row of nothing": nan(" & (total > 0.0)", "", "all_nan"),
    "a target at -inf sees no NaN": nan(
        '(tl.where(empty, -float("inf"), u) - highest) * scale - log_sum',
        'tl.where(u <= LOWEST, -float("inf"), (u - highest) * scale - log_sum)',
        "target_at_minus_inf",
    ),
    "the floor drops NaN": nan("LOWEST, propagate_nan=tl.PropagateNan.ALL)", "LOWEST)", "one_nan"),
    # what only the compiler shows
    "rows are counted in 32 bits": Fault(
        "tl.multiple_of(row * stride, VEC)",
        "tl.multiple_of(row.to(tl.int32) * stride, VEC)",
        "kernels/test_aot.py::test_rows_start_at_64_bit_offsets[quick]",
    ),
    "narrow dlogits wait for nobody": Fault(
        "# other threads hold what this tile overwrites\n            tl.debug_barrier()",
        "\n            pass",
        "kernels/test_aot.py::test_nothing_is_written_before_all_threads_have_read[quick]",
    ),
}
