"""Adapters in the real vLLM, in a process of its own: FOLDER of a model -> one line of JSON."""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from dupo.config.command_line import parse
from dupo.config.lora_options import LoraOptions
from dupo.config.vllm_options import VllmOptions
from dupo.engines.base import Engine, Sampling
from dupo.engines.vllm import VllmEngine
from dupo.engines.vllm_instance import VllmInstance
from dupo.models.adapter import Adapter, plan_adapter
from dupo.models.load import Model, load_model, model_config
from dupo.models.own_forward import own_logprobs
from dupo.models.tokenizers import load_tokenizer

# Two prompts share what fills blocks of the cache, which hold 128 tokens on a CPU.
PROMPTS = [[*(15 * list(range(2, 20))), last] for last in (3, 9)]
UPDATES = 3


def largest_difference(engine: Engine, model: Model) -> float:
    """Nats between the log-probs of an engine and those of a model, on completions of the engine."""
    worst = 0.0
    for prompt, group in zip(PROMPTS, engine.sample(PROMPTS, 3, Sampling(1.0, 6), seed=1), strict=True):
        for row in group:
            own = own_logprobs(model, [prompt + row.ids.tolist()], "float32")[-len(row.ids) :]
            worst = max(worst, (row.logprobs.double() - own).abs().max().item())
    return worst


def watch(folder: Path) -> dict[str, Any]:
    """Trains at random, and tells what came of every update."""
    config = parse(["--model_name_or_path", str(folder), "--num_threads", "1"])
    options = LoraOptions(use_peft=True, lora_r=3, lora_target_modules="all-linear", use_rslora=True)
    tokenizer = load_tokenizer(config.model, None)
    shape = model_config(config.model, tokenizer)
    shape.max_position_embeddings = 512
    model = load_model(config.model, shape, torch.device("cpu"), 0)
    plan = plan_adapter(options, config.model, shape)
    instance = VllmInstance(model, VllmOptions(), dtype="float32", seed=0, adapter=plan)
    reloads, call = list[str](), instance.llm.collective_rpc

    def counted(name: str, *args: Any, **kwargs: Any) -> Any:
        reloads.extend([name] * (name == "reload_weights"))
        return call(name, *args, **kwargs)

    instance.llm.collective_rpc = counted
    engine = VllmEngine(model, tokenizer, instance)
    adapter = Adapter(model, options, seed=0)
    engine.load_weights(model)
    judge = engine.beside(adapter.base)
    policy, frozen, held = [], [], []
    for _ in range(UPDATES + 1):
        policy.append(largest_difference(engine, model))
        frozen.append(largest_difference(judge, adapter.base))
        held.append(len(instance.llm.llm_engine.list_loras()))
        with torch.no_grad():
            for weight in adapter.state_dict().values():
                weight.add_(0.1 * torch.randn_like(weight))
        engine.load_weights(model)
    (output,) = instance.generate(PROMPTS[:1], [instance.vllm.SamplingParams(max_tokens=1)], None)
    moved = largest_difference(judge, model)
    # An update that vLLM does not read: what it holds is listed, and no longer the newest.
    engine.load_weights(model)
    instance.llm.llm_engine.add_lora = lambda request: True
    try:
        engine.sample(PROMPTS, 1, Sampling(1.0, 1), seed=1)
        forgotten = ""
    except RuntimeError as error:
        forgotten = str(error)
    told = dict(policy=policy, frozen=frozen, held=held, moved=moved, reloads=len(reloads))
    return told | dict(forgotten=forgotten, cached=output.num_cached_tokens)


if __name__ == "__main__":
    print(json.dumps(watch(Path(sys.argv[1]))))
