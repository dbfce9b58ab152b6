"""Cross entropy to a target of a teacher's likeliest token and the label, beside its definition.

Both heads are `linear_token_logprobs`: the teacher's tells its likeliest tokens, the student's has two
targets. The definition has whole logits and a distribution over the vocabulary for each token.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from dupo_kernels import linear_token_logprobs, linear_token_logprobs_ref
from tests.helpers.numerics import DEVICE, GemmRows
from tests.helpers.two_heads import TEACHER_H, H, assert_equal, both_ways, inputs, mix

HEAD = "bias", "softcap", "logit_scale"


def mixed(
    hidden: Tensor, weight: Tensor, teacher_hidden: Tensor, teacher_weight: Tensor, *, head: Any,
    labels: Tensor, alpha: float, weights: Tensor, temperature: Any = 1.0, which: Any, **options: Any,
) -> Tensor:  # fmt: skip
    """The loss by two calls of `head`; options of the teacher begin with teacher_."""
    which = {"temperature": temperature, **which}
    student = {name: options.pop(name) for name in HEAD if name in options}
    teacher = {name: options.pop(f"teacher_{name}") for name in HEAD if f"teacher_{name}" in options}
    with torch.no_grad():
        likeliest = head(
            teacher_hidden, teacher_weight, labels, outputs=("likeliest",), **teacher, **which, **options
        ).likeliest
    targets = torch.stack([likeliest, labels], -1)
    logprobs, _ = head(hidden, weight, targets, **student, **which, **options)
    return -((alpha * logprobs[..., 0] + (1 - alpha) * logprobs[..., 1]) * weights).sum()


def defined(
    hidden: Tensor, weight: Tensor, teacher_hidden: Tensor, teacher_weight: Tensor, *,
    labels: Tensor, alpha: float, weights: Tensor, temperature: Any = 1.0, which: Any, bias: Any = None,
    teacher_bias: Any = None, softcap: Any = None, teacher_softcap: Any = None, logit_scale: float = 1.0,
    teacher_logit_scale: float = 1.0,
) -> Tensor:  # fmt: skip
    """The loss of whole logits, by cross entropy to a distribution. The likeliest logit is a matter of order,
    which softcap and scale keep."""
    z = hidden @ weight.t()
    z = logit_scale * (z if bias is None else z + bias)
    z = z if softcap is None else softcap * (z / softcap).tanh()
    z = z / (temperature[..., None] if isinstance(temperature, Tensor) else temperature)
    taught = teacher_hidden @ teacher_weight.t()
    taught = taught if teacher_bias is None else taught + teacher_bias
    V = z.shape[-1]
    one_hot = torch.eye(V, dtype=z.dtype, device=z.device)
    wanted = alpha * one_hot[taught.argmax(-1)] + (1 - alpha) * one_hot[labels]
    loss = torch.nn.functional.cross_entropy(z.reshape(-1, V), wanted.reshape(-1, V), reduction="none")
    counts = torch.ones(len(loss), dtype=torch.bool, device=loss.device)
    if "mask" in which:
        counts = which["mask"].flatten() != 0
    if "rows" in which:
        counts = torch.zeros_like(counts).index_fill(0, which["rows"].to(loss.device), True)
    return (loss * weights.flatten())[counts].sum()


@pytest.mark.parametrize("number", range(200))
def test_equals_the_definition(number: int) -> None:
    given, options, chunks = mix(number)
    for name in ("bias", "teacher_bias"):
        if name in given:
            # A label of probability 0 has an infinite loss.
            given[name] = given[name].clamp(min=-9)
    generator = torch.Generator().manual_seed(number)
    shape, V = given["hidden"].shape[:-1], given["weight"].shape[0]
    del options["beta"]
    options |= {
        "labels": torch.randint(V, shape, generator=generator).to(DEVICE),
        "alpha": (0.9, 0.0, 1.0, 0.4)[number % 4],
        "weights": options.get("weights", torch.full(shape, 0.2, device=DEVICE, dtype=torch.float64)),
        "which": {name: options.pop(name) for name in ("mask", "rows") if name in options},
    }
    expected = both_ways(defined, given, **options)
    assert_equal(both_ways(mixed, given, head=linear_token_logprobs, **options, **chunks), expected)
    assert_equal(both_ways(mixed, given, head=linear_token_logprobs_ref, **options), expected)


@pytest.mark.parametrize("budget", [1 << 30, 0], ids=["kept", "recomputed"])
def test_a_row_costs_the_products_of_one_head_and_one_of_the_teacher(budget: int) -> None:
    """The teacher's forward product, and the student's three: four where no logits are kept."""
    given = inputs(dtype=torch.float32)
    labels = torch.zeros(3, 7, dtype=torch.int64, device=DEVICE)
    student = {name: given.pop(name).requires_grad_() for name in ("hidden", "weight", "bias")}
    with GemmRows(101, TEACHER_H) as of_teacher, torch.no_grad():
        found = linear_token_logprobs(
            given["teacher_hidden"], given["teacher_weight"], labels, bias=given["teacher_bias"],
            outputs=("likeliest",), save_budget=budget, chunk_tokens=4,
        )  # fmt: skip
    assert of_teacher.rows == {"logits": 21}
    assert found.likeliest is not None
    with GemmRows(101, H) as of_student:
        targets = torch.stack([found.likeliest, labels], -1)
        logprobs, _ = linear_token_logprobs(
            student["hidden"], student["weight"], targets, bias=student["bias"],
            save_budget=budget, chunk_tokens=4,
        )  # fmt: skip
        logprobs.sum().backward()
    assert of_student.rows == {"logits": 21 if budget else 42, "dhidden": 21, "dweight": 21}
