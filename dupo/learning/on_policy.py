"""Is the first step of a rollout on policy? Sampler and learner are then one model, and every ratio is 1.

    ratio = pi_learner / pi_sampler        1 for every token before the weights move
    kl    = mean of  ratio - 1 - log ratio         about half the mean square of log ratio

Where an engine has other arithmetic, the ratio is that of the learner to itself, and the mean size of
log pi_learner - log pi_engine is looked at beside it.

What breaks a trainer in silence shows here first: dropout in the update, another attention, an engine with
other weights.
"""

import math
from collections.abc import Mapping

from dupo.errors import UserError

DIFFERENCE = "sampling/sampling_logp_difference/mean"  # of an engine with other arithmetic, nats
RATIO_NOISE = 1e-3  # of the largest ratio, and of the root mean square log ratio, in float32
# Of the root mean square log ratio in bfloat16, nats. Wider than in `dupo.models.agreement`: the noise was
# measured on random ids, and the tokens of a rollout are others.
NOISES_ALLOWED, ALWAYS_ALLOWED = 4.0, 0.02
CAUSES = (
    "dropout, another attention kernel or precision, another temperature, or an engine with other weights"
)


def off_policy_message(
    metrics: Mapping[str, float], noise: float, temperature: float, *, has_experts: bool = False
) -> str | None:
    """Says how far sampler and learner are apart, where that is more than noise.

    Args:
        metrics: of the first optimizer step of a rollout: `ratio/mean`, `ratio/max`, `approx_kl`, and
            `DIFFERENCE` where the engine has other arithmetic.
        noise: of the model, nats; see `dupo.models.own_forward.own_noise`. 0 in float32.
        temperature: of the samples, which divides the logits and so multiplies the noise.
        has_experts: a router chooses among experts; of many tokens a few then go another way by a rounding.

    Returns:
        A line for the user; None where all is well, or where nothing was learned from.
    """
    # NaN is an error of its own, which the optimizer step tells.
    if math.isnan(metrics.get("approx_kl", math.nan)):
        return None
    is_exact = not noise and not has_experts
    allowed = RATIO_NOISE if is_exact else NOISES_ALLOWED * noise + ALWAYS_ALLOWED
    allowed /= min(1.0, temperature) if temperature else 1.0
    # The mean tells of many tokens or of one far off; the largest ratio tells of one in float32 alone, as
    # bfloat16 has rare tokens that are far off by rounding.
    is_off = not metrics["approx_kl"] <= allowed**2 / 2
    is_off = is_off or (is_exact and not metrics.get("ratio/max", 1.0) - 1 <= allowed)
    # Weights that did not arrive in such an engine would show nowhere else.
    is_off = is_off or not metrics.get(DIFFERENCE, 0.0) <= allowed
    if not is_off:
        return None
    names = [name for name in ("ratio/mean", "ratio/max", "approx_kl", DIFFERENCE) if name in metrics]
    measured = ", ".join(f"{name} {metrics[name]:.4g}" for name in names)
    return (
        "the first step of a rollout is not on policy: sampled tokens have other log-probs in learning than "
        f"in sampling (expected ratios of 1, got {measured}); likely causes: {CAUSES}"
    )


class OnPolicyCheck:
    """Looks at the first step of each rollout, and says once for a run that it is off policy.

    Args:
        temperature: of the samples.
        strict: stop instead of saying so.

    Attributes:
        noise: of the model, nats; to be set as soon as the model is loaded, as `has_experts` is.
        is_first_step: whether the next step is the first of a rollout; part of the state of a run.
    """

    noise: float = 0.0
    has_experts: bool = False

    def __init__(self, temperature: float, *, strict: bool) -> None:
        self.temperature, self.strict = temperature, strict
        self.is_first_step, self._is_told = False, False
        self._warnings: list[str] = []

    def new_rollout(self) -> None:
        """The next step is the first of a rollout."""
        self.is_first_step = True

    def check(self, metrics: Mapping[str, float]) -> None:
        """Looks at the metrics of a step before the weights move: a strict run keeps those that sampled.

        Raises:
            UserError: the step is off policy, and the run is strict.
        """
        # If nothing was learned, the weights did not move: the next step is still the first.
        if not self.is_first_step:
            return
        line = off_policy_message(metrics, self.noise, self.temperature, has_experts=self.has_experts)
        if line is not None and self.strict:  # a resumed run meets the same step again
            raise UserError(f"strict: {line}")
        self.is_first_step = not metrics
        if line is not None and not self._is_told:
            self._warnings.append(f"{line} (--strict stops here)")
            self._is_told = True

    def take_warnings(self) -> list[str]:
        """The lines that nobody has taken yet."""
        lines, self._warnings = self._warnings, []
        return lines
