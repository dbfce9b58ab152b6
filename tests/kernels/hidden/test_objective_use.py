"""How linear_objective is used: autocast, checkpointing, float16, torch.compile; and what is refused."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dupo_kernels import PolicyObjective, linear_objective, linear_objective_ref, policy_objective
from dupo_kernels.hidden import objective as objective_module
from tests.helpers.linear_head import MASK, B, T, head
from tests.helpers.numerics import DEVICE, INTERPRET, relative_error
from tests.helpers.objective_cases import CHUNKS, OBJECTIVES, Pairwise, both_ways, tokens, weights_of


@pytest.mark.parametrize("name", ["everything", "gspo"])
def test_under_autocast_it_takes_the_type_of_a_linear_layer(name: str) -> None:
    objective, given, per_token = OBJECTIVES[name], head(torch.float32), tokens(torch.float32)
    options = {"weights": weights_of(objective).float(), "mask": MASK.to(DEVICE)}
    with torch.autocast(DEVICE, torch.bfloat16):
        found = both_ways(linear_objective, objective, given, per_token, **options)
    half = {n: x.bfloat16() if x.is_floating_point() else x for n, x in given.items()}
    expected = both_ways(linear_objective, objective, half, per_token, **options)
    assert torch.equal(found[0], expected[0])
    for got, want in zip(found[1:], expected[1:], strict=True):
        assert got.dtype == torch.float32
        assert torch.equal(got, want.float())


def test_tied_embeddings_get_both_gradients() -> None:
    given, per_token = head(torch.float32), tokens(torch.float32)
    ids, objective = given["targets"].roll(1, dims=1), OBJECTIVES["everything"]

    def loss(function: Any, weight: Tensor) -> Tensor:
        hidden = torch.nn.functional.embedding(ids, weight)
        options = {"weights": weights_of(objective).float(), "mask": MASK.to(DEVICE)}
        found = function(hidden, weight, given["targets"], objective, per_token, **options)
        return found[0] if isinstance(found, tuple) else found

    weight = given["weight"].requires_grad_()
    (found,) = torch.autograd.grad(loss(linear_objective, weight), weight)
    (expected,) = torch.autograd.grad(loss(linear_objective_ref, weight), weight)
    assert relative_error(found, expected) < 2e-6


def test_under_activation_checkpointing() -> None:
    objective, given, per_token = OBJECTIVES["everything"], head(torch.float32), tokens(torch.float32)
    weights = weights_of(objective).float()

    def checkpointed(*inputs: Any, **options: Any) -> Any:
        return checkpoint(lambda: linear_objective(*inputs, **options), use_reentrant=False)

    expected = both_ways(linear_objective, objective, given, per_token, weights=weights)
    found = both_ways(checkpointed, objective, given, per_token, weights=weights)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("objective", ["policy", "callable"])
def test_float16_needs_the_loss_scale_and_uses_it(objective: str) -> None:
    """For both derivatives, those of the log-probability and of the entropy."""
    chosen = {"policy": PolicyObjective(entropy_coef=0.1), "callable": Pairwise("token")}[objective]
    given, per_token = head(torch.float16), tokens(torch.float32)
    per_token = per_token if objective == "policy" else {"advantages": per_token["advantages"]}
    weights = weights_of(PolicyObjective()).float() * 1e-6  # dlogits would be 0 in float16
    with pytest.raises(ValueError, match="grad_scale: expected the loss scale for float16"):
        both_ways(linear_objective, chosen, given, per_token, weights=weights)
    truth = both_ways(
        linear_objective_ref,
        chosen,
        {n: x.double() if n != "targets" else x for n, x in given.items()},
        {n: x.double() for n, x in per_token.items()},
        weights=weights.double(),
    )
    parts = {n: x.requires_grad_(n != "targets") for n, x in given.items()}
    loss, _ = linear_objective(
        parts["hidden"], parts["weight"], parts["targets"], chosen, per_token,
        weights=weights, bias=parts["bias"], grad_scale=2.0**16,
    )  # fmt: skip
    (loss * 2.0**16).backward()
    for n, true in zip(("hidden", "weight", "bias"), truth[1:], strict=True):
        assert relative_error(parts[n].grad.double() / 2.0**16, true / 2) < (4e-3 if INTERPRET else 2e-3)  # type: ignore[union-attr]


def test_a_second_backward_raises() -> None:
    given, per_token = head(torch.float32), tokens(torch.float32)
    for objective in (PolicyObjective(), Pairwise("token")):
        inputs = (
            per_token if isinstance(objective, PolicyObjective) else {"advantages": per_token["advantages"]}
        )
        loss, _ = linear_objective(
            given["hidden"].requires_grad_(), given["weight"], given["targets"], objective, inputs,
            weights=torch.ones(B, T, device=DEVICE),
        )  # fmt: skip
        loss.backward(retain_graph=True)
        with pytest.raises(RuntimeError, match="expected one backward, got a second"):
            loss.backward()


@pytest.mark.slow
@pytest.mark.skipif(INTERPRET, reason="the compiler does not see the interpreter")
@pytest.mark.parametrize("by", ["rows", "mask", "all"])
def test_compiles_whole_and_notices_other_options(by: str) -> None:
    which = {"rows": {"rows": MASK.flatten().nonzero()[:, 0]}, "mask": {"mask": MASK}, "all": {}}[by]
    given, per_token = head(torch.float32), tokens(torch.float32)
    torch.compiler.reset()
    compiled = torch.compile(linear_objective, fullgraph=True, backend="aot_eager")
    weights = weights_of(PolicyObjective()).float()
    for objective in (
        OBJECTIVES["dapo"],
        OBJECTIVES["everything"],
        OBJECTIVES["gspo"],
        PolicyObjective(epsilon=0.01),
    ):
        arguments = objective, given, per_token
        which = {n: x.to(DEVICE) for n, x in which.items()}
        expected = both_ways(linear_objective, *arguments, weights=weights, **which)
        for one, other in zip(
            both_ways(compiled, *arguments, weights=weights, **which), expected, strict=True
        ):
            assert relative_error(one, other) < 1e-6


@pytest.mark.skipif(INTERPRET, reason="the compiler does not see the interpreter")
@pytest.mark.slow
def test_a_function_keeps_its_mask_under_the_compiler() -> None:
    given, advantages = head(torch.float32), tokens(torch.float32)["advantages"]
    options = {"weights": weights_of(None).float(), "mask": MASK.to(DEVICE)}
    torch.compiler.reset()
    compiled = torch.compile(linear_objective, backend="eager")
    arguments = Pairwise("token"), given, {"advantages": advantages}
    expected = both_ways(linear_objective, *arguments, **options)
    for one, other in zip(both_ways(compiled, *arguments, **options), expected, strict=True):
        assert relative_error(one, other) < 1e-6


@pytest.mark.parametrize("chunks", [*CHUNKS, {"chunk_tokens": 12, "save_budget": 0}], ids=str)
@pytest.mark.parametrize("by", ["rows", "mask", "empty mask"])
@pytest.mark.parametrize("name", ["dapo", "gspo"])
def test_operator_is_registered_correctly(
    name: str, by: str, chunks: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiler knows sizes and types of the results beforehand, also where a mask leaves fewer chunks."""
    if INTERPRET and (name != "dapo" or not chunks):
        pytest.skip("the same with and without kernels")
    calls, op, run = [], objective_module._op, objective_module._run
    monkeypatch.setattr(
        objective_module, "_run", lambda *arguments: calls.append(arguments) or run(*arguments)
    )
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: by != "rows")
    given, per_token = head(torch.bfloat16), tokens(torch.float32)
    mask = (MASK & (by != "empty mask")).to(DEVICE)
    options = {"weights": weights_of(PolicyObjective()).float(), "mask": mask, **chunks}
    both_ways(linear_objective, OBJECTIVES[name], given, per_token, **options)
    monkeypatch.undo()
    torch.library.opcheck(op, calls[0], test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"per_token": {}}, "advantages: expected a tensor, got None"),
        (
            {"per_token": {"advantage": torch.ones(B, T)}},
            "per_token: expected names of advantages, .* got advantage",
        ),
        ({"per_token": {"advantages": torch.ones(T)}}, "advantages: expected shape .* .per token."),
        ({"weights": torch.ones(B)}, "weights: expected the shape .* of targets"),
        ({"row_needs_grad": torch.ones(B)}, "row_needs_grad: expected the shape .* of targets"),
        ({"objective": policy_objective(beta=0.1)}, "ref_logprobs: expected a tensor for beta=0.1"),
        ({"chunk_tokens": 0}, "chunk_tokens: expected an integer from 1 to"),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_refuses(change: dict[str, Any], message: str) -> None:
    given = {name: x.cpu() for name, x in head(torch.float32).items()}
    base = {
        "objective": PolicyObjective(),
        "per_token": {"advantages": torch.ones(B, T)},
        "weights": torch.ones(B, T),
    }
    with pytest.raises(ValueError, match=message):
        linear_objective(given["hidden"], given["weight"], given["targets"], **(base | change))


def test_a_sequence_objective_on_loose_tokens_is_refused() -> None:
    given = {name: x.cpu() for name, x in head(torch.float32, 5).items()}
    with pytest.raises(ValueError, match="cu_seqlens: expected bounds, or tokens of shape"):
        linear_objective(given["hidden"], given["weight"], given["targets"], OBJECTIVES["gspo"],
                         {"advantages": torch.ones(5)}, weights=torch.ones(5))  # fmt: skip
