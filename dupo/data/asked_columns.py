"""Which columns of the data a reward function of the user asks for. No torch: a lack is told at once."""

import inspect
from collections.abc import Callable, Collection, Sequence
from typing import Any

from dupo.data.contents import shown_names
from dupo.errors import UserError

# Columns of these names are not handed on, as in TRL: prompts and completions say it.
NOT_COLUMNS = {"prompt", "completion", "completion_ids"}
# What a function may ask for beside the columns of the data.
REWARD_ARGUMENTS = {"prompts", "completions", "completion_ids", "trainer_state", "log_metric", "log_extra"}


def parameters_of(function: Callable[..., Any]) -> Sequence[inspect.Parameter] | None:
    """The parameters of a function; None for a function of C, which does not tell."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None


def check_columns(path: str, function: Callable[..., Any], columns: Collection[str]) -> None:
    """Refuses data that lack a column which a reward function asks for by name.

    Args:
        path: of the function, for the message.
        columns: of the data.

    Raises:
        UserError: names the first column that there is not, and those that there are.
    """
    there = [name for name in columns if name not in NOT_COLUMNS]
    for parameter in parameters_of(function) or ():
        by_name = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        is_known = parameter.name in REWARD_ARGUMENTS or parameter.name in there
        if by_name and parameter.default is parameter.empty and not is_known:
            actual = f"the columns {shown_names(there)}" if there else "none"
            expected = f"data with the column {parameter.name}, which it asks for"
            raise UserError(f"{path}: expected {expected}, got {actual}")
