"""verl's `compute_score`: the dual reward of a judge behind a server, and the number of an answer.

    reward.custom_reward_function.path=pkg://dupo.integrations.verl.scores
    reward.custom_reward_function.name=dual_score
    +reward.custom_reward_function.reward_kwargs={task: word_problems, dataset: /data/problems.jsonl}

The column `extra_info` of the data holds the prompt: {"prompt": TEXT}.
"""

import asyncio
import hashlib
from collections.abc import Hashable, Mapping
from functools import lru_cache
from threading import Lock
from typing import Any

from dupo.errors import UserError, quoted
from dupo.integrations.duals import Duals, load_duals
from dupo.integrations.server import ServerReward, server_reward
from dupo.integrations.verl.advantages import LARGEST_NUMBER

_GUARD = Lock()


async def dual_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any],
    reward_router_address: str | None = None,
    reward_model_tokenizer: Any = None,
    **options: Any,
) -> dict[str, float]:
    """The dual reward of a completion, in [0, 1]; no label is read.

    Args:
        solution_str: the completion.
        extra_info: has the prompt of the problem.
        reward_router_address: of the reward model that verl serves: the judge, unless `dual_model` names one.
        options: see `dupo.integrations.server.server_reward`.

    Raises:
        UserError, ServerError: as `server_reward`; there is no prompt, or no judge.
    """
    if "dual_model" not in options and reward_router_address is not None:
        options["dual_model"] = f"http://{reward_router_address}/v1"
    # The server is asked by threads of this process, and the loop of verl goes on.
    reward = await asyncio.to_thread(_judged, key_of(options), prompt_of(extra_info), solution_str)
    return {"score": reward, "dual/reward": reward}


def answer_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any],
    reward_router_address: str | None = None,
    reward_model_tokenizer: Any = None,
    **options: Any,
) -> float:
    """A whole number that stands for the answer of a completion; 0 where none can be read.

    The advantages dupo_majority and dupo_soft_vote make rewards of it. Two different answers get the same
    number once in 16 million.

    Raises:
        UserError: there is no prompt, or `load_duals` refuses the options.
    """
    asked = shared_duals(key_of(options)).ask_of(prompt_of(extra_info), solution_str)
    if asked.answer is None:
        return 0.0
    # Python's own hash differs from process to process, and the completions of a group may be apart.
    digest = hashlib.sha256(asked.answer.encode()).digest()
    return float(1 + int.from_bytes(digest[:8]) % LARGEST_NUMBER)


def prompt_of(extra_info: Mapping[str, Any]) -> str:
    """The prompt in the column `extra_info`.

    Raises:
        UserError: there is none.
    """
    prompt = extra_info.get("prompt")
    if not isinstance(prompt, str):
        expected = "the prompt of the problem in the column extra_info, {'prompt': TEXT}"
        raise UserError(f"extra_info: expected {expected}, got the keys {sorted(extra_info)}")
    return prompt


Key = tuple[tuple[str, Any], ...]


@lru_cache(maxsize=8)
def shared_duals(key: Key) -> Duals:
    """The duals of these options; the data are read once in a process.

    Raises:
        UserError: as `load_duals`.
    """
    return load_duals(**dict(key))


def key_of(options: Mapping[str, Any]) -> Key:
    """The options as what `shared_duals` is asked with.

    Raises:
        UserError: an option is a list or a table, which YAML can write and no option is.
    """
    for name, value in options.items():
        if not isinstance(value, Hashable):
            raise UserError(f"{name}: expected a text, a number, true or false, got {quoted(str(value))}")
    return tuple(sorted(options.items()))


def _judged(key: Key, prompt: str, completion: str) -> float:
    # Threads that come at once must not each ask the server what it can do.
    with _GUARD:
        reward = _shared_reward(key)
    return reward([prompt], [completion])[0]


@lru_cache(maxsize=8)
def _shared_reward(key: Key) -> ServerReward:
    return server_reward(**dict(key))
