"""`python -m dupo.merge MODEL MODEL ... --output_dir FOLDER`: several models of one shape as one."""

import sys

if not __package__:
    sys.exit("run it as a module: python -m dupo.merge")

from collections.abc import Sequence
from pathlib import Path

from dupo.config.merge_options import parser, read_merging
from dupo.config.values import underscored
from dupo.errors import UserError
from dupo.process import quick_imports, run_process
from dupo.views.plain import error, print_line
from dupo.views.streams import LogStream


def merge_models(argv: Sequence[str]) -> str:
    """Reads the options and merges; returns the folder that was written."""
    values = parser().parse_args(underscored(argv))
    settings = read_merging(values)
    # Weights are read by torch: help and a wrong option do not wait for it.
    with quick_imports():
        from dupo.models.merging import Merging
        from dupo.run.merge import merge

    folders, start = [Path(folder) for folder in values.models], values.start and Path(values.start)
    output, merging = Path(values.output_dir), Merging(**settings)
    return str(merge(folders, start, output, merging, values.dtype, values.max_shard_size))


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 the folder cannot be written, 2 an unusable option or model."""
    try:
        print_line(LogStream(sys.stdout), merge_models(sys.argv[1:] if argv is None else argv))
    except UserError as problem:
        error(str(problem))
        return problem.exit_code
    return 0


if __name__ == "__main__":
    run_process(main)
