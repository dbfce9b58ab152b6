"""What linear_objective computes and what it leaves out: products by the row, and waits for the device."""

from typing import Any

import pytest
import torch

from dupo_kernels import PolicyObjective, linear_objective
from tests.helpers.linear_head import MASK, B, H, N, T, V, head
from tests.helpers.numerics import DEVICE, GemmRows, relative_error, syncs
from tests.helpers.objective_cases import ACTIVE, CHUNKS, OBJECTIVES, both_ways, tokens, weights_of


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
