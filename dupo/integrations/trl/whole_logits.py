"""TRL's CPO, ORPO and Online DPO without whole logits: these still compute (B, T, V) and read a few of them.

    log-probabilities of the tokens that are read, (B, T)       mean logit of every position, (B, T)

are what they make of the logits. Here the model gives both through TRL's fused head, under which ours stands.
Losses and metrics stay TRL's own code. Rows that nobody reads reach no product.

Letters: B sequences, those of the chosen answers before those of the rejected; T positions; V vocabulary.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dupo.integrations.trl.fused_call import call_head
from dupo.integrations.trl.head import counting
from dupo.integrations.trl.plain_heads import is_plain

Method = Callable[..., Any]
IGNORED = -100  # TRL's label of a token that is no part of an answer
_OUTPUTS = ("log_probs", "mean_logits")


def cpo_forward(stock: Method) -> Method:
    """`CPOTrainer.concatenated_forward`; its logits are (B/2, T) means, whose mean TRL logs."""

    def concatenated_forward(self: Any, model: Any, batch: Any) -> Any:
        if needs_stock(self, model):
            return stock(self, model, batch)
        inputs = _concatenated(self, batch, self.pad_token_id)
        counted = inputs["concatenated_labels"] != IGNORED
        outputs = _score(self, model, inputs, counted)
        logps = _sums(outputs.log_probs, counted, averages=self.loss_type in ("ipo", "simpo"))
        B = batch["chosen_labels"].shape[0]
        nll = logps.new_zeros(()) if self.cpo_alpha == 0 else _nll(outputs.log_probs[:B], counted[:B])
        means = outputs.mean_logits
        aux = (outputs.aux_loss,) if self.aux_loss_enabled else ()
        return (logps[:B], logps[B:], means[:B], means[B:], nll, *aux)

    return concatenated_forward


def orpo_forward(stock: Method) -> Method:
    """`ORPOTrainer.concatenated_forward`, whose likelihood of the chosen is that of the prompts as well."""

    def concatenated_forward(self: Any, model: Any, batch: Any) -> Any:
        if needs_stock(self, model):
            return stock(self, model, batch)
        inputs = _concatenated(self, batch, self.padding_value)
        answers = inputs["concatenated_labels"] != IGNORED
        B = batch["chosen_labels"].shape[0]
        chosen = inputs["concatenated_attention_mask"][:B] == 1
        outputs = _score(self, model, inputs, torch.cat([answers[:B] | chosen, answers[B:]]))
        logps = _sums(outputs.log_probs, answers, averages=True)
        nll = _nll(outputs.log_probs[:B], chosen)
        # ORPO leaves the last position out, which predicts nothing.
        means = outputs.mean_logits[:, :-1]
        aux = (outputs.aux_loss,) if self.aux_loss_enabled else ()
        return (logps[:B], logps[B:], means[:B], means[B:], nll, *aux)

    return concatenated_forward


def online_dpo_forward(stock: Method) -> Method:
    """`OnlineDPOTrainer._forward`: log-probabilities of all positions of the completions."""

    def _forward(
        self: Any,
        model: Any,
        prompt_ids: Tensor,
        prompt_mask: Tensor,
        completion_ids: Tensor,
        completion_mask: Tensor,
        vision_inputs: Any = None,
    ) -> Tensor:
        length = completion_ids.size(1)
        cut = max(prompt_ids.size(1) + length - self.max_length, 0)
        # Without a prompt TRL reads the first token off the first position, which no shifted label does.
        if vision_inputs is not None or cut >= prompt_ids.size(1) or needs_stock(self, model):
            arguments = prompt_ids, prompt_mask, completion_ids, completion_mask
            return stock(self, model, *arguments, *([] if vision_inputs is None else [vision_inputs]))
        ids = torch.cat([prompt_ids[:, cut:], completion_ids], dim=1)
        inputs = {
            "concatenated_input_ids": ids,
            "concatenated_attention_mask": torch.cat([prompt_mask[:, cut:], completion_mask], dim=1),
        }
        counted = torch.zeros_like(ids, dtype=torch.bool)
        # TRL's KL and entropy sum what stands behind the end of a completion too.
        counted[:, -length:] = True
        return _score(self, model, inputs, counted, outputs=("log_probs",)).log_probs[:, -length - 1 : -1]

    return _forward


def needs_stock(trainer: Any, model: Any) -> bool:
    """Whether the model is one that a fused head does not serve."""
    peft_config = getattr(trainer.accelerator.unwrap_model(model), "active_peft_config", None)
    # Virtual tokens make the sequence longer than the labels.
    is_prompt = getattr(peft_config, "is_prompt_learning", False)
    return is_prompt or getattr(trainer, "is_encoder_decoder", False) or not is_plain(trainer, model)


def _concatenated(trainer: Any, batch: Any, padding: int) -> dict[str, Tensor]:
    return trainer.concatenated_inputs(
        batch, is_encoder_decoder=False, padding_value=padding, device=trainer.accelerator.device
    )


def _score(
    trainer: Any,
    model: Any,
    inputs: dict[str, Tensor],
    counted: Tensor,
    outputs: tuple[str, ...] = _OUTPUTS,
) -> Any:
    """TRL's output of a fused head, all fields (B, T): position t has the log-probability of token t + 1.

    Args:
        counted: (B, T), tokens whose log-probability is read.
    """
    ids = inputs["concatenated_input_ids"]
    # Every position has a label, or its mean logit would be 0. What is shifted in does not count.
    labels = torch.cat([ids[:, 1:], ids[:, :1]], dim=1)
    counted = torch.cat([counted[:, 1:], torch.zeros_like(counted[:, :1])], dim=1)
    inputs = {
        "input_ids": ids,
        "attention_mask": inputs["concatenated_attention_mask"],
        "shift_labels": labels,
    }
    with counting(counted):
        return call_head(trainer, model, outputs, inputs, aux=getattr(trainer, "aux_loss_enabled", False))


def _sums(logps: Tensor, counted: Tensor, *, averages: bool) -> Tensor:
    """(B,) sums, or means, of the log-probabilities of the tokens that count; tokens are (B, T)."""
    counted = counted[:, 1:]
    sums = (logps[:, :-1] * counted).sum(-1)
    return sums / counted.sum(-1) if averages else sums


def _nll(logps: Tensor, counted: Tensor) -> Tensor:
    """The mean over all tokens that count, negated; a number."""
    counted = counted[:, 1:]
    return -(logps[:, :-1] * counted).sum() / counted.sum()
