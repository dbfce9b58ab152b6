"""The methods of TRL's trainers that are replaced, because they compute whole logits."""

from collections.abc import Callable
from typing import Any, NamedTuple

from dupo.integrations.trl.distillation import gkd_compute_loss
from dupo.integrations.trl.whole_logits import cpo_forward, online_dpo_forward, orpo_forward

Method = Callable[..., Any]


class Override(NamedTuple):
    """A method of a trainer that is replaced.

    Attributes:
        module: where the trainer is.
        make: TRL's method -> ours.
        arguments: those that the method takes; others tell of a version that is not known.
    """

    module: str
    trainer: str
    name: str
    make: Callable[[Method], Method]
    arguments: tuple[str, ...]


_COMPARED = "self", "model", "batch"
_COMPLETED = "prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "vision_inputs"
_LOSS = "self", "model", "inputs", "return_outputs", "num_items_in_batch"
_EXPERIMENTAL = "trl.experimental"
OVERRIDES = (
    Override(f"{_EXPERIMENTAL}.cpo", "CPOTrainer", "concatenated_forward", cpo_forward, _COMPARED),
    Override(f"{_EXPERIMENTAL}.orpo", "ORPOTrainer", "concatenated_forward", orpo_forward, _COMPARED),
    Override(
        f"{_EXPERIMENTAL}.online_dpo",
        "OnlineDPOTrainer",
        "_forward",
        online_dpo_forward,
        ("self", "model", *_COMPLETED),
    ),
    Override(f"{_EXPERIMENTAL}.gkd", "GKDTrainer", "compute_loss", gkd_compute_loss, _LOSS),
)
