"""A stand-in for `vllm serve`: the routes that training uses, around our own class for the workers."""

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from dupo.engines.vllm_extension import WeightReceiver
from tests.helpers.fake_vllm import FakeLLM
from tests.helpers.stub_server import MODEL, Reply, StubServer, fault

POSITIONS = 128


class StandInWorker(WeightReceiver):
    """vLLM's worker as far as the extension uses it.

    Attributes:
        ignores: numbers of the updates that change nothing, from 1.
        breaks: whether weights cannot be loaded.
    """

    def __init__(self, llm: FakeLLM) -> None:
        self.llm, self.model_config = llm, SimpleNamespace(hf_config=llm.model.config)
        self.num_updates, self.ignores, self.breaks = 0, set[int](), False
        self.get_model = lambda: llm.model

    def reload_weights(self, weights_iterator: Iterator[tuple[str, Tensor]]) -> None:
        self.num_updates += 1
        weights = dict(weights_iterator)
        if self.breaks:
            raise ValueError("no such layer")
        if self.num_updates not in self.ignores:
            self.llm.model.load_state_dict(weights)


class VllmStub(StubServer):
    """Samples from a copy of a model with other weights, until it is sent some.

    Attributes:
        lacks: what the server is without: any of dev-mode, extension, processed, ids, logprobs.
        calls: what was called beside completions, in order; but for `dupo_weights` and `dupo_shape`.
    """

    def __init__(self, model: PreTrainedModel, folder: str, lacks: str = "") -> None:
        super().__init__(lambda text, seed: "")
        model.config.save_pretrained(folder)
        self.llm = FakeLLM(folder, "dummy")
        self.worker, self.lacks, self.calls = StandInWorker(self.llm), lacks, list[str]()
        self.models = [{"id": MODEL, "owned_by": "vllm", "max_model_len": POSITIONS}]

    def reply(self, route: str, body: dict[str, Any]) -> Reply:
        if (other := self.before(route, body)) is not None:
            return other
        if route == "/v1/completions":
            with self.lock:  # one model, many threads
                return self._complete(body)
        route = route.partition("?")[0]
        if "dev-mode" in self.lacks or route not in ("/collective_rpc", "/reset_prefix_cache"):
            return fault(404, "Not Found")
        if route == "/reset_prefix_cache":
            self.calls.append("reset_prefix_cache")
            return Reply.of(200, {"success": True})
        method = body["method"]
        if "extension" in self.lacks:
            return fault(500, f"Worker failed with error ''CPUWorker' object has no attribute '{method}''")
        if method == "dupo_receive_weights":
            self.calls.append(method)
        return Reply.of(200, {"results": [getattr(self.worker, method)(*body["args"])]})

    @torch.no_grad()
    def _complete(self, body: dict[str, Any]) -> Reply:
        of = SimpleNamespace(
            n=body.get("n", 1),
            temperature=body["temperature"],
            max_tokens=body["max_tokens"],
            seed=body["seed"],
            stop_token_ids=body.get("stop_token_ids", []),
        )
        (output,) = self.llm.generate([{"prompt_token_ids": body["prompt"]}], [of], use_tqdm=False)
        logits_V = self.llm.model(torch.tensor([body["prompt"]])).logits[0, -1]
        heat = 1.0 if "processed" in self.lacks else of.temperature or 1.0
        top = (logits_V / heat).log_softmax(-1).topk(5)
        first = {f"token_id:{k}": v for k, v in zip(top.indices.tolist(), top.values.tolist(), strict=True)}
        choices = []
        for row in output.outputs:
            values = [of_tokens[k].logprob for of_tokens, k in zip(row.logprobs, row.token_ids, strict=True)]
            choice = {
                "index": row.index,
                "text": json.dumps(row.token_ids),
                "finish_reason": row.finish_reason,
            }
            if "ids" not in self.lacks:
                choice["token_ids"] = row.token_ids
            if "logprobs" not in self.lacks:
                choice["logprobs"] = {"token_logprobs": values, "top_logprobs": [first]}
            choices.append(choice)
        num_tokens = sum(len(row.token_ids) for row in output.outputs)
        usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": num_tokens}
        return Reply.of(200, {"choices": choices[::-1], "usage": usage})
