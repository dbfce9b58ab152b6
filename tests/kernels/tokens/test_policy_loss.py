"""policy_loss against the formula with autograd, in float64; and what it must be indifferent to."""

from typing import Any

import pytest
import torch
from torch import Tensor

from dupo_kernels import policy_loss, policy_loss_ref
from tests.helpers.numerics import NoSync
from tests.helpers.policy_cases import (
    BY_SEQUENCE,
    CASES,
    CU_SEQLENS,
    LENGTHS,
    LOSS_TYPES,
    MASK,
    OPTIONS,
    SPREAD,
    B,
    T,
    batch,
    options_of,
)

every_case = pytest.mark.parametrize(("loss_type", "name"), CASES)
spread = pytest.mark.parametrize(("loss_type", "name"), SPREAD)
Found = tuple[Tensor, dict[str, Tensor]]


def ours(t: dict[str, Any], **options: Any) -> Found:
    layout = {} if options.keys() & {"mask", "cu_seqlens"} else {"mask": MASK}
    return policy_loss(**(t | layout | options))


def leaves(t: dict[str, Any]) -> tuple[Tensor, Tensor]:
    return t["logprobs"].requires_grad_(), t["entropy"].requires_grad_()


def gradients(loss: Tensor, t: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.autograd.grad(loss, (t["logprobs"], t["entropy"]))  # type: ignore[return-value]


# --- the formula -----------------------------------------------------------------------------------


@every_case
def test_equals_the_formula(loss_type: str, name: str) -> None:
    t = batch(name)
    leaves(t)
    expected = policy_loss_ref(**t, mask=MASK, **options_of(loss_type, name))
    loss, stats = ours(t, **options_of(loss_type, name))
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    true = torch.autograd.grad(
        expected, (t["logprobs"], t["entropy"]), allow_unused=True, materialize_grads=True
    )
    for got, want in zip(gradients(3 * loss, t), true, strict=True):
        torch.testing.assert_close(got, 3 * want, rtol=1e-10, atol=1e-15)
    assert not any(value.requires_grad for value in stats.values())


ON_POLICY = ["plain", "sequence", "kl-k3", "token_truncate", "everything"]


@pytest.mark.parametrize(("loss_type", "name"), [case for case in CASES if case[1] in ON_POLICY])
def test_on_policy_the_ratio_is_one_and_moves(loss_type: str, name: str) -> None:
    t: dict[str, Any] = batch(name) | {"old_logprobs": None}
    if name == "token_truncate":  # without it the old log-probabilities are those of the policy
        t["sampling_logprobs"] = t["logprobs"] + 0.2 * torch.sin(torch.arange(B * T)).view(B, T)
    leaves(t)
    expected = policy_loss_ref(**t, mask=MASK, **options_of(loss_type, name))
    loss, stats = ours(t, **options_of(loss_type, name))
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-16)
    (true,) = torch.autograd.grad(expected, t["logprobs"])
    torch.testing.assert_close(gradients(loss, t)[0], true, rtol=1e-10, atol=1e-15)
    assert (stats["ratio/mean"], stats["ratio/max"], stats["approx_kl"]) == (1, 1, 0)
    if name == "plain" and loss_type == "dapo":
        torch.testing.assert_close(true, torch.where(MASK, -t["advantages"] / LENGTHS.sum(), 0.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_lower_precisions_follow(loss_type: str, dtype: torch.dtype) -> None:
    """The inputs are what they are; everything after them is in float32."""
    t = batch("everything", dtype)
    options = options_of(loss_type, "everything")
    exact = {name: tensor.double() for name, tensor in t.items()}
    leaves(t)
    leaves(exact)
    (loss, _), (truth, _) = ours(t, **options), ours(exact, **options)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), truth, rtol=2e-6, atol=1e-7)
    for got, want in zip(gradients(loss, t), gradients(truth, exact), strict=True):
        assert got.dtype == dtype
        torch.testing.assert_close(
            got, want.to(dtype), rtol=1e-5 if dtype == torch.float32 else 0.01, atol=1e-8
        )


@pytest.mark.parametrize(("loss_type", "name"), [case for case in CASES if case[1] in ON_POLICY])
def test_the_definition_takes_every_layout(loss_type: str, name: str) -> None:
    t, options = batch(name), options_of(loss_type, name) | {"num_items": 5}
    padded = policy_loss_ref(**t, mask=MASK, **options)
    packed = {key: tensor[MASK] for key, tensor in t.items()}
    torch.testing.assert_close(policy_loss_ref(**packed, cu_seqlens=CU_SEQLENS, **options), padded)
    holes = {key: tensor.masked_fill(~MASK, torch.nan).flatten() for key, tensor in t.items()}
    bounds, mask = torch.arange(0, B * T + 1, T), MASK.flatten()
    torch.testing.assert_close(policy_loss_ref(**holes, cu_seqlens=bounds, mask=mask, **options), padded)
    torch.testing.assert_close(ours(t, **options)[0], padded)


# --- what it must be indifferent to ----------------------------------------------------------------


def assert_same(
    loss_type: str, name: str, found: dict[str, Tensor], layout: dict[str, Tensor], at: Tensor
) -> None:
    """`found` is the batch laid out otherwise, its tokens at `at`: same loss, stats and gradients."""
    t, options = batch(name), options_of(loss_type, name)
    leaves(t)
    leaves(found)
    (loss, stats), (same_loss, same_stats) = ours(t, **options), ours(found, **layout, **options)
    torch.testing.assert_close((same_loss, same_stats), (loss, stats), rtol=1e-12, atol=1e-15)
    for padded, other in zip(gradients(loss, t), gradients(same_loss, found), strict=True):
        torch.testing.assert_close(other[at], padded[MASK], rtol=1e-11, atol=1e-15)
        assert not other.masked_fill(at, 0.0).any()
        assert not padded[~MASK].any()


@spread
def test_packed_equals_padded(loss_type: str, name: str) -> None:
    """Also with a mask besides, and with tokens outside the bounds, whatever they hold."""
    t = batch(name)
    packed = {key: tensor[MASK] for key, tensor in t.items()}
    everywhere = torch.ones(int(LENGTHS.sum()), dtype=torch.bool)
    assert_same(loss_type, name, packed, {"cu_seqlens": CU_SEQLENS}, everywhere)
    nan = torch.full((2,), torch.nan, dtype=torch.float64)
    longer = {key: torch.cat([nan, tensor[MASK], nan]) for key, tensor in t.items()}
    inside = torch.cat([everywhere.new_zeros(2), everywhere, everywhere.new_zeros(2)])
    assert_same(loss_type, name, longer, {"cu_seqlens": CU_SEQLENS + 2}, inside)
    holes = {key: tensor.masked_fill(~MASK, torch.nan).flatten() for key, tensor in t.items()}
    bounds = torch.arange(0, B * T + 1, T)
    assert_same(loss_type, name, holes, {"cu_seqlens": bounds, "mask": MASK.flatten()}, MASK.flatten())


@spread
def test_masked_tokens_never_enter(loss_type: str, name: str) -> None:
    options, clean = options_of(loss_type, name), batch(name)
    expected = ours(clean, **options)
    for bad in (torch.nan, torch.inf, -torch.inf):
        t = {key: tensor.masked_fill(~MASK, bad) for key, tensor in clean.items()}
        leaves(t)
        loss, stats = ours(t, **options)
        assert (loss, stats) == expected
        for grad in gradients(loss, t):
            assert grad.isfinite().all()
            assert not grad[~MASK].any()


@spread
def test_rows_may_be_permuted_and_masked_ones_appended(loss_type: str, name: str) -> None:
    order = torch.tensor([4, 0, 3, 2, 6, 1, 5])
    t, options = batch(name), options_of(loss_type, name)
    options["num_items"] = B if loss_type in BY_SEQUENCE else int(LENGTHS.sum())
    loss, stats = ours(t, **options)
    moved = {key: torch.cat([tensor[order], torch.full((2, T), torch.nan)]) for key, tensor in t.items()}
    found = ours(moved, mask=torch.cat([MASK[order], torch.zeros(2, T, dtype=torch.bool)]), **options)
    torch.testing.assert_close(found, (loss, stats), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("loss_type", "name"),
    [case for case in SPREAD if "top_entropy_quantile" not in OPTIONS[str(case.values[1])]],
)
def test_micro_batches_are_exact(loss_type: str, name: str) -> None:
    """But for the quantile, which is that of the tokens in one call."""
    options = options_of(loss_type, name)
    options["num_items"] = torch.tensor(B if loss_type in BY_SEQUENCE else int(LENGTHS.sum()))
    t = batch(name)
    whole, whole_stats = ours(t, **options)
    for cut in (1, 4):
        sides = (slice(cut), slice(cut, B))
        parts = [ours({k: v[at] for k, v in t.items()}, mask=MASK[at], **options) for at in sides]
        torch.testing.assert_close(parts[0][0] + parts[1][0], whole)
        tokens = [stats["tokens"] for _, stats in parts]
        for key, value in whole_stats.items():
            one, two = (stats[key] for _, stats in parts)
            mean = (one * tokens[0] + two * tokens[1]) / (tokens[0] + tokens[1])
            kinds = {"max": torch.maximum(one, two), "min": torch.minimum(one, two), "tokens": one + two}
            torch.testing.assert_close(kinds.get(key.rpartition("/")[2], mean), value)


def test_advantages_per_sequence() -> None:
    t = batch("plain")
    A = torch.tensor([1.0, -2.0, 5.0, 0.5, -0.1, 0.0, 2.0], dtype=torch.float64)
    expected, _ = ours(t | {"advantages": A[:, None].expand(B, T)})
    for per_sequence in (A, A[:, None]):
        assert ours(t | {"advantages": per_sequence})[0] == expected
    packed = {name: tensor[MASK] for name, tensor in t.items()} | {"advantages": A}
    torch.testing.assert_close(ours(packed, cu_seqlens=CU_SEQLENS)[0], expected)
    # As many tokens as sequences: they are per token, although sequence 1 has none and 2 has two.
    lonely = {"logprobs": torch.zeros(3), "advantages": torch.tensor([1.0, 10.0, 100.0])}
    loss, _ = policy_loss(**lonely, cu_seqlens=torch.tensor([0, 1, 1, 3]))
    assert loss.item() == pytest.approx(-37.0)


# --- extremes --------------------------------------------------------------------------------------

IMPOSSIBLE = [
    ("dapo", "plain"),
    ("dapo", "sequence"),
    ("grpo", "delta"),
    ("dapo", "dual-clip"),
    ("dapo", "kl-k3"),
]
IMPOSSIBLE += [("cispo", "plain"), ("sapo", "plain"), ("sapo", "sequence")]


@pytest.mark.parametrize(("loss_type", "name"), IMPOSSIBLE)
@pytest.mark.parametrize("A", [-1.0, 0.0, 1.0])
def test_impossible_tokens_stay_finite(A: float, loss_type: str, name: str) -> None:
    """A sampled token that has probability 0 now or then, and log-ratios in the hundreds."""
    logprobs = torch.tensor(
        [[-torch.inf, -1.0], [-500.0, -0.1], [-0.1, -500.0], [-0.1, -1.0]]
    ).requires_grad_()
    old = torch.tensor([[-1.0, -1.0], [-1.0, -0.1], [-500.0, -0.1], [-torch.inf, -1.0]])
    t = {"logprobs": logprobs, "advantages": torch.full((4, 2), A), "old_logprobs": old}
    t["ref_logprobs"] = torch.full((4, 2), -1.0)
    loss, stats = ours(t, mask=torch.ones(4, 2), **options_of(loss_type, name))
    assert loss.isfinite()
    assert torch.autograd.grad(loss, logprobs)[0].isfinite().all()
    assert stats["ratio/max"].item() == pytest.approx(torch.tensor(20.0).exp().item())


@pytest.mark.parametrize("A", [-1.0, 1.0])
def test_impossible_both_now_and_then(A: float) -> None:
    """The ratio of a token of probability 0 to itself is 1, so its gradient is that of any other."""
    logprobs = torch.tensor([-torch.inf, -1.0], requires_grad=True)
    for old in (logprobs.detach(), None):
        loss, stats = policy_loss(logprobs, torch.full((2,), A), old_logprobs=old)
        assert (loss.item(), stats["ratio/max"].item()) == (-A, 1.0)
        torch.testing.assert_close(torch.autograd.grad(loss, logprobs)[0], torch.full((2,), -A / 2))


@pytest.mark.parametrize(("kl", "slope"), [("k1", 1.0), ("abs", -1.0), ("k2", -torch.inf), ("k3", 0.0)])
def test_an_infinite_kl_has_the_slope_of_its_estimator(kl: str, slope: float) -> None:
    """Without the correction no ratio is multiplied by it, and 0 times infinity is NaN."""
    logprobs, others = torch.tensor([-torch.inf, -1.0], requires_grad=True), torch.tensor([-1.0, -1.0])
    options = {"beta": 0.5, "kl": kl, "use_bias_correction_kl": False}
    loss, _ = policy_loss(logprobs, torch.zeros(2), ref_logprobs=others, **options)
    gradient = torch.autograd.grad(loss, logprobs)[0]
    assert gradient[0].item() == pytest.approx(0.25 * slope)


def test_unscored_tokens_have_weight_one() -> None:
    """NaN of the sampling engine; a token that it held impossible counts as far as the bound lets it."""
    old = torch.tensor([[-1.0, -1.0, -1.0]])
    sampling = torch.tensor([[torch.nan, -1.2, -torch.inf]])
    for mode, weights in (
        ("token_truncate", [1.0, torch.tensor(0.2).exp(), 3.0]),
        ("token_mask", [1.0, torch.tensor(0.2).exp(), 0.0]),
        ("sequence_truncate", [3.0] * 3),
        ("sequence_mask", [0.0] * 3),
    ):
        logprobs = old.clone().requires_grad_()
        options = {"vllm_importance_sampling_mode": mode, "sampling_logprobs": sampling}
        loss, _ = policy_loss(logprobs, torch.ones(1, 3), old_logprobs=old, **options)
        torch.testing.assert_close(torch.autograd.grad(loss, logprobs)[0], -torch.tensor([weights]) / 3)


def test_no_tokens() -> None:
    for loss_type in LOSS_TYPES:
        options = options_of(loss_type, "kl-k3")
        empty = torch.zeros(0, requires_grad=True)
        none = {"old_logprobs": empty, "ref_logprobs": empty, "sampling_logprobs": empty, "entropy": empty}
        options |= {"entropy_coef": 0.1, "top_entropy_quantile": 0.5, "off_policy_mask_threshold": 0.1}
        options["vllm_importance_sampling_mode"] = "token_mask"
        loss, stats = policy_loss(empty, empty.detach(), cu_seqlens=torch.tensor([0]), **none, **options)
        loss.backward()
        assert loss == 0
        assert all(value == 0 for value in stats.values())
        masked = {key: torch.full((2, 3), torch.nan) for key in none}
        masked["logprobs"] = torch.full((2, 3), torch.nan, requires_grad=True)
        loss, stats = ours(masked | {"advantages": torch.ones(2)}, mask=torch.zeros(2, 3), **options)
        assert loss == 0
        assert not torch.autograd.grad(loss, masked["logprobs"])[0].any()
        assert all(value == 0 for value in stats.values())


# --- how it is used --------------------------------------------------------------------------------


def test_second_derivatives_are_refused() -> None:
    """The loss is a constant to them: they would be wrong without a word."""
    logprobs = torch.zeros(3, requires_grad=True)
    loss, _ = policy_loss(logprobs, torch.ones(3))
    (grad,) = torch.autograd.grad(loss.square(), logprobs, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_the_guard_sees_who_waits() -> None:
    x = torch.ones(3)
    for wait in (lambda: x.sum().item(), lambda: bool(x.any()), lambda: x[x > 0], lambda: x.nonzero()):
        with pytest.raises(AssertionError, match="waits for the device"), NoSync():
            wait()
    with pytest.raises(AssertionError, match="waits for the device"), NoSync():
        x[torch.tensor(1)]
    with NoSync(allowed=1):
        x.sum().item()


@spread
def test_never_waits_for_the_device(loss_type: str, name: str) -> None:
    t, options = batch(name), options_of(loss_type, name)
    padded, masked = ({"mask": MASK}, {"cu_seqlens": torch.arange(0, B * T + 1, T), "mask": MASK.flatten()})
    options["num_items"] = torch.tensor(17)
    flat = {key: tensor.flatten() for key, tensor in t.items()}
    packed = {key: tensor[MASK] for key, tensor in t.items()}
    for tensors, layout in ((t, padded), (flat, masked), (packed, {"cu_seqlens": CU_SEQLENS})):
        leaves(tensors)
        with NoSync():
            gradients(ours(tensors, **layout, **options)[0], tensors)


COMPILED = [("grpo", "sequence", packed) for packed in (True, False)]
COMPILED += [("dapo", "kl-k3", False), ("vespo", "everything", True)]


@pytest.mark.slow
@pytest.mark.parametrize(("loss_type", "name", "packed"), COMPILED)
def test_compiles_without_a_break(loss_type: str, name: str, packed: bool) -> None:
    options, layout = options_of(loss_type, name), {"cu_seqlens": CU_SEQLENS} if packed else {"mask": MASK}
    t = {key: tensor[MASK] if packed else tensor for key, tensor in batch(name).items()}
    leaves(t)
    expected, expected_stats = ours(t, **layout, **options)
    loss, stats = torch.compile(ours, fullgraph=True, backend="aot_eager")(t, **layout, **options)
    torch.testing.assert_close((loss, stats), (expected, expected_stats))
    for got, want in zip(gradients(loss, t), gradients(expected, t), strict=True):
        torch.testing.assert_close(got, want)
