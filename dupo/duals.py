"""`python -m dupo.duals --dataset FILE`: the numbers of word problems, and which may be hidden and why not.

    Tina has [[7]] apples on day 3{label} and buys [[12]] more.        duals: 7 as Vqk, 12 as Vrt

[[...]] may be hidden; a number in front of {...} may not, for that reason. No model is read and no label.
"""

import sys

if not __package__:
    sys.exit("run it as a module: python -m dupo.duals")

from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence

from dupo.config.options import RunOptions
from dupo.config.parsers import OneLineParser, path_text
from dupo.config.task_options import TaskOptions
from dupo.config.values import underscored
from dupo.errors import UserError
from dupo.process import run_process
from dupo.storage.commands import command
from dupo.views.plain import error


def parser() -> OneLineParser:
    """The options of the program."""
    options = OneLineParser(command("duals"), None, __doc__, formatter_class=RawDescriptionHelpFormatter)
    options.add_argument("--dataset", type=path_text, required=True, metavar="DATA", help="as in training")
    options.add_argument("--question_column", help="default: found by the usual names, as in training")
    options.add_argument("--show", type=int, default=20, help="problems to show (default 20)")
    options.add_argument("--duals_per_prompt", type=int, default=0, help="most of each; 0: all (default)")
    options.add_argument("--seed", type=int, default=0, help="draws problems and names (default 0)")
    return options


def show_duals(argv: Sequence[str]) -> None:
    """Reads the options and prints the listing; raises UserError for unusable options or data."""
    values = parser().parse_args(underscored(argv))
    from dupo.trust.number_listing import list_numbers  # takes a while: help does not wait for its rules

    task = {"task": "word_problems", "dataset": values.dataset, "question_column": values.question_column}
    if values.show < 0:
        raise UserError(f"show: expected at least 0, got {values.show}")
    options = TaskOptions(**task, duals_per_prompt=values.duals_per_prompt)
    list_numbers(options, RunOptions(seed=values.seed).seed, values.show)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 stdout cannot be written, 2 unusable options or data."""
    try:
        show_duals(sys.argv[1:] if argv is None else argv)
    except (UserError, OSError) as problem:  # OSError: stdout is full
        error(str(problem))
        return 2 if isinstance(problem, UserError) else 1
    return 0


if __name__ == "__main__":
    run_process(main)
