"""The options of losses of whole sequences: defaults, help, bounds, and which of them go together.

This module imports no torch, so that a command line can show these fields at once. Names and defaults are
those of TRL 1.16's DPOConfig, CPOConfig and KTOConfig; docs/loss_head.md names what differs.
"""

from dataclasses import dataclass, fields
from itertools import chain
from typing import Any

from dupo_kernels._messages import is_number, refused
from dupo_kernels._options import LARGEST, check_value, option
from dupo_kernels.preferences.choices import ALIASES, F_DIVERGENCES, PREFERENCE_LOSSES, PreferenceLoss


@dataclass(frozen=True)
class PreferenceOptions:
    """Every option of a preference loss; the help text of a field (`metadata["help"]`) says what it does.

    Attributes:
        loss_type: one name of `PREFERENCE_LOSSES` or `ALIASES`, or several whose losses are added; afterwards
            a tuple of names.
        loss_weights: one factor for each of them; a tuple afterwards.

    Raises:
        ValueError: an unknown choice, a number out of range, or an option that no loss of the sum reads.
    """

    loss_type: tuple[str, ...] = option(
        ("sigmoid",),
        "How sequences are compared. Of pairs: sigmoid (DPO, CPO), sigmoid_norm, hinge, ipo, robust, "
        "exo_pair, discopop, nca_pair, bco_pair, sppo_hard, apo_zero, apo_down, simpo, orpo (the odds "
        "ratio), sft (the chosen sequence alone). Of K sequences, the best first: plackett_luce. Of single "
        "sequences: kto, apo_zero_unpaired. Several names are added up.",
    )
    loss_weights: tuple[float, ...] = option((), "Factors of several losses (none: 1 each).")
    beta: float = option(
        0.1,
        "Factor of the log-ratio of policy and reference. ipo: the regularization tau of its paper. simpo: "
        "factor of the mean log-probability. orpo: factor of the loss.",
        above=0.0,
        at_most=LARGEST,
    )
    label_smoothing: float = option(
        0.0,
        "Probability that a pair is labelled the wrong way round. Read by sigmoid, simpo, robust and "
        "exo_pair, which needs more than 0.",
        at_least=0.0,
        below=0.5,
    )
    f_divergence_type: str = option(
        "reverse_kl",
        "The divergence from the reference whose derivative makes scores of log-ratios (f-DPO).",
        choices=F_DIVERGENCES,
    )
    f_alpha_divergence_coef: float = option(
        0.5, "The alpha of alpha_divergence; 1 is reverse_kl.", at_least=-LARGEST, at_most=LARGEST
    )
    discopop_tau: float = option(0.05, "Temperature of discopop's mixture.", above=0.0, at_most=LARGEST)
    simpo_gamma: float = option(
        0.5, "Margin that simpo wants between the two rewards.", at_least=-LARGEST, at_most=LARGEST
    )
    alpha: float = option(
        0.0,
        "Shape of the reward without a reference, (1 - p^-alpha) / alpha (AlphaPO); 0 is log p.",
        at_least=-LARGEST,
        at_most=LARGEST,
    )
    desirable_weight: float = option(
        1.0, "Factor of desirable single sequences.", at_least=0.0, at_most=LARGEST
    )
    undesirable_weight: float = option(
        1.0, "Factor of undesirable single sequences.", at_least=0.0, at_most=LARGEST
    )
    reference_free: bool = option(
        False, "Compare log-probabilities alone, as CPO does; else ref_logps is needed."
    )

    def __post_init__(self) -> None:
        names: Any = self.loss_type
        # A name alone is the usual case, and a list what a config file holds.
        names = (names,) if isinstance(names, str) else names
        if not isinstance(names, list | tuple) or not names or not all(isinstance(n, str) for n in names):
            raise refused("loss_type", "a name or several", self.loss_type)
        names = [ALIASES.get(name, name) for name in names]
        for name in names:
            if name not in PREFERENCE_LOSSES:
                raise ValueError(f"loss_type: expected one of {', '.join(PREFERENCE_LOSSES)}, got {name!r}")
        if len(set(names)) < len(names):
            raise refused("loss_type", "each name once", self.loss_type)
        weights: Any = self.loss_weights
        if weights is None or (isinstance(weights, list | tuple) and not weights):
            weights = (1.0,) * len(names)
        if not isinstance(weights, list | tuple) or not all(map(_is_finite, weights)):
            raise refused("loss_weights", "finite numbers", self.loss_weights)
        if len(weights) != len(names):
            raise refused("loss_weights", f"{len(names)} numbers, one for each loss_type", self.loss_weights)
        # Frozen, so that an objective can be a key; a list of the caller must not change it later.
        object.__setattr__(self, "loss_type", tuple(names))
        object.__setattr__(self, "loss_weights", tuple(float(weight) for weight in weights))
        for spec in fields(self):
            if spec.name not in ("loss_type", "loss_weights"):
                check_value(spec, getattr(self, spec.name))
        self._check_combinations()

    @property
    def losses(self) -> list[PreferenceLoss]:
        """What is known of each loss of the sum."""
        return [PREFERENCE_LOSSES[name] for name in self.loss_type]

    @property
    def sequences(self) -> int:
        """How many sequences a group has; 0 for any number of at least two."""
        return max(loss.sequences for loss in self.losses)

    @property
    def needs_reference(self) -> bool:
        """Whether the loss reads ref_logps."""
        return not self.reference_free and any(loss.reference for loss in self.losses)

    def _check_combinations(self) -> None:
        # An effect that was asked for and cannot happen is an error, never ignored in silence.
        if len({loss.sequences for loss in self.losses}) > 1:
            raise refused("loss_type", "losses of groups of one size", self.loss_type)
        if self.label_smoothing and not any(loss.smooths for loss in self.losses):
            raise self._unread("label_smoothing", 0)
        if "exo_pair" in self.loss_type and self.label_smoothing == 0:
            raise ValueError("label_smoothing: expected more than 0 for loss_type='exo_pair', got 0")
        if self.f_divergence_type != "reverse_kl" and not all(loss.scores for loss in self._compared):
            raise self._unread("f_divergence_type", "reverse_kl")
        if self.f_divergence_type != "reverse_kl" and self.reference_free:
            got = f"got {self.f_divergence_type!r}"
            raise ValueError(f"f_divergence_type: expected 'reverse_kl' with reference_free, {got}")
        self._check_own_options()
        if self.alpha and not all(loss.shapes for loss in self._compared):
            raise self._unread("alpha", 0)
        if self.alpha and self.needs_reference:
            raise ValueError(f"alpha: expected 0, or reference_free=True, got {self.alpha}")

    def _check_own_options(self) -> None:
        changed = {
            spec.name: spec.default for spec in fields(self) if getattr(self, spec.name) != spec.default
        }
        read = set(chain.from_iterable(loss.options for loss in self.losses))
        for name in chain.from_iterable(loss.options for loss in PREFERENCE_LOSSES.values()):
            if name in changed and name not in read:
                raise self._unread(name, changed[name])
        name = "f_alpha_divergence_coef"
        if name in changed and self.f_divergence_type != "alpha_divergence":
            reason = f"for f_divergence_type={self.f_divergence_type!r}, which does not read it"
            raise ValueError(f"{name}: expected {changed[name]} {reason}, got {getattr(self, name)}")

    @property
    def _compared(self) -> list[PreferenceLoss]:
        # What compares sequences; sft looks at the chosen one alone, whatever the scores are.
        names = [name for name in self.loss_type if name != "sft"]
        return [PREFERENCE_LOSSES[name] for name in names or self.loss_type]

    def _unread(self, name: str, expected: object) -> ValueError:
        of_type = f"for loss_type={', '.join(self.loss_type)!r}, which does not read it"
        return ValueError(f"{name}: expected {expected} {of_type}, got {getattr(self, name)}")


def _is_finite(value: Any) -> bool:
    return is_number(value) and abs(value) <= LARGEST
