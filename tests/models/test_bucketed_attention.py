"""The attention that every device has: equal to its definition in float64, gradients and all."""

import pytest
import torch
from torch import Tensor

from dupo.models import bucketed_attention as module
from dupo.models.bucketed_attention import AttentionOptions, bucketed_attention, buckets, scored_attention
from tests.helpers.naive_attention import naive_attention

LENGTHS = [3, 40, 7, 4, 41, 1]
SINKS = torch.tensor([0.5, -1.0, 2.0, 0.0], dtype=torch.float64, requires_grad=True)
OPTIONS = {
    "plain": AttentionOptions(0.3),
    "window": AttentionOptions(0.3, window=4),
    "window of one": AttentionOptions(0.3, window=1),
    "softcap": AttentionOptions(0.3, softcap=0.7),
    "sinks": AttentionOptions(0.3, sinks_K=SINKS),
    "all": AttentionOptions(0.3, window=5, softcap=0.7, sinks_K=SINKS),
}


def inputs(lengths: list[int], kv_heads: int, value_size: int = 8) -> tuple[list[Tensor], Tensor]:
    torch.manual_seed(0)
    sizes = ((4, 8), (kv_heads, 8), (kv_heads, value_size))
    qkv = [torch.randn(sum(lengths), *s, dtype=torch.float64, requires_grad=True) for s in sizes]
    return qkv, torch.tensor([0, *lengths]).cumsum(0).int()


def check_equal(qkv: list[Tensor], bounds: Tensor, lengths: list[int], options: AttentionOptions) -> None:
    """Outputs and gradients, the gradients of the sinks among them."""
    ours = bucketed_attention(*qkv, bounds, options)
    scale = 8**-0.5 if options.scale is None else options.scale
    truth = naive_attention(*qkv, lengths, scale, options.window, options.softcap, options.sinks_K)
    torch.testing.assert_close(ours, truth, rtol=0, atol=1e-12)
    wrt = [*qkv, *([] if options.sinks_K is None else [options.sinks_K])]
    weights = torch.randn_like(ours)
    pairs = [torch.autograd.grad((out * weights).sum(), wrt) for out in (ours, truth)]
    for gradient, expected in zip(*pairs, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize(("kv_heads", "value_size"), [(1, 8), (2, 8), (4, 8), (4, 6)])
def test_outputs_and_gradients_are_those_of_the_definition(
    options: AttentionOptions, kv_heads: int, value_size: int
) -> None:
    check_equal(*inputs(LENGTHS, kv_heads, value_size), LENGTHS, options)


@pytest.mark.parametrize("lengths", [[5], [1, 1, 1], [9] * 6], ids=str)
@pytest.mark.parametrize("name", ["plain", "all"])
def test_any_lengths(lengths: list[int], name: str) -> None:
    check_equal(*inputs(lengths, 2), lengths, OPTIONS[name])


@pytest.mark.parametrize("name", ["softcap", "sinks", "all"])
def test_blocks_of_queries_change_nothing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(module, "QUERIES_AT_ONCE", 8)
    check_equal(*inputs(LENGTHS, 2), LENGTHS, OPTIONS[name])


def test_a_window_at_the_edge_of_a_sequence() -> None:
    """41 tokens: a window of 40 hides one key of one token, a window of 41 hides none."""
    for window in (40, 41):
        check_equal(*inputs(LENGTHS, 4), LENGTHS, AttentionOptions(0.3, window=window))
    qkv, bounds = inputs([41], 4)
    outputs = [bucketed_attention(*qkv, bounds, AttentionOptions(0.3, window=w)) for w in (40, 41)]
    differs = (outputs[0] != outputs[1]).any(-1).any(-1)
    assert differs.nonzero().flatten().tolist() == [40]


def test_float32_is_as_exact_as_its_rounding() -> None:
    qkv, bounds = inputs(LENGTHS, 2)
    for options in OPTIONS.values():
        single = bucketed_attention(*(x.float() for x in qkv), bounds, options)
        truth = naive_attention(*qkv, LENGTHS, 0.3, options.window, options.softcap, options.sinks_K)
        assert single.dtype == torch.float32 and (single - truth).abs().max() < 2e-6


def test_buckets_hold_every_sequence_once_and_little_padding() -> None:
    lengths = [100, 3, 50, 4, 99, 61, 3]
    groups = buckets(lengths)
    assert sorted(i for group in groups for i in group) == list(range(7))
    assert all(lengths[group[-1]] <= 1.25 * lengths[group[0]] for group in groups)


@pytest.mark.parametrize("kind", ["bool", "added"])
@pytest.mark.parametrize("options", [AttentionOptions(0.5), AttentionOptions(0.5, window=3)], ids=str)
@pytest.mark.parametrize("is_scored", [True, False])
def test_a_mask_of_the_model_is_used_within_each_sequence(
    kind: str, options: AttentionOptions, is_scored: bool
) -> None:
    torch.manual_seed(0)
    bounds, q, k, v = torch.tensor([0, 5, 12]).int(), *(torch.randn(12, 2, 8) for _ in range(3))
    mask = torch.rand(2, 12, 12) > 0.3 if kind == "bool" else torch.randn(2, 12, 12)
    if kind == "bool":
        mask |= torch.eye(12).bool()
    # A cap that no score comes near changes nothing, but has the scores written out.
    options = options._replace(mask_KTT=mask, softcap=1e4 if is_scored else None)
    mixed = bucketed_attention(q, k, v, bounds, options)
    allowed = torch.block_diag(torch.ones(5, 5), torch.ones(7, 7)).tril().bool()
    if options.window:
        allowed &= torch.ones(12, 12).triu(1 - options.window).bool()
    added = torch.zeros(2, 12, 12).masked_fill(~mask, -torch.inf) if kind == "bool" else mask
    scores = torch.einsum("thd,shd->hts", q, k) * 0.5 + added.masked_fill(~allowed, -torch.inf)
    assert (mixed - torch.einsum("hts,shd->thd", scores.softmax(-1), v)).abs().max() < 2e-6


@pytest.mark.parametrize("softcap", [None, 1.0])
def test_dropout_that_a_layer_asks_for_is_done(softcap: float | None) -> None:
    bounds, x = torch.tensor([0, 40]).int(), torch.ones(40, 1, 4)
    options = AttentionOptions(dropout=0.5, softcap=softcap)
    assert (bucketed_attention(x, x, x, bounds, options) != 1).any()


def test_a_row_of_padding_that_sees_nothing_is_no_nan() -> None:
    x = torch.randn(1, 2, 3, 4)
    mask = torch.ones(3, 3).tril().bool()
    mask[0] = False
    assert scored_attention(x, x, x, mask, AttentionOptions(softcap=1.0), is_causal=False).isfinite().all()
