"""`python -m dupo.train`: the method.

A primal task answers x with y. A dual task gets y and the known part of x and must recover the hidden part;
how well it does is the reward of a clipped policy gradient. No label is read. Everything around the method
(folders, checkpoints, display) is in `session`.
"""

import sys

if not __package__:
    sys.exit("run it as a module: python -m dupo.train")

from collections.abc import Sequence
from typing import Any

from dupo.config.command_line import parse
from dupo.config.options import Config
from dupo.errors import UserError
from dupo.views.plain import error


def train(config: Config) -> dict[str, Any]:
    """Runs DuPO as configured. Returns what summary.json holds; nothing if Ctrl-C ended the run early.

    Raises:
        UserError: the settings, the data or the model cannot be used; nothing was trained.
        FloatingPointError: a loss, gradient or logit is not finite; the message names the saved batch.
    """
    # torch and transformers take seconds to import: help and errors in the options do not wait for them
    from dupo.engines.builtin import sample_answers
    from dupo.learning.step import update
    from dupo.rewards.base import group_advantages
    from dupo.run.training import Session

    with Session(config) as run:
        while run.step < config.max_steps and not run.interrupted:
            if not run.pending:  # every mini-batch of the last rollout has had its step
                # primal: x -> y, num_generations times
                problems, seed = run.next_problems(), run.draw("primal", run.rollouts)
                n, temperature = config.num_generations, config.temperature
                rollout = sample_answers(run.sampler, run.task, problems, n, temperature, seed)
                # dual: (y, known part of x) -> hidden part of x; how well it is recovered is the reward
                rewarded = run.reward(rollout)
                # advantage: better or worse than the other answers to the same question
                advantages, spread = group_advantages(rewarded.rewards, config.scale_rewards)
                run.keep_rollout(rollout, rewarded, advantages, spread)
            # clipped policy gradient on the sampled tokens of the primal answers
            figures = update(run.model, run.optimizer, run.pending[0], config, run.step)
            run.after_step(figures)
    return run.finish()


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 a step was not finite, 2 something in what the user gave, 130 Ctrl-C."""
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
