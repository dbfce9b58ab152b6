"""Refuses a model that packed training would get wrong in silence; see `dupo.models.agreement`.

packed   sequences of several lengths in one pack, as learning has them: positions, bounds, attention, head
own      each sequence in a forward pass of the model alone
"""

from functools import partial

import torch

from dupo.errors import UserError
from dupo.learning.batches import make_batch
from dupo.learning.logprobs import Compute
from dupo.learning.scores import batch_values
from dupo.models.agreement import CheckLengths, Scored, check_agreement, random_ids
from dupo.models.load import Model
from dupo.models.positions import window_of
from dupo.models.score_heads import score_head
from dupo.models.shrunk import POSITIONS
from dupo.records import Trajectory

WINDOW = 8  # of the small model: several sequences are longer, and so is every pack
BEYOND = 16  # tokens beyond a window: one token that is off is borne where experts may change places
# Unlike lengths in no order, so that a wrong bound or position shows; two alike share a bucket of attention.
LENGTHS = CheckLengths(small=(9, 48, 2, 13, 48, 31), real=(9, 2, 64, 13, 40), long=(300, 2, 64, 250))


def check_packed(model: Model, compute: Compute) -> float:
    """Checks that packed sequences have the log-probs of each alone, at temperature 1, or the scores.

    Sequences cross the window of the model where `compute.token_budget` lets training cross it.

    Returns:
        The noise of the model, nats; see `dupo.models.own_forward.own_noise`. 0 in float32.

    Raises:
        UserError: the model cannot be packed, or packing changes its log-probs.
    """
    window, route = window_of(model.config), partial(_packed, compute)

    def check(small_window: int, lengths: CheckLengths, most_tokens: int | None) -> float:
        return check_agreement(
            model, compute.dtype, route, "trained packed", lengths, small_window, most_tokens
        )

    if window is None or compute.token_budget <= window:
        return check(POSITIONS, LENGTHS, window)
    try:
        # Without a small model, only a sequence beyond the window of the weights can cross a window.
        return check(WINDOW, LENGTHS._replace(long=(*LENGTHS.long, window + BEYOND)), None)
    except UserError as error:
        try:
            check(POSITIONS, LENGTHS, window)
        except UserError:
            raise error from None
        # Some classes do not tell their layers of the window; Doge keeps the best keys of the whole pack.
        raise UserError(f"{error}, or --token_budget {window}, with which they agree") from None


@torch.no_grad()
def _packed(compute: Compute, model: Model, dtype: str, lengths: list[int]) -> list[Scored]:
    """Packs sequences of the given lengths."""
    sequences = [random_ids(model, length, k) for k, length in enumerate(lengths)]
    # One token of prompt: every log-prob that there is belongs to a completion.
    trajectories = [
        Trajectory(ids[:1], torch.tensor(ids[1:]), torch.zeros(len(ids) - 1), 0.0) for ids in sequences
    ]
    batch = make_batch(trajectories, model.device)
    values = batch_values(model, batch, compute._replace(temperature=1.0, dtype=dtype))
    # A reward model says one number of each.
    parts = values.split([1 if score_head(model) is not None else length - 1 for length in lengths])
    return [Scored(*pair) for pair in zip(sequences, parts, strict=True)]
