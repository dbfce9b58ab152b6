"""What a reward is: a function from a rollout, and the duals of its answers, to one number a completion.

To add a reward, write the function in a file of this folder and add its line to `REWARDS` in
`dupo/config/catalogue.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from dupo.config.options import RewardOptions
from dupo.duality.reconstruct import Reconstructions
from dupo.records import Rollout
from dupo.tasks.base import Task


@dataclass(frozen=True, slots=True)
class RewardInputs:
    """What a reward may read.

    Attributes:
        reconstructions: what the judge recovered from each answer; empty where no reward needs duals.
        seed: fixes the draws of rewards that draw.
    """

    task: Task
    rollout: Rollout
    reconstructions: Reconstructions
    options: RewardOptions
    seed: int


# Returns rewards_PG: (P, G) fp32 on the CPU, G completions of each of P problems; NaN: says nothing.
Reward = Callable[[RewardInputs], Tensor]
