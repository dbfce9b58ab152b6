"""The head of verl's fused forward passes, `FusedLinearForPPO`, computed by `linear_token_logprobs`.

verl makes its fused kernels in three backends; only `torch` is replaced.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import Tensor

from dupo.integrations.verl.seams import check_arguments
from dupo_kernels import linear_token_logprobs

MODULE, OWNER = "verl.utils.experimental.torch_functional", "FusedLinearForPPO"
ARGUMENTS = ("self", "hidden_states", "vocab_weights", "input_ids", "temperature")


def forward(
    self: Any,
    hidden_states: Tensor,
    vocab_weights: Tensor,
    input_ids: Tensor,
    temperature: float | Tensor = 1.0,
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies, each of the shape of input_ids, fp32.

    Args:
        hidden_states: (*tokens, H). vocab_weights: (V, H).
        input_ids: tokens, the targets.
        temperature: one, or one for each token.
    """
    # Whoever names another backend than torch has asked for that one.
    if getattr(self, "impl_backend", "torch") != "torch":
        return vars(forward)["stock"](self, hidden_states, vocab_weights, input_ids, temperature)
    logprobs, entropy = linear_token_logprobs(
        hidden_states, vocab_weights, input_ids.long(), temperature=temperature, entropy=True
    )
    assert entropy is not None
    return logprobs, entropy


def install_head(version: str) -> Callable[[], None]:
    """Checks the head of verl; the result puts ours in its place.

    Raises:
        UserError: the head takes other arguments.
    """
    owner: Any = getattr(import_module(MODULE), OWNER, None)
    stock = getattr(owner, "forward", None)
    # Before anything is registered: half of a plugin would be worse than none.
    check_arguments(f"{OWNER}.forward", stock, ARGUMENTS, version)

    def put() -> None:
        vars(forward).setdefault("stock", stock)
        owner.forward = forward

    return put
