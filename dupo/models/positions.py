"""How far a model can read: its positions, its windows, and the border at which its rotary angles change.

Everything is read from the transformers config, by names that many models share.
"""

from collections.abc import Iterator
from typing import Any

# Their angles depend on the longest sequence of the batch. Beyond the border, one long sequence changes all
# others.
BORDERED_ROPE = ("longrope", "su", "dynamic")
NOT_A_WINDOW = ("layer", "pattern", "use_")  # max_window_layers counts layers


def window_names(shape: Any) -> list[str]:
    """Names of the settings of the language model that bound how far a token sees."""
    inner = shape.get_text_config()
    # transformers keeps the window of a model that does not use its window.
    if getattr(inner, "use_sliding_window", True) is False:
        return []
    return [
        name
        for name, value in vars(inner).items()
        if ("window" in name or name == "attention_chunk_size")
        and not any(word in name for word in NOT_A_WINDOW)
        and type(value) is int
        and value > 0
    ]


def window_of(shape: Any) -> int | None:
    """Tokens of the shortest window of the model; None where every token sees all tokens before it."""
    inner = shape.get_text_config()
    return min((getattr(inner, name) for name in window_names(shape)), default=None)


def position_limit(shape: Any) -> int | None:
    """Longest sequence whose log-probs do not depend on what shares its batch; None: no limit.

    That is the number of its positions, or the border of `longrope` and `dynamic` angles where it is less.
    """
    inner = shape.get_text_config()
    limits = [getattr(inner, "max_position_embeddings", None)]
    for rope in rope_settings(inner):
        if (rope.get("rope_type") or rope.get("type")) in BORDERED_ROPE:
            # dynamic angles change beyond max_position_embeddings, which is in the list already
            limits += [
                rope.get("original_max_position_embeddings"),
                getattr(inner, "original_max_position_embeddings", None),
            ]
    return min((limit for limit in limits if type(limit) is int and limit > 0), default=None)


def rope_settings(inner: Any) -> Iterator[dict[str, Any]]:
    """The settings of the rotary angles: one for the model, or one for each kind of layer."""
    settings = getattr(inner, "rope_parameters", None) or getattr(inner, "rope_scaling", None) or {}
    if not isinstance(settings, dict):
        return
    yield settings
    yield from (value for value in settings.values() if isinstance(value, dict))
