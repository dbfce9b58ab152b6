"""What decides the rollouts of a training run, so that one of another run is never taken for its own."""

from functools import cache
from typing import Any

from dupo.run.base import Run
from dupo.storage.checksums import rows_so_far
from dupo.storage.names import METRICS
from dupo.storage.rollouts import SavedRollouts


def saved_rollouts(run: Run, device: Any) -> SavedRollouts:
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

    return SavedRollouts(run.path, options.save_rollout_seconds, origin, run.display.note)
