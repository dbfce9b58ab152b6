"""A stand-in for the package vllm: a copy of the model, which notes what was called in what order."""

from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM


class FakeCore:
    """`LLMEngine` as far as the engine uses it: a step ends the request that came last.

    Attributes:
        waiting: outputs of requests that have not ended.
    """

    def __init__(self) -> None:
        self.waiting = list[Any]()

    def step(self) -> list[Any]:
        return [SimpleNamespace(finished=False, request_id=self.waiting[0].request_id), self.waiting.pop()]

    def abort_request(self, names: Sequence[str]) -> None:
        assert set(names) == {output.request_id for output in self.waiting}
        self.waiting.clear()


class FakeLLM:
    """`vllm.LLM` as far as the engine uses it.

    Attributes:
        calls: names of what was called, but for `generate`.
        ignores: numbers of the calls of reload_weights that change nothing, from 1.
    """

    ignores: frozenset[int] = frozenset()

    def __init__(self, model: str, load_format: str, **settings: Any) -> None:
        assert load_format == "dummy"
        self.settings, self.calls, self.reloads = settings, list[str](), 0
        self.model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model)).eval()
        self.llm_engine, self.num_requests = FakeCore(), 0

    def collective_rpc(self, name: str, kwargs: Mapping[str, Iterator[tuple[str, Tensor]]]) -> None:
        assert name == "reload_weights"
        self.calls.append(name)
        self.reloads += 1
        weights = dict(kwargs["weights_iterator"])
        if self.reloads not in self.ignores:
            self.model.load_state_dict(weights, strict=False)

    def reset_prefix_cache(self) -> bool:
        self.calls.append("reset_prefix_cache")
        return True

    def sleep(self, level: int) -> None:
        self.calls.append(f"sleep {level}")

    def wake_up(self, tags: Sequence[str]) -> None:
        self.calls.append(f"wake_up {' '.join(tags)}")

    @torch.no_grad()
    def generate(
        self, prompts: Sequence[Mapping[str, list[int]]], parameters: Sequence[Any], use_tqdm: bool
    ) -> list[Any]:
        return [
            SimpleNamespace(outputs=[self._row(prompt["prompt_token_ids"], of, k) for k in range(of.n)])
            for prompt, of in zip(prompts, parameters, strict=True)
        ]

    def enqueue(
        self, prompts: Sequence[Mapping[str, list[int]]], parameters: Sequence[Any], use_tqdm: bool
    ) -> list[str]:
        names = list[str]()
        for output in self.generate(prompts, parameters, use_tqdm):
            names.append(f"{self.num_requests}-abc-def")
            output.request_id, output.finished = str(self.num_requests), True
            self.llm_engine.waiting.append(output)
            self.num_requests += 1
        return names

    def _row(self, prompt: list[int], of: Any, index: int) -> Any:
        draws = torch.Generator().manual_seed((of.seed + index) % 2**63)
        ids, logprobs = list(prompt), []
        while len(logprobs) < of.max_tokens and (not logprobs or ids[-1] not in of.stop_token_ids):
            logits_V = self.model(torch.tensor([ids])).logits[0, -1] / (of.temperature or 1.0)
            logprobs_V = logits_V.log_softmax(-1)
            if of.temperature:
                token = int(torch.multinomial(logprobs_V.exp(), 1, generator=draws))
            else:
                token = int(logprobs_V.argmax())
            ids.append(token)
            logprobs.append({token: SimpleNamespace(logprob=logprobs_V[token].item())})
        reason = "stop" if ids[-1] in of.stop_token_ids else "length"
        sampled = ids[len(prompt) :]
        return SimpleNamespace(index=index, token_ids=sampled, logprobs=logprobs, finish_reason=reason)
