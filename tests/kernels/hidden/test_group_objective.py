"""linear_objective with groups of sequences: the definition, its cost by the row, and its memory."""

from typing import Any

import pytest
import torch
from torch import Tensor

from dupo_kernels import (
    PreferenceObjective,
    linear_objective,
    linear_objective_ref,
    preference_loss,
    preference_objective,
)
from dupo_kernels.preferences.choices import PREFERENCE_LOSSES
from tests.helpers.linear_head import H, head
from tests.helpers.numerics import DEVICE, GemmRows, relative_error
from tests.helpers.objective_cases import both_ways
from tests.helpers.preference_cases import Sequences, mix

V = 101  # more than a case has rows, so that products can be told apart
CHUNKS: list[dict[str, Any]] = [
    {},
    {"save_budget": 0, "chunk_tokens": 7},  # whole groups, but for the largest
    {"save_budget": 0, "chunk_tokens": 4},  # no group fits: all log-probabilities come first
    {"save_budget": 5 * 16 * 8, "chunk_tokens": 4},
]


class Case:
    """Packed sequences with tokens behind them that belong to none, as `linear_objective` takes them."""

    def __init__(self, number: int, dtype: torch.dtype = torch.float64, V: int = 11) -> None:
        options = mix(number)
        self.objective = preference_objective(**options)
        self.sequences = Sequences(options, number, longest=3)
        # Probabilities of sequences near 1e-3: by their definitions, losses of smaller ones lose digits.
        self.given = head(dtype, int(self.sequences.lengths.sum()) + 2, V=V)
        self.given["weight"] /= 4
        if "ref_logps" in self.sequences.inputs:  # a reference that is not far off, for the same reason
            parts = [self.given[name].cpu().double() for name in ("hidden", "weight", "bias")]
            logits = parts[0] @ parts[1].t() + parts[2]
            logp = logits.log_softmax(-1).gather(1, self.given["targets"].cpu()[:, None])[:-2, 0]
            sums = torch.stack([x.sum() for x in logp.split(self.sequences.lengths.tolist())])
            self.sequences.inputs["ref_logps"] = sums + self.sequences.uniform(len(sums)) - 0.5
        ends = self.sequences.lengths.cumsum(0)
        self.bounds = torch.cat([ends.new_zeros(1), ends])
        self.inputs = {name: x.to(DEVICE) for name, x in self.sequences.inputs.items()}

    def both_ways(self, function: Any, **options: Any) -> list[Tensor]:
        options = {"groups": self.sequences.groups, "cu_seqlens": self.bounds, **options}
        return both_ways(function, self.objective, self.given, self.inputs, **options)


@pytest.mark.parametrize("number", range(200))
def test_equals_the_definition_whatever_the_chunks(number: int) -> None:
    case = Case(number)
    expected = case.both_ways(linear_objective_ref)
    found = case.both_ways(linear_objective, **CHUNKS[number % len(CHUNKS)])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12 * float(other.abs().max() + 1))


def padded(number: int) -> tuple[Case, dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    """A case, the same tokens padded, their groups, and the mask of those that count."""
    case = Case(number)
    lengths = case.sequences.lengths
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    place = (mask.flatten().cumsum(0) - 1).clamp(min=0).view(mask.shape).to(DEVICE)
    given = case.given | {name: case.given[name][place] for name in ("hidden", "targets")}
    return case, given, {"groups": case.sequences.groups}, {"mask": mask.to(DEVICE)}


@pytest.mark.parametrize("number", range(0, 18, 3))
def test_padded_sequences_by_mask_and_by_rows(number: int) -> None:
    case, given, groups, mask = padded(number)
    expected = case.both_ways(linear_objective)
    for which in (mask, {"rows": mask["mask"].flatten().nonzero()[:, 0].flip(0)}):
        found = both_ways(linear_objective, case.objective, given, case.inputs, **groups, **which)
        torch.testing.assert_close(found[0], expected[0], rtol=1e-12, atol=0)
        torch.testing.assert_close(found[1][mask["mask"]], expected[1][:-2], rtol=1e-9, atol=1e-13)
        torch.testing.assert_close(found[2], expected[2], rtol=1e-9, atol=1e-13)
        assert (found[1][~mask["mask"]] == 0).all()


@pytest.mark.parametrize("name", PREFERENCE_LOSSES)
def test_every_row_costs_three_products(name: str) -> None:
    case = Case(list(PREFERENCE_LOSSES).index(name), torch.float32, V)
    rows = int(case.sequences.lengths.sum())
    longest = max(sum(int(case.sequences.lengths[s]) for s in group) for group in case.sequences.members)
    for chunks in ({}, {"save_budget": 0, "chunk_tokens": longest}):
        with GemmRows(V, H) as seen:
            case.both_ways(linear_objective, **chunks)
        assert seen.rows == {"logits": rows, "dhidden": rows, "dweight": rows}


def test_a_group_that_no_chunk_holds_is_computed_twice() -> None:
    case = Case(0, torch.float32, V)
    rows = int(case.sequences.lengths.sum())
    with GemmRows(V, H) as seen:
        case.both_ways(linear_objective, save_budget=0, chunk_tokens=1)
    assert seen.rows == {"logits": 2 * rows, "dhidden": rows, "dweight": rows}


def test_the_reports_are_those_of_the_loss_on_log_probabilities() -> None:
    case = Case(3)
    given, sequences = case.given, case.sequences
    packed = {"groups": sequences.groups, "cu_seqlens": case.bounds}
    parts = [given[name] for name in ("hidden", "weight", "targets")]
    loss, stats = linear_objective(*parts, case.objective, case.inputs, bias=given["bias"], **packed)
    logits = given["hidden"] @ given["weight"].t() + given["bias"]
    logprobs = logits.log_softmax(-1).gather(1, given["targets"][:, None])[:, 0]
    expected, others = preference_loss(logprobs, **packed, **case.inputs, **mix(3))
    torch.testing.assert_close(loss, expected)
    assert stats.keys() == others.keys() | {"top1_agreement"}
    for name, value in others.items():
        torch.testing.assert_close(stats[name], value)
    likeliest = (logits.argmax(-1) == given["targets"])[:-2]
    torch.testing.assert_close(stats["top1_agreement"], likeliest.double().mean())


def test_an_objective_of_a_user_sees_groups() -> None:
    seen = []

    def spread(sums: Tensor, lengths: Tensor, *, weight: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        seen.append((sums.shape, lengths.tolist(), weight.tolist()))
        return (weight * sums / lengths).var(1), {"longest": lengths.double().amax(1)}

    spread.scope = "group"  # type: ignore[attr-defined]
    given = head(torch.float64, 6)
    parts = [given[name].requires_grad_(name != "targets") for name in ("hidden", "weight", "targets")]
    ids, bounds = torch.tensor([4, 1, 4, 1]), torch.tensor([0, 1, 3, 5, 6])
    factors = torch.tensor([1.0, 2.0, 3.0, 4.0], device=DEVICE, dtype=torch.float64)
    loss, stats = linear_objective(*parts, spread, {"weight": factors}, groups=ids, cu_seqlens=bounds)
    assert seen == [(torch.Size([2, 2]), [[2, 1], [1, 2]], [[2.0, 4.0], [1.0, 3.0]])]
    assert stats["longest"] == 2 and stats["groups"] == 2
    logprobs = (parts[0] @ parts[1].t()).log_softmax(-1).gather(1, parts[2][:, None])[:, 0]
    means = factors * torch.stack([x.mean() for x in logprobs.split([1, 2, 2, 1])])
    expected = (means[[1, 3]].var() + means[[0, 2]].var()) / 2
    torch.testing.assert_close(loss, expected)
    wanted = torch.autograd.grad(expected, parts[:2])
    for one, other in zip(torch.autograd.grad(loss, parts[:2]), wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_half_types_are_as_exact_as_their_inputs() -> None:
    case = Case(0, torch.bfloat16)
    wide = {name: x.double() if x.is_floating_point() else x for name, x in case.given.items()}
    packed = {"groups": case.sequences.groups, "cu_seqlens": case.bounds}
    expected = both_ways(linear_objective_ref, case.objective, wide, case.inputs, **packed)
    loss, dhidden, dweight, _ = case.both_ways(linear_objective)
    assert loss.dtype == torch.float32 and relative_error(loss, expected[0]) < 1e-5
    assert relative_error(dhidden, expected[1]) < 5e-3 and relative_error(dweight, expected[2]) < 5e-3


def test_float16_takes_its_loss_scale_before_rounding() -> None:
    case = Case(0, torch.float16)
    given = {name: x.requires_grad_(name != "targets") for name, x in case.given.items()}
    parts = [given[name] for name in ("hidden", "weight", "targets")]
    packed = {"groups": case.sequences.groups, "cu_seqlens": case.bounds}
    with pytest.raises(ValueError, match=r"^grad_scale: expected the loss scale for float16, got None"):
        linear_objective(*parts, case.objective, case.inputs, **packed)
    loss, _ = linear_objective(*parts, case.objective, case.inputs, grad_scale=1024.0, **packed)
    (scaled,) = torch.autograd.grad(1024 * loss, parts[0])
    wide = {name: x.detach().double() if x.is_floating_point() else x for name, x in given.items()}
    del wide["bias"]
    truth = both_ways(linear_objective_ref, case.objective, wide, case.inputs, **packed)[1] / 2
    assert relative_error(scaled / 1024, truth) < 5e-3


def test_no_sequences_and_no_rows_have_a_loss_of_nothing() -> None:
    given = head(torch.float64, 4)
    parts = [given[name].requires_grad_(name != "targets") for name in ("hidden", "weight", "targets")]
    mask = torch.zeros(4, device=DEVICE)
    loss, stats = linear_objective(
        *parts, preference_objective("simpo"), {}, groups=torch.tensor([0, 0]), mask=mask,
        cu_seqlens=torch.tensor([0, 2, 4]),
    )  # fmt: skip
    gradients = torch.autograd.grad(loss, parts[:2])
    assert loss.isfinite() and stats["top1_agreement"] == 0 and not any(x.any() for x in gradients)


@pytest.mark.parametrize("name", ["ipo", "sppo_hard", "discopop"])
@pytest.mark.parametrize("chunks", [{}, {"save_budget": 0, "chunk_tokens": 6}])
def test_a_weight_of_zero_leaves_an_infinite_loss_out(name: str, chunks: dict[str, Any]) -> None:
    given = head(torch.float64, 12)
    given["bias"][0] = -torch.inf
    given["targets"] = given["targets"].clamp(min=1)
    given["targets"][0] = 0
    arguments: dict[str, Any] = {"cu_seqlens": torch.tensor([0, 3, 6, 9, 12])}
    arguments["groups"] = torch.tensor([0, 0, 1, 1])
    weights = torch.tensor([0.0, 1.0], device=DEVICE)
    objective = preference_objective(name, reference_free=True)
    found = both_ways(linear_objective, objective, given, {}, weights=weights, **arguments, **chunks)
    later = {n: x[6:] if n in ("hidden", "targets") else x for n, x in given.items()}
    pair = {"groups": torch.tensor([0, 0]), "cu_seqlens": torch.tensor([0, 3, 6])}
    expected = both_ways(linear_objective, objective, later, {}, **pair)
    assert (found[1][:6] == 0).all()
    for one, other in zip((found[0], found[1][6:], *found[2:]), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-15)


class Margin:
    """An objective of groups that reads an input."""

    scope, sequences = "group", 2

    def __call__(self, sums: Tensor, lengths: Tensor, margin: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return (sums - margin)[:, 0] ** 2, {}


def test_what_is_not_differentiated_is_refused() -> None:
    given = head(torch.float64, 4)
    given["hidden"].requires_grad_()
    arguments: dict[str, Any] = {**given, "objective": Margin(), "cu_seqlens": torch.tensor([0, 2, 4])}
    margin = torch.zeros(2, dtype=torch.float64, device=DEVICE)
    learned = {"margin": margin.clone().requires_grad_()}
    with pytest.raises(ValueError, match=r"per_token: expected no requires_grad .* got it in margin"):
        linear_objective(**arguments, per_token=learned)
    loss, _ = linear_objective(**arguments, per_token={"margin": margin})
    with pytest.raises(RuntimeError, match="expected to be differentiated once, got create_graph=True"):
        torch.autograd.grad(loss, given["hidden"], create_graph=True)
    with pytest.raises(ValueError, match="objective: expected a preference_objective, or another scope"):
        linear_objective_ref(**arguments, per_token={"margin": margin}, weights=torch.ones(2))


def test_losses_that_are_no_real_numbers_are_refused() -> None:
    def rotated(sums: Tensor, lengths: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return sums[:, 0] * 1j, {}

    rotated.scope, rotated.sequences = "group", 2  # type: ignore[attr-defined]
    given = head(torch.float64, 4)
    with pytest.raises(ValueError, match=r"objective: expected real numbers, got torch\.complex128"):
        linear_objective(**given, objective=rotated, per_token={}, cu_seqlens=torch.tensor([0, 2, 4]))


WRONG = [
    ({"groups": torch.tensor([0, 1, 0])}, "groups: expected 2 sequences of each id, got 1"),
    (
        {"cu_seqlens": None},
        r"targets: expected shape \(B, T\), or \(N,\) with cu_seqlens, for an objective of",
    ),
    (
        {"per_token": {"advantages": torch.zeros(2)}},
        "per_token: expected names of ref_logps, desirable, kl, got",
    ),
    ({"per_token": None}, "per_token: expected tensors by name, got None"),
    ({"row_needs_grad": torch.ones(4)}, "row_needs_grad: expected None for an objective of groups"),
    ({"objective": PreferenceObjective}, "objective: expected a policy_objective or a function, got type"),
    ({"weights": torch.zeros(4)}, r"weights: expected shape \(1,\), a number for each group"),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[message for _, message in WRONG])
def test_what_cannot_be_used_is_one_line(change: dict[str, Any], message: str) -> None:
    given = head(torch.float64, 4)
    arguments: dict[str, Any] = {"objective": preference_objective("simpo"), "per_token": {}, **given}
    arguments |= {"groups": torch.tensor([0, 0]), "cu_seqlens": torch.tensor([0, 2, 4])} | change
    if len(arguments["groups"]) == 3:
        arguments["cu_seqlens"] = torch.tensor([0, 1, 2, 4])
    with pytest.raises(ValueError, match=f"^{message}"):
        linear_objective(**arguments)


def test_groups_are_refused_where_nothing_compares_sequences() -> None:
    given = head(torch.float64, 4)
    with pytest.raises(ValueError, match=r"^groups: expected None, as the scope of the objective is not"):
        linear_objective(
            **given,
            objective=lambda logp, entropy: (logp, {}),
            per_token={},
            weights=torch.ones(4, device=DEVICE),
            groups=torch.tensor([0]),
        )


@pytest.mark.slow
def test_compiled_code_runs_beside_it_and_a_whole_graph_is_refused() -> None:
    case = Case(0)
    packed = {"groups": case.sequences.groups, "cu_seqlens": case.bounds}

    def loss_of(hidden: Tensor) -> Tensor:
        parts = 2 * hidden, case.given["weight"], case.given["targets"]
        return 3 * linear_objective(*parts, case.objective, case.inputs, **packed)[0]

    torch.compiler.reset()
    hidden = case.given["hidden"].requires_grad_()
    results = [function(hidden) for function in (loss_of, torch.compile(loss_of, backend="aot_eager"))]
    torch.testing.assert_close(*results, rtol=1e-12, atol=0)
    gradients = [torch.autograd.grad(result, hidden)[0] for result in results]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-15)
    torch.compiler.reset()  # the compiler would go on with the broken graph
    with pytest.raises(Exception, match="groups are cut on the host"):
        torch.compile(loss_of, backend="aot_eager", fullgraph=True)(hidden)
    torch.compiler.reset()
