"""Whether the logits of a model are what a fused head takes them for.

    softcap(logit_scale x (hidden (T, H) @ weight (V, H)^T + bias)) = logits (T, V) of the model itself

A fused head reads weight and bias, and the names of a config that TRL knows. An adapter on the head, a
quantized weight, or a softcap of another name would be lost without a word.

Letters: T positions; H hidden; V vocabulary.
"""

import warnings
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from dupo.integrations.trl.fused_call import base_of, call_head
from dupo.integrations.trl.head import Results, instead

PROBED = 8  # tokens of the one text on which both are compared
ROUNDINGS = 8  # between the two ways, in units of the type of the logits
# Both are looked at once for each model: a comparison costs two short forward passes.
_agrees: "WeakKeyDictionary[Any, bool]" = WeakKeyDictionary()


def is_plain(trainer: Any, model: Any) -> bool:
    """Whether a fused head gives the logits of the model; warns once where it does not."""
    base = base_of(trainer, model)
    if base not in _agrees:
        _agrees[base] = _is_linear(base.get_output_embeddings()) and _is_equal(trainer, model, base)
        if not _agrees[base]:
            # Its user asked for less memory, and gets what TRL has.
            warnings.warn(
                f"dupo.integrations.trl: the logits of {type(base).__name__} are more than a product with "
                "the weight of its head: TRL computes them",
                stacklevel=2,
            )
    return _agrees[base]


def _is_linear(head: Any) -> bool:
    """Whether calling the head is a product with its weight, and nothing else."""
    # A copy that peft trains beside its adapters is the head.
    copies = getattr(head, "modules_to_save", None)
    if copies is not None:
        head = copies[head.active_adapter]
    # Not the class: FSDP2 and parametrizations make classes of their own, which compute the same.
    is_stock = getattr(type(head), "forward", None) is torch.nn.Linear.forward
    is_wrapped = "forward" in vars(head) or bool(head._forward_hooks) or bool(head._forward_pre_hooks)
    return is_stock and not is_wrapped


@torch.no_grad()
def _is_equal(trainer: Any, model: Any, base: Any) -> bool:
    seen: list[Tensor] = []
    head = base.get_output_embeddings()
    ids = torch.arange(PROBED, device=head.weight.device)[None] % base.config.get_text_config().vocab_size
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
    modes = {module: module.training for module in model.modules()}
    # Dropout and the noise of experts would tell the two passes apart.
    model.eval()
    try:
        with instead(lambda **call: _keep(seen, head, **call)):
            call_head(trainer, model, ("log_probs",), inputs, aux=False)
        with trainer.accelerator.autocast():
            own = model(**{name: inputs[name] for name in ("input_ids", "attention_mask")}).logits[0, :-1]
    finally:
        for module, was_training in modes.items():
            module.training = was_training
    # A model whose forward pass is not TRL's fused one asks no head.
    if len(seen) != 1 or seen[0].shape != own.shape:
        return False
    taken = seen[0]
    # The coarser of the two types: some models widen their logits before they bound them.
    eps = max(torch.finfo(x.dtype).eps for x in (taken, own))
    apart = (taken.double() - own.double()).abs().amax()
    return bool(apart <= ROUNDINGS * eps * own.abs().amax().double())


def _keep(
    seen: list[Tensor], head: Any, *, hidden: Tensor, softcap: float | None, logit_scale: float, **_: Any
) -> Results:
    logits = logit_scale * head(hidden)
    seen.append(logits if softcap is None else softcap * (logits / softcap).tanh())
    return hidden.new_zeros(hidden.shape[0], dtype=torch.float32), None, None, None, None
