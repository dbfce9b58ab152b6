"""linear_divergence in use: types, autograd, the compiler, and what it refuses."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import opcheck
from torch.utils.checkpoint import checkpoint

from dupo_kernels import linear_divergence, linear_divergence_ref
from dupo_kernels.hidden import divergence as divergence_module
from tests.helpers.numerics import DEVICE, INTERPRET, relative_error
from tests.helpers.slow import with_slow
from tests.helpers.two_heads import BETAS, LEAVES, assert_equal, both_ways, inputs

# --- types and uses --------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", BETAS[:3])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_types_are_as_exact_as_their_inputs(dtype: torch.dtype, beta: float) -> None:
    given = inputs(dtype=dtype)
    wide = {name: x.double() for name, x in given.items()}
    expected = both_ways(linear_divergence_ref, wide, beta=beta, softcap=4.0)
    options = {"grad_scale": 2.0} if dtype == torch.float16 else {}
    for chunks in ({}, {"save_budget": 0, "chunk_tokens": 4}):
        found = both_ways(linear_divergence, given, beta=beta, softcap=4.0, **chunks, **options)
        assert found[0].dtype == torch.float32 and relative_error(found[0], expected[0]) < 1e-5
        for one, other in zip(found[1:], expected[1:], strict=True):
            assert one.dtype == dtype and relative_error(one, other) < 5e-3


def test_float16_takes_its_loss_scale_before_rounding() -> None:
    given = inputs(dtype=torch.float16)
    with pytest.raises(ValueError, match=r"^grad_scale: expected the loss scale for float16, got None"):
        both_ways(linear_divergence, given, beta=0.5)
    weights = torch.full((3, 7), 1e-7, device=DEVICE)
    wide = {name: x.double() for name, x in given.items()}
    truth = both_ways(linear_divergence_ref, wide, beta=0.5, weights=weights.double())
    leaf = given["hidden"].requires_grad_()
    loss, _ = linear_divergence(**given, beta=0.5, weights=weights, grad_scale=2.0**20)
    (scaled,) = torch.autograd.grad(2.0**20 * loss, leaf)
    assert relative_error(scaled.double() / 2.0**19, truth[1]) < 5e-3


def test_a_student_of_another_type_than_its_teacher() -> None:
    given = inputs(dtype=torch.float32)
    given |= {name: x.bfloat16() for name, x in given.items() if name.startswith("teacher")}
    wide = {name: x.double() for name, x in given.items()}
    expected = both_ways(linear_divergence_ref, wide, beta=0.5)
    for one, other in zip(both_ways(linear_divergence, given, beta=0.5), expected, strict=True):
        assert relative_error(one, other) < 1e-5


def test_under_autocast_both_heads_take_the_type_of_a_linear_layer() -> None:
    given = inputs(dtype=torch.float32)
    with torch.autocast(DEVICE, torch.bfloat16):
        found = both_ways(linear_divergence, given, beta=1)
    half = {name: x.bfloat16() for name, x in given.items()}
    for one, other in zip(found, both_ways(linear_divergence, half, beta=1), strict=True):
        assert one.dtype == torch.float32 and torch.equal(one, other.float())


def test_reports_and_batches_of_nothing() -> None:
    given = inputs()
    mask = torch.arange(21, device=DEVICE).view(3, 7) % 2 > 0
    _, stats = linear_divergence(**given, beta=0, mask=mask, weights=torch.ones(3, 7, device=DEVICE))
    torch.testing.assert_close(stats["divergence"], linear_divergence_ref(**given, beta=0, mask=mask))
    assert stats["tokens"] == 10 and stats.keys() == {"tokens", "divergence"}
    for none in ({"mask": mask & False}, {"rows": torch.empty(0, dtype=torch.int64)}):
        loss, *gradients = both_ways(linear_divergence, given, beta=0.5, **none)
        assert loss == 0 and not any(x.any() for x in gradients)
    for shape in ((0,), (0, 7), (3, 0)):
        loss, *gradients = both_ways(linear_divergence, inputs(tokens=shape), beta=0.5)
        assert loss == 0 and not any(x.any() for x in gradients)


@pytest.mark.parametrize("learned", [("hidden",), ("weight",), ("bias",), ("weight", "bias"), ()], ids=str)
def test_whatever_is_frozen(learned: tuple[str, ...]) -> None:
    given = {name: x.requires_grad_(name in learned) for name, x in inputs().items()}
    loss, _ = linear_divergence(**given, beta=0.3, chunk_tokens=4)
    assert loss.requires_grad == bool(learned)
    expected = dict(zip(LEAVES, both_ways(linear_divergence, inputs(), beta=0.3)[1:], strict=True))
    found = torch.autograd.grad(2 * loss, [given[name] for name in learned]) if learned else ()
    assert_equal(list(found), [expected[name] for name in learned])


def test_adapters_of_both() -> None:
    """Hidden states and a head that are sums of frozen numbers and of small products, as with LoRA."""
    given = inputs()
    small = [torch.randn(shape, device=DEVICE).double().requires_grad_() for shape in ((101, 2), (2, 16))]
    gradients = []
    for function in (linear_divergence, linear_divergence_ref):
        learned = small[0] @ small[1]
        changed = {"hidden": given["hidden"] @ learned[:16], "weight": given["weight"] + learned}
        result = function(**(given | changed), beta=1.0)
        loss = result[0] if isinstance(result, tuple) else result
        gradients.append([loss.detach(), *torch.autograd.grad(loss, small)])
    assert_equal(*gradients)


def test_only_the_student_learns_and_only_once() -> None:
    given = {name: x.requires_grad_() for name, x in inputs().items()}
    loss, _ = linear_divergence(**given, beta=0.5)
    loss.backward(retain_graph=True)
    assert [name for name, x in given.items() if x.grad is not None] == list(LEAVES)
    with pytest.raises(RuntimeError, match=r"^linear_divergence: expected one backward, got a second"):
        loss.backward()
    frozen = {name: x.detach().requires_grad_(name == "hidden") for name, x in given.items()}
    again: Any = checkpoint(lambda: linear_divergence(**frozen, beta=0.5)[0], use_reentrant=False)
    again.backward()
    torch.testing.assert_close(frozen["hidden"].grad, given["hidden"].grad)
    assert frozen["weight"].grad is None


@pytest.mark.parametrize(
    "chunks", with_slow(({}, {"chunk_tokens": 12, "save_budget": 0}), quick=({},)), ids=str
)
@pytest.mark.parametrize("by", with_slow(("rows", "mask", "empty mask"), quick=("mask",)))
def test_operator_is_registered_correctly(
    by: str, chunks: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, run = [], divergence_module._run
    monkeypatch.setattr(divergence_module, "_run", lambda *values: calls.append(values) or run(*values))
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: by != "rows")
    given = {n: x.requires_grad_(n in LEAVES) for n, x in inputs(dtype=torch.bfloat16).items()}
    mask = torch.zeros(3, 7, device=DEVICE)
    which = {"rows": {"rows": torch.arange(9)}, "mask": {"mask": mask + 1}}.get(by, {"mask": mask})
    linear_divergence(**given, beta=0.5, **which, **chunks)
    monkeypatch.undo()
    opcheck(divergence_module._op, calls[0], test_utils=("test_schema", "test_faketensor"))


@pytest.mark.slow
@pytest.mark.skipif(INTERPRET, reason="the compiler does not see the interpreter")
@pytest.mark.parametrize("by", ["rows", "mask", "all"])
def test_compiles_whole_and_notices_another_beta(by: str) -> None:
    which = {"rows": torch.tensor([3, 1, 8]), "mask": torch.ones(3, 7, device=DEVICE)}
    options = {by: which[by]} if by in which else {}
    torch.compiler.reset()
    compiled = torch.compile(linear_divergence, fullgraph=True, backend="aot_eager")
    for beta in BETAS:
        expected = both_ways(linear_divergence, inputs(), beta=beta, **options)
        assert_equal(both_ways(compiled, inputs(), beta=beta, **options), expected)


# --- refusals --------------------------------------------------------------------------------------

REFUSED = [
    ({"beta": 1.5}, "beta: expected a number from 0 to 1, got 1.5"),
    ({"beta": "jsd"}, "beta: expected a number from 0 to 1, got 'jsd'"),
    ({"beta": float("nan")}, "beta: expected a number from 0 to 1, got nan"),
    ({"hidden": None}, "hidden: expected a dense tensor of float16.*, got None"),
    ({"teacher_hidden": [1.0]}, "teacher_hidden: expected a dense tensor of float16.*, got list"),
    ({"teacher_hidden": torch.zeros(3, 6, 12)}, r"teacher_hidden: .* the tokens \(3, 7\), got \(3, 6, 12\)"),
    ({"teacher_hidden": torch.tensor(1.0)}, r"teacher_hidden: expected shape \(\*tokens, H\), got \(\)"),
    (
        {"teacher_weight": torch.zeros(100, 12)},
        r"teacher_bias: expected shape \(V,\) = \(100,\), got \(101,\)",
    ),
    (
        {"teacher_weight": torch.zeros(100, 12), "teacher_bias": None},
        r"teacher_weight: expected the vocabulary of weight, 101 rows, got \(100, 12\)",
    ),
    ({"teacher_weight": torch.zeros(101, 16)}, r"teacher_weight: expected shape \(V, H\) .* H = 12"),
    ({"teacher_bias": torch.zeros(101).half()}, "teacher_bias: expected the type of hidden torch.float32"),
    ({"teacher_softcap": -1.0}, "teacher_softcap: expected a positive number .*, got -1.0"),
    ({"teacher_logit_scale": 0}, "teacher_logit_scale: expected a positive number .*, got 0"),
    ({"temperature": 0}, "temperature: expected a positive number .*, got 0"),
    ({"mask": torch.zeros(21)}, r"mask: expected the shape \(3, 7\) of hidden, got \(21,\)"),
    ({"rows": torch.tensor([21])}, "rows: expected indices from 0 to below 21, got 21"),
    ({"weights": torch.zeros(3)}, r"weights: expected the shape \(3, 7\) of hidden, got \(3,\)"),
    ({"weights": 1.0}, "weights: expected a dense tensor of real numbers or bool, got 1.0"),
    ({"save_budget": -1}, "save_budget: expected an integer from 0"),
    ({"process_group": "all"}, "process_group: expected a process group of torch.distributed, or None"),
    ({"teacher_weight": None}, "teacher_weight: expected a dense tensor of float16"),
    ({"mask": torch.ones(3, 7), "rows": torch.tensor([1])}, "mask and rows: expected at most one of them"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_refuses_in_one_line(change: dict[str, Any], message: str) -> None:
    moved = {n: x.to(DEVICE) if isinstance(x, Tensor) and n != "rows" else x for n, x in change.items()}
    arguments: dict[str, Any] = {"beta": 0.5, **inputs(dtype=torch.float32), **moved}
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        linear_divergence(**arguments)
    assert "\n" not in str(caught.value)


def test_refuses_float64_beside_others() -> None:
    given = inputs(dtype=torch.float32)
    given |= {name: x.double() for name, x in given.items() if name.startswith("teacher")}
    with pytest.raises(ValueError, match=r"^teacher_hidden: expected float64 on both sides or on none"):
        linear_divergence(**given, beta=0.5)


@pytest.mark.parametrize("name", ["weight", "bias", "teacher_hidden", "teacher_weight", "teacher_bias"])
def test_refuses_another_device(name: str) -> None:
    given = inputs(dtype=torch.float32)
    elsewhere = {name: given[name].to("meta")}
    with pytest.raises(ValueError, match=f"^{name}: expected a tensor on {DEVICE}.* as .*hidden, got meta$"):
        linear_divergence(**(given | elsewhere), beta=0.5)
