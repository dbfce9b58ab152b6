"""Objectives for tests of linear_objective, their per-token inputs, and both passes of a loss."""

from typing import Any

import torch
from torch import Tensor

from dupo_kernels import PolicyObjective, linear_token_logprobs, token_weights
from tests.helpers.linear_head import MASK, ROW, head
from tests.helpers.numerics import DEVICE

CU_SEQLENS = torch.tensor([0, 7, 7, 11], dtype=torch.int32)  # the tokens of MASK, packed
ACTIVE = int(MASK.sum())
OBJECTIVES = {
    "dapo": PolicyObjective(),
    "everything": PolicyObjective(
        "grpo", epsilon_high=0.28, clip_ratio_c=3.0, beta=0.1, kl="k2", entropy_coef=0.05,
        vllm_importance_sampling_mode="token_truncate",
    ),
    "cispo": PolicyObjective("cispo", epsilon_high=2.0),
    "sapo": PolicyObjective("sapo", beta=0.1, use_bias_correction_kl=False),
    "gspo": PolicyObjective("grpo", importance_sampling_level="sequence"),
    "vespo": PolicyObjective("vespo", vllm_importance_sampling_mode="token_mask"),
    "opsm": PolicyObjective("luspo", off_policy_mask_threshold=0.1),
    "top-entropy": PolicyObjective("dapo", top_entropy_quantile=0.5, entropy_coef=0.1),
    "sequence-mask": PolicyObjective("bnpo", delta=2.0),
}  # fmt: skip
CHUNKS: list[dict[str, Any]] = [
    {},
    {"save_budget": 0, "chunk_tokens": 4},
    {"save_budget": 5 * ROW, "chunk_tokens": 4},
]


def tokens(dtype: torch.dtype = torch.float64, given: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Per-token inputs around the log-probs of `head()`: ratios on both sides of the clips."""
    generator = torch.Generator().manual_seed(5)
    logp = linear_token_logprobs(**(head() if given is None else given))[0].detach().cpu().double()

    def noise(scale: float) -> Tensor:
        return scale * torch.randn(logp.shape, generator=generator, dtype=torch.float64)

    inputs = {
        "advantages": noise(1.0),
        "old_logprobs": logp + noise(0.4),
        "ref_logprobs": logp + noise(0.5),
        "sampling_logprobs": logp + noise(0.3),
    }
    return {name: x.to(DEVICE, dtype) for name, x in inputs.items()}


def both_ways(
    function: Any, objective: Any, given: dict[str, Tensor], per_token: dict[str, Tensor], **options: Any
) -> list[Tensor]:
    """[loss, gradients of hidden, weight, bias], of twice the loss."""
    given = {n: x.detach().clone().requires_grad_(n != "targets") for n, x in given.items()}
    inputs = [given.pop(name) for name in ("hidden", "weight", "targets")]
    result = function(*inputs, objective, per_token, **given, **options)
    loss = result[0] if isinstance(result, tuple) else result
    leaves = [x for x in [*inputs, *given.values()] if x.requires_grad]
    return [loss.detach(), *torch.autograd.grad(2 * loss, leaves)]


def weights_of(objective: Any, dtype: torch.dtype = torch.float64) -> Tensor:
    """The weights of the tokens of MASK for the loss type of the objective."""
    return token_weights(getattr(objective, "loss_type", "grpo"), MASK.to(DEVICE), dtype=dtype)


class Pairwise:
    """An objective that is code: of each token, or of its difference to the mean of its sequence."""

    def __init__(self, scope: str) -> None:
        self.scope = scope

    def __call__(self, logprobs: Tensor, entropy: Tensor, *, advantages: Tensor) -> Any:
        centred = logprobs - logprobs.mean(-1, keepdim=True) if self.scope == "sequence" else logprobs
        return -(centred * advantages) - 0.1 * entropy, {"mine": entropy, "mine/max": entropy}
