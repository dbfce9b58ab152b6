"""The losses of groups of sequences, one formula each.

    c, r    log(policy / reference) of the chosen and the rejected sequence, sums over n tokens
    d       beta (score(c) - score(r)), where score is the identity, or that of an f-divergence
    ls      log sigmoid,  e  label smoothing

Each takes the numbers of G groups and returns (G,); autograd differentiates, on sequences alone. Papers:
sigmoid DPO (2305.18290), sigmoid_norm Tulu 3 (2411.15124), hinge SLiC (2305.10425), ipo (2310.12036), robust
(2403.00409), exo_pair (2402.00856), discopop (2406.08414), nca_pair (2402.05369), bco_pair (2404.04656),
sppo_hard (2405.00675), apo_* (2408.06266), simpo (2405.14734), AlphaPO (2501.03884), orpo (2403.07691), kto
(2402.01306), f-DPO (2309.16240).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from dupo_kernels.preferences.preference_options import PreferenceOptions

MOST_EXPONENT = 700.0  # exp of it is finite in float64
MOST_EVIDENCE = 1000.0  # sigmoid of minus that is 0, also in float64


class Pair(NamedTuple):
    """The chosen and the rejected sequence of G pairs, (G,) each.

    Attributes:
        chosen, rejected: log-ratios, or log-probabilities where there is no reference.
        chosen_length, rejected_length: tokens, at least 1.
        chosen_score, rejected_score: of the f-divergence, or of alpha, float64; else the log-ratios.
        nll_weight: of a pair: the negative log-probability of its chosen tokens times this is its share in
            the mean over all chosen tokens, times G.
    """

    chosen: Tensor
    rejected: Tensor
    chosen_length: Tensor
    rejected_length: Tensor
    chosen_score: Tensor
    rejected_score: Tensor
    nll_weight: Tensor

    @property
    def difference(self) -> Tensor:
        """Of the two scores."""
        return self.chosen_score - self.rejected_score

    @property
    def means(self) -> tuple[Tensor, Tensor]:
        """The log-ratios by token."""
        return self.chosen / self.chosen_length, self.rejected / self.rejected_length

    @property
    def mean_difference(self) -> Tensor:
        """Of the two scores by token."""
        return self.chosen_score / self.chosen_length - self.rejected_score / self.rejected_length


def score(log_ratio: Tensor, options: PreferenceOptions) -> Tensor:
    """f'(ratio) of the divergence, up to a constant; the log-ratio itself for reverse_kl."""
    match options.f_divergence_type:
        case "forward_kl":
            return -_expm1(-log_ratio)
        case "js_divergence":
            return math.log(2) + logsigmoid(log_ratio)
        case "alpha_divergence":
            return power_score(log_ratio, options.f_alpha_divergence_coef - 1)
    return log_ratio


def power_score(log_ratio: Tensor, power: float) -> Tensor:
    """(ratio^power - 1) / power; its limit log ratio near power 0."""
    # As in TRL: nearer to 0, rounding is larger than what the power changes.
    if abs(power) < 1e-6:
        return log_ratio
    return _expm1(power * log_ratio) / power


def _expm1(x: Tensor) -> Tensor:
    """e^x - 1 in float64: log-ratios are sums, and float32 would hold e^88 at most."""
    x = x.double()
    # Beyond the range a line goes on: held at one number, two sequences would look alike, without a gradient.
    return x.clamp(max=MOST_EXPONENT).expm1() + math.exp(MOST_EXPONENT) * torch.relu(x - MOST_EXPONENT)


def _smoothed(x: Tensor, e: float) -> Tensor:
    # Without smoothing the second term would be 0 times infinity where a sequence has probability 0.
    return -logsigmoid(x) if e == 0 else -(1 - e) * logsigmoid(x) - e * logsigmoid(-x)


def _sigmoid(pair: Pair, options: PreferenceOptions) -> Tensor:
    # With smoothing this is cDPO; without a reference it is CPO. TRL's DPO ignores the smoothing here.
    return _smoothed(options.beta * pair.difference, options.label_smoothing)


def _sigmoid_norm(pair: Pair, options: PreferenceOptions) -> Tensor:
    # Sums favour short sequences: a mean does not depend on how long the two are.
    return -logsigmoid(options.beta * pair.mean_difference)


def _hinge(pair: Pair, options: PreferenceOptions) -> Tensor:
    # A pair that is far enough apart has no gradient any more.
    return torch.relu(1 - options.beta * pair.difference)


def _ipo(pair: Pair, options: PreferenceOptions) -> Tensor:
    # A mean, as the authors of the paper told TRL; the paper itself speaks of sums.
    # AlphaPO shapes the mean, so the score is one of a token already.
    distance = pair.difference if options.alpha else pair.mean_difference
    return (distance - 1 / (2 * options.beta)) ** 2


def _robust(pair: Pair, options: PreferenceOptions) -> Tensor:
    # Divided by 1 - 2 e, the noisy labels give the loss of the true ones in the mean.
    e, d = options.label_smoothing, options.beta * pair.difference
    return -logsigmoid(d) if e == 0 else (-(1 - e) * logsigmoid(d) + e * logsigmoid(-d)) / (1 - 2 * e)


def _exo_pair(pair: Pair, options: PreferenceOptions) -> Tensor:
    # The divergence of (sigmoid(d), sigmoid(-d)) from the labels (1 - e, e).
    e, d = options.label_smoothing, options.beta * pair.difference
    # 0 log 0 is 0; beyond the bound the terms are what they are at infinity.
    d = d.clamp(-MOST_EVIDENCE, MOST_EVIDENCE)
    right = d.sigmoid() * (logsigmoid(d) - math.log1p(-e))
    return right + (-d).sigmoid() * (logsigmoid(-d) - math.log(e))


def _discopop(pair: Pair, options: PreferenceOptions) -> Tensor:
    # Found by search: logistic where the pair is in the wrong order, exponential where it is right.
    d = options.beta * pair.difference
    evidence = d / options.discopop_tau
    # e^-d times the share of it, which is 0 before e^-d is infinite.
    exponential = (logsigmoid(evidence) - d).exp()
    return -logsigmoid(d) * (-evidence).sigmoid() + exponential


def _nca_pair(pair: Pair, options: PreferenceOptions) -> Tensor:
    # Beside the order, the last terms hold both log-ratios near 0.
    c, r = options.beta * pair.chosen, options.beta * pair.rejected
    return -logsigmoid(c) - (logsigmoid(-c) + logsigmoid(-r)) / 2


def _bco_pair(pair: Pair, options: PreferenceOptions) -> Tensor:
    # A classifier of single sequences; of a pair, the shift of the paper cancels.
    return -logsigmoid(options.beta * pair.chosen) - logsigmoid(-options.beta * pair.rejected)


def _sppo_hard(pair: Pair, options: PreferenceOptions) -> Tensor:
    # The chosen one wins with probability 1: the hard form, where no model of preferences is asked.
    half = 1 / (2 * options.beta)
    return (pair.chosen - half) ** 2 + (pair.rejected + half) ** 2


def _apo_zero(pair: Pair, options: PreferenceOptions) -> Tensor:
    # For chosen sequences that are better than what the model writes.
    return (-options.beta * pair.chosen).sigmoid() + (options.beta * pair.rejected).sigmoid()


def _apo_down(pair: Pair, options: PreferenceOptions) -> Tensor:
    # For chosen sequences that are worse than what the model writes: both become less likely.
    c, r = options.beta * pair.chosen, options.beta * pair.rejected
    return c.sigmoid() + (r - c).sigmoid()


def _simpo(pair: Pair, options: PreferenceOptions) -> Tensor:
    # The margin stands outside beta here, and TRL divides it by beta first: the same.
    distance = pair.difference if options.alpha else pair.mean_difference
    return _smoothed(options.beta * distance - options.simpo_gamma, options.label_smoothing)


def _orpo(pair: Pair, options: PreferenceOptions) -> Tensor:
    # The odds ratio alone: the loss of the paper adds sft. TRL's sft of ORPO counts prompts too.
    c, r = pair.means
    return -options.beta * logsigmoid(c - r - _log1mexp(c) + _log1mexp(r))


def _log1mexp(x: Tensor) -> Tensor:
    """log(1 - e^x) for x of at most 0, kept off 0, where it is -infinity and has no derivative."""
    x = x.clamp(max=-torch.finfo(x.dtype).eps)
    near = x > -math.log(2)
    # Each form where it is exact; the other then reads a number that makes no NaN in the derivative.
    small, large = x.where(near, -0.5), x.where(~near, -1.0)
    return torch.where(near, (-small.expm1()).log(), (-large.exp()).log1p())


def _sft(pair: Pair, options: PreferenceOptions) -> Tensor:
    # Not a mean of this pair: long sequences count by their tokens.
    return -pair.chosen * pair.nll_weight


PAIR_LOSSES: dict[str, Callable[[Pair, PreferenceOptions], Tensor]] = {
    "sigmoid": _sigmoid,
    "sigmoid_norm": _sigmoid_norm,
    "hinge": _hinge,
    "ipo": _ipo,
    "robust": _robust,
    "exo_pair": _exo_pair,
    "discopop": _discopop,
    "nca_pair": _nca_pair,
    "bco_pair": _bco_pair,
    "sppo_hard": _sppo_hard,
    "apo_zero": _apo_zero,
    "apo_down": _apo_down,
    "simpo": _simpo,
    "orpo": _orpo,
    "sft": _sft,
}
