"""Copies of a model and of its weights: frozen, averaged, read from a checkpoint."""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from dupo.models.load import Model, read_weights
from dupo.models.weight_checks import check_finite


def frozen_copy(model: Model) -> Model:
    """A copy of the model that no optimizer will change; it shares the weights that are frozen already."""
    shared: dict[int, Any] = {id(weight): weight for weight in model.parameters() if not weight.requires_grad}
    # Scales of codes of 4 bits, which a layer of bitsandbytes keeps beside its weight.
    states = (getattr(layer, "quant_state", None) for layer in model.modules())
    shared |= {id(state): state for state in states if state is not None}
    return copy.deepcopy(model, shared).requires_grad_(False)


@torch.no_grad()
def half_copy(model: Model, *, trained: bool = False) -> Model:
    """A copy of a model whose frozen float32 weights are bfloat16, as `from_pretrained` reads them.

    A model that is frozen as a whole needs no autocast then. Of a model with adapters only the frozen weights
    of linear layers are rounded. Autocast rounds the same weights, anew at every token unless they need a
    gradient, so no bit changes. All other weights are shared with the model. Buffers stay as they are: rotary
    angles in bfloat16 would be wrong from position 256 on.

    Args:
        trained: round the weights that are trained too, so that nothing in the copy needs autocast.
    """
    is_frozen = trained or not any(weight.requires_grad for weight in model.parameters())
    linear = {id(layer.weight) for layer in model.modules() if type(layer) is nn.Linear}
    # What the copy shares with the model: deepcopy asks by id, so tied weights stay tied.
    weights = {id(weight): weight for weight in model.parameters()}
    for key, weight in weights.items():
        stays = weight.requires_grad and not trained
        if weight.dtype == torch.float32 and not stays and (is_frozen or key in linear):
            weights[key] = nn.Parameter(weight.bfloat16(), requires_grad=False)
    return copy.deepcopy(model, dict(weights))


@torch.no_grad()
def update_average(average: Model, model: Model, decay: float) -> None:
    """One step of the moving average of the weights: average = decay average + (1 - decay) model."""
    for old, new in zip(average.parameters(), model.parameters(), strict=True):
        if old is not new:  # beneath adapters, both have the same frozen weights
            old.lerp_(new, 1 - decay)


@torch.no_grad()
def copy_whole(target: Tensor, whole: Tensor) -> None:
    """Copies a whole tensor into one that may be sharded; each rank takes its share."""
    if isinstance(target, DTensor):
        # None: every rank has the whole tensor, so nothing needs to be sent.
        mesh, places = target.device_mesh, target.placements
        whole = distribute_tensor(whole.to(target.device), mesh, places, src_data_rank=None)
    target.copy_(whole)


def copy_weights(source: Model, target: Model) -> None:
    """Copies every weight of `source` into `target`, a model of the same shape, which may be sharded."""
    for old, new in zip(target.parameters(), source.parameters(), strict=True):
        copy_whole(old, new.detach())


def read_checkpoint_weights(model: Model, folder: Path) -> None:
    """Reads the weights of a checkpoint, bit for bit, into a model of the same shape.

    Raises:
        UserError: the folder cannot be read, or its weights are not those of the model or not finite; the
            model is then as it was.
    """
    # The class and the shape of the model that is there: a folder with another shape does not match.
    saved = read_weights(
        type(model), "resume_from_checkpoint", str(folder), config=model.config, dtype=model.dtype
    )
    check_finite(saved, f"resume_from_checkpoint: {folder}")
    # Copied into the model that is there: optimizer and engine hold references to its weights.
    copy_weights(saved, model)


def all_finite(model: Model) -> bool:
    """Whether no weight is NaN or infinite."""
    return all(bool(torch.isfinite(weight).all()) for weight in model.parameters())
