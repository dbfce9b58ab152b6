"""What linear_divergence costs: products, chunks, waits for the device, and its peak of memory."""

from typing import Any

import pytest
import torch
from torch import Tensor

from dupo_kernels import linear_divergence
from dupo_kernels.hidden import head as head_module
from dupo_kernels.logits import torch_path
from tests.helpers.numerics import DEVICE, INTERPRET, GemmRows, syncs
from tests.helpers.slow import with_slow
from tests.helpers.two_heads import BETAS, TEACHER_H, H, both_ways, inputs
from tests.kernels.hidden.test_memory import SLACK, peak_of

PRODUCT = head_module.gemm


class BothHeads(GemmRows):
    """Counts the products of the student and, as "teacher", those of the other head."""

    def count(self, left: Tensor, right: Tensor, *arguments: Any, **options: Any) -> Tensor:
        if tuple(right.shape) != (TEACHER_H, self.V):
            return super().count(left, right, *arguments, **options)
        self.rows["teacher"] = self.rows.get("teacher", 0) + left.shape[0]
        return PRODUCT(left, right, *arguments, **options)


@pytest.mark.parametrize("beta", BETAS[:3])
def test_a_row_costs_three_products_of_the_student_and_one_of_the_teacher(beta: float) -> None:
    mask = torch.arange(21, device=DEVICE).view(3, 7) % 3 > 0
    for chunks in ({}, {"save_budget": 0, "chunk_tokens": 4}):
        with BothHeads(101, H) as seen:
            both_ways(linear_divergence, inputs(), beta=beta, mask=mask, **chunks)
        assert seen.rows == dict.fromkeys(("logits", "teacher", "dhidden", "dweight"), 14)
    with BothHeads(101, H) as seen, torch.no_grad():
        linear_divergence(**inputs(), beta=beta)
    assert seen.rows == {"logits": 21, "teacher": 21}


@pytest.mark.parametrize("spare", [0, -1])
def test_both_chunks_share_the_budget(spare: int) -> None:
    """Many tokens are one chunk where the logits of both heads fit, and else come in pieces near 8,192."""
    given, longest = inputs(tokens=(9000,), V=7, dtype=torch.float32), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head_module, "gemm", lambda *a, **o: longest.append(len(a[0])) or PRODUCT(*a, **o))
        linear_divergence(**given, beta=0.5, save_budget=2 * 9000 * 7 * 4 + spare)
    assert longest == ([9000, 9000] if spare == 0 else [4608, 4608, 4392, 4392])


@pytest.mark.parametrize("by", ["rows", "mask", "all"])
def test_waits_for_the_device_once_for_a_mask_and_else_never(by: str) -> None:
    which = {"rows": torch.tensor([3, 1]), "mask": torch.ones(3, 7, device=DEVICE)}
    given = {n: x.requires_grad_() for n, x in inputs(dtype=torch.float32).items()}
    options = {by: which[by]} if by in which else {}
    assert syncs(linear_divergence, **given, beta=0.5, chunk_tokens=4, **options) == (by == "mask")


@pytest.mark.skipif(INTERPRET, reason="the same with and without kernels")
@pytest.mark.parametrize("beta", with_slow(BETAS[:3], quick=(0.5,)))
@pytest.mark.parametrize("chunk_tokens", with_slow((None, 40), quick=(40,)))
def test_the_peak_is_the_formula(
    chunk_tokens: int | None, beta: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk of logits of each head, both gradients, and what a block of one row needs."""
    monkeypatch.setattr(torch_path, "SCRATCH_BYTES", 1)
    N, V = 96, 1003
    parts = [torch.zeros(N, 64), torch.zeros(V, 64), torch.zeros(N, 32), torch.zeros(V, 32)]
    leaves = [x.to(DEVICE).requires_grad_(place < 2) for place, x in enumerate(parts)]

    def call() -> None:
        loss, _ = linear_divergence(*leaves, beta=beta, save_budget=0, chunk_tokens=chunk_tokens)
        loss.backward()
        for leaf in leaves:
            leaf.grad = None

    row = -(-V // 8) * 8 * 4
    expected = 2 * (chunk_tokens or N) * row + (N + V) * 64 * 4
    assert 0 <= peak_of(call) - expected <= SLACK
