"""Refuses adapters that learning would leave as they are, without a word.

Log-probs are made from hidden states and the weight of the head, by code of this package. A layer that is
never called has no gradient here, and neither has one whose weight is read past its adapter.
"""

import torch

from dupo.errors import UserError, in_one_line
from dupo.learning.batches import make_batch
from dupo.learning.logprobs import Compute
from dupo.learning.scores import batch_values
from dupo.models.agreement import has_experts, random_ids
from dupo.models.load import Model
from dupo.records import Trajectory

TOKENS, SHOWN = 16, 3


def check_reached(model: Model, compute: Compute) -> None:
    """Checks that the log-probs of a few random ids, or their score, depend on every trained weight.

    Raises:
        UserError: the model fails with its adapters; or names weights that no gradient reaches.
    """
    ids = random_ids(model, TOKENS, 0)
    # Packed, with the head applied apart: the path on which training takes its gradient.
    trajectory = Trajectory(ids[:1], torch.tensor(ids[1:]), torch.zeros(TOKENS - 1), 0.0)
    # A class of others may fail in any way with layers that it was not written for.
    try:
        batch_values(model, make_batch([trajectory], model.device), compute).sum().backward()
    except Exception as error:
        kind, reason = type(model).__name__, in_one_line(error, kind=True)
        raise UserError(
            f"lora_target_modules: expected layers that {kind} can compute with, got {reason}"
        ) from error
    trained = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    unreached = [name for name, weight in trained if weight.grad is None]
    model.zero_grad(set_to_none=True)
    # Which experts so few tokens go to is chance.
    if unreached and not has_experts(model):
        names = ", ".join(unreached[:SHOWN])
        raise UserError(
            "lora_target_modules: expected layers that the log-probs depend on, "
            f"got {len(unreached)} weights without a gradient ({names}, ...)"
        )
