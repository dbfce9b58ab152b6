"""Checkpoints of a model that is shared out over ranks; any number of ranks reads what any number wrote.

model.safetensors, or those of an adapter    the weights, gathered: as one process writes them
shards/exp_avg.NAME, exp_avg_sq.NAME, step.NAME    what AdamW keeps of a weight, each rank its part
shards/scale.KEY.NAME.rank-1-of-2            the scales of a moment that rank 1 keeps in 8 bits
shards/ema.NAME                              the moving average of the weight, where the run keeps one
"""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from dupo.config.options import ADAMW_8BIT
from dupo.distributed.ranks import Ranks
from dupo.learning.eight_bits import MOMENTS, from_parts, in_eight_bits, in_float32, scale_of
from dupo.methods.base import Method
from dupo.models.sharding import local, whole
from dupo.models.weights import copy_whole
from dupo.storage import checkpoint
from dupo.storage.shards import load_shards, read_metadata, save_shards
from dupo.storage.tensors import Snapshot, tensors_in


def is_sound(method: Method) -> bool:
    """Whether everything that a checkpoint holds is finite; every rank has to ask."""
    models = [method.model] + ([method.ema] if method.ema is not None else [])
    tensors = tensors_in(method.optimizer.state_dict()["state"])
    tensors += [weight for model in models for weight in model.parameters()]
    # Of a sharded tensor each rank looks at its own part.
    return not method.ranks.any(not all(bool(torch.isfinite(local(tensor)).all()) for tensor in tensors))


def sharded_writer(
    method: Method, run: Path, step: int, model: Any, state: dict[str, Any], ranks: Ranks, *, copied: bool
) -> Callable[[], None]:
    """A function that writes a checkpoint: the first rank the weights, each rank its part of all else. Every
    rank has to ask, and to call the function.

    The function raises `StorageError` on every rank, if the disk is full or cannot be written for any.

    Args:
        model: what the checkpoint holds of the weights; see `dupo.storage.checkpoint.save`.
        ranks: as the function knows them, which may run in another thread.
        copied: copy into host memory what the next steps change, so that the function may be called later.
    """
    snapshot = Snapshot(model, _gathered(method, model, copied=copied))
    tensors = _snapshot(method, copied=copied)
    state = {**state, "optimizer": {}}  # it stands in the shards
    tokenizer = method.tokenizer.hf

    def write() -> None:
        size = sum(tensor.nbytes for tensor in tensors.values())
        shards = ranks.on_first(lambda: checkpoint.new_shards(run, step, size))
        save = partial(checkpoint.save, run, step, snapshot, tokenizer, None, state, shards=shards)
        try:
            save_shards(shards, tensors, ranks)
            ranks.on_first(lambda: save() and None)
        finally:
            if ranks.is_first:  # of a failure: half a checkpoint would keep the room that rows need
                shutil.rmtree(shards, ignore_errors=True)

    return write


@torch.no_grad()
def _gathered(method: Method, model: Any, *, copied: bool) -> dict[str, Tensor]:
    """The weights of a model, whole and on the CPU, for the first rank; none for the others."""
    # A tied weight has two names: gathered once, it is written once. Asked of the parameters: a part may be
    # empty on some ranks, and so have no place in memory, and all ranks must gather alike.
    is_module = isinstance(model, nn.Module)
    places = {n: id(p) for n, p in model.named_parameters(remove_duplicate=False)} if is_module else {}
    gathered, weights = dict[Any, Tensor](), dict[str, Tensor]()
    for name, weight in model.state_dict().items():
        place = places.get(name, name)
        if place not in gathered:
            tensor = whole(weight)
            # The others give it up at once: they have no room for a whole model. Copied on a CPU as well:
            # what is in no shards is the weight itself.
            is_kept = method.ranks.is_first
            gathered[place] = tensor.to("cpu", copy=copied) if is_kept else tensor.new_empty(0)
        weights[name] = gathered[place]
    return weights


def _kept_tensors(method: Method) -> dict[str, Tensor]:
    """Name -> what the optimizer keeps of a weight, and its moving average."""
    tensors, trained = dict[str, Tensor](), set[str]()
    for name, weight in method.model.named_parameters():
        if weight.requires_grad:
            trained.add(name)
            state = method.optimizer.state.get(weight, {})
            tensors |= {f"{key}.{name}": value for key, value in state.items()}
    if method.ema is not None:
        averages = method.ema.named_parameters()
        tensors |= {f"ema.{name}": weight for name, weight in averages if name in trained}
    return tensors


def _snapshot(method: Method, *, copied: bool) -> dict[str, Tensor]:
    """Name -> what the shards hold; moments of 8 bits as `dupo.learning.eight_bits` says."""
    tensors = dict[str, Tensor]()
    for name, tensor in _kept_tensors(method).items():
        scale = scale_of(tensor)
        if scale is not None:
            tensors[_scale_name(name, method.ranks)] = scale.to("cpu", copy=True)
            # Moved one by one: all of them in float32 would not fit beside the model.
            tensors[name] = in_float32(tensor).to("cpu")
        else:
            tensors[name] = tensor.detach().to("cpu", copy=True) if copied else tensor
    return tensors


def _scale_name(name: str, ranks: Ranks) -> str:
    return f"scale.{name}.rank-{ranks.rank}-of-{ranks.size}"


def read_shards(method: Method, folder: Path) -> None:
    """Reads the shards of a checkpoint into the optimizer and the average; every rank has to ask.

    Raises:
        KeyError, ValueError: the shards are those of another model.
    """
    names: Any = read_metadata(folder).state_dict_metadata
    optimizer, is_eight_bit = method.optimizer, method.config.optimizer.optim == ADAMW_8BIT
    # A fused step counts its steps where the weights are.
    is_fused = any(group.get("fused") for group in optimizer.param_groups)
    # Moments of 8 bits come in float32, for which a GPU may have no room.
    place = torch.device("cpu") if is_eight_bit else None
    # A weight that never had a gradient has no state.
    stepped = {n: weight for n, weight in method.model.named_parameters() if f"step.{n}" in names}
    for weight in stepped.values():
        steps = torch.zeros((), device=weight.device if is_fused else "cpu")
        moments = {key: torch.zeros_like(weight, device=place) for key in MOMENTS}
        optimizer.state[weight] = {"step": steps, **moments}
    # Tensors that are read come into those made here.
    tensors = _kept_tensors(method)
    scales = {_scale_name(name, method.ranks) for name in tensors} & set(names) if is_eight_bit else set()
    tensors |= {name: torch.empty(names[name].size) for name in scales}
    load_shards(folder, tensors, method.ranks)
    for name, weight in stepped.items() if is_eight_bit else ():
        state = optimizer.state[weight]
        for key in MOMENTS:
            scale = tensors.get(_scale_name(f"{key}.{name}", method.ranks))
            state[key] = in_eight_bits(optimizer, weight, key, state[key], scale)


def shared_like(
    optimizer: torch.optim.Optimizer, state: dict[str, Any], *, is_eight_bit: bool
) -> dict[str, Any]:
    """The state of an optimizer over whole weights, for one whose weights may be sharded."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    if not any(isinstance(weight, DTensor) for weight in weights):
        return state

    def share(weight: Tensor, key: str, value: Any) -> Any:
        if isinstance(value, dict):
            value = in_float32(from_parts(key, value))
        # The number of steps is a scalar, which is no tensor of the weight.
        if not isinstance(value, Tensor) or value.shape != weight.shape:
            return value
        shared = torch.zeros_like(weight)
        copy_whole(shared, value)
        return in_eight_bits(optimizer, weight, key, shared) if is_eight_bit else shared

    states = {
        number: {key: share(weights[number], key, value) for key, value in values.items()}
        for number, values in state["state"].items()
    }
    return {**state, "state": states}
