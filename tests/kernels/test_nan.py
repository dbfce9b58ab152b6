"""NaN stays NaN: a broken row must be seen in its log-probability, its entropy and every gradient.

In process on the torch path (on a GPU: the kernels), and by test_interpreted.py on the Triton path.
"""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dupo_kernels import (
    PolicyObjective,
    linear_objective,
    linear_token_logprobs,
    linear_token_logprobs_ref,
    policy_loss,
    token_logprobs,
    token_logprobs_ref,
)
from dupo_kernels._triton import HAS_TRITON
from tests.helpers.linear_head import head
from tests.helpers.logits_cases import TILE, both_ways, draw
from tests.helpers.numerics import DEVICE, INTERPRET

INF, NAN = math.inf, math.nan
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
of_dtypes = pytest.mark.parametrize("dtype", DTYPES)
TARGET, OTHER = 1, 2


def all_nan(row: Tensor) -> None:
    row[:] = NAN


def one_nan(row: Tensor) -> None:
    row[-1] = NAN


def nan_and_minus_inf(row: Tensor) -> None:
    row[:] = -INF
    row[OTHER] = NAN


def target_at_minus_inf(row: Tensor) -> None:
    row[TARGET], row[OTHER] = -INF, NAN


def target_alone_is_nan(row: Tensor) -> None:
    row[:] = -INF
    row[TARGET] = NAN


BROKEN = [all_nan, one_nan, nan_and_minus_inf, target_at_minus_inf, target_alone_is_nan]
Break = Callable[[Tensor], None]


@of_dtypes
@pytest.mark.parametrize("vocabulary", [7, TILE + 9])
@pytest.mark.parametrize("softcap", [None, 8.0])
@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_a_row_of_logits(broken: Break, softcap: float | None, vocabulary: int, dtype: str) -> None:
    logits, targets = draw(3, vocabulary, dtype=DTYPES[dtype])
    targets[:] = TARGET
    broken(logits[1])
    result = both_ways(token_logprobs, logits, targets, softcap=softcap)
    truth = both_ways(token_logprobs_ref, logits.double(), targets, softcap=softcap)
    for got, true in zip(result, truth, strict=True):
        assert torch.equal(got.isnan(), true.isnan())
        assert got[1].isnan().all()
        torch.testing.assert_close(got.double(), true, rtol=0.02, atol=0.02, equal_nan=True)


@of_dtypes
def test_the_entropy_alone_shows_it(dtype: str) -> None:
    """An entropy bonus has a gradient where no log-probability is looked at."""
    logits, targets = draw(2, 9, dtype=DTYPES[dtype])
    logits[0] = NAN
    logits.requires_grad_()
    entropy = token_logprobs(logits, targets, entropy=True)[1]
    assert entropy is not None
    entropy.sum().backward()
    assert entropy.isnan().tolist() == [True, False]
    assert logits.grad is not None
    assert logits.grad.isnan().all(1).tolist() == logits.grad.isnan().any(1).tolist() == [True, False]


def test_a_row_of_nothing_but_minus_inf_is_none() -> None:
    logits, targets = draw(2, 9)
    logits[0] = -INF
    logp, entropy, dlogits = both_ways(token_logprobs, logits, targets)
    assert (logp[0].item(), entropy[0].item()) == (-INF, 0.0)
    assert not dlogits[0].any()


# --- from hidden states ----------------------------------------------------------------------------


def one_of_hidden(given: dict[str, Tensor]) -> None:
    given["hidden"][1, 2, 3] = NAN


def all_weights(given: dict[str, Tensor]) -> None:
    given["weight"][:] = NAN


def one_weight(given: dict[str, Tensor]) -> None:
    given["weight"][5, 3] = NAN


def one_bias(given: dict[str, Tensor]) -> None:
    given["bias"][5] = NAN


HEADS = pytest.mark.parametrize(
    "broken", [one_of_hidden, all_weights, one_weight, one_bias], ids=lambda broken: broken.__name__
)


@of_dtypes
@HEADS
def test_a_linear_head(broken: Any, dtype: str) -> None:
    given, upstream = head(DTYPES[dtype]), torch.ones(3, 7, device=DEVICE)
    broken(given)
    results = []
    for function, wide in ((linear_token_logprobs, False), (linear_token_logprobs_ref, True)):
        leaves = {
            n: (x.double() if wide else x.clone()).requires_grad_()
            for n, x in given.items()
            if n != "targets"
        }
        outputs = function(**leaves, targets=given["targets"], entropy=True)
        gradients = torch.autograd.grad(outputs, list(leaves.values()), [upstream.to(outputs[0].dtype)] * 2)
        results.append([*outputs, *gradients])
    for got, true in zip(*results, strict=True):
        assert torch.equal(got.isnan(), true.isnan())
    assert results[0][1].isnan().any()


@of_dtypes
@HEADS
@pytest.mark.parametrize("level", ["token", "sequence"])
def test_an_objective(level: str, broken: Any, dtype: str) -> None:
    """The loss, what is reported, and the gradients of all three inputs."""
    given = head(DTYPES[dtype])
    broken(given)
    leaves = {n: given[n].requires_grad_() for n in ("hidden", "weight", "bias")}
    # Without an advantage the loss does not look at log-probabilities: the bonus alone is there.
    per_token = {"advantages": torch.zeros(3, 7, device=DEVICE)}
    objective = PolicyObjective("grpo", entropy_coef=0.1, importance_sampling_level=level)
    loss, stats = linear_objective(
        **leaves, targets=given["targets"], objective=objective, per_token=per_token,
        weights=torch.ones(3, 7, device=DEVICE),
    )  # fmt: skip
    loss.backward()
    assert loss.isnan()
    assert stats["entropy"].isnan()
    rows = leaves["hidden"].grad.isnan().any(-1)  # type: ignore[union-attr]
    assert rows[1, 2]
    assert rows.all() == (broken is not one_of_hidden)
    assert leaves["weight"].grad.isnan().any()  # type: ignore[union-attr]
    assert leaves["bias"].grad.isnan().any()  # type: ignore[union-attr]


def test_a_token_without_an_entropy_is_not_left_out_in_silence() -> None:
    entropy = torch.tensor([0.1, NAN, 0.3, 0.4])
    logp = torch.full((4,), -1.0, requires_grad=True)
    options = {"entropy": entropy, "top_entropy_quantile": 0.5}
    loss, stats = policy_loss(logp, torch.ones(4), **options)
    loss.backward()
    assert loss.isnan()
    assert stats["frac_high_entropy"].isnan()
    assert logp.grad.isnan().tolist() == [False, True, False, False]  # type: ignore[union-attr]


# --- logits beyond what the kernels hold -----------------------------------------------------------


@pytest.mark.parametrize("value", [-1e38, torch.finfo(torch.float32).min])
def test_a_target_far_below_has_its_log_probability(value: float) -> None:
    """Masks often are the lowest number of float32 instead of -inf."""
    logits, targets = draw(4, TILE + 9)
    logits[0, targets[0]] = value
    logits[1, 3] = value
    logits[2] = value
    logits[2, targets[2]] = 0.5
    result = both_ways(token_logprobs, logits, targets)
    truth = both_ways(token_logprobs_ref, logits.double(), targets)
    for got, true in zip(result, truth, strict=True):
        torch.testing.assert_close(got.double(), true, rtol=1e-5, atol=1e-5)


def test_logits_far_above_are_right_or_nan() -> None:
    logits, targets = draw(3, 3 * TILE)
    logits[0, 2 * TILE + 5] = 1e38
    logits[1, :] = 0.0
    logits[1, 2 * TILE + 5], logits[1, targets[1]] = 1e38, -1e38
    logp, entropy = token_logprobs(logits, targets, entropy=True)
    truth, true_entropy = token_logprobs_ref(logits.double(), targets, entropy=True)
    assert entropy is not None and true_entropy is not None
    torch.testing.assert_close(logp.double(), truth, rtol=1e-5, atol=1e-5)
    right = (entropy - true_entropy).abs() < 1e-4
    assert (right | entropy.isnan()).all()


def test_a_row_of_nothing_but_far_below_counts_as_minus_inf_in_the_kernels() -> None:
    logits, targets = (
        torch.tensor([[-1e38, -2e38]], device=DEVICE),
        torch.zeros(1, dtype=torch.long, device=DEVICE),
    )
    logp, entropy = token_logprobs(logits, targets, entropy=True)
    assert entropy is not None
    on_kernels = HAS_TRITON and (INTERPRET or DEVICE == "cuda")
    assert (logp.item(), entropy.item()) == (-INF if on_kernels else 0.0, 0.0)
