"""linear_divergence: 200 random mixes beside the definition, what it costs, its memory, what it refuses."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import opcheck
from torch.utils.checkpoint import checkpoint

from dupo_kernels import linear_divergence, linear_divergence_ref, linear_token_logprobs
from dupo_kernels.hidden import divergence as divergence_module
from dupo_kernels.hidden import head as head_module
from dupo_kernels.logits import torch_path
from tests.helpers.numerics import DEVICE, INTERPRET, GemmRows, relative_error, syncs
from tests.helpers.slow import with_slow
from tests.kernels.hidden.test_memory import SLACK, peak_of

H, TEACHER_H = 16, 12
BETAS = (0.0, 1.0, 0.5, 0.1, 0.93)  # forward KL, reverse KL, three JSD
LEAVES = ("hidden", "weight", "bias")
PRODUCT = head_module.gemm


def inputs(
    number: int = 0, dtype: torch.dtype = torch.float64, tokens: tuple[int, ...] = (3, 7), V: int = 101
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(number)
    shapes = {
        "hidden": (*tokens, H),
        "weight": (V, H),
        "bias": (V,),
        "teacher_hidden": (*tokens, TEACHER_H),
        "teacher_weight": (V, TEACHER_H),
        "teacher_bias": (V,),
    }
    drawn = {name: torch.randn(shape, generator=generator) / 2 for name, shape in shapes.items()}
    return {name: x.to(DEVICE, dtype) for name, x in drawn.items()}


def mix(number: int) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    """(inputs, options of the loss, options of the chunks)."""
    generator = torch.Generator().manual_seed(1000 + number)

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64).to(DEVICE)

    tokens = (5,) if number % 2 else (2, 4)
    V = (7, 33)[number // 2 % 2]
    given = inputs(number, tokens=tokens, V=V)
    options: dict[str, Any] = {"beta": BETAS[number % 5]}
    which = number // 5 % 4
    if which == 1:
        options["mask"] = draw(*tokens) > 0.4
    if which == 2:
        options["rows"] = torch.randperm(given["hidden"][..., 0].numel(), generator=generator)[:3]
    if number // 3 % 2:
        options["weights"] = draw(*tokens) - 0.3
    if number // 7 % 2:
        options |= {"softcap": 3.0, "teacher_softcap": 2.0 + float(draw())}
    if number // 11 % 2:
        options |= {"logit_scale": 0.5 + float(draw()), "teacher_logit_scale": 2.0}
    options["temperature"] = [1.0, 0.7, 2.0, 0.5 + draw(*tokens)][number // 13 % 4]
    if number % 4 == 3:
        # A vocabulary that both sides lack in part.
        given["bias"][:3] = given["teacher_bias"][:3] = -torch.inf
    if number % 9 == 0:
        del given["bias"], given["teacher_bias"]
    return given, options, [{}, {"save_budget": 0, "chunk_tokens": 2}][number // 17 % 2]


def both_ways(function: Any, given: dict[str, Tensor], **options: Any) -> list[Tensor]:
    """[loss, gradients of hidden, weight, bias], of twice the loss."""
    given = {n: x.detach().clone().requires_grad_(n in LEAVES) for n, x in given.items()}
    leaves = [given[name] for name in LEAVES if name in given]
    heads = [given.pop(name) for name in ("hidden", "weight", "teacher_hidden", "teacher_weight")]
    result = function(*heads, **given, **options)
    loss = result[0] if isinstance(result, tuple) else result
    return [loss.detach(), *torch.autograd.grad(2 * loss, leaves)]


def assert_equal(found: list[Tensor], expected: list[Tensor]) -> None:
    torch.testing.assert_close(found[0], expected[0], rtol=1e-12, atol=1e-12)
    for one, other in zip(found[1:], expected[1:], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14)


# --- the definition --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(200))
def test_equals_the_definition_whatever_the_chunks(number: int) -> None:
    given, options, chunks = mix(number)
    if "softcap" in options and "bias" in given:  # a softcap makes numbers of -inf
        given["bias"], given["teacher_bias"] = (given[n].clamp(min=-9) for n in ("bias", "teacher_bias"))
    # Of -inf autograd knows no derivative: the definition drops those tokens of the vocabulary.
    absent = int((given["bias"] == -torch.inf).sum()) if "bias" in given else 0
    whole = {n: x[absent:] if n.endswith(("weight", "bias")) else x for n, x in given.items()}
    expected = both_ways(linear_divergence_ref, whole, **options)
    found = both_ways(linear_divergence, given, **options, **chunks)
    assert all(not x[:absent].any() for x in found[2:])
    assert_equal([*found[:2], *(x[absent:] for x in found[2:])], expected)


@pytest.mark.parametrize("beta", BETAS)
def test_small_blocks_and_an_extreme_head(beta: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of the block for each token, and probabilities that underflow."""
    monkeypatch.setattr(torch_path, "SCRATCH_BYTES", 1)
    given = inputs(dtype=torch.float32)
    given["weight"], given["teacher_weight"] = 8 * given["weight"], 8 * given["teacher_weight"]
    wide = {name: x.double() for name, x in given.items()}
    expected = both_ways(linear_divergence_ref, wide, beta=beta)
    for one, other in zip(both_ways(linear_divergence, given, beta=beta), expected, strict=True):
        assert relative_error(one, other) < 2e-5


def test_the_ends_are_limits_of_the_jensen_shannon_divergence() -> None:
    given = inputs()
    for beta, end, factor in ((1e-7, 0, 1e-7), (1 - 1e-7, 1, 1e-7)):
        near, exact = (both_ways(linear_divergence, given, beta=b) for b in (beta, end))
        assert relative_error(near[0] / factor, exact[0]) < 1e-5
        assert relative_error(near[2] / factor, exact[2]) < 1e-5


def test_a_student_that_is_its_teacher_learns_nothing() -> None:
    given = inputs(dtype=torch.float32)
    same = given | {f"teacher_{name}": given[name] for name in LEAVES}
    for beta in BETAS:
        for x in both_ways(linear_divergence, same, beta=beta):
            assert x.abs().max() < 1e-6


def test_the_likeliest_token_and_the_label_are_two_targets_of_one_head() -> None:
    """Apple's mix is a loss of two log-probabilities, for which `linear_token_logprobs` has K targets."""
    given = inputs()
    labels = torch.randint(101, (3, 7), generator=torch.Generator().manual_seed(1)).to(DEVICE)
    likely = (given["teacher_hidden"] @ given["teacher_weight"].t() + given["teacher_bias"]).argmax(-1)

    def mixed(hidden: Tensor, weight: Tensor, *_: Tensor, bias: Tensor, **__: Any) -> Tensor:
        targets = torch.stack([likely, labels], -1)
        logprobs, _ = linear_token_logprobs(hidden, weight, targets, bias=bias)
        return -(logprobs * logprobs.new_tensor([0.9, 0.1])).sum(-1).mean()

    def defined(hidden: Tensor, weight: Tensor, *_: Tensor, bias: Tensor, **__: Any) -> Tensor:
        logp = (hidden @ weight.t() + bias).log_softmax(-1)
        one_hot = torch.eye(101, device=DEVICE, dtype=torch.float64)
        wanted = 0.9 * one_hot[likely] + 0.1 * one_hot[labels]
        return -(wanted * logp).sum(-1).mean()

    assert_equal(both_ways(mixed, given), both_ways(defined, given))


# --- what a row may hold ---------------------------------------------------------------------------


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("spoiled", ["nan", "inf", "empty", "empty teacher"])
def test_a_row_without_a_distribution_has_no_divergence(spoiled: str, beta: float) -> None:
    given = inputs(tokens=(4,))
    teacher = "teacher_" * (spoiled == "empty teacher")
    # The last number of a hidden state is the spoiled one, and no other row reads it.
    given[f"{teacher}hidden"][..., -1] = 0.0
    given[f"{teacher}weight"][..., -1] = -1.0
    value = {"nan": torch.nan, "inf": -torch.inf}.get(spoiled, torch.inf)
    given[f"{teacher}hidden"][1, -1] = value
    loss, dhidden, *_ = both_ways(linear_divergence, given, beta=beta)
    assert loss.isnan() and dhidden[1].isnan().any() and dhidden[[0, 2, 3]].isfinite().all()
    # A weight of 0, a mask and a list of rows each keep it out.
    weights = torch.tensor([1.0, 0.0, 1.0, 1.0], device=DEVICE).double()
    kept = {name: x[[0, 2, 3]] if "hidden" in name else x for name, x in given.items()}
    expected = both_ways(linear_divergence_ref, kept, beta=beta)
    for which in ({"mask": weights}, {"rows": torch.tensor([0, 2, 3])}):
        found = both_ways(linear_divergence, given, beta=beta, **which)
        assert not found[1][1].any()
        assert_equal([found[0], found[1][[0, 2, 3]]], expected[:2])
    found = both_ways(linear_divergence, given, beta=beta, weights=weights / 3)
    assert_equal([found[0], found[1][[0, 2, 3]]], expected[:2])


def test_a_token_that_one_side_lacks() -> None:
    """KL is infinite where its divisor has no probability; JSD is finite."""
    given = inputs()
    for lacking, infinite in (("bias", 0), ("teacher_bias", 1)):
        some = given | {lacking: given[lacking].index_fill(0, torch.tensor([2], device=DEVICE), -torch.inf)}
        for beta in BETAS:
            loss, dhidden, dweight, _ = both_ways(linear_divergence, some, beta=beta)
            assert loss.isinf() if beta == infinite else loss.isfinite()
            if beta not in (0, 1):
                assert dhidden.isfinite().all() and dweight.isfinite().all()
                torch.testing.assert_close(loss, both_ways(linear_divergence_ref, some, beta=beta)[0])


# --- what it costs ---------------------------------------------------------------------------------


class BothHeads(GemmRows):
    """Counts the products of the student and, as "teacher", those of the other head."""

    def count(self, left: Tensor, right: Tensor, *arguments: Any, **options: Any) -> Tensor:
        if tuple(right.shape) != (TEACHER_H, self.V):
            return super().count(left, right, *arguments, **options)
        self.rows["teacher"] = self.rows.get("teacher", 0) + left.shape[0]
        return PRODUCT(left, right, *arguments, **options)


@pytest.mark.parametrize("beta", BETAS[:3])
def test_a_row_costs_three_products_of_the_student_and_one_of_the_teacher(beta: float) -> None:
    mask = torch.arange(21, device=DEVICE).view(3, 7) % 3 > 0
    for chunks in ({}, {"save_budget": 0, "chunk_tokens": 4}):
        with BothHeads(101, H) as seen:
            both_ways(linear_divergence, inputs(), beta=beta, mask=mask, **chunks)
        assert seen.rows == dict.fromkeys(("logits", "teacher", "dhidden", "dweight"), 14)
    with BothHeads(101, H) as seen, torch.no_grad():
        linear_divergence(**inputs(), beta=beta)
    assert seen.rows == {"logits": 21, "teacher": 21}


@pytest.mark.parametrize("spare", [0, -1])
def test_both_chunks_share_the_budget(spare: int) -> None:
    """Many tokens are one chunk where the logits of both heads fit, and else come in pieces near 8,192."""
    given, longest = inputs(tokens=(9000,), V=7, dtype=torch.float32), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head_module, "gemm", lambda *a, **o: longest.append(len(a[0])) or PRODUCT(*a, **o))
        linear_divergence(**given, beta=0.5, save_budget=2 * 9000 * 7 * 4 + spare)
    assert longest == ([9000, 9000] if spare == 0 else [4608, 4608, 4392, 4392])


@pytest.mark.parametrize("by", ["rows", "mask", "all"])
def test_waits_for_the_device_once_for_a_mask_and_else_never(by: str) -> None:
    which = {"rows": torch.tensor([3, 1]), "mask": torch.ones(3, 7, device=DEVICE)}
    given = {n: x.requires_grad_() for n, x in inputs(dtype=torch.float32).items()}
    options = {by: which[by]} if by in which else {}
    assert syncs(linear_divergence, **given, beta=0.5, chunk_tokens=4, **options) == (by == "mask")


@pytest.mark.skipif(INTERPRET, reason="the same with and without kernels")
@pytest.mark.parametrize("beta", with_slow(BETAS[:3], quick=(0.5,)))
@pytest.mark.parametrize("chunk_tokens", with_slow((None, 40), quick=(40,)))
def test_the_peak_is_the_formula(
    chunk_tokens: int | None, beta: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk of logits of each head, both gradients, and what a block of one row needs."""
    monkeypatch.setattr(torch_path, "SCRATCH_BYTES", 1)
    N, V = 96, 1003
    parts = [torch.zeros(N, 64), torch.zeros(V, 64), torch.zeros(N, 32), torch.zeros(V, 32)]
    leaves = [x.to(DEVICE).requires_grad_(place < 2) for place, x in enumerate(parts)]

    def call() -> None:
        loss, _ = linear_divergence(*leaves, beta=beta, save_budget=0, chunk_tokens=chunk_tokens)
        loss.backward()
        for leaf in leaves:
            leaf.grad = None

    row = -(-V // 8) * 8 * 4
    expected = 2 * (chunk_tokens or N) * row + (N + V) * 64 * 4
    assert 0 <= peak_of(call) - expected <= SLACK


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
