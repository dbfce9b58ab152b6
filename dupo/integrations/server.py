"""The dual reward of a judge behind an OpenAI-compatible server, in the signature of TRL's reward functions.

reward = server_reward(task="word_problems", dataset="problems.jsonl", dual_model="http://host:8000/v1#NAME")
reward(prompts=prompts, completions=completions)        one number for each completion
"""

from collections.abc import Sequence
from typing import Any

from dupo.config.command_line import configure
from dupo.config.engine_options import is_address
from dupo.duality.judge import Judge
from dupo.duality.model_parts import read_parts
from dupo.engines.server import ServerEngine
from dupo.errors import UserError, quoted
from dupo.integrations.duals import Duals, Messages
from dupo.tasks import make_task


class ServerReward:
    """Rewards completions by the duals that a server answers. Several threads may call it."""

    __name__ = "dual"  # TRL logs a reward by the name of its function

    def __init__(self, duals: Duals, judge: Judge, seed: int) -> None:
        """Takes what `server_reward` made; `seed` fixes the draws of every call."""
        self.duals = duals
        self._ask = judge.asking(seed)

    def __call__(
        self, prompts: Sequence[str | Messages], completions: Sequence[str | Messages], **_: Any
    ) -> list[float]:
        """The reward of each completion, in [0, 1]; see `Duals.rewards`.

        Args:
            _: what trainers hand to every reward function, and the columns of their data.

        Raises:
            UserError: a prompt of no problem, or what the server refuses.
            ServerError: the server does not answer.
        """
        return self.duals.rewards(prompts, completions, self._ask)


def server_reward(**options: Any) -> ServerReward:
    """Reads the problems of a task, and asks the server of the judge what it can do.

    Args:
        options: those of `python -m dupo.train` for the task, the duals and servers. `dual_model` is the
            address of the server; `dual_max_completion_length` and `dual_samples` say how duals are answered.

    Raises:
        UserError: an option or the data cannot be used, or the server has no such model.
        ServerError: the server does not answer.
    """
    config = configure(options)
    name = config.duals.dual_model
    if not is_address(name):
        expected = "the address of a server, such as http://host:8000/v1#NAME"
        raise UserError(f"dual_model: expected {expected}, got {quoted(name)}")
    duals = Duals(make_task(config.task, config.run.seed), config.reward)
    parts = read_parts(config, name, None)
    assert parts.server is not None
    engine = ServerEngine(parts.server, parts.tokenizer)
    judge = Judge.of(engine, config.duals, config.rollout.max_completion_length)
    return ServerReward(duals, judge, config.run.seed)
