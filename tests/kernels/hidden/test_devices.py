"""What a GPU alone shows of the head, on a CPU where something can stand for it: copies from pinned memory,
work that a CUDA graph can capture, memory that is not cut up, and which kernels serve which device."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._library.custom_ops import OPDEFS
from torch.utils._python_dispatch import TorchDispatchMode

from dupo_kernels import PolicyObjective, _triton, linear_objective
from dupo_kernels._copies import to_device
from dupo_kernels.hidden.chunks import find_rows
from tests.helpers.cuda_copies import CudaCopies
from tests.helpers.numerics import INTERPRET

needs_cuda = pytest.mark.skipif(INTERPRET or not torch.cuda.is_available(), reason="needs a GPU")
V, H = 512, 64


def inputs_of(N: int, device: str, dtype: torch.dtype = torch.bfloat16) -> dict[str, Any]:
    """Arguments of linear_objective with N tokens, of which every second one counts."""
    new: dict[str, Any] = {"device": device}
    floats = [torch.ones(N, **new) for _ in range(3)]
    return {
        "hidden": torch.ones(N, H, dtype=dtype, **new).requires_grad_(),
        "weight": torch.ones(V, H, dtype=dtype, **new).requires_grad_(),
        "targets": torch.zeros(N, dtype=torch.int64, **new),
        "objective": PolicyObjective(beta=0.1, entropy_coef=0.01),
        "per_token": dict(zip(("advantages", "old_logprobs", "ref_logprobs"), floats, strict=True)),
        "weights": torch.ones(N, **new),
        "rows": torch.arange(0, N, 2, **new),
    }


# --- copies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize("needs", [None, torch.tensor([True, False, True, True])], ids=["all", "some"])
def test_rows_of_the_host_are_pinned(needs: Tensor | None, dtype: torch.dtype) -> None:
    """CUDA waits for larger copies from other memory, whatever `non_blocking` says."""
    rows = torch.tensor([1, 3, 0], dtype=dtype)
    with CudaCopies() as cuda:
        found, num_with_grad = find_rows(4, None, rows, needs)
        assert found is not None and not cuda.copies
        row_index = to_device(found.to(torch.int64), torch.device("cuda"))
    assert row_index.dtype == torch.int64
    assert row_index.tolist() == ([1, 3, 0] if needs is None else [3, 0, 1])
    assert num_with_grad == (3 if needs is None else 2)
    assert cuda.copies == [(True, True)]


def test_rows_of_a_device_are_left_there() -> None:
    rows = torch.arange(3, device="meta")
    with CudaCopies() as cuda:
        found, _ = find_rows(4, None, rows, None)
        assert found is not None
        row_index = to_device(found, torch.device("meta"))
    assert row_index is rows and not cuda.copies and not cuda.pinned


def test_rows_of_a_cpu_are_not_pinned() -> None:
    with CudaCopies() as cuda:
        found, _ = find_rows(4, None, torch.arange(3), torch.ones(4))
        assert found is not None
        to_device(found, torch.device("cpu"))
    assert not cuda.pinned


# --- CUDA graphs -----------------------------------------------------------------------------------


class NoHost(TorchDispatchMode):
    """Refuses tensors of the host, whose content a CUDA graph would keep."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with self:  # a mode does not see into an op of ours
            if func.namespace == "dupo_kernels":
                return OPDEFS[func._schema.name]._init_fn(*args, **kwargs)
        result = func(*args, **kwargs)
        results = result if isinstance(result, list | tuple) else [result]
        for x in [*args, *kwargs.values(), *results]:
            assert not isinstance(x, Tensor) or x.device.type == "meta", func
        return result


@pytest.mark.skipif(INTERPRET, reason="the interpreter itself works on the host")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("chunk_tokens", [None, 8])
def test_with_rows_on_the_device_nothing_touches_the_host(
    chunk_tokens: int | None, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a CUDA graph can capture it. Tensors without content (meta) stand for those of a GPU."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # meta knows no autocast
    inputs = inputs_of(40, "meta", dtype)
    with NoHost():
        loss, _ = linear_objective(**inputs, chunk_tokens=chunk_tokens)
        gradients = torch.autograd.grad(loss, (inputs["hidden"], inputs["weight"]))
    assert [x.shape for x in gradients] == [(40, H), (V, H)]


@needs_cuda
@pytest.mark.parametrize("chunk_tokens", [None, 64])
def test_a_cuda_graph_captures_both_passes(chunk_tokens: int | None) -> None:
    inputs = inputs_of(256, "cuda")
    leaves = inputs["hidden"], inputs["weight"]

    def both() -> list[Tensor]:
        loss, _ = linear_objective(**inputs, chunk_tokens=chunk_tokens)
        return [loss.detach(), *torch.autograd.grad(loss, leaves)]

    # On a side stream first, as torch asks for: kernels are compiled and libraries have their memory.
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            both()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = both()
    with torch.no_grad():
        inputs["hidden"].copy_(torch.randn_like(inputs["hidden"]))
        inputs["targets"].random_(V)
        inputs["rows"].copy_(torch.randperm(256, device="cuda")[:128])
    graph.replay()
    for found, expected in zip(captured, both(), strict=True):
        torch.testing.assert_close(found, expected)


# --- the memory of a GPU ---------------------------------------------------------------------------


@needs_cuda
def test_batches_of_varying_length_do_not_cut_up_memory() -> None:
    """50 steps in as much memory as the longest of them needs, and a quarter more."""
    vocabulary = 32_000
    lengths = torch.randint(6200, 9200, (50,), generator=torch.Generator().manual_seed(0)).tolist()
    weight = torch.zeros(vocabulary, H, device="cuda", dtype=torch.bfloat16).requires_grad_()

    def step(N: int) -> None:
        inputs = inputs_of(N, "cuda") | {"weight": weight, "rows": None}
        linear_objective(**inputs)[0].backward()
        weight.grad = None

    step(max(lengths))
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    step(max(lengths))
    needed = torch.cuda.max_memory_reserved()
    retries = torch.cuda.memory_stats()["num_alloc_retries"]
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, 1.25 * needed / total))
    try:
        for N in lengths:
            step(N)
        assert torch.cuda.memory_stats()["num_alloc_retries"] == retries
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


# --- which kernels serve a device ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device_type", "hip", "backends", "served"),
    [
        ("cuda", None, {"nvidia", "amd"}, True),
        ("cuda", "6.4", {"nvidia", "amd"}, True),
        ("cuda", "6.4", {"nvidia"}, False),
        ("cuda", None, set(), False),
        ("xpu", None, {"intel"}, True),
        ("xpu", None, {"nvidia", "amd"}, False),
        ("cpu", None, {"nvidia", "amd"}, False),
        ("mps", None, {"nvidia", "amd"}, False),
    ],
)
def test_kernels_serve_devices_that_triton_compiles_for(
    device_type: str, hip: str | None, backends: set[str], served: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(_triton, "backends", backends)
    assert _triton.has_backend(device_type) is served


def test_float64_is_not_served() -> None:
    assert not _triton.runs_on_triton(torch.zeros(1, dtype=torch.float64))
    assert _triton.runs_on_triton(torch.zeros(1)) is INTERPRET
