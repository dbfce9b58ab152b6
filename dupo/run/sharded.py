"""Checkpoints of a model that is shared out over ranks: each rank writes its part, any number of ranks reads.

shards/model.NAME                   a weight that is trained
shards/optimizer.exp_avg.NAME       what AdamW keeps of the weight: exp_avg, exp_avg_sq, step
shards/ema.NAME                     its moving average, where the run keeps one
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from dupo.distributed.ranks import Ranks
from dupo.methods.base import Method
from dupo.models.load import Model
from dupo.models.sharding import local
from dupo.models.weights import copy_whole, read_checkpoint_weights
from dupo.storage import checkpoint
from dupo.storage.files import writing
from dupo.storage.shards import SHARDS, load_shards, read_metadata, save_shards
from dupo.storage.tensors import tensors_in


def is_sound(method: Method) -> bool:
    """Whether everything that a checkpoint holds is finite; every rank has to ask."""
    models = [method.model] + ([method.ema] if method.ema is not None else [])
    tensors = tensors_in(method.optimizer.state_dict()["state"])
    tensors += [weight for model in models for weight in model.parameters()]
    # Of a sharded tensor each rank looks at its own part.
    return not method.ranks.any(not all(bool(torch.isfinite(local(tensor)).all()) for tensor in tensors))


class SavedShape:
    """What a sharded checkpoint holds of a model beside its weights: what transformers needs to build it."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def save_pretrained(self, folder: Path) -> None:
        """Writes config.json and generation_config.json."""
        # FSDP names the class anew.
        self.model.config.architectures = [type(self.model).__name__.removeprefix("FSDP")]
        self.model.config.save_pretrained(folder)
        if self.model.generation_config is not None:
            self.model.generation_config.save_pretrained(folder)

    def state_dict(self) -> dict[str, Tensor]:
        """None."""
        return {}


def save_sharded(method: Method, run: Path, step: int, state: dict[str, Any], base: Model | None) -> None:
    """Writes a checkpoint, each rank its part of the tensors; see `dupo.storage.checkpoint.save`.

    Args:
        base: the model beneath adapters, where the checkpoint has to hold it.

    Raises:
        StorageError: on every rank, if the disk is full or the folder cannot be written for any.
    """
    tensors, ranks = trained_tensors(method), method.ranks
    size = sum(tensor.nbytes for tensor in tensors.values())
    parts = ranks.on_first(lambda: checkpoint.new_shards(run, step, size))
    with writing(parts):
        save_shards(parts, tensors, ranks)
    # A base is whole on every rank. What the optimizer keeps stands in the shards.
    model, tokenizer = base or SavedShape(method.model), method.tokenizer.hf
    state = {**state, "optimizer": {}}
    save = partial(checkpoint.save, run, step, model, tokenizer, None, state, shards=parts)
    ranks.on_first(lambda: save() and None)


def trained_tensors(method: Method) -> dict[str, Tensor]:
    """Name -> tensor of all that training changes: weights, their average, and what the optimizer keeps."""
    tensors, states = dict[str, Tensor](), method.optimizer.state
    for name, weight in method.model.named_parameters():
        if not weight.requires_grad:
            continue
        tensors[f"model.{name}"] = weight.detach()
        tensors |= {f"optimizer.{key}.{name}": value for key, value in states.get(weight, {}).items()}
    if method.ema is not None:
        trained = {name for name, weight in method.model.named_parameters() if weight.requires_grad}
        tensors |= {
            f"ema.{name}": weight for name, weight in method.ema.named_parameters() if name in trained
        }
    return tensors


def read_start(model: Model, folder: Path, ranks: Ranks) -> None:
    """Reads the weights of a checkpoint, bit for bit, into a model of the same shape that is not sharded yet.

    Raises:
        UserError: the folder cannot be read, or its weights are not those of the model or not finite; the
            model is then as it was.
    """
    if not (folder / SHARDS).is_dir() or any(folder.glob("model*.safetensors")):
        read_checkpoint_weights(model, folder)
        return
    weights = {f"model.{name}": weight.detach() for name, weight in model.named_parameters()}
    load_shards(folder / SHARDS, weights, ranks)


def read_sharded(method: Method, folder: Path) -> None:
    """Reads shards in place; what the optimizer keeps of a weight is made first, as the weight is shared."""
    names = read_metadata(folder).state_dict_metadata
    # A fused step counts its steps where the weights are.
    is_fused = any(group.get("fused") for group in method.optimizer.param_groups)
    for name, weight in method.model.named_parameters():
        # A weight that never had a gradient has no state.
        if f"optimizer.step.{name}" in names:
            method.optimizer.state[weight] = {
                "step": torch.zeros((), device=weight.device if is_fused else "cpu"),
                "exp_avg": torch.zeros_like(weight),
                "exp_avg_sq": torch.zeros_like(weight),
            }
    load_shards(folder, trained_tensors(method), method.ranks)


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
