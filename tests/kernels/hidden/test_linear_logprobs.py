"""The head from hidden states against its definition in float64, whatever the chunks, the mask and the types;
in process on the torch path (on a GPU: the kernels) and again under Triton's interpreter."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dupo_kernels import linear_token_logprobs, linear_token_logprobs_ref
from tests.helpers.linear_head import MASK, ROW, B, H, N, T, V, head
from tests.helpers.numerics import DEVICE, INTERPRET, GemmRows, relative_error, syncs

CHUNKS: list[dict[str, Any]] = [
    {},
    {"save_budget": 0},
    {"save_budget": 0, "chunk_tokens": 4},
    {"save_budget": 5 * ROW, "chunk_tokens": 4},
]


def both_ways(
    function: Any,
    given: dict[str, Tensor],
    with_grad: str = "hidden weight bias",
    bonus: float = 1.0,
    **options: Any,
) -> Any:
    """[logp, entropy, gradients ...] under upstream gradients of either sign, the entropy's times `bonus`."""
    given = {name: x.detach().clone() for name, x in given.items()}
    leaves = [given[name].requires_grad_() for name in with_grad.split() if name in given]
    logp, entropy = function(**given, entropy=True, **options)
    place = given["targets"].double()
    loss = (logp * torch.cos(place).to(logp)).sum() + (entropy * bonus * torch.sin(place).to(entropy)).sum()
    return [logp.detach(), entropy.detach(), *torch.autograd.grad(loss, leaves)]


@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mask": MASK.to(DEVICE)},
        {"temperature": 0.7, "logit_scale": 1.5},
        {"temperature": torch.linspace(0.5, 2, T).to(DEVICE), "softcap": 3.0, "logit_scale": 0.6},
        {"temperature": torch.linspace(0.5, 2, N).view(B, T).to(DEVICE), "mask": MASK.to(DEVICE)},
    ],
    ids=["plain", "mask", "scale", "softcap", "temperatures"],
)
def test_matches_the_definition_whatever_the_chunks(options: dict[str, Any], chunks: dict[str, Any]) -> None:
    dtype = torch.float32 if INTERPRET or DEVICE == "cuda" else torch.float64
    truth = both_ways(linear_token_logprobs_ref, head(), **options)
    found = both_ways(linear_token_logprobs, head(dtype), **options, **chunks)
    for got, true in zip(found, truth, strict=True):
        assert got.dtype == dtype
        assert relative_error(got, true) < (1e-6 if dtype == torch.float32 else 1e-14)
    if "mask" in options:
        assert not any(x[~MASK].any() for x in found[:3])


def test_without_bias_and_packed() -> None:
    given = head()
    expected = both_ways(linear_token_logprobs_ref, given, mask=MASK.to(DEVICE))
    packed = {n: x[MASK] if n in ("hidden", "targets") else x for n, x in given.items()}
    found = both_ways(
        linear_token_logprobs, {n: x.float() if n != "targets" else x for n, x in packed.items()}
    )
    for got, true in zip(found, expected, strict=True):
        assert relative_error(got, true[MASK] if true.shape[:2] == (B, T) else true) < 1e-6
    del given["bias"]
    found = both_ways(linear_token_logprobs, given, chunk_tokens=5, save_budget=0)
    for got, true in zip(found, both_ways(linear_token_logprobs_ref, given), strict=True):
        assert relative_error(got, true) < 1e-6


def test_rows_and_mask_say_the_same() -> None:
    given, rows = head(torch.float32), MASK.flatten().nonzero()[:, 0]
    by_mask = both_ways(linear_token_logprobs, given, mask=MASK.to(DEVICE))
    for one, other in zip(both_ways(linear_token_logprobs, given, rows=rows), by_mask, strict=True):
        assert torch.equal(one, other)
    shuffled = both_ways(linear_token_logprobs, given, rows=rows.flip(0).to(DEVICE))
    for one, other in zip(shuffled, by_mask, strict=True):
        assert relative_error(one, other) < 1e-6


def test_masked_rows_change_nothing_whatever_they_hold() -> None:
    given = head(torch.float32)
    expected = both_ways(linear_token_logprobs, given, mask=MASK.to(DEVICE))
    spoiled = {**given, "hidden": given["hidden"].clone(), "targets": given["targets"].clone()}
    spoiled["hidden"][~MASK], spoiled["targets"][~MASK] = torch.nan, -100
    for one, other in zip(
        both_ways(linear_token_logprobs, spoiled, mask=MASK.to(DEVICE)), expected, strict=True
    ):
        assert torch.equal(one, other)
    for nobody in (both_ways(linear_token_logprobs, spoiled, mask=torch.zeros_like(MASK).to(DEVICE)),):
        assert not any(x.any() for x in nobody)


@pytest.mark.parametrize("tokens", [0, 1])
def test_few_tokens(tokens: int) -> None:
    given = head(torch.float32, tokens)
    truth = both_ways(
        linear_token_logprobs_ref, {n: x.double() if n != "targets" else x for n, x in given.items()}
    )
    for got, true in zip(both_ways(linear_token_logprobs, given), truth, strict=True):
        assert got.shape == true.shape and relative_error(got, true) < 1e-6


# --- exactness --------------------------------------------------------------------------------------


@pytest.mark.skipif(INTERPRET, reason="large, and the interpreter rounds to bf16 by truncation")
@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param({}, id="whole", marks=pytest.mark.slow),
        pytest.param({"save_budget": 0, "chunk_tokens": 16}, id="chunks"),
    ],
)
@pytest.mark.parametrize(
    ("logits_dtype", "bonus", "logp_bound", "gradient_bound"),
    [
        pytest.param(torch.float32, 1.0, 1e-5, 2.5e-3, marks=pytest.mark.slow),
        pytest.param(torch.bfloat16, 0.0, 0.1, 1.2e-2, marks=pytest.mark.slow),
        (torch.bfloat16, 1.0, 0.1, 2.5e-2),
    ],
    ids=["fp32-logits", "bf16-logits", "bf16-logits-entropy"],
)
def test_keeps_the_promise_for_bf16(
    logits_dtype: torch.dtype, bonus: float, logp_bound: float, gradient_bound: float, chunks: dict[str, Any]
) -> None:
    """The numbers of docs/loss_head.md, against float64 on the same bf16 inputs."""
    given = head(torch.bfloat16, 128, V=32_000, H=256)
    wide = {n: x.double() if n != "targets" else x for n, x in given.items()}
    truth = both_ways(linear_token_logprobs_ref, wide, bonus=bonus)
    found = both_ways(linear_token_logprobs, given, bonus=bonus, logits_dtype=logits_dtype, **chunks)
    assert found[0].dtype == found[1].dtype == torch.float32
    assert max((a - b).abs().max().item() for a, b in zip(found[:2], truth[:2], strict=True)) <= logp_bound
    for got, true in zip(found[2:4], truth[2:4], strict=True):
        assert got.dtype == torch.bfloat16
        assert relative_error(got, true) <= gradient_bound


@pytest.mark.skipif(INTERPRET, reason="the products are the same with and without kernels")
def test_gradients_of_many_chunks_are_rounded_once() -> None:
    """As those of one chunk: sums in bf16 would drift apart."""
    given = head(torch.bfloat16, 256)
    _, _, _, *whole = both_ways(linear_token_logprobs, given)
    _, _, _, *chunks = both_ways(linear_token_logprobs, given, save_budget=0, chunk_tokens=4)
    for got, once in zip(chunks, whole, strict=True):  # of weight and bias
        assert relative_error(got, once) < 5e-4


# The kernels themselves, at more sizes: tests/kernels/logits/test_token_logprobs.py.
SIZES = [(17, 1), (17, 7), (17, 1000), (17, 1024)]
LARGE = [(512, 7), (512, 1000), (512, 1024), (17, 32_000), (17, 50_257), (17, 151_936)]
LARGE += [] if INTERPRET else [(4096, 1), (4096, 1000)]
SIZES = [*SIZES, *(pytest.param(*size, marks=pytest.mark.slow) for size in LARGE)]


@pytest.mark.parametrize(("N", "V"), SIZES)
def test_any_vocabulary_and_number_of_tokens(N: int, V: int) -> None:
    given = head(torch.float32, N, V=V)
    truth = both_ways(
        linear_token_logprobs_ref, {n: x.double() if n != "targets" else x for n, x in given.items()}
    )
    for got, true in zip(both_ways(linear_token_logprobs, given, chunk_tokens=2), truth, strict=True):
        assert (got.double() - true).norm() <= 3e-6 * true.norm() + 1e-6


# --- what runs, and what does not -------------------------------------------------------------------


@pytest.mark.parametrize("budget", [1 << 30, 0], ids=["kept", "recomputed"])
def test_masked_rows_reach_no_product(budget: int) -> None:
    given = head(torch.float32)
    M = int(MASK.sum())
    with GemmRows(V, H) as seen:
        both_ways(linear_token_logprobs, given, mask=MASK.to(DEVICE), save_budget=budget)
    assert seen.rows == {"logits": M if budget else 2 * M, "dhidden": M, "dweight": M}


@pytest.mark.parametrize(
    ("with_grad", "expected"),
    [
        ("hidden", {"logits": N, "dhidden": N}),
        ("weight", {"logits": N, "dweight": N}),
        ("bias", {"logits": N}),
    ],
)
def test_only_the_gradients_that_are_asked_for(with_grad: str, expected: dict[str, int]) -> None:
    given = head(torch.float32)
    with GemmRows(V, H) as seen:
        found = both_ways(linear_token_logprobs, given, with_grad)
    assert seen.rows == expected
    whole = dict(zip(("hidden", "weight", "bias"), both_ways(linear_token_logprobs, given)[2:], strict=True))
    assert torch.equal(found[2], whole[with_grad])


def test_without_gradient_one_product_and_nothing_kept() -> None:
    given = head(torch.float32)
    with GemmRows(V, H) as seen, torch.no_grad():
        given["weight"].requires_grad_()
        logp, _ = linear_token_logprobs(**given)
    assert seen.rows == {"logits": N}
    assert not logp.requires_grad


@pytest.mark.parametrize("budget", [1 << 30, 0], ids=["kept", "recomputed"])
@pytest.mark.parametrize("by", ["rows", "mask", "all"])
def test_waits_for_the_device_once_for_a_mask_and_else_never(by: str, budget: int) -> None:
    which = {"rows": MASK.flatten().nonzero()[:, 0], "mask": MASK.to(DEVICE)}
    given = {n: x.requires_grad_(n != "targets") for n, x in head(torch.float32).items()}
    options = {"save_budget": budget, "chunk_tokens": 4} | ({by: which[by]} if by in which else {})
    assert syncs(linear_token_logprobs, **given, **options) == (by == "mask")


# --- how it is used ---------------------------------------------------------------------------------


def test_under_autocast_it_takes_the_type_of_a_linear_layer() -> None:
    given = head(torch.float32)
    with torch.autocast(DEVICE, torch.bfloat16):
        found = both_ways(linear_token_logprobs, given)
    half = {n: x.bfloat16() if x.is_floating_point() else x for n, x in given.items()}
    expected = both_ways(linear_token_logprobs, half)
    assert torch.equal(found[0], expected[0])
    for got, want in zip(found[2:], expected[2:], strict=True):
        assert got.dtype == torch.float32
        assert torch.equal(got, want.float())


def test_tied_embeddings_get_both_gradients() -> None:
    given = head(torch.float32)
    ids = given["targets"].roll(1, dims=1)

    def loss(function: Any, weight: Tensor) -> Tensor:
        return function(torch.nn.functional.embedding(ids, weight), weight, given["targets"])[0].sum()

    weight = given["weight"].requires_grad_()
    (found,) = torch.autograd.grad(loss(linear_token_logprobs, weight), weight)
    (expected,) = torch.autograd.grad(loss(linear_token_logprobs_ref, weight), weight)
    assert relative_error(found, expected) < 1e-6


def test_under_activation_checkpointing() -> None:
    given = head(torch.float32)

    def checkpointed(**inputs: Any) -> Any:
        return checkpoint(lambda: linear_token_logprobs(**inputs), use_reentrant=False)

    expected = both_ways(linear_token_logprobs, given)
    for one, other in zip(both_ways(checkpointed, given), expected, strict=True):
        assert torch.equal(one, other)


def test_a_second_backward_raises() -> None:
    given = head(torch.float32)
    logp, _ = linear_token_logprobs(given["hidden"].requires_grad_(), given["weight"], given["targets"])
    logp.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="expected one backward, got a second"):
        logp.sum().backward()


@pytest.mark.slow
@pytest.mark.skipif(INTERPRET, reason="the compiler does not see the interpreter")
@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"mask": MASK}, marks=pytest.mark.slow),
        {"rows": MASK.flatten().nonzero()[:, 0]},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "budget", [1 << 30, pytest.param(0, marks=pytest.mark.slow)], ids=["kept", "recomputed"]
)
def test_compiles_whole(options: dict[str, Tensor], budget: int) -> None:
    given, options = head(torch.float32), {n: x.to(DEVICE) for n, x in options.items()}
    compiled = torch.compile(linear_token_logprobs, fullgraph=True, backend="aot_eager")
    expected = both_ways(linear_token_logprobs, given, save_budget=budget, **options)
    for one, other in zip(both_ways(compiled, given, save_budget=budget, **options), expected, strict=True):
        assert relative_error(one, other) < 1e-6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": torch.zeros(B, T + 1, H)}, r"hidden: expected shape \(\*tokens, H\)"),
        (
            {"weight": torch.zeros(V, H + 1)},
            r"weight: expected shape \(V, H\) with V > 0 and H = 16 .* got \(101, 17\)",
        ),
        ({"weight": torch.zeros(V, H).double()}, "weight: expected the type of hidden"),
        ({"bias": torch.zeros(V + 1)}, r"bias: expected shape \(V,\) = \(101,\), got \(102,\)"),
        ({"targets": torch.zeros(B, T)}, "targets: expected a dense tensor of int64, got torch.float32"),
        ({"mask": torch.ones(B)}, r"mask: expected the shape \(3, 7\) of targets"),
        ({"mask": MASK, "rows": torch.arange(2)}, "mask and rows: expected at most one of them, got both"),
        ({"rows": torch.ones(2)}, "rows: expected a dense tensor of int64 or int32"),
        ({"temperature": 0.0}, "temperature: expected a positive number .*, got 0.0"),
        ({"logit_scale": -1.0}, "logit_scale: expected a positive number .*, got -1.0"),
        ({"softcap": 0.0}, "softcap: expected a positive number .*, got 0.0"),
        ({"logits_dtype": torch.float16}, "logits_dtype: expected torch.float32 or that of hidden"),
        ({"save_budget": -1}, "save_budget: expected an integer from 0 to .*, got -1"),
        ({"chunk_tokens": 0}, "chunk_tokens: expected an integer from 1 to .*, got 0"),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_refuses(change: dict[str, Any], message: str) -> None:
    given = {name: x.cpu() for name, x in head(torch.float32).items()}
    with pytest.raises(ValueError, match=message):
        linear_token_logprobs(**(given | change))
