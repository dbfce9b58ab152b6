"""What a checkpoint of a run holds of its models: all weights, or the adapters that are trained.

A run with a stage before its adapters keeps the whole model after the stage in checkpoint-0: the base of all
later checkpoints.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from dupo.config.model_options import ModelOptions
from dupo.config.options import ADAMW_8BIT
from dupo.distributed.ranks import Ranks
from dupo.methods.base import Method
from dupo.models.load import holds_score, load_model, model_config, scorer_config, share_end_tokens
from dupo.models.saving import check_saving
from dupo.models.weights import copy_whole, read_checkpoint_weights
from dupo.run.sharded import read_shards, sharded_writer, shared_like
from dupo.storage import checkpoint
from dupo.storage.checksums import write_sums
from dupo.storage.files import check_disk_space, whole_folder
from dupo.storage.shards import SHARDS
from dupo.storage.tensors import Snapshot, host_copy, num_bytes
from dupo.text.tokenizer import PromptTokenizer

MAX_SHARD_SIZE = "5GB"  # of a file of weights, as transformers has long had it


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


def read_saved(method: Method, step: int, folder: Path, optimizer: dict[str, Any]) -> None:
    """Reads what a checkpoint holds of weights, average and optimizer, whatever number of ranks wrote it.

    Args:
        optimizer: its state, where it stands in the state of the checkpoint.

    Raises:
        UserError: the folder cannot be read, or its weights are not those of the model or not finite.
        KeyError, ValueError: the shards are those of another model.
    """
    if method.adapter is None:
        read_checkpoint_weights(method.model, folder)
    # The base was read before the adapters were made, which the seed gives again.
    elif not _holds_base(method, step):
        method.adapter.read(folder)
    if (folder / SHARDS).is_dir():
        read_shards(method, folder / SHARDS)
        return
    if (average := saved_average(method)) is not None:
        read_average(average, folder)
    is_eight_bit = method.config.optimizer.optim == ADAMW_8BIT
    state = shared_like(method.optimizer, optimizer, is_eight_bit=is_eight_bit)
    method.optimizer.load_state_dict(state)


def read_average(average: nn.Module, folder: Path) -> None:
    """Reads the moving average, which may be sharded.

    Raises:
        KeyError: a weight is missing.
    """
    saved, missing = load_file(folder / checkpoint.EMA), set(average.parameters())
    # A tied weight has two names, and safetensors writes one of them.
    for name, weight in average.named_parameters(remove_duplicate=False):
        if name in saved:
            copy_whole(weight, saved[name])
            missing.discard(weight)
    if missing:
        raise KeyError(f"{len(missing)} weights are not in {checkpoint.EMA}")


def name_base(method: Method, run: Path) -> None:
    """Tells the adapters of a taught model that their base is checkpoint-0 of the run."""
    # A method knows no folder, so the run tells.
    if method.adapter is not None and method.has_stage:
        method.adapter.base_name = str(run / "checkpoint-0")


def _holds_base(method: Method, step: int) -> bool:
    return method.has_stage and step == 0


def check_room(method: Method, run: Path, step: int) -> None:
    """Refuses a disk without room for one checkpoint: the first step is cheaper to lose than the last. Every
    rank has to ask.

    Raises:
        StorageError: there is no room.
    """
    # Several ranks write moments of 8 bits in float32.
    moments = num_bytes(method.optimizer.state_dict()) if method.ranks.size == 1 else 0
    # Before the first step the optimizer has no moments yet; Adam keeps two for each weight.
    moments = moments or 2 * num_bytes([group["params"] for group in method.optimizer.param_groups])
    # Most checkpoints are those of a later step.
    # On every rank: FSDP gives a gathered weight up when its state is asked for, and all must gather alike.
    size = num_bytes(saved_model(method, step + 1), saved_average(method)) + moments
    method.ranks.on_first(lambda: check_disk_space(run / f"checkpoint-{step}", size))


def saves_async(method: Method) -> bool:
    """Whether checkpoints are written in the background."""
    # On a CPU a second copy would take the memory of the model that trains.
    wanted = method.config.run.async_save
    return method.device.type == "cuda" if wanted is None else wanted


def checkpoint_writer(
    method: Method, run: Path, step: int, state: dict[str, Any], ranks: Ranks, *, copied: bool
) -> Callable[[], object]:
    """A function that writes a checkpoint of what the method holds now; see `dupo.storage.checkpoint.save`.
    Every rank has to ask, and to call the function.

    Args:
        ranks: as the function knows them, which may run in another thread.
        copied: copy into host memory what the next steps change, so that the function may be called later.
    """
    model, average = saved_model(method, step), saved_average(method)
    if method.ranks.size > 1:
        return sharded_writer(method, run, step, model, state, ranks, copied=copied)
    if copied:
        # Pending samples and the record are never changed, so they need no copy.
        state = state | {"optimizer": host_copy(state["optimizer"])}
        model, average = Snapshot(model), None if average is None else Snapshot(average)
    return partial(checkpoint.save, run, step, model, method.tokenizer.hf, average, state)


def write_merged(
    options: ModelOptions,
    folder: Path,
    tokenizer: PromptTokenizer,
    dtype: str = "float32",
    max_shard_size: str = MAX_SHARD_SIZE,
) -> Path:
    """Writes the whole model that an adapter belongs to, merged, as a model folder; returns the folder.

    The adapter is read as any program reads it, so that what was saved is what is merged. Merging is in
    float32. The model is in memory once.

    Args:
        options: of the model, which name the folder of the adapter.
        tokenizer: of the run.
        dtype: of the weights that are written: `float32` or `bfloat16`.
        max_shard_size: of a file of weights.

    Raises:
        UserError: the adapter or its base cannot be read.
        StorageError: the disk is full, or the folder cannot be written.
    """
    scores = holds_score(options)
    shape = scorer_config(options, tokenizer) if scores else model_config(options, tokenizer)
    model = load_model(options, shape, torch.device("cpu"), 0, scores=scores)
    # Merged before it is rounded: an adapter may be smaller than the last digit of a bfloat16 weight.
    model.to(getattr(torch, dtype))
    if not scores:
        share_end_tokens(model, tokenizer)
    check_saving(model, tokenizer.hf)
    check_disk_space(folder, num_bytes(model))
    with whole_folder(folder) as temporary:
        model.save_pretrained(temporary, max_shard_size=max_shard_size)
        tokenizer.hf.save_pretrained(temporary)
        write_sums(temporary)
    return folder
