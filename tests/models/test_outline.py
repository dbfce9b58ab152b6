"""The outline of a model against the model itself, built with weights and run on the CPU.

Parameters, cached numbers and products are equal. What the backward pass needs is measured in the learner.
"""

import copy
import weakref
from collections import Counter
from typing import Any

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache

from dupo.config.lora_options import LoraOptions
from dupo.engines.reading import Reader
from dupo.engines.slot_cache import token_bytes
from dupo.learning.batches import make_batch
from dupo.learning.learning_mode import learning_mode
from dupo.learning.logprobs import Compute
from dupo.learning.policy_loss import PolicyLoss, objective_of
from dupo.models import attention
from dupo.models.adapter import put_adapters
from dupo.models.load import Model, recompute_activations
from dupo.models.outline import FLOAT32, MIXED, Outline, outline
from dupo.records import Trajectory
from dupo_kernels import PolicyOptions
from tests.helpers.model_shapes import ABSENT, BOTH_KINDS, GENERAL, LATENT, ONE_DENSE
from tests.helpers.slow import with_slow

# Layers of two kinds and more than one of a kind; wide enough that products outweigh statistics of norms.
WIDE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 4,
    "max_position_embeddings": 1024,
    "head_dim": 16,
}
FOUR = {"layer_types": BOTH_KINDS["layer_types"] * 2}
KINDS: dict[str, dict[str, Any]] = {
    "qwen3": {},
    "llama": {},
    "mistral": {},
    "gemma3_text": FOUR,
    "qwen3_moe": {"mlp_only_layers": [0]},
    "gpt_oss": FOUR,
    "deepseek_v3": {**LATENT, **ONE_DENSE},
    "phi3": {},
    "gpt_neox": {"head_dim": ABSENT},
    "gpt2": {"n_layer": 4, "n_embd": 64, "n_inner": 160},
}
NO_LORA = LoraOptions()
CPU = torch.device("cpu")
# On a CPU their attention writes scores out and keeps them, which no kernel of a GPU does.
WRITES_SCORES = {"gpt_oss", "deepseek_v3"}
TOLERANCE = 0.2  # of what a pass keeps


def shape_of(kind: str) -> Any:
    settings = {**GENERAL, **WIDE, **KINDS[kind]}
    return AutoConfig.for_model(kind, **{n: v for n, v in settings.items() if v is not ABSENT})


def built(shape: Any) -> Model:
    attention.register()
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(
        copy.deepcopy(shape), dtype=torch.float32, attn_implementation=attention.NAME
    ).eval()


def outlined(shape: Any, lora: LoraOptions = NO_LORA, precision: str = FLOAT32) -> Outline:
    about = outline(shape, lora, precision=precision)
    assert about.costs is not None, about.problem
    return about


# A plain model, one with windows, and one whose cache is compressed.
@pytest.mark.parametrize("kind", with_slow(KINDS, quick=("qwen3", "gemma3_text", "deepseek_v3")))
def test_parameters_and_cache_are_those_of_the_model(kind: str) -> None:
    shape = shape_of(kind)
    model, about = built(shape), outlined(shape)
    assert about.parameters == about.trained == sum(weight.numel() for weight in model.parameters())
    ends = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    assert about.ends == sum({id(weight): weight.numel() for weight in ends}.values())
    assert (about.vocabulary, about.hidden) == tuple(ends[1].shape)
    cache = DynamicCache()
    with torch.no_grad():
        Reader(model, cache).read([[3]], 0)
    assert about.costs is not None and 4 * about.costs.cached == token_bytes(cache)


def batch_of(lengths: list[int], vocabulary: int) -> list[Trajectory]:
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(3, vocabulary, (length,), generator=generator) for length in lengths]
    return [Trajectory(row[:8].tolist(), row[8:], torch.full((len(row) - 8,), -2.0), 1.0) for row in rows]


def kept_by_learner(model: Model, trajectories: list[Trajectory], dtype: str = "float32") -> int:
    """Bytes that the graph of the learner holds after its forward pass, without the weights."""
    compute = Compute(1.0, dtype, sum(len(t.prompt_ids) + t.num_sampled for t in trajectories))
    loss = PolicyLoss(objective_of(PolicyOptions()), compute, 1000)
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with learning_mode(model, dropout=False), saved_tensors_hooks(pack, lambda tensor: tensor):
        value, _ = loss.batch_loss(model, make_batch(trajectories, CPU), 100.0)
    assert value.requires_grad
    return sum(kept.values())


def gradients_of_head(about: Outline, trajectories: list[Trajectory], itemsize: int = 4) -> int:
    """What the loss head keeps: the gradients of its hidden states and of its weight."""
    num_rows = sum(t.num_sampled for t in trajectories)
    return (num_rows + about.vocabulary) * about.hidden * itemsize


@pytest.mark.slow
@pytest.mark.parametrize("lengths", [[96, 90], [300, 280, 260]], ids=["short", "long"])
@pytest.mark.parametrize("kind", sorted(KINDS.keys() - WRITES_SCORES))
def test_what_a_pass_keeps_is_what_the_learner_keeps(kind: str, lengths: list[int]) -> None:
    shape = shape_of(kind)
    about, trajectories = outlined(shape), batch_of(lengths, GENERAL["vocab_size"])
    assert about.costs is not None
    expected = about.costs.saved * sum(lengths) + gradients_of_head(about, trajectories)
    measured = kept_by_learner(built(shape), trajectories)
    assert expected == pytest.approx(measured, rel=TOLERANCE)


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of storages that are made inside and alive."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
        self.sizes: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in pytree.tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                key = storage._cdata
                if key not in self.sizes and storage.data_ptr() not in self.weights:
                    self.sizes[key] = storage.nbytes()
                    weakref.finalize(storage, self.sizes.pop, key, None)
        self.peak = max(self.peak, self.alive)
        return out

    @property
    def alive(self) -> int:
        return sum(self.sizes.values())


@pytest.mark.slow
@pytest.mark.parametrize("lengths", [[96, 90], [300, 280, 260]], ids=["short", "long"])
@pytest.mark.parametrize("kind", ["qwen3", "gemma3_text", "gpt_neox"])
def test_what_is_kept_where_activations_are_recomputed(kind: str, lengths: list[int]) -> None:
    shape = shape_of(kind)
    about, trajectories = outlined(shape), batch_of(lengths, GENERAL["vocab_size"])
    model, costs = built(shape), about.costs
    recompute_activations(model)
    loss = PolicyLoss(objective_of(PolicyOptions()), Compute(1.0, "float32", sum(lengths)), 1000)
    batch = make_batch(trajectories, CPU)
    with learning_mode(model, dropout=False), LiveTensors(model) as live:
        value, _ = loss.batch_loss(model, batch, 100.0)
        forward = live.alive
        live.peak = 0
        value.backward()
    assert costs is not None
    kept = costs.saved_inputs * sum(lengths) + gradients_of_head(about, trajectories)
    assert kept == pytest.approx(forward, rel=TOLERANCE)
    # One layer at a time, while the gradients of all weights come one after the other.
    least = kept + costs.saved_by_layer * sum(lengths)
    assert (1 - TOLERANCE) * least <= live.peak <= (1 + TOLERANCE) * (least + 4 * about.parameters)


@pytest.mark.slow
@pytest.mark.parametrize("precision", [FLOAT32, MIXED])
@pytest.mark.parametrize("use_peft", [False, True])
def test_what_a_token_adds_with_adapters_and_in_bfloat16(use_peft: bool, precision: str) -> None:
    if use_peft:
        pytest.importorskip("peft")
    shape, lora = shape_of("qwen3"), LoraOptions(use_peft=use_peft)
    about, model = outlined(shape, lora, precision), built(shape)
    if use_peft:
        put_adapters(model, lora)
    assert about.trained == sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    dtype, measured = "bfloat16" if precision == MIXED else "float32", []
    for length in (200, 400):
        trajectories = batch_of([length], GENERAL["vocab_size"])
        measured.append(kept_by_learner(model, trajectories, dtype))
    assert about.costs is not None
    # The gradient of the hidden states is the part of the loss head that grows.
    itemsize = 2 if precision == MIXED else 4
    by_token = about.costs.saved + about.hidden * itemsize
    assert by_token == pytest.approx((measured[1] - measured[0]) / 200, rel=TOLERANCE)


@pytest.mark.parametrize("kind", ["qwen3", "gemma3_text", "phi3", "gpt_neox"])
def test_products_are_those_that_torch_counts(kind: str) -> None:
    shape, num_tokens = shape_of(kind), 32
    about, model = outlined(shape), built(shape)
    model.set_attn_implementation("eager")  # products that can be counted
    ids = torch.full((1, num_tokens), 3)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.base_model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    counts = {str(op): count for op, count in counter.get_flop_counts()["Global"].items()}
    costs = about.costs
    assert costs is not None
    assert costs.flop * num_tokens == pytest.approx(sum(counts.values()) - counts["aten.bmm"], rel=0.01)
    scores = sum(layer.flop for layer in costs.attention) * num_tokens**2
    assert scores == pytest.approx(counts["aten.bmm"], rel=0.01)


def test_layers_of_one_kind_are_counted_as_often_as_they_are() -> None:
    flat, deep = shape_of("gemma3_text"), shape_of("gemma3_text")
    deep.num_hidden_layers, deep.layer_types = 12, flat.layer_types * 3
    a, b = (outlined(shape).costs for shape in (flat, deep))
    assert a is not None and b is not None
    assert (a.saved_by_layer, 3 * a.flop, 3 * a.cached) == (b.saved_by_layer, b.flop, b.cached)
    assert Counter(b.attention) == Counter(a.attention * 3)


def test_weights_are_counted_without_a_pass() -> None:
    about = outline(shape_of("qwen3"), NO_LORA, precision=FLOAT32, traces=False)
    assert about.costs is None and about.parameters == outlined(shape_of("qwen3")).parameters
