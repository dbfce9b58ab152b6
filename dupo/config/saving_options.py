"""Options of what a training run writes beside its checkpoints, and how it writes them."""

from dataclasses import dataclass

from dupo.config.values import Options, option


@dataclass(frozen=True)
class SavingOptions(Options):
    """How much a kill may cost, and how long a save may hold the training up."""

    save_rollout_seconds: float = option(
        10.0,
        "save a rollout that took so many seconds before it is trained on, so that a run that is killed "
        "samples it no second time; 0: every rollout",
        at_least=0,
    )
    # None and not true: only a run knows its device.
    async_save: bool | None = option(
        None,
        "write checkpoints in the background, from a copy in host memory, while the training goes on, in one "
        "process or several; none: on a GPU, not on a CPU",
    )
