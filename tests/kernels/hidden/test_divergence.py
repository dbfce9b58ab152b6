"""linear_divergence beside its definition: 200 random mixes, extremes, and what a row may hold."""

import pytest
import torch

from dupo_kernels import linear_divergence, linear_divergence_ref
from dupo_kernels.logits import torch_path
from tests.helpers.numerics import DEVICE, assert_as_accurate, relative_error
from tests.helpers.two_heads import BETAS, LEAVES, assert_equal, both_ways, inputs, mix

# --- the definition --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(200))
def test_equals_the_definition_whatever_the_chunks(number: int) -> None:
    given, options, chunks = mix(number)
    expected = both_ways(linear_divergence_ref, given, **options)
    assert_equal(both_ways(linear_divergence, given, **options, **chunks), expected)


@pytest.mark.parametrize("beta", BETAS)
def test_small_blocks_and_an_extreme_head(beta: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of the block for each token, and probabilities that underflow."""
    monkeypatch.setattr(torch_path, "SCRATCH_BYTES", 1)
    given = inputs(dtype=torch.float32)
    given["weight"], given["teacher_weight"] = 8 * given["weight"], 8 * given["teacher_weight"]
    wide = {name: x.double() for name, x in given.items()}
    expected = both_ways(linear_divergence_ref, wide, beta=beta)
    for one, other in zip(both_ways(linear_divergence, given, beta=beta), expected, strict=True):
        assert relative_error(one, other) < 2e-5


def test_the_ends_are_limits_of_the_jensen_shannon_divergence() -> None:
    given = inputs()
    for beta, end, factor in ((1e-7, 0, 1e-7), (1 - 1e-7, 1, 1e-7)):
        near, exact = (both_ways(linear_divergence, given, beta=b) for b in (beta, end))
        assert relative_error(near[0] / factor, exact[0]) < 1e-5
        assert relative_error(near[2] / factor, exact[2]) < 1e-5


def test_a_student_that_is_its_teacher_learns_nothing() -> None:
    given = inputs(dtype=torch.float32)
    same = given | {f"teacher_{name}": given[name] for name in LEAVES}
    for beta in BETAS:
        for x in both_ways(linear_divergence, same, beta=beta):
            assert x.abs().max() < 1e-6


@pytest.mark.parametrize("temperature", [1e-4, 1e4])
@pytest.mark.parametrize("beta", BETAS)
def test_cold_and_hot(beta: float, temperature: float) -> None:
    """Probabilities that underflow, and those that are all but equal."""
    single = inputs(dtype=torch.float32)
    wide = {name: x.double() for name, x in single.items()}
    truth = both_ways(linear_divergence_ref, wide, beta=beta, temperature=temperature)
    own = both_ways(linear_divergence_ref, single, beta=beta, temperature=temperature)
    found = both_ways(linear_divergence, single, beta=beta, temperature=temperature)
    for each in zip(found, own, truth, strict=True):
        assert_as_accurate(*each)
    exact = both_ways(linear_divergence, wide, beta=beta, temperature=temperature)[0]
    assert_equal([exact], truth[:1])


def test_rows_that_do_not_lie_together() -> None:
    given = inputs()
    expected = both_ways(linear_divergence, given, beta=0.5)
    strided = {n: torch.stack([x, x + 1], -1)[..., 0] for n, x in given.items()}
    turned = {n: x.t().contiguous().t() if n.endswith("weight") else x for n, x in given.items()}
    for other in (strided, turned):
        assert not all(x.is_contiguous() for x in other.values())
        leaves = {n: x.requires_grad_(n in LEAVES) for n, x in other.items()}
        loss, _ = linear_divergence(**leaves, beta=0.5)
        gradients = torch.autograd.grad(2 * loss, [leaves[n] for n in LEAVES])
        assert_equal([loss.detach(), *gradients], expected)


# --- what a row may hold ---------------------------------------------------------------------------


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("spoiled", ["nan", "inf", "empty", "empty teacher"])
def test_a_row_without_a_distribution_has_no_divergence(spoiled: str, beta: float) -> None:
    given = inputs(tokens=(4,))
    teacher = "teacher_" * (spoiled == "empty teacher")
    # The last number of a hidden state is the spoiled one, and no other row reads it.
    given[f"{teacher}hidden"][..., -1] = 0.0
    given[f"{teacher}weight"][..., -1] = -1.0
    value = {"nan": torch.nan, "inf": -torch.inf}.get(spoiled, torch.inf)
    given[f"{teacher}hidden"][1, -1] = value
    loss, dhidden, *_ = both_ways(linear_divergence, given, beta=beta)
    assert loss.isnan() and dhidden[1].isnan().any() and dhidden[[0, 2, 3]].isfinite().all()
    # A weight of 0, a mask and a list of rows each keep it out.
    weights = torch.tensor([1.0, 0.0, 1.0, 1.0], device=DEVICE).double()
    kept = {name: x[[0, 2, 3]] if "hidden" in name else x for name, x in given.items()}
    expected = both_ways(linear_divergence_ref, kept, beta=beta)
    for which in ({"mask": weights}, {"rows": torch.tensor([0, 2, 3])}):
        found = both_ways(linear_divergence, given, beta=beta, **which)
        assert not found[1][1].any()
        assert_equal([found[0], found[1][[0, 2, 3]]], expected[:2])
    found = both_ways(linear_divergence, given, beta=beta, weights=weights / 3)
    assert not found[1][1].any()
    # A hidden state of NaN reaches the product of dweight, where 0 times NaN is NaN.
    compared = 4 if teacher else 2
    assert_equal([found[0], found[1][[0, 2, 3]], *found[2:]][:compared], expected[:compared])


def test_a_token_that_one_side_lacks() -> None:
    """KL is infinite where its divisor has no probability; JSD is finite."""
    given = inputs()
    for lacking, infinite in (("bias", 0), ("teacher_bias", 1)):
        some = given | {lacking: given[lacking].index_fill(0, torch.tensor([2], device=DEVICE), -torch.inf)}
        for beta in BETAS:
            loss, dhidden, dweight, _ = both_ways(linear_divergence, some, beta=beta)
            assert loss.isinf() if beta == infinite else loss.isfinite()
            if beta not in (0, 1):
                assert dhidden.isfinite().all() and dweight.isfinite().all()
                torch.testing.assert_close(loss, both_ways(linear_divergence_ref, some, beta=beta)[0])
