"""linear_objective against its definition in float64: every kind of objective, whatever the chunks, the mask,
the layout. In process on the torch path (on a GPU: the kernels), and interpreted."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from dupo_kernels import (
    PolicyObjective,
    linear_objective,
    linear_objective_ref,
    linear_token_logprobs,
    policy_loss,
)
from tests.helpers.linear_head import MASK, B, N, T, head
from tests.helpers.numerics import DEVICE, INTERPRET, relative_error
from tests.helpers.objective_cases import (
    ACTIVE,
    CHUNKS,
    CU_SEQLENS,
    OBJECTIVES,
    Pairwise,
    both_ways,
    tokens,
    weights_of,
)


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


def test_a_weight_of_zero_leaves_an_infinite_loss_of_a_token_out() -> None:
    given = head(torch.float64)
    impossible = int(given["targets"].flatten()[0])
    given["bias"][impossible] = -torch.inf
    infinite = given["targets"] == impossible
    weights = (~infinite).double()

    def square(logp: Tensor, entropy: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        return logp**2, {}

    found = both_ways(linear_objective, square, given, {}, weights=weights)
    expected = both_ways(linear_objective, square, given, {}, weights=weights, mask=weights)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-15)


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
