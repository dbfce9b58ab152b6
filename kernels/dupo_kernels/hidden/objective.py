"""A loss straight from hidden states, when the loss is known: each chunk of logits lives once.

    logits -> logp, entropy -> objective on [chunk] -> dlogits in their place -> dhidden, dweight

6NVH flop and the logits of one chunk, whatever the loss, where the derivative of a token depends on that
token alone (scope "token"). Where it depends on its sequence or the batch, all log-probabilities
come first: 6NVH while the logits fit `save_budget`, 8NVH for those that do not, the same result.

The gradients are made in the forward pass; the backward pass multiplies them by the gradient of the loss. The
rest is as in linear.py.

Shape letters: N tokens, M of them that count, V vocabulary, H hidden. "Tokens" is (N,) or (B, T).
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from dupo_kernels.hidden.head import Evaluated, Plan, chunk_rows, kept_rows, run_objective, select
from dupo_kernels.hidden.logprobs import (
    SAVE_BUDGET,
    Given,
    check_rows,
    check_tensors,
    index_of,
    linear_token_logprobs_ref,
    make_head,
    prepare,
    spread,
)
from dupo_kernels.hidden.user_objective import CallableObjective, differentiate
from dupo_kernels.logits.logprobs import Found
from dupo_kernels.tokens.policy_loss import check_tokens, flat_inputs, token_layout
from dupo_kernels.tokens.policy_objective import TOKEN_INPUTS, PolicyObjective
from dupo_kernels.tokens.policy_terms import reduce_stats
from dupo_kernels.tokens.reference import losses_ref
from dupo_kernels.tokens.weights import Layout, packed_layout

Objective = Callable[..., tuple[Tensor, dict[str, Tensor]]]


# --- reference -------------------------------------------------------------------------------------


def linear_objective_ref(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    objective: Objective,
    per_token: Mapping[str, Tensor],
    *,
    weights: Tensor,
    mask: Tensor | None = None,
    rows: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    entropy: bool = True,
    **head: Any,
) -> Tensor:
    """The loss of `linear_objective` by its definition and autograd; fp64 inputs give the truth.

    head: bias, temperature, logit_scale, softcap.
    """
    if rows is not None:
        mask = torch.zeros_like(weights).flatten().index_fill(0, rows.long(), 1).view(weights.shape)
    logp, H = linear_token_logprobs_ref(hidden, weight, targets, mask=mask, entropy=entropy, **head)
    if isinstance(objective, PolicyObjective):
        layout = token_layout(targets, "targets", mask, cu_seqlens)
        losses, weights = losses_ref(objective, logp, H, layout, **per_token), weights[layout.active]
    else:
        losses, _ = objective(logp, H, **per_token)
        weights = weights if mask is None else weights.where(mask != 0, 0.0)
    return (losses * weights).sum()


# --- a policy objective: one op, which torch.compile takes as it is --------------------------------


@torch.library.custom_op("dupo_kernels::linear_objective", mutates_args=())
def _op(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    inv_temperature: Tensor,
    softcap: float,
    logits_dtype: torch.dtype,
    group: str,
    wanted: list[bool],
    index: Tensor | None,
    mask: Tensor | None,
    plan: list[int],
    choices: str,
    numbers: list[float],
    weights: Tensor,
    advantages: Tensor | None,
    old_logprobs: Tensor | None,
    ref_logprobs: Tensor | None,
    sampling_logprobs: Tensor | None,
    shape: list[int],
    cu_seqlens: Tensor | None,
    entropy: bool,
    grad_scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(loss, stats (K,) in the order of `_stat_names`, dhidden, dweight, dbias)."""
    N = targets.numel()
    index = index_of(index, mask)
    per_token = advantages, old_logprobs, ref_logprobs, sampling_logprobs
    given = {name: x for name, x in zip(TOKEN_INPUTS, per_token, strict=True) if x is not None}
    objective = PolicyObjective.decoded(choices, numbers)
    policy = _Policy(objective, given, weights, index, shape, cu_seqlens, entropy, grad_scale)
    head_inputs = Given(hidden, weight, bias, targets, inv_temperature, softcap, logits_dtype, group, wanted)
    head = make_head(head_inputs, index)
    M = head.targets.numel()
    active, kept, step = plan
    cut = Plan(M, M if mask is not None else active, min(kept, M), step)
    loss, stats = run_objective(head, cut, policy, entropy, policy.layout is None)
    found = reduce_stats(stats, policy.active, loss.dtype)
    dhidden, dweight, dbias = head.gradients(N, index)
    if mask is not None and _several_chunks(N, None, mask, plan):  # they may have been one
        dweight = dweight.to(inv_temperature.dtype)
    names = _stat_names(objective, given, entropy)
    return loss, torch.stack([found[n] for n in names]), dhidden, dweight, dbias


def _several_chunks(N: int, index: Tensor | None, mask: Tensor | None, plan: list[int]) -> bool:
    """Whether the gradient of weight is a float32 sum; of a mask only the size is known."""
    rows = N if index is None else index.shape[0]
    active, kept, step = plan
    active = N if mask is not None else min(active, rows)
    return active > kept if kept else active > step  # no range(): sizes may be symbols


class _Policy:
    """A policy objective of one call: rows in, loss and derivatives out.

    Attributes:
        layout: of all tokens, for an objective that knows sequences; None if a token is enough.
        active: (M,), which rows count: those within cu_seqlens.
    """

    def __init__(
        self,
        objective: PolicyObjective,
        given: dict[str, Tensor],
        weights: Tensor,
        index: Tensor | None,
        shape: list[int],
        cu_seqlens: Tensor | None,
        entropy: bool,
        grad_scale: float,
    ) -> None:
        N = weights.numel()
        inside = _inside(weights, cu_seqlens)
        self.objective, self.index, self.shape = objective, index, shape
        self.entropy, self.grad_scale, self.layout = entropy, grad_scale, None
        if objective.scope(given) != "token":
            layout = _layout(index, N, shape, cu_seqlens, weights.device)
            given = objective.with_known_ratio({name: x.view(shape) for name, x in given.items()}, layout)
            if objective.scope(given) != "token":
                self.layout = layout
        self.active = self._rows(inside)
        if self.layout is None:
            self.weights = self._rows(weights).where(self.active, 0.0)
            self.given = {name: self._rows(x.reshape(N)) for name, x in given.items()}
        else:
            self.weights, self.given = weights.view(shape).where(self.layout.active, 0.0), given

    def __call__(self, found: Found, at: slice) -> Evaluated:
        logp, H = found.logp, found.entropy if self.entropy else None
        if self.layout is None:
            weights, given = self.weights[at], {name: x[at] for name, x in self.given.items()}
            layout = Layout(self.active[at], weights, 1)
        else:
            weights, given, layout, N = self.weights, self.given, self.layout, self.weights.numel()
            logp = spread(logp, N, self.index).view(self.shape)
            H = None if H is None else spread(H, N, self.index).view(self.shape)
        terms = self.objective.terms(logp, H, weights, layout, **given)
        b = terms.dentropy if self.objective.entropy_coef else None
        stats = {name: self._of_rows(x.expand(logp.shape)) for name, x in terms.stats.items()}
        a, b = self._of_rows(terms.dlogp), None if b is None else self._of_rows(b)
        if self.grad_scale != 1:
            a, b = a * self.grad_scale, None if b is None else b * self.grad_scale
        return (terms.loss * weights).sum(), a, b, stats

    def _rows(self, x: Tensor) -> Tensor:
        return x if self.index is None else x[self.index]

    def _of_rows(self, x: Tensor) -> Tensor:
        return x if self.layout is None else self._rows(x.flatten())


@_op.register_fake
def _(hidden, weight, bias, targets, inv_temperature, *rest):
    wanted, index, mask, plan, choices, numbers, _, *per_token, _, _, entropy, _ = rest[3:]
    objective, given = (
        PolicyObjective.decoded(choices, numbers),
        dict(zip(TOKEN_INPUTS, per_token, strict=True)),
    )
    new = inv_temperature.new_empty
    several = _several_chunks(hidden.shape[0], index, mask, plan)
    wide = inv_temperature.dtype if several else hidden.dtype
    none = hidden.new_empty(0)
    like = (hidden, hidden.dtype), (weight, wide), (none if bias is None else bias, inv_temperature.dtype)
    made = [
        hidden.new_empty(x.shape if want else (0,), dtype=t)
        for (x, t), want in zip(like, wanted, strict=True)
    ]
    return new(()), new(len(_stat_names(objective, given, entropy))), *made


def _inside(weights: Tensor, cu_seqlens: Tensor | None) -> Tensor:
    """(N,), the tokens within the bounds."""
    if cu_seqlens is None:
        return torch.ones_like(weights, dtype=torch.bool)
    return packed_layout(cu_seqlens, weights.numel()).active


def _stat_names(objective: PolicyObjective, given: Mapping[str, Any], entropy: bool) -> list[str]:
    return [*objective.stat_names(given, entropy), "top1_agreement", "tokens"]


def _layout(
    index: Tensor | None, N: int, shape: list[int], cu_seqlens: Tensor | None, device: torch.device
) -> Layout:
    active = torch.ones(N, dtype=torch.bool, device=device)
    if index is not None:
        active = torch.zeros_like(active).index_fill_(0, index, True)
    return token_layout(active.view(shape), "targets", active.view(shape), cu_seqlens)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    hidden, ctx.grad_scale = inputs[0], inputs[-1]
    ctx.dtype, ctx.wanted, ctx.inputs = hidden.dtype, inputs[8], len(inputs)
    ctx.save_for_backward(*output[2:])
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)  # else backward starts with zeros as large as the gradients
    ctx.consumed = False


_op.register_autograd(differentiate, setup_context=_save)


# --- public function -------------------------------------------------------------------------------


def linear_objective(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    objective: PolicyObjective | Objective,
    per_token: Mapping[str, Tensor | None],
    *,
    weights: Tensor,
    mask: Tensor | None = None,
    rows: Tensor | None = None,
    row_needs_grad: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    bias: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    entropy: bool = True,
    logits_dtype: torch.dtype = torch.float32,
    save_budget: int = SAVE_BUDGET,
    chunk_tokens: int | None = None,
    process_group: Any = None,
    grad_scale: float | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """sum(weights * objective) over the tokens that count, and its gradients, from hidden states.

    Args:
        hidden, weight, targets, bias, temperature, logit_scale, softcap, logits_dtype, process_group: see
            `linear_token_logprobs`; so is what autocast, DTensor and checkpointing do.
        objective: what `policy_objective` returns, or any callable (logprobs, entropy or None, **per_token)
            -> (loss, stats) of each token, which autograd differentiates (a graph break in torch.compile).
            It sees the tokens of a chunk, (c,), unless its attribute `scope` is "sequence" or "batch": then
            all of them at once, of the shape of targets, 0 where they do not count.
        per_token: by name, tensors of the shape of targets. For a policy objective: advantages (also one
            for each sequence) and, where there are any, old_logprobs (without them the ratio is 1 and needs
            no pass), ref_logprobs, sampling_logprobs.
        weights: tokens, fp32: `token_weights` of the loss type.
        mask, rows: which tokens count, see `linear_token_logprobs`.
        row_needs_grad: tokens, bool; those that are False get no backward GEMM. For who knows that they have
            none: advantage 0 (with a ratio of sequences, in the whole sequence), beta 0 and entropy_coef 0.
            From the host, without a mask on the device, it waits for nothing. torch.compile ignores it.
        cu_seqlens: (S + 1,), bounds of packed sequences. Tokens outside them do not count; `rows` would also
            leave them out of the GEMMs.
        entropy: report it; a policy objective that needs it gets it anyway.
        save_budget: bytes. Scope "token": all tokens are one chunk if their logits fit. Else: logits kept.
        chunk_tokens: rows whose logits exist at once. None: see docs/loss_head.md.
        grad_scale: fp16 only, where it is required: the factor that a loss scaler will multiply the loss by,
            taken in before anything is rounded to fp16.

    Returns:
        (loss, stats). loss: scalar, fp32 (fp64 for fp64 inputs), differentiable once in hidden, weight, bias.
        stats: as of `policy_loss`, and "top1_agreement", the share of targets that were the likeliest token.

    Raises:
        ValueError: as `linear_token_logprobs` and `policy_loss`; fp16 without grad_scale.
        RuntimeError: a second backward.
    """
    row_needs_grad = None if torch.compiler.is_compiling() else row_needs_grad
    tensors = {"mask": mask, "rows": rows, "row_needs_grad": row_needs_grad, "cu_seqlens": cu_seqlens}
    check_tensors(hidden=hidden, weight=weight, targets=targets, bias=bias, **tensors, **per_token)
    _check_objective(objective, weights)
    given = prepare(
        hidden, weight, targets, bias,
        temperature=temperature, logit_scale=logit_scale, softcap=softcap, logits_dtype=logits_dtype,
        process_group=process_group,
    )  # fmt: skip
    check_rows(targets, mask, rows, save_budget, chunk_tokens)
    check_tokens(targets.shape, "targets", weights=weights, row_needs_grad=row_needs_grad)
    is_policy = isinstance(objective, PolicyObjective)
    tokens = flat_inputs(per_token, targets, mask, cu_seqlens, advantages_too=not is_policy)
    _check_scale(given, grad_scale)
    late = mask.reshape(-1) if mask is not None and torch.compiler.is_compiling() else None
    N = targets.numel()
    index, active = (None, N) if late is not None else select(N, hidden.device, mask, rows, row_needs_grad)
    scope = _scope(objective, tokens, cu_seqlens is not None or targets.dim() == 2)
    plan = _plan(given, index, active, scope, save_budget, chunk_tokens)
    shape, scale, head = list(targets.shape), grad_scale or 1.0, given[:3]
    weights = weights.detach().to(given.inv_temperature.dtype).reshape(N)
    if not is_policy:
        given = given._replace(report={})
        inside = _inside(weights, cu_seqlens)
        call = given, index, inside, plan, objective, weights, tokens, shape, entropy, scale
        return CallableObjective.apply(*head, call), given.report  # type: ignore[return-value]
    entropy = entropy or objective.entropy_coef != 0 or objective.top_entropy_quantile < 1
    choices, numbers = objective.encoded()
    inputs = (tokens.get(name) for name in TOKEN_INPUTS)
    found = _op(
        *head, given.targets, given.inv_temperature, given.softcap, given.logits_dtype, given.group,
        given.wanted, index, late, list(plan[1:]), choices, numbers, weights, *inputs, shape, cu_seqlens,
        entropy, scale,
    )  # fmt: skip
    names = _stat_names(objective, tokens, entropy)
    return found[0], dict(zip(names, found[1].unbind(), strict=True))


def _scope(objective: Any, given: Mapping[str, Any], knows_sequences: bool) -> str:
    if not isinstance(objective, PolicyObjective):
        return getattr(objective, "scope", "token")
    objective.check_inputs({**given, "entropy": True}, knows_sequences)
    known = {"importance_sampling_ratio": True} if "old_logprobs" in given else {}
    return objective.scope({**given, **known})


def _check_objective(objective: Any, weights: Any) -> None:
    check_tensors(required=("weights",), weights=weights)
    if not callable(objective):
        raise ValueError(f"objective must be a policy_objective or a function, got {objective!r}")


def _check_scale(given: Given, grad_scale: float | None) -> None:
    if given.hidden.dtype == torch.float16 and any(given.wanted) and grad_scale is None:
        raise ValueError("grad_scale must be given for float16 (the loss scale), got None")


def _plan(
    given: Given, index: Tensor | None, active: int, scope: str, save_budget: int, chunk_tokens: int | None
) -> Plan:
    (V, H), itemsize = given.weight.shape, given.logits_dtype.itemsize
    sizes = V, H, itemsize, save_budget, chunk_tokens
    M = given.targets.numel() if index is None else index.numel()
    kept = kept_rows(active, *sizes) if scope != "token" and any(given.wanted) else 0
    return Plan(M, active, kept, chunk_rows(M - kept, *sizes))
