"""What a caller can get wrong: the line that says so, and that a device is waited for with check=True alone.

Tensors on the CPU are checked always. Tensors on a device are stood for by those of `as_on_a_device`.
"""

from collections.abc import Iterator
from typing import Any

import numpy
import pytest
import torch

from dupo_kernels import (
    PolicyObjective,
    kl_estimate,
    linear_objective,
    linear_token_logprobs,
    policy_loss,
    token_logprobs,
    token_weights,
)
from dupo_kernels import _checks as checks
from dupo_kernels._messages import shown
from tests.helpers.numerics import DEVICE, INTERPRET, NoSync

pytestmark = pytest.mark.skipif(DEVICE == "cuda", reason="an assertion on a device ends the process")

INF, NAN = float("inf"), float("nan")
N, V, H = 6, 5, 4
TARGETS = torch.arange(N) % V
LOGITS = {"logits": torch.randn(N, V), "targets": TARGETS}
HEAD = {"hidden": torch.randn(N, H), "weight": torch.randn(V, H), "targets": TARGETS}
OBJECTIVE = HEAD | {
    "objective": PolicyObjective(),
    "per_token": {"advantages": torch.ones(N)},
    "weights": torch.ones(N),
}
LOSS = {"logprobs": -torch.ones(N), "advantages": torch.ones(N)}
CALLS: dict[str, tuple[Any, dict[str, Any]]] = {
    "token_logprobs": (token_logprobs, LOGITS),
    "linear_token_logprobs": (linear_token_logprobs, HEAD),
    "linear_objective": (linear_objective, OBJECTIVE),
    "policy_loss": (policy_loss, LOSS),
    "objective": (PolicyObjective(), LOSS),
    "token_weights": (token_weights, {"loss_type": "dapo"}),
}
of_logits = pytest.mark.parametrize("name", ["token_logprobs", "linear_token_logprobs", "linear_objective"])
of_heads = pytest.mark.parametrize("name", ["linear_token_logprobs", "linear_objective"])


def refusal(name: str, **change: Any) -> str:
    function, sound = CALLS[name]
    with pytest.raises(ValueError) as caught:
        function(**(sound | change))
    return str(caught.value)


def called(name: str, **change: Any) -> Any:
    function, sound = CALLS[name]
    return function(**(sound | change))


@pytest.fixture
def as_on_a_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(checks, "on_host", lambda tensor: False)
    yield


@of_logits
@pytest.mark.parametrize(
    "value", [0, 0.0, -1.0, NAN, INF, 1e-40, 1e39, 10**400, True, "1", None, [1.0]], ids=shown
)
def test_a_temperature_is_a_positive_number(value: Any, name: str) -> None:
    expected = "temperature: expected a positive number that float32 holds together with its inverse, got "
    assert refusal(name, temperature=value) == expected + shown(value)


@of_logits
@pytest.mark.parametrize("option", ["softcap", "logit_scale"])
@pytest.mark.parametrize("value", [0.0, -1.0, NAN, INF, 1e-40])
def test_a_softcap_and_a_scale_are_positive_numbers(value: float, option: str, name: str) -> None:
    if (name, option) != ("token_logprobs", "logit_scale"):
        assert refusal(name, **{option: value}).startswith(
            f"{option}: expected a positive number that float32"
        )


@of_heads
def test_a_scale_and_a_temperature_must_go_together(name: str) -> None:
    message = refusal(name, temperature=1e-30, logit_scale=1e30)
    assert message.startswith("temperature / logit_scale: expected a positive number")
    assert refusal(name, softcap=1e30, logit_scale=1e-30).startswith("softcap / logit_scale: expected")


def test_float64_holds_more() -> None:
    if not INTERPRET:
        logp, _ = token_logprobs(LOGITS["logits"].double(), TARGETS, temperature=1e300)
        assert logp.isfinite().all()


def test_numbers_may_be_those_of_numpy() -> None:
    logp, _ = called("token_logprobs", temperature=numpy.float32(0.5), softcap=numpy.float64(3))
    expected, _ = called("token_logprobs", temperature=0.5, softcap=3.0)
    assert torch.equal(logp, expected)


# --- what tensors hold -----------------------------------------------------------------------------

T = torch.tensor
BOUNDS = "cu_seqlens: expected bounds that rise, from 0 or more to at most the number of tokens 6, got"
HELD = {
    "temperature": ("temperature: expected positive values, finite as their inverse is, got -2.0", [
        ("token_logprobs", {"temperature": T([1.0, 1, 1, -2, 1, 1])}),
        ("linear_token_logprobs", {"temperature": T(-2.0)}),
        ("linear_objective", {"temperature": T([-2.0])}),
    ]),
    "a temperature of 0": ("temperature: expected positive values, finite as their inverse is, got 0.0", [
        ("token_logprobs", {"temperature": torch.zeros(N, dtype=torch.float16)}),
    ]),
    "a temperature of nan": ("temperature: expected positive values, finite as their inverse is, got nan", [
        ("linear_objective", {"temperature": T(NAN)}),
    ]),
    "a temperature of inf": ("temperature: expected positive values, finite as their inverse is, got inf", [
        ("linear_objective", {"temperature": T(INF)}),
    ]),
    "repeated rows": ("rows: expected indices without repeats, got 3", [
        ("linear_token_logprobs", {"rows": T([1, 3, 3])}),
        ("linear_objective", {"rows": T([3, 1, 3], dtype=torch.int32)}),
    ]),
    "rows out of range": ("rows: expected indices from 0 to below 6, got 6", [
        ("linear_token_logprobs", {"rows": T([1, 6])}),
        ("linear_objective", {"rows": T([1, 6])}),
    ]),
    "negative rows": ("rows: expected indices from 0 to below 6, got -1", [
        ("linear_token_logprobs", {"rows": T([-1])}),
    ]),
    "a mask of NaN": ("mask: expected zero or nonzero, got nan", [
        ("linear_token_logprobs", {"mask": T([1.0, 0, NAN, 1, 1, 1])}),
        ("linear_objective", {"mask": T([1.0, 0, NAN, 1, 1, 1])}),
        ("policy_loss", {"mask": T([1.0, 0, NAN, 1, 1, 1])}),
        ("objective", {"mask": T([1.0, 0, NAN, 1, 1, 1])}),
        ("token_weights", {"mask": T([1.0, 0, NAN, 1, 1, 1])}),
    ]),
    "row_needs_grad of NaN": ("row_needs_grad: expected zero or nonzero, got nan", [
        ("linear_objective", {"row_needs_grad": T([1.0, 0, NAN, 1, 1, 1])}),
    ]),
    "num_items": ("num_items: expected a number from 0 to 2**62, got", [
        ("policy_loss", {"num_items": T(-1.0)}),
        ("policy_loss", {"num_items": T(NAN)}),
        ("token_weights", {"mask": torch.ones(N), "num_items": T([INF], dtype=torch.float16)}),
    ]),
    "bounds": (BOUNDS, [
        (name, {"cu_seqlens": T(bounds)}) for bounds in ([0, 5, 40], [0, 5, 3], [-1, 6])
        for name in ("linear_objective", "policy_loss", "objective")
    ]),
}  # fmt: skip
CASES = [pytest.param(message, *call, id=name) for name, (message, calls) in HELD.items() for call in calls]


@pytest.mark.parametrize(("message", "name", "change"), CASES)
def test_tensors_on_the_host_are_read(message: str, name: str, change: dict[str, Any]) -> None:
    assert refusal(name, **change).startswith(message)


@pytest.mark.parametrize(("message", "name", "change"), CASES)
def test_tensors_on_a_device_are_read_if_asked(
    message: str, name: str, change: dict[str, Any], as_on_a_device: None
) -> None:
    assert refusal(name, **change, check=True).startswith(message)


@pytest.mark.parametrize(
    ("name", "change", "waits"),
    [
        ("token_logprobs", {"temperature": T(-2.0)}, 0),
        ("linear_objective", {"temperature": T(-2.0), "rows": T([3, 3])}, 0),
        # The rows of a mask are found once, which waits.
        ("linear_token_logprobs", {"mask": T([1.0, 0, NAN, 1, 1, 1])}, 1),
        ("policy_loss", {"num_items": T(NAN), "mask": T([1.0, 0, NAN, 1, 1, 1])}, 0),
    ],
)
def test_tensors_on_a_device_are_not_read_unasked(name: str, change: dict[str, Any], waits: int) -> None:
    with NoSync(allowed=waits):
        assert called(name, **change) is not None


def test_bounds_on_a_device_are_asserted_there(as_on_a_device: None) -> None:
    with pytest.raises(RuntimeError, match="cu_seqlens: expected bounds that rise"):
        called("policy_loss", cu_seqlens=T([0, 40]))


def test_more_rows_than_tokens_need_no_look(as_on_a_device: None) -> None:
    rows = torch.zeros(N + 1, dtype=torch.int64)
    assert refusal("linear_objective", rows=rows).startswith(
        "rows: expected at most 6 rows, as there are 6 tokens"
    )


# --- types, shapes and devices ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "token_logprobs",
            {"logits": torch.zeros(N, V).tolist()},
            "logits: expected a dense tensor .*, got list",
        ),
        (
            "token_logprobs",
            {"logits": numpy.zeros((N, V))},
            r"logits: expected .*, got ndarray of float64 and shape",
        ),
        (
            "token_logprobs",
            {"logits": torch.zeros(N, V).to(torch.float8_e5m2)},
            "logits: .*, got torch.float8_e5m2",
        ),
        ("token_logprobs", {"logits": torch.zeros(N, V).to_sparse()}, "logits: .*, got torch.sparse_coo"),
        (
            "token_logprobs",
            {"logits": torch.zeros(N, V, device="meta")},
            "targets: .* on meta as logits, got cpu",
        ),
        ("token_logprobs", {"temperature": T(1.0, device="meta")}, "temperature: expected a tensor on cpu"),
        ("token_logprobs", {"entropy": torch.ones(2)}, "entropy: expected True or False, got Tensor of"),
        (
            "linear_objective",
            {"weight": torch.zeros(V, H, device="meta")},
            "weight: .* on cpu as hidden, got meta",
        ),
        ("linear_objective", {"mask": torch.ones(N, device="meta")}, "mask: .* on cpu as targets, got meta"),
        ("linear_objective", {"mask": torch.ones(N, dtype=torch.complex64)}, "mask: .*, got torch.complex64"),
        (
            "linear_objective",
            {"rows": torch.ones(2, dtype=torch.bool)},
            "rows: .* int64 or int32, got torch.bool",
        ),
        ("linear_objective", {"cu_seqlens": T([False, True])}, "cu_seqlens: .* integers, got torch.bool"),
        (
            "linear_objective",
            {"cu_seqlens": T([], dtype=torch.int64)},
            r"cu_seqlens: .* \(S \+ 1,\), got \(0,\)",
        ),
        ("linear_objective", {"per_token": None}, "per_token: expected tensors by name, got None"),
        ("linear_objective", {"per_token": {"advantages": [1.0] * N}}, "advantages: .*, got list"),
        ("linear_objective", {"process_group": "world"}, "process_group: expected .*, got 'world'"),
        ("linear_objective", {"save_budget": 1e9}, "save_budget: expected an integer .*, got 1000000000.0"),
        ("linear_objective", {"chunk_tokens": 2.5}, "chunk_tokens: expected an integer .*, got 2.5"),
        ("linear_objective", {"grad_scale": 0.0}, "grad_scale: expected a positive number .*, got 0.0"),
        ("policy_loss", {"logprobs": [-1.0] * N}, "logprobs: expected a dense tensor .*, got list"),
        ("policy_loss", {"logprobs": torch.ones(N, dtype=torch.int64)}, "logprobs: .*, got torch.int64"),
        (
            "policy_loss",
            {"advantages": torch.ones(N, device="meta")},
            "advantages: .* cpu as logprobs, got meta",
        ),
        (
            "policy_loss",
            {"num_items": INF},
            r"num_items: expected a positive number of at most 2\*\*62, got inf",
        ),
        ("policy_loss", {"num_items": NAN}, "num_items: expected a positive number .*, got nan"),
        (
            "policy_loss",
            {"max_completion_length": NAN},
            "max_completion_length: expected a positive .*, got nan",
        ),
        ("policy_loss", {"loss_type": ["dapo"]}, "loss_type: expected one of .*, got list"),
        ("policy_loss", {"loss_type": None}, "loss_type: expected one of .*, got None"),
        ("policy_loss", {"beta": None}, "beta: expected a number, got None"),
        ("policy_loss", {"beta": INF}, "beta: expected at most 1.70141e"),
        ("policy_loss", {"vllm_importance_sampling_clip_max": 0}, "clip_max: expected more than 0, got 0"),
        (
            "policy_loss",
            {"loss_type": "cispo", "epsilon_high": 0.0},
            "epsilon_high: expected a value above 0",
        ),
        (
            "token_weights",
            {"cu_seqlens": [0, 6]},
            "cu_seqlens: expected a dense tensor of integers, got list",
        ),
        (
            "token_weights",
            {"cu_seqlens": T([0, 6]), "num_tokens": -1},
            "num_tokens: expected an integer .*, got -1",
        ),
        ("token_weights", {"cu_seqlens": T([0, 6]), "mask": torch.ones(6), "num_tokens": 7}, "mask: .* got"),
    ],
)
def test_the_line(name: str, change: dict[str, Any], message: str) -> None:
    change = {n: x.reshape(6) if n == "mask" and name == "token_weights" else x for n, x in change.items()}
    assert "\n" not in refusal(name, **change)
    with pytest.raises(ValueError, match=message):
        called(name, **change)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, "float32"])
def test_weights_are_not_in_half_precision(dtype: Any) -> None:
    """90,000 tokens overflow float16: their weights would be 0, and so would the loss."""
    message = refusal("token_weights", mask=torch.ones(300, 300), dtype=dtype)
    assert message == f"dtype: expected torch.float32 or torch.float64, got {shown(dtype)}"
    weights = token_weights("dapo", torch.ones(300, 300, dtype=torch.float16))
    assert weights.sum().item() == pytest.approx(1, rel=1e-6)
    half = torch.ones(300, 300, dtype=torch.float16)
    loss, _ = policy_loss(-half, half, loss_type="dapo")
    assert loss.item() == pytest.approx(-1, rel=1e-6)


def test_one_number_of_items_has_any_shape() -> None:
    weights = token_weights("dapo", torch.ones(N), num_items=T([[[3.0]]]))
    assert torch.equal(weights, torch.full((N,), 1 / 3))


def test_shapes_of_a_kl_broadcast() -> None:
    assert kl_estimate(torch.zeros(2, 1), torch.zeros(3)).shape == (2, 3)
    with pytest.raises(ValueError, match=r"ref_logprobs: expected a shape that broadcasts .*, got \(4,\)"):
        kl_estimate(torch.zeros(2, 3), torch.zeros(4))


def test_a_scope_has_a_name() -> None:
    def objective(logprobs: Any, entropy: Any, *, advantages: Any) -> Any:
        return -logprobs * advantages, {}

    objective.scope = "sentence"  # type: ignore[attr-defined]
    message = refusal("linear_objective", objective=objective)
    assert message == "scope of the objective: expected one of token, sequence, batch, group, got 'sentence'"
