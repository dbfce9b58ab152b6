"""What linear_divergence costs: products, chunks, waits for the device, and its peak of memory."""

from typing import Any

import pytest
import torch
from torch import Tensor

from dupo_kernels import linear_divergence
from dupo_kernels.hidden import gemm
from dupo_kernels.hidden import head as head_module
from dupo_kernels.logits import row_divergence, torch_path
from tests.helpers.numerics import DEVICE, INTERPRET, GemmRows, syncs
from tests.helpers.two_heads import BETAS, TEACHER_H, H, both_ways, inputs
from tests.kernels.hidden.test_memory import SLACK, peak_bytes, peak_of

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


@pytest.mark.slow
@pytest.mark.skipif(INTERPRET, reason="the same with and without kernels")
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("beta", BETAS[:3])
@pytest.mark.parametrize("chunk_tokens", [None, 40])
def test_the_peak_is_the_formula(
    chunk_tokens: int | None, beta: float, dtype: torch.dtype, masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of linear_objective, a chunk of logits of the teacher, and the teacher's tokens that count."""
    monkeypatch.setattr(torch_path, "SCRATCH_BYTES", 1)
    monkeypatch.setattr(row_divergence, "DEVICE_SCRATCH_BYTES", 1)
    if DEVICE == "cpu":  # the products of a GPU, as in test_memory.py
        monkeypatch.setattr(gemm, "writes_float32", lambda device_type: True)
        monkeypatch.setattr(gemm, "multiplies_halves", lambda device_type, dtype: True)
    N, V, width, teacher_width = 192, 2001, 64, 32
    shapes = (N, width), (V, width), (N, teacher_width), (V, teacher_width)
    leaves = [
        torch.zeros(shape, device=DEVICE, dtype=dtype, requires_grad=i < 2) for i, shape in enumerate(shapes)
    ]
    which = {"mask": torch.arange(N, device=DEVICE) % 6 > 0} if masked else {}
    M = int(which["mask"].sum()) if masked else N

    def call() -> None:
        loss, _ = linear_divergence(*leaves, beta=beta, save_budget=0, chunk_tokens=chunk_tokens, **which)
        loss.backward()
        for leaf in leaves:
            leaf.grad = None

    element = dtype.itemsize
    sizes = {"element": element, "M": M if masked else None, "save_budget": 0, "chunk_tokens": chunk_tokens}
    forward, both = peak_bytes("token", N, V, width, **sizes)
    rows_of_chunk = min(chunk_tokens or M, M)
    of_teacher = rows_of_chunk * -(-V // 8) * 8 * 4 + masked * M * teacher_width * element
    # A block of one row: five temporaries, which the slack has room for.
    assert 0 <= peak_of(call) - max(forward + of_teacher, both) <= SLACK
