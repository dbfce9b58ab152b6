"""Layers of defaults, and how two sets of options compare.

A later layer wins: the defaults of the groups < those of the method < those of the task < those of the
program < config.yaml of the run that is resumed < `--config FILE.yaml` < the command line.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dupo.config.catalogue import TASKS
from dupo.config.config import OPTIONS, Config, option_of
from dupo.config.model_options import BUILT_IN_MODEL
from dupo.config.trl import own_names
from dupo.config.values import show
from dupo.config.yaml_files import read_yaml, yaml_lines

# Supervised training bears, and needs, a higher rate than reinforcement learning. A new score is random.
METHOD_DEFAULTS: dict[str, dict[str, Any]] = {
    "sft": dict(learning_rate=2e-5),
    "reward_model": dict(learning_rate=1e-4),  # TRL's
}
PROGRAM_DEFAULTS: dict[str, dict[str, Any]] = {
    "rerank": dict(num_generations=8),
    "audit": dict(num_generations=8, num_problems=200),
}

# Options of one start of a program; a resumed run has its own.
ONE_START = {"output_dir", "overwrite_output_dir", "resume_from_checkpoint", "log_level", "quiet"}
_NO_EFFECT_ON_RESULTS = ONE_START | {"num_exchanges_to_log", "save_steps", "save_total_limit", "strict"}
_NO_EFFECT_ON_RESULTS |= {"save_rollout_seconds", "async_save"}
_NO_EFFECT_ON_RESULTS |= {"vllm_gpu_memory_utilization", "vllm_enable_sleep_mode"}
_NO_EFFECT_ON_RESULTS |= {"report_to", "run_name", "push_to_hub", "hub_model_id", "hub_private_repo"}
# How a server is asked changes no answer.
_NO_EFFECT_ON_RESULTS |= {"max_concurrent_requests", "request_timeout", "max_retries", "api_key_env"}
_NO_EFFECT_ON_RESULTS |= {"weight_folder"}
_NO_EFFECT_ON_RESULTS |= {"merge_lora", "num_processes", "ddp_timeout", "cpu_offload"}
_NO_EFFECT_ON_RESULTS |= {"data_parallel_shard_degree"}  # but for last bits, which the signature tells
_FREE_ON_RESUME = _NO_EFFECT_ON_RESULTS | {"max_steps"}
# Where an input stands. A run may move to another machine: its inputs are compared by content (inputs.json).
_PLACES = {"dataset", "eval_dataset", "selected_duals", "model_name_or_path", "tokenizer_name"}
_PLACES |= {"base_url"}  # in training the weights there are those of the run; elsewhere an input names it
A_PLACE = "(a path)"


def assemble(values: Mapping[str, Any], program: str = "train") -> Config:
    """Puts the values of a user on top of the layers of defaults.

    Args:
        values: by flat name, ours or TRL's.

    Raises:
        UserError: a value that no run can have, alone or beside the others.
    """
    values = own_names(values)
    # Values that are no text are refused below, with all others.
    method, task_name = (str(values.get(name, OPTIONS[name].default)) for name in ("method", "task"))
    defaults = dict(METHOD_DEFAULTS.get(method, {})) if program == "train" else {}
    if method != "sft" or values.get("dataset") is None:  # a file of completions is no task's
        task = TASKS.get(task_name)
        defaults |= task.defaults.get(method, {}) if task else {}
    # Programs come last: a program that only looks needs fewer problems than training.
    defaults |= PROGRAM_DEFAULTS.get(program, {})
    return Config.of(program, **(defaults | dict(values)))


def read_config(path: str | Path, program: str = "train") -> Config:
    """Reads config.yaml of a run, on top of the defaults."""
    return assemble(read_yaml(path), program)


def config_hash(config: Config) -> str:
    """12 hex digits, equal for two configs that ask for the same results."""
    # Sorted: the order of the fields in the source must not change the hash of a result.
    # The date counts for few models, and would tell equal runs of two days apart.
    lines = yaml_lines(config, sorted(OPTIONS.keys() - _NO_EFFECT_ON_RESULTS - {"chat_template_date"}))
    return hashlib.sha256(lines.encode()).hexdigest()[:12]


def fixed_settings(config: Config) -> dict[str, Any]:
    """The options that a resumed run shares with its first start, by flat name."""
    return {
        name: A_PLACE if name in _PLACES and value not in (None, BUILT_IN_MODEL) else value
        for name, value in config.flat().items()
        if name not in _FREE_ON_RESUME
    }


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One line for every option of `fixed_settings` that is not what it was."""
    # The config.yaml of an earlier version lacks the options that were added since. That version did what the
    # defaults of today do.
    method = now.get("method", Config.method)
    started = {name: before.get(name, option_of(name, method).default) for name in now}
    return [
        f"{name} is {show(now[name])}, the run was started with {show(started[name])}"
        for name in now
        if now[name] != started[name]
    ]


def resume_differences(old: Config, new: Config) -> list[str]:
    """One line for every option that differs and may not, if `new` is to continue the run of `old`."""
    return changed_settings(fixed_settings(old), fixed_settings(new))
