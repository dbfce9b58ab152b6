"""What a policy objective is: its options, and what they need.

    l = f(pi / pi_old, A) * (mismatch weight) * (off-policy mask) * (top-entropy mask)
        + beta KL - entropy_coef H

_terms.py turns the tokens of a batch into losses and derivatives.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from dupo_kernels.tokens.policy_terms import Terms, mismatch_weights, terms
from dupo_kernels.tokens.surrogates import KL_ESTIMATORS, check_choice
from dupo_kernels.tokens.weights import LOSS_TYPES, Layout, advantages_per_token, make_layout

CLIPPED = ("grpo", "bnpo", "dr_grpo", "dapo", "luspo")
LEVELS = {"token": "one ratio for each token", "sequence": "one for each sequence (GSPO)"}
MISMATCH_MODES = {"token_truncate", "token_mask", "sequence_truncate", "sequence_mask"}
TOKEN_INPUTS = ("advantages", "old_logprobs", "ref_logprobs", "sampling_logprobs")


@dataclass(frozen=True)
class PolicyObjective:
    """The options of a policy loss; names, meanings and defaults are TRL 1.16's where TRL has the option.

    Attributes:
        loss_type: grpo, bnpo, dr_grpo, dapo and luspo clip the ratio and differ in the weights of tokens
            (weights.py); cispo (needs epsilon_high), sapo and vespo have surrogates of their own.
        epsilon, epsilon_high: the ratio is clipped to [1 - epsilon, 1 + epsilon_high]; None: epsilon. For
            cispo epsilon_high is the cap of the ratio itself, and epsilon has no effect. sapo and vespo have
            no use for either.
        delta: upper bound of the unclipped ratio (two-sided clip); clipping losses only.
        clip_ratio_c: bound of the loss where A < 0, in units of |A| (dual clip, verl); clipping losses only.
        beta, kl: coefficient and kind (objective.py) of the KL to the reference.
        use_bias_correction_kl: multiply the KL estimate by the ratio, and differentiate both (DeepSeek-V3.2).
        entropy_coef: coefficient of the entropy bonus. It has the weights of the policy term, so that any
            split into micro-batches gives the same gradient; in TRL it is a mean over tokens for every loss
            type.
        importance_sampling_level: token, or sequence for GSPO's ratio exp(mean log-ratio). vespo has its own.
        sapo_temperature_pos, sapo_temperature_neg: of sapo, for A > 0 and the rest.
        vespo_k_pos, vespo_lambda_pos, vespo_k_neg, vespo_lambda_neg: of vespo, for A >= 0 and A < 0.
        vllm_importance_sampling_correction: where sampling_logprobs are given, weigh each loss (not the KL)
            by exp(old_logprobs - sampling_logprobs): the engine that sampled is not the one that trains.
        vllm_importance_sampling_mode: token_truncate, token_mask, sequence_truncate, sequence_mask: by token
            or by the product over the sequence; clamped to the bounds, or 0 outside them. vespo: token_*.
        vllm_importance_sampling_clip_max, vllm_importance_sampling_clip_min: those bounds; None is none.
        off_policy_mask_threshold: drop sequences with A < 0 whose mean of sampling_logprobs (else
            old_logprobs) - logprobs is above it; nats (DeepSeek-V3.2, eq. 9).
        top_entropy_quantile: below 1, only this share of tokens, those of the highest entropy, has a loss and
            a bonus (arXiv 2506.01939). The quantile is that of the tokens in one call.

    Raises:
        ValueError: an unknown choice, a number out of range, or an option that the loss type cannot honour.
    """

    loss_type: str = "dapo"
    epsilon: float = 0.2
    epsilon_high: float | None = None
    delta: float | None = None
    clip_ratio_c: float | None = None
    beta: float = 0.0
    kl: str = "k3"
    use_bias_correction_kl: bool = True
    entropy_coef: float = 0.0
    importance_sampling_level: str = "token"
    sapo_temperature_pos: float = 1.0
    sapo_temperature_neg: float = 1.05
    vespo_k_pos: float = 2.0
    vespo_lambda_pos: float = 3.0
    vespo_k_neg: float = 3.0
    vespo_lambda_neg: float = 2.0
    vllm_importance_sampling_correction: bool = True
    vllm_importance_sampling_mode: str = "sequence_mask"
    vllm_importance_sampling_clip_max: float | None = 3.0
    vllm_importance_sampling_clip_min: float | None = None
    off_policy_mask_threshold: float | None = None
    top_entropy_quantile: float = 1.0

    # --- what can be asked ---

    def __post_init__(self) -> None:
        check_choice("loss_type", self.loss_type, dict(LOSS_TYPES))
        check_choice("kl", self.kl, KL_ESTIMATORS)
        check_choice("importance_sampling_level", self.importance_sampling_level, dict(LEVELS))
        modes = dict.fromkeys(sorted(MISMATCH_MODES))
        check_choice("vllm_importance_sampling_mode", self.vllm_importance_sampling_mode, modes)
        only = f"for loss_type={self.loss_type!r}"
        for name in ("delta", "clip_ratio_c"):
            if getattr(self, name) is not None and self.loss_type not in CLIPPED:
                raise ValueError(f"{name} must be None {only} (it has no clip), got {getattr(self, name)}")
        if self.epsilon_high is not None and self.loss_type in ("sapo", "vespo"):
            raise ValueError(f"epsilon_high must be None {only} (it has no clip), got {self.epsilon_high}")
        if self.epsilon_high is None and self.loss_type == "cispo":
            raise ValueError(
                "epsilon_high must be given for loss_type='cispo' (the cap of the ratio), got None"
            )
        if self.delta is not None and self.clip_ratio_c is not None:
            raise ValueError("delta and clip_ratio_c bound the same branch: one of them must be None")
        if self.importance_sampling_level == "sequence" and self.loss_type == "vespo":
            raise ValueError(
                "importance_sampling_level must be 'token' for loss_type='vespo', got 'sequence'"
            )
        self._check_numbers()

    def _check_numbers(self) -> None:
        at_least: dict[str, tuple[float | None, float]] = {
            "epsilon": (self.epsilon, 0.0),
            "epsilon_high": (self.epsilon_high, 0.0),
            "delta": (self.delta, 0.0),
            "clip_ratio_c": (self.clip_ratio_c, 1.0),
            "vllm_importance_sampling_clip_min": (self.vllm_importance_sampling_clip_min, 0.0),
        }
        for name, (value, least) in at_least.items():
            if value is not None and not value >= least:
                raise ValueError(f"{name} must be at least {least:g}, got {value}")
        for name in ("sapo_temperature_pos", "sapo_temperature_neg", "vespo_lambda_pos", "vespo_lambda_neg"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 < self.top_entropy_quantile <= 1:
            raise ValueError(f"top_entropy_quantile must be in (0, 1], got {self.top_entropy_quantile}")
        low, high = self.vllm_importance_sampling_clip_min, self.vllm_importance_sampling_clip_max
        if low is not None and high is not None and low > high:
            raise ValueError(
                f"vllm_importance_sampling_clip_min must not exceed clip_max, got {low} > {high}"
            )
        for name in NUMBERS:
            value = getattr(self, name)
            if isinstance(value, float) and math.isnan(value):
                raise ValueError(f"{name} must be a number, got nan")

    def check_inputs(self, given: Mapping[str, Any], knows_sequences: bool) -> None:
        """Raises ValueError if an input is missing that an option needs; `given` may hold None."""
        has = {name for name, value in given.items() if value is not None}
        if "advantages" not in has:
            raise ValueError("advantages must be given, got None")
        if self.beta != 0 and "ref_logprobs" not in has:
            raise ValueError(f"ref_logprobs must be given for beta={self.beta}, got None")
        if self.entropy_coef != 0 and "entropy" not in has:
            raise ValueError(f"entropy must be given for entropy_coef={self.entropy_coef}, got None")
        if self.top_entropy_quantile < 1 and "entropy" not in has:
            raise ValueError(
                f"entropy must be given for top_entropy_quantile={self.top_entropy_quantile}, got None"
            )
        if self.off_policy_mask_threshold is not None and not has & {"old_logprobs", "sampling_logprobs"}:
            option = f"off_policy_mask_threshold={self.off_policy_mask_threshold}"
            raise ValueError(f"old_logprobs or sampling_logprobs must be given for {option}, got None")
        if self.scope(given) == "sequence" and not knows_sequences:
            raise ValueError(
                f"cu_seqlens must be given, or tokens of shape (B, T), for {self}: it has sequences"
            )
        mode = self.vllm_importance_sampling_mode
        if self.loss_type == "vespo" and self._mismatch(given) and not mode.startswith("token"):
            raise ValueError(
                f"vllm_importance_sampling_mode must be a token mode for loss_type='vespo', got {mode!r}"
            )

    def scope(self, given: Mapping[str, Any]) -> str:
        """What a token's derivative depends on: its "token" alone, its "sequence", or the "batch"."""
        if self.top_entropy_quantile < 1:
            return "batch"
        by_sequence = (
            self.importance_sampling_level == "sequence"
            or self.loss_type == "vespo"
            or self.off_policy_mask_threshold is not None
            or (self._mismatch_by_sequence(given) and given.get("importance_sampling_ratio") is None)
        )
        return "sequence" if by_sequence else "token"

    def stat_names(self, given: Mapping[str, Any], entropy: bool) -> list[str]:
        """The keys of `terms(...).stats`, in their order; `given` are the per-token inputs that are there."""
        names = []
        if given.get("sampling_logprobs") is not None:
            names += [f"sampling/sampling_logp_difference/{kind}" for kind in ("mean", "max")]
            if self.vllm_importance_sampling_correction:
                names += [f"sampling/importance_sampling_ratio/{kind}" for kind in ("min", "mean", "max")]
        names += ["ratio/mean", "ratio/max"]
        if self.loss_type in CLIPPED:
            names += ["clip_ratio/low", "clip_ratio/high", "clip_ratio/region"]
            names += ["clip_ratio/bound"] if self.delta is not None or self.clip_ratio_c is not None else []
        names += {"cispo": ["cispo_clip_ratio"], "vespo": ["vespo/phi_seq_mean"]}.get(self.loss_type, [])
        names += ["frac_off_policy_masked"] if self.off_policy_mask_threshold is not None else []
        names += ["frac_high_entropy"] if self.top_entropy_quantile < 1 else []
        names += ["approx_kl"]
        names += ["kl"] if given.get("ref_logprobs") is not None else []
        return [*names, "entropy"] if entropy else names

    def encoded(self) -> tuple[str, list[float]]:
        """What an op can take: the choices in one string, and the numbers, with NaN for None."""
        numbers = [getattr(self, name) for name in NUMBERS]
        choices = " ".join([getattr(self, name) for name in CHOICES])
        return choices, [math.nan if x is None else float(x) for x in numbers]

    @staticmethod
    def decoded(choices: str, numbers: list[float]) -> "PolicyObjective":
        values: dict[str, Any] = dict(zip(CHOICES, choices.split(), strict=True))
        values |= {name: None if math.isnan(x) else x for name, x in zip(NUMBERS, numbers, strict=True)}
        return PolicyObjective(**values)

    def _mismatch_by_sequence(self, given: Mapping[str, Any]) -> bool:
        return self._mismatch(given) and self.vllm_importance_sampling_mode.startswith("sequence")

    def with_known_ratio(self, given: dict[str, Tensor], layout: Layout) -> dict[str, Tensor]:
        """`given`, with the mismatch weights as one more input if they depend on nothing but inputs."""
        if not (self._mismatch(given) and "old_logprobs" in given):
            return given
        dtype = torch.promote_types(given["old_logprobs"].dtype, torch.float32)
        tokens = (given[n].to(dtype).where(layout.active, 0.0) for n in ("old_logprobs", "sampling_logprobs"))
        return given | {"importance_sampling_ratio": mismatch_weights(self, *tokens, layout)[0]}  # type: ignore

    def _mismatch(self, given: Mapping[str, Any]) -> bool:
        return self.vllm_importance_sampling_correction and given.get("sampling_logprobs") is not None

    def __str__(self) -> str:
        changed = [
            f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if getattr(self, f.name) != f.default
        ]
        return f"PolicyObjective({', '.join(changed)})"

    # --- what it is ---

    def terms(self, *tokens: Any, **per_token: Any) -> Terms:
        """Losses and derivatives of tokens: `_terms.terms` with these options."""
        return terms(self, *tokens, **per_token)

    def __call__(
        self,
        logprobs: Tensor,
        entropy: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        **per_token: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss, stats) of each token, without weights; the loss is differentiable."""
        if mask is None and cu_seqlens is None:
            mask = torch.ones_like(logprobs, dtype=torch.bool)
        layout = make_layout(mask, cu_seqlens, logprobs.shape[0])
        if per_token.get("advantages") is not None:
            per_token["advantages"] = advantages_per_token(per_token["advantages"], layout)
        self.check_inputs({**per_token, "entropy": entropy}, layout.knows_sequences)
        stats = self.terms(logprobs, entropy, 1.0, layout, **per_token).stats
        loss: Any = _PerToken.apply(logprobs, entropy, self, layout, per_token)
        return loss, stats


CHOICES = [f.name for f in fields(PolicyObjective) if isinstance(f.default, str)]
NUMBERS = [f.name for f in fields(PolicyObjective) if f.name not in CHOICES]


class _PerToken(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logprobs, entropy, objective, layout, per_token):
        ctx.save_for_backward(logprobs, entropy)
        ctx.terms = lambda *tokens: objective.terms(*tokens, layout, **per_token)
        return ctx.terms(logprobs, entropy, 1.0).loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        terms = ctx.terms(*ctx.saved_tensors, grad)
        return terms.dlogp, terms.dentropy, None, None, None


policy_objective = PolicyObjective  # the name for those who think of it as a function
