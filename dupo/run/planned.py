"""The plan of a run at its start, and what was measured beside the plan after the first step."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from dupo.config.config import Config
from dupo.config.model_options import BUILT_IN_MODEL
from dupo.config.plan_options import PlanOptions
from dupo.distributed.ranks import Ranks
from dupo.errors import UserError
from dupo.planning.changes import Change, planned, try_changes
from dupo.planning.machines import Machine, machine_of
from dupo.planning.models import Models
from dupo.planning.plan import Plan
from dupo.planning.words import duration, gigabytes, short_rows, verdict

if sys.platform != "win32":
    import resource

UNTOLD = PlanOptions()  # nobody has said how long prompts and answers are
PHASES = ("answers", "duals", "update")


class RunPlan:
    """The plan of a run on this machine; none for the built-in model, and where no shape is known.

    Args:
        shape: the config of the model.
        ranks: the processes of the run; the first alone plans.

    Raises:
        UserError: the model cannot fit on the GPU. No assumption is in that: weights, gradients, moments and
            copies alone are more.
    """

    def __init__(self, config: Config, shape: Any, ranks: Ranks) -> None:
        self.plan: Plan | None = None
        if shape is not None and config.model.model_name_or_path != BUILT_IN_MODEL:
            ranks.on_first(lambda: self._make(config, shape, ranks))

    def _make(self, config: Config, shape: Any, ranks: Ranks) -> None:
        # Ranks of a CPU share its memory, and so their plan would be of another machine than theirs.
        gpus = ranks.size if torch.cuda.is_available() and config.model.device != "cpu" else None
        if gpus is not None or ranks.size == 1:
            expected = replace(UNTOLD, gpus=gpus, gpus_per_node=ranks.per_node)
            self.plan = checked_plan(config, shape, machine_of(expected, config))

    def rows(self) -> list[tuple[str, str]]:
        """Rows of the start-up table."""
        return short_rows(self.plan) if self.plan else []

    def doubts(self) -> list[str]:
        """What is likely to go wrong, a line each."""
        return doubts(self.plan) if self.plan else []

    def measured(self, seconds: Mapping[str, float]) -> dict[str, float]:
        """See `measured`; nothing where there is no plan."""
        return measured(self.plan, seconds) if self.plan else {}


def checked_plan(config: Config, shape: Any, machine: Machine) -> Plan:
    """The plan of a run on a machine.

    Raises:
        UserError: as `RunPlan`.
    """
    models = Models(shape)
    plan = planned(config, UNTOLD, machine, models)
    if machine.gpus and plan.least > machine.memory:
        need, room = gigabytes(plan.least), gigabytes(machine.memory)
        enough = [change for change in try_changes(plan, UNTOLD, models) if _can_fit(change)]
        options = [f"{change.words} needs {gigabytes(change.plan.least)} GB" for change in enough]
        advice = " or ".join(options[:2]) or "no option alone is enough, see dupo plan"
        raise UserError(
            f"model_name_or_path: expected a model that fits in the {room} GB of the GPU, got "
            f"{plan.model.kind}, whose weights, gradients, moments and copies take {need} GB: {advice}"
        )
    return plan


def _can_fit(change: Change) -> bool:
    return change.plan.least <= change.plan.machine.memory


def doubts(plan: Plan) -> list[str]:
    """What is likely to go wrong by the plan, a line each."""
    # Without a GPU the system may have room on its disk, so only what is certain counts there.
    size = plan.peak if plan.machine.gpus else plan.least
    if not plan.machine.memory or size <= plan.machine.memory:
        return []
    return [f"memory {verdict(plan)}, by the plan; `dupo plan` with the same options tells what to change"]


def measured(plan: Plan, seconds: Mapping[str, float]) -> dict[str, float]:
    """Figures of the plan, and the memory that was taken, for the row of the first step in timings.jsonl.

    Args:
        seconds: of the phases, as they were measured.
    """
    figures = {
        f"plan/{name}": plan.seconds[name] for name in PHASES if {name} <= plan.seconds.keys() & seconds
    }
    taken = memory_taken()
    if taken is None:
        return figures
    return figures | {"plan/memory_gb": plan.peak / 1e9, "memory_gb": taken / 1e9}


def memory_taken() -> float | None:
    """The most bytes that were taken: of tensors on a GPU, or of this process without one; None where the
    system does not tell."""
    # What the allocator holds beside its tensors is no need of the run.
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    if sys.platform == "win32":
        return None
    kilobyte = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobyte)


def beside(figures: Mapping[str, float], seconds: Mapping[str, float]) -> str:
    """The first step in one line, each figure beside that of the plan."""
    phases = [
        f"{name} {duration(seconds[name])} (plan: {duration(figures[f'plan/{name}'])})"
        for name in PHASES
        if f"plan/{name}" in figures
    ]
    if "memory_gb" in figures:
        phases.append(f"memory {figures['memory_gb']:.3g} GB (plan: {figures['plan/memory_gb']:.3g})")
    return f"step 1: {', '.join(phases)}"
