"""token_logprobs against its definition in float64: in process on the torch path (on a GPU: the kernels), and
again by test_interpreted.py with the kernels under Triton's interpreter."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from dupo_kernels import _triton, token_logprobs, token_logprobs_ref
from dupo_kernels.logits import triton_path
from dupo_kernels.logits.launch import logprobs_backward, logprobs_forward
from dupo_kernels.logits.launch_table import Config
from dupo_kernels.logits.rows import Rows
from tests.helpers.logits_cases import TILE, Result, both_ways, draw, upstream
from tests.helpers.numerics import DEVICE, assert_as_accurate

INF, NAN = float("inf"), float("nan")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
VOCABULARIES = [1, 7, 1000, 1024, 32_000, 50_257, 151_936]
ROWS = [0, 1, 17, 512 if _triton.INTERPRET else 4096]
MOST_LOGITS = 17 * 151_936 if _triton.INTERPRET else 200_000_000


def marks_of(N: int, V: int) -> list[pytest.MarkDecorator]:
    if N * V > 100_000_000:
        return [pytest.mark.slow, pytest.mark.full]
    return [pytest.mark.slow] if N * V > 10_000_000 or N == 512 else []


SIZES = [pytest.param(N, V, marks=marks_of(N, V)) for N in ROWS for V in VOCABULARIES if N * V <= MOST_LOGITS]


def check(logits: Tensor, targets: Tensor, **options: Any) -> Result:
    actual = both_ways(token_logprobs, logits, targets, **options)
    compare(actual, logits, targets, **options)
    return actual


def compare(actual: Result, logits: Tensor, targets: Tensor, **options: Any) -> None:
    truth = both_ways(token_logprobs_ref, logits.double(), targets, **options)
    baseline = both_ways(token_logprobs_ref, logits.float(), targets, **options)
    assert actual.logp.dtype == actual.entropy.dtype == torch.float32
    largest = (logits[logits.isfinite()].abs().max() if logits.isfinite().any() else torch.zeros(1)).item()
    largest /= float(torch.as_tensor(options.get("temperature", 1.0)).min())
    for got, base, true in zip(actual, baseline, truth, strict=True):
        assert_as_accurate(got, base.to(got.dtype), true, max(largest, 1.0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1.0, 30.0], ids=["flat", "peaked"])
@pytest.mark.parametrize("V", VOCABULARIES)
def test_matches_the_definition(V: int, scale: float, dtype: str) -> None:
    check(*draw(2 if V > 2048 else 5, V, scale=scale, dtype=DTYPES[dtype]))


@pytest.mark.parametrize(("N", "V"), SIZES)
def test_any_number_of_rows(N: int, V: int) -> None:
    logits, targets = draw(N, V, scale=8.0, dtype=torch.bfloat16)
    got = both_ways(token_logprobs, logits, targets)
    assert [tuple(values.shape) for values in got] == [(N,), (N,), (N, V)]
    for first in range(0, N, 64):  # the definition takes a dozen times the memory
        at = slice(first, first + 64)
        compare(Result(*(values[at] for values in got)), logits[at], targets[at], first=first)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("softcap", "temperature"), [(0.0, 1.0), (20.0, 0.7)])
def test_top_is_the_log_probability_of_the_likeliest(softcap: float, temperature: float, dtype: str) -> None:
    logits, targets = draw(6, TILE + 17, scale=4.0, dtype=DTYPES[dtype])
    logits[1, ::3] = -INF
    logits[2, :TILE] = -INF
    logits[3, 5] = logits[3, TILE + 5] = 18.0  # a tie
    logits[4, 7] = 60.0  # all the others underflow
    likeliest = logits.argmax(-1)
    targets[:] = torch.where(torch.arange(6, device=DEVICE) % 2 == 0, likeliest, likeliest - 1)
    targets[3] = TILE + 5
    rows = Rows(logits, targets, torch.full((1,), 1 / temperature, device=DEVICE), softcap)
    found = logprobs_forward(rows, with_entropy=False)
    truth, baseline = (
        ((softcap * (z / softcap).tanh() if softcap else z) / temperature).log_softmax(-1).amax(-1)
        for z in (logits.double(), logits.float())
    )
    assert_as_accurate(found.top, baseline, truth, largest_input=60.0)
    assert (found.logp == found.top).tolist() == [True, False, True, True, True, False]
    assert torch.equal(found.top, logprobs_forward(rows, with_entropy=True).top)
    logits[0] = -INF
    empty = logprobs_forward(Rows(logits, targets, rows.inv_temperature, 0.0), with_entropy=True)
    assert (empty.logp[0].item(), empty.entropy[0].item(), empty.top[0].item()) == (-INF, 0.0, 0.0)


@pytest.mark.parametrize("softcap", [None, 5.0, 30.0])
@pytest.mark.parametrize("temperature", [1.0, 0.7, "tensor", "broadcast"])
def test_softcap_comes_before_temperature(softcap: float | None, temperature: float | str) -> None:
    logits, targets = draw(2, 3, TILE + 17, scale=6.0)
    per_token = {
        "tensor": torch.tensor([[0.5, 1.0, 2.0], [0.7, 1.3, 0.9]], device=DEVICE),
        "broadcast": torch.tensor([[0.5], [2.0]], device=DEVICE),
    }
    value = per_token[temperature] if isinstance(temperature, str) else temperature
    check(logits, targets, temperature=value, softcap=softcap)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("softcap", [None, 10.0])
def test_minus_inf_is_no_probability(softcap: float | None, dtype: str) -> None:
    logits, targets = draw(6, 2 * TILE + 5, dtype=DTYPES[dtype])
    logits[0, ::3] = -INF
    targets[0] = 1
    logits[1, : TILE + 10] = -INF  # the whole first block
    targets[1] = TILE + 10
    logits[2, targets[2]] = -INF
    logits[3] = -INF
    logits[4] = -INF
    logits[4, targets[4]] = 2.0
    got = check(logits, targets, softcap=softcap)
    if softcap is None:
        assert got.logp[2:5].tolist() == [-INF, -INF, 0.0]
        assert got.entropy[3:5].tolist() == [0.0, 0.0]
        assert got.dlogits.isfinite().all()
        assert not got.dlogits[3].any()
        assert not got.dlogits[1, : TILE + 10].any()


def test_nan_and_unknown_targets_are_loud() -> None:
    logits, targets = draw(4, 9)
    logits[0, 3] = NAN
    logits[1, 4] = INF
    targets[2] = -100
    targets[3] = 9
    for function in (token_logprobs, token_logprobs_ref):
        logp, entropy = function(logits, targets, entropy=True)
        assert logp.isnan().all()
        assert entropy is not None
        assert entropy.isnan().tolist() == [True, True, False, False]


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("inplace", [False, True])
def test_rows_without_upstream_gradient_get_exact_zeros(inplace: bool, last: bool) -> None:
    logits, targets = draw(4, 50)
    logits[0], logits[1, 2] = -INF, NAN
    targets[2] = -100
    logits.requires_grad_()
    logp, entropy = token_logprobs(logits * 1.0, targets, entropy=True, inplace_backward=inplace)
    assert entropy is not None
    counts = torch.tensor([False, False, False, last], device=DEVICE)
    (logp.where(counts, 0.0).sum() + entropy.where(counts, 0.0).sum()).backward()
    assert logits.grad is not None
    assert not logits.grad[:3].any()
    assert logits.grad[3].any() == last


def test_identities_of_the_gradient() -> None:
    """It sums to 0 over the vocabulary; the entropy of a uniform row is log V and does not move."""
    logits, targets = draw(3, 1001, scale=3.0)
    logits[0] = 1.5
    got = check(logits, targets)
    torch.testing.assert_close(got.dlogits.sum(-1), torch.zeros(3, device=DEVICE), rtol=0, atol=2e-6)
    assert got.entropy[0].item() == pytest.approx(math.log(1001), rel=1e-6)
    uniform = logits[:1].clone().requires_grad_()
    entropy = token_logprobs(uniform, targets[:1], entropy=True)[1]
    assert entropy is not None
    (dentropy,) = torch.autograd.grad(entropy.sum(), uniform)
    assert dentropy.abs().max() < 1e-8


@pytest.mark.parametrize("which", [0, 1], ids=["logp", "entropy"])
def test_each_output_alone(which: int) -> None:
    logits, targets = draw(3, 70)
    grads = []
    for function, dtype in ((token_logprobs, torch.float32), (token_logprobs_ref, torch.float64)):
        z = logits.to(dtype).requires_grad_()
        output = function(z, targets, entropy=which == 1)[which]
        assert output is not None
        grads.append(torch.autograd.grad(output.sum(), z)[0])
    torch.testing.assert_close(grads[0].double(), grads[1], rtol=1e-5, atol=1e-7)
    assert token_logprobs(logits, targets)[1] is None


def test_no_rows_and_no_dimensions() -> None:
    logits = torch.randn(2, 0, 5, device=DEVICE, requires_grad=True)
    logp, entropy = token_logprobs(logits, torch.zeros(2, 0, dtype=torch.long, device=DEVICE), entropy=True)
    assert entropy is not None
    assert logp.shape == entropy.shape == (2, 0)
    (logp.sum() + entropy.sum()).backward()
    assert logits.grad is not None
    assert logits.grad.shape == (2, 0, 5)
    check(*draw(6))


@pytest.mark.parametrize("layout", ["padded rows", "shifted", "every other column", "one row thrice"])
@pytest.mark.parametrize("inplace", [False, True])
def test_rows_may_lie_apart(layout: str, inplace: bool) -> None:
    full, targets = draw(2, 3, 40)
    base = full.clone().requires_grad_()
    non_leaf = base * 1.0
    views = {
        "padded rows": lambda z: z[..., :33],
        "shifted": lambda z: z[:, :-1],
        "every other column": lambda z: z[..., ::2],
        "one row thrice": lambda z: z[:1, :1].expand(1, 3, 40),
    }
    view = views[layout]
    rows, columns, width = view(full).shape
    y = (targets % width)[:rows, :columns]
    got, _ = token_logprobs(view(non_leaf), y, inplace_backward=inplace)
    expected, _ = token_logprobs_ref(view(full.double()), y)
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-6)
    (grad,) = torch.autograd.grad((got * upstream(y)[0].float()).sum(), base)
    leaf = full.double().requires_grad_()
    (true,) = torch.autograd.grad((token_logprobs_ref(view(leaf), y)[0] * upstream(y)[0]).sum(), leaf)
    torch.testing.assert_close(grad.double(), true, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_inplace_backward_is_the_same_gradient_in_the_same_memory(dtype: str) -> None:
    logits, targets = draw(5, TILE + 3, scale=3.0, dtype=DTYPES[dtype])
    expected = both_ways(token_logprobs, logits, targets).dlogits
    buffer = logits.clone().requires_grad_()
    non_leaf = buffer * 1.0
    memory = non_leaf.data_ptr()
    logp, entropy = token_logprobs(non_leaf, targets, entropy=True, inplace_backward=True)
    arrived: list[int] = []
    non_leaf.register_hook(lambda grad: arrived.append(grad.data_ptr()))
    assert entropy is not None
    torch.autograd.backward((logp, entropy), [g.float() for g in upstream(targets)])
    assert arrived == [memory]
    assert torch.equal(buffer.grad, expected)  # type: ignore[arg-type]


def test_inplace_backward_protects_the_logits() -> None:
    logits, targets = draw(3, 11)
    z = logits.requires_grad_() * 1.0
    logp, _ = token_logprobs(z, targets, inplace_backward=True)
    logp.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="expected one backward, got a second"):
        logp.sum().backward()
    z = logits * 1.0
    other = z.exp()  # autograd keeps `other`; `square` keeps z
    also = z.square().sum()
    logp, _ = token_logprobs(z, targets, inplace_backward=True)
    logp.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="inplace operation"):
        also.backward(retain_graph=True)
    other.sum().backward()


def test_inplace_without_gradient_leaves_the_logits_alone() -> None:
    logits, targets = draw(3, 11)
    before = logits.clone()
    with torch.no_grad():
        logp, _ = token_logprobs(logits.requires_grad_(), targets, inplace_backward=True)
    assert not logp.requires_grad
    assert torch.equal(logits, before)


def test_bits_do_not_depend_on_the_rows_beside() -> None:
    logits, targets = draw(7, 300)
    whole = both_ways(token_logprobs, logits, targets)
    for n in (0, 6):
        alone = token_logprobs(logits[n : n + 1], targets[n : n + 1], entropy=True)
        assert alone[1] is not None
        assert (alone[0][0], alone[1][0]) == (whole.logp[n], whole.entropy[n])


@pytest.mark.parametrize(
    "N", [pytest.param(65_600, marks=pytest.mark.slow) if _triton.INTERPRET else 131_072]
)
def test_more_rows_than_a_second_grid_axis_holds(N: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        triton_path, "CONFIG", Config(warps=1, steps=1)
    )  # still minutes under the interpreter
    logits, targets = draw(N, 2)
    logp, _ = token_logprobs(logits, targets)
    torch.testing.assert_close(logp, token_logprobs_ref(logits, targets)[0], rtol=1e-6, atol=1e-6)


def test_rows_are_on_the_first_grid_axis(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes 2**31 - 1 programs, the others 65,535."""
    grids: list[tuple[int, ...]] = []

    class Kernel:
        def __getitem__(self, grid: tuple[int, ...]) -> Any:
            grids.append(grid)
            return lambda **_: None

    for name in ("_forward", "_backward"):
        monkeypatch.setattr(triton_path, name, Kernel())
    for N in (131_072, 0):  # an empty grid would be an error: no launch
        row = torch.empty(N)
        rows = Rows(torch.empty(N, 2), torch.zeros(N, dtype=torch.long), torch.ones(1), 0.0)
        triton_path.forward(rows, row, None, row, row)
        triton_path.backward(rows, row, row, row, None, rows.logits)
    assert grids == [(131_072,), (131_072,)]


def test_offsets_beyond_int32() -> None:
    """Three rows, 2**30 + 8 logits apart: the last starts beyond 2**31. What lies between is untouched."""
    stride = 2**30 + 8
    storage = torch.empty(2 * stride + 5, dtype=torch.bfloat16, device=DEVICE)
    logits = storage.as_strided((3, 5), (stride, 1))
    small, targets = draw(3, 5, dtype=torch.bfloat16)
    logits.copy_(small)
    rows = Rows(logits, targets, torch.ones(1, device=DEVICE), 0.0)
    logp, entropy, lse, _ = logprobs_forward(rows, True)
    expected = both_ways(token_logprobs, small, targets)
    assert torch.equal(logp, expected.logp)
    a, b = (g.float() for g in upstream(targets))
    logprobs_backward(rows, lse, entropy, a, b, dlogits=logits)
    assert torch.equal(logits, expected.dlogits)


@pytest.mark.slow
@pytest.mark.skipif(_triton.INTERPRET, reason="the same with and without kernels")
def test_compiles_without_graph_breaks() -> None:
    logits, targets = draw(2, 3, 50)

    def function(logits: Tensor, targets: Tensor, **options: Any) -> Any:
        return token_logprobs(logits * 1.0, targets, temperature=0.7, softcap=20.0, **options)

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for got, expected in zip(
        both_ways(compiled, logits, targets), both_ways(function, logits, targets), strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)


@pytest.mark.skipif(_triton.INTERPRET, reason="the same with and without kernels")
def test_operator_is_registered_correctly() -> None:
    logits, targets = draw(3, 8)
    arguments = (logits.requires_grad_(), targets, torch.ones(1, device=DEVICE), 0.0, 1.0, True)
    torch.library.opcheck(torch.ops.dupo_kernels.token_logprobs.default, arguments)


def test_float64_stays_float64() -> None:
    logits, targets = draw(4, 60)
    got = both_ways(token_logprobs, logits.double(), targets, softcap=4.0)
    expected = both_ways(token_logprobs_ref, logits.double(), targets, softcap=4.0)
    for value, true in zip(got, expected, strict=True):
        torch.testing.assert_close(value, true, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": torch.zeros(3, dtype=torch.long)}, r"targets: expected shape \(2,\) .*, got \(3,\)"),
        ({"logits": torch.zeros(2, 0)}, r"logits: expected shape \(\.\.\., V\) with V > 0, got \(2, 0\)"),
        (
            {"targets": torch.zeros(2, dtype=torch.int32)},
            "targets: expected a dense tensor of int64, got torch.int32",
        ),
        (
            {"logits": torch.zeros(2, 5, dtype=torch.long)},
            "logits: expected a dense tensor of float16, .*, got torch.int64",
        ),
        (
            {"targets": torch.zeros(2, dtype=torch.long, device="meta")},
            "targets: expected a tensor on cpu as logits, got meta",
        ),
        (
            {"temperature": 0.0},
            "temperature: expected a positive number that float32 holds together with its inverse, got 0.0",
        ),
        ({"temperature": torch.ones(3)}, r"broadcasts to targets \(2,\), got \(3,\)"),
        ({"temperature": torch.ones(1, 2)}, r"broadcasts to targets \(2,\), got \(1, 2\)"),
        ({"temperature": torch.ones(2, requires_grad=True)}, "temperature: expected no requires_grad"),
        ({"softcap": -1.0}, "softcap: expected a positive number .*, got -1.0"),
    ],
)
def test_refuses(change: dict[str, Any], message: str) -> None:
    arguments = {"logits": torch.zeros(2, 5), "targets": torch.zeros(2, dtype=torch.long)} | change
    with pytest.raises(ValueError, match=message):
        token_logprobs(**arguments)


@pytest.mark.skipif(_triton.INTERPRET, reason="the same with and without kernels")
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_under_vmap() -> None:
    logits, targets = draw(3, 4, 9)
    found = torch.func.vmap(lambda z, y: token_logprobs(z, y)[0])(logits, targets)
    torch.testing.assert_close(found, token_logprobs(logits, targets)[0])
