"""vLLM in the process that trains: a second copy of the weights, paged, and fed again after every update.

    load_weights     notes which weights are sampled from next
    sample           hands vLLM those weights if they are new, drops its cached prefixes, and samples
    release_memory   vLLM sleeps while the learner needs the memory (CUDA, `vllm_enable_sleep_mode`)

With adapters the weights beneath go over once, and the adapters alone after every update. vLLM computes with
kernels of its own, so its log-probs are near those of the learner and not equal (`EngineFeatures.exact`). The
weights that vLLM has are compared with those of the learner by what they say: at the start, and after the
first update. A new adapter changes nothing, so one that does goes over before it, for trial.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dupo.engines.base import EngineFeatures, Followed, FollowUps, Sampling, check_room, ids_of, in_groups
from dupo.engines.following import Following
from dupo.engines.vllm_adapters import trial_adapter
from dupo.engines.vllm_instance import SEEDS, VllmInstance
from dupo.engines.weight_handover import WeightHandover, compare_copy
from dupo.models.adapter_files import has_adapters
from dupo.models.load import Model
from dupo.progress import tell_progress
from dupo.records import Completion, Prompt
from dupo.seeds import prompt_keys
from dupo.text.tokenizer import PromptTokenizer

REQUESTS_AT_ONCE = 4096  # between two reports of the progress


class VllmEngine:
    """Samples from a copy of a model that vLLM holds; see `dupo.engines.base.Engine`.

    Args:
        model: sampled from as it is when `load_weights` is called, and as it is now until then.
        instance: was started for a model of that shape.
    """

    def __init__(self, model: Model, tokenizer: PromptTokenizer, instance: VllmInstance) -> None:
        self.tokenizer, self.instance = tokenizer, instance
        self.handover = WeightHandover(model, instance.dtype, "vllm", instance.max_length)
        self.request: Any = None  # of the adapter that stands for the model

    def beside(self, model: Model) -> "VllmEngine":
        """An engine, in the same vLLM, for a model with the same base and other adapters, or without any."""
        return VllmEngine(model, self.tokenizer, self.instance)

    @property
    def features(self) -> EngineFeatures:
        """What the engine can do."""
        return EngineFeatures(logprobs=True, distributions=False, new_weights=True, follow_ups=True)

    @property
    def max_positions(self) -> int | None:
        """Most tokens of a prompt and its completion."""
        return self.instance.max_length

    def load_weights(self, model: Model) -> None:
        """Samples from `model` as it is now, from the next call on."""
        self.handover.note(model)

    def release_memory(self) -> None:
        """Gives weights and cache up until the next call of `sample`."""
        self.instance.sleep()

    @torch.no_grad()
    def sample(
        self, prompts: Sequence[Prompt] | Sequence[list[int]], n: int, sampling: Sampling, seed: int
    ) -> list[list[Completion]]:
        """Draws `n` completions of each prompt; see `Engine.sample`.

        Raises:
            UserError: a prompt leaves no room for `max_tokens` within `max_positions`; or the weights in
                vLLM are found to be others than those of the learner.
            RuntimeError: the weights of the model have changed, and `load_weights` was not called.
        """
        self._hand_weights_over()
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
            UserError, RuntimeError: as `sample`.
        """
        self._hand_weights_over()
        prompt_ids = self._encode(prompts, sampling.max_tokens)
        following = Following[Any](len(prompt_ids), n, follow, self._completions)
        engine, times, num_asked = self.instance.llm.llm_engine, Counter[tuple[int, ...]](), 0
        numbers = dict[str, int]()  # of the prompts that are under way, by the name that vLLM has for each

        def add(prompt_ids: list[list[int]], keys: list[int], n: int, sampling: Sampling) -> None:
            nonlocal num_asked
            parameters = [self._parameters(n, sampling, key) for key in keys]
            for name in self.instance.enqueue(prompt_ids, parameters, self.request):
                numbers[name.partition("-")[0]] = num_asked  # behind it stand random digits
                num_asked += 1

        add(prompt_ids, prompt_keys(seed, prompt_ids), n, sampling)
        try:
            while numbers:
                # Without this a request that vLLM has lost would be waited for for ever.
                if not engine.has_unfinished_requests():
                    raise RuntimeError(f"vLLM lost {len(numbers)} prompts that it was asked")
                for output in engine.step():
                    if not output.finished:
                        continue
                    # Its number is gone before anything follows: what has ended cannot be taken back.
                    rows = sorted(output.outputs, key=lambda row: row.index)
                    if further := following.take_all(numbers.pop(output.request_id), rows):
                        further_ids = self._encode(further, follow.sampling.max_tokens)
                        keys = prompt_keys(follow.seed, further_ids, times)
                        add(further_ids, keys, follow.n, follow.sampling)
        finally:
            # After a fault: the next call would get what is still under way.
            engine.abort_request([*numbers])
        return following.result()

    def _encode(self, prompts: Sequence[Prompt] | Sequence[list[int]], max_tokens: int) -> list[list[int]]:
        prompt_ids = ids_of(self.tokenizer, prompts)
        check_room(prompt_ids, max_tokens, self.max_positions, "vllm (--vllm_max_model_length)")
        return prompt_ids

    def _hand_weights_over(self) -> None:
        self.handover.check_noted()
        if not (self.handover.is_due or self.instance.is_asleep):
            return
        model = self.handover.model
        if self.instance.adapter and has_adapters(model) and not self.instance.is_tried:
            with trial_adapter(model):
                self._load(model)
                name = "vllm with an adapter"
                compare_copy(model, self.instance.dtype, name, self.max_positions, self._sample)
            self.handover.note(model)  # the trial wrote to the adapters, and nothing is left of it
            self.instance.is_tried = True
        self._load(model)
        self.handover.done(self._sample)

    def _load(self, model: Model) -> None:
        with self.instance.renew():
            self.request = self.instance.load(model, self.request)

    def _sample(
        self, prompt_ids: list[list[int]], n: int, sampling: Sampling, seed: int
    ) -> list[list[Completion]]:
        # A key for each prompt: the draws do not depend on what else is asked.
        keys = prompt_keys(seed, prompt_ids)
        groups: list[list[Completion]] = []
        for start in range(0, len(prompt_ids), REQUESTS_AT_ONCE):
            at_once = slice(start, start + REQUESTS_AT_ONCE)
            parameters = [self._parameters(n, sampling, key) for key in keys[at_once]]
            outputs = self.instance.generate(prompt_ids[at_once], parameters, self.request)
            rows = [row for output in outputs for row in sorted(output.outputs, key=lambda row: row.index)]
            # The rows of a prompt stand together, in the order of their draws.
            groups += in_groups(self._completions(rows), n)
            tell_progress("samples", len(groups) * n, len(prompt_ids) * n)
        return groups

    def _parameters(self, n: int, sampling: Sampling, key: int) -> Any:
        return self.instance.vllm.SamplingParams(
            n=n,
            temperature=sampling.temperature,
            max_tokens=sampling.max_tokens,
            seed=key % SEEDS,
            logprobs=0,  # of the sampled token alone
            stop_token_ids=sorted(self.tokenizer.eos_ids),
            ignore_eos=True,  # the tokenizer knows every end token, the config of a model may not
            detokenize=False,
        )

    def _completions(self, rows: Sequence[Any]) -> list[Completion]:
        # What vLLM breaks off for another reason would pass for an answer that has ended.
        if others := {row.finish_reason for row in rows} - {"stop", "length"}:
            raise RuntimeError(f"vLLM broke completions off: {', '.join(map(str, sorted(others, key=str)))}")
        texts = self.tokenizer.decode([list(row.token_ids) for row in rows])
        return [
            Completion(
                torch.tensor(list(row.token_ids), dtype=torch.int32),
                _logprobs(row),
                content,
                row.finish_reason == "length",
            )
            for row, content in zip(rows, texts, strict=True)
        ]


def _logprobs(row: Any) -> Tensor:
    """Log-probs (T,) fp32 of the sampled tokens of one completion, nats."""
    steps = zip(row.logprobs, row.token_ids, strict=True)
    logprobs = [of_tokens[token].logprob for of_tokens, token in steps]
    if not all(map(math.isfinite, logprobs)):
        raise FloatingPointError("the model's logits are not finite")
    return torch.tensor(logprobs, dtype=torch.float32)
