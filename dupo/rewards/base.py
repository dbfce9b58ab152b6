"""What a reward is: a function from a rollout, and the duals of its answers, to one number a completion.

To add a reward, write the function in a file of this folder and add its line to `REWARDS` in
`dupo/config/catalogue.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from dupo.config.options import RewardOptions
from dupo.duality.reconstruct import Reconstructions
from dupo.records import Rollout
from dupo.tasks.base import Task


class TrainerState(NamedTuple):
    """How far the training is, by the names of transformers' TrainerState.

    Attributes:
        global_step: optimizer steps that are done; 0 where nothing is trained.
        max_steps: optimizer steps of the whole run.
    """

    global_step: int = 0
    max_steps: int = 1


@dataclass(frozen=True, slots=True)
class RewardLog:
    """What reward functions of the user logged in one rollout.

    Attributes:
        metrics: `function/name` -> the values that were logged.
        columns: `function/column` -> one value for each completion.
    """

    metrics: dict[str, list[float]] = field(default_factory=dict)
    columns: dict[str, list[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RewardInputs:
    """What a reward may read.

    Attributes:
        reconstructions: what the judge recovered from each answer; empty where no reward needs duals.
        seed: fixes the draws of rewards that draw.
        state: how far the training is.
        log: where reward functions of the user write.
        max_completion_length: most tokens of a completion of the rollout.
    """

    task: Task
    rollout: Rollout
    reconstructions: Reconstructions
    options: RewardOptions
    seed: int
    state: TrainerState = field(default_factory=TrainerState)
    log: RewardLog = field(default_factory=RewardLog)
    max_completion_length: int = field(kw_only=True)


# Returns rewards_PG: (P, G) fp32 on the CPU, G completions of each of P problems; NaN: says nothing.
Reward = Callable[[RewardInputs], Tensor]
