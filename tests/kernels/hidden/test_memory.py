"""The peak of the linear loss head, forward and backward: measured, and computed by the formula that
docs/loss_head.md states. Every tensor counts; on a GPU its allocator is asked."""

import math
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._library.custom_ops import OPDEFS
from torch.utils._python_dispatch import TorchDispatchMode

from dupo_kernels import (
    HeadOutputs,
    PolicyObjective,
    linear_objective,
    linear_token_logprobs,
    preference_objective,
)
from dupo_kernels.hidden import gemm
from dupo_kernels.hidden.chunks import (
    SAVE_BUDGET,
    choose_buffer_rows,
    choose_chunk_size,
    choose_num_kept,
)
from dupo_kernels.logits import row_outputs, torch_path
from tests.helpers.numerics import DEVICE, INTERPRET
from tests.helpers.project import ROOT
from tests.helpers.slow import with_slow

pytestmark = pytest.mark.skipif(INTERPRET, reason="the same with and without kernels")


def peak_bytes(
    op: str,
    N: int,
    V: int,
    H: int,
    *,
    element: int,
    logits: int = 4,
    M: int | None = None,
    wanted: tuple[bool, bool] = (True, True),
    save_budget: int = SAVE_BUDGET,
    chunk_tokens: int | None = None,
    length: int = 1,
) -> tuple[int, int]:
    """(peak of the forward pass, peak of both), in bytes beyond the inputs, vectors of N or V apart.

    Args:
        op: "logprobs"; "token", "sequence" or "batch", of linear_objective.
        element, logits: bytes of an element of hidden and weight; of the logits.
        M: tokens that count, where there is a mask or rows.
        wanted: gradients of hidden and of weight.
        length: tokens of each sequence; those of a loss of sequences fit the chunks.
    """
    rows, row = N if M is None else M, -(-V // 8) * 8 * logits
    keeps = any(wanted) and op in ("logprobs", "batch")
    sizes = V, H, logits, save_budget, chunk_tokens
    kept = choose_num_kept(rows, *sizes) if keeps else 0
    step = choose_chunk_size(rows - kept, *sizes)
    # Chunks end where sequences end.
    step = step // length * length if op == "sequence" and step < rows else step
    chunk_rows = min(step, rows - kept)
    kept_logits, chunk = buffer_rows(kept) * row, buffer_rows(chunk_rows) * row
    chunks = (kept > 0) + -(-(rows - kept) // step)
    sums = max(element, 4) if chunks > 1 else element
    # In half types dhidden is float32 first: all of it until the end, or of a chunk where it is large.
    half = wanted[0] and element < 4
    is_small = half and N * H <= 1 << 25
    of_dhidden = wanted[0] * H * (4 if is_small else element)
    gathered, scattered = (0, 0) if M is None else (M * H * element, N * of_dhidden)
    dhidden, dweight = rows * of_dhidden, wanted[1] * V * H * sums
    cast = wanted[1] * V * H * element if sums > element else 0
    cast += N * H * element if is_small else 0
    wide, most = (H * 4 if half and not is_small else 0), (1 << 25) // H
    # dweight comes after the dhidden of the first chunk.
    products = (
        max(wide * min(kept, most), dweight) if kept else chunk + max(wide * min(chunk_rows, most), dweight)
    )
    if chunks > 1:
        later = chunk_rows if kept else min(step, rows - step)
        products = max(products, chunk + dweight + wide * min(later, most))
    while_it_runs = kept_logits + gathered + dhidden
    results = dhidden + scattered + dweight
    if op == "logprobs":
        after = max(results, (scattered or dhidden) + dweight + cast)
        return kept_logits + chunk + gathered, max(while_it_runs + products, kept_logits + gathered + after)
    forward = max(while_it_runs + products, gathered + results)
    return forward, max(forward, (scattered or dhidden) + dweight + cast)


def buffer_rows(rows: int) -> int:
    """Rows of memory: from 1,024 on in eighths of the power of two below, which are 1,024 at most."""
    step = min(1024, 2 ** (math.floor(math.log2(rows)) - 3)) if rows >= 1024 else 1
    return math.ceil(rows / step) * step


class Live(TorchDispatchMode):
    """Bytes of the tensors made since, and still there; `peak` of it. Products of two types give zeros."""

    now = peak = 0
    MIXED = "mm.dtype", "mm.dtype_out", "addmm.dtype_out"  # which a GPU has and a CPU has not

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with self:  # a mode does not see into an op of ours
            if func.namespace == "dupo_kernels":
                return OPDEFS[func._schema.name]._init_fn(*args, **kwargs)
        before = {x.untyped_storage()._cdata for x in [*args, *kwargs.values()] if isinstance(x, Tensor)}
        if func.__name__ in self.MIXED:
            shape = args[0].shape[0], args[1].shape[1]
            result = kwargs["out"] if "out" in kwargs else args[0].new_zeros(shape, dtype=torch.float32)
        else:
            result = func(*args, **kwargs)
        for x in result if isinstance(result, list | tuple) else [result]:
            if isinstance(x, Tensor) and x.untyped_storage()._cdata not in before:
                self._add(x.untyped_storage())
        return result

    def _add(self, storage: Any) -> None:
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, storage.nbytes())

    def _remove(self, nbytes: int) -> None:
        self.now -= nbytes


def peak_of(call: Callable[[], Any]) -> int:
    if DEVICE == "cuda":
        call()  # the libraries' own memory stays
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return torch.cuda.max_memory_allocated() - before
    with Live() as live:
        call()
    return live.peak


# --- the table of docs/loss_head.md ----------------------------------------------------------------

SETTINGS: dict[str, list[tuple[int, dict[str, Any]]]] = {
    "linear_objective": [
        (8192, {}),
        (8192, {"chunk_tokens": 2048}),
        (8192, {"chunk_tokens": 1024}),
        (8192, {"logits_dtype": "bf16"}),
        (65_536, {}),
        (65_536, {"chunk_tokens": 2048}),
        (65_536, {"chunk_tokens": 4096, "logits_dtype": "bf16"}),
    ],
    "linear_token_logprobs": [
        (8192, {}),
        (8192, {"save_budget": 0, "chunk_tokens": 2048}),
        (65_536, {}),
        (65_536, {"save_budget": 0}),
        (65_536, {"save_budget": 0, "chunk_tokens": 2048}),
    ],
}
SIZES = (32_000, 128_256, 151_936, 248_320)


def table() -> str:
    """GiB of both passes, H = 4096, hidden and weight bf16."""
    lines = [
        f"| N | setting | {' | '.join(f'V = {V:,}' for V in SIZES)} |",
        "|---|---|" + "---|" * len(SIZES),
    ]
    for op, settings in SETTINGS.items():
        for N, options in settings:
            kind = "token" if op == "linear_objective" else "logprobs"
            sizes = {name: x for name, x in options.items() if name != "logits_dtype"}
            sizes |= {"logits": 2} if "logits_dtype" in options else {}
            peaks = [peak_bytes(kind, N, V, 4096, element=2, **sizes)[1] / 2**30 for V in SIZES]
            shown = {
                name: f"{x >> 30} << 30" if name == "save_budget" and x else x for name, x in options.items()
            }
            setting = ", ".join([f"`{op}`", *(f"{name}={x}" for name, x in shown.items())])
            lines.append(f"| {N:,} | {setting} | {' | '.join(f'{x:.2f}' for x in peaks)} |")
    return "\n".join(lines)


def test_the_page_has_the_table() -> None:
    assert table() in (ROOT / "docs/loss_head.md").read_text(), f"paste it:\n{table()}"


# --- what is measured ------------------------------------------------------------------------------

N, M, V, H = 192, 160, 2001, 256
ROW = 2008 * 4  # bytes of a row of fp32 logits
SLACK = 24 * N * 4 + 4 * ROW  # two dozen numbers a token; what the torch path holds of a few rows
BUDGETS: dict[str, dict[str, Any]] = {
    "default": {},
    "nothing-kept": {"save_budget": 0},
    "chunks": {"save_budget": 0, "chunk_tokens": 50},
    "some-kept": {"save_budget": 100 * V * 4, "chunk_tokens": 50},
}
GRADIENTS = {"frozen-weight": (True, False), "frozen-hidden": (False, True), "no-grad": (False, False)}
CASES = [(dtypes, "everything") for dtypes in ("bf16 fp32", "fp32 fp32", "bf16 bf16")]
CASES += [("bf16 fp32", which) for which in (*GRADIENTS, "mask")]
SLOW, FULL = [pytest.mark.slow], [pytest.mark.slow, pytest.mark.full]
CASES = [
    CASES[0],
    pytest.param(*CASES[1], marks=SLOW),
    *(pytest.param(*case, marks=FULL) for case in CASES[2:]),
]
OBJECTIVES = {
    "token": PolicyObjective(),
    "sequence": PolicyObjective(importance_sampling_level="sequence"),
    "batch": PolicyObjective(top_entropy_quantile=0.5),
}


def call_of(
    op: str, leaves: tuple[Tensor, Tensor], both: bool, N: int = N, V: int = V, **options: Any
) -> Callable[[], None]:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(V, (4, N // 4), generator=generator).to(DEVICE)
    ones = torch.ones(4, N // 4, device=DEVICE)

    def call() -> None:
        if op == "group":
            pairs = {"groups": torch.tensor([0, 0, 1, 1]), **options}
            loss, _ = linear_objective(*leaves, targets, preference_objective("simpo"), {}, **pairs)
        elif op == "logprobs":
            loss = linear_token_logprobs(*leaves, targets, **options)[0].sum()
        else:
            given = {"advantages": ones, "old_logprobs": -7 * ones}
            loss, _ = linear_objective(*leaves, targets, OBJECTIVES[op], given, weights=ones, **options)
        if both:
            loss.backward()
            for leaf in leaves:
                leaf.grad = None

    return call


@pytest.mark.slow
@pytest.mark.parametrize(("dtypes", "which"), CASES)
@pytest.mark.parametrize("budget", with_slow(BUDGETS, quick=("some-kept",)))
@pytest.mark.parametrize(
    "op", ["token", *(pytest.param(op, marks=pytest.mark.slow) for op in ("logprobs", "sequence", "batch"))]
)
def test_the_peak_is_the_formula(
    op: str, budget: str, dtypes: str, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_path, "SCRATCH_BYTES", 1)
    if DEVICE == "cpu":  # the products of a GPU; test_gemm.py measures those of a CPU
        monkeypatch.setattr(gemm, "writes_float32", lambda device_type: True)
        monkeypatch.setattr(gemm, "multiplies_halves", lambda device_type, dtype: True)
    types = {"fp32": torch.float32, "bf16": torch.bfloat16}
    dtype, logits_dtype = (types[name] for name in dtypes.split())
    wanted = GRADIENTS.get(which, (True, True))
    shapes = (4, N // 4, H), (V, H)
    leaves = tuple(torch.zeros(s, dtype=dtype, device=DEVICE).requires_grad_() for s in shapes)
    options = {"logits_dtype": logits_dtype, **BUDGETS[budget]}
    if which == "mask":
        options["rows"] = torch.arange(M)
    sizes = {"element": dtype.itemsize, "logits": logits_dtype.itemsize, "wanted": wanted, **BUDGETS[budget]}
    sizes["length"] = N // 4
    expected = peak_bytes(op, N, V, H, M=M if which == "mask" else None, **sizes)
    with torch.set_grad_enabled(which != "no-grad"):
        for leaf, want in zip(leaves, wanted, strict=True):
            leaf.requires_grad_(want or which == "no-grad")
        for both, bytes_ in zip((False, True), expected, strict=True):
            if which != "no-grad" or not both:
                found = peak_of(call_of(op, leaves, both, **options))
                assert -SLACK / 2 <= found - bytes_ <= SLACK, (both, found, bytes_)


@pytest.mark.slow
@pytest.mark.parametrize("budget", with_slow(BUDGETS, quick=("some-kept",)))
@pytest.mark.parametrize("K", [1, 5])
def test_outputs_and_targets_need_numbers_of_tokens_alone(
    K: int, budget: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No second chunk of logits, whatever is asked for."""
    monkeypatch.setattr(torch_path, "SCRATCH_BYTES", 1)
    monkeypatch.setattr(row_outputs, "DEVICE_SCRATCH_BYTES", 1)
    leaves = torch.zeros(N, H, device=DEVICE), torch.zeros(V, H, device=DEVICE)
    targets = torch.zeros((N, K) if K > 1 else N, dtype=torch.int64, device=DEVICE)
    options = {"outputs": HeadOutputs._fields, "softcap": 30.0, **BUDGETS[budget]}
    sizes = {"element": 4, **BUDGETS[budget]}
    for both, bytes_ in zip((False, True), peak_bytes("logprobs", N, V, H, **sizes), strict=True):

        def call(both: bool = both) -> None:
            for leaf in leaves:
                leaf.requires_grad_().grad = None
            found = linear_token_logprobs(*leaves, targets, **options)
            if both:
                found.logprobs.sum().backward()

        found = peak_of(call)
        assert -SLACK / 2 <= found - bytes_ <= K * SLACK, (both, found, bytes_)


@pytest.mark.parametrize("chunk_tokens", [None, N // 2, N // 2 - 1])
def test_the_logits_of_a_chunk_are_those_of_whole_pairs(
    chunk_tokens: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four sequences are two pairs. Where no pair fits a chunk, all log-probabilities come first."""
    monkeypatch.setattr(torch_path, "SCRATCH_BYTES", 1)
    leaves = (
        torch.zeros(4, N // 4, H, device=DEVICE, requires_grad=True),
        torch.zeros(V, H, device=DEVICE, requires_grad=True),
    )
    options: dict[str, Any] = {"save_budget": 0, "chunk_tokens": chunk_tokens}
    fits = chunk_tokens is None or chunk_tokens >= N // 2
    expected = peak_bytes("sequence" if fits else "batch", N, V, H, element=4, length=N // 2, **options)
    for both, bytes_ in zip((False, True), expected, strict=True):
        found = peak_of(call_of("group", leaves, both, **options))
        assert -SLACK / 2 <= found - bytes_ <= SLACK, (both, found, bytes_)


def test_buffers_come_in_few_sizes() -> None:
    """50 batches of about 8,000 tokens ask for 4 sizes, which are at most an eighth too large."""
    tokens = torch.randint(6200, 9200, (50,), generator=torch.Generator().manual_seed(0)).tolist()
    sizes = {choose_buffer_rows(n) for n in tokens}
    assert len(set(tokens)) > 45 and len(sizes) <= 7
    for n in [*range(3000), *tokens, 65_536, 65_537]:
        assert choose_buffer_rows(n) == buffer_rows(n)
        assert n <= buffer_rows(n) <= max(n, n * 9 // 8)
    assert choose_buffer_rows(1023) == 1023


@pytest.mark.parametrize("op", ["logprobs", "token"])
def test_a_buffer_has_the_size_of_its_class(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """1,100 rows have memory for 1,152."""
    monkeypatch.setattr(torch_path, "SCRATCH_BYTES", 1 << 18)
    leaves = torch.zeros(4, 275, 2, device=DEVICE), torch.zeros(4096, 2, device=DEVICE)
    found = peak_of(call_of(op, leaves, False, N=1100, V=4096))
    expected = peak_bytes(op, 1100, 4096, 2, element=4, wanted=(False, False))[0]
    assert expected == 1152 * 4096 * 4
    assert 0 <= found - expected <= 24 * 1100 * 4 + 4 * 4096 * 4 + (1 << 18)


def test_rows_that_have_logits_at_once() -> None:
    V, H = 151_936, 4096
    for rows, budget, expected in (
        (0, 0, 1),
        (8192, 0, 8192),  # 2 H
        (8193, 0, 4224),  # two pieces, in whole hundreds and twenty-eights
        (65_536, 0, 8192),
        (65_536, 4 << 30, 8192),
        (20_000, 20_000 * V * 4, 20_000),  # they fit
        (20_000, 20_000 * V * 4 - 1, 6784),
    ):
        assert choose_chunk_size(rows, V, H, 4, budget, None) == expected
    assert choose_chunk_size(20_000, V, H, 4, 1 << 40, 7) == 7


def test_rows_whose_logits_are_kept() -> None:
    """All of them where one chunk would hold them anyway: to keep a part saves nothing, and costs a sum."""
    V, H, row = 151_936, 4096, 151_936 * 4
    assert choose_num_kept(8192, V, H, 4, 4 << 30, None) == 8192  # 2 H, and more than 4 GiB
    assert choose_num_kept(8193, V, H, 4, 4 << 30, None) == (4 << 30) // row
    assert choose_num_kept(8192, V, H, 4, 4 << 30, 1024) == (4 << 30) // row
    assert choose_num_kept(8192, V, H, 4, 0, None) == 0
    assert choose_num_kept(20_000, V, H, 4, 20_000 * row, None) == 20_000
    assert choose_num_kept(0, V, H, 4, 4 << 30, None) == 0
