"""Mixes of preference losses, their options, and batches of sequences for them."""

import random
from typing import Any

import torch
from torch import Tensor

from dupo_kernels.preferences.choices import F_DIVERGENCES, PREFERENCE_LOSSES

PAIRS = [name for name, loss in PREFERENCE_LOSSES.items() if loss.sequences == 2]


def mix(number: int) -> dict[str, Any]:
    """Options of one loss or a sum of two, drawn by number; each name comes up first in turn."""
    draw = random.Random(number)
    first = list(PREFERENCE_LOSSES)[number % len(PREFERENCE_LOSSES)]
    names = [first]
    if first in PAIRS and draw.random() < 0.4:
        names.append(draw.choice([name for name in PAIRS if name != first]))
    losses = [PREFERENCE_LOSSES[name] for name in names]
    options: dict[str, Any] = {"loss_type": names, "beta": draw.choice([0.05, 0.1, 0.5, 2.0])}
    options["loss_weights"] = [draw.choice([0.3, 1.0, 2.5]) for _ in names]
    if "exo_pair" in names or (any(loss.smooths for loss in losses) and draw.random() < 0.5):
        options["label_smoothing"] = draw.choice([0.01, 0.1, 0.3])
    compared = [loss for name, loss in zip(names, losses, strict=True) if name != "sft"]
    if compared and all(loss.scores for loss in compared) and draw.random() < 0.5:
        options["f_divergence_type"] = draw.choice(F_DIVERGENCES)
        if options["f_divergence_type"] == "alpha_divergence":
            options["f_alpha_divergence_coef"] = draw.choice([0.5, 0.3, 1.0, 1.4])
    elif compared and all(loss.shapes for loss in compared) and draw.random() < 0.5:
        options["alpha"] = draw.choice([0.25, -0.2])
        options["reference_free"] = True
    elif draw.random() < 0.2:
        options["reference_free"] = True
    if "simpo" in names:
        options["simpo_gamma"] = draw.choice([0.0, 0.5, 1.5])
    if "discopop" in names:
        options["discopop_tau"] = draw.choice([0.5, 2.0])
    if losses[0].sequences == 1:
        options["desirable_weight"], options["undesirable_weight"] = draw.choice([(1.0, 1.0), (1.5, 0.7)])
    return options


class Sequences:
    """S sequences of a few tokens, their groups, and what a mix of losses reads of them.

    Attributes:
        lengths: of each sequence; one has a single token.
        groups: (S,) ids on the host; members of a group do not stand together.
        members: the sequences of each group, by ascending id.
        inputs: by name, what `preference_loss` reads beside log-probabilities.
    """

    def __init__(self, options: dict[str, Any], number: int, groups: int = 3, longest: int = 5) -> None:
        kind = PREFERENCE_LOSSES[options["loss_type"][0]]
        self.size = kind.sequences or 2 + number % 3
        S, self.generator = self.size * groups, torch.Generator().manual_seed(number)
        self.lengths = torch.randint(1, longest + 1, (S,), generator=self.generator)
        ids = torch.randperm(groups, generator=self.generator) * 7 - 5
        self.groups = ids.repeat(self.size)[torch.randperm(S, generator=self.generator)]
        self.members = [
            [s for s in range(S) if self.groups[s] == id] for id in sorted(set(self.groups.tolist()))
        ]
        self.inputs: dict[str, Tensor] = {}
        needs = [PREFERENCE_LOSSES[name].reference for name in options["loss_type"]]
        if any(needs) and not options.get("reference_free"):
            self.inputs["ref_logps"] = -2 * self.uniform(S)
        if kind.sequences == 1:
            self.inputs["desirable"] = torch.arange(S) % 3 > 0
        if "kto" in options["loss_type"]:
            self.inputs["kl"] = torch.tensor(0.3, dtype=torch.float64)

    def uniform(self, *shape: int) -> Tensor:
        """Numbers from 0 to 1, float64."""
        return torch.rand(*shape, generator=self.generator, dtype=torch.float64)
