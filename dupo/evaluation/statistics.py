"""How well rewards follow quality."""

import numpy as np
import numpy.typing as npt


def concordance(rewards: npt.ArrayLike, quality: npt.ArrayLike) -> float | None:
    """Chance that of two samples of different quality the better sample has the higher reward.

    Ties of the reward count half. For quality in {0, 1} this is the area under the ROC curve (AUC).

    Args:
        rewards: (n,) numbers.
        quality: (n,) numbers.

    Returns:
        A number in [0, 1]; None where all samples are equally good.
    """
    rewards, quality = np.asarray(rewards, float), np.asarray(quality, float)
    # Sorted by quality, so that `worse` below is every sample before the current value.
    order = np.argsort(quality, kind="stable")
    rewards, quality = rewards[order], quality[order]
    wins = pairs = 0.0
    for value in np.unique(quality)[1:]:
        worse, same = np.sort(rewards[quality < value]), rewards[quality == value]
        # A tie counts half: it is between the two insertion points.
        below = np.searchsorted(worse, same, "left")
        not_above = np.searchsorted(worse, same, "right")
        wins += float((below + not_above).sum()) / 2
        pairs += len(worse) * len(same)
    # Without a pair of different quality there is nothing to order.
    return wins / pairs if pairs else None
