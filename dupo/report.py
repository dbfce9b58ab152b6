"""`python -m dupo.report RUN_FOLDER`: writes report.html, one page with the curves and samples of a run."""

import sys

if not __package__:
    sys.exit("run it as a module: python -m dupo.report")

from collections.abc import Sequence
from pathlib import Path

from dupo.config.parsers import OneLineParser, path_text
from dupo.errors import UserError
from dupo.storage.commands import command
from dupo.views.plain import error, print_line
from dupo.views.run_page import write_report
from dupo.views.streams import LogStream


def parser() -> OneLineParser:
    """The options of the program."""
    about = "Writes report.html, one page with the curves and samples of a run, into the folder of the run."
    options = OneLineParser(prog=command("report"), description=about)
    options.add_argument("run", type=path_text, metavar="RUN_FOLDER", help="the --output_dir of dupo.train")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done; after one line on stderr 1 (the page cannot be written) or 2."""
    try:
        values = parser().parse_args(sys.argv[1:] if argv is None else argv)
        print_line(LogStream(sys.stdout), str(write_report(Path(values.run))))
    except UserError as problem:
        error(str(problem))
        return problem.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
