"""DPO from hidden states by dupo_kernels, TRL, Liger and eager torch: the same loss and the same gradients.

    -mean over pairs of log sigmoid(beta (c - r)),  c, r = log(policy / reference) of the chosen, the rejected

Every variant computes the reference as well, without a gradient. Answers are likely, as after some training:
a token has -1.5 nats, and an answer of the policy a few nats more or less than one of the reference.

Shape letters: S sequences, all chosen ones before all rejected ones; T their padded length; V, H.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from bench.loss_head import peers
from dupo_kernels import linear_objective, linear_token_logprobs, preference_objective

BETA = 0.1
IGNORED = -100  # the label of a token that does not count, of Liger
# What TRL's DPOTrainer asks its head for, and what the loss needs of it.
OUTPUTS_OF_TRAINER = ("log_probs", "entropy", "mean_logits", "is_top1")
OUTPUTS_OF_LOSS = ("log_probs",)
LEAST_PROMPT, MOST_PROMPT, LEAST_ANSWER = 0.1, 0.4, 0.3  # as a share of T
NOISE = 0.3


@dataclass(frozen=True)
class DpoInputs:
    """Hidden states and heads of a policy and a reference.

    Attributes:
        hidden: (S, T, H), leaf. weight: (V, H), leaf.
        ref_hidden, ref_weight: of the reference.
        targets: (S, T).
        mask: (S, T), whether a token is in the answer; the prompt and padding are not.
    """

    hidden: Tensor
    weight: Tensor
    ref_hidden: Tensor
    ref_weight: Tensor
    targets: Tensor
    mask: Tensor

    @property
    def leaves(self) -> dict[str, Tensor]:
        """What has a gradient."""
        return {"hidden": self.hidden, "weight": self.weight}

    def double(self) -> "DpoInputs":
        """The same numbers in float64, with leaves of their own."""
        hidden, weight = (leaf.detach().double().requires_grad_() for leaf in self.leaves.values())
        heads = (self.ref_hidden.double(), self.ref_weight.double())
        return DpoInputs(hidden, weight, *heads, self.targets, self.mask)


def make_inputs(S: int, T: int, V: int, H: int) -> DpoInputs:
    """Inputs in float32, the same for the same sizes."""
    generator = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    start = (torch.empty(S, 1).uniform_(LEAST_PROMPT, MOST_PROMPT, generator=generator) * T).long()
    room = T - start
    length = (torch.empty(S, 1).uniform_(LEAST_ANSWER, 1, generator=generator) * room).long().clamp(min=1)
    position = torch.arange(T)
    mask = (position >= start) & (position < start + length)
    targets = torch.randint(0, V, (S, T), generator=generator)
    # Rows of length 1: the logit of a target is about log V, and those of all others are normal.
    weight = normal(V, H).div_(H**0.5)
    hidden = math.log(V) * weight[targets] + normal(S, T, H)
    ref_hidden = hidden + NOISE * normal(S, T, H)
    # The row of another word is noise as well, and takes no seconds to draw.
    ref_weight = weight.roll(1, 0).mul_(NOISE).add_(weight)
    return DpoInputs(hidden.requires_grad_(), weight.requires_grad_(), ref_hidden, ref_weight, targets, mask)


def loss_of_sums(sums: Tensor, ref_sums: Tensor) -> Tensor:
    """The loss as a trainer writes it, of (S,) sums of log-probabilities."""
    chosen, rejected = (sums - ref_sums).chunk(2)
    return -logsigmoid(BETA * (chosen - rejected)).mean()


def ours(inputs: DpoInputs, *, by_pair: bool = False) -> Callable[[], Tensor]:
    """`linear_objective` with groups.

    Args:
        by_pair: a chunk holds as many tokens as the longest pair, and so one pair or two; else the default.
    """
    pairs = inputs.targets.shape[0] // 2
    objective = preference_objective("sigmoid", beta=BETA)
    groups, mask = torch.arange(pairs).repeat(2), inputs.mask
    longest = int(mask.view(2, pairs, -1).sum((0, 2)).max())
    chunk = longest if by_pair else None

    def loss() -> Tensor:
        with torch.no_grad():
            ref_logp, _ = linear_token_logprobs(
                inputs.ref_hidden, inputs.ref_weight, inputs.targets, mask=mask, chunk_tokens=chunk
            )
        return linear_objective(
            inputs.hidden,
            inputs.weight,
            inputs.targets,
            objective,
            {"ref_logps": ref_logp.sum(1)},
            groups=groups,
            mask=mask,
            chunk_tokens=chunk,
        )[0]

    return loss


def trl(inputs: DpoInputs, *, whole: bool) -> Callable[[], Tensor]:
    """The head of TRL's DPOTrainer, which no logits leave.

    Args:
        whole: as the trainer calls the head on a CPU: all tokens, and what its metrics need. Else as on a
            GPU, where tokens that do not count are left out, and for the loss alone.
    """
    function = peers.trl_kernels("chunked_logprob").ChunkedLogProbFunction
    mask = inputs.mask
    rows = torch.ones_like(mask) if whole else mask
    ids = inputs.targets[rows]
    chunk = min(peers.TRL_VOCABULARY_CHUNK, inputs.weight.shape[0])

    def sums(hidden: Tensor, weight: Tensor, outputs: tuple[str, ...]) -> Tensor:
        logp = function.apply(hidden[rows], weight, None, ids, 1.0, chunk, None, 1.0, outputs)[0]
        if whole:
            return logp.view(mask.shape).masked_fill(~mask, 0).sum(1)
        return logp.new_zeros(mask.shape).masked_scatter(mask, logp).sum(1)

    def loss() -> Tensor:
        with torch.no_grad():
            ref_sums = sums(inputs.ref_hidden, inputs.ref_weight, OUTPUTS_OF_LOSS)
        outputs = OUTPUTS_OF_TRAINER if whole else OUTPUTS_OF_LOSS
        return loss_of_sums(sums(inputs.hidden, inputs.weight, outputs), ref_sums)

    return loss


def liger(inputs: DpoInputs, *, compiled: bool) -> Callable[[], Tensor]:
    """Liger's loss, a pair at a time as by default."""
    module = peers.load("liger_kernel", ".chunked_loss").LigerFusedLinearDPOLoss(beta=BETA, compiled=compiled)
    labels = inputs.targets.masked_fill(~inputs.mask, IGNORED)
    reference = {"ref_input": inputs.ref_hidden, "ref_weight": inputs.ref_weight}
    return lambda: module(inputs.weight, inputs.hidden, labels, **reference)[0]


def eager(inputs: DpoInputs) -> Callable[[], Tensor]:
    """Whole logits, as TRL's trainers of CPO and ORPO have them."""

    def sums(hidden: Tensor, weight: Tensor) -> Tensor:
        log_p = (hidden @ weight.t()).log_softmax(-1)
        return (log_p.gather(-1, inputs.targets[..., None])[..., 0] * inputs.mask).sum(1)

    def loss() -> Tensor:
        with torch.no_grad():
            ref_sums = sums(inputs.ref_hidden, inputs.ref_weight)
        return loss_of_sums(sums(inputs.hidden, inputs.weight), ref_sums)

    return loss
