"""What needs a chat template, refused for the built-in model before torch is imported: it has none."""

from collections.abc import Iterable

from dupo.config.model_options import BUILT_IN_MODEL, ModelOptions
from dupo.data.examples import Example
from dupo.errors import UserError
from dupo.records import Problem

_NONE = "as the tokenizer of the built-in model has no chat template"
_OTHER = "name a tokenizer that has one by --tokenizer_name"


def check_template_options(options: ModelOptions) -> None:
    """Raises UserError for a system message, or template arguments, that no template would take."""
    if has_template(options):
        return
    if options.system_prompt is not None:
        raise UserError(f"system_prompt: expected none, {_NONE}, got one: {_OTHER}")
    if options.template_arguments:
        names = ", ".join(options.template_arguments)
        raise UserError(f"chat_template_kwargs: expected none, {_NONE}, got {names}: {_OTHER}")


def check_histories(options: ModelOptions, rows: Iterable[Problem | Example]) -> None:
    """Raises UserError for rows with messages before the question, which need a template."""
    if has_template(options):
        return
    rows = list(rows)
    with_messages = [row for row in rows if (row.history if isinstance(row, Example) else row.system)]
    if with_messages:
        count = f"{len(with_messages):,} of {len(rows):,} rows"
        raise UserError(
            f"{with_messages[0].id}: expected a question alone, {_NONE}, got a message before it "
            f"({count}): write the message into the question, or {_OTHER}"
        )


def has_template(options: ModelOptions) -> bool:
    """Whether the tokenizer may have a chat template; known for the built-in one alone."""
    return (options.tokenizer_name or options.model_name_or_path) != BUILT_IN_MODEL
