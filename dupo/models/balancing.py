"""The loss that keeps the experts of a mixture equally busy: Switch Transformer, arXiv 2101.03961, eq. 4-6.

    aux_loss = E sum_e f_e p_e      f_e: assignments of expert e by token and layer; p_e: its mean router
                                    probability; E: number of experts

The formula is the one that transformers has for the class. TRL's rule says when it is part of the loss. It is
taken over all tokens of a micro-batch, prompts among them; all are real, as a pack has no padding.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any, cast

from torch import Tensor

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
    is_balanced = _function_of(model) is not None and has_experts(model)
    if router_aux_loss_coef and not is_balanced:
        kind = type(model).__name__
        raise UserError(f"router_aux_loss_coef: expected a model with a balancing loss, got {kind}")
    # A 0 is a wish too: it turns off what the config has on.
    if router_aux_loss_coef is not None or not is_balanced:
        return router_aux_loss_coef or 0.0
    # JetMoe and DBRX name the coefficient otherwise in their config: the class knows where it stands.
    places = (model, model.config.get_text_config())
    names = ("router_aux_loss_coef", "aux_loss_coef")
    values = [getattr(place, name, None) for place in places for name in names]
    return next((value for value in values if value is not None), 0.0)


def balancing_loss(model: Model, router_logits: Sequence[Tensor]) -> Tensor:
    """The loss of one micro-batch, fp32 scalar.

    Args:
        router_logits: what the routers of a model gave, (tokens, experts) for each layer that has one.
    """
    function = _function_of(model)
    assert function is not None
    return function(tuple(router_logits), router_logits[0].shape[-1], cast(Any, model).num_experts_per_tok)


def _function_of(model: Model) -> Callable[..., Tensor] | None:
    """What transformers wrote beside the class of the model for its balancing loss; None: nothing."""
    # transformers copies the function into the file of each class that has experts.
    return getattr(sys.modules[type(model).__module__], "load_balancing_loss_func", None)
