"""Packed sequences must not see one another, and must equal what each gives alone."""

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from dupo.learning.batches import make_batch
from dupo.learning.logprobs import Compute, batch_logprobs
from dupo.models import attention
from dupo.models.attention import bucketed_sdpa, buckets
from dupo.records import Trajectory
from tests.helpers.worlds import CPU


def naive(q, k, v, lengths, scale):
    """Causal attention in float64, one sequence and one head at a time."""
    out, start = torch.empty_like(q, dtype=torch.float64), 0
    groups = q.shape[1] // k.shape[1]
    for length in lengths:
        rows = slice(start, start + length)
        for head in range(q.shape[1]):
            scores = q[rows, head].double() @ k[rows, head // groups].double().T * scale
            scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf)
            out[rows, head] = scores.softmax(-1) @ v[rows, head // groups].double()
        start += length
    return out


@pytest.mark.parametrize("lengths", [[5], [1, 1, 1], [3, 40, 7, 4, 41, 1], [9] * 6], ids=str)
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_bucketed_sdpa_equals_one_at_a_time(lengths, kv_heads):
    torch.manual_seed(0)
    total = sum(lengths)
    q, k, v = (torch.randn(total, heads, 8) for heads in (4, kv_heads, kv_heads))
    cu_seqlens = torch.tensor([0, *lengths]).cumsum(0).int()
    mixed = bucketed_sdpa(q, k, v, cu_seqlens, 0.3)
    assert (mixed - naive(q, k, v, lengths, 0.3)).abs().max() < 2e-6


def test_gradients_of_bucketed_sdpa():
    torch.manual_seed(0)
    lengths = [3, 7, 4]
    tensors = [torch.randn(14, 2, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    weights = torch.randn(14, 2, 4, dtype=torch.float64)
    bounds = torch.tensor([0, 3, 10, 14]).int()
    ours = torch.autograd.grad((bucketed_sdpa(*tensors, bounds, 0.5) * weights).sum(), tensors)
    truth = torch.autograd.grad((naive_differentiable(tensors, lengths) * weights).sum(), tensors)
    for gradient, expected in zip(ours, truth, strict=True):
        torch.testing.assert_close(gradient, expected)


def naive_differentiable(tensors, lengths):
    parts = [t.split(lengths) for t in tensors]
    done = []
    for q, k, v in zip(*parts, strict=True):
        scores = torch.einsum("thd,shd->hts", q, k) * 0.5
        scores = scores.masked_fill(torch.ones(len(q), len(q)).triu(1).bool(), -torch.inf)
        done.append(torch.einsum("hts,shd->thd", scores.softmax(-1), v))
    return torch.cat(done)


def test_buckets_hold_every_sequence_once_and_little_padding():
    lengths = [100, 3, 50, 4, 99, 61, 3]
    groups = buckets(lengths)
    assert sorted(i for group in groups for i in group) == list(range(7))
    assert all(lengths[group[-1]] <= 1.25 * lengths[group[0]] for group in groups)


def shapes():
    common = dict(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4
    )
    return {
        "llama": LlamaConfig(num_key_value_heads=2, **common),
        "qwen2": Qwen2Config(num_key_value_heads=4, **common),
    }


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_packed_log_probs_equal_transformers_own_single_forward(kind):
    attention.register()
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(shapes()[kind], attn_implementation=attention.NAME).eval()
    rows = [
        Trajectory([1, 2, 3], torch.tensor([4, 5, 6, 7]), torch.zeros(4), 1.0),
        Trajectory([9] * 11, torch.tensor([8, 2]), torch.zeros(2), 1.0),
    ]
    with torch.no_grad():
        packed, _ = batch_logprobs(model, make_batch(rows, CPU), Compute(1.0, "auto", 16384))
        model.set_attn_implementation("sdpa")
        alone = []
        for t in rows:
            ids = torch.cat([torch.tensor(t.prompt_ids), t.completion_ids])
            logp = model(ids[None]).logits[0, len(t.prompt_ids) - 1 : -1].log_softmax(-1)
            alone.append(logp.gather(-1, t.completion_ids[:, None])[:, 0])
    assert (packed - torch.cat(alone)).abs().max() < 1e-5


def test_mixed_precision_under_autocast():
    torch.manual_seed(0)
    lengths, bounds = [3, 9, 4], torch.tensor([0, 3, 12, 16]).int()
    q, k, v = torch.randn(16, 4, 8), torch.randn(16, 2, 8), torch.randn(16, 2, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = attention.packed_attention(q, k, v, bounds, 9, 0.3)
    assert mixed.dtype == torch.bfloat16
    assert (mixed - naive(q, k, v, lengths, 0.3)).abs().max() < 3e-2


@pytest.mark.parametrize("kv_heads", [2, 4])
def test_heads_of_values_may_have_another_size(kv_heads):
    torch.manual_seed(0)
    lengths, bounds = [3, 9, 4], torch.tensor([0, 3, 12, 16]).int()
    q, k, v = torch.randn(16, 4, 12), torch.randn(16, kv_heads, 12), torch.randn(16, kv_heads, 8)
    mixed = attention.packed_attention(q, k, v, bounds, 9, 0.3)
    padded = torch.nn.functional.pad(v, (0, 4))  # zeros in the values stay zeros in the result
    assert mixed.shape == (16, 4, 8)
    assert (mixed - naive(q, k, padded, lengths, 0.3)[..., :8]).abs().max() < 2e-6


@pytest.mark.parametrize("kind", ["bool", "added"])
def test_a_mask_of_the_model_is_used_within_each_sequence(kind):
    torch.manual_seed(0)
    bounds, q, k, v = torch.tensor([0, 5, 12]).int(), *(torch.randn(12, 2, 8) for _ in range(3))
    mask = torch.rand(2, 12, 12) > 0.3 if kind == "bool" else torch.randn(2, 12, 12)
    if kind == "bool":
        mask |= torch.eye(12).bool()
    mixed = bucketed_sdpa(q, k, v, bounds, 0.5, mask)
    allowed = torch.block_diag(torch.ones(5, 5), torch.ones(7, 7)).tril().bool()
    added = torch.zeros(2, 12, 12).masked_fill(~mask, -torch.inf) if kind == "bool" else mask
    scores = torch.einsum("thd,shd->hts", q, k) * 0.5 + added.masked_fill(~allowed, -torch.inf)
    assert (mixed - torch.einsum("hts,shd->thd", scores.softmax(-1), v)).abs().max() < 2e-6


def test_dropout_that_a_layer_asks_for_is_done():
    bounds, x = torch.tensor([0, 40]).int(), torch.ones(40, 1, 4)
    assert (bucketed_sdpa(x, x, x, bounds, None, dropout=0.5) != 1).any()


@pytest.mark.parametrize(
    "extra",
    [
        {"softcap": 30.0},
        {"s_aux": torch.ones(2)},
        {"sinks": torch.ones(2)},
        {"indices": torch.ones(2)},
        {"a_feature_of_tomorrow": 1},
        {"sliding_window": 4},
    ],
    ids=lambda extra: next(iter(extra)),
)
@pytest.mark.parametrize("is_packed", [True, False])
def test_what_would_be_dropped_in_silence_is_refused_by_name(extra, is_packed):
    x = torch.randn(1, 2, 6, 4)
    bounds = {"cu_seq_lens_q": torch.tensor([0, 6]).int(), "max_length_q": 6} if is_packed else {}
    name = next(iter(extra)).replace("_", ".")
    with pytest.raises(ValueError, match=name):
        attention.attention_forward(torch.nn.Module(), x, x, x, None, **bounds, **extra)


def test_what_changes_nothing_is_taken():
    x = torch.randn(1, 2, 6, 4)
    none = {"softcap": None, "s_aux": None, "position_ids": x, "use_cache": True, "is_causal": True}
    plain, _ = attention.attention_forward(torch.nn.Module(), x, x, x, None)
    taken, _ = attention.attention_forward(torch.nn.Module(), x, x, x, None, **none)
    bounds = {"cu_seq_lens_q": torch.tensor([0, 6]).int(), "max_length_q": 6}
    packed, _ = attention.attention_forward(torch.nn.Module(), x, x, x, None, **bounds, **none)
    assert torch.equal(plain, taken) and torch.allclose(packed, plain, atol=1e-6)
