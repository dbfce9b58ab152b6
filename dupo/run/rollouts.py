"""What decides the rollouts of a training run, so that one of another run is never taken for its own."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from dupo.distributed.ranks import Ranks
from dupo.engines.kept import Groups, RankedGroups
from dupo.run.base import Run
from dupo.storage.checksums import rows_so_far
from dupo.storage.names import METRICS
from dupo.storage.rollouts import SavedRollouts


class RankedRollouts:
    """Rollouts that the first rank keeps, and all ranks read alike; see `dupo.methods.base.Rollouts`."""

    def __init__(self, rollouts: SavedRollouts, ranks: Ranks) -> None:
        self.rollouts, self.ranks = rollouts, ranks

    def save(self, step: int, seconds: float, state: Callable[[], dict[str, Any]]) -> None:
        """Writes a rollout; every rank has to ask."""
        self.ranks.on_first(lambda: self.rollouts.save(step, seconds, state))

    def load(self, step: int) -> Mapping[str, Any] | None:
        """What was saved; every rank has to ask."""
        return self.ranks.on_first(lambda: self.rollouts.load(step))

    def groups(self, step: int) -> Groups:
        """Where the groups of a rollout are kept; every rank has to ask."""
        # The first rank alone opens the file: it may remove one that is of another run.
        return RankedGroups(self.rollouts.groups(step) if self.ranks.is_first else None, self.ranks)

    def drop(self, step: int) -> None:
        """Removes the rollouts before a step."""
        if self.ranks.is_first:
            self.rollouts.drop(step)


def saved_rollouts(run: Run, device: Any) -> SavedRollouts | RankedRollouts:
    """Where a run leaves its rollouts.

    Args:
        device: of the method.
    """
    options = run.config.run

    @cache
    def signature() -> dict[str, str]:
        # Asked once: it starts git, which takes as long as a small rollout.
        return run.signature(device)

    def origin() -> dict[str, Any]:
        # Weights are not hashed, which would take a minute for the largest. They follow from the checkpoint
        # and the steps since, and any difference shows in the losses and gradient norms of these steps.
        rows = rows_so_far(run.path / METRICS).to_json()
        exchanges = options.num_exchanges_to_log
        return {"inputs": run.inputs, "signature": signature(), "rows": rows, "exchanges": exchanges}

    rollouts = SavedRollouts(run.path, options.save_rollout_seconds, origin, run.display.note)
    return rollouts if run.ranks.size == 1 else RankedRollouts(rollouts, run.ranks)
