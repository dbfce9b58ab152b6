"""Losses of scores of whole sequences, whatever made the scores: a reward model, or a policy and a reference.

    Bradley-Terry    -log sigmoid(s_1 - s_2 - margin) + centering (s_1 + s_2)^2
    Plackett-Luce    -sum over k of (s_k - log sum over j >= k of exp s_j)

Shape letters: G groups, K sequences of a group, the best first.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from dupo_kernels._checks import FLOATING, REAL, check_devices, check_tensors
from dupo_kernels._messages import is_number, refused
from dupo_kernels.preferences.choices import SCORE_LOSSES
from dupo_kernels.tokens.choices import check_choice


def score_loss(
    scores: Tensor,
    *,
    kind: str = "bradley_terry",
    margin: Tensor | None = None,
    center_rewards_coefficient: float = 0.0,
) -> Tensor:
    """The mean loss of groups of scores, for reward models. Autograd differentiates it.

    Args:
        scores: (G, K), the best sequence first; K = 2 for bradley_terry, at least 2 for plackett_luce.
        kind: bradley_terry or plackett_luce, which are equal for K = 2 without margin.
        margin: (G,), bradley_terry only: by how much the first score should be higher (Llama 2); of any real
            type.
        center_rewards_coefficient: bradley_terry only: factor of (s_1 + s_2)^2, which holds scores near 0.

    Returns:
        Scalar, fp32 (fp64 for fp64 scores); NaN for no groups.

    Raises:
        ValueError: types, shapes or devices that do not match, an unknown kind, an option that the kind does
            not read.
    """
    check_tensors(FLOATING, ("scores",), scores=scores)
    check_tensors(REAL, margin=margin)
    check_choice("kind", kind, SCORE_LOSSES)
    if not is_number(center_rewards_coefficient) or not 0 <= center_rewards_coefficient < float("inf"):
        raise refused(
            "center_rewards_coefficient", "a finite number of at least 0", center_rewards_coefficient
        )
    check_devices(scores.device, "scores", margin=margin)
    is_pair = kind == "bradley_terry"
    if scores.dim() != 2 or scores.shape[1] < 2 or (is_pair and scores.shape[1] != 2):
        raise refused(
            "scores", "shape (G, 2)" if is_pair else "shape (G, K) with K of at least 2", scores.shape
        )
    if margin is not None and margin.shape != scores.shape[:1]:
        raise refused("margin", f"shape {tuple(scores.shape[:1])}", margin.shape)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if not is_pair:
        if margin is not None or center_rewards_coefficient:
            unread = "margin" if margin is not None else "center_rewards_coefficient"
            raise ValueError(f"{unread}: expected none for kind={kind!r}, which does not read it")
        return plackett_luce(scores).mean()
    # Half scores would round the difference that the loss is about.
    best, other = scores.unbind(1)
    losses = -logsigmoid(best - other - (0 if margin is None else margin.to(scores.dtype)))
    # 0 times an infinite square is NaN.
    if center_rewards_coefficient:
        losses = losses + center_rewards_coefficient * (best + other) ** 2
    return losses.mean()


def plackett_luce(scores_GK: Tensor) -> Tensor:
    """-log of the probability of the order 1, 2, ..., K, (G,): each best is drawn from what is left."""
    # Only differences count, and those of numbers near 0 are exact.
    scores_GK = scores_GK - scores_GK.detach().amax(1, keepdim=True)
    # What stands last is drawn for certain, also with probability 0, where a logarithm has no derivative.
    lowest = torch.finfo(scores_GK.dtype).min / 4
    scores_GK = torch.cat([scores_GK[:, :-1], scores_GK[:, -1:].clamp(min=lowest)], 1)
    # The sums over what is left, from the last place on: one pass.
    left_GK = scores_GK.flip(1).logcumsumexp(1).flip(1)
    return (left_GK - scores_GK)[:, :-1].sum(1)
