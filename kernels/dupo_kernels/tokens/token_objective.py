"""An objective as the kernels of token_loss.py take it: what is read, numbers, and what is compiled.

Its scope must be "token". The module does not know the vocabulary.
"""

import math
from typing import NamedTuple

from dupo_kernels.tokens.choices import LOSS_TYPES
from dupo_kernels.tokens.policy_options import PolicyOptions
from dupo_kernels.tokens.token_inputs import TokenInputs


class Numbers(NamedTuple):
    """The numbers of an objective, which compile no kernel anew. None is infinity here: it bounds nothing."""

    epsilon: float
    epsilon_high: float
    delta: float
    clip_ratio_c: float
    sapo_temperature_pos: float
    sapo_temperature_neg: float
    beta: float
    entropy_coef: float
    mismatch_min: float
    mismatch_max: float
    grad_scale: float


class Kinds(NamedTuple):
    """What a kernel is compiled for; a run has one or two of these.

    Attributes:
        surrogate: "clipped", "cispo" or "sapo".
        kl: a key of KL_ESTIMATORS.
        mismatch: of the two engines: "none", "mask", "truncate", or "known" where the weights are an input.
        has_penalty: beta is not 0.
        corrects_bias: the KL penalty is weighed by the importance ratio.
        has_bonus: entropy_coef is not 0.
        has_entropy: the entropy is read or reported.
        by_sequence: the advantages are those of sequences.
    """

    surrogate: str
    kl: str
    mismatch: str
    has_penalty: bool
    corrects_bias: bool
    has_bonus: bool
    has_entropy: bool
    by_sequence: bool = False


class TokenObjective(NamedTuple):
    """An objective with its inputs, as the kernels take them."""

    inputs: TokenInputs
    numbers: Numbers
    kinds: Kinds

    def take(self, rows: slice) -> "TokenObjective":
        """The objective of a slice of rows; no copy."""
        return self._replace(inputs=self.inputs.take(rows))


def token_objective(
    options: PolicyOptions,
    inputs: TokenInputs,
    *,
    has_entropy: bool,
    grad_scale: float = 1.0,
    by_sequence: bool = False,
) -> TokenObjective:
    """The objective as the kernels take it.

    Args:
        options: of the policy loss.
        inputs: of the tokens.
        has_entropy: report the entropy; an objective with an entropy bonus needs it.
        grad_scale: factor of both derivatives.
        by_sequence: the advantages are those of sequences: of `length` tokens, or of cu_seqlens.
    """
    high = options.epsilon if options.epsilon_high is None else options.epsilon_high
    numbers = Numbers(
        epsilon=float(options.epsilon),
        epsilon_high=float(high),
        delta=_bound(options.delta),
        clip_ratio_c=_bound(options.clip_ratio_c),
        sapo_temperature_pos=float(options.sapo_temperature_pos),
        sapo_temperature_neg=float(options.sapo_temperature_neg),
        beta=float(options.beta),
        entropy_coef=float(options.entropy_coef),
        mismatch_min=_bound(options.vllm_importance_sampling_clip_min, -math.inf),
        mismatch_max=_bound(options.vllm_importance_sampling_clip_max),
        grad_scale=float(grad_scale),
    )
    kinds = Kinds(
        surrogate="clipped" if LOSS_TYPES[options.loss_type].clips_ratio else options.loss_type,
        kl=options.kl,
        mismatch=_mismatch(options, inputs),
        has_penalty=options.beta != 0,
        corrects_bias=options.use_bias_correction_kl,
        has_bonus=options.entropy_coef != 0,
        has_entropy=has_entropy or options.entropy_coef != 0,
        by_sequence=by_sequence,
    )
    return TokenObjective(inputs, numbers, kinds)


def _bound(value: float | None, no_bound: float = math.inf) -> float:
    return no_bound if value is None else float(value)


def _mismatch(options: PolicyOptions, inputs: TokenInputs) -> str:
    if inputs.sampling_logprobs is None or not options.vllm_importance_sampling_correction:
        return "none"
    if inputs.importance_sampling_ratio is not None:
        return "known"
    return options.vllm_importance_sampling_mode.partition("_")[2]
