"""What a checkpoint of a run holds of its models: all weights, or the adapters that are trained.

A run with a stage before its adapters keeps the whole model after the stage in checkpoint-0: the base of all
later checkpoints.
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from dupo.config.config import Config
from dupo.distributed.ranks import Ranks
from dupo.methods.base import Method
from dupo.models.load import Model, load_model, model_config, share_end_tokens
from dupo.models.saving import check_saving
from dupo.models.sharding import local
from dupo.models.weights import copy_whole, read_checkpoint_weights
from dupo.storage import checkpoint
from dupo.storage.checkpoint import latest, load_ema
from dupo.storage.checksums import write_sums
from dupo.storage.files import check_disk_space, whole_folder, writing
from dupo.storage.names import MERGED
from dupo.storage.shards import SHARDS, load_shards, read_metadata, save_shards
from dupo.storage.tensors import num_bytes
from dupo.text.tokenizer import PromptTokenizer


def saved_model(method: Method, step: int) -> Any:
    """What writes the weights of a checkpoint after `step`: has `save_pretrained` and `state_dict`."""
    if method.adapter is None:
        return method.model
    return method.adapter.base if _holds_base(method, step) else method.adapter


def saved_average(method: Method) -> nn.Module | None:
    """The moving average as a checkpoint holds it: without the weights beneath adapters; None for none."""
    if method.ema is None or method.adapter is None:
        return method.ema
    # The average shares the frozen weights with the model.
    pairs = zip(method.ema.parameters(), method.model.parameters(), strict=True)
    return nn.ParameterList([average for average, weight in pairs if average is not weight])


def is_sound(method: Method) -> bool:
    """Whether everything that a checkpoint holds is finite; of a sharded tensor, the part of this rank."""
    models = [method.model] + ([method.ema] if method.ema is not None else [])
    values = [value for state in method.optimizer.state.values() for value in state.values()]
    tensors = [value for value in values if isinstance(value, Tensor)]
    tensors += [weight for model in models for weight in model.parameters()]
    return all(bool(torch.isfinite(local(tensor)).all()) for tensor in tensors)


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


def save_sharded(method: Method, run: Path, step: int, state: dict[str, Any]) -> None:
    """Writes a checkpoint, each rank its part of the tensors; see `dupo.storage.checkpoint.save`.

    Raises:
        StorageError: on every rank, if the disk is full or the folder cannot be written for any.
    """
    tensors, ranks = trained_tensors(method), method.ranks
    size = sum(tensor.nbytes for tensor in tensors.values())
    parts = ranks.on_first(lambda: checkpoint.new_shards(run, step, size))
    with writing(parts):
        save_shards(parts, tensors, ranks)
    # The base beneath adapters is whole on every rank.
    base = method.adapter.base if method.adapter is not None and _holds_base(method, step) else None
    model, tokenizer = base or SavedShape(method.model), method.tokenizer.hf
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


def read_model_weights(model: Model, folder: Path, ranks: Ranks) -> None:
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


def read_saved_weights(method: Method, step: int, folder: Path, optimizer: dict[str, Any]) -> None:
    """Reads what a checkpoint holds of weights, average and optimizer, whatever number of ranks wrote it.

    Args:
        optimizer: its state, where it stands in the state of the checkpoint.

    Raises:
        UserError: the folder cannot be read, or its weights are not those of the model or not finite.
        KeyError, ValueError: the shards are those of another model.
    """
    if (folder / SHARDS).is_dir():
        _read_shards(method, folder / SHARDS)
        return
    if method.adapter is None:
        read_checkpoint_weights(method.model, folder)
    # The base was read before the adapters were made, which the seed gives again.
    elif not _holds_base(method, step):
        method.adapter.read(folder)
    if (average := saved_average(method)) is not None:
        load_ema(folder, average)
    method.optimizer.load_state_dict(shared_like(method.optimizer, optimizer))


def _read_shards(method: Method, folder: Path) -> None:
    """Reads shards in place; what the optimizer keeps of a weight is made first, as the weight is shared."""
    names = read_metadata(folder).state_dict_metadata
    for name, weight in method.model.named_parameters():
        # A weight that never had a gradient has no state.
        if f"optimizer.step.{name}" in names:
            method.optimizer.state[weight] = {
                "step": torch.tensor(0.0),
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


def name_base(method: Method, run: Path) -> None:
    """Tells the adapters of a taught model that their base is checkpoint-0 of the run."""
    # A method knows no folder, so the run tells.
    if method.adapter is not None and method.has_stage:
        method.adapter.base_name = str(run / "checkpoint-0")


def _holds_base(method: Method, step: int) -> bool:
    return method.has_stage and step == 0


def write_merged(run: Path, config: Config, tokenizer: PromptTokenizer) -> Path:
    """Writes RUN/merged: the whole model of the newest checkpoint, float32, with its tokenizer.

    The adapter is read as any program reads it, so that what was saved is what is merged.

    Args:
        config: of the run.
        tokenizer: of the run.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    options = config.model.for_model(str(latest(run)))
    shape = model_config(options, tokenizer)
    model = load_model(options, shape, torch.device("cpu"), config.run.seed)
    share_end_tokens(model, tokenizer)
    check_saving(model, tokenizer.hf)
    folder = run / MERGED
    check_disk_space(folder, num_bytes(model))
    with whole_folder(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.hf.save_pretrained(temporary)
        write_sums(temporary)
    return folder
