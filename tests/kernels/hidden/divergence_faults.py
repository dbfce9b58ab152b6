"""Faults of one line in losses of a student and a teacher, which test_mutants.py puts into copies."""

from tests.helpers.fault import Fault

HIDDEN = "kernels/hidden"
FILE = f"{HIDDEN}/test_divergence.py"
DEFINED = f"{FILE}::test_equals_the_definition_whatever_the_chunks"
ROWS = f"{FILE}::test_a_row_without_a_distribution_has_no_divergence"
MIXED = f"{HIDDEN}/test_label_and_teacher.py::test_equals_the_definition"
SHARDS = f"{HIDDEN}/test_sharding.py::test_two_processes_equal_one"
COST = (
    f"{HIDDEN}/test_divergence_cost.py::test_a_row_costs_three_products_of_the_student_and_one_of_the_teacher"
)
HALF = f"{HIDDEN}/test_divergence_use.py::test_half_types_are_as_exact_as_their_inputs"

FAULTS = {
    # forward KL
    "forward KL has the other sign": Fault(
        "_terms(q, log_q, log_p, out=log_q)", "_terms(q, log_p, log_q, out=log_q)", DEFINED
    ),
    "forward KL weighs by the student": Fault(
        "q = torch_path.exp(log_q, work[0])\n",
        "q = torch_path.exp(log_p, work[0])\n",
        DEFINED,
    ),
    "forward KL pushes away from the teacher": Fault(
        "torch_path.exp(log_p, log_p).sub_(q)", "torch_path.exp(log_p, log_p).add_(q)", DEFINED
    ),
    # reverse KL
    "reverse KL weighs by the teacher": Fault(
        "p = torch_path.exp(log_p, work[0])\n    if beta == 1:",
        "p = torch_path.exp(log_p if beta < 1 else log_q, work[0])\n    if beta == 1:",
        DEFINED,
    ),
    "reverse KL forgets its mean": Fault(
        "return value, terms.addcmul_(p, value[:, None], value=-1)\n", "return value, terms\n", DEFINED
    ),
    # JSD
    "the mixture is the other way round": Fault("torch.lerp(p, q, beta,", "torch.lerp(q, p, beta,", DEFINED),
    "JSD weighs both sides alike": Fault(
        "beta * of_teacher + (1 - beta) * of_student", "0.5 * of_teacher + 0.5 * of_student", DEFINED
    ),
    "JSD subtracts the whole divergence": Fault(
        "of_student[:, None], value=-1", "value[:, None], value=-1", DEFINED
    ),
    "JSD's derivative is not weighed": Fault("value=-1).mul_(1 - beta)", "value=-1)", DEFINED),
    # both heads
    "what both sides lack is NaN": Fault(
        ".nan_to_num_(nan=0.0, posinf", ".nan_to_num_(nan=torch.nan, posinf", DEFINED
    ),
    "NaN is a number": Fault(
        "return (0.0 * log_sum_2c).sum(0)",
        "return torch.zeros_like(log_sum_2c[0])",
        ROWS,
    ),
    "rows without a weight have a derivative": Fault(
        "torch_path.clear_rows(dlogits[block], slope_C != 0)", "pass", ROWS
    ),
    "the temperature is not in the derivative": Fault(
        "(slope_C + undefined) * student.take(block).scale", "slope_C + undefined", DEFINED
    ),
    "the softcap is not in the derivative": Fault(
        "dz.mul_(squashed.square_().neg_().add_(1.0))", "pass", DEFINED
    ),
    "the teacher has the student's softcap": Fault("softcap=self.teacher_softcap,", "", DEFINED),
    "the teacher's rows are the first ones": Fault(
        "teacher.like(head).take(row_index)", "teacher.like(head).take(None)", DEFINED
    ),
    "the teacher is multiplied twice": Fault(
        "write_logits(teacher, rows, teacher_CV)\n",
        "write_logits(teacher, rows, write_logits(teacher, rows, teacher_CV) or teacher_CV)\n",
        COST,
    ),
    "the mean is that of all tokens": Fault("1 / max(M, 1), dtype", "1 / max(N, 1), dtype", DEFINED),
    "the loss scale is left out": Fault("beta, weights_M * grad_scale)", "beta, weights_M)", HALF),
    "both chunks have the whole budget": Fault(
        "save_budget // 2",
        "save_budget",
        f"{HIDDEN}/test_divergence_cost.py::test_both_chunks_share_the_budget",
    ),
    # a vocabulary of several parts
    "a part knows its own peak alone": Fault("highest_2c - start_2c + log_sum_2c", "log_sum_2c", SHARDS),
    "a part knows its own mean alone": Fault(
        "(value,) = gather([terms.sum(1)]).sum(0)", "value = terms.sum(1)", SHARDS
    ),
    "an empty part is NaN": Fault("peak_2c.masked_fill(peak_2c == -torch.inf, 0.0)", "peak_2c", SHARDS),
    "a part counts tokens from 0": Fault(".to(torch.int64) + V * holder", ".to(torch.int64)", SHARDS),
    # the likeliest token of a teacher, and the label
    "the least likely token is the likeliest": Fault(
        "top_logit, likeliest = rows.logits.max(1)", "top_logit, likeliest = rows.logits.min(1)", MIXED
    ),
    "NaN has a token to learn": Fault(
        "likeliest.where(top_logit.isfinite(), NO_TOKEN) if",
        "likeliest if",
        f"{HIDDEN}/test_head_outputs.py::test_nan_and_targets_that_are_no_tokens",
    ),
    "of two targets the first alone is learned": Fault(
        "own = dlogp.where(is_valid, 0.0)",
        "own = dlogp.where(is_valid, 0.0) * (dlogp == dlogp[:, :1])",
        MIXED,
    ),
    "of two targets the first alone lowers the others": Fault(
        "total = dlogp.sum(1)", "total = dlogp[:, 0]", MIXED
    ),
}
