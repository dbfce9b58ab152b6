"""`python -m dupo.report FOLDER`: writes the page of a run, an audit or a rerank into its folder.

`python -m dupo.report RUN RUN ...` writes comparison.html, one page with the curves of several runs.
"""

import sys

if not __package__:
    sys.exit("run it as a module: python -m dupo.report")

from collections.abc import Sequence
from pathlib import Path

from dupo.config.parsers import OneLineParser, path_text
from dupo.errors import UserError
from dupo.process import run_process
from dupo.storage.commands import command
from dupo.views.folder_page import write_page
from dupo.views.plain import error, print_line
from dupo.views.streams import LogStream


def parser() -> OneLineParser:
    """The options of the program."""
    about = (
        "Writes the page of a run, an audit or a rerank into its folder: report.html or audit.html. "
        "Of several training runs, writes one page that compares them."
    )
    options = OneLineParser(prog=command("report"), description=about)
    options.add_argument(
        "runs", type=path_text, nargs="+", metavar="RUN_FOLDER", help="the --output_dir of a program"
    )
    options.add_argument(
        "--output", type=path_text, help="the page of several runs, a .html file (default: comparison.html)"
    )
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done; after one line on stderr 1 (the page cannot be written) or 2."""
    try:
        values = parser().parse_args(sys.argv[1:] if argv is None else argv)
        runs = [Path(run) for run in values.runs]
        print_line(LogStream(sys.stdout), str(write_page(runs, values.output)))
    except UserError as problem:
        error(str(problem))
        return problem.exit_code
    return 0


if __name__ == "__main__":
    run_process(main)
