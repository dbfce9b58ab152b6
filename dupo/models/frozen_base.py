"""The weights beneath adapters in bfloat16: half the memory, and the arithmetic that autocast has anyway.

    linear layers      autocast rounds their weights for every product, so rounding them once changes no bit
    token embedding    its rows are widened as they are looked up; rows of a file in bfloat16 stay as they are
    all others         norms, biases, routers and experts stay float32

A head that is tied to the embedding has one weight with it, in bfloat16.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


def halved_weights(model: PreTrainedModel) -> list[nn.Parameter]:
    """The float32 weights that are bfloat16 beneath adapters; no number is read."""
    layers: list[nn.Module] = [layer for layer in model.modules() if type(layer) is nn.Linear]
    # A class of its own may scale by a number of the type of its weight, as that of Gemma 3 does.
    if type(model.get_input_embeddings()) is nn.Embedding:
        layers.append(model.get_input_embeddings())
    weights = {id(layer.weight): layer.weight for layer in layers}
    # A weight that is tied to a layer of another kind stays what that layer reads.
    known = {id(layer) for layer in layers}
    others = {id(w) for m in model.modules() if id(m) not in known for w in m._parameters.values()}
    return [w for key, w in weights.items() if key not in others and w.dtype == torch.float32]  # type: ignore[misc]


@torch.no_grad()
def halve_base(model: PreTrainedModel) -> None:
    """Rounds the weights of `halved_weights` to bfloat16, in place; the model then needs autocast."""
    weights = halved_weights(model)
    # One after the other, so that no more than one weight is there twice.
    for weight in weights:
        weight.data = weight.data.bfloat16()
    embedding = model.get_input_embeddings()
    if any(weight is embedding.weight for weight in weights):
        embedding.register_forward_hook(_widen)


def _widen(module: nn.Module, args: object, rows: Tensor) -> Tensor:
    # All layers add to these rows, and bfloat16 sums would lose what the later layers add.
    # Whoever rounds every weight and computes without autocast wants bfloat16 here as well.
    return rows.float() if torch.is_autocast_enabled(rows.device.type) else rows
