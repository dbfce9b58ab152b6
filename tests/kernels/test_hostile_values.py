"""Values that nobody means to pass, by hypothesis, to every public function: a ValueError or TypeError, or
the right result. In process on the torch path, and by test_interpreted.py on the Triton path.

DUPO_FUZZ_EXAMPLES=N tries N of each function.
"""

import math
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from dupo_kernels import (
    PolicyObjective,
    PolicyOptions,
    counts_tokens,
    kl_estimate,
    linear_objective,
    linear_objective_ref,
    linear_token_logprobs,
    linear_token_logprobs_ref,
    policy_loss,
    policy_loss_ref,
    token_logprobs,
    token_logprobs_ref,
    token_weights,
)
from dupo_kernels._triton import INTERPRET
from tests.helpers.numerics import DEVICE

pytestmark = pytest.mark.skipif(
    DEVICE == "cuda", reason="an assertion on the device takes the process with it"
)

INF, NAN = math.inf, math.nan
B, T, N, V, H = 2, 3, 6, 5, 4
EXAMPLES = int(os.environ.get("DUPO_FUZZ_EXAMPLES", "20" if INTERPRET else "100"))
fuzzed = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip

NUMBERS: list[Any] = [
    0,
    -1,
    1,
    2.5,
    1e-40,
    1e-310,
    1e39,
    1e308,
    10**39,
    -INF,
    INF,
    NAN,
    True,
    10**400,
    -(10**400),
]
NUMBERS += [numpy.float32(0.5), numpy.int64(2), numpy.float64(NAN), 1j]
NO_TENSORS: list[Any] = [None, "", "dapo", [1.0, 2.0], (), {}, object(), numpy.ones(N), numpy.ones((B, T))]
DTYPES = [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool]
DTYPES += [torch.complex64, torch.float8_e4m3fn]
SHAPES = [(), (0,), (1,), (3,), (N,), (N + 1,), (B, T), (1, T), (B, 1), (B, T + 1), (B, T, 1), (V, H), (H, V)]


def tensors() -> list[Tensor]:
    """Of every shape and dtype that is wrong somewhere, and of every value."""
    made = [torch.ones(shape) for shape in SHAPES] + [torch.ones(N).to(dtype) for dtype in DTYPES]
    made += [torch.ones(B, T).to(dtype) for dtype in DTYPES]
    made += [torch.full((N,), value) for value in (0.0, -1.0, NAN, INF, -INF, 1e-40, 1e38)]
    made += [torch.full((B, T), value) for value in (0.0, -1.0, NAN, INF, -INF, 1e-40, 1e38)]
    made += [torch.ones(N, device="meta"), torch.ones(N).to_sparse(), torch.ones(B, T).to_sparse()]
    with warnings.catch_warnings():
        # torch warns of quantized and of nested tensors; while a user can pass one, the cases stay.
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor|The PyTorch API of nested", UserWarning)
        made.append(torch.quantize_per_tensor(torch.ones(N), 0.1, 0, torch.qint8))
        made.append(torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]))
    made += [torch.ones(B, T).to_mkldnn(), torch.ones(N, requires_grad=True)]
    bounds = [[0, 6], [0, 3, 6], [6, 0], [0, 40], [-1, 6], [2], [], [0, 0, 0], [[0, 6]], [0, 5, 3, 6]]
    made += [torch.tensor(values, dtype=torch.int64) for values in bounds]
    made += [torch.tensor([0, 6], dtype=torch.int32), torch.tensor([False, True]), torch.tensor([1, 1])]
    return [
        *made,
        torch.tensor([5, 0]),
        torch.tensor([-1]),
        torch.tensor([N]),
        torch.tensor(-100),
        torch.ones((), device="meta"),
    ]


HOSTILE: list[Any] = [*NUMBERS, *NO_TENSORS, *tensors(), *DTYPES, "token", "sequence", lambda *_: None]


def copied(value: Any) -> Any:
    return value.detach().clone().requires_grad_(value.requires_grad) if isinstance(value, Tensor) else value


def hostile(arguments: dict[str, Any], more: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """The arguments of a sound call with one to three of them, or of `more`, replaced."""
    names = st.sampled_from([*arguments, *more])
    changes = st.dictionaries(names, st.sampled_from(range(len(HOSTILE))), min_size=1, max_size=3)
    return changes.map(lambda chosen: arguments | {name: HOSTILE[at] for name, at in chosen.items()})


def outcome(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """The result, or None where the arguments are refused in one line."""
    try:
        return function(**{name: copied(value) for name, value in arguments.items()})
    except (ValueError, TypeError) as error:
        assert "\n" not in str(error), error
        if isinstance(error, ValueError):
            assert ": expected " in str(error), error
        return None


def wide(value: Any) -> Any:
    """In float64, where there is a tensor of floats."""
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def assert_right(actual: Tensor | None, truth: Tensor | None) -> None:
    """Equal up to the rounding of float32, with the same NaN and the same infinities."""
    assert (actual is None) == (truth is None)
    if actual is not None and truth is not None:
        torch.testing.assert_close(actual.double(), truth.double(), rtol=2e-3, atol=2e-3, equal_nan=True)


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(math.prod(shape)))


TARGETS = torch.tensor([[0, 4, 2], [1, 3, -100]])
LOGITS: dict[str, Any] = {"logits": normal(B, T, V), "targets": TARGETS}
SCALING = ["temperature", "softcap", "entropy", "check"]


@fuzzed
@given(hostile(LOGITS, [*SCALING, "inplace_backward"]))
def test_token_logprobs(arguments: dict[str, Any]) -> None:
    result = outcome(token_logprobs, arguments)
    if result is not None:
        truth = token_logprobs_ref(**{n: wide(x) for n, x in arguments.items()})
        for got, true in zip(result, truth, strict=True):
            assert_right(got, true)


HEAD: dict[str, Any] = {"hidden": normal(B, T, H), "weight": normal(V, H), "targets": TARGETS}
OF_HEAD = [*SCALING, "bias", "logit_scale", "mask", "rows"]
HOW = ["logits_dtype", "save_budget", "chunk_tokens", "process_group"]


@fuzzed
@given(hostile(HEAD, [*OF_HEAD, *HOW]))
def test_linear_token_logprobs(arguments: dict[str, Any]) -> None:
    result = outcome(linear_token_logprobs, arguments)
    if result is not None:
        known = {n: wide(x) for n, x in arguments.items() if n not in (*HOW, "check")}
        for got, true in zip(result, linear_token_logprobs_ref(**known), strict=True):
            assert_right(got, true)


PER_TOKEN = {"advantages": normal(B, T), "old_logprobs": -normal(B, T).abs()}
OBJECTIVE = HEAD | {"objective": PolicyObjective(), "per_token": PER_TOKEN, "weights": torch.ones(B, T) / N}
FLAT: dict[str, Any] = {
    "hidden": normal(N, H), "weight": normal(V, H), "targets": TARGETS.flatten(),
    "objective": PolicyObjective(), "per_token": {"advantages": normal(N)},
    "weights": torch.ones(N) / N, "cu_seqlens": torch.tensor([0, 2, 6]),
}  # fmt: skip


@pytest.mark.parametrize("sound", [OBJECTIVE, FLAT], ids=["padded", "packed"])
def test_linear_objective(sound: dict[str, Any]) -> None:
    more = [*OF_HEAD, *HOW, "cu_seqlens", "row_needs_grad", "grad_scale"]

    @fuzzed
    @given(hostile(sound, more))
    def run(arguments: dict[str, Any]) -> None:
        result = outcome(linear_objective, arguments)
        if result is not None:
            unknown = (*HOW, "check", "row_needs_grad", "grad_scale", "entropy")
            known = {n: wide(x) for n, x in arguments.items() if n not in unknown}
            if known["per_token"]:
                known["per_token"] = {n: wide(x) for n, x in known["per_token"].items()}
            # A mask is where the reference looks for what counts; a packed one has its bounds too.
            assert_right(result[0], linear_objective_ref(**known))

    run()


@fuzzed
@given(st.dictionaries(st.sampled_from(["advantages", "old_logprobs", "ref_logprobs", "x", 3]),
                       st.sampled_from(range(len(HOSTILE))), max_size=3))  # fmt: skip
def test_inputs_of_an_objective(chosen: dict[Any, int]) -> None:
    per_token = PER_TOKEN | {name: HOSTILE[at] for name, at in chosen.items()}
    for objective in (PolicyObjective(), lambda logprobs, entropy, **_: (-logprobs, {})):
        outcome(linear_objective, OBJECTIVE | {"objective": objective, "per_token": per_token})


LOSS: dict[str, Any] = {"logprobs": -normal(B, T).abs(), "advantages": normal(B, T)}
OF_LOSS = ["entropy", "old_logprobs", "ref_logprobs", "mask", "cu_seqlens", "num_items", "check"]
OF_LOSS += ["max_completion_length", "loss_type", "beta", "epsilon", "delta", "entropy_coef", "kl"]


@fuzzed
@given(hostile(LOSS, OF_LOSS))
def test_policy_loss(arguments: dict[str, Any]) -> None:
    result = outcome(policy_loss, arguments)
    if result is None:
        return
    # The definition holds for finite inputs and ratios below exp(20) alone.
    inputs = [x for x in arguments.values() if isinstance(x, Tensor)]
    finite = [x.isfinite().all() and (x.double().abs() < 9).all() for x in inputs]
    if all(finite):
        known = {n: wide(x) for n, x in arguments.items() if n != "check"}
        assert_right(result[0], policy_loss_ref(**known))


@fuzzed
@given(hostile(LOSS, ["entropy", "old_logprobs", "ref_logprobs", "mask", "cu_seqlens", "check", "x"]))
def test_an_objective_that_is_called(arguments: dict[str, Any]) -> None:
    outcome(PolicyObjective(), arguments)
    outcome(PolicyObjective("grpo", importance_sampling_level="sequence", beta=0.1), arguments)


@fuzzed
@given(hostile({"mask": torch.ones(B, T)}, ["cu_seqlens", "num_items", "num_tokens", "dtype", "check"]))
def test_token_weights(arguments: dict[str, Any]) -> None:
    result = outcome(token_weights, {"loss_type": "dapo"} | arguments)
    outcome(token_weights, {"loss_type": "dr_grpo"} | arguments)
    if result is not None and not result.is_meta and arguments.get("cu_seqlens") is None:
        counts = arguments["mask"] != 0
        items = arguments.get("num_items")
        items = max(float(counts.sum() if items is None else items), 1.0)
        assert_right(result, counts.double() / items)


@fuzzed
@given(hostile({"logprobs": normal(N), "ref_logprobs": normal(N)}, ["kind"]))
def test_kl_estimate(arguments: dict[str, Any]) -> None:
    result = outcome(kl_estimate, arguments)
    if result is not None and not result.is_meta and "kind" not in arguments:
        d = arguments["ref_logprobs"].double() - arguments["logprobs"].double()
        if d.isfinite().all() and (d < 20).all():
            assert_right(result, d.exp() - d - 1)


@pytest.mark.parametrize("name", list(PolicyOptions.__dataclass_fields__))
def test_options(name: str) -> None:
    for value in HOSTILE:
        outcome(PolicyOptions, {name: value})
        outcome(PolicyObjective, {name: value})
        outcome(counts_tokens, {"loss_type": value})
