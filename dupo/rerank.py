"""`python -m dupo.rerank`: better answers with no training, from any file of prompts."""

import sys

if not __package__:
    sys.exit("run it as a module: python -m dupo.rerank")

from collections.abc import Sequence
from typing import Any

from dupo.config.config import Config
from dupo.run.program import run_program


def rerank(config: Config) -> dict[str, Any]:
    """What `dupo.trust.rerank.rerank` does; torch is imported only here, so that `--help` comes at once."""
    from dupo.trust import rerank as body

    return body.rerank(config)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 2 something in what the user gave, 130 Ctrl-C (the same command goes on)."""
    return run_program("rerank", rerank, argv)


if __name__ == "__main__":
    sys.exit(main())
