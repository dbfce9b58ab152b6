"""A model whose weights, gradients and optimizer states are shared out over ranks (FSDP2).

    shard               each rank keeps 1 / size of every weight; layers are gathered while they compute
    in_forward          runs a function of the model as a forward pass of its root, so that FSDP gathers the
                        weights of the root (embedding, last norm, head) and reduces their gradients
    unsharded_weights   the weights as they are without shards, one after the other

FSDP gathers a layer on all ranks at once. So every rank has to make the same passes in the same order.
"""

from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor

from dupo.models.load import Model
from dupo.ranks import Ranks

T = TypeVar("T")
METHOD = "dupo_forward"  # name of the method of a sharded root that `in_forward` calls


def shard(
    model: Model,
    ranks: Ranks,
    *,
    ranks_per_node: int | None = None,
    half: bool = False,
    offload: bool = False,
) -> None:
    """Shares the weights of a model out over all ranks, in place.

    Args:
        ranks_per_node: weights are sharded within a node and repeated over nodes (HSDP); None: over all.
        half: compute in bfloat16. Weights stay as they are, gradients are added up in float32.
        offload: keep weights, gradients and optimizer states in the memory of the CPU.
    """
    shape, names = (ranks.size,), ("shard",)
    if ranks_per_node is not None and ranks_per_node < ranks.size:
        shape, names = (ranks.size // ranks_per_node, ranks_per_node), ("replicate", "shard")
    precision = MixedPrecisionPolicy()
    if half:
        # Inputs stay as they are: token ids, and log-probs that need all their bits.
        # Gradients of many ranks are added in float32: bfloat16 would drop the small ones.
        precision = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    options = {
        "mesh": init_device_mesh(model.device.type, shape, mesh_dim_names=names),
        "mp_policy": precision,
        "offload_policy": CPUOffloadPolicy() if offload else OffloadPolicy(),
    }
    # A class that transformers never splits over devices is a layer: what stays whole while it computes.
    layer_classes = set(getattr(model, "_no_split_modules", None) or ())
    layers = [module for module in model.modules() if type(module).__name__ in layer_classes]
    # Layer by layer, so that no more than one is whole at a time; the root keeps what is in no layer.
    for layer in layers:
        fully_shard(layer, **options)
    fully_shard(model, **options)
    # Tied weights need this: one weight, used at both ends, has one gradient.
    setattr(model, METHOD, MethodType(_call, model))
    register_fsdp_forward_method(model, METHOD)


def in_forward(model: Model, function: Callable[[Model], T]) -> T:
    """`function(model)`, inside a forward pass of the root where the model is sharded.

    Args:
        function: its result may hold tensors with a gradient, in tuples, lists and dicts.
    """
    method: Any = getattr(model, METHOD, None)
    return function(model) if method is None else method(function)


def _call(model: Model, function: Callable[[Model], T]) -> T:
    return function(model)


@torch.no_grad()
def unsharded_weights(model: Model) -> Iterator[tuple[str, Tensor]]:
    """(name, weight) of every weight as it is without shards; every rank has to take all of them."""
    for name, weight in model.named_parameters():
        yield name, whole(weight.detach())


def whole(tensor: Tensor) -> Tensor:
    """A tensor without shards; one that has none is given back as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
