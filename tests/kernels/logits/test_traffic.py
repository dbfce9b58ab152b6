"""How many bytes the kernels move and the torch path holds: the least that there are, and a few a token.

The kernels' loads and stores are counted under Triton's interpreter; test_interpreted.py starts it.
"""

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dupo_kernels import _triton, token_logprobs
from dupo_kernels.logits import torch_path, triton_path
from dupo_kernels.logits.launch import logprobs_backward, logprobs_forward
from dupo_kernels.logits.rows import Rows
from dupo_kernels.logits.triton_path import BLOCK_V
from tests.helpers.logits_cases import both_ways, draw, upstream
from tests.helpers.numerics import DEVICE

interpreted = pytest.mark.skipif(not _triton.INTERPRET, reason="counted under Triton's interpreter")
N, DEAD = 5, 2  # rows, and how many of them have no upstream gradient
A_TOKEN = 32  # bytes at most for each token besides its logits
TYPES = [
    (torch.bfloat16, torch.bfloat16),
    (torch.float16, torch.float16),
    (torch.float32, torch.float32),
    (torch.float32, torch.bfloat16),  # dlogits over the logits of a linear head
]


class Traffic:
    """Bytes that kernels have loaded and stored since the last look."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from triton.runtime.interpreter import InterpreterBuilder as Builder

        self.moved: Counter[str] = Counter()
        load, store = Builder.create_masked_load, Builder.create_masked_store

        def counted_load(builder: Any, pointers: Any, mask: Any, *others: Any) -> Any:
            self.count("loaded", pointers, mask)
            return load(builder, pointers, mask, *others)

        def counted_store(builder: Any, pointers: Any, value: Any, mask: Any, *others: Any) -> Any:
            self.count("stored", pointers, mask)
            return store(builder, pointers, value, mask, *others)

        monkeypatch.setattr(Builder, "create_masked_load", counted_load)
        monkeypatch.setattr(Builder, "create_masked_store", counted_store)

    def count(self, kind: str, pointers: Any, mask: Any) -> None:
        self.moved[kind] += int(mask.data.sum()) * pointers.get_element_ty().primitive_bitwidth // 8

    def take(self) -> tuple[int, int]:
        loaded, stored = self.moved["loaded"], self.moved["stored"]
        self.moved.clear()
        return loaded, stored


def excess(
    traffic: Traffic, kernels: ModuleType, V: int, dtypes: tuple[torch.dtype, torch.dtype], entropy: bool
) -> dict[str, int]:
    """Bytes beyond the floor: logits once each way, those of rows without a gradient once, dlogits once."""
    logits, targets = draw(N, V, dtype=dtypes[0])
    rows = Rows(logits, targets, torch.ones(1, device=DEVICE), 0.0)
    logp, H, lse, top, a, b = torch.ones(6, N, device=DEVICE).unbind()
    a[:DEAD] = b[:DEAD] = 0.0
    out = logits.view(dtypes[1])[:, :V]
    kernels.forward(rows, logp, H if entropy else None, lse, top)
    loaded, stored = traffic.take()
    found = {"forward loads": loaded - logits.nbytes, "forward stores": stored}
    kernels.backward(rows, lse, H, a, b if entropy else None, out)
    loaded, stored = traffic.take()
    found["backward loads"] = loaded - logits[DEAD:].nbytes
    found["backward stores"] = stored - N * V * dtypes[1].itemsize
    return found


@interpreted
@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize("dtypes", TYPES, ids=str)
@pytest.mark.parametrize("V", [7, BLOCK_V, 2 * BLOCK_V + 5])
def test_logits_are_read_once_each_way(
    V: int, dtypes: tuple[torch.dtype, torch.dtype], entropy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = excess(Traffic(monkeypatch), triton_path, V, dtypes, entropy)
    assert found.pop("backward stores") == 0
    assert all(0 < bytes_ <= A_TOKEN * N for bytes_ in found.values()), found


@interpreted
def test_calls_of_the_public_function_move_as_little(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, targets = draw(N, BLOCK_V + 1)
    traffic = Traffic(monkeypatch)
    both_ways(token_logprobs, logits, targets)
    loaded, stored = traffic.take()
    assert 0 < loaded - 2 * logits.nbytes <= 2 * A_TOKEN * N
    assert 0 < stored - logits.nbytes <= A_TOKEN * N


READ = "tl.load({} + v, mask=v < {}, other=0.0)"
FORWARD, BACKWARD = READ.format("row_ptr", "V"), READ.format("logits_ptr + n * stride_n", "width")
LIVE = 'tl.where(has_gradient & (lse != -float("inf")), V, 0)'


@interpreted
@pytest.mark.parametrize(
    ("text", "change", "kind", "bytes_"),
    [
        (FORWARD, f"({FORWARD} + {FORWARD}) / 2", "forward loads", 4 * N * 300),
        (BACKWARD, f"({BACKWARD} + {BACKWARD}) / 2", "backward loads", 4 * (N - DEAD) * 300),
        (LIVE, "V", "backward loads", 4 * DEAD * 300),
    ],
    ids=["forward reads twice", "backward reads twice", "backward reads rows without a gradient"],
)
def test_a_second_read_is_seen(
    text: str, change: str, kind: str, bytes_: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(triton_path.__file__).read_text()
    assert source.count(text) == 1
    file = tmp_path / "_changed.py"
    file.write_text(source.replace(text, change))
    spec = importlib.util.spec_from_file_location("dupo_kernels._changed", file)
    assert spec is not None and spec.loader is not None
    changed = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, changed)
    spec.loader.exec_module(changed)
    traffic, dtypes = Traffic(monkeypatch), (torch.float32, torch.float32)
    as_it_is = excess(traffic, triton_path, 300, dtypes, entropy=True)
    assert excess(traffic, changed, 300, dtypes, entropy=True) == as_it_is | {kind: as_it_is[kind] + bytes_}


class _Largest(TorchDispatchMode):
    """The most bytes that any one result has had."""

    nbytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result._base is None:
            self.nbytes = max(self.nbytes, result.numel() * result.element_size())
        return result


@pytest.mark.skipif(_triton.INTERPRET or DEVICE == "cuda", reason="of the torch path")
def test_torch_path_holds_one_chunk_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, targets = draw(64, 500, dtype=torch.bfloat16)
    temperature = torch.linspace(0.5, 2, 64)
    whole = both_ways(token_logprobs, logits, targets, temperature=temperature)
    monkeypatch.setattr(torch_path, "SCRATCH_BYTES", 60_000)
    rows, out = Rows(logits, targets, temperature.reciprocal(), 0.0), torch.empty_like(logits)
    a, b = (g.float() for g in upstream(targets))
    with _Largest() as seen:
        logp, entropy, lse, _ = logprobs_forward(rows, True)
        logprobs_backward(rows, lse, entropy, a, b, out)
    assert 0 < seen.nbytes <= 60_000  # the temporaries are parts of a single tensor
    assert torch.equal(logp, whole.logp)
    assert torch.equal(entropy, whole.entropy)
    assert torch.equal(out, whole.dlogits)
