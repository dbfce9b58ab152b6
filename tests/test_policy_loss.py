"""policy_loss against the formula with autograd, in float64; and what it must be indifferent to."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from dupo_kernels import policy_loss

LENGTHS = torch.tensor([5, 1, 0, 7, 4])
B, T, MAX_LENGTH = 5, 7, 8
MASK = torch.arange(T)[None] < LENGTHS[:, None]
CU_SEQLENS = torch.tensor([0, 5, 6, 6, 13, 17], dtype=torch.int32)
LOW, HIGH = 0.2, 0.28
LOSS_TYPES = ["grpo", "dapo", "dr_grpo"]


def batch(dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Tokens of five sequences; ratios on both sides of both clips, advantages of both signs and zero."""
    generator = torch.Generator().manual_seed(10)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    logprobs = -normal(B, T).abs() - 0.1
    tensors = {
        "logprobs": logprobs,
        "advantages": normal(B, T) * (torch.rand(B, T, generator=generator) > 0.2),
        "entropy": normal(B, T).abs(),
        "old_logprobs": logprobs + 0.4 * normal(B, T),
        "ref_logprobs": logprobs + 0.5 * normal(B, T),
    }
    return {name: tensor.to(dtype) for name, tensor in tensors.items()}


def expected_loss(
    logprobs: Tensor, advantages: Tensor, entropy: Tensor, old: Tensor | None, ref: Tensor, **options: Any
) -> Tensor:
    """TRL 1.16's formula, for autograd. On-policy r = 1 and nothing is clipped."""
    r = torch.exp(logprobs - (logprobs.detach() if old is None else old))
    loss = -r * advantages
    if old is not None:
        loss = -torch.min(r * advantages, r.clamp(1 - LOW, 1 + HIGH) * advantages)
    d = ref - logprobs
    kl = {"k1": -d, "k2": d**2 / 2, "k3": d.exp() - d - 1}[options["kl"]]
    kl = kl * r if options["use_bias_correction_kl"] else kl
    loss = torch.where(MASK, loss + options["beta"] * kl - options["entropy_coef"] * entropy, 0.0)
    if options["loss_type"] == "grpo":
        return (loss.sum(-1) / LENGTHS.clamp(min=1)).mean()
    return loss.sum() / (LENGTHS.sum() if options["loss_type"] == "dapo" else B * MAX_LENGTH)


def ours(t: dict[str, Any], **options: Any) -> tuple[Tensor, dict[str, Tensor]]:
    layout = {} if options.keys() & {"mask", "cu_seqlens"} else {"mask": MASK}
    clip = {"epsilon": LOW, "epsilon_high": HIGH, "max_completion_length": MAX_LENGTH}
    return policy_loss(**(t | layout | clip | options))


@pytest.mark.parametrize("old", [True, False], ids=["off-policy", "on-policy"])
@pytest.mark.parametrize("corrected", [True, False], ids=["corrected", "plain"])
@pytest.mark.parametrize(("kl", "beta"), [("k1", 0.1), ("k2", 0.1), ("k3", 0.1), ("k3", 0.0)])
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_equals_the_formula(loss_type: str, kl: str, beta: float, corrected: bool, old: bool) -> None:
    options: dict[str, Any] = {"loss_type": loss_type, "kl": kl, "beta": beta, "entropy_coef": 0.03}
    options["use_bias_correction_kl"] = corrected
    t: dict[str, Any] = batch()
    t["old_logprobs"] = t["old_logprobs"] if old else None
    leaves = t["logprobs"].requires_grad_(), t["entropy"].requires_grad_()
    expected = expected_loss(*leaves[:1], t["advantages"], leaves[1], *list(t.values())[3:], **options)
    loss, stats = ours(t, **options)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    true = torch.autograd.grad(expected, leaves)
    for got, want in zip(torch.autograd.grad(3 * loss, leaves), true, strict=True):
        torch.testing.assert_close(got, 3 * want, rtol=1e-10, atol=1e-15)
    assert not any(value.requires_grad for value in stats.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precisions_follow(dtype: torch.dtype) -> None:
    """The inputs are what they are; everything after them is in float32."""
    t = batch(dtype)
    exact, _ = ours({name: tensor.double() for name, tensor in t.items()}, beta=0.1)
    t["logprobs"].requires_grad_()
    loss, _ = ours(t, beta=0.1)
    loss.backward()
    assert loss.dtype == torch.float32
    assert t["logprobs"].grad is not None
    assert t["logprobs"].grad.dtype == dtype
    assert loss.item() == pytest.approx(exact.item(), rel=2e-6)


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_packed_equals_padded(loss_type: str) -> None:
    options: dict[str, Any] = {"loss_type": loss_type, "beta": 0.1, "entropy_coef": 0.01}
    t = batch()
    packed = {name: tensor[MASK].clone() for name, tensor in t.items()}
    t["logprobs"].requires_grad_()
    packed["logprobs"].requires_grad_()
    loss, stats = ours(t, **options)
    loss_packed, stats_packed = ours(packed, cu_seqlens=CU_SEQLENS, **options)
    torch.testing.assert_close(loss_packed, loss)
    torch.testing.assert_close(stats_packed, stats)
    (grad,) = torch.autograd.grad(loss, t["logprobs"])
    (grad_packed,) = torch.autograd.grad(loss_packed, packed["logprobs"])
    torch.testing.assert_close(grad_packed, grad[MASK])
    assert not grad[~MASK].any()


def test_advantages_per_sequence() -> None:
    t = batch()
    A = torch.tensor([1.0, -2.0, 5.0, 0.5, -0.1], dtype=torch.float64)
    expected, _ = ours(t | {"advantages": A[:, None].expand(B, T)})
    for per_sequence in (A, A[:, None]):
        assert ours(t | {"advantages": per_sequence})[0] == expected
    packed = {name: tensor[MASK] for name, tensor in t.items()} | {"advantages": A}
    torch.testing.assert_close(ours(packed, cu_seqlens=CU_SEQLENS)[0], expected)
    # As many tokens as sequences: they are per token, although sequence 1 has none and 2 has two.
    lonely = {"logprobs": torch.zeros(3), "advantages": torch.tensor([1.0, 10.0, 100.0])}
    loss, _ = policy_loss(**lonely, cu_seqlens=torch.tensor([0, 1, 1, 3]))
    assert loss.item() == pytest.approx(-37.0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_masked_tokens_never_enter(bad: float) -> None:
    options: dict[str, Any] = {"beta": 0.1, "entropy_coef": 0.01, "loss_type": "grpo"}
    clean = batch()
    t = {name: tensor.masked_fill(~MASK, bad).requires_grad_() for name, tensor in clean.items()}
    loss, stats = ours(t, **options)
    expected, expected_stats = ours(clean, **options)
    assert loss == expected
    assert stats == expected_stats
    for grad in torch.autograd.grad(loss, (t["logprobs"], t["entropy"])):
        assert grad.isfinite().all()
        assert not grad[~MASK].any()


def test_impossible_tokens_stay_finite() -> None:
    """A sampled token that has probability 0 now, then, or both."""
    logprobs = torch.tensor([-torch.inf, -1.0, -torch.inf, -200.0], requires_grad=True)
    old = torch.tensor([-1.0, -torch.inf, -torch.inf, -1.0])
    for old_logprobs in (old, None):
        for A in (-1.0, 1.0):
            loss, stats = policy_loss(logprobs, torch.full((4,), A), old_logprobs=old_logprobs)
            (grad,) = torch.autograd.grad(loss, logprobs)
            assert loss.isfinite()
            assert grad.isfinite().all()
            assert stats["ratio/mean"].isfinite()
            if old_logprobs is None:
                torch.testing.assert_close(grad, torch.full((4,), -A / 4))


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_micro_batches_are_exact(loss_type: str) -> None:
    options: dict[str, Any] = {"loss_type": loss_type, "beta": 0.1, "entropy_coef": 0.02}
    options["num_items"] = int(LENGTHS.sum()) if loss_type == "dapo" else B
    t = batch()
    whole, whole_stats = ours(t, **options)
    for cut in (1, 3, 4):
        parts = [
            ours({k: v[at] for k, v in t.items()}, mask=MASK[at], **options)
            for at in (slice(cut), slice(cut, B))
        ]
        torch.testing.assert_close(parts[0][0] + parts[1][0], whole)
        tokens = [stats["tokens"] for _, stats in parts]
        for name, value in whole_stats.items():
            one, two = (stats[name] for _, stats in parts)
            combined = (one * tokens[0] + two * tokens[1]) / (tokens[0] + tokens[1])
            combined = {"tokens": one + two, "ratio/max": torch.max(one, two)}.get(name, combined)
            torch.testing.assert_close(combined, value)


def test_statistics() -> None:
    t = batch()
    _, stats = ours(t)
    A = t["advantages"][MASK]
    log_ratio = (t["logprobs"] - t["old_logprobs"])[MASK]
    r, d = log_ratio.exp(), (t["ref_logprobs"] - t["logprobs"])[MASK]
    low, high = (r < 1 - LOW) & (A < 0), (r > 1 + HIGH) & (A > 0)
    shrunk, grown = r < 1 - LOW, r > 1 + HIGH  # the two signs of A must differ in number for the test to see
    assert 0 < low.sum() != (shrunk & (A > 0)).sum() > 0
    assert 0 < high.sum() != (grown & (A < 0)).sum() > 0
    expected = {
        "tokens": MASK.sum().double(),
        "ratio/mean": r.mean(),
        "ratio/max": r.max(),
        "approx_kl": ((-log_ratio).exp() + log_ratio - 1).mean(),
        "clip_ratio/low": low.double().mean(),
        "clip_ratio/high": high.double().mean(),
        "clip_ratio/region": (low | high).double().mean(),
        "kl": (d.exp() - d - 1).mean(),
        "entropy": t["entropy"][MASK].mean(),
    }
    torch.testing.assert_close(stats, expected)
    assert policy_loss(t["logprobs"], A.new_zeros(B))[1].keys() == expected.keys() - {"kl", "entropy"}


def test_no_tokens() -> None:
    empty = torch.zeros(0, requires_grad=True)
    loss, stats = policy_loss(empty, empty.detach(), cu_seqlens=torch.tensor([0]), loss_type="grpo")
    loss.backward()
    assert loss == 0
    assert all(value == 0 for value in stats.values())
    loss, stats = policy_loss(torch.zeros(2, 3), torch.ones(2), mask=torch.zeros(2, 3))
    assert loss == 0
    assert stats["tokens"] == 0


def test_second_derivatives_are_refused() -> None:
    logprobs = torch.zeros(3, requires_grad=True)
    loss, _ = policy_loss(logprobs, torch.ones(3))
    (grad,) = torch.autograd.grad(loss, logprobs, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        grad.sum().backward()


def test_never_waits_for_the_device_and_compiles() -> None:
    t = batch()
    with FakeTensorMode() as mode:
        fake = {name: mode.from_tensor(tensor) for name, tensor in t.items()}
        assert ours(fake, mask=mode.from_tensor(MASK), beta=0.1, entropy_coef=0.1)[0].shape == ()
    expected, expected_stats = ours(t, beta=0.1)
    t["logprobs"].requires_grad_()
    loss, stats = torch.compile(ours, fullgraph=True, backend="aot_eager")(t, beta=0.1)
    torch.testing.assert_close((loss.detach(), stats), (expected, expected_stats))
    (grad,) = torch.autograd.grad(loss, t["logprobs"])
    torch.testing.assert_close(grad, torch.autograd.grad(ours(t, beta=0.1)[0], t["logprobs"])[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss_type": "ppo"}, "loss_type must be one of grpo, dapo, dr_grpo, got 'ppo'"),
        ({"kl": "k4"}, "kl must be one of k1, k2, k3, got 'k4'"),
        ({"mask": torch.ones(2, 4)}, r"mask must have the shape of logprobs \(2, 3\), got \(2, 4\)"),
        ({"old_logprobs": torch.ones(2)}, r"old_logprobs must have the shape .* got \(2,\)"),
        ({"ref_logprobs": torch.ones(3)}, "ref_logprobs must have the shape"),
        ({"entropy": torch.ones(6)}, "entropy must have the shape"),
        ({"advantages": torch.ones(3)}, r"advantages must be per token \(2, 3\) or .* \(2,\), got \(3,\)"),
        ({"mask": torch.ones(2, 3), "cu_seqlens": torch.tensor([0, 6])}, "mask and cu_seqlens .* got both"),
        ({"cu_seqlens": torch.tensor([0, 6])}, r"logprobs must be \(N,\) with cu_seqlens, got \(2, 3\)"),
        ({"beta": 0.1}, "ref_logprobs must be given for beta=0.1, got None"),
        ({"entropy_coef": 0.1}, "entropy must be given for entropy_coef=0.1, got None"),
        ({"loss_type": "dr_grpo"}, "max_completion_length must be .*, got None"),
        ({"num_items": -1}, "num_items must be positive, got -1"),
    ],
)
def test_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy_loss(**({"logprobs": torch.zeros(2, 3), "advantages": torch.zeros(2)} | change))
