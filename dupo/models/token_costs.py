"""What a token costs in a model, counted in the code of its class, which runs without numbers.

Tensors of torch's fake mode have a shape and a type and no memory. So what a class of transformers keeps for
its backward pass, caches and multiplies is counted as it does it: no formula of an architecture is guessed.

Two things of a run are replaced, as their shapes depend on numbers: attention, which keeps queries, keys,
values and its result as a kernel on a GPU does; and the choice of experts, where every token takes the first.

Shape letters: B sequences, N tokens, K heads, D numbers of a head, H hidden size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AttentionInterface
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
from transformers.masking_utils import AttentionMaskInterface
from transformers.modeling_layers import GradientCheckpointingLayer

from dupo.models.load import Model

NAME = "dupo_outline"  # of the attention and of the experts, for transformers
TOKENS = 128  # of the shorter of two passes; their difference is what each further token costs
PRODUCTS = (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm)


class LayerAttention(NamedTuple):
    """Attention of one layer.

    Attributes:
        flop: of one query and one key, in all heads.
        window: keys that a query sees; None: all before it.
    """

    flop: int
    window: int | None


@dataclass(frozen=True)
class Costs:
    """What a token costs, beside its share of the weights.

    Attributes:
        cached: numbers that all layers cache of it.
        saved: bytes that are storages of it for the backward pass.
        saved_by_layer: bytes that a layer keeps of it, on average over layers.
        saved_inputs: bytes of the inputs of all layers: what is storages where activations are recomputed.
        flop: of one pass through the layers, without attention and head.
        attention: of each layer.
    """

    cached: int
    saved: float
    saved_by_layer: float
    saved_inputs: float
    flop: float
    attention: tuple[LayerAttention, ...]


def layers_of(model: Model) -> list[torch.nn.Module]:
    """The layers that a run can compute twice instead of keeping what they made."""
    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


def _make_fake(model: Model) -> None:
    """Puts tensors of the fake mode, which claim to lie on the CPU, in the places of those on `meta`."""
    # Autocast is known on a CPU and unknown on `meta`. Tied weights stay tied.
    fakes: dict[int, Any] = {}
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None and id(tensor) not in fakes:
                    fake: Tensor = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
                    is_weight = isinstance(tensor, torch.nn.Parameter)
                    fakes[id(tensor)] = torch.nn.Parameter(fake, tensor.requires_grad) if is_weight else fake
                tensors[name] = None if tensor is None else fakes[id(tensor)]


def token_costs(model: Model, *, is_mixed: bool) -> Costs:
    """Runs a model that lies on `meta` without numbers; the model is of no use afterwards.

    Args:
        model: has the attention and the experts `NAME`; `register` was called before.
        is_mixed: under autocast, with products in bfloat16.

    Raises:
        Exception: whatever the class raises where it decides by numbers that are not there.
    """
    with FakeTensorMode():
        _make_fake(model)
        return _costs(model, is_mixed=is_mixed)


def _costs(model: Model, *, is_mixed: bool) -> Costs:
    attention: list[LayerAttention] = []
    register(attention)
    inner: Any = model.base_model
    layers = layers_of(model)
    counts = _skip_repeated(model, layers)
    products, storages = _Products(), dict[int, Any]()
    readings: dict[int, list[Reading]] = {}

    def read(layer: torch.nn.Module, *args: object) -> None:
        place = Reading(_bytes(storages), products.flop, len(attention))
        readings.setdefault(id(layer), []).append(place)

    for layer in layers:
        layer.register_forward_pre_hook(read)
        layer.register_forward_hook(read)
    # Beneath adapters all weights are frozen, and what the first layer reads needs no gradient: others' does.
    model.get_input_embeddings().register_forward_hook(lambda module, args, out: out.requires_grad_())
    with torch.autocast("cpu", torch.bfloat16, enabled=is_mixed), products:
        _pass(inner, TOKENS, storages)
        before_all = _bytes(storages)
        attention.clear()
        outputs = _pass(inner, 2 * TOKENS, storages)
    # transformers renamed the field within version 5, and warns of the old name.
    (name,) = {"cache", "past_key_values"} & outputs.keys()
    cache = outputs[name]
    # Of all that grows, what is left by the layers belongs to the norms around them.
    outside = (_bytes(storages) - before_all) / TOKENS
    saved, flop, cached, all_attention = 0.0, 0.0, 0, list[LayerAttention]()
    for index, layer in enumerate(layers):
        before, after, before_again, after_again = readings[id(layer)]
        count = counts.get(id(layer), 0)
        # What does not grow from one pass to the other, such as rounded weights, is no cost of tokens.
        grown = (after_again.saved - before_again.saved) - (after.saved - before.saved)
        outside -= grown / TOKENS
        saved += count * grown / TOKENS
        flop += count * (after.flop - before.flop) / TOKENS
        all_attention += count * attention[before_again.attention : after_again.attention]
        cached += count * _cached(cache.layers, index)
    hidden = outputs.last_hidden_state
    inputs = len(layers) * hidden.shape[-1] * hidden.element_size()
    by_layer = saved / max(1, len(layers))
    return Costs(cached, saved + outside, by_layer, inputs + outside, flop, tuple(all_attention))


class Reading(NamedTuple):
    """What was counted up to a place in a pass."""

    saved: int
    flop: int
    attention: int


def _bytes(storages: dict[int, Any]) -> int:
    return sum(storage.nbytes() for storage in storages.values())


def _cached(layers: Sequence[Any], index: int) -> int:
    """Numbers that one layer of a cache holds of one token."""
    if index >= len(layers) or getattr(layers[index], "keys", None) is None:
        return 0
    return sum(states[0, :, 0].numel() for states in (layers[index].keys, layers[index].values))


def _skip_repeated(model: Model, layers: list[torch.nn.Module]) -> dict[int, int]:
    """Lets layers that are like an earlier one do nothing: a deep model then costs no more than a flat one.

    Returns:
        By `id` of each of the other layers, how many are like it.
    """
    counts: dict[int, int] = {}
    firsts: dict[object, torch.nn.Module] = {}
    for layer in layers:
        first = firsts.setdefault(_kind(layer), layer)
        counts[id(first)] = counts.get(id(first), 0) + 1
        if first is not layer:
            layer.forward = _Skipped(first)  # type: ignore[method-assign]
    return counts


class _Skipped:
    """The forward pass of a layer that gives back what it gets, in the form in which `like` gives it."""

    def __init__(self, like: torch.nn.Module) -> None:
        like.register_forward_hook(self._see)
        self.others: tuple[object, ...] | None = None

    def _see(self, layer: torch.nn.Module, args: object, result: object) -> None:
        self.others = result[1:] if isinstance(result, tuple) else None

    def __call__(self, hidden_states: Tensor, *args: object, **options: object) -> object:
        return hidden_states if self.others is None else (hidden_states, *self.others)


def _kind(layer: torch.nn.Module) -> object:
    """What two layers of equal costs have in common: modules, their plain settings, and shapes of weights."""
    settings = [
        (name, type(module), *((n, v) for n, v in sorted(vars(module).items()) if _is_setting(n, v)))
        for name, module in layer.named_modules()
    ]
    return str(settings), str([(name, tuple(w.shape)) for name, w in layer.named_parameters()])


def _is_setting(name: str, value: object) -> bool:
    return "layer_idx" not in name and isinstance(value, int | float | str | None)


def _pass(inner: Any, num_tokens: int, storages: dict[int, Any]) -> Any:
    """The outputs of a pass; `kept` then holds all that the pass keeps, without the weights themselves."""
    weights = {weight.untyped_storage()._cdata for weight in inner.parameters()}
    storages.clear()

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            # Held, so that no later storage has its number.
            storages[storage._cdata] = storage
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        return inner(input_ids=torch.zeros(1, num_tokens, dtype=torch.int64), use_cache=True)


class _Products(TorchDispatchMode):
    """Counts the floating point operations of matrix products."""

    flop = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket in PRODUCTS:
            self.flop += 2 * out.numel() * args[-1].shape[-2]
        return out


class _Kernel(torch.autograd.Function):
    """Keeps what a kernel of attention keeps for its backward pass, and computes nothing."""

    @staticmethod
    def forward(ctx: Any, q_BKND: Tensor, k_BKND: Tensor, v_BKND: Tensor) -> Tensor:
        """The result (B, N, K, D), without numbers."""
        batch, heads, num_tokens, _ = q_BKND.shape
        out_BNKD = q_BKND.new_empty(batch, num_tokens, heads, v_BKND.shape[-1])
        ctx.save_for_backward(q_BKND, k_BKND, v_BKND, out_BNKD)
        return out_BNKD


def register(attention: list[LayerAttention]) -> None:
    """Makes `NAME` known to transformers; `attention` gets an item for each layer that runs."""

    def attend(
        module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: object, **options: Any
    ) -> tuple[Tensor, None]:
        flop = 2 * query.shape[1] * (query.shape[-1] + value.shape[-1])
        attention.append(LayerAttention(flop, options.get("sliding_window")))
        if torch.is_autocast_enabled("cpu"):  # as `dupo.models.attention_backends` does
            query, key, value = (x.to(torch.get_autocast_dtype("cpu")) for x in (query, key, value))
        return _Kernel.apply(query, key, value), None  # type: ignore[return-value]

    AttentionInterface.register(NAME, attend)  # type: ignore[arg-type]
    AttentionMaskInterface.register(NAME, lambda *args, **options: None)  # type: ignore[arg-type]
    ALL_EXPERTS_FUNCTIONS.register(NAME, _first_expert)  # type: ignore[arg-type]


def _first_expert(experts: Any, hidden_NH: Tensor, index_NK: Tensor, weights_NK: Tensor) -> Tensor:
    """Passes every token through the first expert as often as through experts that it would choose."""
    times = index_NK.shape[-1]
    up = experts.gate_up_proj if experts.has_gate else experts.up_proj
    first, last = (weight[0] if experts.is_transposed else weight[0].T for weight in (up, experts.down_proj))
    rows = hidden_NH.repeat_interleave(times, 0) @ first
    if experts.has_bias:
        rows = rows + (experts.gate_up_proj_bias if experts.has_gate else experts.up_proj_bias)[0]
    rows = (experts._apply_gate(rows) if experts.has_gate else experts.act_fn(rows)) @ last
    if experts.has_bias:
        rows = rows + experts.down_proj_bias[0]
    weighted = rows * weights_NK.reshape(-1, 1)
    return weighted.unflatten(0, (-1, times)).sum(1).to(hidden_NH.dtype)
