"""What other rewards give in the default run, to stand beside a run: measured by `bench.default_rewards`.

references.json is made by `python -m bench.default_rewards`: task -> what the file says of it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dupo.config.config import Config
from dupo.config.layers import assemble, config_hash

REFERENCES = Path(__file__).with_name("references.json")
# For whoever reads a run beside a reference.
OF_ONE_SEED = "This run is one seed, and one seed may lie above or below such a mean."


class Reference(NamedTuple):
    """A reward in the default run of a task, mean over seeds.

    Attributes:
        reward: what `--reward` names.
        seeds: number of runs.
        steps: optimizer steps of the evaluations.
        accuracies: held-out accuracy at these steps, in [0, 1].
    """

    reward: str
    seeds: int
    steps: Sequence[float]
    accuracies: Sequence[float]

    @property
    def change(self) -> float:
        """Held-out accuracy at the end less that at the start."""
        return self.accuracies[-1] - self.accuracies[0]


def references(config: Config) -> list[Reference]:
    """The rewards that the run of a config can be compared with; none where the loop is another one."""
    rows = json.loads(REFERENCES.read_text(encoding="utf-8")).get(config.task.task)
    # Tasks that read a data set have no default run.
    if not rows:
        return []
    default = assemble({"task": config.task.task}, config.program)
    # The same loop: the seed, the reward and where the start comes from may differ.
    free = {"seed": config.run.seed, "reward": config.reward.reward, "teach": config.model.teach}
    is_default_loop = config_hash(config) == config_hash(default.changed(**free))
    return [Reference(**row) for row in rows] if is_default_loop else []
