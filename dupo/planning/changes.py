"""Which options would change a plan most: each change is tried on the plan itself.

A change is worth what it spares: memory where the plan does not fit, else memory or seconds, whichever it
spares more of.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from dupo.config.config import Config
from dupo.config.options import ADAMW_8BIT
from dupo.config.plan_options import PlanOptions
from dupo.config.values import show
from dupo.errors import UserError
from dupo.planning.machines import Machine
from dupo.planning.models import Models
from dupo.planning.plan import Plan, least_budget, make_plan

LEAST_GAIN = 1.05  # what spares less is no advice


@dataclass(frozen=True)
class Change:
    """A change of options and the plan that it leads to.

    Attributes:
        options: their new values, by flat name.
    """

    options: dict[str, Any]
    plan: Plan

    @property
    def words(self) -> str:
        """The options as they are typed."""
        return " ".join(f"--{n}" if v is True else f"--{n} {show(v)}" for n, v in self.options.items())


def planned(config: Config, expected: PlanOptions, machine: Machine, models: Models) -> Plan:
    """The plan of a config."""
    return make_plan(config, expected, machine, models.policy(config, machine), models.judge(config, machine))


def try_changes(plan: Plan, expected: PlanOptions, models: Models) -> list[Change]:
    """Every change that the options of the run allow, with its plan."""
    changes = []
    for flat in _candidates(plan, expected):
        try:
            changes.append(_changed(plan, flat, expected, models))
        except UserError:  # options that do not go together are no advice
            continue
    return changes


def _changed(plan: Plan, flat: dict[str, Any], expected: PlanOptions, models: Models) -> Change:
    return Change(flat, planned(plan.config.changed(**flat), expected, plan.machine, models))


def together(plan: Plan, changes: list[Change], expected: PlanOptions, models: Models) -> Change | None:
    """All of the changes at once, where the plan does not fit and none of them alone is enough; else None.

    Raises:
        UserError: they do not go together.
    """
    if len(changes) < 2 or plan.fits or any(change.plan.fits for change in changes):
        return None
    # The best stand first and are not overwritten.
    merged = {name: value for change in reversed(changes) for name, value in change.options.items()}
    return _changed(plan, merged, expected, models)


def best_changes(plan: Plan, changes: list[Change], count: int = 3) -> list[Change]:
    """The changes that spare most, the best first."""

    def gain(change: Change) -> float:
        # What cannot sample takes no time that could be compared.
        memory = plan.peak / change.plan.peak
        seconds = plan.step_seconds / change.plan.step_seconds if plan.rows and change.plan.rows else 1.0
        return memory if not plan.fits else max(memory, seconds)

    def rank(change: Change) -> tuple[bool, float]:
        return not plan.fits and change.plan.fits, gain(change)

    useful = [change for change in changes if gain(change) >= LEAST_GAIN]
    return sorted(useful, key=rank, reverse=True)[:count]


def _candidates(plan: Plan, expected: PlanOptions) -> Iterator[dict[str, Any]]:
    """Options that cost memory or time, with another value than they have."""
    config, machine = plan.config, plan.machine
    options, rollout, optimizer = config.flat(), config.rollout, config.optimizer
    yield {"gradient_checkpointing": not config.model.gradient_checkpointing}
    if not config.lora.use_peft and find_spec("peft") is not None:
        yield {"use_peft": True}
    if find_spec("torchao") is not None:
        yield {"optim": ADAMW_8BIT}
    # Micro-batches of fewer tokens would keep a GPU idle, and must hold a whole sequence.
    budget = max(256, optimizer.token_budget // 4, least_budget(config, expected))
    if budget < optimizer.token_budget:
        yield {"token_budget": budget}
    if machine.gpus and config.model.compute_dtype == "float32":
        yield {"compute_dtype": "auto"}
    if not config.samples:
        return
    # `frozen` keeps a copy of all weights.
    if config.duals.dual_model != "policy":
        yield {"dual_model": "policy"}
    if machine.gpus and not config.engine.is_server:
        for engine in ("builtin", "vllm"):
            if config.engine.engine != engine:
                yield {"engine": engine}
    if config.engine.engine == "vllm":
        share = options["vllm_gpu_memory_utilization"]
        yield {"vllm_gpu_memory_utilization": min(0.9, round(2 * share, 2))}
        yield {"vllm_gpu_memory_utilization": round(share / 2, 2)}
        yield {"vllm_enable_sleep_mode": not options["vllm_enable_sleep_mode"]}
    for name in ("max_completion_length", "max_concurrent_sequences", "generation_batch_size"):
        yield {name: math.ceil(options[name] / 2)}
    limit = config.duals.dual_max_completion_length or rollout.max_completion_length
    yield {"dual_max_completion_length": math.ceil(limit / 4)}
