"""How many kernels a loss launches: those of torch and of Triton, forward and backward.

Tensors on the CPU stand for those on a GPU: the package believes that its kernels serve them, and every
Triton kernel of the package is replaced by a recorder. Every other operator counts as one launch, but for
views and new memory, which launch nothing. What tensors on the host hold is not read, as on a GPU.
"""

import importlib
import pkgutil
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import dupo_kernels
from dupo_kernels import (
    PolicyObjective,
    _checks,
    _triton,
    fused_policy_loss,
    linear_objective,
    policy_loss,
)
from tests.helpers.numerics import CustomOpsOpened
from tests.helpers.products import CudaProducts

pytestmark = pytest.mark.skipif(
    not _triton.HAS_TRITON or _triton.INTERPRET, reason="counts what a GPU would be given"
)
# Views, new memory, and what autograd does with them: no kernel.
FREE = {"_local_scalar_dense", "_reshape_alias", "_unsafe_view", "alias", "as_strided", "detach", "diagonal"}
FREE |= {"empty", "empty_like", "empty_strided", "expand", "lift_fresh", "new_empty", "new_empty_strided"}
FREE |= {"permute", "reshape", "select", "slice", "split", "squeeze", "t", "transpose", "unbind", "unsqueeze"}
FREE |= {"view", "view_as"}
B, T, V = 4, 6, 16
N = B * T


class Recorder:
    """Stands for a Triton kernel: `kernel[grid](...)` is counted under its name, and computes nothing."""

    def __init__(self, name: str, launches: Counter[str]) -> None:
        self.name, self.launches = name, launches

    def __getitem__(self, grid: Any) -> Any:
        def launch(**arguments: Any) -> None:
            del arguments
            self.launches[self.name] += 1

        return launch


class Count(CustomOpsOpened):
    """Counts the kernels of torch, also within our own ops."""

    def __init__(self, launches: Counter[str]) -> None:
        super().__init__()
        self.launches = launches

    def see(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del args, kwargs
        if name not in FREE:
            self.launches[name] += 1


def modules() -> Iterator[Any]:
    for module in pkgutil.walk_packages(dupo_kernels.__path__, "dupo_kernels."):
        yield importlib.import_module(module.name)


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The launches by name, from here to the end of the test within `Count`."""
    counted: Counter[str] = Counter()
    for module in modules():
        for name, value in list(vars(module).items()):
            if type(value).__name__ == "JITFunction":
                monkeypatch.setattr(module, name, Recorder(f"triton {name}", counted))
    monkeypatch.setattr(_triton, "INTERPRET", True)
    monkeypatch.setattr(_checks, "on_host", lambda tensor: False)
    return counted


# loss.backward() makes it: a launch of torch, not of ours.
UPSTREAM = torch.ones(())


# --- policy_loss -----------------------------------------------------------------------------------

MASK, BOUNDS = torch.ones(B, T, dtype=torch.bool), torch.tensor([0, 5, 5, 20, N], dtype=torch.int32)
LAYOUTS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "padded": ((B, T), {"mask": MASK}),
    "padded-whole": ((B, T), {}),
    "padded-advantages-of-sequences": ((B, T), {"mask": MASK, "advantages": torch.ones(B)}),
    "packed": ((N,), {"cu_seqlens": BOUNDS}),
    "packed-advantages-of-sequences": ((N,), {"cu_seqlens": BOUNDS, "advantages": torch.ones(B)}),
    "packed-masked": ((N,), {"cu_seqlens": BOUNDS, "mask": MASK.flatten()}),
    "loose": ((N,), {}),
    "loose-masked": ((N,), {"mask": MASK.flatten()}),
}
OPTIONS: list[dict[str, Any]] = [
    {"loss_type": "grpo"},
    {"loss_type": "dapo", "beta": 0.1, "entropy_coef": 0.1, "vllm_importance_sampling_mode": "token_mask"},
    {"loss_type": "dr_grpo", "max_completion_length": 9},
    {"loss_type": "cispo", "epsilon_high": 3.0, "num_items": 7},
    {"loss_type": "sapo", "num_items": torch.tensor(3)},
]


def tokens(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    names = ("logprobs", "entropy", "advantages", "old_logprobs", "ref_logprobs", "sampling_logprobs")
    tensors = {name: -torch.ones(shape, dtype=dtype) for name in names}
    tensors["logprobs"].requires_grad_()
    tensors["entropy"].requires_grad_()
    return tensors


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: options["loss_type"])
def test_policy_loss_launches_four_kernels(
    options: dict[str, Any], layout: str, dtype: torch.dtype, launches: Counter[str]
) -> None:
    shape, told = LAYOUTS[layout]
    if layout.startswith("loose") and options["loss_type"] in ("grpo", "dr_grpo", "sapo"):
        pytest.skip("counts sequences")
    tensors = tokens(shape, dtype) | told
    if "vllm_importance_sampling_mode" not in options:
        del tensors["sampling_logprobs"]
    with Count(launches):
        loss, stats = policy_loss(**tensors, **options)
        loss.backward(UPSTREAM)
    assert launches["triton _losses"] == launches["triton _gradients"] == launches["triton _reduce"] == 1
    assert launches.total() <= 4, launches
    assert stats.keys() >= {"kl", "tokens", "ratio/max"}


# --- fused_policy_loss -----------------------------------------------------------------------------


def logits_and_tokens(shape: tuple[int, ...]) -> dict[str, Tensor]:
    names = ("weights", "advantages", "old_logprobs", "ref_logprobs", "sampling_logprobs")
    tensors = {name: torch.ones(shape) for name in names}
    tensors["targets"] = torch.zeros(shape, dtype=torch.int64)
    tensors["logits"] = torch.zeros(*shape, V, requires_grad=True)
    return tensors


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_fused_policy_loss_launches_two_kernels_and_a_look_at_the_gradient(
    layout: str, inplace: bool, launches: Counter[str]
) -> None:
    shape, told = LAYOUTS[layout]
    tensors = logits_and_tokens(shape) | told
    options = {"vllm_importance_sampling_mode": "token_mask", "temperature": 0.7, "softcap": 30.0}
    with Count(launches):
        loss, _ = fused_policy_loss(
            **tensors, inplace=inplace, beta=0.1, entropy_coef=0.1, grad_scale=2.0, **options
        )
        assert launches == {"triton _looped": 1, "triton _reduce": 1}
        loss.backward(UPSTREAM)
    assert launches == {"triton _looped": 1, "triton _reduce": 1, "triton _scale": 1}


# --- linear_objective ------------------------------------------------------------------------------

ROWS = MASK.flatten().nonzero()[:, 0]
WHICH: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "padded": ((B, T), {}),
    "advantages-of-sequences": ((B, T), {"advantages": torch.ones(B)}),
    "rows": ((B, T), {"rows": ROWS}),
    "packed": ((N,), {"cu_seqlens": BOUNDS}),
    "packed-with-a-tail": ((N,), {"cu_seqlens": BOUNDS.clamp(max=N - 1)}),
}


@pytest.mark.parametrize("chunks", [1, 2, 4])
@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_linear_objective_launches_six_kernels_a_chunk(
    dtype: torch.dtype, bias: bool, which: str, chunks: int, launches: Counter[str]
) -> None:
    """At most, and eight a call beyond its chunks. A bias costs two of the six."""
    shape, told = WHICH[which]
    names = ("advantages", "old_logprobs", "ref_logprobs", "sampling_logprobs")
    per_token = {name: told.get(name, torch.ones(shape)) for name in names}
    options = {name: x for name, x in told.items() if name not in names}
    new = partial(torch.zeros, dtype=dtype, requires_grad=True)
    options |= {"bias": new(V)} if bias else {}
    objective = PolicyObjective(beta=0.1, entropy_coef=0.1, vllm_importance_sampling_mode="token_mask")
    hidden, weight = new(*shape, 8), new(V, 8)
    targets, weights = torch.zeros(shape, dtype=torch.int64), torch.ones(shape)
    # The products of halves are those of a GPU.
    with CudaProducts(), Count(launches):
        loss, stats = linear_objective(
            hidden, weight, targets, objective, per_token,
            weights=weights, save_budget=0, chunk_tokens=N // chunks, softcap=30.0, **options,
        )  # fmt: skip
        loss.backward(UPSTREAM)
    assert launches["triton _looped"] == chunks
    assert launches["triton _reduce"] == 1
    assert launches.total() <= (6 if bias else 4) * chunks + 8, launches
    assert stats.keys() >= {"kl", "tokens", "top1_agreement"}


# --- the count itself ------------------------------------------------------------------------------


def test_the_count_sees_one_conversion_more(launches: Counter[str]) -> None:
    """And what is no kernel it does not see."""
    x = torch.zeros(2, 3, dtype=torch.bfloat16)
    with Count(launches):
        x.view(3, 2).t()[0].detach().reshape(-1)
        torch.empty(3)
        assert launches.total() == 0
        x.to(torch.float32)
        assert launches.total() == 1
        x.t().contiguous()
    assert launches == {"_to_copy": 1, "clone": 1}


def test_the_count_sees_into_our_ops_and_their_backward(launches: Counter[str]) -> None:
    """Log-probabilities that do not lie together are copied inside the op: a launch more."""
    tensors = tokens((T, B))
    apart = tensors | {"old_logprobs": tensors["old_logprobs"].t().contiguous().t()}
    with Count(launches):
        together = policy_loss(**tensors, vllm_importance_sampling_mode="token_mask")[0]
        before = launches.total()
        policy_loss(**apart, vllm_importance_sampling_mode="token_mask")
        assert launches.total() == 2 * before + 1
        together.backward(UPSTREAM)
    assert launches.total() == 2 * before + 2
