"""A policy loss as an object: its options, which inputs they need, and what it does to tokens.

    loss = f(pi / pi_old, A) * (mismatch weight) * (off-policy mask) * (top-entropy mask)
           + beta KL - entropy_coef H

policy_options.py declares and checks the options; policy_terms.py turns the tokens of a batch into losses and
derivatives. Tokens are (B, T) padded or (N,) packed; the module does not know the vocabulary.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dupo_kernels._checks import FLOATING, REAL, check_devices, check_flags, check_tensors
from dupo_kernels.tokens.choices import LOSS_TYPES
from dupo_kernels.tokens.layout import Layout, advantages_per_token, check_tokens, token_layout
from dupo_kernels.tokens.mismatch import mismatch_weights
from dupo_kernels.tokens.policy_options import PolicyOptions
from dupo_kernels.tokens.policy_terms import Terms, terms

TOKEN_INPUTS = ("advantages", "old_logprobs", "ref_logprobs", "sampling_logprobs")
CHOICES = [spec.name for spec in fields(PolicyOptions) if isinstance(spec.default, str)]
NUMBERS = [spec.name for spec in fields(PolicyOptions) if spec.name not in CHOICES]


class EncodedObjective(NamedTuple):
    """An objective as a custom op can take it.

    Attributes:
        choices: the values of the options that are texts, in the order of CHOICES, separated by blanks.
        numbers: the values of all other options, in the order of NUMBERS; NaN stands for None.
    """

    choices: str
    numbers: list[float]


@dataclass(frozen=True)
class PolicyObjective(PolicyOptions):
    """A policy loss: the fields of `PolicyOptions`, and what they do to tokens.

    Pass it to `linear_objective`, or call it: `objective(logprobs, entropy, advantages=...)`. "Inputs" below
    are the per-token inputs of `policy_loss` by name; a value of None is an input that is not there.

    Raises:
        ValueError: an unknown choice, a number out of range, or an option that the loss type cannot honour.
    """

    # --- what the options need ---

    def check_inputs(self, inputs: Mapping[str, Any], knows_sequences: bool) -> None:
        """Raises ValueError if an option needs an input, or a layout with sequences, that is not there."""
        present = {name for name, value in inputs.items() if value is not None}
        if "advantages" not in present:
            raise ValueError("advantages: expected a tensor, got None")
        if self.beta != 0 and "ref_logprobs" not in present:
            raise ValueError(f"ref_logprobs: expected a tensor for beta={self.beta}, got None")
        if self.entropy_coef != 0 and "entropy" not in present:
            raise ValueError(f"entropy: expected a tensor for entropy_coef={self.entropy_coef}, got None")
        if self.top_entropy_quantile < 1 and "entropy" not in present:
            setting = f"top_entropy_quantile={self.top_entropy_quantile}"
            raise ValueError(f"entropy: expected a tensor for {setting}, got None")
        if self.off_policy_mask_threshold is not None and not present & {"old_logprobs", "sampling_logprobs"}:
            setting = f"off_policy_mask_threshold={self.off_policy_mask_threshold}"
            raise ValueError(f"old_logprobs or sampling_logprobs: expected a tensor for {setting}, got None")
        if self.scope(inputs) == "sequence" and not knows_sequences:
            raise ValueError(
                f"cu_seqlens: expected bounds, or tokens of shape (B, T), for {self}, which has sequences, "
                "got None"
            )
        mode = self.vllm_importance_sampling_mode
        if self.loss_type == "vespo" and self._corrects_mismatch(inputs) and not mode.startswith("token"):
            raise ValueError(
                f"vllm_importance_sampling_mode: expected a token mode for loss_type='vespo', got {mode!r}"
            )

    @property
    def needs_entropy(self) -> bool:
        """Whether the loss itself reads the entropy."""
        return self.entropy_coef != 0 or self.top_entropy_quantile < 1

    def scope(self, inputs: Mapping[str, Any]) -> str:
        """What the derivative of a token depends on: that "token" alone, its "sequence", or the "batch"."""
        if self.top_entropy_quantile < 1:
            return "batch"
        mode = self.vllm_importance_sampling_mode
        # Mismatch weights of sequences that are computed beforehand are an input of the token like any other.
        weighs_sequences = (
            self._corrects_mismatch(inputs)
            and mode.startswith("sequence")
            and inputs.get("importance_sampling_ratio") is None
        )
        by_sequence = (
            self.importance_sampling_level == "sequence"
            or self.loss_type == "vespo"
            or self.off_policy_mask_threshold is not None
            or weighs_sequences
        )
        return "sequence" if by_sequence else "token"

    def stat_names(self, inputs: Mapping[str, Any], entropy: bool) -> list[str]:
        """The keys of `terms(...).stats`, in their order.

        torch.compile asks for the number of statistics before any tensor exists.
        """
        # The same conditions as in policy_terms.py; a test compares the names with those of a real call.
        names = []
        if inputs.get("sampling_logprobs") is not None:
            names += [f"sampling/sampling_logp_difference/{kind}" for kind in ("mean", "max")]
            if self.vllm_importance_sampling_correction:
                names += [f"sampling/importance_sampling_ratio/{kind}" for kind in ("min", "mean", "max")]
        names += ["ratio/mean", "ratio/max"]
        if LOSS_TYPES[self.loss_type].clips_ratio:
            names += ["clip_ratio/low", "clip_ratio/high", "clip_ratio/region"]
            names += ["clip_ratio/bound"] if self.delta is not None or self.clip_ratio_c is not None else []
        names += {"cispo": ["cispo_clip_ratio"], "vespo": ["vespo/phi_seq_mean"]}.get(self.loss_type, [])
        names += ["frac_off_policy_masked"] if self.off_policy_mask_threshold is not None else []
        names += ["frac_high_entropy"] if self.top_entropy_quantile < 1 else []
        names += ["approx_kl"]
        names += ["kl"] if inputs.get("ref_logprobs") is not None else []
        return [*names, "entropy"] if entropy else names

    def with_mismatch_weights(self, inputs: dict[str, Tensor], layout: Layout) -> dict[str, Tensor]:
        """The inputs, with `importance_sampling_ratio` added if it depends on nothing but inputs."""
        if not (self._corrects_mismatch(inputs) and "old_logprobs" in inputs):
            return inputs
        # Masked tokens may hold NaN, which would enter the product over their sequence.
        dtype = torch.promote_types(inputs["old_logprobs"].dtype, torch.float32)
        old_logp, sampling_logp = (
            inputs[name].to(dtype).where(layout.active, 0.0) for name in ("old_logprobs", "sampling_logprobs")
        )
        weights, _ = mismatch_weights(self, old_logp, sampling_logp, layout)
        assert weights is not None
        return inputs | {"importance_sampling_ratio": weights}

    def _corrects_mismatch(self, inputs: Mapping[str, Any]) -> bool:
        return self.vllm_importance_sampling_correction and inputs.get("sampling_logprobs") is not None

    # --- what they do ---

    def terms(self, *tokens: Any, **inputs: Any) -> Terms:
        """Losses and derivatives of tokens: `policy_terms.terms` with these options."""
        return terms(self, *tokens, **inputs)

    def __call__(
        self,
        logprobs: Tensor,
        entropy: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        check: bool = False,
        **per_token: Tensor | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss, stats) of each token, without weights; the loss is differentiable in logprobs and entropy.

        Args:
            logprobs, entropy, mask, cu_seqlens, check, per_token: see `policy_loss`.

        Raises:
            ValueError: types, shapes or devices that do not match; an input missing that an option needs.
            TypeError: an input that does not exist.
        """
        check_flags(check=check)
        inputs = {name: x for name, x in per_token.items() if name != "advantages"}
        advantages = per_token.get("advantages")
        check_token_inputs(logprobs, advantages, cu_seqlens, entropy=entropy, mask=mask, **inputs)
        layout = token_layout(logprobs, "logprobs", mask, cu_seqlens, check)
        if advantages is not None:
            per_token["advantages"] = advantages_per_token(advantages, layout)
        self.check_inputs({**per_token, "entropy": entropy}, layout.knows_sequences)
        stats = self.terms(logprobs, entropy, 1.0, layout, **per_token).stats
        # The first pass is for the statistics, which autograd must not see.
        loss: Any = _PerToken.apply(logprobs, entropy, self, layout, per_token)
        return loss, stats

    # --- how it is written ---

    def encoded(self) -> EncodedObjective:
        """The options as a custom op can take them: texts and numbers, no objects."""
        # An op takes no None inside a list of numbers, and no option may be NaN, so NaN can stand for None.
        numbers = [getattr(self, name) for name in NUMBERS]
        choices = " ".join([getattr(self, name) for name in CHOICES])
        return EncodedObjective(choices, [math.nan if x is None else float(x) for x in numbers])

    @staticmethod
    def decoded(encoded: EncodedObjective) -> "PolicyObjective":
        """The objective that `encoded` came from."""
        return _decoded(encoded.choices, tuple(encoded.numbers))

    def __str__(self) -> str:
        changed = [
            f"{spec.name}={getattr(self, spec.name)!r}"
            for spec in fields(self)
            if getattr(self, spec.name) != spec.default
        ]
        return f"PolicyObjective({', '.join(changed)})"


# A run has a few objectives, and asks for one in every call.
@lru_cache(maxsize=64)
def _decoded(choices: str, numbers: tuple[float, ...]) -> PolicyObjective:
    values: dict[str, Any] = dict(zip(CHOICES, choices.split(), strict=True))
    for name, number in zip(NUMBERS, numbers, strict=True):
        values[name] = None if math.isnan(number) else number
    # A custom op takes floats alone.
    flags = [spec.name for spec in fields(PolicyOptions) if isinstance(spec.default, bool)]
    values |= {name: bool(values[name]) for name in flags}
    return PolicyObjective(**values)


class _PerToken(torch.autograd.Function):
    """The loss of each token. Its backward pass computes the terms again, weighed by the upstream gradient.

    The derivative through the ratio of a sequence sums over its tokens, so it cannot be scaled afterwards.
    """

    @staticmethod
    def forward(ctx, logprobs, entropy, objective, layout, per_token):
        """The loss of each token."""
        ctx.save_for_backward(logprobs, entropy)
        ctx.terms = lambda *tokens: objective.terms(*tokens, layout, **per_token)
        return ctx.terms(logprobs, entropy, 1.0).loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        """The derivatives of sum(grad * loss)."""
        terms = ctx.terms(*ctx.saved_tensors, grad)
        return terms.dlogp, terms.dentropy, None, None, None


def check_token_inputs(
    logprobs: Any, advantages: Any, cu_seqlens: Any, *, mask: Any = None, **inputs: Any
) -> None:
    """Raises ValueError unless the inputs of a policy loss are tensors of tokens that go together.

    Args:
        advantages: of the tokens or of the sequences; their shape is not looked at.
        inputs: entropy, old_logprobs, ref_logprobs and sampling_logprobs, of the shape of logprobs.
    """
    check_tensors(FLOATING, ("logprobs",), logprobs=logprobs, **inputs)
    others = {"advantages": advantages, "mask": mask, "cu_seqlens": cu_seqlens}
    check_tensors(REAL, **others)
    check_tokens(logprobs.shape, "logprobs", mask=mask, **inputs)
    check_devices(logprobs.device, "logprobs", **others, **inputs)


policy_objective = PolicyObjective  # the name for those who think of it as a function
