"""What a model weighs, from its config alone: it is built without its numbers.

Parameters are counted in the model itself, as in a model with weights. What a token costs stands in
`dupo.models.token_costs`.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch

from dupo.config.lora_options import LoraOptions
from dupo.errors import in_one_line
from dupo.models.adapter import put_adapters
from dupo.models.four_bits import quantized_weights
from dupo.models.frozen_base import halved_weights
from dupo.models.library_errors import library_call
from dupo.models.load import Model
from dupo.models.positions import BORDERED_ROPE, rope_settings
from dupo.models.score_heads import model_class, score_head
from dupo.models.token_costs import NAME, Costs, layers_of, register, token_costs

FLOAT32, MIXED, BFLOAT16 = "float32", "mixed", "bfloat16"  # mixed: autocast over float32 weights


@dataclass(frozen=True)
class Outline:
    """A model without its weights.

    Attributes:
        kind: its class.
        parameters: numbers in the model, without adapters; tied weights count once.
        trained: numbers that an optimizer changes: those of adapters, where there are some.
        matrices: numbers in the weights of matrix products, the head among them.
        halved: numbers in the weights that may be bfloat16 beneath adapters.
        quantized: numbers in the weights that may be codes of 4 bits beneath adapters.
        ends: numbers in the embeddings and the head.
        largest_layer: numbers in the largest layer.
        hidden, vocabulary: sizes of the head.
        costs: of a token; None where the code of the class does not run without numbers.
        problem: why not.
    """

    kind: str
    parameters: int
    trained: int
    matrices: int
    halved: int
    quantized: int
    ends: int
    largest_layer: int
    hidden: int
    vocabulary: int
    costs: Costs | None
    problem: str = ""


def outline(
    shape: Any,
    lora: LoraOptions,
    *,
    precision: str,
    trust_remote_code: bool = False,
    traces: bool = True,
    scores: bool = False,
) -> Outline:
    """Looks at a model without weights.

    Args:
        shape: the config of the model.
        lora: its adapters.
        precision: of the passes: `FLOAT32`, `MIXED` or `BFLOAT16`.
        traces: whether the costs of a token are wanted; they take a second or two for a deep model.
        scores: the model is a reward model.

    Raises:
        UserError: transformers cannot build the model, or it can have no such adapters.
    """
    register([])
    dtype = torch.bfloat16 if precision == BFLOAT16 else torch.float32
    with library_call("model_name_or_path: no usable model"), torch.device("meta"):
        model: Model = model_class(scores=scores).from_config(
            _plain(shape),
            dtype=dtype,
            attn_implementation=NAME,
            trust_remote_code=trust_remote_code,
        )
    # transformers 5.5 refuses a name of its own here as an argument, and looks at the config in every pass.
    model.config._experts_implementation = NAME
    # Dropout would keep masks, and the policy learns without it.
    model.eval()
    sizes = _sizes(model)
    if lora.use_peft:
        put_adapters(model, lora)
        sizes["trained"] = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    if not traces:
        return Outline(**sizes, costs=None, problem="not asked for")
    try:
        costs = token_costs(model, is_mixed=precision == MIXED)
    # A class may decide by numbers that are not there. What is certain without them is still told.
    except Exception as error:
        return Outline(**sizes, costs=None, problem=in_one_line(error, kind=True))
    return Outline(**sizes, costs=costs)


def _sizes(model: Model) -> dict[str, Any]:
    """The fields of `Outline` that are counted in weights."""
    weights = list(model.parameters())
    ends = {id(end.weight): end.weight.numel() for end in _ends(model)}
    embedding: Any = model.get_input_embeddings().weight
    # An embedding is looked up; where it is tied, its weight is that of the head as well.
    looked_up = 0 if embedding is _ends(model)[-1].weight else embedding.numel()
    # FSDP gathers whole layers, so the largest counts.
    layers = [sum(weight.numel() for weight in layer.parameters()) for layer in layers_of(model)]
    vocabulary, hidden = _ends(model)[-1].weight.shape
    parameters = sum(weight.numel() for weight in weights)
    return {
        "kind": type(model).__name__,
        "parameters": parameters,
        "trained": parameters,
        "matrices": sum(weight.numel() for weight in weights if weight.dim() > 1) - looked_up,
        "halved": sum(weight.numel() for weight in halved_weights(model)),
        "quantized": sum(weight.numel() for weight in quantized_weights(model)),
        "ends": sum(ends.values()),
        "largest_layer": max(layers, default=0),
        "hidden": hidden,
        "vocabulary": vocabulary,
    }


def _ends(model: Model) -> list[Any]:
    """The embedding, and the head or the score where there is one of its own."""
    ends: list[Any] = [model.get_input_embeddings(), model.get_output_embeddings() or score_head(model)]
    return [end for end in ends if end is not None]


def _plain(shape: Any) -> Any:
    """A config with rotary angles that depend on no number of a batch; they cost the same."""
    plain = copy.deepcopy(shape)
    for rope in rope_settings(plain.get_text_config()):
        for name in ("rope_type", "type"):
            if rope.get(name) in BORDERED_ROPE:
                rope[name] = "default"
    return plain
