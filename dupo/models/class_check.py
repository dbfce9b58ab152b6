"""Whether a class of transformers can be sampled and trained here, found out before any weight is loaded."""

from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel

from dupo.errors import UserError
from dupo.models import attention
from dupo.models.library_errors import library_call
from dupo.models.score_heads import model_class, score_head

# Settings of a language model that are counts. transformers builds a model without layers from -1 layers.
COUNTS = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
COUNTS += ("head_dim",)


def check_class(shape: PretrainedConfig, name: str, *, trust_remote_code: bool, scores: bool = False) -> None:
    """Builds the model without memory for its weights, and looks at what it is.

    Args:
        shape: the config of the model.
        name: its folder or Hub name, for the error.
        scores: the model is a reward model.

    Raises:
        UserError: a size is below 1, the class cannot be built or is no causal language model, or it computes
            its attention in a way that the attention of this package would get wrong.
    """
    attention.register()
    where = f"model_name_or_path: {name}"
    inner = shape.get_text_config()
    for setting in COUNTS:
        # Not by attribute: a config whose layers differ raises for what differs.
        count = vars(inner).get(inner.attribute_map.get(setting, setting))
        if type(count) is int and count < 1:
            raise UserError(f"{where}: expected {setting} of at least 1 in config.json, got {count}")
    if getattr(shape, "is_encoder_decoder", False):
        raise UserError(
            f"{where}: expected a causal language model, got an encoder-decoder, {kind_of(shape)}"
        )
    with library_call(f"{where} has no usable model"), torch.device("meta"):
        try:
            model = model_class(scores=scores).from_config(
                shape, attn_implementation=attention.NAME, trust_remote_code=trust_remote_code
            )
        except KeyError as error:
            # Classes with a table of attentions of their own, such as Falcon, know none that is registered.
            if error.args != (attention.NAME,):
                raise
            raise UserError(f"{where}: {kind_of(shape)} takes no attention but its own") from None
        reason = _reason_against(model, shape, scores=scores)
    if reason:
        raise UserError(f"{where}: {type(model).__name__} {reason}")


def kind_of(shape: PretrainedConfig) -> str:
    """The name of the architecture, as config.json has it."""
    names: Any = getattr(shape, "architectures", None)
    return str(names[0]) if isinstance(names, list) and names else str(shape.model_type)


def _reason_against(model: PreTrainedModel, shape: PretrainedConfig, *, scores: bool) -> str | None:
    """Why a model cannot be used; None if it can."""
    inner = shape.get_text_config()
    parts = [module for module in model.modules() if isinstance(module, PreTrainedModel)]
    # A picture encoder beside the language model is never called, so its attention does not matter.
    language_models = [module for module in parts if module is model or module.config is inner]
    # transformers itself refuses SDPA for these classes, but accepts any name that was registered.
    if not all(_takes_attention(module) for module in language_models):
        return (
            "does not support scaled_dot_product_attention, nor an attention that is registered in its place"
        )
    # Encoders such as BERT stand among the causal models, for a setting that makes them decoders.
    flags = {bool(m.is_causal) for m in model.modules() if hasattr(m, "is_causal")}
    if flags == {False}:
        return "is not causal with this config.json: its tokens see what comes after them"
    if scores and score_head(model) is None:
        return "makes its score by no single layer of that name"
    if not scores and model.get_output_embeddings() is None:
        return "has no language-model head"
    # The head is applied apart, to the rows with a loss only, so the model beneath must be reachable.
    if model.base_model is model:
        return "does not tell its language-model head from the model beneath, so it cannot be trained here"
    return None


def _takes_attention(module: PreTrainedModel) -> bool:
    """Whether the layers of a class call the attention that is registered for them."""
    # Softcap and sinks keep a class from SDPA, which lacks them, and not from flash-attn, which has them.
    return module._supports_sdpa or (module._supports_attention_backend and module._supports_flash_attn)
