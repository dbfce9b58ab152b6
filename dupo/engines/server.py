"""The server engine: completions of a model that an OpenAI-compatible server holds, as texts.

Texts are enough for duals, rerank, audit and select. Every sample is a request of its own, with a seed of its
own: so each answer is kept by itself, and a server that ignores `n` does the same work.

Training needs more, and `features` says what is missing: see `dupo.engines.vllm_server`.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from threading import Event
from typing import Any

import torch

from dupo.engines.base import EngineFeatures, Followed, FollowUps, PromptRefused, Sampling, in_groups
from dupo.engines.connection import Refused
from dupo.engines.following import Following
from dupo.engines.in_flight import run_all
from dupo.engines.openai_protocol import CHAT, IDS, PATHS, messages_of, read_answer
from dupo.engines.probe import Server
from dupo.engines.server_requests import Answer, Answers, PendingRequests, Request, is_stopped
from dupo.errors import ServerError, UserError
from dupo.models.load import Model
from dupo.records import ChatPrompt, Completion, Prompt
from dupo.text.tokenizer import PromptTokenizer

NO_ID = -1  # in the place of ids that nobody has told: whatever reads it as a token fails
TOO_LONG = "too long for the server, and not answered"
# What servers say of a prompt that has no room: OpenAI and vLLM, SGLang, llama.cpp, TGI.
_TOO_LONG = re.compile(
    r"context[ _]?(length|size|window)|maximum context|max_model_len|too long|prompt length|longer than the "
    r"model|input length|max(imum)? sequence length",
    re.IGNORECASE,
)
_Prompts = Sequence[Prompt] | Sequence[list[int]]


class ServerEngine:
    """Samples from a model that a server holds; see `dupo.engines.base.Engine`.

    Args:
        server: what `probe` gave.
        tokenizer: frames the prompts, where the server takes ids; else None.
        kept: answers of earlier starts; None: none are kept.

    Attributes:
        faults: what happened to completions without text, in words -> how many.
    """

    def __init__(
        self, server: Server, tokenizer: PromptTokenizer | None, kept: Answers | None = None
    ) -> None:
        self.server, self.kept = server, kept
        # Who encodes prompts asks `features.ids` before.
        self.tokenizer: Any = tokenizer
        self.faults: Counter[str] = Counter()
        self._answered_limits = set[int]()

    @property
    def features(self) -> EngineFeatures:
        """What the engine can do."""
        has_ids = self.server.dialect.route == IDS
        return EngineFeatures(
            logprobs=False, distributions=False, new_weights=False, ids=has_ids, follow_ups=True
        )

    @property
    def max_positions(self) -> int | None:
        """Most tokens of a prompt and its completion; None where they cannot be counted or are not told."""
        return self.server.max_positions if self.features.ids else None

    def load_weights(self, model: Model) -> None:
        """Not possible: the server keeps its weights."""
        raise NotImplementedError("a server keeps its weights")

    def release_memory(self) -> None:
        """Nothing: the memory is that of the server."""

    def sample(self, prompts: _Prompts, n: int, sampling: Sampling, seed: int) -> list[list[Completion]]:
        """Draws `n` completions of each prompt; see `Engine.sample`.

        A prompt that is too long for the server has completions without tokens.

        Raises:
            PromptRefused: the server refuses a prompt for another reason.
            ServerError: the server does not answer; what it answered before is kept.
            UserError: the server refuses the key, or everything as too long.
        """
        self._check_draws(sampling)
        requests = self._requests(prompts, n, sampling, seed, Counter())
        answers = self._ask_all(requests, None)
        self._check_any_fits(answers, sampling.max_tokens)
        return in_groups(self._completions(answers), n)

    def sample_and_follow(
        self, prompts: _Prompts, n: int, sampling: Sampling, seed: int, follow: FollowUps
    ) -> Followed:
        """As `sample`, with prompts that follow; see `FollowingEngine.sample_and_follow`.

        Raises:
            PromptRefused, ServerError, UserError: as `sample`.
        """
        self._check_draws(sampling)
        self._check_draws(follow.sampling)
        following = Following[Answer](len(prompts), n, follow, self._completions)
        requests, times = self._requests(prompts, n, sampling, seed, Counter()), Counter[str]()
        # Requests that follow stand behind these, so a number tells which of both it is.
        num_answers = len(requests)

        def take(number: int, answer: Answer) -> list[Request]:
            if number < num_answers:
                further = following.take(*divmod(number, n), answer)
            else:
                place, sample = divmod(number - num_answers, follow.n)
                further = following.take(len(prompts) + place, sample, answer)
            return self._requests(further, follow.n, follow.sampling, follow.seed, times)

        answers = self._ask_all(requests, take)
        # Each by itself, as both have limits of their own.
        self._check_any_fits(answers[:num_answers], sampling.max_tokens)
        self._check_any_fits(answers[num_answers:], follow.sampling.max_tokens)
        return following.result()

    def _check_draws(self, sampling: Sampling) -> None:
        # Samples that are all alike would win every vote.
        if sampling.temperature > 0 and not self.server.abilities.draws:
            raise UserError(
                f"{self.server.address}: expected a server that samples at --temperature, got the same "
                "completion for every seed (transformers serve needs do_sample in generation_config.json)"
            )

    def _requests(
        self, prompts: _Prompts, n: int, sampling: Sampling, seed: int, times: Counter[str]
    ) -> list[Request]:
        """A request for each completion, those of a prompt one after another.

        Args:
            times: how often the same content stood before in this call; the counts go on.
        """
        requests = list[Request]()
        for prompt in prompts:
            content = self._content(prompt)
            text = json.dumps(content)
            for k in range(n):
                key, body = self._request(content, text, times[text], k, sampling, seed)
                requests.append(Request(key, prompt, body))
            times[text] += 1
        return requests

    def _ask_all(
        self, requests: list[Request], follow: Callable[[int, Answer], list[Request]] | None
    ) -> list[Answer]:
        """The answers to all requests, in their order: they come in any order.

        Args:
            requests: grows by those that follow.
            follow: further requests, from the number of a request and its answer; None: nothing follows.
        """
        pending = PendingRequests(requests, self.kept, follow, self._ask)
        most_at_once = self.server.connection.options.max_concurrent_requests
        try:
            run_all(pending.calls(), most_at_once, pending.take, is_stopped, pending.calls_after)
        except ServerError as problem:
            there = f"{len(pending.answers):,} of {len(requests):,} answers of this batch had come"
            keeps = f", all {len(self.kept):,} are kept" if self.kept is not None else ""
            raise ServerError(f"{problem}; {there}{keeps}") from None
        # Whatever ends the block, Ctrl-C too: what has come is on the disk.
        finally:
            if self.kept is not None:
                self.kept.sync()
        return [pending.answers[number] for number in range(len(requests))]

    def _content(self, prompt: Prompt | list[int]) -> Any:
        """What stands for a prompt in a request."""
        route = self.server.dialect.route
        if route == IDS:
            return prompt if isinstance(prompt, list) else self.tokenizer.encode([prompt])[0]
        assert not isinstance(prompt, list), "ids came to an engine that reads none"
        if route == CHAT:
            return messages_of(prompt, self.server.system_prompt)
        if isinstance(prompt, ChatPrompt):
            reason = f"has no chat template for a message of the {prompt.history[0].role}"
            raise PromptRefused(f"{self.server.address} {reason}: write it into the question", prompt)
        return "".join(prompt)

    def _request(
        self, content: Any, text: str, time: int, k: int, sampling: Sampling, seed: int
    ) -> tuple[str, dict[str, Any]]:
        """The key and the body of a request.

        Args:
            text: the content as text.
            time: how often the same content stood before in this call: equal prompts have draws of their own.
            k: number of the sample.
        """
        # Not `seeds.prompt_keys`: a prompt may have no ids here.
        digest = hashlib.blake2b(f"{seed} {time} {k} {text}".encode(), digest_size=8).digest()
        body = self.server.dialect.body(content, sampling, int.from_bytes(digest) >> 33)
        # Everything that decides an answer: another server, model, prompt or sampling has another key.
        whole = [str(self.server.address), self.server.dialect.route, body, seed, time, k]
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:32], body

    def _ask(self, prompt: Prompt | list[int], body: Mapping[str, Any], stop: Event) -> Answer:
        """Makes one request; None where the prompt is too long."""
        try:
            return self.server.connection.ask(PATHS[self.server.dialect.route], body, read_answer, stop)
        except Refused as problem:
            if problem.status == 413 or (problem.status in (400, 422) and _TOO_LONG.search(problem.reason)):
                return None
            where = str(self.server.address)
            # Of one prompt, as the probe was taken; any other status is of the server.
            if problem.status in (400, 422):
                raise PromptRefused(f"{where} refuses the prompt ({problem})", prompt) from None
            raise UserError(f"{where} refuses requests ({problem})") from None

    def _check_any_fits(self, answers: Sequence[Answer], max_tokens: int) -> None:
        """Refuses to go on where the server found everything too long: the limit itself is then too high."""
        # One long prompt is left out; a limit that fits no prompt would leave out the whole run in silence.
        if any(answer is not None for answer in answers):
            self._answered_limits.add(max_tokens)
        if answers and max_tokens not in self._answered_limits:
            raise UserError(
                f"{self.server.address}: all {len(answers):,} prompts and completions of {max_tokens} tokens "
                "are too long for it: give less --max_completion_length or --dual_max_completion_length"
            )

    def _completions(self, answers: Sequence[Answer]) -> list[Completion]:
        return [self._completion(answer) for answer in answers]

    def _completion(self, answer: Answer) -> Completion:
        if answer is None:
            self.faults[TOO_LONG] += 1
            return Completion(torch.empty(0, dtype=torch.int32), torch.empty(0), "", truncated=True)
        if answer.fault:
            self.faults[answer.fault] += 1
        # Without a count of the server, words stand for tokens; the start-up table says so. One at least: a
        # completion of no tokens is one that was not asked for.
        count = len(answer.text.split()) + 1 if answer.tokens is None else answer.tokens
        ids = torch.full((max(1, count),), NO_ID, dtype=torch.int32)
        # NaN and not 0: a loss of these would be told as not finite.
        return Completion(ids, torch.full((len(ids),), float("nan")), answer.text, answer.truncated)

    def take_notes(self) -> list[str]:
        """What happened to completions since the last call, a line each."""
        notes = [
            f"{self.server.address}: {count:,} completions {what}" for what, count in self.faults.items()
        ]
        self.faults.clear()
        return notes
