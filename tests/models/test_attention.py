"""Packed sequences must not see one another, and must equal what each gives alone.

The truth is a second model with the same weights and transformers' own eager attention, one sequence a pass.
"""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from dupo.learning.batches import make_batch
from dupo.learning.logprobs import Compute, batch_logprobs
from dupo.models import attention
from dupo.records import Trajectory
from tests.helpers.model_kinds import TOKENS, model_of_kind
from tests.helpers.naive_attention import naive_attention
from tests.helpers.slow import with_slow
from tests.helpers.worlds import CPU

# Tokens of prompt and completion. Windows of 4 tokens are crossed by all but two, by one token or by many.
LENGTHS = [(1, 2), (3, 21), (2, 3), (9, 15), (1, 3), (20, 3)]
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "mistral": ("mistral", {}),
    "gemma2": ("gemma2", {}),
    "gemma3": ("gemma3_text", {"sliding_window": 4, "num_hidden_layers": 6}),
    "qwen2": ("qwen2", {}),
    "gpt_oss": ("gpt_oss", {}),
    "gpt_oss_long": ("gpt_oss", {"sliding_window": 23}),
    "deepseek_v2": ("deepseek_v2", {"num_hidden_layers": 2}),
    "deepseek_v3": ("deepseek_v3", {"num_hidden_layers": 2}),
    "mixtral": ("mixtral", {"sliding_window": 5}),
}


def eager_twin(model: PreTrainedModel) -> PreTrainedModel:
    """The same weights in a model whose attention its authors wrote."""
    config = copy.deepcopy(model.config)
    twin = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    twin.load_state_dict(model.state_dict())
    return twin


def rows_and_weights() -> tuple[list[Trajectory], list[Tensor]]:
    """Sequences, and a random weight for each log-prob of their completions."""
    draws = torch.Generator().manual_seed(0)
    rows, weights = [], []
    for prompt, completion in LENGTHS:
        ids = torch.randint(TOKENS, (prompt + completion,), generator=draws)
        rows.append(Trajectory(ids[:prompt].tolist(), ids[prompt:], torch.zeros(completion), 1.0))
        weights.append(torch.randn(completion, generator=draws) / completion)
    return rows, weights


def alone(twin: PreTrainedModel, row: Trajectory) -> Tensor:
    """The log-probs of a completion from one pass over its sequence."""
    ids = torch.cat([torch.tensor(row.prompt_ids), row.completion_ids])
    mask = torch.ones_like(ids)[None]
    logits = twin(input_ids=ids[None], attention_mask=mask, use_cache=False).logits[0]
    logprobs = logits[len(row.prompt_ids) - 1 : -1].log_softmax(-1)
    return logprobs.gather(-1, row.completion_ids[:, None])[:, 0]


@pytest.mark.parametrize("name", with_slow(KINDS, quick=("llama", "gemma2", "gpt_oss")))
def test_packed_log_probs_and_gradients_equal_those_of_each_sequence_alone(name: str) -> None:
    kind, changes = KINDS[name]
    model = model_of_kind(kind, **changes)
    twin, (rows, weights) = eager_twin(model), rows_and_weights()
    packed, _ = batch_logprobs(model, make_batch(rows, CPU), Compute(1.0, "float32", 16384))
    (packed * torch.cat(weights)).sum().backward()
    expected = [alone(twin, row) for row in rows]
    sum((e * w).sum() for e, w in zip(expected, weights, strict=True)).backward()  # type: ignore[union-attr]
    assert (packed - torch.cat(expected)).abs().max() < 2e-5
    for (where, weight), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        if other.grad is None:
            assert weight.grad is None, where
            continue
        assert weight.grad is not None, where
        # Experts sum over tokens in another order where tokens stand in another order.
        assert torch.allclose(weight.grad, other.grad, rtol=1e-4, atol=2e-5), where


def test_sinks_have_a_gradient_that_is_not_zero() -> None:
    """Or the comparison of gradients would compare nothing."""
    model, (rows, weights) = model_of_kind("gpt_oss"), rows_and_weights()
    packed, _ = batch_logprobs(model, make_batch(rows, CPU), Compute(1.0, "float32", 16384))
    (packed * torch.cat(weights)).sum().backward()
    sinks = [w.grad for name, w in model.named_parameters() if "sinks" in name]
    assert len(sinks) == 2 and all(g is not None and g.abs().min() > 1e-6 for g in sinks)


@pytest.mark.parametrize("num_queries", [1, 6])
def test_generation_has_softcap_and_sinks(num_queries: int) -> None:
    """With the mask of a model or without one; keys and values of a cache stand before the queries."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, heads, 6, 8) for heads in (4, 2, 2))
    sinks = torch.randn(4)
    layer = torch.nn.Module()
    truth = naive_attention(*(x[0].transpose(0, 1) for x in (q, k, v)), [6], 0.3, None, 0.7, sinks)
    q = q[:, :, -num_queries:]
    mask = torch.ones(6, 6).tril().bool()[-num_queries:][None, None]
    for given_mask in (None, mask):
        wants: dict[str, Any] = {"scaling": 0.3, "softcap": 0.7, "s_aux": sinks}
        out, _ = attention.attention_forward(layer, q, k, v, given_mask, **wants)
        assert (out[0] - truth[-num_queries:]).abs().max() < 1e-6
    with pytest.raises(ValueError, match="position_bias"):
        attention.attention_forward(layer, q, k, v, None, softcap=0.7, position_bias=q)


@pytest.mark.parametrize(
    "extra",
    [
        {"sinks": torch.ones(2)},
        {"indices": torch.ones(2)},
        {"a_feature_of_tomorrow": 1},
        {"sliding_window": 0},
        {"sliding_window": (4, 0)},
    ],
    ids=lambda extra: next(iter(extra)),
)
@pytest.mark.parametrize("is_packed", [True, False])
def test_what_would_be_dropped_in_silence_is_refused_by_name(extra: dict[str, Any], is_packed: bool) -> None:
    x = torch.randn(1, 2, 6, 4)
    bounds: dict[str, Any] = (
        {"cu_seq_lens_q": torch.tensor([0, 6]).int(), "max_length_q": 6} if is_packed else {}
    )
    name = next(iter(extra)).replace("_", ".")
    with pytest.raises(ValueError, match=name):
        attention.attention_forward(torch.nn.Module(), x, x, x, None, **bounds, **extra)


def test_what_changes_nothing_is_taken() -> None:
    x = torch.randn(1, 2, 6, 4)
    none: dict[str, Any] = {
        "softcap": None,
        "s_aux": None,
        "position_ids": x,
        "use_cache": True,
        "is_causal": True,
    }
    plain, _ = attention.attention_forward(torch.nn.Module(), x, x, x, None)
    taken, _ = attention.attention_forward(torch.nn.Module(), x, x, x, None, **none)
    bounds: dict[str, Any] = {"cu_seq_lens_q": torch.tensor([0, 6]).int(), "max_length_q": 6}
    packed, _ = attention.attention_forward(torch.nn.Module(), x, x, x, None, **bounds, **none)
    assert torch.equal(plain, taken) and torch.allclose(packed, plain, atol=1e-6)
