"""Reward models: the body of a language model, and one number on top of its last token.

transformers has such a class for most language models, `...ForSequenceClassification`, here with one label.
"""

from typing import Any

from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PretrainedConfig

CLASS_END = "ForSequenceClassification"


def model_class(*, scores: bool) -> Any:
    """The class of transformers that makes reward models, or language models."""
    return AutoModelForSequenceClassification if scores else AutoModelForCausalLM


def is_reward_model(shape: PretrainedConfig) -> bool:
    """Whether a config is that of a model which classifies sequences."""
    return any(str(name).endswith(CLASS_END) for name in getattr(shape, "architectures", None) or ())


def score_head(model: nn.Module) -> nn.Linear | None:
    """What makes the score from the last hidden state; None for a language model."""
    head: Any = getattr(model, "score", None)
    # peft keeps the first weights beside those that are trained.
    if hasattr(head, "modules_to_save"):
        head = head.modules_to_save["default"]
    return head if isinstance(head, nn.Linear) else None


def padding_of(shape: PretrainedConfig) -> int:
    """The id that is no part of a text to a reward model; -1 where the config names none."""
    token_id = shape.get_text_config().pad_token_id
    return -1 if token_id is None else int(token_id)
