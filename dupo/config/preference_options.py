"""Options of losses that compare answers: those of `dupo_kernels`, as a command line and YAML write them."""

import dataclasses
from dataclasses import dataclass, fields
from typing import Any

from dupo.config.values import Options, listed, option, show
from dupo.errors import UserError, quoted
from dupo_kernels.preferences.choices import PREFERENCE_LOSSES, SCORE_LOSSES
from dupo_kernels.preferences.preference_options import PreferenceOptions

_KERNEL = {spec.name: spec for spec in fields(PreferenceOptions)}
_OF_SINGLES = [name for name, loss in PREFERENCE_LOSSES.items() if loss.sequences == 1]
_OF_PAIRS = [name for name, loss in PREFERENCE_LOSSES.items() if loss.sequences == 2]


def _same(name: str) -> Any:
    """The option of that name, as `dupo_kernels` declares it."""
    return dataclasses.field(default=_KERNEL[name].default, metadata=_KERNEL[name].metadata)


@dataclass(frozen=True)
class ComparisonOptions(Options):
    """How the loss compares answers."""

    # A command line and YAML have one value for an option: lists are texts here.
    loss_type: str = option(
        "sigmoid",
        f"how two answers are compared, by TRL's names: {', '.join(_OF_PAIRS)}. sigmoid is DPO; simpo, orpo "
        "and sft (the chosen answer alone) read no reference. Several, comma-separated, are added",
    )
    loss_weights: str | None = option(None, "factor of each loss, comma-separated; none: 1 each")
    beta: float = _same("beta")
    label_smoothing: float = _same("label_smoothing")
    f_divergence_type: str = _same("f_divergence_type")
    f_alpha_divergence_coef: float = _same("f_alpha_divergence_coef")
    discopop_tau: float = _same("discopop_tau")
    simpo_gamma: float = _same("simpo_gamma")
    alpha: float = _same("alpha")
    reference_free: bool = _same("reference_free")

    def check_together(self) -> None:
        """Checks names, weights, and that every option is read by a loss."""
        try:
            checked = self.for_loss()
        except ValueError as error:
            raise UserError(str(error)) from None
        if checked.sequences != 2:
            raise UserError(f"loss_type: expected losses of pairs, got {quoted(self.loss_type)}")

    def for_loss(self) -> PreferenceOptions:
        """The same options as `dupo_kernels` takes them."""
        own: dict[str, Any] = {spec.name: getattr(self, spec.name) for spec in fields(self)}
        own["loss_type"] = tuple(listed(self.loss_type))
        try:
            own["loss_weights"] = tuple(map(float, listed(self.loss_weights))) if self.loss_weights else ()
        except ValueError:
            expected, actual = "numbers, comma-separated", quoted(self.loss_weights)
            raise UserError(f"loss_weights: expected {expected}, got {actual}") from None
        return PreferenceOptions(**own)


@dataclass(frozen=True)
class LabelOptions(Options):
    """How the loss looks at single answers."""

    loss_type: str = option(
        "kto",
        "how an answer is judged, by TRL's names: kto compares with how far the policy has moved on other "
        "answers, apo_zero_unpaired with the reference alone",
        "|".join(_OF_SINGLES),
    )
    beta: float = _same("beta")
    desirable_weight: float = _same("desirable_weight")
    undesirable_weight: float = _same("undesirable_weight")

    def for_loss(self) -> PreferenceOptions:
        """The same options as `dupo_kernels` takes them."""
        return PreferenceOptions(**{spec.name: getattr(self, spec.name) for spec in fields(self)})


@dataclass(frozen=True)
class ScoreOptions(Options):
    """How the loss compares scores of a reward model."""

    loss_type: str = option(
        "bradley_terry",
        "how scores of ranked answers are compared: bradley_terry looks at all pairs of a ranking, "
        "plackett_luce at its whole order; of two answers without a margin both are the same",
        "|".join(SCORE_LOSSES),
    )
    center_rewards_coefficient: float = option(
        0.0,
        "factor of (s_1 + s_2)^2 in the loss, which holds the mean of two scores near 0 (bradley_terry)",
        at_least=0,
        at_most=1e6,
    )

    def check_together(self) -> None:
        """Checks that the coefficient is read."""
        if self.center_rewards_coefficient and self.loss_type != "bradley_terry":
            got = show(self.center_rewards_coefficient)
            raise UserError(
                f"center_rewards_coefficient: expected 0 with loss_type {self.loss_type}, got {got}"
            )
