"""What callers of the loss head do that no example shows: odd layouts in memory, tokens outside the bounds,
objectives that are code, compiled calls of many lengths, and mistakes."""

import math
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
    policy_loss,
    token_logprobs,
    token_logprobs_ref,
    token_weights,
)
from tests.helpers.linear_head import B, H, T, V, head
from tests.helpers.numerics import DEVICE, INTERPRET, relative_error

GSPO = PolicyObjective("grpo", importance_sampling_level="sequence")


def flat_head(N: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    return head(dtype, N)


def loss_and_gradients(function: Any, given: dict[str, Tensor], *args: Any, **options: Any) -> list[Tensor]:
    """[loss, dhidden, dweight, dbias]."""
    given = {n: x.detach().clone().requires_grad_() if n != "targets" else x for n, x in given.items()}
    inputs = given["hidden"], given["weight"], given["targets"]
    found = function(*inputs, *args, bias=given["bias"], **options)
    loss = found[0] if isinstance(found, tuple) else found
    return [loss.detach(), *torch.autograd.grad(loss, [given[n] for n in ("hidden", "weight", "bias")])]


# --- memory ----------------------------------------------------------------------------------------

TARGETS = {
    "last of each sequence": torch.arange(12).view(4, 3)[:, -1],
    "every other": torch.arange(8)[::2],
    "one for all": torch.tensor(3).expand(4),
}
TEMPERATURES = {
    "number": 0.7,
    "scalar": torch.tensor(0.7),
    "one": torch.tensor([0.7]),
    "expanded": torch.tensor([0.7]).expand(4),
    "strided": torch.linspace(0.5, 2, 8)[::2],
}


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("targets", TARGETS)
def test_targets_and_temperatures_may_lie_anyhow(targets: str, temperature: str) -> None:
    ids, t = TARGETS[targets].to(DEVICE), TEMPERATURES[temperature]
    given = flat_head(4) | {"targets": ids}
    t = t.to(DEVICE) if isinstance(t, Tensor) else t
    leaves = [given[n].requires_grad_() for n in ("hidden", "weight", "bias")]
    logits = (given["hidden"] @ given["weight"].t() + given["bias"]).detach().requires_grad_()
    for function, reference, inputs, of in (
        (linear_token_logprobs, linear_token_logprobs_ref, given, leaves),
        (token_logprobs, token_logprobs_ref, {"logits": logits, "targets": ids}, [logits]),
    ):
        found, expected = (f(**inputs, temperature=t, entropy=True) for f in (function, reference))
        for got, want in zip(found, expected, strict=True):
            assert relative_error(got, want) < 1e-5
        one, other = (f(**inputs, temperature=t)[0].sum() for f in (function, reference))
        for x, y in zip(torch.autograd.grad(one, of), torch.autograd.grad(other, of), strict=True):
            assert relative_error(x, y) < 1e-5


def test_weights_and_targets_of_an_objective_may_lie_anyhow() -> None:
    given, ones = flat_head(4) | {"targets": TARGETS["last of each sequence"].to(DEVICE)}, torch.ones(1)
    per_token = {"advantages": ones.to(DEVICE).expand(4)}
    call = PolicyObjective(), per_token
    options = {"weights": ones.to(DEVICE).expand(4), "temperature": torch.tensor(0.7)}
    found = loss_and_gradients(linear_objective, given, *call, **options)
    for got, want in zip(
        found, loss_and_gradients(linear_objective_ref, given, *call, **options), strict=True
    ):
        assert relative_error(got, want) < 1e-5


# --- which tokens count ----------------------------------------------------------------------------


@pytest.mark.parametrize("objective", [PolicyObjective(), GSPO], ids=["token", "sequence"])
def test_tokens_outside_the_bounds_do_not_count(objective: PolicyObjective) -> None:
    """A packed batch with a tail of padding, whose targets are -100, and NaN wherever there can be one."""
    given, cu_seqlens = flat_head(12), torch.tensor([0, 5, 9], dtype=torch.int32).to(DEVICE)
    advantages = torch.linspace(-1, 1, 12).to(DEVICE)
    weights = token_weights("grpo", cu_seqlens=cu_seqlens[:3], num_tokens=12)
    short = {n: x[:9] if n in ("hidden", "targets") else x for n, x in given.items()}
    options = {"weights": weights[:9], "cu_seqlens": cu_seqlens}
    expected = loss_and_gradients(
        linear_objective, short, objective, {"advantages": advantages[:9]}, **options
    )
    given["targets"][9:] = -100
    advantages[9:], weights[9:] = math.nan, math.nan
    options["weights"] = weights
    found = loss_and_gradients(linear_objective, given, objective, {"advantages": advantages}, **options)
    assert not found[1][9:].any()
    found[1] = found[1][:9]
    for got, want in zip(found, expected, strict=True):
        assert relative_error(got, want) < 1e-6
    inputs = given["hidden"], given["weight"], given["targets"], objective, {"advantages": advantages}
    _, stats = linear_objective(*inputs, **options)
    assert stats["tokens"] == 9
    assert all(x.isfinite() for x in stats.values())


@pytest.mark.parametrize("bounds", [[0, 5, 40], [0, 9, 5], [-1, 5, 9]], ids=str)
def test_impossible_bounds_are_refused(bounds: list[int]) -> None:
    if DEVICE == "cuda":
        pytest.skip("an assertion on the device takes the process with it")
    cu_seqlens, tokens = torch.tensor(bounds), torch.zeros(12)
    with pytest.raises(ValueError, match=r"cu_seqlens: expected bounds that rise, .* tokens 12, got"):
        policy_loss(tokens, tokens, cu_seqlens=cu_seqlens)


@pytest.mark.parametrize("scope", ["token", "sequence"])
def test_a_function_never_sees_what_does_not_count(scope: str) -> None:
    given = head(torch.float32)
    mask = torch.arange(T)[None] < torch.tensor([7, 0, 4])[:, None]
    advantages = torch.where(mask, torch.linspace(-1, 1, B * T).view(B, T), math.nan).to(DEVICE)

    def objective(logprobs: Tensor, entropy: Tensor, *, advantages: Tensor) -> Any:
        return -(logprobs.exp() + 1) * advantages, {"share": (logprobs < 0).float()}

    objective.scope = scope  # type: ignore[attr-defined]
    weights = torch.ones(B, T, device=DEVICE)
    options = {"weights": weights, "mask": mask.to(DEVICE)}
    found = loss_and_gradients(linear_objective, given, objective, {"advantages": advantages}, **options)
    logits = given["hidden"] @ given["weight"].t() + given["bias"]
    logp = token_logprobs_ref(logits, given["targets"])[0]
    expected = -((logp.exp() + 1) * advantages)[mask].sum()
    assert relative_error(found[0], expected) < 1e-5
    assert all(x.isfinite().all() for x in found)


@pytest.mark.parametrize("kind", ["bool", "float", "integer"])
def test_row_needs_grad_may_be_of_any_type(kind: str) -> None:
    given, advantages = flat_head(6), torch.tensor([0.3, -1.0, 0.0, 2.0, 0.0, -0.2], device=DEVICE)
    needs = {"bool": advantages != 0, "float": advantages, "integer": (advantages != 0) * 256}[kind]
    call = PolicyObjective(), {"advantages": advantages}
    options = {"weights": torch.ones(6, device=DEVICE)}
    expected = loss_and_gradients(linear_objective, given, *call, **options)
    found = loss_and_gradients(linear_objective, given, *call, row_needs_grad=needs.cpu(), **options)
    for got, want in zip(found, expected, strict=True):
        assert relative_error(got, want) < 1e-6


def test_rows_may_be_int32() -> None:
    given, rows = flat_head(6), torch.tensor([4, 1], dtype=torch.int32)
    for more in ({}, {"row_needs_grad": torch.ones(6, dtype=torch.bool)}):
        options = {"weights": torch.ones(6, device=DEVICE), "rows": rows, **more}
        _, stats = linear_objective(
            given["hidden"], given["weight"], given["targets"], PolicyObjective(),
            {"advantages": torch.ones(6, device=DEVICE)}, **options,
        )  # fmt: skip
        assert stats["tokens"] == 2


# --- objectives ------------------------------------------------------------------------------------


def test_a_function_need_not_use_the_entropy() -> None:
    given, weights = flat_head(6), torch.ones(6, device=DEVICE)
    call = (lambda logprobs, entropy: (-logprobs, {})), {}
    found = loss_and_gradients(linear_objective, given, *call, weights=weights)
    expected = loss_and_gradients(linear_objective_ref, given, *call, weights=weights)
    for got, want in zip(found, expected, strict=True):
        assert relative_error(got, want) < 1e-5


def test_an_objective_that_needs_the_entropy_gets_it() -> None:
    given, call = (
        flat_head(6),
        (PolicyObjective(entropy_coef=0.3), {"advantages": torch.ones(6, device=DEVICE)}),
    )
    weights = torch.ones(6, device=DEVICE)
    found = loss_and_gradients(linear_objective, given, *call, weights=weights, entropy=False)
    expected = loss_and_gradients(linear_objective_ref, given, *call, weights=weights)
    for got, want in zip(found, expected, strict=True):
        assert relative_error(got, want) < 1e-5


def test_advantages_of_sequences_in_a_direct_call() -> None:
    """Three sequences of three tokens: they must not be taken for those of tokens."""
    loss, _ = PolicyObjective()(torch.zeros(3, 3), advantages=torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(loss, -torch.tensor([1.0, 2.0, 3.0])[:, None].expand(3, 3))


def test_differentiable_once() -> None:
    given, advantages = flat_head(6), torch.ones(6, device=DEVICE)
    weight = given["weight"].requires_grad_()
    call = given["hidden"], weight, given["targets"], PolicyObjective(), {"advantages": advantages}
    loss, _ = linear_objective(*call, weights=advantages)
    with pytest.raises(RuntimeError, match="differentiated once, got create_graph=True"):
        torch.autograd.grad(loss, weight, create_graph=True)


# --- types and compilers ---------------------------------------------------------------------------


def test_float16_without_a_gradient_needs_no_scale() -> None:
    given, ones = flat_head(6, torch.float16), torch.ones(6, device=DEVICE)
    call = given["hidden"], given["weight"], given["targets"], PolicyObjective(), {"advantages": ones}
    loss, _ = linear_objective(*call, weights=ones)
    assert loss.isfinite()


@pytest.mark.skipif(INTERPRET, reason="float64 is for the torch path")
def test_float64_stays_so_under_autocast() -> None:
    given = flat_head(6, torch.float64)
    with torch.autocast(DEVICE, torch.bfloat16):
        assert linear_token_logprobs(**given)[0].dtype == torch.float64


@pytest.mark.slow
@pytest.mark.skipif(INTERPRET, reason="the compiler does not see the interpreter")
@pytest.mark.parametrize(
    "more",
    [
        {"mask": True},
        *(
            pytest.param(more, marks=pytest.mark.slow)
            for more in ({}, {"chunk_tokens": 4}, {"row_needs_grad": True})
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "objective",
    [
        pytest.param(PolicyObjective(), id="token"),
        pytest.param(GSPO, id="sequence"),
    ],
)
def test_lengths_share_a_graph(objective: PolicyObjective, more: dict[str, Any]) -> None:
    from torch._dynamo.testing import CompileCounter

    torch._dynamo.reset()
    counter, weight = CompileCounter(), torch.randn(V, H, device=DEVICE)

    def function(hidden: Tensor, targets: Tensor, advantages: Tensor) -> Tensor:
        options = {n: advantages != 0 if x is True else x for n, x in more.items()}
        per_token = {"advantages": advantages}
        weights = torch.ones_like(advantages)
        return linear_objective(hidden, weight, targets, objective, per_token, weights=weights, **options)[0]

    compiled = torch.compile(function, fullgraph=True, backend=counter)
    for n in range(5, 15):
        inputs = torch.randn(2, n, H), torch.randint(V, (2, n)), torch.randn(2, n)
        hidden, targets, advantages = (x.to(DEVICE) for x in inputs)
        compiled(hidden.requires_grad_(), targets, advantages)
    assert counter.frame_count <= 3


# --- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": torch.nn.Linear(H, V)}, "weight: expected a dense tensor of float16, .*, got Linear"),
        ({"weights": None}, "weights: expected a dense tensor of real numbers or bool, got None"),
        ({"rows": [1, 2]}, "rows: expected a dense tensor of int64 or int32, got list"),
        ({"mask": [True] * 6}, "mask: expected a dense tensor of real numbers or bool, got list"),
        ({"cu_seqlens": [0, 6]}, "cu_seqlens: expected a dense tensor of integers, got list"),
        ({"objective": "dapo"}, "objective: expected a policy_objective or a function, got 'dapo'"),
        (
            {"objective": lambda logprobs, entropy, advantages: -logprobs},
            r"objective: expected \(loss, stats\) as its result",
        ),
        ({"objective": lambda logprobs, entropy, advantages: (-logprobs.sum(), {})}, "a loss for each token"),
        (
            {"objective": lambda logprobs, entropy, advantages: (-logprobs, {"x": 1.0})},
            r"stats\['x'\] of the objective: expected a tensor .*, got 1.0",
        ),
    ],
    # The names alone: a function would show its address, which differs from process to process.
    ids=lambda value: value if isinstance(value, str) else ",".join(value),
)
def test_refuses(change: dict[str, Any], message: str) -> None:
    given = flat_head(6)
    arguments: dict[str, Any] = {n: given[n] for n in ("hidden", "weight", "targets")}
    arguments |= {"objective": PolicyObjective(), "per_token": {"advantages": torch.ones(6, device=DEVICE)}}
    arguments |= {"weights": torch.ones(6, device=DEVICE)} | change
    with pytest.raises(ValueError, match=message):
        linear_objective(**arguments)


def test_what_a_function_would_have_to_learn_is_refused() -> None:
    given, ones = flat_head(6), torch.ones(6, device=DEVICE)
    call = (
        given["hidden"],
        given["weight"],
        given["targets"],
        lambda lp, H, advantages: (-lp * advantages, {}),
    )
    with pytest.raises(ValueError, match=r"per_token: expected no requires_grad .*, got it in advantages"):
        linear_objective(*call, {"advantages": ones.clone().requires_grad_()}, weights=ones)


def test_numbers_that_are_none() -> None:
    with pytest.raises(ValueError, match="beta: expected a number, got nan"):
        PolicyObjective(beta=math.nan)
    with pytest.raises(
        ValueError, match=r"num_items: expected one number, got Tensor of torch.float32 and shape \(3,\)"
    ):
        token_weights("dapo", torch.ones(2, 3), num_items=torch.ones(3))
