"""Refuses a model that packed training would get wrong in silence; see `dupo.models.agreement`.

packed   sequences of several lengths in one pack, as learning has them: positions, bounds, attention, head
own      each sequence in a forward pass of the model alone
"""

from functools import partial

import torch

from dupo.errors import UserError
from dupo.learning.batches import make_batch
from dupo.learning.logprobs import Compute, batch_logprobs
from dupo.models.agreement import CheckLengths, Scored, check_agreement, random_ids
from dupo.models.load import Model
from dupo.models.positions import window_of
from dupo.models.shrunk import POSITIONS
from dupo.records import Trajectory

LONGEST = 48
# Unlike lengths in no order, so that a wrong bound or position shows; two alike share a bucket of attention.
LENGTHS = CheckLengths(
    small=(9, LONGEST, 2, 13, LONGEST, 31), real=(9, 2, 64, 13, 40), long=(300, 2, 64, 250)
)


def check_packed(model: Model, compute: Compute) -> float:
    """Checks that packed sequences have the log-probs of each alone, at temperature 1.

    Sequences are as long as the window of the model at most: training never has longer ones.

    Returns:
        The noise of the model, nats; see `dupo.models.own_forward.own_noise`. 0 in float32.

    Raises:
        UserError: the model cannot be packed, or packing changes its log-probs.
    """
    window, route = window_of(model.config), partial(_packed, compute)

    def check(small_window: int) -> float:
        return check_agreement(model, compute.dtype, route, "trained packed", LENGTHS, small_window, window)

    if window is None or compute.token_budget <= window:
        return check(POSITIONS)
    # A pack may be longer than the window of its sequences, and is then longer in the small model as well.
    try:
        return check(LONGEST)
    except UserError as error:
        try:
            check(POSITIONS)
        except UserError:
            raise error from None
        # Doge keeps the best keys of the whole pack, so that sequences see one another in long packs.
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
    logprobs, _ = batch_logprobs(model, batch, compute._replace(temperature=1.0, dtype=dtype))
    parts = logprobs.split([length - 1 for length in lengths])
    return [Scored(*pair) for pair in zip(sequences, parts, strict=True)]
