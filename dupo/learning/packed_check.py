"""Refuses a model that packed training would get silently wrong."""

import torch
from torch import Tensor

from dupo.errors import UserError
from dupo.learning.batches import make_batch
from dupo.learning.logprobs import Compute, batch_logprobs
from dupo.models.devices import autocast, compute_dtype
from dupo.models.load import Model
from dupo.records import Trajectory
from dupo_kernels import token_logprobs

PROMPT_TOKENS = 4


def check_packed(model: Model, compute: Compute) -> None:
    """Checks that two packed sequences have the log-probs of each alone.

    The log-probs of each alone come from the forward pass of transformers. So the check covers positions,
    bounds, head and scaling of the packed path.

    Raises:
        UserError: the model cannot be packed, or packing changes its log-probs.
    """
    name = type(model).__name__
    vocabulary = int(model.config.get_text_config().vocab_size)
    # Two different lengths and different ids, so that a wrong bound or position shows.
    sequences = [torch.tensor([(7 * i + 3 * k) % vocabulary for i in range(9 + 4 * k)]) for k in range(2)]
    pair = [
        Trajectory(
            ids[:PROMPT_TOKENS].tolist(), ids[PROMPT_TOKENS:], torch.zeros(len(ids) - PROMPT_TOKENS), 0.0
        )
        for ids in sequences
    ]
    with torch.no_grad():
        try:
            packed_logprobs, _ = batch_logprobs(model, make_batch(pair, model.device), compute)
        except ValueError as error:  # an attention feature that the packed path lacks
            raise UserError(f"{name} cannot be trained packed: {error}") from None
        single_logprobs = torch.cat([_single_logprobs(model, ids, compute) for ids in sequences])
    difference = (packed_logprobs - single_logprobs).abs().max().item()
    dtypes = {model.dtype, compute_dtype(model.device, compute.dtype)}
    exact = dtypes == {torch.float32} and model.device.type == "cpu"
    # bfloat16 logits differ by as much between two correct orders of summation
    allowed = 1e-3 if exact else 0.25
    if not difference <= allowed:
        raise UserError(
            f"{name} cannot be trained packed: log-probs of packed sequences differ from "
            f"single ones by {difference:.2g}, expected at most {allowed}"
        )


def _single_logprobs(model: Model, ids: Tensor, compute: Compute) -> Tensor:
    """Log-probs of the completion of one sequence, by the forward pass of transformers."""
    ids = ids.to(model.device)
    with autocast(model.device, compute.dtype):
        logits_TV = model(input_ids=ids[None], use_cache=False).logits[0, PROMPT_TOKENS - 1 : -1]
    return token_logprobs(logits_TV, ids[PROMPT_TOKENS:], temperature=compute.temperature)[0]
