"""The mode in which a policy learns: no dropout anywhere, and layers that are really recomputed."""

from typing import Any

import pytest
import torch
from torch import Tensor

from dupo.learning.batches import make_batch
from dupo.learning.learning_mode import learning_mode
from dupo.learning.logprobs import Compute, batch_logprobs
from dupo.models.load import recompute_activations
from dupo.records import Trajectory
from tests.helpers.shapes import TOKENS, model_of
from tests.helpers.worlds import CPU

KINDS = ["gpt2", "opt", "biogpt", "llama"]
COMPUTE = Compute(1.0, "float32", 1000)


def batch():
    ids = [(7 * i) % (TOKENS - 2) + 2 for i in range(12)]
    return make_batch([Trajectory(ids[:4], torch.tensor(ids[4:]), torch.zeros(8), 0.0)], CPU)


def learned(kind: str, *, dropout: bool, recomputed: bool) -> tuple[Tensor, list[Tensor], int]:
    """Log-probs, gradients, and how often the first layer ran, of one forward and backward pass."""
    model, runs = model_of(kind), []
    if recomputed:
        recompute_activations(model)
    # A hook of a child sees both passes: the recomputed forward calls the children of the layer again.
    norm = next(m for n, m in model.named_modules() if ".0." in n and "Norm" in type(m).__name__)
    norm.register_forward_pre_hook(lambda *_: runs.append(1))
    torch.manual_seed(3)
    with learning_mode(model, dropout=dropout):
        logprobs, _ = batch_logprobs(model, batch(), COMPUTE)
        logprobs.sum().backward()
    assert not any(module.training for module in model.modules())
    return logprobs.detach(), [p.grad for p in model.parameters() if p.grad is not None], len(runs)


@pytest.mark.parametrize("kind", KINDS)
def test_recomputing_activations_changes_no_gradient(kind: str) -> None:
    logprobs, gradients, runs = learned(kind, dropout=False, recomputed=False)
    again, recomputed_gradients, runs_again = learned(kind, dropout=False, recomputed=True)
    assert (runs, runs_again) == (1, 2)  # really recomputed
    torch.testing.assert_close(again, logprobs)
    assert len(gradients) == len(recomputed_gradients) > 10
    for gradient, recomputed_gradient in zip(gradients, recomputed_gradients, strict=True):
        torch.testing.assert_close(recomputed_gradient, gradient)


@pytest.mark.parametrize("recomputed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_policy_learns_from_the_distribution_that_it_samples(kind: str, recomputed: bool) -> None:
    with torch.no_grad():
        sampled, _ = batch_logprobs(model_of(kind), batch(), COMPUTE)
    logprobs, _, _ = learned(kind, dropout=False, recomputed=recomputed)
    torch.testing.assert_close(logprobs, sampled, atol=1e-5, rtol=0)
    dropped, _, _ = learned(kind, dropout=True, recomputed=recomputed)
    has_dropout = kind != "llama"
    assert ((dropped - sampled).abs().max() > 1e-3) == has_dropout


def test_the_rates_of_the_config_come_back() -> None:
    model: Any = model_of("opt")
    recompute_activations(model)
    layer = model.base_model.decoder.layers[0]
    with pytest.raises(ZeroDivisionError), learning_mode(model, dropout=False):
        assert (layer.training, layer.dropout, layer.self_attn.training) == (True, 0.0, False)
        raise ZeroDivisionError
    assert (layer.training, layer.dropout) == (False, 0.1)
