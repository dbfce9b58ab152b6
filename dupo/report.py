"""`python -m dupo.report RUN_FOLDER`: writes report.html, one page with the curves and samples of a run."""

import sys

if not __package__:
    sys.exit("run it as a module: python -m dupo.report")

from collections.abc import Sequence
from pathlib import Path

from dupo.errors import UserError
from dupo.views.plain import error, print_line
from dupo.views.run_page import write_report
from dupo.views.streams import LogStream

USAGE = "usage: python -m dupo.report RUN_FOLDER"


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done; after one line on stderr: 1 the disk is full, 2 anything else."""
    # One argument and no options: argparse would be longer than this door.
    words = list(sys.argv[1:] if argv is None else argv)
    if words in (["-h"], ["--help"]):
        print(f"{USAGE}\n\nWrites report.html into the folder of a run.")
        return 0
    if len(words) != 1 or words[0].startswith("-"):
        error(USAGE)
        return 2
    try:
        print_line(LogStream(sys.stdout), str(write_report(Path(words[0]))))
    except UserError as problem:
        error(str(problem))
        return problem.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
