"""The right results, in float64 from equal inputs, and the error of a result.

Log-probabilities are compared on every token, gradients on a few rows of hidden and of weight. Those rows
stand for all rows: dhidden[n] needs the logits of token n alone; dweight[v] needs column v, and logp and lse
of every token.

Shape letters: N tokens, V vocabulary, H hidden size, R checked rows of hidden, C checked rows of weight.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from bench.loss_head.harness import Result
from bench.loss_head.inputs import HeadInputs, LogitsInputs, per_token, squashed
from dupo_kernels import PolicyObjective, PolicyOptions, policy_loss_ref, token_logprobs_ref

NUM_CHECKED_HIDDEN, NUM_CHECKED_WEIGHT = 64, 1024  # rows
SLICE_ELEMENTS = 1 << 27  # float64 logits that exist at once

ErrorsOf = Callable[[Result], dict[str, float]]


@dataclass(frozen=True)
class Sums:
    """What the softmax of every token gives, (N,) float64, nats."""

    logp: Tensor
    entropy: Tensor
    lse: Tensor


@dataclass(frozen=True)
class LossSlopes:
    """Derivatives of a loss.

    Attributes:
        loss: scalar; None where the log-probabilities themselves are compared.
        dlogp: dloss/dlogp, (N,) float64.
        dentropy: dloss/dentropy, (N,) float64; None where the loss has no entropy term.
    """

    loss: Tensor | None
    dlogp: Tensor
    dentropy: Tensor | None


def softmax_sums(head: HeadInputs) -> Sums:
    """The sums of every token of a head, a slice of tokens at a time."""
    hidden_NH, weight_VH = (x.double() for x in head.plain)
    return _softmax_sums(head, weight_VH.shape[0], lambda rows: hidden_NH[rows] @ weight_VH.t())


def logits_sums(inputs: LogitsInputs) -> Sums:
    """The sums of every token of the logits path."""
    logits_NV = inputs.leaves[0].detach()
    return _softmax_sums(inputs, logits_NV.shape[1], lambda rows: logits_NV[rows].double())


def _softmax_sums(inputs: HeadInputs | LogitsInputs, V: int, logits_of: Callable[[Tensor], Tensor]) -> Sums:
    slices = []
    # All logits in float64 would need 10 GB at the first GPU shape.
    tokens = torch.arange(inputs.targets.numel(), device=inputs.targets.device)
    for rows in tokens.split(max(1, SLICE_ELEMENTS // V)):
        logits = squashed(logits_of(rows), inputs.setting.softcap)
        logp, entropy = token_logprobs_ref(logits, inputs.targets[rows], entropy=True)
        slices.append((logp, entropy, logits.logsumexp(-1)))
    return Sums(*map(torch.cat, zip(*slices, strict=True)))


def objective_slopes(inputs: HeadInputs | LogitsInputs, sums: Sums, objective: PolicyObjective) -> LossSlopes:
    """The derivatives of the policy loss by its definition, by autograd in float64."""
    # The loss is a function of two numbers a token; autograd needs no logits here. Sequences are rows.
    shape = -1, inputs.sequence_length
    leaves = [sums.logp.clone().requires_grad_(), sums.entropy.clone().requires_grad_()]
    logp, entropy = (x.view(shape) for x in leaves)
    read = {name: x.double().view(shape) for name, x in per_token(inputs, objective).items()}
    options = {spec.name: getattr(objective, spec.name) for spec in fields(PolicyOptions)}
    mask = (inputs.weights != 0).view(shape)
    total = policy_loss_ref(logp, entropy=entropy, mask=mask, **read, **options)
    dlogp, dentropy = torch.autograd.grad(total, leaves, allow_unused=True)
    assert dlogp is not None
    return LossSlopes(total.detach(), dlogp, dentropy if objective.entropy_coef else None)


def fixed_slopes(head: HeadInputs, entropy: bool) -> LossSlopes:
    """The derivatives that the inputs bring, for a head without a loss."""
    dlogp, dentropy = (slope.double() for slope in head.slopes)
    return LossSlopes(None, dlogp, dentropy if entropy else None)


def head_errors(head: HeadInputs, sums: Sums, slopes: LossSlopes) -> ErrorsOf:
    """Errors of a head or a loss: of its value, absolute, and of both gradients, relative."""
    hidden_NH, weight_VH = head.plain
    V, device = weight_VH.shape[0], hidden_NH.device
    rows_R = _evenly_spread(len(hidden_NH), NUM_CHECKED_HIDDEN, device)
    rows_C = _evenly_spread(V, NUM_CHECKED_WEIGHT, device)
    dlogp = slopes.dlogp
    dentropy = torch.zeros_like(dlogp) if slopes.dentropy is None else slopes.dentropy

    def dlogits(tokens: Tensor | slice, ids: Tensor) -> Tensor:
        """dz_v = dlogp (1[v = target] - p_v) - dentropy p_v (log p_v + entropy), of some tokens and ids;
        with a softcap, times dz_v / dlogit_v = 1 - (z_v / softcap)^2."""
        softcap = head.setting.softcap
        z = squashed(hidden_NH[tokens].double() @ weight_VH[ids].double().t(), softcap)
        log_p = z - sums.lse[tokens, None]
        is_target = (head.targets[tokens, None] == ids).double()
        p = log_p.exp()
        by_entropy = dentropy[tokens, None] * p * (log_p + sums.entropy[tokens, None])
        dz = dlogp[tokens, None] * (is_target - p) - by_entropy
        return dz * (1 - (z / softcap) ** 2) if softcap else dz

    dhidden_RH = dlogits(rows_R, torch.arange(V, device=device)) @ weight_VH.double()
    dweight_CH = dlogits(slice(None), rows_C).t() @ hidden_NH.double()
    name, value = ("logp", sums.logp) if slopes.loss is None else ("loss", slopes.loss)

    def errors(result: Result) -> dict[str, float]:
        by_name = {}
        if result.value is not None:
            by_name[name] = absolute_error(result.value, value)
        if result.gradients:
            by_name["dhidden"] = relative_error(result.gradients[0][rows_R], dhidden_RH)
            by_name["dweight"] = relative_error(result.gradients[1][rows_C], dweight_CH)
        return by_name

    return errors


def logits_errors(inputs: LogitsInputs, entropy: bool, loss_slopes: LossSlopes | None = None) -> ErrorsOf:
    """Errors of the logits path: of logp, absolute, and of dlogits, relative.

    Args:
        loss_slopes: of a loss, which is then compared in the place of logp; None: the slopes of the inputs.
    """
    logits_NV = inputs.leaves[0].detach()
    rows_R = _evenly_spread(logits_NV.shape[0], NUM_CHECKED_HIDDEN, logits_NV.device)
    upstream = inputs.slopes
    if loss_slopes is not None:
        no_slope = torch.zeros_like(loss_slopes.dlogp)
        upstream = (
            loss_slopes.dlogp,
            no_slope if loss_slopes.dentropy is None else loss_slopes.dentropy,
        )
    # Rows of logits do not depend on one another, so a few rows need no others.
    leaf_RV = logits_NV[rows_R].double().requires_grad_()
    z_RV = squashed(leaf_RV, inputs.setting.softcap)
    logp, entropy_R = token_logprobs_ref(z_RV, inputs.targets[rows_R], entropy=entropy)
    outputs = (logp,) if entropy_R is None else (logp, entropy_R)
    slopes = [slope[rows_R].double() for slope in upstream][: len(outputs)]
    (dlogits_RV,) = torch.autograd.grad(outputs, leaf_RV, slopes)

    def errors(result: Result) -> dict[str, float]:
        by_name = {}
        if loss_slopes is not None and result.value is not None:
            by_name["loss"] = absolute_error(result.value, loss_slopes.loss)
        elif result.value is not None:
            by_name["logp"] = absolute_error(result.value[rows_R], logp.detach())
        if result.gradients:
            by_name["dlogits"] = relative_error(result.gradients[0][rows_R], dlogits_RV)
        return by_name

    return errors


def absolute_error(result: Tensor, truth: Tensor | None) -> float:
    """The largest absolute error; NaN if the result holds one."""
    assert truth is not None
    return (result.double() - truth).abs().max().item()


def relative_error(result: Tensor, truth: Tensor) -> float:
    """The Frobenius norm of the error over that of the truth."""
    return ((result.double() - truth).norm() / truth.norm()).item()


def _evenly_spread(size: int, count: int, device: torch.device) -> Tensor:
    """At most `count` indices below `size`."""
    return torch.arange(0, size, max(1, size // count), device=device)[:count]
