"""verl's `compute_score`: the dual reward of a judge behind a server, and the number of an answer.

    reward.custom_reward_function.path=pkg://dupo.integrations.verl.scores
    reward.custom_reward_function.name=dual_score
    +reward.custom_reward_function.reward_kwargs={task: word_problems, dataset: /data/problems.jsonl}

The column `extra_info` of the data holds the prompt: {"prompt": TEXT}.
"""

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from threading import Lock
from typing import Any

from dupo.errors import UserError, quoted
from dupo.integrations.duals import Duals, answer_text, load_duals
from dupo.integrations.server import ServerReward, server_reward
from dupo.integrations.verl.advantages import LARGEST_NUMBER

_GUARD = Lock()
_SCALAR = (str, int, float)  # bool is an int


async def dual_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None,
    reward_router_address: str | None = None,
    reward_model_tokenizer: Any = None,
    **options: Any,
) -> dict[str, float]:
    """The dual reward of a completion, in [0, 1]; no label is read.

    Args:
        solution_str: the completion.
        extra_info: has the prompt of the problem.
        reward_router_address: of the reward model that verl serves: the judge, unless `dual_model` names one.
        options: see `dupo.integrations.server.server_reward`, opens_thought among them.

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
    extra_info: Mapping[str, Any] | None,
    reward_router_address: str | None = None,
    reward_model_tokenizer: Any = None,
    *,
    opens_thought: bool = False,
    **options: Any,
) -> float:
    """A whole number that stands for the answer of a completion; 0 where none can be read.

    The advantages dupo_majority and dupo_soft_vote make rewards of it. Two different answers get the same
    number once in 16 million.

    Args:
        solution_str, extra_info: see `dual_score`.
        opens_thought: see `dupo.integrations.server.server_reward`; verl hands over the completion alone.
        options: see `dupo.integrations.duals.load_duals`.

    Raises:
        UserError: there is no prompt, or `load_duals` refuses the options.
    """
    prompt = prompt_of(extra_info)
    asked = shared_duals(key_of(options)).ask_of(prompt, answer_text(solution_str, opens_thought))
    if asked.answer is None:
        return 0.0
    # Python's own hash differs from process to process, and the completions of a group may be apart.
    digest = hashlib.sha256(asked.answer.encode()).digest()
    return float(1 + int.from_bytes(digest[:8]) % LARGEST_NUMBER)


def prompt_of(extra_info: Mapping[str, Any] | None) -> str:
    """The prompt in the column `extra_info`.

    Raises:
        UserError: there is none.
    """
    # verl hands over None where the column is empty.
    prompt = extra_info.get("prompt") if isinstance(extra_info, Mapping) else None
    if not isinstance(prompt, str):
        expected = "the prompt of the problem in the column extra_info, {'prompt': TEXT}"
        got = quoted(str(extra_info))
        if isinstance(extra_info, Mapping):
            got = f"the keys {sorted(map(str, extra_info))}"
        raise UserError(f"extra_info: expected {expected}, got {got}")
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
    """The options as what `shared_duals` is asked with: lists as texts with commas, tables as JSON.

    Raises:
        UserError: a list or a table holds what no option can have.
    """
    return tuple(sorted((name, _as_text(name, value)) for name, value in options.items()))


def _as_text(name: str, value: Any) -> Any:
    # OmegaConf's lists and tables come with verl, and are those of collections.abc.
    if isinstance(value, Mapping) and all(isinstance(entry, _SCALAR) for entry in value.values()):
        return json.dumps(dict(value), ensure_ascii=False)
    if isinstance(value, Sequence) and all(isinstance(entry, str | int | float) for entry in value):
        return value if isinstance(value, str) else ",".join(map(str, value))
    if value is not None and not isinstance(value, _SCALAR):
        expected = "a text, a number, true or false, a list of them or a table of them"
        raise UserError(f"{name}: expected {expected}, got {quoted(str(value))}")
    return value


def _judged(key: Key, prompt: str, completion: str) -> float:
    # Threads that come at once must not each ask the server what it can do.
    with _GUARD:
        reward = _shared_reward(key)
    return reward([prompt], [completion])[0]


@lru_cache(maxsize=8)
def _shared_reward(key: Key) -> ServerReward:
    return server_reward(**dict(key))
