"""`python -m dupo.train`: trains a model by the method that `--method` names, DuPO unless told otherwise.

START HERE: the loop below serves every method. The method itself is `dupo/methods/dupo.py`.
"""

import sys

if not __package__:
    sys.exit("run it as a module: python -m dupo.train")

from collections.abc import Sequence
from typing import Any

from dupo.config.catalogue import METHODS, load
from dupo.config.command_line import parse
from dupo.config.config import Config
from dupo.errors import UserError
from dupo.views.plain import error


def train(config: Config) -> dict[str, Any]:
    """Trains as configured; returns what summary.json holds, nothing if Ctrl-C ended the run early.

    Raises:
        UserError: the settings, the data or the model cannot be used; nothing was trained.
        FloatingPointError: a loss, gradient or logit is not finite; the message names the saved batch.
    """
    # torch and transformers take seconds to import: help and errors in the options do not wait for them
    from dupo.run.training import TrainingRun

    method = load(METHODS[config.method].path)(config)
    with TrainingRun(config, method) as run:
        while run.unfinished:
            batch = method.next_batch(run.step)  # sample and reward, or read examples
            metrics = method.update(batch, run.step)  # one optimizer step
            run.after_step(batch, metrics)
    return run.finish()


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 a step was not finite, 2 unusable options, data or model, 130 Ctrl-C."""
    try:
        finished = train(parse(sys.argv[1:] if argv is None else argv))
    except UserError as problem:
        error(str(problem))
        return 2
    except FloatingPointError as problem:
        error(str(problem))
        return 1
    except KeyboardInterrupt:
        error("stopped at once; --output_dir RUN --resume_from_checkpoint latest goes on from what was saved")
        return 130
    return 0 if finished else 130


if __name__ == "__main__":
    sys.exit(main())
