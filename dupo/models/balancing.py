"""The loss that keeps the experts of a mixture equally busy: Switch Transformer, arXiv 2101.03961, eq. 4-6.

    aux_loss = E sum_e f_e p_e      f_e: assignments of expert e by token and layer; p_e: its mean router
                                    probability; E: number of experts

The formula is transformers' own, and so is the rule when it is part of the loss: TRL's. It is taken over all
tokens of a micro-batch, prompts among them, which are all real: a pack has no padding.
"""

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from dupo.errors import UserError
from dupo.models.agreement import has_experts
from dupo.models.load import Model


def balancing_coefficient(model: Model, router_aux_loss_coef: float | None) -> float:
    """The weight of the balancing loss in the loss; 0 where a model has none.

    Args:
        router_aux_loss_coef: the option; None: the coefficient in the config of the model.

    Raises:
        UserError: the option wants a balancing loss of a model without one.
    """
    # Classes with a balancing loss of their own keep there how many experts a token has.
    is_balanced = hasattr(model, "num_experts_per_tok") and has_experts(model)
    if router_aux_loss_coef and not is_balanced:
        kind = type(model).__name__
        raise UserError(f"router_aux_loss_coef: expected a model with a balancing loss, got {kind}")
    if router_aux_loss_coef is not None or not is_balanced:
        return router_aux_loss_coef or 0.0
    return getattr(model.config.get_text_config(), "router_aux_loss_coef", None) or 0.0


def balancing_loss(model: Model, router_logits: Sequence[Tensor]) -> Tensor:
    """The loss of one micro-batch, fp32 scalar.

    Args:
        router_logits: what the routers of a model gave, (tokens, experts) for each layer that has one.
    """
    num_experts, own = router_logits[0].shape[-1], cast(Any, model)
    loss = load_balancing_loss_func(cast(Any, tuple(router_logits)), num_experts, own.num_experts_per_tok)
    return cast(Tensor, loss)  # 0 as an int stands for a model without routers there
