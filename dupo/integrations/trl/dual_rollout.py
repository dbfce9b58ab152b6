"""TRL's GRPOTrainer on duals: a rollout that samples answers and then their duals, and the reward of both.

    duals = load_duals(task="word_problems", dataset="problems.jsonl")
    rollout_func, reward_func = dual_rollout(duals, judge="frozen")
    GRPOTrainer(..., reward_funcs=reward_func, rollout_func=rollout_func)

TRL trains on the answers alone; no dual reaches the loss. An answer that several completions of a rank give
is asked about once. Every rank asks equally much, because TRL cuts gathered completions by rank.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch

from dupo.config.engine_options import is_address
from dupo.errors import UserError, quoted
from dupo.integrations.duals import (
    AskedAnswer,
    Duals,
    behind_thought,
    check_duals,
    sampling_temperature,
)
from dupo.integrations.server import ServerReward
from dupo.integrations.trl.frozen_judge import FrozenJudge, at_temperature

POLICY, FROZEN = "policy", "frozen"
Rollout = Callable[[list[Any], Any], dict[str, Any]]


class DualRollout(NamedTuple):
    """What TRL's GRPOTrainer takes.

    Attributes:
        rollout_func: None where a server judges: TRL samples the answers by itself then.
        reward_func: of each completion, in [0, 1].
    """

    rollout_func: Rollout | None
    reward_func: Callable[..., list[float]]


def dual_rollout(
    duals: Duals,
    *,
    judge: str = FROZEN,
    samples: int = 1,
    temperature: float | None = None,
    opens_thought: bool = False,
) -> DualRollout:
    """Makes a rollout and its reward for TRL's GRPOTrainer.

    Args:
        duals: the data of the trainer hold its prompts, as texts or as the last message; messages before
            reach no dual.
        judge: who answers the duals. frozen: the model as it was before the first step, a copy beside the
            model that is trained; of a new adapter, the model without it. policy: the model as it is. An
            address, http://host:8000/v1#NAME: the server there.
        samples: of each dual; the reward is their mean.
        temperature: of the duals. None: 0, which is greedy, or 1 for several samples.
        opens_thought: with a server; see `dupo.integrations.server.server_reward`. The others read the
            prompt themselves.

    Raises:
        UserError: a judge, a number or a temperature that is none of these; a server that does not answer.
    """
    check_duals(duals)
    if not (judge in (POLICY, FROZEN) or (isinstance(judge, str) and is_address(judge))):
        raise UserError(f"judge: expected {POLICY}, {FROZEN} or the address of a server, got {quoted(judge)}")
    temperature = sampling_temperature(samples, temperature)
    if is_address(judge):
        asked = {"dual_model": judge, "dual_samples": samples, "dual_temperature": temperature}
        judged = Duals(duals.task, duals.config.changed(**asked))
        return DualRollout(None, ServerReward.of(judged, opens_thought=opens_thought))
    if opens_thought is not False:
        expected = f"nothing for the judge {judge}, which reads the prompts themselves"
        raise UserError(f"opens_thought: expected {expected}, got {quoted(opens_thought)}")
    return DualRollout(_Rollout(duals, judge == FROZEN, samples, temperature), dual)


def dual(
    prompts: Sequence[Any],
    dual_reward: Sequence[float],
    dual_prompt: Sequence[str | None],
    dual_reply: Sequence[str | None],
    log_metric: Callable[[str, float], None] | None = None,
    log_extra: Callable[[str, list[Any]], None] | None = None,
    **_: Any,
) -> list[float]:
    """The reward that the rollout has computed, in TRL's signature; logs one dual of each completion."""
    if log_metric is not None:
        asked = [
            reward for reward, prompt in zip(dual_reward, dual_prompt, strict=True) if prompt is not None
        ]
        log_metric("dual/asked_rate", len(asked) / len(prompts))
    if log_extra is not None:
        log_extra("dual_prompt", list(dual_prompt))
        log_extra("dual_reply", list(dual_reply))
    return list(dual_reward)


class _Rollout:
    """Samples answers with the engine of the trainer, and their duals from the judge."""

    def __init__(self, duals: Duals, is_frozen: bool, samples: int, temperature: float) -> None:
        self._duals, self._is_frozen = duals, is_frozen
        self._samples, self._temperature = samples, temperature
        # By trainer: a second one starts from another model.
        self._judges: WeakKeyDictionary[Any, FrozenJudge] = WeakKeyDictionary()

    def __call__(self, prompts: list[Any], trainer: Any) -> dict[str, Any]:
        """Samples and judges.

        Args:
            prompts: B texts or lists of messages, each as often as it has completions.

        Returns:
            What TRL asks of a `rollout_func`, and what `dual` reads: `dual_reward` (B numbers), `dual_prompt`
            and `dual_reply` (B texts of the first dual, None where nothing was asked).
        """
        if self._is_frozen and trainer not in self._judges:
            self._judges[trainer] = FrozenJudge.of(trainer)
        # What TRL trains on comes from its own engine, with its own log-probabilities.
        count = trainer.num_generations if trainer.model.training else trainer.num_generations_eval
        prompt_ids, images, fields = trainer._tokenize_prompts(prompts)
        completion_ids, logprobs = trainer._generate_single_turn(prompt_ids, images, fields, count)
        texts = _texts(trainer, prompt_ids, completion_ids)
        answers = [self._duals.ask_of(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
        replies = self._replies(trainer, answers, is_chat=not isinstance(prompts[0], str), most=len(prompts))
        rewards = [
            self._duals.reward(answer, [replies[prompt] for prompt in answer.prompts]) for answer in answers
        ]
        first = [answer.prompts[0] if answer.prompts else None for answer in answers]
        return {
            "prompt_ids": prompt_ids,
            "completion_ids": completion_ids,
            "logprobs": logprobs,
            "dual_reward": rewards,
            "dual_prompt": first,
            "dual_reply": [None if prompt is None else replies[prompt][0] for prompt in first],
        }

    def _replies(
        self, trainer: Any, answers: Sequence[AskedAnswer], *, is_chat: bool, most: int
    ) -> dict[str, list[str]]:
        """The samples of every dual prompt, `most` of them at a time."""
        prompts = list(dict.fromkeys(prompt for answer in answers for prompt in answer.prompts))
        rows = [prompt for prompt in prompts for _ in range(self._samples)]
        count = torch.tensor(len(rows), device=trainer.accelerator.device)
        longest = int(trainer.accelerator.gather(count).max())
        # TRL cuts gathered replies by rank, so a rank with less to ask repeats a question, or asks "?".
        rows += (rows[:1] or ["?"]) * (longest - len(rows))
        texts: list[str] = []
        # Three duals of every answer at once would take three times the memory of the answers.
        for start in range(0, len(rows), most):
            chunk = rows[start : start + most]
            framed = [[{"role": "user", "content": prompt}] for prompt in chunk] if is_chat else chunk
            ids, images, fields = trainer._tokenize_prompts(framed)
            if self._is_frozen:
                completions = self._judges[trainer].sample(trainer, ids, self._temperature)
            else:
                with _at_temperature(trainer, self._temperature):
                    completions, _ = trainer._generate_single_turn(ids, images, fields, 1)
            texts += _texts(trainer, ids, completions)
        n = self._samples
        return {prompt: texts[k * n : (k + 1) * n] for k, prompt in enumerate(prompts)}


@contextmanager
def _at_temperature(trainer: Any, temperature: float) -> Iterator[None]:
    """The trainer's engine samples at another temperature."""
    engine, name = (trainer, "generation_config")
    if trainer.use_vllm:
        engine, name = (trainer.vllm_generation, "temperature")
    stock = getattr(engine, name)
    setattr(engine, name, temperature if trainer.use_vllm else at_temperature(stock, temperature))
    try:
        yield
    finally:
        setattr(engine, name, stock)


def _texts(trainer: Any, prompt_ids: Sequence[list[int]], completion_ids: Sequence[list[int]]) -> list[str]:
    """The texts of completions as duals read them."""
    decode = trainer.processing_class.decode
    texts = trainer.processing_class.batch_decode(completion_ids, skip_special_tokens=True)
    # The last tokens of a prompt tell whether a thought is open.
    return [behind_thought(decode(ids[-8:]), text) for ids, text in zip(prompt_ids, texts, strict=True)]
