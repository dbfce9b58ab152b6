"""From rewards to advantages: better or worse than the other answers to the same question."""

from torch import Tensor


def have_spread(rewards_PG: Tensor) -> Tensor:
    """(P,) bool: whether the rewards of a group differ. A group without spread has advantages of 0."""
    return (rewards_PG != rewards_PG[:, :1]).any(-1)


def group_advantages(rewards_PG: Tensor, scale_rewards: str) -> tuple[Tensor, dict[str, float]]:
    """The group-relative advantages of GRPO (arXiv 2402.03300, section 4.1.2).

    Args:
        rewards_PG: (P, G), G completions of each of P problems.
        scale_rewards: "group", "batch" or "none": divide by that standard deviation.

    Returns:
        (P, G) fp32 advantages, exactly 0 in groups whose rewards are all equal; and the metrics `reward`,
        `reward_std` (mean over groups) and `frac_reward_zero_std`, by TRL's names.
    """
    rewards_PG = rewards_PG.float()
    equal_P = ~have_spread(rewards_PG)
    # Rounding of the mean would leave a push in groups without any difference: they are set to 0.
    centred_PG = (rewards_PG - rewards_PG.mean(-1, keepdim=True)).masked_fill(equal_P[:, None], 0.0)
    std_P = rewards_PG.std(-1).masked_fill(equal_P, 0.0)
    if scale_rewards == "group":
        # 1e-4 as in TRL: groups that hardly differ are not blown up.
        centred_PG = centred_PG / (std_P[:, None] + 1e-4)
    elif scale_rewards == "batch":
        centred_PG = centred_PG / (rewards_PG.std() + 1e-4)
    return centred_PG, {
        "reward": rewards_PG.mean().item(),
        "reward_std": std_P.mean().item(),
        "frac_reward_zero_std": equal_P.float().mean().item(),
    }
