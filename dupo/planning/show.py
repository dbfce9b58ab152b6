"""Makes the plan of a config and shows it: what `dupo plan` prints."""

from collections.abc import Sequence

import torch

from dupo.config.config import Config
from dupo.config.model_options import BUILT_IN_MODEL
from dupo.config.plan_options import PlanOptions
from dupo.errors import UserError
from dupo.models.load import model_config, scorer_config
from dupo.models.tokenizers import load_tokenizer
from dupo.planning.changes import best_changes, planned, together, try_changes
from dupo.planning.machines import machine_of
from dupo.planning.models import Models
from dupo.planning.plan import Plan, least_budget
from dupo.planning.words import change_rows, machine_row, memory_table, model_row, verdict, work_rows
from dupo.views.terminal import Display


def show(config: Config, expected: PlanOptions, vocabulary: Sequence[str] | None) -> Plan:
    """Prints the plan of a run.

    Args:
        vocabulary: words of the built-in task, where the built-in model is planned.

    Raises:
        UserError: the config of the model cannot be read, the machine is not known, or no micro-batch holds a
            sequence.
        OSError: stdout cannot be written.
    """
    need, longest = least_budget(config, expected), config.rollout.max_completion_length
    if config.optimizer.token_budget < need:
        of = f"mean_prompt_length {expected.mean_prompt_length:,} and max_completion_length {longest:,}"
        got = f"{config.optimizer.token_budget:,}"
        raise UserError(f"token_budget: expected at least {need:,} ({of}), got {got}")
    if config.run.num_threads:
        torch.set_num_threads(config.run.num_threads)
    machine = machine_of(expected, config)
    # The vocabulary of the built-in model is that of its task.
    is_built_in = config.model.model_name_or_path == BUILT_IN_MODEL
    tokenizer = load_tokenizer(config.model, vocabulary) if is_built_in else None
    read_shape = scorer_config if config.learns_scores else model_config
    models = Models(read_shape(config.model, tokenizer))
    plan = planned(config, expected, machine, models)
    display = Display.of(config.run)
    if not machine.gpus and (config.ranks.num_processes or 1) > 1:
        display.warn("several processes of a CPU share its memory: this is the plan of a single one")
    display.startup("plan", [model_row(plan), machine_row(plan), ("memory", verdict(plan))])
    display.table("memory", *memory_table(plan))
    display.startup("work", work_rows(plan, expected))
    if config.samples and config.reward.has_model:
        display.warn("the reward models of --reward are not counted: add 4 bytes a parameter (bfloat16: 2)")
    if plan.model.costs is None:
        display.warn(f"{plan.model.kind} does not run without numbers ({plan.model.problem}): no activations")
    changes = best_changes(plan, try_changes(plan, expected, models))
    # One change is rarely enough for a model that is far too large.
    every = together(plan, changes, expected, models)
    changes += [every] if every else []
    header = ["option", "GB at most", "a step", "fits"]
    display.table("what would change most", header, change_rows(plan, changes))
    display.check_written()
    return plan
