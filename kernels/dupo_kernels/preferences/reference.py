"""Preference losses by their definitions, one group after the other: the truth in the tests of this folder.

Written from the papers that pair_losses.py names, apart from its formulas on purpose. Shape letters: S
sequences, K sequences of a group.
"""

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from dupo_kernels.preferences.preference_options import PreferenceOptions
from dupo_kernels.tokens.layout import Layout


def preference_loss_ref(
    logprobs: list[Tensor],
    groups: list[list[int]],
    *,
    ref_logps: Tensor | None = None,
    desirable: Tensor | None = None,
    kl: Tensor | float = 0.0,
    weights: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """The loss of `preference_loss` by its definition and autograd; fp64 inputs give the truth.

    Args:
        logprobs: of each of S sequences, (tokens,) nats.
        groups: the sequences of each group, the best first.
        ref_logps, desirable: (S,). kl: the divergence of kto.
        weights: (G,); None: 1 / G.
        options: of `PreferenceOptions`.
    """
    checked = PreferenceOptions(**options)
    chosen_tokens = sum(len(logprobs[group[0]]) for group in groups)
    total = torch.zeros((), dtype=torch.float64)
    for number, group in enumerate(groups):
        reference = [0.0 if ref_logps is None else ref_logps[s] for s in group]
        weight = 1 / len(groups) if weights is None else weights[number]
        for name, factor in zip(checked.loss_type, checked.loss_weights, strict=True):
            if name == "sft":
                loss = -logprobs[group[0]].sum() * len(groups) / chosen_tokens
            elif name == "plackett_luce":
                loss = _order(checked, [logprobs[s].sum() for s in group], reference)
            elif checked.sequences == 1:
                assert desirable is not None
                ratio = logprobs[group[0]].sum() - reference[0]
                loss = _single(checked, name, ratio, bool(desirable[group[0]]), kl)
            else:
                first, second = (logprobs[s] for s in group)
                loss = _pair(checked, name, first, second, *reference)
            total = total + weight * factor * loss
    return total


def score_loss_ref(
    scores: list[list[Tensor]],
    *,
    kind: str = "bradley_terry",
    margin: list[float] | None = None,
    center_rewards_coefficient: float = 0.0,
) -> Tensor:
    """The loss of `score_loss` by the probability of what was seen; fp64 scores give the truth.

    Args:
        scores: of each group, scalars, the best sequence first.
        kind, center_rewards_coefficient: see `score_loss`. margin: of each group.
    """
    total = torch.zeros((), dtype=torch.float64)
    for number, group in enumerate(scores):
        # Luce's axiom: of what is left, each is drawn by its share of the weights.
        weights = [torch.exp(score) for score in group]
        if margin is not None:
            weights[0] = torch.exp(group[0] - margin[number])
        probability = torch.ones((), dtype=torch.float64)
        for place in range(len(group) - 1):
            probability = probability * weights[place] / sum(weights[place:])
        total = total - probability.log()
        if kind == "bradley_terry":
            total = total + center_rewards_coefficient * (group[0] + group[1]) ** 2
    return total / len(scores)


def grouped_loss_ref(
    options: PreferenceOptions, logprobs: Tensor, layout: Layout, groups: Any, **inputs: Any
) -> Tensor:
    """The same of tokens in a layout, and of groups by their ids (S,)."""
    owner = layout.owner
    if owner is None:
        owner = torch.arange(layout.sequences)[:, None].expand(logprobs.shape)
    # One sequence after the other, as on paper: nothing of what is checked takes part.
    sequences = [logprobs[layout.active & (owner == s)] for s in range(layout.sequences)]
    K = max(options.sequences, 1)
    # Without ids the best of all groups come first, then the second of all, and so on.
    groups = torch.arange(layout.sequences) % (layout.sequences // K) if groups is None else groups
    members = [(groups == id).nonzero()[:, 0].tolist() for id in groups.unique()]
    chosen = {spec.name: getattr(options, spec.name) for spec in fields(PreferenceOptions)}
    return preference_loss_ref(sequences, members, **inputs, **chosen)


def _sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def _minus_log_sigmoid(x: Tensor) -> Tensor:
    # log(1 + e^-x): the logarithm of _sigmoid would be -inf below -745, where the answer is x.
    return torch.logaddexp(torch.zeros_like(x), -x)


def _order(options: PreferenceOptions, sums: list[Tensor], reference: list[Any]) -> Tensor:
    # Logarithms, as a sum of 300 tokens has a probability below the least float64.
    worth = [options.beta * (s - r) for s, r in zip(sums, reference, strict=True)]
    loss = torch.zeros((), dtype=torch.float64)
    for place in range(len(worth)):
        loss = loss - worth[place] + torch.stack(worth[place:]).logsumexp(0)
    return loss


def _single(options: PreferenceOptions, name: str, ratio: Tensor, is_good: bool, kl: Any) -> Tensor:
    zero = kl if name == "kto" else 0.0
    if is_good:
        return options.desirable_weight * (1 - _sigmoid(options.beta * (ratio - zero)))
    return options.undesirable_weight * (1 - _sigmoid(options.beta * (zero - ratio)))


def _pair(
    options: PreferenceOptions, name: str, first: Tensor, second: Tensor, ref_first: Any, ref_second: Any
) -> Tensor:
    beta, e = options.beta, options.label_smoothing
    lengths = max(len(first), 1), max(len(second), 1)
    by_token = name in ("ipo", "sigmoid_norm", "simpo", "orpo")
    sums = [first.sum(), second.sum()]
    if name not in ("simpo", "orpo"):
        sums = [sums[0] - ref_first, sums[1] - ref_second]
    means = [x / n for x, n in zip(sums, lengths, strict=True)]
    if name == "orpo":
        odds = [x - (-x.expm1()).log() for x in means]
        return beta * _minus_log_sigmoid(odds[0] - odds[1])
    if options.alpha:
        a = options.alpha
        worth = [(1 - torch.exp(-a * x)) / a for x in (means if by_token else sums)]
    else:
        derivative = _derivative_of_divergence(options)
        worth = [derivative(x) for x in sums]
        worth = [x / n for x, n in zip(worth, lengths, strict=True)] if by_token else worth
    gap = worth[0] - worth[1]
    d = beta * gap
    p, right, wrong = _sigmoid(d), _minus_log_sigmoid(d), _minus_log_sigmoid(-d)
    c, r = (beta * x for x in sums)
    match name:
        case "sigmoid":
            return (1 - e) * right + e * wrong
        case "sigmoid_norm":
            return right
        case "hinge":
            return (1 - beta * gap).clamp(min=0)
        case "ipo":
            return (gap - 1 / (2 * beta)) ** 2
        case "robust":
            return ((1 - e) * right - e * wrong) / (1 - 2 * e)
        case "exo_pair":
            return -p * (right + math.log(1 - e)) - (1 - p) * (wrong + math.log(e))
        case "discopop":
            share = _sigmoid(beta * gap / options.discopop_tau)
            return (1 - share) * right + share * torch.exp(-d)
        case "nca_pair":
            return _minus_log_sigmoid(c) + (_minus_log_sigmoid(-c) + _minus_log_sigmoid(-r)) / 2
        case "bco_pair":
            return _minus_log_sigmoid(c) + _minus_log_sigmoid(-r)
        case "sppo_hard":
            return (sums[0] - 0.5 / beta) ** 2 + (sums[1] + 0.5 / beta) ** 2
        case "apo_zero":
            return 1 - _sigmoid(c) + _sigmoid(r)
        case "apo_down":
            return _sigmoid(c) + 1 - _sigmoid(c - r)
        case "simpo":
            d = d - options.simpo_gamma
            return (1 - e) * _minus_log_sigmoid(d) + e * _minus_log_sigmoid(-d)
    raise AssertionError(name)


def _derivative_of_divergence(options: PreferenceOptions) -> Callable[[Tensor], Tensor]:
    """f' of the f-divergence at a probability ratio e^x, up to constants, of x (f-DPO, table 1)."""
    a = options.f_alpha_divergence_coef
    of_alpha = (lambda x: (torch.exp((a - 1) * x) - 1) / (a - 1)) if a != 1 else (lambda x: x)
    return {
        "reverse_kl": lambda x: x,
        "forward_kl": lambda x: 1 - torch.exp(-x),
        "js_divergence": lambda x: math.log(2) + x - torch.logaddexp(torch.zeros_like(x), x),
        "alpha_divergence": of_alpha,
    }[options.f_divergence_type]
