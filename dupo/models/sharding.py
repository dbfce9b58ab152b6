"""A model whose weights, gradients and optimizer states are shared out over ranks (FSDP2).

    shard               each rank keeps 1 / size of every weight; layers are gathered while they compute
    in_forward          runs a function of the model as a forward pass of its root, so that FSDP gathers the
                        weights of the root (embedding, last norm, head) and reduces their gradients
    unsharded_weights   the weights as they are without shards, one after the other
    whole_twin          a model with the same weights, which stays whole when the first is sharded

FSDP gathers a layer on all ranks at once. So every rank has to make the same passes in the same order.
"""

import copy
from collections.abc import Callable, Collection, Iterator
from types import MethodType
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor

from dupo.distributed.ranks import Ranks
from dupo.models.load import Model
from dupo.models.weights import half_copy

T = TypeVar("T")
METHOD = "dupo_forward"  # name of the method of a sharded root that `in_forward` calls
HALF = "dupo_half"  # name of what a sharded root tells of its precision


def shard(
    model: Model,
    ranks: Ranks,
    *,
    stay_whole: Collection[str] = (),
    ranks_per_node: int | None = None,
    half: bool = False,
    offload: bool = False,
) -> None:
    """Shares the weights of a model out over all ranks, in place.

    Args:
        stay_whole: names of weights that every rank keeps, such as those beneath adapters: they have no
            gradient and no optimizer state, and whoever samples from the model needs them whole.
        ranks_per_node: weights are sharded within a node and repeated over nodes (HSDP); None: over all.
        half: compute in bfloat16. Weights stay as they are, gradients are added up in float32.
        offload: keep weights, gradients and optimizer states in the memory of the CPU; on a CPU they are
            there already.
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
        "ignored_params": {weight for name, weight in model.named_parameters() if name in stay_whole},
        "mesh": init_device_mesh(model.device.type, shape, mesh_dim_names=names),
        "mp_policy": precision,
        # It pins memory, which torch refuses without a GPU.
        "offload_policy": CPUOffloadPolicy() if offload and model.device.type != "cpu" else OffloadPolicy(),
    }
    # A class that transformers never splits over devices is a layer: what stays whole while it computes.
    layer_classes = set(getattr(model, "_no_split_modules", None) or ())
    layers = [module for module in model.modules() if type(module).__name__ in layer_classes]
    # Layer by layer, so that no more than one is whole at a time; the root keeps what is in no layer.
    for layer in layers:
        fully_shard(layer, **options)
    fully_shard(model, **options)
    # Tied weights need this: one weight, used at both ends, has one gradient.
    setattr(model, HALF, half)
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


def whole_twin(model: Model, *, half: bool = False) -> Model:
    """A model with the same weights, to be made before `shard`: it then keeps them whole, and its own.

    Args:
        half: round the weights to bfloat16, but for adapters, which are small.
    """
    if half:
        is_lora = any(not weight.requires_grad for weight in model.parameters())
        return half_copy(model, trained=not is_lora)
    # deepcopy asks by id: every weight is its own copy.
    return copy.deepcopy(model, {id(weight): weight for weight in model.parameters()})


def reshard(model: Model) -> None:
    """Gives up what a pass has gathered of a sharded model; every rank has to, between the same passes."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def computes_in_half(model: Model) -> bool:
    """Whether a sharded model rounds its weights to bfloat16 as it gathers them."""
    return bool(getattr(model, HALF, False))


@torch.no_grad()
def unsharded_weights(model: Model) -> Iterator[tuple[str, Tensor]]:
    """(name, weight) of every weight as it is without shards; every rank has to take all of them."""
    for name, weight in model.named_parameters():
        yield name, whole(weight.detach())


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that this rank has; all of one that is not sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """A tensor without shards; one that has none is given back as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
