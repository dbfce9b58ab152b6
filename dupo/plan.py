"""`python -m dupo.plan`: what a training run needs and takes, before it starts. Reads no weights."""

import sys

if not __package__:
    sys.exit("run it as a module: python -m dupo.plan")

from collections.abc import Sequence

from dupo.config.catalogue import METHODS, load
from dupo.config.completion import option_parser
from dupo.config.model_options import BUILT_IN_MODEL
from dupo.config.parsers import OneLineParser
from dupo.config.plan_options import own_parser, parse_plan
from dupo.errors import UserError
from dupo.process import quick_imports, run_process
from dupo.views.plain import error


def parser() -> OneLineParser:
    """The options of the program, those of training among them, for the completion of shells."""
    options = own_parser()
    # Help does not repeat a hundred options of training, which a shell has to know.
    for action in option_parser("train")._actions:
        if "--help" not in action.option_strings:
            options._add_action(action)
    return options


def show_plan(argv: Sequence[str]) -> int:
    """Reads the options and prints the plan; 0 if the run fits, 1 if it does not."""
    config, expected = parse_plan(argv)
    # The built-in model has the words of its task, and no folder to read them from.
    vocabulary = None
    if config.model.model_name_or_path == BUILT_IN_MODEL:
        lessons = load(METHODS["dupo"].data)(config).lessons
        vocabulary = lessons.vocabulary if lessons else None
    # torch and transformers take seconds to import: help and a wrong option do not wait for them.
    with quick_imports():
        from dupo.planning.show import show

    return 0 if show(config, expected, vocabulary).fits else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 the run fits, 1 the run does not fit or stdout cannot be written, 2 unusable options."""
    try:
        return show_plan(sys.argv[1:] if argv is None else argv)
    except (UserError, OSError) as problem:  # OSError: stdout is full
        error(str(problem))
        return 2 if isinstance(problem, UserError) else 1


if __name__ == "__main__":
    run_process(main)
