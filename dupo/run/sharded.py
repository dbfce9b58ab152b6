"""Checkpoints of a model that is shared out over ranks; any number of ranks reads what any number wrote.

model.safetensors, or those of an adapter    the weights, gathered: as one process writes them
shards/exp_avg.NAME, exp_avg_sq.NAME, step.NAME    what AdamW keeps of a weight, each rank its part
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

from dupo.distributed.ranks import Ranks
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
    tensors = _kept_tensors(method)
    if copied:
        tensors = {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
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


def read_shards(method: Method, folder: Path) -> None:
    """Reads the shards of a checkpoint into the optimizer and the average; every rank has to ask.

    Raises:
        KeyError, ValueError: the shards are those of another model.
    """
    names = read_metadata(folder).state_dict_metadata
    # A fused step counts its steps where the weights are.
    is_fused = any(group.get("fused") for group in method.optimizer.param_groups)
    for name, weight in method.model.named_parameters():
        # A weight that never had a gradient has no state. Tensors that are read come into those made here.
        if f"step.{name}" in names:
            steps = torch.zeros((), device=weight.device if is_fused else "cpu")
            moments = {key: torch.zeros_like(weight) for key in ("exp_avg", "exp_avg_sq")}
            method.optimizer.state[weight] = {"step": steps, **moments}
    load_shards(folder, _kept_tensors(method), method.ranks)


def shared_like(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """The state of an optimizer over whole weights, for one whose weights may be sharded."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    if not any(isinstance(weight, DTensor) for weight in weights):
        return state

    def share(weight: Tensor, value: Any) -> Any:
        # The number of steps is a scalar, which is no tensor of the weight.
        if not isinstance(value, Tensor) or value.shape != weight.shape:
            return value
        shared = torch.zeros_like(weight)
        copy_whole(shared, value)
        return shared

    states = {
        number: {key: share(weights[number], value) for key, value in values.items()}
        for number, values in state["state"].items()
    }
    return {**state, "state": states}
