"""fused_policy_loss against its definition: token_logprobs_ref and policy_loss_ref, with autograd in float64.

In process on the torch path (on a GPU: the kernel), and by test_interpreted.py on the Triton path.
"""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from dupo_kernels import (
    PolicyObjective,
    fused_policy_loss,
    policy_loss,
    token_logprobs_ref,
    token_weights,
)
from dupo_kernels._triton import INTERPRET
from dupo_kernels.logits.rows import Rows
from tests.helpers.numerics import DEVICE
from tests.helpers.policy_cases import CASES, MASK, MAX_LENGTH, batch, options_of

V = 19
NAN, INF = math.nan, math.inf
PER_TOKEN = ("old_logprobs", "ref_logprobs", "sampling_logprobs")
# A few sequences, as the interpreter takes a program a token: lengths 3, 0, 1.
CHOSEN, T = torch.tensor([6, 2, 1]), 3
ACTIVE = MASK[CHOSEN, :T]
B, N = ACTIVE.shape[0], int(ACTIVE.sum())
BOUNDS = torch.tensor([0, 3, 3, 4])
on_device = ACTIVE.to(DEVICE)
Record = dict[str, Any]
slow_with_kernels = pytest.mark.slow if INTERPRET else lambda test: test


def heavy(*values: Any) -> Any:
    """Values of a test that takes seconds with interpreted kernels."""
    return pytest.param(*values, marks=[pytest.mark.slow] if INTERPRET else [])


def every_case() -> list[Any]:
    """With the kernels a case takes a second: a few are tried always. With torch all options are."""
    tried, cases = set[str](), []
    for loss_type, name in CASES:
        is_quick = not INTERPRET and (name not in tried or loss_type == "dapo")
        is_quick |= INTERPRET and (loss_type, name) in QUICK
        tried.add(name)
        marks = [] if is_quick else [pytest.mark.slow]
        marks += [pytest.mark.full] if marks and INTERPRET and len(cases) % 8 else []
        cases.append(pytest.param(loss_type, name, marks=marks))
    return cases


QUICK = [("dapo", "kl-k3"), ("cispo", "entropy"), ("dapo", "sequence_mask"), ("grpo", "sequence")]


def case(loss_type: str, name: str, dtype: torch.dtype = torch.float32) -> tuple[Record, Record]:
    """(tensors, options): logits (B, T, V), and per-token inputs near their log-probabilities."""
    chosen = {key: x[CHOSEN, :T] for key, x in batch(name).items()}
    generator = torch.Generator().manual_seed(5)
    logits = (2 * torch.randn(B, T, V, generator=generator)).to(dtype)
    targets = torch.randint(V, (B, T), generator=generator)
    logp, _ = token_logprobs_ref(logits.double(), targets, temperature=0.8)
    tensors: Record = {"logits": logits, "targets": targets, "advantages": chosen["advantages"].float()}
    for key in PER_TOKEN:
        if key in chosen:
            tensors[key] = (logp + chosen[key] - chosen["logprobs"]).float()
    options = options_of(loss_type, name)
    max_length = options.pop("max_completion_length")
    tensors["weights"] = token_weights(loss_type, ACTIVE, max_completion_length=max_length)
    return {key: x.to(DEVICE) for key, x in tensors.items()}, options | {"temperature": 0.8}


def two_steps(tensors: Record, scale: float = 1.0, **options: Any) -> list[Any]:
    """[loss, dlogits, statistics] of the definition and policy_loss, with weights of its own; in float64."""
    t = {key: x.double() if x.is_floating_point() else x for key, x in tensors.items()}
    logits, targets = t.pop("logits").requires_grad_(), t.pop("targets")
    del t["weights"]
    scaling = {key: options.pop(key) for key in ("temperature", "softcap") if key in options}
    logp, entropy = token_logprobs_ref(logits, targets, **scaling, entropy=True)
    advantages = t.pop("advantages")
    loss, stats = policy_loss(
        logp, advantages, entropy=entropy, **t, **options, max_completion_length=MAX_LENGTH
    )
    hits = (logits.argmax(-1) == targets)[options["mask"] != 0] if "mask" in options else None
    hits = (logits.argmax(-1) == targets) if hits is None else hits
    gradient = torch.autograd.grad(loss * scale, logits)[0]
    return [loss.detach(), gradient, stats | {"top1_agreement": hits.double().mean()}]


def fused(tensors: Record, scale: float = 1.0, **options: Any) -> list[Any]:
    logits = tensors["logits"].clone().requires_grad_()
    # The logits of a model are no leaf, and may be written to.
    loss, stats = fused_policy_loss(**tensors | {"logits": logits * 1}, **options)
    return [loss.detach(), torch.autograd.grad(loss * scale, logits)[0], stats]


def assert_same(found: list[Any], truth: list[Any], rtol: float = 2e-5, atol: float = 3e-6) -> None:
    for got, true in zip(found[:2], truth[:2], strict=True):
        torch.testing.assert_close(got.double(), true.double(), rtol=rtol, atol=atol)
    assert found[2].keys() == truth[2].keys()
    for key, value in truth[2].items():
        torch.testing.assert_close(
            found[2][key].double(), value.double(), rtol=rtol, atol=atol, msg=lambda text, key=key: key + text
        )


# --- the formula -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("loss_type", "name"), every_case())
def test_is_both_steps_in_one(loss_type: str, name: str) -> None:
    tensors, options = case(loss_type, name)
    found = fused(tensors, mask=on_device, scale=3.0, **options)
    assert_same(found, two_steps(tensors, mask=on_device, scale=3.0, **options))
    assert not found[1][~on_device].any()


@pytest.mark.parametrize(("loss_type", "name"), [("grpo", "kl-k3"), heavy("grpo", "sequence")])
def test_packed_and_with_advantages_of_sequences(loss_type: str, name: str) -> None:
    """Also with tokens outside the bounds, whatever they hold."""
    tensors, options = case(loss_type, name)
    A = torch.tensor([1.3, -0.7, 0.4], device=DEVICE)
    padded = fused(tensors | {"advantages": A}, mask=on_device, **options)
    wide = A[:, None].expand(B, T)
    assert_same(padded, two_steps(tensors | {"advantages": wide}, mask=on_device, **options))
    packed = {key: x[on_device] for key, x in tensors.items()} | {"advantages": A}
    found = fused(packed, cu_seqlens=BOUNDS.to(DEVICE), **options)
    assert_same(found, [padded[0], padded[1][on_device], padded[2]])
    for key, x in packed.items():
        if key != "advantages":
            tail = x.new_full((1, *x.shape[1:]), NAN if x.is_floating_point() else 0)
            packed[key] = torch.cat([tail, x, tail])
    found = fused(packed, cu_seqlens=BOUNDS.to(DEVICE) + 1, **options)
    assert_same([found[0], found[1][1:-1], found[2]], [padded[0], padded[1][on_device], padded[2]])
    assert not found[1][[0, -1]].any()


@pytest.mark.parametrize(("temperature", "softcap"), [heavy(0.7, None), heavy(1.0, 3.0), ("tensor", 3.0)])
def test_scaling(temperature: Any, softcap: float | None) -> None:
    tensors, options = case("dapo", "kl-k3")
    if temperature == "tensor":
        temperature = 0.5 + torch.rand(B, 1, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    options |= {"temperature": temperature, "softcap": softcap, "mask": on_device}
    assert_same(fused(tensors, **options), two_steps(tensors, **options))


@pytest.mark.parametrize("bad", [NAN, heavy(INF), heavy(-INF)])
def test_masked_tokens_never_enter(bad: float) -> None:
    tensors, options = case("dapo", "kl-k3")
    expected = fused(tensors, mask=on_device, **options)
    for key in ("logits", "advantages", "weights", *PER_TOKEN):
        if key in tensors:
            tensors[key][~on_device] = bad
    found = fused(tensors, mask=on_device, **options)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_nan_is_seen() -> None:
    tensors, options = case("dapo", "plain")
    tensors["logits"][0, 1, 3] = NAN
    loss, dlogits, stats = fused(tensors, mask=on_device, **options)
    assert loss.isnan()
    assert stats["ratio/max"].isnan()
    assert dlogits.isnan().all(-1).nonzero().tolist() == [[0, 1]]


# --- how it is used --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain", heavy("sequence")])
@pytest.mark.parametrize("dtype", [torch.float32, heavy(torch.bfloat16)])
def test_in_place_writes_the_same_over_the_logits(dtype: torch.dtype, name: str) -> None:
    tensors, options = case("dapo", name, dtype)
    expected = fused(tensors, mask=on_device, **options)
    leaf = tensors["logits"].requires_grad_()
    logits = leaf * 1
    loss, _ = fused_policy_loss(**tensors | {"logits": logits}, mask=on_device, inplace=True, **options)
    assert loss.detach() == expected[0]
    assert torch.equal(logits.detach(), expected[1])
    (gradient,) = torch.autograd.grad(2 * loss, leaf)
    torch.testing.assert_close(gradient, 2 * expected[1])


def test_who_saved_the_logits_fails() -> None:
    tensors, options = case("dapo", "plain")
    logits = tensors["logits"].requires_grad_() * 1
    other = logits.square().sum()
    loss, _ = fused_policy_loss(**tensors | {"logits": logits}, inplace=True, **options)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        (loss + other).backward()


@pytest.mark.parametrize("inplace", [heavy(False), True])
def test_a_second_backward_raises(inplace: bool) -> None:
    tensors, options = case("dapo", "plain")
    leaf = tensors["logits"].requires_grad_()
    loss, _ = fused_policy_loss(**tensors | {"logits": leaf * 1}, inplace=inplace, **options)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="expected one backward, got a second"):
        loss.backward()
    loss, _ = fused_policy_loss(**tensors | {"logits": leaf * 1}, inplace=inplace, **options)
    with pytest.raises(RuntimeError, match="create_graph=True"):
        torch.autograd.grad(loss, leaf, create_graph=True)


@slow_with_kernels
def test_without_a_gradient_nothing_is_written() -> None:
    tensors, options = case("dapo", "kl-k3")
    before = tensors["logits"].clone()
    loss, _ = fused_policy_loss(**tensors, mask=on_device, inplace=True, **options)
    with torch.no_grad():
        tensors["logits"].requires_grad_()
        same, _ = fused_policy_loss(**tensors, mask=on_device, inplace=True, **options)
    assert not loss.requires_grad
    assert not same.requires_grad
    assert loss == same == fused(tensors, mask=on_device, **options)[0]
    assert torch.equal(tensors["logits"], before)


def test_float16_needs_the_loss_scale_and_uses_it() -> None:
    tensors, options = case("dapo", "entropy", torch.float16)
    with pytest.raises(ValueError, match="grad_scale: expected the loss scale for float16, got None"):
        fused(tensors, mask=on_device, **options)
    tensors["weights"] = tensors["weights"] * 2.0**-16
    found = fused(tensors, mask=on_device, scale=2.0**16, grad_scale=2.0**16, **options)[1]
    wide = tensors | {"logits": tensors["logits"].float()}
    truth = fused(wide, mask=on_device, scale=2.0**16, **options)[1]
    torch.testing.assert_close(found.float(), truth, rtol=2e-3, atol=1e-7)


@slow_with_kernels
def test_logits_may_lie_anywhere() -> None:
    tensors, options = case("dapo", "plain")
    expected = fused(tensors, **options)
    wide = torch.zeros(B, T, V + 3, device=DEVICE)
    wide[..., :V] = tensors["logits"]
    turned = tensors["logits"].permute(2, 0, 1).contiguous().permute(1, 2, 0)
    for logits in (wide[..., :V], turned):
        for inplace in (False, True):
            leaf = logits.detach().requires_grad_()
            loss, _ = fused_policy_loss(
                **tensors | {"logits": leaf.view_as(leaf)}, inplace=inplace, **options
            )
            torch.testing.assert_close(loss.detach(), expected[0])
            torch.testing.assert_close(torch.autograd.grad(loss, leaf)[0], expected[1])


@slow_with_kernels
def test_expanded_logits_have_a_gradient_each() -> None:
    tensors, options = case("dapo", "plain")
    leaf = tensors["logits"][:1, :1].clone().requires_grad_()
    for inplace in (False, True):
        loss, _ = fused_policy_loss(**tensors | {"logits": leaf.expand(B, T, V)}, inplace=inplace, **options)
        (found,) = torch.autograd.grad(loss, leaf)
        truth = fused(tensors | {"logits": leaf.detach().expand(B, T, V)}, **options)
        torch.testing.assert_close(found, truth[1].sum((0, 1), keepdim=True))


def test_no_tokens() -> None:
    none = torch.zeros(0, device=DEVICE)
    logits = torch.zeros(0, V, device=DEVICE, requires_grad=True)
    loss, stats = fused_policy_loss(logits, none.long(), none, weights=none)
    loss.backward()
    assert loss == 0
    assert all(value == 0 for value in stats.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kl-k3", heavy("sequence")])
def test_compiles_without_a_break(name: str) -> None:
    tensors, options = case("dapo", name)
    expected = fused(tensors, mask=on_device, **options)
    leaf = tensors["logits"].requires_grad_()

    def compute(logits: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return fused_policy_loss(**tensors | {"logits": logits * 1}, mask=on_device, inplace=True, **options)

    loss, stats = torch.compile(compute, fullgraph=True, backend="aot_eager")(leaf)
    found = [loss.detach(), torch.autograd.grad(loss, leaf)[0], stats]
    torch.testing.assert_close(found, expected)


@pytest.mark.skipif(INTERPRET, reason="the same with and without kernels")
def test_operator_is_registered_correctly() -> None:
    tensors, _ = case("dapo", "plain")
    tensors = {key: x.reshape(B * T, -1).squeeze(-1) for key, x in tensors.items()}
    rows = Rows(tensors["logits"].requires_grad_(), tensors["targets"], None, 0.0)
    old, advantages = tensors["old_logprobs"], tensors["advantages"].view(B, T)
    inputs = (tensors["weights"], advantages, None, old, None, None, None)
    arguments = (*rows, *inputs, [B, T], True, True, 1.0, *PolicyObjective("dapo").encoded())
    op = torch.ops.dupo_kernels.fused_policy_loss.default
    torch.library.opcheck(op, arguments, test_utils=("test_schema", "test_faketensor"))


@slow_with_kernels
def test_autocast_changes_nothing() -> None:
    tensors, options = case("dapo", "kl-k3")
    expected = fused(tensors, **options)
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        torch.testing.assert_close(fused(tensors, **options), expected)


REFUSED = [
    ({"weights": None}, "weights: expected a dense tensor of real numbers or bool, got None"),
    ({"weights": torch.ones(2)}, r"weights: expected the shape \(3, 3\) of targets, got \(2,\)"),
    ({"advantages": torch.ones(4)}, r"advantages: expected shape \(3, 3\) \(per token\) or \(3,\)"),
    ({"temperature": 0.0}, "temperature: expected a positive number"),
    ({"beta": 0.1, "ref_logprobs": None}, "ref_logprobs: expected a tensor for beta=0.1, got None"),
    ({"cu_seqlens": BOUNDS}, r"targets: expected shape \(N,\) with cu_seqlens, got \(3, 3\)"),
    ({"inplace": "yes"}, "inplace: expected True or False, got 'yes'"),
    ({"grad_scale": -1.0}, "grad_scale: expected a positive number"),
    ({"mask": torch.full((B, T), NAN)}, "mask: expected zero or nonzero, got nan"),
    ({"logits": torch.ones(3, 4, V)}, r"targets: expected shape \(3, 4\) of the rows of logits"),
]


@pytest.mark.parametrize(("changed", "message"), REFUSED)
def test_refuses(changed: Record, message: str) -> None:
    tensors, options = case("dapo", "plain")
    changed = {key: x.to(DEVICE) if isinstance(x, Tensor) else x for key, x in changed.items()}
    with pytest.raises(ValueError, match=message):
        fused_policy_loss(**tensors | options | {"check": True} | changed)
