"""Both passes of a policy loss on rows of logits, without autograd: loss, statistics and dlogits.

Where the derivative of a token depends on that token alone, one kernel does all of it (fused_loss.py). Else
log-probabilities come first, then the loss of policy_terms.py, then dlogits: the same result from more
launches.

Shape letters: N tokens, V vocabulary, K statistics.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from dupo_kernels._triton import runs_on_triton
from dupo_kernels.logits.fused_loss import fused_loss
from dupo_kernels.logits.launch import logprobs_backward, logprobs_forward
from dupo_kernels.logits.rows import Rows
from dupo_kernels.tokens.layout import Layout, advantages_by_sequence, advantages_per_token, token_layout
from dupo_kernels.tokens.policy_objective import TOKEN_INPUTS, PolicyObjective
from dupo_kernels.tokens.statistics import reduce_stats
from dupo_kernels.tokens.token_inputs import TokenInputs
from dupo_kernels.tokens.token_objective import token_objective
from dupo_kernels.tokens.token_report import new_report, reduce_report


class LossTokens(NamedTuple):
    """What is known of the tokens beside their logits, as the op takes it; see `fused_policy_loss`.

    Attributes:
        shape: (B, T), or (N,) of tokens of any other shape.
        with_entropy: the objective reads or reports the entropy.
        wants_gradient: dlogits are made.
    """

    weights: Tensor
    advantages: Tensor
    mask: Tensor | None
    old_logprobs: Tensor | None
    ref_logprobs: Tensor | None
    sampling_logprobs: Tensor | None
    cu_seqlens: Tensor | None
    shape: list[int]
    with_entropy: bool
    wants_gradient: bool
    grad_scale: float

    def inputs(self) -> dict[str, Tensor]:
        """The inputs of the objective that are there, by name."""
        named = {name: getattr(self, name) for name in TOKEN_INPUTS}
        return {name: x for name, x in named.items() if x is not None}

    def layout(self) -> Layout:
        """Which tokens count, and their sequences."""
        like = self.weights.view(self.shape)
        return token_layout(
            like, "targets", None if self.mask is None else self.mask.view(self.shape), self.cu_seqlens
        )

    def is_fused(self, objective: PolicyObjective, logits: Tensor) -> bool:
        """Whether one kernel serves these tokens."""
        # With old_logprobs the mismatch weights of sequences depend on inputs alone, and are one of them.
        computed = {} if self.old_logprobs is None else {"importance_sampling_ratio": True}
        by_token = objective.scope(self.inputs() | computed) == "token"
        # No tokens are no grid.
        return by_token and runs_on_triton(logits) and logits.shape[0] > 0


def loss_and_gradient(
    rows: Rows, tokens: LossTokens, objective: PolicyObjective, dlogits: Tensor | None
) -> tuple[Tensor, Tensor]:
    """(loss, statistics); writes dlogits, which may be the memory of the logits."""
    way = _in_one_launch if tokens.is_fused(objective, rows.logits) else _by_logprobs
    return way(rows, tokens, objective, dlogits)


def _in_one_launch(
    rows: Rows, tokens: LossTokens, objective: PolicyObjective, dlogits: Tensor | None
) -> tuple[Tensor, Tensor]:
    shape, cu_seqlens = torch.Size(tokens.shape), tokens.cu_seqlens
    sequences = None if cu_seqlens is None else cu_seqlens.numel() - 1
    inputs = TokenInputs(
        weights=tokens.weights,
        active=tokens.mask,
        importance_sampling_ratio=_mismatch_weights(tokens, objective),
        cu_seqlens=cu_seqlens,
        sequences=sequences or 0,
        num_tokens=rows.targets.numel(),
        length=shape[1] if len(shape) == 2 else 1,
        **tokens.inputs(),
    )
    kernel_objective = token_objective(
        objective,
        inputs,
        has_entropy=tokens.with_entropy,
        grad_scale=tokens.grad_scale,
        by_sequence=advantages_by_sequence(tokens.advantages, shape, sequences),
    )
    report = new_report(rows.targets.numel(), rows.logits.device)
    # In memory of its own, as a user may write to a loss.
    loss = report.new_empty(())
    fused_loss(rows, kernel_objective._replace(inputs=_flat(inputs)), report, dlogits)
    return loss, reduce_report(report, loss)


def _flat(inputs: TokenInputs) -> TokenInputs:
    # Kernels count tokens from 0 on; what lies together is not copied.
    tensors = {name: x for name, x in inputs._asdict().items() if isinstance(x, Tensor)}
    return inputs._replace(**{name: x.reshape(-1).contiguous() for name, x in tensors.items()})


def _mismatch_weights(tokens: LossTokens, objective: PolicyObjective) -> Tensor | None:
    inputs = tokens.inputs()
    if objective.scope(inputs) == "token":
        return None
    # A few small launches, for a mode of TRL that is its default; the logits are still walked by one kernel.
    views = {name: x.view(tokens.shape) for name, x in inputs.items() if name != "advantages"}
    return objective.with_mismatch_weights(views, tokens.layout())["importance_sampling_ratio"]


def _by_logprobs(
    rows: Rows, tokens: LossTokens, objective: PolicyObjective, dlogits: Tensor | None
) -> tuple[Tensor, Tensor]:
    statistics, layout = logprobs_forward(rows, tokens.with_entropy), tokens.layout()
    logp, dtype = statistics.logp.view(tokens.shape), statistics.logp.dtype
    entropy = statistics.entropy.view(tokens.shape) if tokens.with_entropy else None
    # Weights of tokens that do not count may be NaN, and 0 times NaN is NaN.
    weights = tokens.weights.to(dtype).view(tokens.shape).where(layout.active, 0.0)
    inputs = tokens.inputs()
    advantages = advantages_per_token(inputs.pop("advantages"), layout)
    inputs = {name: x.view(tokens.shape) for name, x in inputs.items()}
    terms = objective.terms(logp, entropy, weights, layout, advantages=advantages, **inputs)
    agreement = {"top1_agreement": logp == statistics.top.view(tokens.shape)}
    scalars = reduce_stats(terms.stats | agreement, layout.active, dtype)
    if dlogits is not None:
        # Without a coefficient the entropy has no gradient, and the kernel need not read it.
        dentropy = terms.dentropy if objective.entropy_coef else None
        # As in the kernel, the loss scale is in before dlogits are rounded.
        logprobs_backward(
            rows,
            statistics.lse,
            statistics.entropy,
            terms.dlogp.flatten() * tokens.grad_scale,
            None if dentropy is None else dentropy.flatten() * tokens.grad_scale,
            dlogits,
        )
    names = stat_names(objective, tokens)
    return (terms.loss * weights).sum(), torch.stack([scalars[name] for name in names])


def stat_names(objective: PolicyObjective, tokens: LossTokens) -> list[str]:
    """The names of the statistics, in their order."""
    return [*objective.stat_names(tokens.inputs(), tokens.with_entropy), "top1_agreement", "tokens"]
