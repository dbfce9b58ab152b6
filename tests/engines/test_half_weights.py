"""Frozen weights in bfloat16 as on a GPU: rounded once a call, never stale, as transformers rounds them."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, PreTrainedModel

from dupo.engines.base import Sampling
from dupo.engines.builtin import BuiltinEngine
from dupo.models import attention
from dupo.models.weights import half_copy
from tests.helpers.model_kinds import model_of_kind
from tests.helpers.worlds import tiny

PROMPTS = [[3, 4, 5, 6], [7, 8]]
SAMPLED = Sampling(1.0, 8)
IDS = torch.arange(3, 40)[None]


def sampled(model: PreTrainedModel, dtype: str = "bfloat16") -> list[tuple[list[int], list[float]]]:
    engine = BuiltinEngine(model, tiny().tokenizer, dtype=dtype, as_on_gpu=True)
    groups = engine.sample(PROMPTS, 2, SAMPLED, seed=0)
    return [(c.ids.tolist(), c.logprobs.tolist()) for group in groups for c in group]


def read_in_half(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The model as transformers reads it in bfloat16."""
    model.save_pretrained(folder)
    arguments: dict[str, Any] = {"dtype": torch.bfloat16, "attn_implementation": attention.NAME}
    return AutoModelForCausalLM.from_pretrained(folder, **arguments).eval().requires_grad_(False)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])  # gpt2 ties its head to the embedding
def test_a_frozen_model_is_rounded_as_transformers_rounds_it(kind: str, tmp_path: Path) -> None:
    model = model_of_kind(kind).requires_grad_(False)
    half = read_in_half(model, tmp_path)
    copy = half_copy(model)
    with torch.no_grad():
        assert torch.equal(copy(IDS).logits, half(IDS).logits)
        # The cast of the module rounds its buffers as well, so only that of weights alone is equal.
        for weight, expected in zip(copy.parameters(), model.parameters(), strict=True):
            assert torch.equal(weight, expected.to(torch.bfloat16)) and not weight.requires_grad
    assert model.dtype == torch.float32
    assert sampled(model) == sampled(half) != sampled(model, "float32")


def test_ties_stay_and_no_weight_of_the_model_changes() -> None:
    model = model_of_kind("gpt2").requires_grad_(False)
    copy = half_copy(model)
    assert copy.get_output_embeddings().weight is copy.get_input_embeddings().weight
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_an_update_cannot_be_forgotten() -> None:
    model, changed = (model_of_kind("llama").requires_grad_(False) for _ in range(2))
    engine = BuiltinEngine(model, tiny().tokenizer, dtype="bfloat16", as_on_gpu=True)
    engine.sample(PROMPTS, 2, SAMPLED, seed=0)
    for own in (model, changed):
        # Not seen by the counter of changes that torch keeps with a weight.
        for weight in own.parameters():
            weight.data.mul_(1.25)
    groups = engine.sample(PROMPTS, 2, SAMPLED, seed=0)
    again = [(c.ids.tolist(), c.logprobs.tolist()) for group in groups for c in group]
    assert again == sampled(changed) != sampled(model_of_kind("llama").requires_grad_(False))


class Casts(TorchDispatchMode):
    """Counts casts to bfloat16 by the shape of what is cast."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counter[tuple[int, ...]]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if "_to_copy" in str(func) and result.dtype == torch.bfloat16:
            self.counts[tuple(result.shape)] += 1
        return result


@pytest.mark.parametrize("trained", ["nothing", "biases", "all"])
def test_weights_are_cast_once_a_call_and_not_at_every_token(trained: str) -> None:
    model = model_of_kind("llama").requires_grad_(trained == "all")
    if trained == "biases":  # as with adapters: something is trained beside frozen linear layers
        model.model.norm.weight.requires_grad_(True)
    linear = [layer.weight.shape for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
    engine = BuiltinEngine(model, tiny().tokenizer, dtype="bfloat16", as_on_gpu=True)
    with Casts() as casts:
        engine.sample(PROMPTS, 2, SAMPLED, seed=0)
    for shape, count in Counter(map(tuple, linear)).items():
        # Twice for a head: what autocast casts, and what the float32 head reads.
        assert casts.counts[shape] <= count + 1, shape


def test_beside_trained_weights_no_bit_changes() -> None:
    model = model_of_kind("llama").requires_grad_(False)
    model.model.norm.weight.requires_grad_(True)
    copy = half_copy(model)
    rounded = [w.dtype == torch.bfloat16 for w in copy.parameters()]
    assert any(rounded) and not all(rounded)
    assert copy.model.norm.weight is model.model.norm.weight
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(copy(IDS).logits, model(IDS).logits)


def test_a_cpu_rounds_nothing_by_itself() -> None:
    model, prompts = model_of_kind("llama").requires_grad_(False), PROMPTS[:1]
    seen = set[torch.dtype]()
    model.model.norm.register_forward_pre_hook(lambda module, args: seen.add(module.weight.dtype))
    BuiltinEngine(model, tiny().tokenizer, dtype="bfloat16").sample(prompts, 1, Sampling(1.0, 2), seed=0)
    assert seen == {torch.float32}
