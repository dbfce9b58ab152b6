"""`python -m dupo.select`: which duals of a data set can be trusted, by the model's own answers; no label."""

import sys

if not __package__:
    sys.exit("run it as a module: python -m dupo.select")

from collections.abc import Sequence
from typing import Any

from dupo.config.config import Config
from dupo.process import quick_imports, run_process
from dupo.run.problems import read_run_problems
from dupo.run.program import read_first, run_program


def select(config: Config) -> dict[str, Any]:
    """Runs `dupo.trust.select.select`."""
    data = read_first(config, read_run_problems)
    # torch and transformers take seconds to import: a wrong option or column is told before
    with quick_imports():
        from dupo.trust import select as body

    return body.select(config, data)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 the disk is full or a server is gone, 2 unusable options, data, model or folder,
    130 asked to stop (Ctrl-C, SIGTERM, SIGHUP, a closed pipe); the same command continues."""
    return run_program("select", select, argv)


if __name__ == "__main__":
    run_process(main)
