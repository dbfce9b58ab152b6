"""What linear_token_logprobs returns by name, and K targets of each token, against the definition in float64:
random mixes of every argument, then the values that could go wrong, the cost and the use."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from dupo_kernels import HeadOutputs, linear_token_logprobs, linear_token_logprobs_ref
from dupo_kernels.hidden import logprobs as logprobs_module
from dupo_kernels.logits import row_outputs, torch_path
from tests.helpers.linear_head import MASK, B, H, T, V, head
from tests.helpers.numerics import DEVICE, INTERPRET, CustomOpsOpened, GemmRows, relative_error, syncs

NAMES = HeadOutputs._fields
TYPES = {"top1": torch.bool, "likeliest": torch.int64}
GRADIENTS = "dhidden", "dweight", "dbias"
ROWS = MASK.flatten().nonzero()[:, 0]


def several(given: dict[str, Tensor], K: int) -> dict[str, Tensor]:
    """The same head with K targets of each token; the first two of every third token are equal."""
    generator = torch.Generator().manual_seed(K)
    shape = (*given["targets"].shape, K)
    targets = torch.randint(given["weight"].shape[0], shape, generator=generator).to(DEVICE)
    targets[..., 0] = given["targets"]
    targets[..., 1] = torch.where(given["targets"] % 3 == 0, targets[..., 0], targets[..., 1])
    return given | {"targets": targets}


def with_likeliest(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same head, where the target of every other token is the likeliest token."""
    likeliest = (given["hidden"] @ given["weight"].t() + given["bias"]).argmax(-1)
    is_other = torch.arange(likeliest.numel(), device=DEVICE).view(likeliest.shape) % 2 == 0
    return given | {"targets": torch.where(is_other, likeliest, given["targets"])}


def results_of(function: Any, given: dict[str, Tensor], **options: Any) -> dict[str, Tensor]:
    """What is returned by name, and the gradients under upstream gradients of either sign."""
    outputs = options.setdefault("outputs", NAMES)
    given = {name: x.detach().clone() for name, x in given.items()}
    leaves = [given[name].requires_grad_() for name in given if name != "targets"]
    found = function(**given, **options)
    assert isinstance(found, HeadOutputs)
    assert [name for name, x in found._asdict().items() if x is not None] == [
        n for n in NAMES if n in outputs
    ]
    loss = sum(0.0 * leaf.sum() for leaf in leaves)
    for name in ("logprobs", "entropy"):
        if name in outputs:
            value = getattr(found, name)
            numbers = torch.arange(value.numel(), device=DEVICE, dtype=torch.float64).view(value.shape)
            loss = loss + (value * torch.cos(numbers + len(name)).to(value)).sum()
    gradients = torch.autograd.grad(loss, leaves)  # pyright: ignore
    return {n: getattr(found, n).detach() for n in outputs} | dict(zip(GRADIENTS, gradients, strict=False))


def wide(given: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: x.double() if x.is_floating_point() else x for name, x in given.items()}


def mix(seed: int) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    """(inputs in float64, options that the definition has too, other options), all drawn from the seed."""
    draw, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    tokens = draw.choice([(0,), (1,), (5,), (24,), (2, 6), (3, 1)])
    V, H = draw.choice([1, 2, 7, 40, 101]), draw.choice([1, 4, 16])
    count = torch.Size(tokens).numel()

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(DEVICE)

    K = draw.choice([(), (1,), (2,), (5,)])
    # Few tokens, so that targets repeat.
    targets = torch.randint(min(V, draw.choice([3, 1000])), (*tokens, *K), generator=generator).to(DEVICE)
    given = {"hidden": normal(*tokens, H), "weight": draw.choice([1, 4]) * normal(V, H), "targets": targets}
    if draw.random() < 0.5:
        given["bias"] = normal(V)
    options: dict[str, Any] = {"outputs": tuple(draw.sample(NAMES, draw.randint(1, 6)))}
    if draw.random() < 0.6:
        options["temperature"] = draw.choice([0.7, normal(*tokens).exp(), normal(1).exp()])
    if draw.random() < 0.4:
        options["softcap"] = 3.0
    if draw.random() < 0.4:
        options["logit_scale"] = 0.6
    which = draw.choice(["mask", "rows", "all"])
    if which == "mask":
        options["mask"] = (torch.rand(tokens, generator=generator) < 0.6).to(DEVICE)
    if which == "rows":
        options["rows"] = torch.randperm(count, generator=generator)[: count // 2]
    how: dict[str, Any] = {"save_budget": draw.choice([0, 3 * V * 8, 1 << 30])}
    if draw.random() < 0.6:
        how["chunk_tokens"] = draw.choice([1, 3, 8])
    return given, options, how


@pytest.mark.skipif(INTERPRET, reason="float64 takes the torch path")
@pytest.mark.parametrize("seed", range(200))
def test_mixes_match_the_definition(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given, options, how = mix(seed)
    if seed % 2:  # blocks of one row
        monkeypatch.setattr(torch_path, "SCRATCH_BYTES", 1)
        monkeypatch.setattr(row_outputs, "DEVICE_SCRATCH_BYTES", 1)
    truth = results_of(linear_token_logprobs_ref, given, **options)
    found = results_of(linear_token_logprobs, given, **options, **how)
    for name, true in truth.items():
        assert found[name].dtype == true.dtype and found[name].shape == true.shape, name
        got, want = found[name].double().flatten(), true.double().flatten()
        largest = torch.linalg.vector_norm(want, torch.inf).item() if want.numel() else 0.0
        assert not ((got - want).abs() > 1e-12 * max(1.0, largest)).any(), name


@pytest.mark.parametrize("K", [1, 3])
@pytest.mark.parametrize("chunks", [{}, {"save_budget": 0, "chunk_tokens": 4}], ids=["whole", "chunks"])
@pytest.mark.parametrize(
    "options",
    [{}, {"softcap": 3.0, "logit_scale": 0.6, "temperature": 0.7}, {"mask": MASK.to(DEVICE)}],
    ids=["plain", "scaled", "mask"],
)
def test_float32(options: dict[str, Any], chunks: dict[str, Any], K: int) -> None:
    given = with_likeliest(head(torch.float32))
    given = given if K == 1 else several(given, K)
    truth = results_of(linear_token_logprobs_ref, wide(given), **options)
    assert 3 < truth["top1"].sum() < B * T
    found = results_of(linear_token_logprobs, given, **options, **chunks)
    for name, true in truth.items():
        assert found[name].dtype == TYPES.get(name, torch.float32)
        assert relative_error(found[name], true) < 1e-6, name


@pytest.mark.skipif(INTERPRET, reason="the interpreter rounds to bf16 by truncation")
@pytest.mark.parametrize(
    ("logits_dtype", "bound", "of_gradients"),
    [
        pytest.param(torch.float32, 1e-5, 2.5e-3, marks=pytest.mark.slow),
        (torch.bfloat16, 0.1, 2.5e-2),
    ],
    ids=["fp32-logits", "bf16-logits"],
)
def test_bf16_keeps_the_promise_of_the_log_probabilities(
    logits_dtype: torch.dtype, bound: float, of_gradients: float
) -> None:
    given = several(head(torch.bfloat16, 64, V=8_000, H=128), 4)
    truth = results_of(linear_token_logprobs_ref, wide(given))
    found = results_of(linear_token_logprobs, given, logits_dtype=logits_dtype)
    for name in ("logprobs", "entropy", "mean_logits", "log_sum_sq"):
        assert found[name].dtype == torch.float32
        assert (found[name].double() - truth[name]).abs().max().item() <= bound, name
    assert (found["top1"] != truth["top1"]).sum() <= 2  # bf16 logits may be equal where the others are not
    for name in GRADIENTS:
        assert relative_error(found[name], truth[name]) <= of_gradients, name


# --- values -----------------------------------------------------------------------------------------


def of_logits(logits: Any, targets: Any, **options: Any) -> HeadOutputs:
    """The outputs of tokens that all have the same logits, which are the bias: they are exact."""
    logits, targets = torch.as_tensor(logits), torch.as_tensor(targets)
    hidden, weight = torch.zeros(len(targets), 2, dtype=logits.dtype), torch.zeros(len(logits), 2).to(logits)
    inputs = (x.to(DEVICE) for x in (hidden, weight, targets))
    options = {"outputs": NAMES} | options
    return linear_token_logprobs(*inputs, bias=logits.to(DEVICE), **options)


def test_large_logits_cost_no_digits() -> None:
    """All near 10,000, where float32 has steps of 1/1024: differences are exact, sums with lse are not."""
    steps = torch.randint(4096, (50,), generator=torch.Generator().manual_seed(0))
    targets = torch.arange(20).view(10, 2)
    found = of_logits(10_000 + steps.float() / 1024, targets)
    truth = of_logits(steps.double() / 1024, targets)
    for name in ("logprobs", "log_sum_sq"):
        assert (getattr(found, name) - getattr(truth, name)).abs().max() < 2e-6, name


@pytest.mark.parametrize("softcap", [None, 2.0])
def test_the_first_of_equal_logits_is_the_likeliest(softcap: float | None) -> None:
    found = of_logits([1.0, 7.0, 7.0, -3.0], [0, 1, 2, 3], softcap=softcap)
    assert found.top1.tolist() == [False, True, False, False]
    assert found.likeliest.tolist() == [1] * 4
    assert of_logits([1.0, 7.0, 7.0], [[1, 2], [2, 1]]).top1.tolist() == [True, False]


def test_minus_infinity_is_no_probability() -> None:
    inf = torch.inf
    found = of_logits([-inf, 0.0, 0.0], [[0, 1], [1, 0], [2, 2]])
    log_half = torch.tensor(0.5).log()
    expected = torch.tensor([-inf, log_half])[torch.tensor([[0, 1], [1, 0], [1, 1]])]
    torch.testing.assert_close(found.logprobs.cpu(), expected)
    torch.testing.assert_close(found.log_sum_sq.cpu(), log_half.expand(3))
    assert found.mean_logits.tolist() == [-inf] * 3
    nothing = of_logits([-inf, -inf], [[0, 1]])
    assert nothing.logprobs.tolist() == [[-inf, -inf]]
    assert (nothing.top1.item(), nothing.mean_logits.item(), nothing.log_sum_sq.item()) == (False, -inf, 0.0)


def test_nan_and_targets_that_are_no_tokens() -> None:
    broken = of_logits([torch.nan, 0.0, 1.0], [[0, 1], [2, 0]])
    assert all(x.isnan().all() for x in (broken.logprobs, broken.mean_logits, broken.log_sum_sq))
    assert broken.top1.tolist() == [False, False]
    # No target: who learns it learns NaN, and not token 0.
    for row in ([torch.nan, 0.0, 1.0], [0.0, torch.inf], [-torch.inf] * 2):
        assert of_logits(row, [0]).likeliest.tolist() == [-100]
    found = of_logits([0.0, 1.0], [[-100, 1], [1, 2], [5, -1]])
    assert found.logprobs.isnan().tolist() == [[True, False], [False, True], [True, True]]
    assert found.top1.tolist() == [False, True, False]
    assert found.log_sum_sq.isfinite().all()
    # -inf is the only logit of a target that is a token.
    assert of_logits([0.0, -torch.inf], [[-100, 1]]).logprobs[0, 1] == -torch.inf


@pytest.mark.parametrize("budget", [1 << 30, 0], ids=["kept", "recomputed"])
def test_targets_without_a_gradient_and_gradients_that_cancel(budget: int) -> None:
    """Rows whose upstream gradients are all zero may hold anything; those that add up to zero count."""
    given = several(head(torch.float64 if DEVICE == "cpu" else torch.float32), 3)
    given["targets"][1, 1, 2] = -100
    upstream = torch.tensor([1.0, -1.0, 0.0], device=DEVICE).expand(B, T, 3).clone()
    upstream[0] = 0.0
    spoiled = {name: x.clone() for name, x in given.items()}
    spoiled["hidden"][0] = torch.nan
    gradients = []
    for function, inputs in ((linear_token_logprobs, spoiled), (linear_token_logprobs_ref, wide(given))):
        hidden = inputs["hidden"].requires_grad_()
        options = {"save_budget": budget} if function is linear_token_logprobs else {}
        logp, _ = function(hidden, inputs["weight"], inputs["targets"], bias=inputs["bias"], **options)
        gradients += torch.autograd.grad(logp, hidden, upstream.to(logp))
    assert not gradients[0][0].any() and gradients[1][1:].any()
    assert relative_error(*gradients) < 1e-6


# --- cost -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("K", [1, 4])
@pytest.mark.parametrize("budget", [1 << 30, 0], ids=["kept", "recomputed"])
def test_no_output_and_no_target_costs_a_product(budget: int, K: int) -> None:
    given = head(torch.float32) if K == 1 else several(head(torch.float32), K)
    M = int(MASK.sum())
    with GemmRows(V, H) as seen:
        results_of(linear_token_logprobs, given, mask=MASK.to(DEVICE), save_budget=budget)
    assert seen.rows == {"logits": M if budget else 2 * M, "dhidden": M, "dweight": M}


class Operators(CustomOpsOpened):
    """The names of all operators, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def see(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if name != "detach":
            self.names.append(name)


def operators_of(**options: Any) -> list[str]:
    given = head(torch.float32)
    with Operators() as seen:
        linear_token_logprobs(**given, mask=MASK.to(DEVICE), **options)
    return seen.names


def test_what_is_not_asked_for_costs_nothing() -> None:
    plain = operators_of()
    # (0,) tensors stand for what is not there.
    assert [x for x in operators_of(outputs=("logprobs",)) if x != "view"] == [
        x for x in plain if x != "view"
    ]
    assert len(operators_of(outputs=("logprobs", "entropy"))) == len(operators_of(entropy=True))
    extra = {name: len(operators_of(outputs=(name,))) - len(plain) for name in NAMES[2:]}
    assert all(extra.values()) and extra["top1"] < 12, extra


@pytest.mark.parametrize("K", [1, 3])
@pytest.mark.parametrize("by", ["rows", "mask"])
def test_waits_for_nothing_more(by: str, K: int) -> None:
    given = head(torch.float32) if K == 1 else several(head(torch.float32), K)
    given = {n: x.requires_grad_(n != "targets") for n, x in given.items()}
    options = {by: ROWS if by == "rows" else MASK.to(DEVICE), "outputs": NAMES, "chunk_tokens": 4}
    assert syncs(linear_token_logprobs, **given, **options) == (by == "mask")


# --- use --------------------------------------------------------------------------------------------


def test_only_two_of_them_are_differentiable() -> None:
    given = head(torch.float32)
    given["weight"].requires_grad_()
    found = linear_token_logprobs(**given, outputs=NAMES)
    has_gradient = [x.requires_grad for x in found if x is not None]
    assert has_gradient == [True, True, False, False, False, False]
    assert isinstance(linear_token_logprobs(**given, outputs=["top1"]), HeadOutputs)
    assert type(linear_token_logprobs(**given)) is tuple


def test_one_token_with_several_targets() -> None:
    given = several(head(torch.float32, 1), 5)
    whole = linear_token_logprobs(**given)[0]
    alone = linear_token_logprobs(
        given["hidden"][0], given["weight"], given["targets"][0], bias=given["bias"], outputs=NAMES
    )
    assert torch.equal(alone.logprobs, whole[0]) and alone.entropy.shape == ()


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    """A function has eight graphs at most, which all tests share."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.skipif(INTERPRET, reason="the compiler does not see the interpreter")
@pytest.mark.parametrize("K", [1, 3])
@pytest.mark.parametrize("which", [{}, {"mask": MASK}, {"rows": ROWS}], ids=["all", "mask", "rows"])
def test_compiles_whole(which: dict[str, Tensor], K: int) -> None:
    given = head(torch.float32) if K == 1 else several(head(torch.float32), K)
    options = {n: x.to(DEVICE) for n, x in which.items()}
    expected = results_of(linear_token_logprobs, given, **options)
    compiled = torch.compile(linear_token_logprobs, fullgraph=True, backend="aot_eager")
    found = results_of(compiled, given, **options)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and relative_error(found[name], value) < 1e-6, name


@pytest.mark.slow
@pytest.mark.parametrize("K", [1, 3])
@pytest.mark.parametrize("outputs", [("logprobs",), ("top1", "log_sum_sq"), NAMES], ids=len)
def test_the_compiler_knows_the_shapes(
    outputs: tuple[str, ...], K: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = head(torch.float32) if K == 1 else several(head(torch.float32), K)
    calls: list[Any] = []
    run = logprobs_module._run
    monkeypatch.setattr(logprobs_module, "_run", lambda *values: calls.append(values) or run(*values))
    linear_token_logprobs(**given, outputs=outputs, rows=ROWS)
    torch.library.opcheck(logprobs_module._op, calls[0], test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outputs": ()}, r"outputs: expected names of logprobs, entropy, top1, .*, got \(\)"),
        ({"outputs": "top1"}, "outputs: expected names of .*, got 'top1'"),
        ({"outputs": 3}, "outputs: expected names of .*, got 3"),
        ({"outputs": ("top1", "lse")}, "outputs: expected names of .*, got 'lse'"),
        ({"outputs": ("top1", 2)}, "outputs: expected names of .*, got 2"),
        ({"outputs": ("top1", ["entropy"])}, "outputs: expected names of .*, got list"),
        ({"outputs": ("top1", "top1")}, r"outputs: expected names without repeats, got \('top1', 'top1'\)"),
        (
            {"outputs": ("top1",), "entropy": True},
            "entropy and outputs: expected at most one of them, got both",
        ),
        ({"targets": torch.zeros(B, T, 0).long()}, r"targets: expected shape \(\*tokens, K\) with K > 0"),
        ({"targets": torch.zeros(B, 2, 3).long()}, r"hidden: expected shape \(\*tokens, H\) .* \(3, 2\)"),
        ({"targets": torch.zeros(B, T, 2, 1).long()}, r"hidden: expected shape \(\*tokens, H\)"),
    ],
    ids=[
        "nothing",
        "text",
        "number",
        "unknown",
        "no-text",
        "list",
        "repeated",
        "both",
        "no-targets",
        "other-tokens",
        "too-deep",
    ],
)
def test_refuses(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {name: x.cpu() for name, x in head(torch.float32).items()}
    functions = [linear_token_logprobs]
    functions += [linear_token_logprobs_ref] if "outputs" in change else []
    for function in functions:
        with pytest.raises(ValueError, match=message):
            function(**(given | change))
