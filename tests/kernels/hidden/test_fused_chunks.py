"""The one launch inside linear_objective: every objective of single tokens, whatever the chunks, the rows and
the head, compared with its definition in float64. Interpreted it is the kernel, else the torch path."""

from typing import Any

import pytest
import torch
from torch import Tensor

from dupo_kernels import (
    PolicyObjective,
    linear_objective,
    linear_objective_ref,
    policy_loss,
    token_logprobs_ref,
)
from dupo_kernels.hidden import chunk_loop
from tests.helpers.linear_head import MASK, B, N, T, head
from tests.helpers.numerics import DEVICE, INTERPRET, relative_error
from tests.helpers.objective_cases import ACTIVE, both_ways, tokens, weights_of

EXACT = not INTERPRET and DEVICE == "cpu"
DTYPE, BOUND = (torch.float64, 1e-12) if EXACT else (torch.float32, 1e-5)
TEMPERATURES = torch.linspace(0.7, 1.3, T)
HEADS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.8, "softcap": 9.0},
    {"temperature": TEMPERATURES, "logit_scale": 0.5},
    {"temperature": TEMPERATURES, "softcap": 20.0, "logit_scale": 2.0},
]
FUSED = not EXACT
CUTS: list[dict[str, Any]] = [{}, {"save_budget": 0, "chunk_tokens": 4}]
OBJECTIVES = {
    "dapo": PolicyObjective(vllm_importance_sampling_correction=False),
    "grpo": PolicyObjective(
        "grpo", epsilon_high=0.28, clip_ratio_c=3.0, beta=0.1, kl="k2", entropy_coef=0.05,
        vllm_importance_sampling_mode="token_truncate", vllm_importance_sampling_clip_min=0.7,
    ),
    "bnpo": PolicyObjective("bnpo", delta=1.5, beta=0.1, kl="k3+"),
    "luspo": PolicyObjective("luspo", beta=0.1, kl="abs", use_bias_correction_kl=False),
    "cispo": PolicyObjective("cispo", epsilon_high=1.2, beta=0.1, kl="k1", entropy_coef=-0.1),
    "sapo": PolicyObjective("sapo", beta=0.1),
}  # fmt: skip


class Launches:
    """Counts the calls of the fused kernel; and whether each wrote a gradient."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gradients: list[bool] = []
        launch = chunk_loop.fused_loss

        def counted(rows: Any, objective: Any, report: Tensor, dlogits: Tensor | None) -> None:
            self.gradients.append(dlogits is not None)
            launch(rows, objective, report, dlogits)

        monkeypatch.setattr(chunk_loop, "fused_loss", counted)


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> Launches:
    return Launches(monkeypatch)


def narrow(inputs: dict[str, Tensor], dtype: torch.dtype = DTYPE) -> dict[str, Tensor]:
    return {n: x.to(dtype) if x.is_floating_point() else x for n, x in inputs.items()}


def compare(
    objective: Any,
    per_token: dict[str, Tensor],
    weights: Tensor,
    which: dict[str, Any],
    cuts: dict[str, Any],
    **scaling: Any,
) -> None:
    scaling = {n: x.to(DEVICE) if isinstance(x, Tensor) else x for n, x in scaling.items()}
    rows = which.get("rows")
    truth = both_ways(
        linear_objective_ref, objective, head(), per_token, weights=weights, **scaling,
        mask=MASK.to(DEVICE) if rows is None else None, rows=None if rows is None else rows.to(DEVICE),
    )  # fmt: skip
    found = both_ways(
        linear_objective, objective, narrow(head()), narrow(per_token), weights=weights.to(DTYPE),
        **which, **cuts, **scaling,
    )  # fmt: skip
    for got, true in zip(found, truth, strict=True):
        assert relative_error(got, true) < BOUND
    assert not found[1][~MASK].any()


@pytest.mark.parametrize("cuts", CUTS, ids=["whole", "chunks"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_of_tokens(name: str, cuts: dict[str, Any], launches: Launches) -> None:
    """With rows in some order, a head of some kind: each objective meets another one."""
    place = list(OBJECTIVES).index(name) + CUTS.index(cuts)
    which = [{"mask": MASK.to(DEVICE)}, {"rows": MASK.flatten().nonzero()[:, 0].flip(0)}][place % 2]
    objective = OBJECTIVES[name]
    compare(objective, tokens(), weights_of(objective), which, cuts, **HEADS[place % len(HEADS)])
    assert launches.gradients == ([True] * (3 if cuts else 1) if FUSED else [])


@pytest.mark.parametrize("name", ["gspo", "sequence-mask"])
def test_losses_of_sequences_that_inputs_decide(name: str, launches: Launches) -> None:
    level = "sequence" if name == "gspo" else "token"
    objective = PolicyObjective("grpo", importance_sampling_level=level, entropy_coef=0.1, beta=0.1,
                                use_bias_correction_kl=False)  # fmt: skip
    per_token = tokens()
    if name == "gspo":
        per_token = {n: per_token[n] for n in ("advantages", "ref_logprobs")}
    compare(objective, per_token, weights_of(objective), {"mask": MASK.to(DEVICE)}, CUTS[1])
    assert launches.gradients == ([True] * 3 if FUSED else [])


def test_rows_without_a_gradient_are_read_once(launches: Launches) -> None:
    """In the chunk on the border of the two kinds there are two launches."""
    per_token = tokens()
    per_token["advantages"][0, :5] = 0.0
    objective = OBJECTIVES["dapo"]
    which = {"mask": MASK.to(DEVICE), "row_needs_grad": (per_token["advantages"] != 0).cpu()}
    compare(objective, per_token, weights_of(objective), which, CUTS[1])
    assert launches.gradients == ([True, True, False, False] if FUSED else [])


def test_without_gradients_no_row_is_written(launches: Launches) -> None:
    given, per_token = narrow(head()), narrow(tokens())
    call = given["hidden"], given["weight"], given["targets"], OBJECTIVES["grpo"], per_token
    options: dict[str, Any] = {
        "weights": weights_of(OBJECTIVES["grpo"], DTYPE),
        "mask": MASK.to(DEVICE),
        "bias": given["bias"],
    }
    loss, _ = linear_objective(*call, **options)
    expected = linear_objective_ref(*call, **options)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert launches.gradients == ([False] if FUSED else [])


@pytest.mark.parametrize("cuts", CUTS, ids=["whole", "chunks"])
@pytest.mark.parametrize("name", ["grpo", "cispo"])
def test_the_statistics_are_those_of_policy_loss(name: str, cuts: dict[str, Any]) -> None:
    """Packed, with tokens outside the bounds that hold NaN."""
    objective, tail = OBJECTIVES[name], 3
    given = head(torch.float64, ACTIVE + tail)
    per_token = tokens(given=given)
    logits = given["hidden"] @ given["weight"].t() + given["bias"]
    logp, entropy = token_logprobs_ref(logits, given["targets"], entropy=True)
    hits = logits.argmax(-1) == given["targets"]
    bounds = torch.tensor([1, 4, 4, ACTIVE], device=DEVICE)
    inside = slice(1, ACTIVE)
    chosen = {field: getattr(objective, field) for field in PolicyObjective.__dataclass_fields__}
    loss, expected = policy_loss(
        logp[inside], entropy=entropy[inside], cu_seqlens=bounds - 1,  # type: ignore[index]
        **{n: x[inside] for n, x in per_token.items()}, **chosen,
    )  # fmt: skip
    expected["top1_agreement"] = hits[inside].double().mean()
    weights = torch.full((ACTIVE + tail,), torch.nan, dtype=torch.float64, device=DEVICE)
    weights[inside] = 1 / (ACTIVE - 1)
    if name == "grpo":
        weights[1:4], weights[4:ACTIVE] = 1 / (3 * 3), 1 / (3 * (ACTIVE - 4))
    per_token = {n: x.clone() for n, x in per_token.items()}
    for x in per_token.values():
        x[0], x[ACTIVE:] = torch.nan, torch.nan
    given, per_token = narrow(given), narrow(per_token)
    found, stats = linear_objective(
        given["hidden"], given["weight"], given["targets"], objective, per_token,
        weights=weights.to(DTYPE), cu_seqlens=bounds, bias=given["bias"], **cuts,
    )  # fmt: skip
    assert found.item() == pytest.approx(loss.item(), rel=1e-5)
    assert stats.keys() == expected.keys()
    for key, value in expected.items():
        assert stats[key].item() == pytest.approx(value.item(), rel=1e-4, abs=1e-6), key


@pytest.mark.parametrize("cuts", CUTS, ids=["whole", "chunks"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_halves_are_rounded_once(dtype: torch.dtype, cuts: dict[str, Any]) -> None:
    """dlogits of half a row take the upper half of it; those of float16 carry the loss scale."""
    objective, mask = OBJECTIVES["grpo"], MASK.to(DEVICE)
    given, per_token, weights = (
        head(dtype),
        narrow(tokens(), torch.float32),
        weights_of(OBJECTIVES["grpo"]) * 1e-6,
    )
    wide = {n: x.double() if x.is_floating_point() else x for n, x in given.items()}
    truth = both_ways(linear_objective_ref, objective, wide, tokens(), weights=weights, mask=mask)
    parts = {n: x.requires_grad_(n != "targets") for n, x in given.items()}
    scale = 2.0**16 if dtype == torch.float16 else None
    loss, _ = linear_objective(
        parts["hidden"], parts["weight"], parts["targets"], objective, per_token,
        weights=weights.float(), mask=mask, bias=parts["bias"], grad_scale=scale, **cuts,
    )  # fmt: skip
    (2 * loss * (scale or 1.0)).backward()
    # The interpreter truncates where a device rounds.
    bound = {torch.float16: 2e-3, torch.bfloat16: 8e-3}[dtype] * (2 if INTERPRET else 1)
    for name, true in zip(("hidden", "weight", "bias"), truth[1:], strict=True):
        assert relative_error(parts[name].grad.double() / (scale or 1.0), true) < bound  # type: ignore[union-attr]


def test_no_rows_are_a_loss_of_zero() -> None:
    given, per_token = narrow(head()), narrow(tokens())
    none = torch.zeros_like(MASK).to(DEVICE)
    found = both_ways(
        linear_objective, OBJECTIVES["dapo"], given, per_token, weights=torch.ones(B, T).to(DTYPE), mask=none
    )
    for x in found:
        assert not x.any()


def test_what_is_no_loss_of_tokens_takes_the_two_kernels(launches: Launches) -> None:
    def surprise(logprobs: Tensor, entropy: Tensor, *, advantages: Tensor) -> Any:
        del entropy
        return -logprobs * advantages, {}

    gspo = PolicyObjective("grpo", importance_sampling_level="sequence")
    given, per_token = narrow(head()), narrow(tokens())
    weights = torch.ones(N, dtype=DTYPE).view(B, T).to(DEVICE)
    call = given["hidden"], given["weight"], given["targets"]
    linear_objective(*call, surprise, {"advantages": per_token["advantages"]}, weights=weights)
    linear_objective(*call, gspo, per_token, weights=weights)
    assert launches.gradients == []


def test_the_definition_has_the_bonus_that_its_objective_asks_for() -> None:
    """Whether or not the caller wants the entropy reported."""
    given, per_token = head(), tokens()
    options: dict[str, Any] = {
        "weights": weights_of(OBJECTIVES["grpo"]),
        "mask": MASK.to(DEVICE),
        "bias": given["bias"],
    }
    call = given["hidden"], given["weight"], given["targets"], OBJECTIVES["grpo"], per_token
    assert torch.equal(
        linear_objective_ref(*call, **options, entropy=False), linear_objective_ref(*call, **options)
    )
    quantile = PolicyObjective(top_entropy_quantile=0.5)
    call = (*call[:3], quantile, per_token)
    assert torch.equal(
        linear_objective_ref(*call, **options, entropy=False), linear_objective_ref(*call, **options)
    )
