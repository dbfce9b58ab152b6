"""policy_loss on its kernels, in float32, against the same formulas in float64, which torch computes.

test_policy_loss.py holds the formulas themselves to their definition. Runs where kernels run: on a GPU, and
by test_interpreted.py.
"""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from dupo_kernels import policy_loss
from dupo_kernels._triton import INTERPRET
from dupo_kernels.tokens import fused_tokens
from dupo_kernels.tokens.policy_objective import PolicyObjective
from dupo_kernels.tokens.token_weights import PIECE
from tests.helpers.numerics import DEVICE
from tests.helpers.policy_cases import (
    BY_SEQUENCE,
    CASES,
    CU_SEQLENS,
    LENGTHS,
    LOSS_TYPES,
    MASK,
    B,
    T,
    batch,
    options_of,
)

pytestmark = pytest.mark.skipif(DEVICE == "cpu" and not INTERPRET, reason="needs Triton to run")
NAN, INF = math.nan, math.inf
Batch = dict[str, Any]


def by_token(loss_type: str, name: str) -> bool:
    inputs = {"sampling_logprobs": True, "old_logprobs": True} if "sampling_logprobs" in batch(name) else {}
    options = {key: x for key, x in options_of(loss_type, name).items() if key != "max_completion_length"}
    return PolicyObjective(**options).scope(inputs) == "token"


BY_TOKEN = [(loss_type, name) for loss_type, name in CASES if by_token(loss_type, name)]
PACKED = {"cu_seqlens": CU_SEQLENS}
HOLES = {"cu_seqlens": torch.arange(0, B * T + 1, T, dtype=torch.int64), "mask": MASK.flatten().float()}
SHIFTED = {"cu_seqlens": CU_SEQLENS + 2}


def flattened(t: Batch) -> Batch:
    return {key: x.masked_fill(~MASK, NAN).flatten() for key, x in t.items()}


def with_tails(t: Batch) -> Batch:
    tail = torch.full((2,), NAN, dtype=torch.float64)
    return {key: torch.cat([tail, x[MASK], tail, tail]) for key, x in t.items()}


# Name -> (tensors of that layout from those of (B, T), what policy_loss is told, whether there are sequences)
LAYOUTS: dict[str, tuple[Any, Batch, bool]] = {
    "padded": (lambda t: {key: x.masked_fill(~MASK, NAN) for key, x in t.items()}, {"mask": MASK}, True),
    "padded-whole": (lambda t: t, {}, True),
    "packed": (lambda t: {key: x[MASK] for key, x in t.items()}, PACKED, True),
    "packed-shifted": (with_tails, SHIFTED, True),
    "packed-masked": (flattened, HOLES, True),
    "loose": (lambda t: {key: x[MASK] for key, x in t.items()}, {}, False),
    "loose-masked": (flattened, {"mask": MASK.flatten().to(torch.int64)}, False),
}


def run(t: Batch, dtype: torch.dtype, scale: float = 1.0, **options: Any) -> list[Any]:
    """[loss, dlogprobs, dentropy, statistics]; float64 goes through torch."""
    floats = {key: x.to(DEVICE, dtype) for key, x in t.items()}
    options = {key: x.to(DEVICE) if isinstance(x, Tensor) else x for key, x in options.items()}
    leaves = [floats[key].requires_grad_() for key in ("logprobs", "entropy")]
    loss, stats = policy_loss(**floats, **options)
    assert loss.dtype == torch.promote_types(dtype, torch.float32)
    return [loss.detach(), *torch.autograd.grad(loss * scale, leaves), stats]


def assert_same(found: list[Any], truth: list[Any], rtol: float = 2e-6, atol: float = 1e-6) -> None:
    for got, true in zip(found[:3], truth[:3], strict=True):
        assert got.shape == true.shape
        torch.testing.assert_close(got.double(), true.double(), rtol=rtol, atol=atol, equal_nan=True)
    assert list(found[3]) == list(truth[3])
    for key, true in truth[3].items():
        torch.testing.assert_close(
            found[3][key].double(), true.double(), rtol=rtol, atol=atol, equal_nan=True, msg=key
        )


def every_case_in_every_layout() -> list[Any]:
    """Loss types that count sequences where there are some. One of sixteen is tried always."""
    combinations = [
        (loss_type, name, layout)
        for loss_type, name in BY_TOKEN
        for layout, (_, _, knows_sequences) in LAYOUTS.items()
        if knows_sequences or loss_type not in BY_SEQUENCE
    ]
    slow, full = pytest.mark.slow, pytest.mark.full
    return [
        pytest.param(*combination, marks=[slow, full] if place % 8 else [slow] if place % 24 else [])
        for place, combination in enumerate(combinations)
    ]


@pytest.mark.parametrize(("loss_type", "name", "layout"), every_case_in_every_layout())
def test_kernels_compute_what_torch_does(loss_type: str, name: str, layout: str) -> None:
    rearrange, told, _ = LAYOUTS[layout]
    # float32 holds these values, so both see the same.
    t = rearrange({key: x.float().double() for key, x in batch(name).items()})
    options = options_of(loss_type, name) | told
    assert_same(run(t, torch.float32, 3.0, **options), run(t, torch.float64, 3.0, **options))


def test_every_option_of_single_tokens_is_tried() -> None:
    assert {loss_type for loss_type, _ in BY_TOKEN} == {*LOSS_TYPES} - {"vespo"}
    assert len(BY_TOKEN) > 100
    assert {name for _, name in BY_TOKEN} >= {"entropy", "token_mask", "kl-k3+", "dual-clip", "no-correction"}


@pytest.mark.parametrize("num_items", [5, 2.5, "tensor", "int tensor", "zero"])
@pytest.mark.parametrize(
    "loss_type", ["dapo", *(pytest.param(x, marks=pytest.mark.slow) for x in ("grpo", "dr_grpo"))]
)
def test_num_items(loss_type: str, num_items: Any) -> None:
    tensors = {"tensor": torch.tensor([[7.5]]), "int tensor": torch.tensor(7), "zero": torch.tensor(0.0)}
    t = {key: x.float().double() for key, x in batch("plain").items()}
    options = options_of(loss_type, "plain") | {"num_items": tensors.get(num_items, num_items)}
    for told in ({"mask": MASK}, {}):
        found, truth = (run(t, dtype, **options, **told) for dtype in (torch.float32, torch.float64))
        assert_same(found, truth)


@pytest.mark.parametrize("dtype", [torch.int64, torch.float64, torch.bfloat16, torch.bool])
def test_advantages_of_sequences_in_any_type(dtype: torch.dtype) -> None:
    t = {key: x.float().double() for key, x in batch("plain").items()}
    A = torch.tensor([1, -2, 5, 3, -1, 0, 2], device=DEVICE).to(dtype)
    packed = {key: x[MASK] for key, x in t.items()}
    for tensors, told in ((t, {"mask": MASK}), (packed, PACKED)):
        for advantages in (A, A[:, None])[: 2 if "mask" in told else 1]:
            tensors.pop("advantages", None)
            options = options_of("grpo", "plain") | told | {"advantages": advantages}
            assert_same(run(tensors, torch.float32, **options), run(tensors, torch.float64, **options))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_inputs_are_summed_in_float32(dtype: torch.dtype) -> None:
    t = {key: x.to(dtype) for key, x in batch("token_truncate").items()}
    options = options_of("dapo", "token_truncate") | {"mask": MASK, "entropy_coef": 0.03}
    found, truth = run(t, dtype, **options), run(t, torch.float64, **options)
    assert found[1].dtype == found[2].dtype == dtype
    torch.testing.assert_close(found[0].double(), truth[0], rtol=2e-6, atol=1e-7)
    for got, true in zip(found[1:3], truth[1:3], strict=True):
        torch.testing.assert_close(got, true.to(dtype), rtol=torch.finfo(dtype).eps * 2, atol=1e-7)


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("key", ["logprobs", "advantages", "entropy", "old_logprobs", "ref_logprobs"])
@pytest.mark.parametrize(
    "loss_type", ["dapo", *(pytest.param(x, marks=pytest.mark.slow) for x in ("cispo", "sapo"))]
)
def test_a_broken_token_is_as_broken_as_in_torch(loss_type: str, key: str, bad: float) -> None:
    """And its neighbours are as they were."""
    t = {name: x.float().double() for name, x in batch("everything").items()}
    t[key][0, 1] = bad
    options = options_of(loss_type, "kl-k3") | {"mask": MASK, "entropy_coef": 0.03}
    options["vllm_importance_sampling_mode"] = "token_truncate"
    assert_same(run(t, torch.float32, **options), run(t, torch.float64, **options))


def test_nothing_counts() -> None:
    for loss_type in ("dapo", "grpo", "dr_grpo"):
        t = {key: torch.full((2, 3), NAN) for key in batch("plain")}
        options = options_of(loss_type, "plain") | {"mask": torch.zeros(2, 3)}
        loss, *gradients, stats = run(t, torch.float32, **options)
        assert loss == 0
        assert not any(gradient.any() for gradient in gradients)
        assert all(value == 0 for value in stats.values())


def test_many_tokens_without_sequences() -> None:
    """More than a program counts, and more than a program of the loss sees."""
    N = 2 * PIECE + 77
    generator = torch.Generator().manual_seed(2)
    t = {key: -torch.rand(N, generator=generator).double() for key in batch("plain")}
    mask = torch.rand(N, generator=generator) > 0.3
    found, truth = (run(t, dtype, mask=mask) for dtype in (torch.float32, torch.float64))
    assert_same(found, truth, rtol=2e-5)
    assert found[3]["tokens"] == mask.sum()


def test_tensors_that_do_not_lie_together() -> None:
    t = {key: x.float().double() for key, x in batch("plain").items()}
    apart = {key: torch.stack([x, x], -1)[..., 0] for key, x in t.items()}
    options = options_of("grpo", "plain") | {"mask": MASK.t().contiguous().t()}
    assert_same(run(apart, torch.float32, **options), run(t, torch.float64, **options))


BROKEN = {"fall": [0, 9, 5, 26], "beyond": [0, 5, 27], "below": [-1, 5, 26], "late fall": [0, 26, 26, 20]}


@pytest.mark.parametrize("masked", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("loss_type", ["dapo", "grpo"])
@pytest.mark.parametrize("name", BROKEN)
def test_bounds_that_are_none_give_no_number(name: str, loss_type: str, masked: bool) -> None:
    """On a device the host does not read them; checked by handing them over unread."""
    N, bounds = int(LENGTHS.sum()), torch.tensor(BROKEN[name], device=DEVICE)
    logprobs = torch.zeros(N, device=DEVICE, requires_grad=True)
    mask = torch.ones(N, device=DEVICE) if masked else None
    for advantages in (torch.ones(N, device=DEVICE), torch.ones(len(bounds) - 1, device=DEVICE)):
        tokens = fused_tokens.TokenTensors(logprobs, None, advantages, mask, None, None, None, bounds)
        loss, _ = fused_tokens.fused_tokens(PolicyObjective(loss_type), tokens, None, None)
        assert loss.isnan()
        assert torch.autograd.grad(loss, logprobs)[0].isnan().all()


def test_a_bonus_without_need_is_no_gradient() -> None:
    t = {key: x.float().double() for key, x in batch("plain").items()}
    _, _, dentropy, _ = run(t, torch.float32, mask=MASK)
    assert not dentropy.any()


def test_the_loss_may_be_changed_in_place() -> None:
    logprobs = torch.zeros(3, device=DEVICE, requires_grad=True)
    loss, _ = policy_loss(logprobs, torch.ones(3, device=DEVICE))
    loss *= 3
    loss += 1
    loss.backward()
    assert logprobs.grad is not None
    torch.testing.assert_close(logprobs.grad, torch.full_like(logprobs, -1.0))


@pytest.mark.parametrize("layout", ["packed", pytest.param("padded", marks=pytest.mark.slow)])
def test_compiles_without_a_break(layout: str) -> None:
    rearrange, told, _ = LAYOUTS[layout]
    t = rearrange({key: x.float() for key, x in batch("plain").items()})
    options = options_of("grpo", "plain") | told

    def compute(logprobs: Tensor, entropy: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        others = {key: x for key, x in t.items() if key not in ("logprobs", "entropy")}
        return policy_loss(logprobs, entropy=entropy, **others, **options)

    leaves = [t["logprobs"].requires_grad_(), t["entropy"].requires_grad_()]
    expected, expected_stats = compute(*leaves)
    loss, stats = torch.compile(compute, fullgraph=True, backend="aot_eager")(*leaves)
    torch.testing.assert_close((loss, stats), (expected, expected_stats))
    truth = torch.autograd.grad(expected, leaves)
    torch.testing.assert_close(torch.autograd.grad(loss, leaves), truth)
