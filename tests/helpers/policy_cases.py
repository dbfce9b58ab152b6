"""A batch for policy losses, and every option that they take."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

LENGTHS = torch.tensor([5, 1, 0, 7, 4, 6, 3])
B, T, MAX_LENGTH = 7, 7, 8
MASK = torch.arange(T)[None] < LENGTHS[:, None]
CU_SEQLENS = torch.cat([torch.zeros(1, dtype=torch.int64), LENGTHS.cumsum(0)]).int()
LOW, HIGH, CAP = 0.2, 0.28, 1.5
CLIPPED = ["grpo", "bnpo", "dr_grpo", "dapo", "luspo"]
LOSS_TYPES = [*CLIPPED, "cispo", "sapo", "vespo"]
BY_SEQUENCE = ["grpo", "sapo", "dr_grpo", "luspo"]  # num_items counts sequences

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "sequence": {"importance_sampling_level": "sequence"},
    "delta": {"delta": 1.6},
    "delta-inside": {"delta": 1.1},
    "delta-sequence": {"delta": 1.3, "importance_sampling_level": "sequence"},
    "dual-clip": {"clip_ratio_c": 1.4},
    "dual-clip-sequence": {"clip_ratio_c": 1.1, "importance_sampling_level": "sequence"},
    **{f"kl-{kl}": {"beta": 0.1, "kl": kl} for kl in ("k1", "k2", "k3", "abs", "k3+")},
    **{
        f"kl-{kl}-plain": {"beta": 0.1, "kl": kl, "use_bias_correction_kl": False}
        for kl in ("k1", "k3", "k3+")
    },
    "kl-sequence": {"beta": 0.1, "importance_sampling_level": "sequence"},
    "entropy": {"entropy_coef": 0.03},
    "temperatures": {"sapo_temperature_pos": 0.5, "sapo_temperature_neg": 2.0},
    "gamma": {"vespo_k_pos": 1.0, "vespo_lambda_pos": 0.5, "vespo_k_neg": 0.5, "vespo_lambda_neg": 1.5},
    **{
        mode: {
            "vllm_importance_sampling_mode": mode,
            "vllm_importance_sampling_clip_max": 1.3,
            "vllm_importance_sampling_clip_min": 0.8,
        }
        for mode in ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask")
    },
    "token-mismatch-unbounded": {
        "vllm_importance_sampling_mode": "token_mask",
        "vllm_importance_sampling_clip_max": None,
    },
    "no-correction": {"vllm_importance_sampling_correction": False},
    "off-policy": {"off_policy_mask_threshold": 0.05},
    "off-policy-of-sampling": {
        "off_policy_mask_threshold": 0.5,  # old_logprobs instead would drop others
        "vllm_importance_sampling_mode": "token_truncate",
    },
    "top-entropy": {"top_entropy_quantile": 0.45, "entropy_coef": 0.03, "beta": 0.1},
    "everything": {
        "beta": 0.1,
        "entropy_coef": 0.03,
        "off_policy_mask_threshold": 0.05,
        "top_entropy_quantile": 0.6,
        "vllm_importance_sampling_mode": "token_truncate",
    },
}
ONLY = {"delta": CLIPPED, "clip_ratio_c": CLIPPED, "sapo_temperature_pos": ["sapo"], "vespo_k_pos": ["vespo"]}


def applies(loss_type: str, options: dict[str, Any]) -> bool:
    if any(loss_type not in only for name, only in ONLY.items() if name in options):
        return False
    sequence = options.get("importance_sampling_level") == "sequence" or options.get(
        "vllm_importance_sampling_mode", ""
    ).startswith("sequence")
    return not (loss_type == "vespo" and sequence)


CASES = [
    (loss_type, name) for loss_type in LOSS_TYPES for name in OPTIONS if applies(loss_type, OPTIONS[name])
]

# Every option and every loss type once or more, for what holds of all cases alike; the rest is slow.
FEW = {
    next(case for case in CASES[i * 31 % len(CASES) :] + CASES if case[1] == name)
    for i, name in enumerate(OPTIONS)
}
SLOW, FULL = [pytest.mark.slow], [pytest.mark.slow, pytest.mark.full]
SPREAD = [
    pytest.param(*case, marks=[] if case in FEW else FULL if place % 3 else SLOW)
    for place, case in enumerate(CASES)
]


def options_of(loss_type: str, name: str) -> dict[str, Any]:
    found = {"loss_type": loss_type, "max_completion_length": MAX_LENGTH} | OPTIONS[name]
    if loss_type in CLIPPED:
        return found | {"epsilon": LOW, "epsilon_high": HIGH}
    return found | ({"epsilon_high": CAP} if loss_type == "cispo" else {})


def batch(name: str = "everything", dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Ratios of tokens and of sequences on both sides of all bounds; advantages of both signs and zero.

    sampling_logprobs, one of them NaN, are there for the options that are about them.
    """
    generator = torch.Generator().manual_seed(10)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    logprobs = -normal(B, T).abs() - 0.1
    drift = torch.tensor([-0.3, 0.6, 0.0, 0.35, -0.1, 0.1, -0.5])[:, None]
    tensors = {
        "logprobs": logprobs,
        "advantages": normal(B, T) * (torch.rand(B, T, generator=generator) > 0.2),
        "entropy": normal(B, T).abs(),
        "old_logprobs": logprobs - drift - 0.35 * normal(B, T),
        "ref_logprobs": logprobs + 0.5 * normal(B, T),
    }
    tensors["sampling_logprobs"] = tensors["old_logprobs"] + 0.15 * normal(B, T)
    tensors["sampling_logprobs"][0, 2] = math.nan
    if not any(option.startswith("vllm") for option in OPTIONS[name]):
        del tensors["sampling_logprobs"]
    return {name: tensor.to(dtype) for name, tensor in tensors.items()}


def per_sequence(values: Tensor) -> Tensor:
    """The mean over the tokens of each sequence, (B, 1)."""
    return torch.where(MASK, values, 0.0).sum(1, keepdim=True) / LENGTHS[:, None].clamp(min=1)


def mismatch_weight(old: Tensor, sampling: Tensor, o: dict[str, Any]) -> Tensor:
    mode = o["vllm_importance_sampling_mode"]
    log_weight = torch.where(MASK & ~sampling.isnan(), old - sampling, 0.0)
    weight = (log_weight.sum(1, keepdim=True) if "sequence" in mode else log_weight).exp().expand(B, T)
    high = o.get("vllm_importance_sampling_clip_max", 3.0)
    low, high = o.get("vllm_importance_sampling_clip_min") or 0.0, math.inf if high is None else high
    if "truncate" in mode:
        return weight.clamp(low, high)
    return torch.where((weight >= low) & (weight <= high), weight, 0.0)
