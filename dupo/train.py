"""`python -m dupo.train`: trains a model by the method that `--method` names, DuPO unless told otherwise.

START HERE: the loop below serves every method. The method itself is `dupo/methods/dupo.py`.
"""

import sys

if not __package__:
    sys.exit("run it as a module: python -m dupo.train")

from collections.abc import Generator, Sequence
from typing import Any

from dupo.config.catalogue import METHODS, load
from dupo.config.config import Config
from dupo.process import quick_imports, run_process
from dupo.run.claim import take_place
from dupo.run.program import read_first, returned_by, run_program
from dupo.run.trackers import check_installed


def train_steps(config: Config) -> Generator[dict[str, Any], None, dict[str, Any]]:
    """Trains, gives every row of metrics.jsonl, and returns what summary.json holds; nothing if it was asked
    to stop early. Closing the generator ends the run early.

    Raises:
        UserError: the settings, the data, the model or the folder cannot be used; nothing was trained.
        StorageError: the disk is full, or the folder cannot be written any more.
        FloatingPointError: a loss, gradient or logit is not finite; the message names the saved batch.
    """
    check_installed(config.run.trackers)
    launch, config = take_place(config)
    data = read_first(config, load(METHODS[config.method].data))
    with quick_imports():  # takes seconds still: a wrong option or column is told before
        from dupo.distributed.watch import joined_ranks
        from dupo.run.training import TrainingRun

    with joined_ranks(launch, config.ranks.ddp_timeout, config.model.device) as ranks:
        method = load(METHODS[config.method].path)(config, data, ranks)
        with TrainingRun(config, method) as run:
            while run.goes_on():
                batch = method.next_batch(run.step)  # sample and reward, or read examples
                with method.phases("update"):
                    metrics = method.update(batch, run.step)  # one optimizer step
                yield run.after_step(batch, metrics)
        return run.finish()


def train(config: Config) -> dict[str, Any]:
    """Makes all steps of `train_steps`, and returns what that returns."""
    return returned_by(train_steps(config))


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 ended by numbers, disk or Hub, 2 unusable input, 130 asked to stop, and saved."""
    return run_program("train", train, argv)


if __name__ == "__main__":
    run_process(main)
