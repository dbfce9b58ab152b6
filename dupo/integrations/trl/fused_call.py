"""Calls a model through TRL's fused head, and leaves the model as it was.

    call_head(trainer, model, outputs, inputs) -> TRL's output of a fused head, fields (B, T) or (B, T - 1)

TRL adds a fused head to a model for good. Here the head lasts as long as the call: a copy of the model, or
the model after `uninstall`, is what the model would be without ours.

Letters: B sequences; T positions.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import MethodType
from typing import Any
from weakref import WeakKeyDictionary

# Model -> outputs -> the forward with a fused head, as a function that holds no model: what holds its own key
# would keep the model alive.
_forwards: "WeakKeyDictionary[Any, dict[tuple[str, ...], Callable[..., Any]]]" = WeakKeyDictionary()


def call_head(
    trainer: Any, model: Any, outputs: tuple[str, ...], inputs: dict[str, Any], *, aux: bool
) -> Any:
    """TRL's output of a fused head.

    Args:
        model: that of the trainer, with all its wrappers.
        outputs: the fields that are computed beside the loss, by TRL's names.
        inputs: what the model is called with: `input_ids` (B, T), `attention_mask` (B, T), and `labels` or
            `shift_labels` (B, T).
        aux: whether a mixture of experts gives its load-balancing loss, which TRL adds to the loss.
    """
    base = base_of(trainer, model)
    # Left out, the config of the model would decide, and TRL's loss would hold what no trainer here asks for.
    if hasattr(base.config.get_text_config(), "output_router_logits"):
        inputs = inputs | {"output_router_logits": aux}
    # The head is new to the model, so accelerate's own wrapper of the forward pass is not around it.
    with trainer.accelerator.autocast(), _fused(base, outputs):
        return model(**inputs, fused_lm_head=True)


def base_of(trainer: Any, model: Any) -> Any:
    """The model of transformers beneath the wrappers of accelerate and peft."""
    base = trainer.accelerator.unwrap_model(model)
    return base.get_base_model() if hasattr(base, "get_base_model") else base


@contextmanager
def _fused(base: Any, outputs: tuple[str, ...]) -> Iterator[None]:
    forwards = _forwards.setdefault(base, {})
    if outputs not in forwards:
        forwards[outputs] = _forward_of(base, outputs)
    own = vars(base).get("forward")
    base.forward = MethodType(forwards[outputs], base)
    try:
        yield
    finally:
        # accelerate's wrapper is an attribute of the model too, and stays.
        if own is None:
            del base.forward
        else:
            base.forward = own


def _forward_of(base: Any, outputs: tuple[str, ...]) -> Callable[..., Any]:
    """TRL's forward with a fused head, to be bound to a model of that config."""

    class StandIn:
        """What `add_fused_lm_head` reads of a model, whose function then holds this and no model."""

        config = base.config

        def forward(self) -> None:
            """Never called: it is TRL's way without a fused head."""

    stand_in: Any = StandIn()
    import_module("trl.trainer.utils").add_fused_lm_head(stand_in, outputs=outputs)
    return stand_in.forward.__func__
