"""linear_objective against its definition in float64: every kind of objective, whatever the chunks, the mask,
the types; and what it does not do. In process on the torch path (on a GPU: the kernels), and interpreted."""

import sys
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dupo_kernels import (
    PolicyObjective,
    linear_objective,
    linear_objective_ref,
    linear_token_logprobs,
    policy_loss,
    policy_objective,
    token_weights,
)
from tests.helpers.numerics import DEVICE, INTERPRET, GemmRows, relative_error, syncs
from tests.kernels.hidden.test_linear_logprobs import MASK, ROW, B, H, N, T, V, head

CU_SEQLENS = torch.tensor([0, 7, 7, 11], dtype=torch.int32)  # the tokens of MASK, packed
ACTIVE = int(MASK.sum())
OBJECTIVES = {
    "dapo": PolicyObjective(),
    "everything": PolicyObjective(
        "grpo", epsilon_high=0.28, clip_ratio_c=3.0, beta=0.1, kl="k2", entropy_coef=0.05,
        vllm_importance_sampling_mode="token_truncate",
    ),
    "cispo": PolicyObjective("cispo", epsilon_high=2.0),
    "sapo": PolicyObjective("sapo", beta=0.1, use_bias_correction_kl=False),
    "gspo": PolicyObjective("grpo", importance_sampling_level="sequence"),
    "vespo": PolicyObjective("vespo", vllm_importance_sampling_mode="token_mask"),
    "opsm": PolicyObjective("luspo", off_policy_mask_threshold=0.1),
    "top-entropy": PolicyObjective("dapo", top_entropy_quantile=0.5, entropy_coef=0.1),
    "sequence-mask": PolicyObjective("bnpo", delta=2.0),
}  # fmt: skip
CHUNKS: list[dict[str, Any]] = [
    {},
    {"save_budget": 0, "chunk_tokens": 4},
    {"save_budget": 5 * ROW, "chunk_tokens": 4},
]


def tokens(dtype: torch.dtype = torch.float64, given: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Per-token inputs around the log-probs of `head()`: ratios on both sides of the clips."""
    generator = torch.Generator().manual_seed(5)
    logp = linear_token_logprobs(**(head() if given is None else given))[0].detach().cpu().double()

    def noise(scale: float) -> Tensor:
        return scale * torch.randn(logp.shape, generator=generator, dtype=torch.float64)

    made = {
        "advantages": noise(1.0),
        "old_logprobs": logp + noise(0.4),
        "ref_logprobs": logp + noise(0.5),
        "sampling_logprobs": logp + noise(0.3),
    }
    return {name: x.to(DEVICE, dtype) for name, x in made.items()}


def both_ways(
    function: Any, objective: Any, given: dict[str, Tensor], per_token: dict[str, Tensor], **options: Any
) -> list[Tensor]:
    """[loss, gradients of hidden, weight, bias], of twice the loss."""
    given = {n: x.detach().clone().requires_grad_(n != "targets") for n, x in given.items()}
    inputs = [given.pop(name) for name in ("hidden", "weight", "targets")]
    result = function(*inputs, objective, per_token, **given, **options)
    loss = result[0] if isinstance(result, tuple) else result
    leaves = [x for x in [*inputs, *given.values()] if x.requires_grad]
    return [loss.detach(), *torch.autograd.grad(2 * loss, leaves)]


def weights_of(objective: Any, dtype: torch.dtype = torch.float64) -> Tensor:
    return token_weights(getattr(objective, "loss_type", "grpo"), MASK.to(DEVICE), dtype=dtype)


def check(objective: Any, **options: Any) -> None:
    exact = not INTERPRET and DEVICE == "cpu"
    dtype, bound = (torch.float64, 1e-12) if exact else (torch.float32, 1e-5)
    mask, per_token = MASK.to(DEVICE), tokens()
    if not isinstance(objective, PolicyObjective):
        per_token = {"advantages": per_token["advantages"]}
    truth = both_ways(
        linear_objective_ref, objective, head(), per_token, weights=weights_of(objective), mask=mask
    )
    narrow = {n: x.to(torch.promote_types(dtype, torch.float32)) for n, x in per_token.items()}
    options |= {"mask": mask, "weights": weights_of(objective, torch.promote_types(dtype, torch.float32))}
    found = both_ways(linear_objective, objective, head(dtype), narrow, **options)
    for got, true in zip(found, truth, strict=True):
        assert relative_error(got, true) < bound
    assert not found[1][~MASK].any()


def test_the_definition_takes_every_layout() -> None:
    objective = OBJECTIVES["everything"]
    given, per_token, weights = head(), tokens(), weights_of(objective)

    def loss(
        given: dict[str, Tensor], per_token: dict[str, Tensor], weights: Tensor, **layout: Any
    ) -> Tensor:
        inputs = (given["hidden"], given["weight"], given["targets"], objective, per_token)
        return linear_objective_ref(*inputs, weights=weights, bias=given["bias"], **layout)

    mask = MASK.to(DEVICE)
    padded = loss(given, per_token, weights, mask=mask)
    rows = mask.flatten().nonzero()[:, 0]
    torch.testing.assert_close(loss(given, per_token, weights, rows=rows), padded)
    packed = given | {n: given[n][mask] for n in ("hidden", "targets")}
    per_token = {n: x[mask] for n, x in per_token.items()}
    cu_seqlens = CU_SEQLENS.to(DEVICE)
    torch.testing.assert_close(loss(packed, per_token, weights[mask], cu_seqlens=cu_seqlens), padded)


@pytest.mark.parametrize("chunks", CHUNKS, ids=["whole", "chunks", "some-kept"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_matches_the_definition(name: str, chunks: dict[str, Any]) -> None:
    check(OBJECTIVES[name], **chunks)


class Pairwise:
    """An objective that is code: of each token, or of its difference to the mean of its sequence."""

    def __init__(self, scope: str) -> None:
        self.scope = scope

    def __call__(self, logprobs: Tensor, entropy: Tensor, *, advantages: Tensor) -> Any:
        centred = logprobs - logprobs.mean(-1, keepdim=True) if self.scope == "sequence" else logprobs
        return -(centred * advantages) - 0.1 * entropy, {"mine": entropy, "mine/max": entropy}


@pytest.mark.parametrize("chunks", CHUNKS, ids=["whole", "chunks", "some-kept"])
@pytest.mark.parametrize("scope", ["token", "sequence"])
def test_any_callable_is_an_objective(scope: str, chunks: dict[str, Any]) -> None:
    check(Pairwise(scope), **chunks)
    given, advantages = head(torch.float32), tokens(torch.float32)["advantages"]
    options = {"weights": weights_of(None).float(), "mask": MASK.to(DEVICE), **chunks}
    inputs = given["hidden"], given["weight"], given["targets"]
    options["bias"] = given["bias"]
    _, stats = linear_objective(*inputs, Pairwise(scope), {"advantages": advantages}, **options)
    entropy = linear_token_logprobs(**given, entropy=True)[1]
    assert entropy is not None
    assert stats["mine"].item() == pytest.approx(entropy[MASK].mean().item(), rel=1e-5)
    assert stats["mine/max"].item() == pytest.approx(entropy[MASK].max().item(), rel=1e-5)
    assert stats["tokens"].item() == ACTIVE


def test_an_objective_must_return_a_loss_for_each_token() -> None:
    given = head(torch.float32)
    with pytest.raises(ValueError, match=r"a loss for each token \(21,\), got \(\)"):
        linear_objective(given["hidden"].requires_grad_(), given["weight"], given["targets"],
                         lambda logp, entropy: (logp.mean(), {}), {}, weights=torch.ones(B, T))  # fmt: skip


@pytest.mark.parametrize("name", OBJECTIVES)
def test_packed_equals_padded_and_policy_loss_on_logprobs(name: str) -> None:
    objective, mask = OBJECTIVES[name], MASK.to(DEVICE)
    given, per_token = head(torch.float32), tokens(torch.float32)
    options: dict[str, Any] = {"weights": weights_of(objective).float()}
    padded = both_ways(linear_objective, objective, given, per_token, mask=mask, **options)
    flat = {n: x[MASK] if n in ("hidden", "targets") else x for n, x in given.items()}
    packed_tokens = {n: x[MASK] for n, x in per_token.items()}
    packed = both_ways(
        linear_objective, objective, flat, packed_tokens,
        weights=options["weights"][MASK], cu_seqlens=CU_SEQLENS.to(DEVICE),
    )  # fmt: skip
    padded[1] = padded[1][MASK]
    for one, other in zip(packed, padded, strict=True):
        assert relative_error(one, other) < 1e-5
    inputs = flat["hidden"], flat["weight"], flat["targets"]
    options = {"weights": options["weights"][MASK], "cu_seqlens": CU_SEQLENS.to(DEVICE), "bias": flat["bias"]}
    _, stats = linear_objective(*inputs, objective, packed_tokens, **options)
    logp, entropy = linear_token_logprobs(**flat, entropy=True)
    chosen = {f: getattr(objective, f) for f in PolicyObjective.__dataclass_fields__}
    loss, expected = policy_loss(
        logp, entropy=entropy, cu_seqlens=CU_SEQLENS.to(DEVICE), **packed_tokens, **chosen
    )
    assert loss.item() == pytest.approx(packed[0].item(), rel=1e-5)
    assert 0 <= stats.pop("top1_agreement").item() <= 1
    assert stats.keys() == expected.keys()
    for key, value in stats.items():
        assert value.item() == pytest.approx(expected[key].item(), rel=1e-4, abs=1e-6), key


def test_top1_agreement_counts_the_likeliest_targets() -> None:
    given = head(torch.float32)
    logits = given["hidden"] @ given["weight"].t() + given["bias"]
    given["targets"] = logits.argmax(-1)
    given["targets"][0, :3] = logits[0, :3].argmin(-1)
    options = {"weights": torch.ones_like(MASK, dtype=torch.float32).to(DEVICE), "bias": given["bias"]}
    for name, chunks in product(("dapo", "gspo"), CHUNKS):
        arguments = (
            given["hidden"],
            given["weight"],
            given["targets"],
            OBJECTIVES[name],
            tokens(torch.float32),
        )
        _, stats = linear_objective(*arguments, mask=MASK.to(DEVICE), **options, **chunks)
        assert stats["top1_agreement"].item() == pytest.approx((ACTIVE - 3) / ACTIVE)


def test_advantages_for_each_sequence_and_an_on_policy_step() -> None:
    given, A = head(torch.float32), torch.tensor([1.0, -2.0, 0.5], device=DEVICE)
    options = {"weights": weights_of(PolicyObjective()).float(), "mask": MASK.to(DEVICE)}
    found = both_ways(linear_objective, PolicyObjective(), given, {"advantages": A}, **options)
    each = A[:, None].expand(B, T)
    assert torch.equal(
        found[1], both_ways(linear_objective, PolicyObjective(), given, {"advantages": each}, **options)[1]
    )
    logp = linear_token_logprobs(**given)[0]
    off = both_ways(
        linear_objective, PolicyObjective(), given, {"advantages": each, "old_logprobs": logp}, **options
    )
    for one, other in zip(found, off, strict=True):
        assert relative_error(one, other) < 1e-6


def test_row_order_and_appended_masked_rows_change_nothing() -> None:
    objective, given, per_token = OBJECTIVES["everything"], head(), tokens()
    flat = {n: x.flatten(0, 1) if n in ("hidden", "targets") else x for n, x in given.items()}
    per_token = {n: x.flatten() for n, x in per_token.items()}
    weights = torch.linspace(0.1, 1, N, dtype=torch.float64)
    expected = both_ways(linear_objective, objective, flat, per_token, weights=weights)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    moved = {n: x[order] if n in ("hidden", "targets") else x for n, x in flat.items()}
    found = both_ways(
        linear_objective,
        objective,
        moved,
        {n: x[order] for n, x in per_token.items()},
        weights=weights[order],
    )
    found[1] = found[1][order.argsort()]
    longer = {n: torch.cat([x, x[:5]]) if n in ("hidden", "targets") else x for n, x in flat.items()}
    more = {n: torch.cat([x, torch.full((5,), torch.nan)]) for n, x in per_token.items()}
    rows = torch.arange(N)
    padded = both_ways(
        linear_objective, objective, longer, more, weights=torch.cat([weights, torch.ones(5)]), rows=rows
    )
    assert not padded[1][N:].any()
    padded[1] = padded[1][:N]
    for other in (found, padded):
        for one, want in zip(other, expected, strict=True):
            assert relative_error(one, want) < 1e-6


# --- what runs, and what does not -------------------------------------------------------------------


def test_every_row_costs_three_products_and_a_masked_one_none() -> None:
    given, per_token = head(torch.float32), tokens(torch.float32)
    options = {"weights": weights_of(PolicyObjective()).float(), "mask": MASK.to(DEVICE)}
    for name, again in (("dapo", 0), ("everything", 0), ("gspo", ACTIVE)):
        for chunks in ({}, {"save_budget": 0, "chunk_tokens": 4}):
            with GemmRows(V, H) as seen:
                both_ways(linear_objective, OBJECTIVES[name], given, per_token, **options, **chunks)
            logits = ACTIVE + (again if chunks else 0)  # by sequence, what is not kept is recomputed
            assert seen.rows == {"logits": logits, "dhidden": ACTIVE, "dweight": ACTIVE}


def test_mismatch_weights_by_sequence_are_known_before_the_chunks() -> None:
    """With old_logprobs they depend on inputs alone, so no logits are kept or recomputed for them."""
    objective, given, per_token = OBJECTIVES["sequence-mask"], head(torch.float32), tokens(torch.float32)
    options = {"weights": weights_of(objective).float(), "save_budget": 0, "chunk_tokens": 4}
    with GemmRows(V, H) as seen:
        both_ways(linear_objective, objective, given, per_token, **options)
    assert seen.rows["logits"] == N
    del per_token["old_logprobs"]
    with GemmRows(V, H) as seen:
        both_ways(linear_objective, objective, given, per_token, **options)
    assert seen.rows["logits"] == 2 * N


@pytest.mark.parametrize("chunks", CHUNKS, ids=["whole", "chunks", "some-kept"])
@pytest.mark.parametrize("name", ["dapo", "gspo"])
def test_rows_without_a_gradient_get_the_first_product_alone(name: str, chunks: dict[str, Any]) -> None:
    given, per_token = head(torch.float32), tokens(torch.float32)
    per_token["advantages"][0] = 0.0
    needs = (per_token["advantages"] != 0).cpu()
    options = {"weights": weights_of(PolicyObjective()).float(), "mask": MASK.to(DEVICE), **chunks}
    expected = both_ways(linear_objective, OBJECTIVES[name], given, per_token, **options)
    with GemmRows(V, H) as seen:
        found = both_ways(
            linear_objective, OBJECTIVES[name], given, per_token, row_needs_grad=needs, **options
        )
    assert (
        seen.rows["dhidden"] == seen.rows["dweight"] == 4
    )  # the seven tokens of the first sequence have none
    assert seen.rows["logits"] >= ACTIVE
    for one, other in zip(found, expected, strict=True):
        assert relative_error(one, other) < 1e-6


@pytest.mark.parametrize("chunks", CHUNKS, ids=["whole", "chunks", "some-kept"])
@pytest.mark.parametrize("name", ["dapo", "gspo"])
def test_rows_without_a_gradient_are_those_of_the_tokens_not_of_the_list(
    name: str, chunks: dict[str, Any]
) -> None:
    """rows= may name the tokens in any order."""
    given, per_token = head(torch.float32), tokens(torch.float32)
    per_token["advantages"][2] = 0.0
    needs = (per_token["advantages"] != 0).cpu()
    options = {"weights": weights_of(PolicyObjective()).float(), **chunks}
    expected = both_ways(
        linear_objective, OBJECTIVES[name], given, per_token, mask=MASK.to(DEVICE), **options
    )
    rows = MASK.flatten().nonzero()[:, 0].flip(0)
    with GemmRows(V, H) as seen:
        found = both_ways(
            linear_objective, OBJECTIVES[name], given, per_token, rows=rows, row_needs_grad=needs, **options
        )
    assert seen.rows["dhidden"] == seen.rows["dweight"] == int((needs & MASK).sum())
    for one, other in zip(found, expected, strict=True):
        assert relative_error(one, other) < 1e-6


@pytest.mark.parametrize("frozen", ["weight", "hidden", "all", "no_grad"])
def test_frozen_parts_cost_nothing(frozen: str) -> None:
    given, per_token = head(torch.float32), tokens(torch.float32)
    parts = {n: given[n].requires_grad_(n != frozen and frozen != "all") for n in ("hidden", "weight")}
    with GemmRows(V, H) as seen, torch.set_grad_enabled(frozen != "no_grad"):
        loss, _ = linear_objective(
            *parts.values(),
            given["targets"],
            PolicyObjective(),
            per_token,
            weights=torch.ones(B, T, device=DEVICE),
        )
    skipped = {"weight": ["dweight"], "hidden": ["dhidden"]}.get(frozen, ["dhidden", "dweight"])
    assert seen.rows == {k: N for k in ("logits", "dhidden", "dweight") if k not in skipped}
    assert loss.requires_grad == (frozen in ("weight", "hidden"))


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("by", ["rows", "mask", "all"])
def test_waits_for_the_device_once_for_a_mask_and_else_never(by: str, name: str) -> None:
    given, per_token = head(torch.float32), tokens(torch.float32)
    which = {"rows": MASK.flatten().nonzero()[:, 0], "mask": MASK.to(DEVICE)}
    parts = [given[n].requires_grad_(n != "targets") for n in ("hidden", "weight", "targets")]
    options = {"weights": weights_of(OBJECTIVES[name]).float(), "chunk_tokens": 4}
    options |= {by: which[by]} if by in which else {}
    assert syncs(linear_objective, *parts, OBJECTIVES[name], per_token, **options) == (by == "mask")


# --- how it is used ---------------------------------------------------------------------------------


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
    with pytest.raises(ValueError, match="grad_scale must be given for float16"):
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
        with pytest.raises(RuntimeError, match="allows one backward, got a second"):
            loss.backward()


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


@pytest.mark.skipif(INTERPRET, reason="the same with and without kernels")
@pytest.mark.parametrize("chunks", [*CHUNKS, {"chunk_tokens": 12, "save_budget": 0}], ids=str)
@pytest.mark.parametrize("by", ["rows", "mask"])
@pytest.mark.parametrize("name", ["dapo", "gspo"])
def test_operator_is_registered_correctly(
    name: str, by: str, chunks: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiler knows sizes and types of the results beforehand, also where a mask leaves fewer chunks."""
    module, calls = sys.modules["dupo_kernels.hidden.objective"], []
    op = module._op
    monkeypatch.setattr(module, "_op", lambda *arguments: calls.append(arguments) or op(*arguments))
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: by == "mask")
    given, per_token = head(torch.bfloat16), tokens(torch.float32)
    options = {"weights": weights_of(PolicyObjective()).float(), "mask": MASK.to(DEVICE), **chunks}
    both_ways(linear_objective, OBJECTIVES[name], given, per_token, **options)
    monkeypatch.undo()
    torch.library.opcheck(op, calls[0], test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"per_token": {}}, "advantages must be given, got None"),
        ({"per_token": {"advantage": torch.ones(B, T)}}, "per_token may hold advantages, .* got advantage"),
        ({"per_token": {"advantages": torch.ones(T)}}, "advantages must be per token"),
        ({"weights": torch.ones(B)}, "weights must have the shape of targets"),
        ({"row_needs_grad": torch.ones(B)}, "row_needs_grad must have the shape of targets"),
        ({"objective": policy_objective(beta=0.1)}, "ref_logprobs must be given for beta=0.1"),
        ({"chunk_tokens": 0}, "chunk_tokens must be positive"),
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
    with pytest.raises(ValueError, match="cu_seqlens must be given, or tokens of shape"):
        linear_objective(given["hidden"], given["weight"], given["targets"], OBJECTIVES["gspo"],
                         {"advantages": torch.ones(5)}, weights=torch.ones(5))  # fmt: skip
