"""Losses of sequences at the price of losses of tokens: chunks that end where sequences end, and on-policy
GSPO, whose derivative depends on inputs alone. Compared with float64; rows of products are counted."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dupo_kernels import PolicyObjective, linear_objective, linear_objective_ref, policy_loss, token_weights
from dupo_kernels.hidden.sequences import HostBounds, cut_at_ends, run_bounds
from dupo_kernels.tokens.token_form import scope_as_tokens
from tests.helpers.linear_head import MASK, B, H, N, T, V, head
from tests.helpers.numerics import DEVICE, INTERPRET, GemmRows, relative_error
from tests.helpers.objective_cases import ACTIVE, OBJECTIVES, Pairwise, both_ways, tokens, weights_of

GSPO = PolicyObjective("grpo", importance_sampling_level="sequence")
WHOLE = {"save_budget": 0, "chunk_tokens": T}  # no logits are kept, and a sequence fits
BY_SEQUENCE = {
    "gspo": GSPO,
    "gspo-everything": replace(GSPO, beta=0.1, kl="k2", entropy_coef=0.05, delta=2.0),
    "vespo": OBJECTIVES["vespo"],
    "opsm": OBJECTIVES["opsm"],
    "pairwise": Pairwise("sequence"),
}
MISMATCH = OBJECTIVES["sequence-mask"]  # by sequence; without old_logprobs it is that of the policy
EXACT = not INTERPRET and DEVICE == "cpu"
DTYPE, BOUND = (torch.float64, 1e-12) if EXACT else (torch.float32, 1e-5)


def inputs_of(objective: Any, per_token: dict[str, Tensor]) -> dict[str, Tensor]:
    names = ["advantages"] if isinstance(objective, Pairwise) else list(per_token)
    names = [name for name in names if objective is not MISMATCH or name != "old_logprobs"]
    return {name: per_token[name].to(DTYPE) for name in names}


def compare(
    objective: Any,
    given: dict[str, Tensor],
    per_token: dict[str, Tensor],
    weights: Tensor,
    truth: dict[str, Any],
    **options: Any,
) -> dict[str, int]:
    """The rows of the products, of a call that is right."""
    wide = {name: x.double() for name, x in per_token.items()}
    exact = {name: x if name == "targets" else x.double() for name, x in given.items()}
    expected = both_ways(linear_objective_ref, objective, exact, wide, weights=weights.double(), **truth)
    with GemmRows(V, H) as seen:
        found = both_ways(linear_objective, objective, given, per_token, weights=weights.to(DTYPE), **options)
    for got, want in zip(found, expected, strict=True):
        assert relative_error(got, want) < BOUND
    return seen.rows


# --- chunks at the ends of sequences ---------------------------------------------------------------


@pytest.mark.parametrize("by", ["mask", "rows", "all", "mask-of-numbers"])
@pytest.mark.parametrize("name", [*BY_SEQUENCE, "mismatch"])
def test_padded_sequences_need_the_logits_of_a_token_once(name: str, by: str) -> None:
    objective = BY_SEQUENCE.get(name, MISMATCH)
    mask = torch.ones_like(MASK) if by == "all" else MASK
    options = {"rows": {"rows": MASK.flatten().nonzero()[:, 0]}, "all": {}}.get(by, {"mask": mask.to(DEVICE)})
    if by == "mask-of-numbers":
        options["mask"] = mask.to(DEVICE) * 0.5
    rows = compare(
        objective, head(DTYPE), inputs_of(objective, tokens()), weights_of(objective),
        {"mask": mask.to(DEVICE)}, **options, **WHOLE,
    )  # fmt: skip
    assert rows == dict.fromkeys(("logits", "dhidden", "dweight"), int(mask.sum()))


@pytest.mark.parametrize("tail", [0, 5])
@pytest.mark.parametrize("name", [n for n in BY_SEQUENCE if n != "pairwise"])
def test_packed_sequences_too_if_the_host_has_their_bounds(name: str, tail: int) -> None:
    """Also where sequences are empty and tokens lie outside all of them, which may hold NaN."""
    objective, start = BY_SEQUENCE[name], tail // 2
    bounds = torch.tensor([0, 7, 7, 7, 11, 16], dtype=torch.int32) + start
    given = head(DTYPE, 16 + tail)
    per_token = inputs_of(objective, tokens(given=given))
    weights = token_weights("grpo", cu_seqlens=bounds.to(DEVICE), num_tokens=16 + tail, dtype=DTYPE)
    inside = slice(start, start + 16)
    found: list[list[Tensor]] = []
    for which in (inside, slice(None)):
        part = {n: x[which] if n in ("hidden", "targets") else x for n, x in given.items()}
        values = {n: x[which].clone() for n, x in per_token.items()}
        outside = torch.ones(len(part["targets"]), dtype=torch.bool)
        outside[slice(0, 16) if which is inside else inside] = False
        values["advantages"][outside] = torch.nan
        cu_seqlens = bounds - start if which is inside else bounds
        options = {"weights": weights[which], "cu_seqlens": cu_seqlens, **WHOLE}
        with GemmRows(V, H) as seen:
            found.append(both_ways(linear_objective, objective, part, values, **options))
        assert seen.rows["logits"] == len(outside)
        assert not found[-1][1][outside].any()
        found[-1][1] = found[-1][1][~outside]
    truth = both_ways(
        linear_objective_ref, objective,
        {n: x[inside] if n in ("hidden", "targets") else x for n, x in given.items()},
        {n: x[inside] for n, x in per_token.items()},
        weights=weights[inside], cu_seqlens=(bounds - start).to(DEVICE),
    )  # fmt: skip
    for result in found:
        for got, want in zip(result, truth, strict=True):
            assert relative_error(got, want) < BOUND


@pytest.mark.parametrize("needs", [[True, True, False], [False, True, True], "split"], ids=str)
@pytest.mark.parametrize("name", ["gspo", "opsm", "pairwise"])
def test_rows_without_a_gradient_stand_last(name: str, needs: Any) -> None:
    objective, per_token = BY_SEQUENCE[name], inputs_of(BY_SEQUENCE[name], tokens())
    weights = weights_of(objective)
    if needs == "split":  # it costs a second product of logits, but is right
        row_needs_grad = torch.ones(B, T, dtype=torch.bool)
        row_needs_grad[0, ::2] = False
    else:
        row_needs_grad = torch.tensor(needs)[:, None].expand(B, T)
        weights = weights * row_needs_grad.to(DEVICE)
    mask = MASK.to(DEVICE)
    with GemmRows(V, H) as seen:
        found = both_ways(
            linear_objective, objective, head(DTYPE), per_token,
            weights=weights.to(DTYPE), mask=mask, row_needs_grad=row_needs_grad, **WHOLE,
        )  # fmt: skip
    assert seen.rows["dhidden"] == int((row_needs_grad & MASK).sum())
    wide = {n: x.double() for n, x in per_token.items()}
    truth = both_ways(linear_objective_ref, objective, head(), wide, weights=weights, mask=mask)
    if needs == "split":
        found, truth = found[:1], truth[:1]
    else:
        assert seen.rows["logits"] == ACTIVE
    for got, want in zip(found, truth, strict=True):
        assert relative_error(got, want) < BOUND


@pytest.mark.parametrize("name", ["gspo", "pairwise"])
def test_what_cannot_be_cut_takes_the_longer_way(name: str) -> None:
    objective, weights = BY_SEQUENCE[name], weights_of(BY_SEQUENCE[name])
    arguments = objective, head(DTYPE), inputs_of(objective, tokens()), weights, {"mask": MASK.to(DEVICE)}
    rows = MASK.flatten().nonzero()[:, 0]
    mixed = torch.cat([rows[::2], rows[1::2]])
    for cuts in ({"rows": rows, **WHOLE, "chunk_tokens": T - 1}, {"rows": mixed, **WHOLE}):
        assert compare(*arguments, **cuts)["logits"] == 2 * ACTIVE
    # Any order of whole sequences will do, and any order within them.
    for order in (rows.flip(0), torch.cat([rows[7:], rows[:7].flip(0)])):
        assert compare(*arguments, rows=order, **WHOLE)["logits"] == ACTIVE


def test_a_function_sees_whole_sequences() -> None:
    seen = []

    def objective(logprobs: Tensor, entropy: Tensor, *, advantages: Tensor) -> Any:
        assert logprobs.shape == entropy.shape == advantages.shape
        seen.append(advantages.clone())
        return -logprobs * advantages, {}

    objective.scope = "sequence"  # type: ignore[attr-defined]
    marks = torch.arange(float(N), device=DEVICE).view(B, T) + 1
    options = {"weights": torch.ones(B, T, device=DEVICE), "mask": MASK.to(DEVICE), **WHOLE}
    both_ways(linear_objective, objective, head(torch.float32), {"advantages": marks}, **options)
    expected = marks.where(MASK.to(DEVICE), 0)
    assert torch.equal(torch.cat(seen), expected[[0, 2]])
    assert [len(x) for x in seen] == [1, 1]
    # Where one chunk holds all, nothing is left out.
    both_ways(
        linear_objective,
        objective,
        head(torch.float32),
        {"advantages": marks},
        **options | {"chunk_tokens": N},
    )
    assert torch.equal(seen[2], expected)


@settings(deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=30), st.integers(1, 40), st.integers(1, 40))
def test_chunks_are_made_of_whole_runs(lengths: list[int], size: int, largest: int) -> None:
    bounds = [0, *torch.tensor(lengths).cumsum(0).tolist()]
    ends = cut_at_ends(bounds, size, max(size, largest))
    if max(lengths) > max(size, largest):
        assert ends == []
        return
    assert set(ends) <= set(bounds)
    assert ends[-1] == bounds[-1]
    limit = max(size, *lengths)
    starts = [0, *ends[:-1]]
    for start, end, following in zip(starts, ends, [*ends[1:], None], strict=True):
        assert 0 < end - start <= limit
        # Greedy: no chunk could have taken the first run of the next one.
        if following is not None:
            assert bounds[bounds.index(end) + 1] - start > limit


def test_tokens_outside_all_sequences_are_cut_anywhere() -> None:
    bounds = HostBounds(30, 0, torch.tensor([10, 14, 20]))
    assert run_bounds(bounds, None, 8) == [0, 8, 10, 14, 20, 28, 30]
    assert run_bounds(bounds, torch.tensor([15, 16, 11, 12]), 8) == [0, 2, 4]
    assert run_bounds(bounds, torch.tensor([15, 11, 16]), 8) is None


@pytest.mark.skipif(INTERPRET, reason="minutes, and the same with and without kernels")
def test_sixty_four_thousand_tokens_of_gspo_have_logits_once() -> None:
    tokens, V, H = 65_536, 3, 2
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 2000, (200,), generator=generator)
    bounds = torch.cat([torch.zeros(1), lengths.cumsum(0)]).long().clamp(max=tokens)
    hidden = torch.randn(tokens, H, generator=generator).to(DEVICE).requires_grad_()
    weight = torch.randn(V, H, generator=generator).to(DEVICE).requires_grad_()
    ones = torch.ones(tokens, device=DEVICE)
    inputs = {"advantages": ones, "old_logprobs": -ones}
    targets = torch.zeros(tokens, dtype=torch.int64, device=DEVICE)
    with GemmRows(V, H) as seen:
        loss, stats = linear_objective(
            hidden, weight, targets, GSPO, inputs, weights=ones / tokens, cu_seqlens=bounds, save_budget=0
        )
        loss.backward()
    assert seen.rows == dict.fromkeys(("logits", "dhidden", "dweight"), tokens)
    assert stats["tokens"].item() == tokens


# --- GSPO without old log-probabilities ------------------------------------------------------------

ON_POLICY = {
    "gspo": GSPO,
    "delta": replace(GSPO, delta=1.0),
    "dual": replace(GSPO, clip_ratio_c=3.0),
    "kl": replace(GSPO, beta=0.1, use_bias_correction_kl=False),
    "bonus": replace(GSPO, entropy_coef=0.1),
    "cispo": PolicyObjective("cispo", epsilon_high=0.5, importance_sampling_level="sequence"),
    "luspo": replace(GSPO, loss_type="luspo"),
}
NOT_BY_TOKEN = {
    "corrected-kl": replace(GSPO, beta=0.1),
    "sapo": PolicyObjective("sapo", importance_sampling_level="sequence"),
    "small-delta": replace(GSPO, delta=0.5),
}


def weighed(kind: str) -> Tensor:
    weights = weights_of(GSPO)
    if kind == "equal":
        return weights
    weights = weights * torch.linspace(0.5, 2, N, dtype=torch.float64, device=DEVICE).view(B, T)
    weights[0, 2] = 0.0 if kind == "zero" else -weights[0, 2]
    return weights


@pytest.mark.parametrize("kind", ["equal", "zero", "negative"])
@pytest.mark.parametrize("name", [*ON_POLICY, *NOT_BY_TOKEN])
def test_on_policy_gspo_is_a_loss_of_tokens(name: str, kind: str) -> None:
    """Even where no sequence fits a chunk; advantages and weights differ within a sequence."""
    objective = (ON_POLICY | NOT_BY_TOKEN)[name]
    per_token = inputs_of(objective, tokens())
    per_token = {n: per_token[n] for n in ("advantages", "ref_logprobs")}
    rows = compare(
        objective, head(DTYPE), per_token, weighed(kind), {"mask": MASK.to(DEVICE)},
        mask=MASK.to(DEVICE), save_budget=0, chunk_tokens=4,
    )  # fmt: skip
    assert rows["logits"] == (ACTIVE if name in ON_POLICY else 2 * ACTIVE)


@pytest.mark.parametrize("name", ON_POLICY)
def test_its_statistics_are_those_of_policy_loss(name: str) -> None:
    objective, given = ON_POLICY[name], head(DTYPE)
    per_token = {
        n: x for n, x in inputs_of(objective, tokens()).items() if n in ("advantages", "ref_logprobs")
    }
    logits = given["hidden"] @ given["weight"].t() + given["bias"]
    log_p = logits.log_softmax(-1)
    logp = log_p.gather(-1, given["targets"][..., None])[..., 0]
    chosen = {field: getattr(objective, field) for field in PolicyObjective.__dataclass_fields__}
    mask = MASK.to(DEVICE)
    loss, expected = policy_loss(
        logp, mask=mask, entropy=-(log_p.exp() * log_p).sum(-1), **per_token, **chosen
    )
    found, stats = linear_objective(
        given["hidden"], given["weight"], given["targets"], objective, per_token,
        weights=weights_of(objective, DTYPE), mask=mask, bias=given["bias"], save_budget=0, chunk_tokens=4,
    )  # fmt: skip
    assert found.item() == pytest.approx(loss.item(), rel=1e-5)
    assert stats.keys() - {"top1_agreement"} == expected.keys()
    for key, value in expected.items():
        assert stats[key].item() == pytest.approx(value.item(), rel=1e-5, abs=1e-6), key


def test_scope_as_tokens() -> None:
    on_policy = {"advantages": True}
    for objective in ON_POLICY.values():
        assert scope_as_tokens(objective, on_policy) == "token"
        assert scope_as_tokens(objective, on_policy | {"old_logprobs": True}) == "sequence"
        sampled = on_policy | {"sampling_logprobs": True}
        assert scope_as_tokens(objective, sampled) == "sequence"
        uncorrected = replace(objective, vllm_importance_sampling_correction=False)
        assert scope_as_tokens(uncorrected, sampled) == "token"
        assert scope_as_tokens(replace(uncorrected, off_policy_mask_threshold=0.1), sampled) == "sequence"
        assert scope_as_tokens(replace(objective, top_entropy_quantile=0.5), on_policy) == "batch"
    for objective in NOT_BY_TOKEN.values():
        assert scope_as_tokens(objective, on_policy) == "sequence"


def test_a_broken_advantage_spoils_the_loss() -> None:
    advantages = tokens(DTYPE)["advantages"]
    advantages[0, 1] = torch.nan
    found = both_ways(
        linear_objective, GSPO, head(DTYPE), {"advantages": advantages},
        weights=weights_of(GSPO, DTYPE), mask=MASK.to(DEVICE),
    )  # fmt: skip
    assert found[0].isnan()
    assert found[1][0].isnan().all()
    assert found[1][2][:4].isfinite().all()
