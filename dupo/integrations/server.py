"""The dual reward of a judge behind an OpenAI-compatible server, in the signature of TRL's reward functions.

reward = server_reward(task="word_problems", dataset="problems.jsonl", dual_model="http://host:8000/v1#NAME")
reward(prompts=prompts, completions=completions)        one number for each completion
"""

from collections.abc import Sequence
from typing import Any

from dupo.config.config import Config
from dupo.config.engine_options import is_address
from dupo.duality.judge import Judge
from dupo.duality.model_parts import read_parts
from dupo.engines.server import ServerEngine
from dupo.errors import UserError, quoted
from dupo.integrations.duals import Duals, Messages, answer_text, configured


class ServerReward:
    """Rewards completions by the duals that a server answers. Several threads may call it."""

    __name__ = "dual"  # TRL logs a reward by the name of its function

    def __init__(self, duals: Duals, judge: Judge, seed: int, *, opens_thought: bool = False) -> None:
        """Takes what `of` made; `seed` fixes the draws of every call."""
        self.duals, self._opens_thought = duals, opens_thought
        self._ask = judge.asking(seed)

    @classmethod
    def of(cls, duals: Duals, *, opens_thought: bool = False) -> "ServerReward":
        """The reward of the server that `dual_model` of the options of the duals names; the server is tried.

        Args:
            opens_thought: see `server_reward`.

        Raises:
            UserError: `dual_model` is no address, or the server has no such model.
            ServerError: the server does not answer.
        """
        config = duals.config
        check_is_address(config)
        parts = read_parts(config, config.duals.dual_model, None)
        assert parts.server is not None
        # Nothing is kept of earlier starts: the trainer's own checkpoints do not know of the answers.
        engine = ServerEngine(parts.server, parts.tokenizer)
        judge = Judge.of(engine, config.duals, config.rollout.max_completion_length)
        return cls(duals, judge, config.run.seed, opens_thought=opens_thought)

    def __call__(
        self, prompts: Sequence[str | Messages], completions: Sequence[str | Messages], **_: Any
    ) -> list[float]:
        """The reward of each completion, one number in [0, 1] for each; see `Duals.rewards`.

        Args:
            prompts, completions: texts, or lists of messages; of each completion.
            _: what trainers hand to every reward function, and the columns of their data.

        Raises:
            UserError: a prompt of no problem, or what the server refuses.
            ServerError: the server does not answer.
        """
        texts = [answer_text(completion, self._opens_thought) for completion in completions]
        return self.duals.rewards(prompts, texts, self._ask)


def check_is_address(config: Config) -> None:
    """Checks that a server is to judge.

    Raises:
        UserError: `dual_model` is no address.
    """
    if not is_address(config.duals.dual_model):
        expected = "the address of a server, such as http://host:8000/v1#NAME"
        raise UserError(f"dual_model: expected {expected}, got {quoted(config.duals.dual_model)}")


def server_reward(*, opens_thought: bool = False, **options: Any) -> ServerReward:
    """Reads the problems of a task, and asks the server of the judge what it can do.

    Args:
        opens_thought: the chat template of the policy ends a prompt with `<think>`. A completion without
            `</think>` has no answer then; trainers hand over the completion alone, which does not tell.
        options: those of `python -m dupo.train` for the task, the duals and servers. `dual_model` is the
            address of the server; `dual_max_completion_length` and `dual_samples` say how duals are answered.

    Raises:
        UserError: an option or the data cannot be used, or the server has no such model.
        ServerError: the server does not answer.
    """
    config = configured(options, ("dual_model", "dual_samples", "dual_temperature"))
    # A judge that is none must not wait for the data.
    check_is_address(config)
    return ServerReward.of(Duals.of(config), opens_thought=opens_thought)
