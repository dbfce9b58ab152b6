"""A vLLM server as the sampler of a training run: prompts go as ids, new weights as files that both read.

    load_weights     notes which weights are sampled from next
    sample           sends those weights if they are new, has the server drop its cached prefixes, and samples

The workers answer with a checksum of the weights that they hold. The checksum is compared before and after
every rollout: a server that was started again, or that another run has sent weights to, is an error.
"""

import math
import os
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dupo.distributed.ranks import ALONE, Ranks, Wait
from dupo.engines.base import EngineFeatures, Followed, FollowUps, Sampling, check_room, ids_of
from dupo.engines.connection import Passing, Refused
from dupo.engines.following import Following
from dupo.engines.in_flight import Call, run_all
from dupo.engines.openai_protocol import BROKEN_OFF, IDS, PATHS, choices_of
from dupo.engines.server_requests import is_stopped
from dupo.engines.training_probe import TrainingServer, call_workers
from dupo.engines.vllm_instance import SEEDS
from dupo.engines.weight_files import write_weights
from dupo.engines.weight_handover import WeightHandover, writing_weights
from dupo.errors import ServerError, UserError
from dupo.models.adapter_files import whole_weights
from dupo.models.agreement import has_experts
from dupo.models.devices import compute_dtype
from dupo.models.load import Model
from dupo.models.sharding import reshard, whole
from dupo.progress import tell_progress
from dupo.records import Completion, Prompt
from dupo.seeds import prompt_keys
from dupo.text.tokenizer import PromptTokenizer

# Without the word about running requests vLLM keeps its prefixes while anybody asks for anything.
RESET = "/reset_prefix_cache?reset_running_requests=true"
SHARED_MEMORY = Path("/dev/shm")


class SampledRow(NamedTuple):
    """One completion as the server gives it."""

    ids: list[int]
    logprobs: list[float]
    truncated: bool


class VllmServerEngine:
    """Samples from a copy of a model that a vLLM server holds; see `dupo.engines.base.Engine`.

    Args:
        model: sampled from as it is when `load_weights` is called, and as it is now until then.
        dtype: `--compute_dtype`.
        folder: `--weight_folder`.
        ranks: the processes that train the model, which may be sharded. All of them make this object, ask for
            `renew` together, and then the first alone samples.

    Raises:
        UserError: the server cannot take the weights of this model.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: PromptTokenizer,
        server: TrainingServer,
        *,
        dtype: str,
        folder: str | None,
        ranks: Ranks = ALONE,
    ) -> None:
        if has_experts(model):
            # transformers fuses experts in memory, and vLLM reads them one by one.
            raise UserError(f"engine: server takes no mixture of experts yet, got {type(model).__name__}")
        self.tokenizer, self.ranks = tokenizer, ranks
        # The machines of other ranks may have no such folder.
        self.folder = ranks.on_first(lambda: weight_folder(folder))
        self.server, self.control = server.server, server.control
        self.weight_dtype = compute_dtype(model.device, dtype)
        self.handover = WeightHandover(model, dtype, "server", self.max_positions)
        self.checksum = ""

    @property
    def features(self) -> EngineFeatures:
        """What the engine can do: `TrainingServer` is only made of a server that was seen to do it."""
        return EngineFeatures(logprobs=True, distributions=False, new_weights=True, follow_ups=True)

    @property
    def max_positions(self) -> int | None:
        """Most tokens of a prompt and its completion."""
        return self.server.max_positions

    def load_weights(self, model: Model) -> None:
        """Samples from `model` as it is now, from the next call on."""
        # Weights that a pass has gathered stand in the place of the shares, with other counts of writes.
        reshard(model)
        self.handover.note(model)

    @torch.no_grad()
    def renew(self) -> None:
        """Has the server take the weights that were noted last, if they are new; every rank has to ask.

        Raises:
            ServerError, UserError, RuntimeError: as `sample`.
        """
        reshard(self.handover.model)
        self.handover.check_noted()
        if self.handover.is_due:
            self._send_weights()
            # The learner's half is a pass through the shares, so every rank takes part.
            self.handover.done(lambda *asked: self.ranks.on_first(lambda: self._sample(*asked), self._wait()))
            reshard(self.handover.model)

    def _wait(self) -> Wait:
        return Wait(f"answers of {self.control.url}", self.control.longest_wait())

    def release_memory(self) -> None:
        """Nothing: the memory is that of the server."""

    @torch.no_grad()
    def sample(
        self, prompts: Sequence[Prompt] | Sequence[list[int]], n: int, sampling: Sampling, seed: int
    ) -> list[list[Completion]]:
        """Draws `n` completions of each prompt; see `Engine.sample`.

        Raises:
            ServerError: the server does not answer, or lost the weights on the way.
            UserError: a prompt leaves no room for `max_tokens`, the server refuses requests or the weights,
                or its log-probs are others than those of the learner.
            RuntimeError: the weights of the model have changed, and `load_weights` was not called.
        """
        with self._sound_weights():
            return self._sample(self._encode(prompts, sampling.max_tokens), n, sampling, seed)

    @torch.no_grad()
    def sample_and_follow(
        self,
        prompts: Sequence[Prompt] | Sequence[list[int]],
        n: int,
        sampling: Sampling,
        seed: int,
        follow: FollowUps,
    ) -> Followed:
        """As `sample`, with prompts that follow; see `FollowingEngine.sample_and_follow`.

        Raises:
            ServerError, UserError, RuntimeError: as `sample`.
        """
        with self._sound_weights():
            prompt_ids = self._encode(prompts, sampling.max_tokens)
            following = Following[SampledRow](len(prompt_ids), n, follow, self._completions)
            times = Counter[tuple[int, ...]]()

            def calls_after(number: int, rows: list[SampledRow]) -> list[Call[list[SampledRow]]]:
                # Nothing follows from a dual.
                if not (further := following.take_all(number, rows)):
                    return []
                further_ids = self._encode(further, follow.sampling.max_tokens)
                keys = prompt_keys(follow.seed, further_ids, times)
                return self._calls(further_ids, keys, follow.n, follow.sampling)

            calls = self._calls(prompt_ids, prompt_keys(seed, prompt_ids), n, sampling)
            self._ask_all(calls, calls_after)
            return following.result()

    @contextmanager
    def _sound_weights(self) -> Iterator[None]:
        """Sends new weights before the block; after the block, checks that it was sampled from them."""
        self.renew()
        self._check_weights()
        yield
        # A request is made anew after a broken connection: a new server answers it with its first weights.
        self._check_weights()

    def _encode(self, prompts: Sequence[Prompt] | Sequence[list[int]], max_tokens: int) -> list[list[int]]:
        prompt_ids = ids_of(self.tokenizer, prompts)
        where = f"{self.server.address.url} (--max-model-len of vllm serve)"
        check_room(prompt_ids, max_tokens, self.max_positions, where)
        return prompt_ids

    # --- weights ---

    def _send_weights(self) -> None:
        left, failure = list[Exception](), list[Exception]()

        def gathered() -> Iterator[tuple[str, Tensor]]:
            # Whole one after the other: no rank has room for a second model.
            for name, weight in whole_weights(self.handover.model):
                try:
                    tensor = whole(weight)
                except Exception as problem:
                    left.append(problem)
                    raise
                yield name, tensor

        weights = gathered()
        if self.ranks.is_first:
            try:
                self._hand_over(weights)
            except Exception as problem:
                # The others wait in a gather that this rank has left: they cannot be met, and are told.
                if left:
                    raise
                failure.append(problem)
        # All ranks gather all of them, whatever happens to the first.
        deque(weights, maxlen=0)

        def outcome() -> None:
            for problem in failure:
                raise problem

        self.ranks.on_first(outcome, self._wait())

    def _hand_over(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        # The files go once the server has read them: a rollout is long, and shared memory is memory.
        with tempfile.TemporaryDirectory(prefix="dupo-weights-", dir=self.folder) as folder:
            with writing_weights(f"weight_folder: {folder}", "give one with room for the whole model"):
                self.checksum = write_weights(Path(folder), weights, self.weight_dtype)
            results = self._call("dupo_receive_weights", folder)
        self._compare(results, "after the weights were sent")
        # Prefixes that were computed with the weights before.
        self._reset_prefixes()

    def _reset_prefixes(self) -> None:
        try:
            self.control.ask(RESET, {}, _read_reset)
        except Refused as problem:
            raise ServerError(f"{self.control.url} cannot drop its cached prefixes ({problem})") from None

    def _check_weights(self) -> None:
        """Checks that the server holds the weights that were sent last; no weight is read."""
        self._compare(self._call("dupo_weights"), "while the policy is sampled from")

    def _call(self, method: str, *args: str) -> list[dict[str, Any]]:
        try:
            return call_workers(self.control, method, args)
        except Refused as problem:
            raise ServerError(f"{self.control.url} takes no weights any more ({problem})") from None

    def _compare(self, results: Sequence[Mapping[str, Any]], when: str) -> None:
        # One for each worker: a model that is split among GPUs must be new on all of them.
        for result in results:
            if error := result.get("error"):
                raise ServerError(f"{self.control.url} cannot load weights from {self.folder}: {error}")
            if (held := result.get("checksum")) != self.checksum:
                raise ServerError(
                    f"{self.control.url} {when}: expected weights with the checksum {self.checksum}, got "
                    f"{held or 'those of its start'}: was it started again, or does another run use it?"
                )

    # --- samples ---

    def _sample(
        self, prompt_ids: Sequence[list[int]], n: int, sampling: Sampling, seed: int
    ) -> list[list[Completion]]:
        # A key for each prompt: the draws do not depend on what else is asked.
        calls = self._calls(prompt_ids, prompt_keys(seed, list(prompt_ids)), n, sampling)
        rows: dict[int, list[SampledRow]] = {}

        def note(number: int, answer: list[SampledRow]) -> list[Call[list[SampledRow]]]:
            rows[number] = answer
            tell_progress("samples", len(rows) * n, len(calls) * n)
            return []

        self._ask_all(calls, note)
        return [self._completions(rows[number]) for number in range(len(calls))]

    def _calls(
        self, prompt_ids: Sequence[list[int]], keys: Sequence[int], n: int, sampling: Sampling
    ) -> list[Call[list[SampledRow]]]:
        """A call for each prompt."""
        return [
            partial(self._ask, self._body(ids, n, sampling, key), n)
            for ids, key in zip(prompt_ids, keys, strict=True)
        ]

    def _ask_all(
        self,
        calls: Sequence[Call[list[SampledRow]]],
        calls_after: Callable[[int, list[SampledRow]], Sequence[Call[list[SampledRow]]]],
    ) -> None:
        """Makes all calls.

        Args:
            calls_after: further calls, from the number of a call and its rows.
        """
        rows: dict[int, list[SampledRow]] = {}
        num_asked = len(calls)

        def follow(number: int) -> Sequence[Call[list[SampledRow]]]:
            nonlocal num_asked
            further = calls_after(number, rows[number])
            num_asked += len(further)
            return further

        most_at_once = self.server.connection.options.max_concurrent_requests
        try:
            run_all(calls, most_at_once, rows.__setitem__, is_stopped, follow)
        except ServerError as problem:
            raise ServerError(f"{problem}; {len(rows):,} of {num_asked:,} groups had come") from None

    def _body(self, ids: list[int], n: int, sampling: Sampling, key: int) -> dict[str, Any]:
        body = self.server.dialect.body(ids, sampling, key % SEEDS)
        return body | {
            "n": n,
            "logprobs": 0,  # of the sampled token alone
            "return_token_ids": True,
            "stop_token_ids": sorted(self.tokenizer.eos_ids),
            "ignore_eos": True,  # the tokenizer knows every end token, the config of a model may not
        }

    def _ask(self, body: Mapping[str, Any], n: int, stop: Event) -> list[SampledRow]:
        read = partial(_read_rows, n=n)
        try:
            return self.server.connection.ask(PATHS[IDS], body, read, stop)
        except Refused as problem:
            raise UserError(f"{self.server.address} refuses requests ({problem})") from None

    def _completions(self, rows: Sequence[SampledRow]) -> list[Completion]:
        if not all(math.isfinite(value) for row in rows for value in row.logprobs):
            raise FloatingPointError("the model's logits are not finite")
        texts = self.tokenizer.decode([row.ids for row in rows])
        return [
            Completion(
                torch.tensor(row.ids, dtype=torch.int32), torch.tensor(row.logprobs), text, row.truncated
            )
            for row, text in zip(rows, texts, strict=True)
        ]


def weight_folder(folder: str | None) -> str | None:
    """Where weights are written: `--weight_folder`, else the memory that processes share.

    Returns:
        None: the folder of temporary files.

    Raises:
        UserError: there is no such folder, or it cannot be written to.
    """
    if folder is None:
        return str(SHARED_MEMORY) if os.access(SHARED_MEMORY, os.W_OK) else None
    if not (Path(folder).is_dir() and os.access(folder, os.W_OK)):
        raise UserError(f"weight_folder: expected a folder that can be written to, got {folder}")
    # The server has another working directory.
    return str(Path(folder).resolve())


def _read_rows(answer: Mapping[str, Any], n: int) -> list[SampledRow]:
    """The completions of an answer, in the order of their draws.

    Raises:
        Passing: the server broke a completion off.
        ValueError: an id or a log-prob is missing.
    """
    choices = sorted(choices_of(answer), key=lambda choice: choice.get("index", 0))
    if len(choices) != n:
        raise ValueError(f"{len(choices)} completions, expected {n}")
    rows = []
    for choice in choices:
        if (reason := choice.get("finish_reason")) in BROKEN_OFF:
            raise Passing(f"it broke a completion off (finish_reason {reason})")
        ids, logprobs = choice.get("token_ids"), (choice.get("logprobs") or {}).get("token_logprobs")
        if not (isinstance(ids, list) and ids and isinstance(logprobs, list) and len(ids) == len(logprobs)):
            raise ValueError("a completion without an id and a log-prob for each token")
        # JSON has no NaN: null stands for a log-prob that is not finite.
        logprobs = [float("nan") if value is None else float(value) for value in logprobs]
        rows.append(SampledRow(ids, logprobs, reason == "length"))
    return rows


def _read_reset(answer: Mapping[str, Any]) -> None:
    if answer.get("success") is False:
        raise Passing("it cannot drop its cached prefixes")
