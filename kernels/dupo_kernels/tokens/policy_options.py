"""The options of a policy loss: defaults, help, bounds, and which of them go together.

This module imports no torch: `python -m dupo.train --help` shows these fields. `PolicyObjective` in
policy_objective.py adds what the options do to tensors. Names and defaults are TRL 1.16's where TRL has the
option, and so are meanings, but for those that docs/trl.md names: loss_type, entropy_coef and
top_entropy_quantile.
"""

from dataclasses import dataclass, fields

from dupo_kernels._options import LARGEST, check_value, option
from dupo_kernels.tokens.choices import KL_KINDS, LOSS_TYPES, MISMATCH_MODES, RATIO_LEVELS


@dataclass(frozen=True)
class PolicyOptions:
    """Every option of the policy loss; the help text of a field (`metadata["help"]`) says what it does.

    Raises:
        ValueError: an unknown choice, a number out of range, or an option that the loss type cannot honour.
    """

    # The order of the fields is that of --help: what is changed most stands first.
    loss_type: str = option(
        "dapo",
        "How the losses of tokens are averaged. grpo: over the tokens of each completion, then over "
        "completions. dapo, bnpo: over all tokens. dr_grpo: the sum over all tokens divided by completions x "
        "max_completion_length. luspo: the sum over each completion, averaged over completions. Three types "
        "have a loss of their own instead of the clip: cispo (averages like dapo) caps the ratio at "
        "epsilon_high, sapo (averages like grpo) and vespo (averages like dapo) fade it out smoothly.",
        choices=tuple(LOSS_TYPES),
    )
    epsilon: float = option(
        0.2,
        "Clip the probability ratio from below at 1 - epsilon. cispo, sapo and vespo ignore epsilon.",
        at_least=0.0,
        at_most=LARGEST,
    )
    epsilon_high: float | None = option(
        None,
        "Clip the probability ratio from above at 1 + epsilon_high (none: epsilon). For cispo, which "
        "requires it, epsilon_high is the largest ratio itself.",
        at_least=0.0,
        at_most=LARGEST,
    )
    delta: float | None = option(
        None,
        "Largest probability ratio where the clip does not apply, as in INTELLECT-2's two-sided clip "
        "(none: no bound). Only for loss types that clip.",
        at_least=0.0,
        at_most=LARGEST,
    )
    clip_ratio_c: float | None = option(
        None,
        "Largest loss of a token with a negative advantage, as a multiple of the size of that advantage: "
        "dual-clip PPO (none: no bound). Only for loss types that clip.",
        at_least=1.0,
        at_most=LARGEST,
    )
    beta: float = option(
        0.0,
        "Coefficient of the KL penalty towards the reference model; 0 means no penalty.",
        at_least=0.0,
        at_most=LARGEST,
    )
    kl: str = option(
        "k3",
        "Estimator of the KL penalty. With d = log(reference / policy) of a sampled token: k1 is -d, k2 is "
        "d^2 / 2, k3 is exp(d) - d - 1, abs is |d|, k3+ has the value of k3 and the gradient of k2.",
        choices=KL_KINDS,
    )
    use_bias_correction_kl: bool = option(
        True,
        "Multiply the KL estimate by the probability ratio and differentiate the product, which makes the "
        "estimate unbiased off-policy (DeepSeek-V3.2).",
    )
    entropy_coef: float = option(
        0.0,
        "Coefficient of the entropy bonus. The bonus is averaged like the policy loss, so splitting a batch "
        "does not change the gradient.",
        at_least=-LARGEST,
        at_most=LARGEST,
    )
    importance_sampling_level: str = option(
        "token",
        "Take the probability ratio of each token, or of each whole sequence: exp(mean log-ratio), as in "
        "GSPO. vespo has a ratio of its own and requires token.",
        choices=RATIO_LEVELS,
    )
    sapo_temperature_pos: float = option(
        1.0,
        "Temperature of sapo's gate for tokens with a positive advantage.",
        above=0.0,
        at_most=LARGEST,
    )
    sapo_temperature_neg: float = option(
        1.05,
        "Temperature of sapo's gate for tokens with a negative or zero advantage.",
        above=0.0,
        at_most=LARGEST,
    )
    vespo_k_pos: float = option(
        2.0,
        "Exponent of vespo's sequence weight where the advantage is not negative.",
        at_least=-LARGEST,
        at_most=LARGEST,
    )
    vespo_lambda_pos: float = option(
        3.0,
        "Decay of vespo's sequence weight where the advantage is not negative.",
        above=0.0,
        at_most=LARGEST,
    )
    vespo_k_neg: float = option(
        3.0,
        "Exponent of vespo's sequence weight where the advantage is negative.",
        at_least=-LARGEST,
        at_most=LARGEST,
    )
    vespo_lambda_neg: float = option(
        2.0,
        "Decay of vespo's sequence weight where the advantage is negative.",
        above=0.0,
        at_most=LARGEST,
    )
    vllm_importance_sampling_correction: bool = option(
        True,
        "Where the log-probabilities of the sampling engine are known, weigh each policy loss by the ratio "
        "of the training engine to the sampling engine. The KL penalty is not weighed. The built-in engine "
        "of dupo samples with the weights in training, so nothing is weighed there.",
    )
    vllm_importance_sampling_mode: str = option(
        "sequence_mask",
        "Take that ratio of each token or of each whole sequence (the product of its tokens), and truncate "
        "it to the bounds or mask (set to 0) what lies outside. vespo requires a token mode.",
        choices=MISMATCH_MODES,
    )
    vllm_importance_sampling_clip_max: float | None = option(
        3.0,
        "Upper bound of the ratio of training engine to sampling engine; none means no bound.",
        above=0.0,
        at_most=LARGEST,
    )
    vllm_importance_sampling_clip_min: float | None = option(
        None,
        "Lower bound of the ratio of training engine to sampling engine; none means no bound.",
        at_least=0.0,
        at_most=LARGEST,
    )
    off_policy_mask_threshold: float | None = option(
        None,
        "Leave out sequences with a negative advantage whose mean log-probability has fallen by more than "
        "this many nats since they were sampled (DeepSeek-V3.2, eq. 9; none: leave out none).",
        at_least=-LARGEST,
        at_most=LARGEST,
    )
    top_entropy_quantile: float = option(
        1.0,
        "Share of the tokens that have a loss: those with the highest entropy in one call (arXiv "
        "2506.01939). 1 means all tokens.",
        above=0.0,
        at_most=1.0,
    )

    def __post_init__(self) -> None:
        # Fields before combinations: a combination of two impossible values is a misleading message.
        for spec in fields(self):
            check_value(spec, getattr(self, spec.name))
        self._check_combinations()

    def _check_combinations(self) -> None:
        # An effect that was asked for and cannot happen is an error, never ignored in silence.
        reason = f"for loss_type={self.loss_type!r} (it has no clip)"
        if not LOSS_TYPES[self.loss_type].clips_ratio:
            for name in ("delta", "clip_ratio_c"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name}: expected None {reason}, got {getattr(self, name)}")
        if self.epsilon_high is not None and self.loss_type in ("sapo", "vespo"):
            raise ValueError(f"epsilon_high: expected None {reason}, got {self.epsilon_high}")
        # The default 1 + epsilon would be a wrong cap in silence: CISPO's cap is a ratio, not an offset. And
        # under a cap of 0 there is no loss.
        if self.loss_type == "cispo" and not self.epsilon_high:
            raise ValueError(
                "epsilon_high: expected a value above 0 for loss_type='cispo' (the cap of the ratio), got "
                f"{self.epsilon_high}"
            )
        if self.delta is not None and self.clip_ratio_c is not None:
            raise ValueError(
                "delta and clip_ratio_c: expected one of them to be None, as both bound the same branch, got "
                f"{self.delta} and {self.clip_ratio_c}"
            )
        if self.importance_sampling_level == "sequence" and self.loss_type == "vespo":
            raise ValueError(
                "importance_sampling_level: expected 'token' for loss_type='vespo', got 'sequence'"
            )
        low, high = self.vllm_importance_sampling_clip_min, self.vllm_importance_sampling_clip_max
        if low is not None and high is not None and low > high:
            raise ValueError(
                f"vllm_importance_sampling_clip_min: expected at most clip_max ({high}), got {low}"
            )
