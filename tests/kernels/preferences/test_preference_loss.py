"""preference_loss against the definitions with autograd, in float64; and what it must be indifferent to."""

from typing import Any

import pytest
import torch
from torch import Tensor

from dupo_kernels import preference_loss, preference_loss_ref, preference_objective
from dupo_kernels.preferences.choices import PREFERENCE_LOSSES
from tests.helpers.preference_cases import Sequences, mix

NAN = float("nan")


def tokens_of(sequences: Sequences) -> tuple[Tensor, list[Tensor]]:
    """Log-probs of all tokens, one sequence after the other, and the same by sequence."""
    logprobs = (-0.05 - sequences.uniform(int(sequences.lengths.sum()))).requires_grad_()
    return logprobs, list(logprobs.split(sequences.lengths.tolist()))


def truth(sequences: Sequences, options: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """(log-probs, loss, gradient) by definition."""
    logprobs, rows = tokens_of(sequences)
    loss = preference_loss_ref(rows, sequences.members, **sequences.inputs, **options)
    return logprobs, loss.detach(), torch.autograd.grad(loss, logprobs)[0]


@pytest.mark.parametrize("number", range(200))
def test_equals_the_definition(number: int) -> None:
    options = mix(number)
    sequences = Sequences(options, number)
    logprobs, expected, gradient = truth(sequences, options)
    bounds = torch.cat([torch.zeros(1, dtype=torch.int64), sequences.lengths.cumsum(0)])
    arguments = {"groups": sequences.groups, "cu_seqlens": bounds, **sequences.inputs, **options}
    loss, stats = preference_loss(logprobs, **arguments)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    (got,) = torch.autograd.grad(3 * loss, logprobs)
    torch.testing.assert_close(got, 3 * gradient, rtol=1e-10, atol=1e-12)
    assert not any(value.requires_grad or value.isnan() for value in stats.values())


@pytest.mark.parametrize("name", PREFERENCE_LOSSES)
def test_padded_sequences_and_what_their_padding_holds(name: str) -> None:
    options = mix(list(PREFERENCE_LOSSES).index(name))
    sequences = Sequences(options, 5)
    _, expected, gradient = truth(sequences, options)
    rows = tokens_of(Sequences(options, 5))[1]
    padded = torch.nn.utils.rnn.pad_sequence([r.detach() for r in rows], batch_first=True, padding_value=NAN)
    padded.requires_grad_()
    mask = torch.arange(padded.shape[1]) < sequences.lengths[:, None]
    loss, _ = preference_loss(padded, groups=sequences.groups, mask=mask, **sequences.inputs, **options)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    (got,) = torch.autograd.grad(loss, padded)
    torch.testing.assert_close(got[mask], gradient, rtol=1e-10, atol=1e-12)
    assert (got[~mask] == 0).all()


def test_without_ids_all_chosen_stand_before_all_rejected() -> None:
    logprobs = -torch.rand(6, 4, dtype=torch.float64)
    reference = torch.zeros(6, dtype=torch.float64)
    ours, _ = preference_loss(logprobs, ref_logps=reference)
    ids = torch.tensor([0, 1, 2, 0, 1, 2])
    same, stats = preference_loss(logprobs, ref_logps=reference, groups=ids)
    assert ours == same and stats["groups"] == 3
    chosen, rejected = logprobs.sum(1).view(2, 3)
    assert stats["logps/chosen"] == chosen.mean()
    torch.testing.assert_close(stats["rewards/margins"], 0.1 * (chosen - rejected).mean())
    assert stats["rewards/accuracies"] == (chosen > rejected).double().mean()


def test_weights_are_those_of_groups_by_ascending_id() -> None:
    logprobs, reference = -torch.rand(4, 3, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    ids, weights = torch.tensor([9, 2, 9, 2]), torch.tensor([0.0, 1.0], dtype=torch.float64)
    weighed, _ = preference_loss(logprobs, ref_logps=reference, groups=ids, weights=weights)
    alone, _ = preference_loss(logprobs[::2], ref_logps=reference[::2])
    torch.testing.assert_close(weighed, alone)


def test_reports_of_single_sequences_are_those_of_their_label() -> None:
    logprobs, label = -torch.rand(4, 3), torch.tensor([1, 0, 1, 1])
    inputs = {"ref_logps": torch.zeros(4), "desirable": label}
    _, stats = preference_loss(logprobs, loss_type="apo_zero_unpaired", **inputs)
    torch.testing.assert_close(stats["logps/rejected"], logprobs[1].sum())
    torch.testing.assert_close(stats["rewards/chosen"], 0.1 * logprobs[[0, 2, 3]].sum(1).mean())


def test_half_log_probabilities_are_summed_in_float32() -> None:
    logprobs = torch.full((2, 4000), -1.001953125, dtype=torch.bfloat16)
    loss, stats = preference_loss(logprobs, ref_logps=torch.tensor([-4000.0, -4000.0]))
    assert loss.dtype == torch.float32 and stats["logps/chosen"] == 4000 * logprobs[0, 0].float()


def test_a_long_sequence_is_summed_as_exactly_as_a_padded_one() -> None:
    """float32 holds the sum of 30,000 log-probs to 0.003 nats; added one after the other it is 0.1 off."""
    logprobs = -3 * torch.rand(2, 30_000, generator=torch.Generator().manual_seed(0))
    bounds, reference = torch.tensor([0, 30_000, 60_000]), torch.zeros(2)
    _, stats = preference_loss(logprobs.flatten(), cu_seqlens=bounds, ref_logps=reference)
    assert abs(stats["logps/chosen"] - logprobs[0].double().sum()) < 0.003


@pytest.mark.parametrize("name", ["orpo", "simpo", "sigmoid", "discopop"])
def test_certain_tokens_have_a_finite_gradient(name: str) -> None:
    logprobs = torch.zeros(2, 3, requires_grad=True)
    reference = None if name in ("orpo", "simpo") else torch.zeros(2)
    loss, _ = preference_loss(logprobs, ref_logps=reference, loss_type=name)
    loss.backward()
    assert loss.isfinite() and logprobs.grad is not None and logprobs.grad.isfinite().all()


def test_a_sequence_without_tokens_has_a_sum_of_zero() -> None:
    logprobs = torch.tensor([[-1.0, -2.0], [NAN, NAN]], dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[1, 1], [0, 0]])
    for name in ("sigmoid", "ipo", "simpo", "sft"):
        inputs = {} if name in ("simpo", "sft") else {"ref_logps": torch.zeros(2, dtype=torch.float64)}
        loss, _ = preference_loss(logprobs, mask=mask, loss_type=name, **inputs)
        assert torch.autograd.grad(loss, logprobs)[0].isfinite().all() and loss.isfinite()


@pytest.mark.parametrize("name", [name for name, loss in PREFERENCE_LOSSES.items() if loss.sequences == 2])
def test_a_rejected_sequence_of_no_probability(name: str) -> None:
    """The loss is its limit, which is infinite where a loss compares with a number."""
    options: dict[str, Any] = {"loss_type": name, "reference_free": True}
    if name == "exo_pair":
        options["label_smoothing"] = 0.1
    for dtype in (torch.float32, torch.float64):
        logprobs = torch.tensor([[-1.0], [-torch.inf]], dtype=dtype, requires_grad=True)
        loss, _ = preference_loss(logprobs, **options)
        if name in ("ipo", "sppo_hard"):
            assert loss == torch.inf
            continue
        limit, _ = preference_loss(torch.tensor([[-1.0], [-1e7]], dtype=dtype), **options)
        torch.testing.assert_close(loss.detach(), limit)
        (gradient,) = torch.autograd.grad(loss, logprobs)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "options",
    [
        {"f_divergence_type": "forward_kl"},
        {"f_divergence_type": "forward_kl", "loss_type": "sigmoid_norm"},
        {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": -0.5},
        {"alpha": 0.9, "reference_free": True},
    ],
    ids=str,
)
def test_scores_beyond_a_float_keep_their_order(options: dict[str, Any], dtype: torch.dtype) -> None:
    """Both scores held at one number would be a loss of log 2 and no gradient."""
    reference = None if options.get("reference_free") else torch.zeros(2, dtype=dtype)
    for logps in ([-95.0, -85.0], [-330.0, -325.0], [-1200.0, -1100.0]):
        x = torch.tensor(logps, dtype=dtype)[:, None].requires_grad_()
        loss, _ = preference_loss(x, ref_logps=reference, **options)
        (gradient,) = torch.autograd.grad(loss, x)
        # Infinite where the type ends.
        assert loss > 1e20 and gradient[0] < -1e20
        right, _ = preference_loss(x.flip(0), ref_logps=reference, **options)
        (gradient,) = torch.autograd.grad(right, x)
        assert right == 0 and (gradient == 0).all()


@pytest.mark.parametrize(("dtype", "chosen"), [(torch.float32, -200.0), (torch.float64, -8000.0)])
def test_discopop_of_a_pair_that_is_far_from_its_order(dtype: torch.dtype, chosen: float) -> None:
    logprobs = torch.tensor([[chosen], [0.0]], dtype=dtype, requires_grad=True)
    loss, _ = preference_loss(logprobs, loss_type="discopop", beta=0.5, reference_free=True)
    torch.testing.assert_close(loss.detach(), torch.tensor(-0.5 * chosen, dtype=dtype))
    (gradient,) = torch.autograd.grad(loss, logprobs)
    torch.testing.assert_close(gradient[:, 0], torch.tensor([-0.5, 0.5], dtype=dtype))


@pytest.mark.parametrize("name", ["sigmoid", "ipo", "sppo_hard", "discopop"])
def test_a_weight_of_zero_leaves_an_infinite_loss_out(name: str) -> None:
    logprobs = torch.tensor([[-torch.inf], [-1.0], [-1.0], [-2.0]], dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([0.0, 1.0], dtype=torch.float64)
    options: dict[str, Any] = {"loss_type": name, "reference_free": True}
    loss, _ = preference_loss(logprobs, weights=weights, **options)
    alone, _ = preference_loss(logprobs[[1, 3]], **options)
    assert loss == alone
    gradients = [torch.autograd.grad(x, logprobs)[0] for x in (loss, alone)]
    torch.testing.assert_close(*gradients, rtol=0, atol=0)


@pytest.mark.parametrize("rows", [[0], [0, 1, 2, 3]])
@pytest.mark.parametrize("name", ["sigmoid", "simpo", "apo_zero_unpaired"])
def test_reports_show_a_broken_sequence(name: str, rows: list[int]) -> None:
    logprobs = -torch.rand(4, 2)
    logprobs[rows] = NAN
    inputs: dict[str, Any] = {"desirable": torch.tensor([1, 0, 1, 0])} if "unpaired" in name else {}
    loss, stats = preference_loss(logprobs, loss_type=name, reference_free=True, **inputs)
    assert loss.isnan() and stats.pop("groups") == (4 if inputs else 2)
    assert stats and all(value.isnan() for value in stats.values())


def test_a_second_name_of_trl() -> None:
    options: dict[str, Any] = {"alpha": 0.25, "beta": 2.0, "reference_free": True}
    assert preference_objective("alphapo", **options) == preference_objective("simpo", **options)


WRONG = [
    ({"loss_type": ["sigmoid", "sigmoid"]}, "loss_type: expected each name once, got list"),
    ({"simpo_gamma": 3.0}, "simpo_gamma: expected 0.5 for loss_type='sigmoid', which does not read it"),
    ({"discopop_tau": 1.0}, "discopop_tau: expected 0.05 for loss_type='sigmoid'"),
    ({"desirable_weight": 5.0}, "desirable_weight: expected 1.0 for loss_type='sigmoid'"),
    ({"undesirable_weight": 0.0}, "undesirable_weight: expected 1.0 for loss_type='sigmoid'"),
    ({"f_alpha_divergence_coef": 0.9}, "f_alpha_divergence_coef: expected 0.5 for f_divergence_type='revers"),
    ({"loss_weights": 0}, "loss_weights: expected finite numbers, got 0"),
    ({"loss_weights": torch.ones(1)}, "loss_weights: expected finite numbers, got Tensor of"),
    (
        {"loss_type": "kto", "desirable": torch.ones(4), "kl": torch.tensor(-5.0)},
        "kl: expected at least 0, got -5.0",
    ),
    (
        {"reference_free": True, "ref_logps": None, "f_divergence_type": "forward_kl"},
        "f_divergence_type: expected 'reverse_kl' with reference_free, got 'forward_kl'",
    ),
    ({"loss_type": "dpo"}, "loss_type: expected one of sigmoid, "),
    ({"loss_type": ["sigmoid", "kto"]}, "loss_type: expected losses of groups of one size, got "),
    ({"loss_type": []}, "loss_type: expected a name or several, got "),
    ({"loss_weights": [1.0, 2.0]}, "loss_weights: expected 1 numbers"),
    ({"loss_weights": [float("inf")]}, "loss_weights: expected finite numbers"),
    ({"loss_type": "hinge", "label_smoothing": 0.1}, "label_smoothing: expected 0 for loss_type='hinge'"),
    ({"label_smoothing": 0.5}, "label_smoothing: expected less than 0.5, got 0.5"),
    ({"loss_type": "exo_pair"}, "label_smoothing: expected more than 0 for loss_type='exo_pair', got 0"),
    ({"loss_type": "nca_pair", "f_divergence_type": "forward_kl"}, "f_divergence_type: expected reverse_kl"),
    ({"alpha": 0.2}, "alpha: expected 0, or reference_free=True, got 0.2"),
    ({"loss_type": "orpo", "alpha": 0.2}, "alpha: expected 0 for loss_type='orpo'"),
    ({"beta": 0.0}, "beta: expected more than 0, got 0.0"),
    ({"ref_logps": None}, "ref_logps: expected a tensor for loss_type='sigmoid', reference_free=False, got"),
    ({"loss_type": "simpo"}, "ref_logps: expected None for loss_type='simpo'"),
    ({"loss_type": "kto"}, "desirable: expected a tensor"),
    ({"loss_type": "kto", "desirable": torch.ones(4)}, "kl: expected a tensor for loss_type='kto'"),
    ({"desirable": torch.ones(4)}, "desirable: expected None for loss_type='sigmoid'"),
    ({"ref_logps": torch.zeros(2)}, r"ref_logps: expected shape \(4,\), a number for each sequence, got"),
    ({"groups": torch.tensor([0, 0, 0, 1])}, "groups: expected 2 sequences of each id, got 3"),
    (
        {"groups": torch.zeros(3, dtype=torch.int64)},
        r"groups: expected shape \(4,\), an id for each sequence",
    ),
    ({"groups": [0, 0, 1, 1]}, "groups: expected a dense tensor of integers, got list"),
    ({"loss_type": "plackett_luce"}, "groups: expected ids of sequences, got None and 4 sequences"),
    ({"weights": torch.ones(4)}, r"weights: expected shape \(2,\), a number for each group"),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[message for _, message in WRONG])
def test_what_cannot_be_used_is_one_line(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"logprobs": -torch.rand(4, 3), "ref_logps": torch.zeros(4)} | change
    with pytest.raises(ValueError, match=f"^{message}") as raised:
        preference_loss(**arguments)
    assert "\n" not in str(raised.value)


def test_an_objective_may_be_a_key_and_is_called_on_groups() -> None:
    objective = preference_objective(["sigmoid", "sft"], loss_weights=[1.0, 0.2])
    assert {objective: 1}[preference_objective(("sigmoid", "sft"), loss_weights=(1, 0.2))] == 1
    logps, reference = -torch.rand(3, 2), -torch.rand(3, 2)
    losses, stats = objective(logps, torch.full((3, 2), 4), ref_logps=reference)
    assert losses.shape == (3,) and all(value.shape == (3,) for value in stats.values())
