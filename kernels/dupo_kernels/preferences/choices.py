"""The names of losses of whole sequences, and what tells the losses apart. Imports no torch."""

from typing import NamedTuple


class PreferenceLoss(NamedTuple):
    """What a loss compares, and which options and inputs it reads.

    Attributes:
        sequences: of a group, K; 0 for any number of at least two.
        reference: compares the policy with a reference model.
        scores: f_divergence_type changes what the loss compares.
        smooths: reads label_smoothing.
        shapes: reads alpha, where there is no reference.
        options: that it alone reads.
    """

    sequences: int
    reference: bool = True
    scores: bool = False
    smooths: bool = False
    shapes: bool = False
    options: tuple[str, ...] = ()


LABEL_WEIGHTS = ("desirable_weight", "undesirable_weight")
# The one list of losses, by TRL 1.16's names; plackett_luce is in no trainer there.
PREFERENCE_LOSSES = {
    "sigmoid": PreferenceLoss(2, scores=True, smooths=True, shapes=True),
    "sigmoid_norm": PreferenceLoss(2, scores=True),
    "hinge": PreferenceLoss(2, scores=True, shapes=True),
    "ipo": PreferenceLoss(2, scores=True, shapes=True),
    "robust": PreferenceLoss(2, scores=True, smooths=True),
    "exo_pair": PreferenceLoss(2, scores=True, smooths=True),
    "discopop": PreferenceLoss(2, scores=True, options=("discopop_tau",)),
    "nca_pair": PreferenceLoss(2),
    "bco_pair": PreferenceLoss(2),
    "sppo_hard": PreferenceLoss(2),
    "apo_zero": PreferenceLoss(2),
    "apo_down": PreferenceLoss(2),
    "simpo": PreferenceLoss(2, reference=False, smooths=True, shapes=True, options=("simpo_gamma",)),
    "orpo": PreferenceLoss(2, reference=False),
    "sft": PreferenceLoss(2, reference=False),
    "plackett_luce": PreferenceLoss(0),
    "kto": PreferenceLoss(1, options=LABEL_WEIGHTS),
    "apo_zero_unpaired": PreferenceLoss(1, options=LABEL_WEIGHTS),
}
SCORE_LOSSES = ("bradley_terry", "plackett_luce")  # of reward models, see `score_loss`
# TRL's second names; AlphaPO is simpo with an alpha.
ALIASES = {"alphapo": "simpo"}
F_DIVERGENCES = ("reverse_kl", "forward_kl", "js_divergence", "alpha_divergence")
