"""The one launch from logits to the loss and dlogits, against the definitions and autograd in float64.

The truth shares no formula with the kernels: token_logprobs_ref, then policy_loss_ref. All of it runs under
Triton's interpreter (test_interpreted.py), or on a GPU.
"""

import math
from itertools import product
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from dupo_kernels import PolicyObjective, policy_loss, policy_loss_ref, token_logprobs_ref, token_weights
from dupo_kernels._triton import INTERPRET
from dupo_kernels.logits import fused_loss as module
from dupo_kernels.logits.fused_loss import fused_loss
from dupo_kernels.logits.launch import logprobs_forward
from dupo_kernels.logits.launch_table import Config
from dupo_kernels.logits.rows import Rows, narrowed, new_statistics
from dupo_kernels.tokens.token_objective import TokenInputs, token_objective
from dupo_kernels.tokens.token_report import ACTIVE, LOSS, named_scalars, new_report, reduce_report
from tests.helpers.logits_cases import draw
from tests.helpers.numerics import DEVICE, assert_as_accurate

pytestmark = pytest.mark.skipif(not INTERPRET and DEVICE != "cuda", reason="kernels alone")
slow = pytest.mark.slow
INF, NAN = math.inf, math.nan
B, T = 2, 4  # sequences and their length
FP32, BF16, FP16 = torch.float32, torch.bfloat16, torch.float16
# Of the logits and of dlogits; narrower ones lie over fp32 logits.
TYPES = [(FP32, FP32), (BF16, BF16), (FP16, FP16), (FP32, BF16), (FP32, FP16)]
# Tiles of 256 to 1,024 logits, so that short rows have several.
LOOPED, PERSISTENT = Config(warps=1, steps=2), Config("persistent", warps=1, steps=2)
HELD = Config("held", warps=1)
OBJECTIVES: dict[str, dict[str, Any]] = {
    "grpo": {},
    "bnpo": {"epsilon_high": 0.28},
    "dapo": {"epsilon_high": 0.28, "delta": 1.4},
    "dr_grpo": {},
    "luspo": {"clip_ratio_c": 1.3},
    "cispo": {"epsilon_high": 1.2},
    "sapo": {},
}
KL = {"beta": 0.3}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    **{f"{kind}": KL | {"kl": kind} for kind in ("k1", "k2", "k3", "abs", "k3+")},
    **{
        f"{kind} uncorrected": KL | {"kl": kind, "use_bias_correction_kl": False}
        for kind in ("k1", "k2", "k3", "abs", "k3+")
    },
    "bonus": {"entropy_coef": 0.2},
    "token_mask": {"vllm_importance_sampling_mode": "token_mask", "vllm_importance_sampling_clip_max": 1.1},
    "token_truncate": {
        "vllm_importance_sampling_mode": "token_truncate", "vllm_importance_sampling_clip_max": 1.1,
        "vllm_importance_sampling_clip_min": 0.9,
    },
    "known": {"vllm_importance_sampling_mode": "sequence_truncate", "vllm_importance_sampling_clip_max": 1.1},
    "uncorrected mismatch": {"vllm_importance_sampling_correction": False},
    "on-policy": KL,
    "everything": KL | {"entropy_coef": -0.2, "vllm_importance_sampling_mode": "token_truncate"},
}  # fmt: skip


class Case(NamedTuple):
    """Rows with everything that a loss reads of their tokens, flat, and the objective."""

    rows: Rows
    temperature: Tensor
    objective: PolicyObjective
    active: Tensor
    weights: Tensor
    per_token: dict[str, Tensor]
    scaling: dict[str, float]


def make_case(
    V: int, dtype: torch.dtype, softcap: float | None = None, stride: int | None = None,
    option: str = "plain", loss_type: str = "dapo",
) -> Case:  # fmt: skip
    """Two sequences of four tokens; one of each has no part in the loss, one has no advantage."""
    objective = PolicyObjective(loss_type, **OBJECTIVES[loss_type], **OPTIONS[option])
    stride = stride or -(-V // 16) * 16
    memory, targets = draw(B * T, stride, scale=4.0, dtype=dtype)
    targets %= V
    logits = memory[:, :V]
    if V > 4:  # a few that are impossible
        logits[:, 3] = -INF
        targets[targets == 3] = 2
    generator = torch.Generator().manual_seed(V)
    temperature = (torch.rand(B * T, generator=generator) + 0.5).to(DEVICE)
    logp, _ = token_logprobs_ref(logits.double(), targets, temperature=temperature.double(), softcap=softcap)

    def near(spread: float) -> Tensor:
        return (logp.cpu() + spread * torch.randn(B * T, generator=generator)).float().to(DEVICE)

    per_token = {"advantages": torch.randn(B * T, generator=generator).to(DEVICE)}
    per_token["advantages"][5] = 0.0
    if option != "on-policy":
        per_token["old_logprobs"] = near(0.3)
    if "beta" in OPTIONS[option] or option == "plain":
        per_token["ref_logprobs"] = near(0.3)
    if any(name.startswith("vllm") for name in OPTIONS[option]):
        per_token["sampling_logprobs"] = near(0.3)
        per_token["sampling_logprobs"][2] = NAN
    active = torch.ones(B, T, dtype=torch.bool, device=DEVICE)
    active[0, 1] = active[1, 3] = False
    scaling = {"max_completion_length": 9} if loss_type == "dr_grpo" else {}
    weights = token_weights(loss_type, active, **scaling).flatten()  # type: ignore[arg-type]
    rows = Rows(logits, targets, temperature.reciprocal(), softcap or 0.0)
    return Case(rows, temperature, objective, active.flatten(), weights, per_token, scaling)


def by_definition(case: Case, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(loss, dlogits), by autograd in `dtype`."""
    logits = case.rows.logits.to(dtype).requires_grad_()
    logp, entropy = token_logprobs_ref(
        logits, case.rows.targets, entropy=True, softcap=case.rows.softcap or None,
        temperature=case.temperature.to(dtype),
    )  # fmt: skip
    assert entropy is not None
    per_token = {name: values.to(dtype).view(B, T) for name, values in case.per_token.items()}
    options = {name: getattr(case.objective, name) for name in case.objective.__dataclass_fields__}
    loss = policy_loss_ref(
        logp.view(B, T), entropy=entropy.view(B, T), mask=case.active.view(B, T),
        **per_token, **case.scaling, **options,
    )  # fmt: skip
    return loss.detach(), torch.autograd.grad(loss, logits)[0]


def sequence_weights(case: Case) -> Tensor:
    """The weights of the mismatch of whole sequences, truncated."""
    gap = (case.per_token["old_logprobs"] - case.per_token["sampling_logprobs"]).double().nan_to_num(nan=0.0)
    per_sequence = (gap * case.active).view(B, T).sum(1).exp().clamp(max=1.1)
    return per_sequence[:, None].expand(B, T).flatten().float()


def inputs_of(case: Case) -> TokenInputs:
    """What the kernel reads; tokens that do not count hold NaN."""
    per_token = {n: x.where(case.active | (n == "advantages"), NAN) for n, x in case.per_token.items()}
    if "sequence" in case.objective.vllm_importance_sampling_mode and "sampling_logprobs" in per_token:
        per_token["importance_sampling_ratio"] = sequence_weights(case)
    return TokenInputs(weights=case.weights, active=case.active, **per_token)


def fused(
    case: Case, out: torch.dtype, config: Config, grad_scale: float = 1.0, separate: bool = False
) -> tuple[Tensor, Tensor]:
    """(report, dlogits) of the kernel, which writes over a copy of the logits or into memory of its own."""
    memory = case.rows.logits
    stride = memory.stride(0)
    copy = memory.as_strided((B * T, stride), (stride, 1)).clone()[:, : memory.shape[1]]
    dlogits = torch.full_like(copy, NAN) if separate else narrowed(copy, out)
    objective = token_objective(case.objective, inputs_of(case), has_entropy=True, grad_scale=grad_scale)
    report = new_report(B * T, memory.device)
    fused_loss(case.rows._replace(logits=copy), objective, report, dlogits, config=config)
    assert dlogits.dtype == out
    return report, dlogits


def check(case: Case, out: torch.dtype, config: Config, **options: Any) -> None:
    """The loss, its statistics and dlogits against the truth."""
    report, dlogits = fused(case, out, config, **options)
    loss, truth = by_definition(case, torch.float64)
    own_loss, baseline = by_definition(case, torch.float32)
    truth, baseline = (g * options.get("grad_scale", 1.0) for g in (truth, baseline))
    finite = case.rows.logits[case.rows.logits.isfinite()].float()
    largest = max(1.0, finite.abs().max().item()) * 2  # the lowest temperature is 0.5
    # As a loss sums tokens of either sign, its error is that of its largest tokens.
    per_token = report[LOSS.value].double()
    size = per_token.abs().sum().item() * torch.finfo(torch.float32).eps * largest
    assert abs(per_token.sum() - loss) <= 2 * abs(own_loss - loss) + 4 * size
    assert_as_accurate(dlogits, baseline.to(out), truth, largest)
    assert not dlogits[~case.active].any()
    assert_statistics(case, report)


def assert_statistics(case: Case, report: Tensor) -> None:
    logp, entropy = token_logprobs_ref(
        case.rows.logits.double(), case.rows.targets, entropy=True, softcap=case.rows.softcap or None,
        temperature=case.temperature.double(),
    )  # fmt: skip
    assert entropy is not None
    options = {name: getattr(case.objective, name) for name in case.objective.__dataclass_fields__}
    per_token = {name: values.double().view(B, T) for name, values in case.per_token.items()}
    _, stats = policy_loss(
        logp.view(B, T), entropy=entropy.view(B, T), mask=case.active.view(B, T),
        **per_token, **case.scaling, **options,
    )  # fmt: skip
    found = named_scalars(reduce_report(report), stats)
    assert found.keys() == stats.keys()
    for name, value in stats.items():
        torch.testing.assert_close(found[name].double(), value, rtol=2e-4, atol=2e-5, msg=name)


# --- objectives ------------------------------------------------------------------------------------

CASES = list(product(OBJECTIVES, OPTIONS))
QUICK = {
    ("grpo", "everything"), ("bnpo", "plain"), ("dapo", "k3"), ("dapo", "token_mask"), ("dr_grpo", "known"),
    ("luspo", "k3+ uncorrected"), ("cispo", "bonus"), ("cispo", "on-policy"), ("sapo", "token_truncate"),
    ("sapo", "k1"), ("dapo", "abs uncorrected"), ("grpo", "uncorrected mismatch"), ("luspo", "k2"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("loss_type", "option"),
    [pytest.param(*pair, marks=[] if pair in QUICK else slow) for pair in CASES],
)
def test_objectives(loss_type: str, option: str) -> None:
    # Types and variants take turns; layouts have a test of their own.
    turn = CASES.index((loss_type, option))
    dtype, out = TYPES[turn % len(TYPES)]
    config = (LOOPED, HELD, PERSISTENT)[turn % 3]
    check(make_case(528, dtype, option=option, loss_type=loss_type), out, config)


# --- rows ------------------------------------------------------------------------------------------

LAYOUTS = [
    (1, 16), (7, 16), (7, 7), (512, 512), (513, 520), (513, 513), (1299, 1299), (1300, 1301), (1024, 1024),
    (1025, 1025), (1025, 1040), (1300, 1304),
]  # fmt: skip


VARIANTS = {config.variant: config for config in (LOOPED, PERSISTENT, HELD)}
EVERY_ROW = [
    (variant, layout, types, softcap)
    for variant, layout, types, softcap in product(VARIANTS, LAYOUTS, TYPES, (None, 10.0))
    if types[0] == types[1] or layout[1] % 2 == 0  # whole rows in the narrower type
]
QUICK_ROWS = [
    ("looped", (1, 16), (FP32, BF16), None), ("looped", (7, 7), (BF16, BF16), 10.0),
    ("looped", (513, 513), (BF16, BF16), None), ("looped", (1300, 1304), (FP32, BF16), 10.0),
    ("looped", (1299, 1299), (FP32, FP32), None), ("held", (1024, 1024), (FP32, FP16), 10.0),
    ("held", (512, 512), (BF16, BF16), None), ("persistent", (1025, 1025), (FP16, FP16), None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("variant", "layout", "types", "softcap"),
    [
        pytest.param(
            *row, marks=[] if row in QUICK_ROWS else [slow] if place % 8 == 0 else [slow, pytest.mark.full]
        )
        for place, row in enumerate(EVERY_ROW)
    ],
    ids=str,
)
def test_rows_of_any_length_and_place(
    variant: str, layout: tuple[int, int], types: tuple[torch.dtype, torch.dtype], softcap: float | None
) -> None:
    V, stride = layout
    dtype, out = types
    check(make_case(V, dtype, softcap, stride, "everything"), out, VARIANTS[variant])


@pytest.mark.parametrize("layout", [(1024, 1024), (513, 513), (1300, 1304)], ids=str)
@pytest.mark.parametrize("dtype", [FP32, BF16], ids=str)
def test_dlogits_in_memory_of_their_own(layout: tuple[int, int], dtype: torch.dtype) -> None:
    check(make_case(layout[0], dtype, None, layout[1]), dtype, LOOPED, separate=True)


@pytest.mark.parametrize("types", [(BF16, BF16), (FP32, BF16)], ids=str)
def test_the_default_configuration(types: tuple[torch.dtype, torch.dtype]) -> None:
    check(make_case(9_001, types[0], 10.0, 9_008, "everything"), types[1], Config())


def test_the_gradient_is_scaled() -> None:
    check(make_case(300, FP32, None, None, "bonus"), FP32, LOOPED, grad_scale=512.0)


# --- what is written, and where --------------------------------------------------------------------


@pytest.mark.parametrize("config", [LOOPED, HELD], ids=lambda config: config.variant)
def test_statistics_of_rows_are_those_of_the_forward_pass(config: Config) -> None:
    case = make_case(528, FP32)
    case.rows.logits[3] = -INF
    case.rows.targets[4] = -100
    objective = token_objective(case.objective, inputs_of(case), has_entropy=True)
    statistics = new_statistics(case.rows.logits, B * T, True)
    before = case.rows.logits.clone()
    fused_loss(case.rows, objective, new_report(B * T, before.device), None, statistics, config)
    assert torch.equal(case.rows.logits, before)
    for found, expected in zip(statistics, logprobs_forward(case.rows, True), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6, equal_nan=True)


def test_rows_may_be_some_of_the_tokens_and_the_report_a_slice() -> None:
    case = make_case(96, FP32)
    chosen = torch.tensor([6, 0, 4], device=DEVICE)
    inputs = inputs_of(case)
    # Targets and temperatures are those of all tokens, too.
    shuffled = case.rows._replace(logits=case.rows.logits[chosen].clone())
    objective = token_objective(case.objective, inputs._replace(index=chosen), has_entropy=False)
    report = torch.full_like(new_report(5, chosen.device), NAN)
    dlogits = torch.empty_like(shuffled.logits)
    fused_loss(shuffled, objective, report[:, 1:4], dlogits, config=LOOPED)
    whole, expected = fused(case, FP32, LOOPED)
    assert torch.equal(dlogits, expected[chosen])
    for column in (LOSS.value, ACTIVE.value):
        assert torch.equal(report[column, 1:4], whole[column, chosen])
    assert report[:, 0].isnan().all()
    assert report[:, 4].isnan().all()


@pytest.mark.parametrize("config", [LOOPED, HELD], ids=lambda config: config.variant)
def test_broken_rows_are_seen_and_rows_without_a_part_are_not_read(config: Config) -> None:
    case = make_case(528, FP32)
    logits, targets = case.rows.logits, case.rows.targets
    case.weights[:], case.active[:], case.per_token["advantages"][:] = 1.0, True, 1.0
    del case.per_token["old_logprobs"], case.per_token["ref_logprobs"]
    logits[0, 9] = NAN
    logits[1, 9] = INF
    logits[2], logits[2, 9] = -INF, NAN
    targets[3] = -100
    logits[4] = -INF
    logits[5, targets[5]] = -INF
    logits[6] = NAN
    case.active[6] = False
    report, dlogits = fused(case, FP32, config)
    assert report[LOSS.value].isnan().tolist() == [True, True, True, True, False, False, False, False]
    assert dlogits.isnan().all(1).tolist() == [True] * 4 + [False] * 4
    assert dlogits.isnan().any(1).tolist() == [True] * 4 + [False] * 4
    assert dlogits.any(1).tolist() == [True] * 4 + [False, True, False, True]


def test_a_variant_that_cannot_serve_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[str] = []
    for name in ("_looped", "_held"):
        kernel = getattr(module, name)
        monkeypatch.setattr(module, name, Launches(kernel, launched))
    for V, expected in ((528, "_held"), (529, "_looped")):
        fused(make_case(V, FP32, None, V), FP32, HELD)
        assert launched.pop() == expected


class Launches:
    """A kernel that notes its name where it is launched."""

    def __init__(self, kernel: Any, names: list[str]) -> None:
        self.kernel, self.names = kernel, names

    def __getitem__(self, grid: Any) -> Any:
        self.names.append(self.kernel.fn.__name__)
        return self.kernel[grid]


def test_no_rows_are_no_launch() -> None:
    case = make_case(16, FP32)
    none = slice(0, 0)
    objective = token_objective(case.objective, inputs_of(case), has_entropy=False).take(none)
    fused_loss(case.rows.take(none), objective, new_report(0, case.active.device), case.rows.logits[none])
