"""A stand-in for the package vllm: a copy of the model, which notes what was called in what order."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM


class FakeLLM:
    """`vllm.LLM` as far as the engine uses it.

    Attributes:
        calls: names of what was called, but for `generate`.
        ignores: numbers of the calls of reload_weights that change nothing, from 1.
        ignored_adapters: numbers of adapters that arrive as the adapter before, from 1.
        keeps_adapters: whether adapters that are removed stay.
        waiting: outputs of requests that have not ended; a step ends the request that came last.
        adapters: the weights that each adapter that is held adds to those of the model, by its number.
    """

    ignores: frozenset[int] = frozenset()
    ignored_adapters: frozenset[int] = frozenset()
    keeps_adapters = False

    def __init__(self, model: str, load_format: str, **settings: Any) -> None:
        assert load_format == "dummy"
        self.settings, self.calls, self.reloads = settings, list[str](), 0
        self.adapters, self._newest = dict[int, dict[str, Tensor]](), dict[str, Tensor]()
        self.llm_engine = self
        self.model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model)).eval()
        self.num_requests, self.waiting = 0, list[Any]()

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

    def apply_model(self, function: Any) -> list[Any]:
        # The layers of vLLM that take adapters: those of the attention, of which three are one.
        model = nn.Module()
        for name in ("qkv_proj", "o_proj", "norm", "lm_head"):
            model.add_module(name, nn.Identity())
        model.qkv_proj.set_lora = model.o_proj.set_lora = print  # type: ignore[assignment]
        model.packed_modules_mapping = {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}  # type: ignore[assignment]
        return [function(model)]

    def add_lora(self, request: Any) -> bool:
        number, folder = request.lora_int_id, Path(request.lora_path)
        self.calls.append(f"add_lora {number}")
        if number not in self.ignored_adapters:
            self._newest = _added(folder)
        self.adapters[number] = self._newest
        return True

    def remove_lora(self, number: int) -> bool:
        self.calls.append(f"remove_lora {number}")
        if not self.keeps_adapters:
            del self.adapters[number]
        return True

    def list_loras(self) -> set[int]:
        return set(self.adapters)

    @torch.no_grad()
    def generate(
        self,
        prompts: Sequence[Mapping[str, list[int]]],
        parameters: Sequence[Any],
        use_tqdm: bool,
        lora_request: Any = None,
    ) -> list[Any]:
        state = {name: weight.clone() for name, weight in self.model.state_dict().items()}
        added = self.adapters[lora_request.lora_int_id] if lora_request else {}
        self.model.load_state_dict({name: state[name] + delta for name, delta in added.items()}, strict=False)
        outputs = [
            SimpleNamespace(outputs=[self._row(prompt["prompt_token_ids"], of, k) for k in range(of.n)])
            for prompt, of in zip(prompts, parameters, strict=True)
        ]
        self.model.load_state_dict(state)
        return outputs

    def enqueue(self, prompts: Any, parameters: Any, use_tqdm: bool, lora_request: Any = None) -> list[str]:
        names = list[str]()
        for output in self.generate(prompts, parameters, use_tqdm, lora_request):
            names.append(f"{self.num_requests}-abc-def")
            output.request_id, output.finished = str(self.num_requests), True
            self.waiting.append(output)
            self.num_requests += 1
        return names

    def step(self) -> list[Any]:
        return [SimpleNamespace(finished=False, request_id=self.waiting[0].request_id), self.waiting.pop()]

    def has_unfinished_requests(self) -> bool:
        return bool(self.waiting)

    def abort_request(self, names: Sequence[str]) -> None:
        assert set(names) == {output.request_id for output in self.waiting}
        self.waiting.clear()

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


def _added(folder: Path) -> dict[str, Tensor]:
    """s B A of every layer of an adapter folder, by the name of the weight."""
    config = json.loads((folder / "adapter_config.json").read_text())
    rank, alpha = config["r"], config["lora_alpha"]
    scale = alpha / rank**0.5 if config["use_rslora"] else alpha / rank
    weights = load_file(folder / "adapter_model.safetensors")
    layers = [name.removesuffix(".lora_A.weight") for name in weights if name.endswith(".lora_A.weight")]
    assert len(weights) == 2 * len(layers) > 0
    return {
        f"{layer.removeprefix('base_model.model.')}.weight": scale
        * weights[f"{layer}.lora_B.weight"]
        @ weights[f"{layer}.lora_A.weight"]
        for layer in layers
    }


def put_in_place(monkeypatch: pytest.MonkeyPatch, llm: type[FakeLLM] = FakeLLM) -> None:
    """Has `import vllm` give the stand-in."""

    def request(lora_name: str, lora_int_id: int, lora_path: str) -> SimpleNamespace:
        return SimpleNamespace(lora_name=lora_name, lora_int_id=lora_int_id, lora_path=lora_path)

    modules = {
        "vllm": dict(LLM=llm, SamplingParams=SimpleNamespace, __spec__=ModuleSpec("vllm", loader=None)),
        "vllm.config.lora": dict(MaxLoRARanks=Literal[1, 8, 16]),
        "vllm.lora.request": dict(LoRARequest=request),
    }
    for name, members in modules.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**members))  # type: ignore[arg-type]
