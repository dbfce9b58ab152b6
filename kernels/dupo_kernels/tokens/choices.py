"""The names that options of a policy loss may take, and what tells the loss types apart.

This module imports no torch, so that a command line can list the choices at once.
"""

from collections.abc import Iterable
from typing import NamedTuple

from dupo_kernels._messages import shown


class LossType(NamedTuple):
    """How the losses of tokens become the loss of a batch, and whether the ratio is clipped.

    Attributes:
        counts_tokens: `num_items` counts active tokens; otherwise it counts sequences.
        divisor: what divides a token's weight beside `num_items`: the "length" of its sequence in active
            tokens, the "max_completion_length" of the run, or "" for nothing.
        clips_ratio: the surrogate is PPO's clip, so `epsilon`, `delta` and `clip_ratio_c` apply.
    """

    counts_tokens: bool
    divisor: str
    clips_ratio: bool


# The one list of loss types: options, weights and statistics all read it. TRL's names and averages.
LOSS_TYPES = {
    "grpo": LossType(counts_tokens=False, divisor="length", clips_ratio=True),
    "bnpo": LossType(counts_tokens=True, divisor="", clips_ratio=True),
    "dr_grpo": LossType(counts_tokens=False, divisor="max_completion_length", clips_ratio=True),
    "dapo": LossType(counts_tokens=True, divisor="", clips_ratio=True),
    "cispo": LossType(counts_tokens=True, divisor="", clips_ratio=False),
    "sapo": LossType(counts_tokens=False, divisor="length", clips_ratio=False),
    "luspo": LossType(counts_tokens=False, divisor="", clips_ratio=True),
    "vespo": LossType(counts_tokens=True, divisor="", clips_ratio=False),
}

# "sequence" is GSPO's ratio.
RATIO_LEVELS = ("token", "sequence")
# The keys of kl.KL_ESTIMATORS, which cannot be read without torch; a test compares them.
KL_KINDS = ("k1", "k2", "k3", "abs", "k3+")
# <level>_<rule>: mismatch.py splits the name.
MISMATCH_MODES = ("sequence_mask", "sequence_truncate", "token_mask", "token_truncate")


def check_choice(argument: str, value: str, choices: Iterable[str]) -> None:
    """Raises ValueError unless `value` is one of `choices`; `argument` is its name in the message."""
    # A value that cannot be hashed would be a TypeError of the lookup.
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{argument}: expected one of {', '.join(choices)}, got {shown(value)}")
