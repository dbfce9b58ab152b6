"""How many bytes the kernels move and the torch path holds: the least that there are, and a few a token.

The kernels' loads and stores are counted under Triton's interpreter; test_interpreted.py starts it.
"""

from collections import Counter
from itertools import product
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dupo_kernels import PolicyObjective, _triton, token_logprobs
from dupo_kernels.logits import torch_path, triton_path
from dupo_kernels.logits.fused_loss import fused_loss
from dupo_kernels.logits.launch import logprobs_backward, logprobs_forward
from dupo_kernels.logits.launch_table import Config
from dupo_kernels.logits.rows import Rows, narrowed
from dupo_kernels.tokens.token_objective import TokenInputs, token_objective
from dupo_kernels.tokens.token_report import new_report
from tests.helpers.logits_cases import TILE, both_ways, draw, upstream
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
    out = narrowed(logits, dtypes[1])
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
@pytest.mark.parametrize("V", [7, TILE, 2 * TILE + 5])
def test_logits_are_read_once_each_way(
    V: int, dtypes: tuple[torch.dtype, torch.dtype], entropy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = excess(Traffic(monkeypatch), triton_path, V, dtypes, entropy)
    assert found.pop("backward stores") == 0
    assert all(0 < bytes_ <= A_TOKEN * N for bytes_ in found.values()), found


@interpreted
def test_calls_of_the_public_function_move_as_little(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, targets = draw(N, TILE + 1)
    traffic = Traffic(monkeypatch)
    both_ways(token_logprobs, logits, targets)
    loaded, stored = traffic.take()
    assert 0 < loaded - 2 * logits.nbytes <= 2 * A_TOKEN * N
    assert 0 < stored - logits.nbytes <= A_TOKEN * N


FUSED_TOKEN = 64  # bytes at most for each token beside its logits, each way
VARIANTS = {name: Config(name, warps=1, steps=1) for name in ("looped", "persistent", "held")}
SMALL_TILE = 32 * 8  # of these
LENGTHS = [*product(VARIANTS, [2 * SMALL_TILE + 112]), ("looped", SMALL_TILE)]


@interpreted
@pytest.mark.parametrize("dtypes", TYPES, ids=str)
@pytest.mark.parametrize(
    ("variant", "V"), [*product(VARIANTS, [2 * SMALL_TILE + 112]), ("looped", SMALL_TILE)]
)
def test_the_one_launch_moves_as_little(
    variant: str, V: int, dtypes: tuple[torch.dtype, torch.dtype], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two reads and one write, of rows without a gradient one read; a held row is read once."""
    loaded, stored, logits, dlogits = fused_traffic(variant, V, dtypes, monkeypatch)
    reads = logits.nbytes + (logits[DEAD:].nbytes if variant != "held" else 0)
    assert 0 < loaded - reads <= FUSED_TOKEN * N
    assert 0 < stored - N * V * dlogits.dtype.itemsize <= FUSED_TOKEN * N


@interpreted
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_the_one_launch_moves_as_little_where_rows_start_anywhere(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, stored, logits, _ = fused_traffic("looped", 2 * SMALL_TILE + 5, (dtype, dtype), monkeypatch)
    assert 0 < loaded - logits.nbytes - logits[DEAD:].nbytes <= FUSED_TOKEN * N
    assert 0 < stored - logits.nbytes <= FUSED_TOKEN * N


def fused_traffic(
    variant: str, V: int, dtypes: tuple[torch.dtype, torch.dtype], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, int, Tensor, Tensor]:
    """(bytes loaded, bytes stored, the logits, dlogits) of a launch with all statistics; DEAD rows have no
    gradient."""
    logits, targets = draw(N, V, dtype=dtypes[0])
    dlogits = narrowed(logits, dtypes[1])
    values = torch.linspace(-1.0, -0.5, N, device=DEVICE)
    advantages = torch.ones(N, device=DEVICE)
    advantages[:DEAD] = 0.0
    inputs = TokenInputs(advantages, advantages, None, advantages.bool() | True, values, values, values)
    options = PolicyObjective("dapo", vllm_importance_sampling_mode="token_mask")
    objective = token_objective(options, inputs, has_entropy=True)
    report = new_report(N, logits.device)
    rows = Rows(logits, targets, torch.ones(N, device=DEVICE), 0.0)
    traffic = Traffic(monkeypatch)
    fused_loss(rows, objective, report, dlogits, config=VARIANTS[variant])
    return (*traffic.take(), logits, dlogits)


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
