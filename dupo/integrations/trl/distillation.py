"""TRL's GKD without whole logits: the divergence of the student's head from the teacher's, a chunk at a time.

    loss = sum over the tokens that count of JSD_beta(teacher, student) / their number        arXiv 2306.13649

TRL computes the logits of both models. Here both give their hidden states through TRL's fused head: the
teacher's are kept, and the student's call is answered by `linear_divergence`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dupo.integrations.trl.fused_call import call_head
from dupo.integrations.trl.head import Results, instead, like
from dupo.integrations.trl.whole_logits import IGNORED, needs_stock
from dupo_kernels import linear_divergence

Method = Callable[..., Any]
_OUTPUTS = ("log_probs",)


class _Teacher(NamedTuple):
    """What a head of the teacher was called with."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    softcap: float | None
    logit_scale: float


def gkd_compute_loss(stock: Method) -> Method:
    """`GKDTrainer.compute_loss`; evaluation, which wants the logits too, stays TRL's."""

    def compute_loss(
        self: Any, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if return_outputs or needs_stock(self, model) or needs_stock(self, self.teacher_model):
            return stock(self, model, inputs, return_outputs, num_items_in_batch)
        scored = {name: inputs[name] for name in ("input_ids", "attention_mask", "labels")}
        # Before the student, whose call needs what the teacher's has seen.
        self.teacher_model.eval()
        seen: list[_Teacher] = []
        with torch.no_grad(), instead(lambda **call: _keep(seen, **call)):
            call_head(self, self.teacher_model, _OUTPUTS, scored, aux=False)
        counted = inputs["labels"][:, 1:].reshape(-1) != IGNORED
        with instead(lambda **call: _diverge(seen[0], self.beta, counted, **call)):
            scored |= {"num_items_in_batch": num_items_in_batch}
            return call_head(self, model, _OUTPUTS, scored, aux=False).loss

    return compute_loss


def _keep(
    seen: list[_Teacher],
    *,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    softcap: float | None,
    logit_scale: float,
    **_: Any,
) -> Results:
    weight, bias = like(hidden, weight, bias)
    seen.append(_Teacher(hidden, weight, bias, softcap, logit_scale))
    return _as_results(hidden.new_zeros(hidden.shape[0], dtype=torch.float32))


def _diverge(
    teacher: _Teacher,
    beta: float,
    counted: Tensor,
    *,
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None,
    temperature: float,
    softcap: float | None,
    logit_scale: float,
    outputs: Sequence[str],
) -> Results:
    """The divergence in the place of log-probabilities: minus its sum stands in a row that counts."""
    weight, bias = like(hidden, weight, bias)
    # On a GPU the rows that do not count are gone already.
    mask = counted if hidden.shape[0] == counted.numel() else torch.ones_like(targets, dtype=torch.bool)
    loss, _ = linear_divergence(
        hidden,
        weight,
        teacher.hidden,
        teacher.weight,
        beta=beta,
        temperature=temperature,
        weights=torch.ones(targets.shape, device=hidden.device),
        mask=mask,
        bias=bias,
        teacher_bias=teacher.bias,
        logit_scale=logit_scale,
        softcap=softcap,
        teacher_logit_scale=teacher.logit_scale,
        teacher_softcap=teacher.softcap,
    )
    # TRL sums the rows and divides by the tokens of the batch, so any row that counts may hold the sum.
    first = torch.arange(targets.numel(), device=hidden.device) == mask.int().argmax()
    return _as_results(torch.where(first, -loss, 0.0))


def _as_results(log_probs: Tensor) -> Results:
    return (log_probs, None, None, None, None)
