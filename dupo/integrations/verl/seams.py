"""The functions of verl that dupo calls or stands in for, by the arguments that they take."""

import inspect
from typing import Any

from dupo.errors import UserError

KNOWN = "0.9.1"
# Of verl.trainer.ppo.core_algos: where verl calls losses in another way, these take other arguments.
ARGUMENTS = {
    "register_policy_loss": ("name",),
    "register_adv_est": ("name_or_enum",),
    "agg_loss": (
        "loss_mat", "loss_mask", "loss_agg_mode", "dp_size", "batch_num_tokens", "global_batch_size",
        "loss_scale_factor",
    ),
    "compute_grpo_outcome_advantage": (
        "token_level_rewards", "response_mask", "index", "epsilon", "norm_adv_by_std_in_grpo", "config",
    ),
}  # fmt: skip


def check_functions(core_algos: Any, version: str) -> None:
    """Checks verl's registries, its sum of losses and its GRPO.

    Raises:
        UserError: one is missing, or takes other arguments.
    """
    for name, arguments in ARGUMENTS.items():
        check_arguments(name, getattr(core_algos, name, None), arguments, version)


def check_arguments(name: str, function: Any, arguments: tuple[str, ...], version: str) -> None:
    """Checks that a function takes these arguments, in this order.

    Raises:
        UserError: the function is missing, or takes others.
    """
    names = tuple(inspect.signature(function).parameters) if callable(function) else None
    if names != arguments:
        expected, got = ", ".join(arguments), "none" if names is None else f"({', '.join(names)})"
        raise UserError(f"verl {version}: expected {name}({expected}) as in verl {KNOWN}, got {got}")
