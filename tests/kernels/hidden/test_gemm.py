"""Products of the head by the capabilities of a device: no half product where it would be emulated, sums in
float32, and the very calls that a GPU gets (by CPU tensors that stand for CUDA tensors)."""

import platform
from typing import Any

import pytest
import torch
from torch import Tensor

from dupo_kernels import (
    PolicyObjective,
    linear_objective,
    linear_objective_ref,
    linear_token_logprobs,
    linear_token_logprobs_ref,
)
from dupo_kernels.hidden import gemm as gemm_module
from dupo_kernels.hidden.gemm import gemm
from tests.helpers.linear_head import head
from tests.helpers.numerics import DEVICE, INTERPRET, relative_error
from tests.helpers.products import CudaProducts, Products

pytestmark = pytest.mark.skipif(INTERPRET or DEVICE == "cuda", reason="of CPUs, or by CPU tensors")

HALVES = torch.bfloat16, torch.float16
FLOAT32_SUM = ("addmm.dtype_out", torch.bfloat16, torch.float32)


def gradients(op: str, given: dict[str, Tensor], reference: bool = False, **options: Any) -> list[Tensor]:
    """[loss, dhidden, dweight] of linear_objective, or of a sum of log-probabilities and entropies."""
    leaves = [given[name].detach().clone().requires_grad_() for name in ("hidden", "weight")]
    targets, place = given["targets"], torch.cos(given["targets"].double())
    if op == "logprobs":
        function: Any = linear_token_logprobs_ref if reference else linear_token_logprobs
        logp, entropy = function(*leaves, targets, entropy=True, **options)
        loss = ((logp - 0.1 * entropy) * place.to(logp)).sum()
    else:
        function = linear_objective_ref if reference else linear_objective
        dtype = torch.promote_types(leaves[0].dtype, torch.float32)
        call = PolicyObjective(entropy_coef=0.1), {"advantages": place.to(dtype)}
        options |= {"grad_scale": 1.0} if leaves[0].dtype == torch.float16 else {}
        loss = function(*leaves, targets, *call, weights=torch.ones_like(place, dtype=dtype), **options)
        loss = loss[0] if isinstance(loss, tuple) else loss
    return [loss.detach(), *torch.autograd.grad(loss, leaves)]


# --- CPUs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_capable", [False, True], ids=["emulated", "instructions"])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("chunks", [{}, {"save_budget": 0, "chunk_tokens": 50}], ids=["whole", "chunks"])
@pytest.mark.parametrize("op", ["objective", "logprobs"])
def test_halves_meet_in_float32_unless_the_cpu_multiplies_them(
    op: str, chunks: dict[str, Any], dtype: torch.dtype, is_capable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits always do. The errors are those that docs/loss_head.md promises for bf16, both ways."""
    monkeypatch.setattr(gemm_module, "multiplies_halves", lambda device_type, dtype: is_capable)
    given = head(dtype, 128, V=1000, H=128)
    truth = gradients(op, {n: x.double() if n != "targets" else x for n, x in given.items()}, reference=True)
    with Products() as products:
        found = gradients(op, given, **chunks)
    of_halves = [result for _, operands, result in products.seen if operands in HALVES]
    if is_capable:
        # dhidden of each chunk; dweight too where it is not a float32 sum of several.
        assert set(of_halves) == {dtype}
    else:
        assert products.seen and not of_halves
    assert abs(found[0].double() - truth[0]) <= 1e-5 * 128
    for gradient, true in zip(found[1:], truth[1:], strict=True):
        assert gradient.dtype == dtype
        assert relative_error(gradient, true) <= 2.5e-3


def test_logits_are_no_half_product_on_any_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemm_module, "multiplies_halves", lambda device_type, dtype: True)
    given = head(torch.bfloat16, 20)
    with torch.no_grad(), Products() as products:
        linear_token_logprobs(given["hidden"], given["weight"], given["targets"])
    assert {(operands, result) for _, operands, result in products.seen} == {(torch.float32, torch.float32)}


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("K", [5, 32, 37, 101, 1001])
def test_what_lies_behind_a_row_has_no_part_in_the_product(K: int, dtype: torch.dtype) -> None:
    """Tiles of AMX take it in: without the copy of `left`, NaN in finite products on CPUs that have AMX."""
    generator = torch.Generator().manual_seed(0)
    for C, R in [(3, 16), (21, 16), (64, 64), (256, 24)]:
        wide = torch.full((C, K + 40), torch.nan, dtype=dtype)
        left, right = wide[:, :K].copy_(torch.randn(C, K, generator=generator)), torch.randn(K, R).to(dtype)
        assert not gemm(left, right, torch.empty(C, R, dtype=dtype)).isnan().any()
        left[C // 2, 0] = torch.nan
        found = gemm(left, right, torch.empty(C, R, dtype=dtype))
        assert (
            found.isnan().all(1).nonzero().tolist() == found.isnan().any(1).nonzero().tolist() == [[C // 2]]
        )


SHAPES = [(7, 5, 9), (1, 40, 3), (40, 1, 3), (3, 0, 4), (0, 3, 4), (6, 100, 2), (17, 16, 18)]


@pytest.mark.parametrize("layout", ["rows", "columns", "narrowed"])
@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("out_dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("tile", [60, 1 << 20])
def test_tiles_make_the_product(
    tile: int, out_dtype: torch.dtype, add: bool, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever their size, in any layout of the operands, summed in float32 and rounded once."""
    monkeypatch.setattr(gemm_module, "TILE", tile)
    monkeypatch.setattr(gemm_module, "multiplies_halves", lambda device_type, dtype: False)
    generator = torch.Generator().manual_seed(0)
    for C, K, R in SHAPES:
        left, right = (torch.randn(*s, generator=generator).bfloat16() for s in ((C, K), (K, R)))
        if layout == "columns":
            left, right = left.t().contiguous().t(), right.t().contiguous().t()
        if layout == "narrowed":  # rows that lie apart, as dlogits in the memory of logits
            left = torch.cat([left, left.new_full((C, K + 3), torch.nan)], 1)[:, :K]
        out = torch.randn(C, R + 2, generator=generator).to(out_dtype)[:, :R]
        truth = left.double() @ right.double() + (out.double() if add else 0.0)
        found = gemm(left, right, out if add else out.fill_(torch.nan), add=add)
        assert found.data_ptr() == out.data_ptr() and found.dtype == out_dtype
        # Half an ulp of the result, and of each sum in float32.
        size = left.double().abs() @ right.double().abs() + truth.abs() + 1e-30
        bound = truth.abs() * torch.finfo(out_dtype).eps / 2 + 2 * size * 2.0**-24 * (K + 2)
        assert ((found.double() - truth).abs() <= bound).all()


@pytest.mark.parametrize(("C", "K", "R"), [(64, 300, 20_000), (64, 20_000, 300), (20_000, 64, 300)])
def test_casts_need_three_tiles_at_most(C: int, K: int, R: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemm_module, "TILE", 1 << 14)
    monkeypatch.setattr(gemm_module, "multiplies_halves", lambda device_type, dtype: False)
    operands = torch.zeros(C, K, dtype=torch.bfloat16), torch.zeros(K, R, dtype=torch.bfloat16)

    class Memory(Products):
        nbytes = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = super().__torch_dispatch__(func, types, args, kwargs)
            if isinstance(result, Tensor) and result._base is None and func.__name__.startswith("new_empty"):
                self.nbytes += result.nbytes
            assert "_to_copy" not in func.__name__
            return result

    with Memory() as memory:
        gemm(*operands, torch.zeros(C, R, dtype=torch.bfloat16))
    assert 0 < memory.nbytes <= 3 * 4 * (1 << 14)
    assert len(memory.seen) > 1


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_a_cpu_multiplies_halves_if_onednn_and_the_cpu_say_so(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """oneDNN alone also serves bf16 on CPUs with AVX512 and without instructions for it."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[name]
    decide = gemm_module.multiplies_halves.__wrapped__
    for served in (False, True):
        for instructions in ((), (f"avx512_{name}",), (f"amx_{name}",)):
            operators = type("Operators", (), {f"_is_mkldnn_{name}_supported": staticmethod(lambda: served)})  # noqa: B023
            monkeypatch.setattr(torch.ops, "mkldnn", operators)
            monkeypatch.setattr(gemm_module, "_cpu_has", lambda unit: unit in instructions)  # noqa: B023
            is_arm = platform.machine().lower() not in ("x86_64", "amd64")
            assert decide("cpu", dtype) == (served and (bool(instructions) or is_arm))
    monkeypatch.setattr(torch.ops, "mkldnn", object())  # a torch that has no such operator
    assert decide("cpu", dtype) is False
    assert decide("cuda", dtype) is True


def test_a_torch_without_a_list_of_instructions_is_asked_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    known = gemm_module._cpu_has("avx512_bf16")
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: known, raising=False)
    assert gemm_module._cpu_has("avx512_bf16") is known
    assert gemm_module._cpu_has("amx_bf17") is False


def test_products_that_write_float32_are_found_by_their_kernels() -> None:
    decide = gemm_module.writes_float32.__wrapped__
    assert decide("cuda") and decide("meta")  # the meta kernels stand in torch's table on every machine
    assert not decide("cpu")  # as torch 2.13 has it; a CPU that gets them needs no tiles for its logits


# --- the calls that a GPU gets ---------------------------------------------------------------------


def test_sums_of_halves_are_written_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three forms that torch has since 2.10; dweight of a single chunk stays in bf16."""
    given = head(torch.bfloat16, 100, V=120, H=16)
    half, wide = torch.bfloat16, torch.float32
    # dhidden (100, 16) is kept in float32 where it is small, else cast a slice of rows at a time.
    for most, dhidden, slices in ((1600, "mm.dtype_out", 1), (1599, "mm.dtype", 2)):
        monkeypatch.setattr(gemm_module, "WIDE", most)
        with CudaProducts() as products:
            gradients("objective", given)
        single = [("mm.dtype_out", half, wide), (dhidden, half, wide), ("mm.out", half, half)]
        assert products.seen == [single[0], *[single[1]] * slices, single[2]]
        with CudaProducts() as products:
            gradients("objective", given, chunk_tokens=50)
        first = [*single[:2], ("mm.dtype_out", half, wide)]
        assert products.seen == [*first, *first[:2], FLOAT32_SUM]


def test_torch_29_refuses_the_sum_of_chunks() -> None:
    """So pyproject.toml asks for 2.10: there a float32 sum may be the first argument beside halves."""
    given = head(torch.bfloat16, 100, V=120, H=16)
    with CudaProducts(refuses_float32_sums=True):
        gradients("objective", given)
        with pytest.raises(RuntimeError, match="same dtype"):
            gradients("objective", given, chunk_tokens=50)


@pytest.mark.parametrize("op", ["objective", "logprobs"])
@pytest.mark.parametrize("most", [128 * 64, 128 * 64 - 1], ids=["kept", "cast-by-chunk"])
def test_dhidden_is_rounded_once_where_sums_are_cut(
    most: int, op: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU the sums over V are cut into parts: added in bf16 they would break the promise of 2.5e-3."""
    monkeypatch.setattr(gemm_module, "WIDE", most)
    given = head(torch.bfloat16, 128, V=4000, H=64)
    truth = gradients(op, {n: x.double() if n != "targets" else x for n, x in given.items()}, reference=True)
    with CudaProducts() as products:
        found = gradients(op, given)
    assert relative_error(found[1], truth[1]) <= 2.5e-3
    # What it would have been: the stand-in for cuBLAS is no better than cuBLAS.
    dlogits, weight = torch.randn(128, 4000).bfloat16(), given["weight"]
    assert relative_error(products.split(dlogits, weight), dlogits.double() @ weight.double()) > 2.5e-3


@pytest.mark.parametrize("rows_at_once", [1, 7, 64, 1000])
def test_float32_results_that_are_cast_come_in_slices(
    rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gemm_module, "WIDE", rows_at_once * 8 + 3)
    left, right = torch.randn(64, 30).bfloat16(), torch.randn(30, 8).bfloat16()
    out = torch.full((64, 8), torch.nan).bfloat16()
    with CudaProducts() as products:
        gemm(left, right, out, long_sums=True)
    torch.testing.assert_close(out, (left.float() @ right.float()).bfloat16(), rtol=2**-8, atol=1e-6)
    assert len(products.seen) == -(-64 // rows_at_once)
