"""What policy_loss reports, against formulas written by hand; and the inputs that it refuses."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from dupo_kernels import kl_estimate, policy_loss
from tests.helpers.policy_cases import (
    CAP,
    CASES,
    CLIPPED,
    HIGH,
    LENGTHS,
    LOW,
    MASK,
    OPTIONS,
    B,
    T,
    batch,
    mismatch_weight,
    options_of,
    per_sequence,
)

# --- statistics ------------------------------------------------------------------------------------


def by_token(t: dict[str, Tensor], loss_type: str, o: dict[str, Any]) -> dict[str, Tensor]:
    """What each token has to report; (B, T), or (B, 1) if its sequence has it."""
    log_ratio, A = t["logprobs"] - t["old_logprobs"], t["advantages"]
    level = per_sequence(log_ratio) if o.get("importance_sampling_level") == "sequence" else log_ratio
    r = level.exp()
    found = {"ratio/mean": r, "ratio/max": r, "approx_kl": (-log_ratio).exp() + log_ratio - 1}
    found["kl"] = kl_estimate(t["logprobs"], t["ref_logprobs"], o.get("kl", "k3"))
    found["entropy"] = t["entropy"]
    if loss_type in CLIPPED:
        found["clip_ratio/low"], found["clip_ratio/high"] = (r < 1 - LOW) & (A < 0), (r > 1 + HIGH) & (A > 0)
        found["clip_ratio/region"] = found["clip_ratio/low"] | found["clip_ratio/high"]
        if "delta" in o or "clip_ratio_c" in o:
            found["clip_ratio/bound"] = (r > o.get("delta", o.get("clip_ratio_c"))) & (A < 0)
    if loss_type == "cispo":
        found["cispo_clip_ratio"] = (r > CAP) & (A > 0)
    sampling = t.get("sampling_logprobs")
    weight = torch.ones(B, T, dtype=torch.float64)
    if sampling is not None:
        name, apart = (
            "sampling/sampling_logp_difference",
            (t["old_logprobs"] - sampling).abs().nan_to_num(0.0),
        )
        found |= {f"{name}/mean": apart, f"{name}/max": apart}
        if o.get("vllm_importance_sampling_correction", True):
            weight = mismatch_weight(t["old_logprobs"], sampling, o)
            found |= {f"sampling/importance_sampling_ratio/{x}": weight for x in ("min", "mean", "max")}
    if loss_type == "vespo":
        k = torch.where(A >= 0, A.new_tensor(o.get("vespo_k_pos", 2.0)), o.get("vespo_k_neg", 3.0))
        scale = A.new_tensor(o.get("vespo_lambda_pos", 3.0))
        scale = torch.where(A >= 0, scale, o.get("vespo_lambda_neg", 2.0))
        log_w = (per_sequence(log_ratio + weight.clamp(min=1e-8).log()) * LENGTHS[:, None]).clamp(
            math.log(1e-8), 20
        )
        found["vespo/phi_seq_mean"] = (scale + k * log_w - scale * log_w.exp()).exp()
    if "off_policy_mask_threshold" in o:
        drift = ((t["old_logprobs"] if sampling is None else sampling) - t["logprobs"]).nan_to_num(nan=0.0)
        found["frac_off_policy_masked"] = (A < 0) & (per_sequence(drift) > o["off_policy_mask_threshold"])
    if "top_entropy_quantile" in o:
        least = torch.quantile(t["entropy"][MASK], 1 - o["top_entropy_quantile"])
        found["frac_high_entropy"] = least <= t["entropy"]
    return found


@pytest.mark.parametrize(("loss_type", "name"), CASES)
def test_statistics(loss_type: str, name: str) -> None:
    t, options = batch(name), options_of(loss_type, name)
    _, stats = policy_loss(**t, mask=MASK, **options)
    reduce = {"max": torch.amax, "min": torch.amin}
    expected = {
        key: reduce.get(key.rpartition("/")[2], torch.mean)(values.double().expand(B, T)[MASK])
        for key, values in by_token(t, loss_type, OPTIONS[name]).items()
    }
    expected["tokens"] = MASK.sum().double()
    torch.testing.assert_close(stats, expected, rtol=1e-11, atol=1e-15)


def test_the_batch_tells_statistics_apart() -> None:
    """Every fraction that is reported is neither 0 nor 1, and the two signs of A differ in number."""
    seen: dict[str, set[str]] = {}
    for loss_type, name in CASES:
        t = batch(name)
        for key, values in by_token(t, loss_type, OPTIONS[name]).items():
            if values.dtype == torch.bool:
                found = values.expand(B, T)[MASK]
                opposite = by_token(t | {"advantages": -t["advantages"]}, loss_type, OPTIONS[name])[
                    key
                ].expand(B, T)[MASK]
                seen.setdefault(key, set())
                if 0 < found.sum() < found.numel() and (found.sum() != opposite.sum() or "entropy" in key):
                    seen[key].add(name)
    assert len(seen) == 7
    assert all(seen.values()), seen


def test_reports_only_what_it_was_given() -> None:
    _, stats = policy_loss(torch.zeros(2, 3), torch.ones(2))
    assert list(stats) == [
        "tokens",
        "ratio/mean",
        "ratio/max",
        *(f"clip_ratio/{x}" for x in ("low", "high", "region")),
        "approx_kl",
    ]


# --- refusals --------------------------------------------------------------------------------------

FLAT = {"logprobs": torch.zeros(6), "advantages": torch.zeros(6)}
BOUNDS = torch.tensor([0, 6])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": torch.ones(2, 4)}, r"mask: expected the shape \(2, 3\) of logprobs, got \(2, 4\)"),
        ({"old_logprobs": torch.ones(2)}, r"old_logprobs: expected the shape .* got \(2,\)"),
        ({"ref_logprobs": torch.ones(3)}, "ref_logprobs: expected the shape"),
        ({"sampling_logprobs": torch.ones(2, 1)}, "sampling_logprobs: expected the shape"),
        ({"entropy": torch.ones(6)}, "entropy: expected the shape"),
        ({"advantages": None}, "advantages: expected a tensor, got None"),
        (
            {"advantages": torch.ones(3)},
            r"advantages: expected shape \(2, 3\) .per token. or \(2,\) .*, got \(3,\)",
        ),
        (FLAT | {"advantages": torch.ones(1)}, r"advantages: expected shape \(6,\) .per token. or"),
        (FLAT | {"cu_seqlens": BOUNDS, "advantages": torch.ones(2)}, r"\(1,\) .per sequence., got \(2,\)"),
        ({"cu_seqlens": BOUNDS}, r"logprobs: expected shape \(N,\) with cu_seqlens, got \(2, 3\)"),
        (
            FLAT | {"cu_seqlens": torch.tensor([0.0, 6.0])},
            "cu_seqlens: expected a dense tensor of integers, got torch.float32",
        ),
        ({"beta": 0.1}, "ref_logprobs: expected a tensor for beta=0.1, got None"),
        ({"entropy_coef": 0.1}, "entropy: expected a tensor for entropy_coef=0.1, got None"),
        ({"top_entropy_quantile": 0.5}, "entropy: expected a tensor for top_entropy_quantile=0.5, got None"),
        (
            {"off_policy_mask_threshold": 0.0},
            "old_logprobs or sampling_logprobs: expected a tensor for off_policy_mask_threshold=0.0, got",
        ),
        (FLAT | {"loss_type": "grpo"}, "cu_seqlens: expected bounds, .*'grpo'"),
        (FLAT | {"importance_sampling_level": "sequence"}, "cu_seqlens: expected bounds, .*'sequence'"),
        (FLAT | {"loss_type": "vespo"}, "cu_seqlens: expected bounds, .*'vespo'"),
        (
            FLAT | {"sampling_logprobs": torch.zeros(6)},
            "cu_seqlens: expected bounds",
        ),  # sequence_mask by default
        (
            {"loss_type": "vespo", "sampling_logprobs": torch.zeros(2, 3)},
            "vllm_importance_sampling_mode: expected a token mode for loss_type='vespo', got 'sequence_mask'",
        ),
        ({"loss_type": "dr_grpo"}, "max_completion_length: expected .*, got None"),
        ({"loss_type": "dr_grpo", "max_completion_length": 0}, "max_completion_length: expected .*, got 0"),
        ({"num_items": -1}, "num_items: expected a positive number of .*, got -1"),
    ],
)
def test_refuses_inputs(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy_loss(**({"logprobs": torch.zeros(2, 3), "advantages": torch.zeros(2)} | change))


def test_refuses_an_option_that_does_not_exist() -> None:
    with pytest.raises(TypeError, match="epsilon_low"):
        policy_loss(torch.zeros(2, 3), torch.zeros(2), epsilon_low=0.2)
