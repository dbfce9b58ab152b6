"""The mode of a model while it learns: with or without dropout, with or without recomputed activations."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from dupo.models.load import Model


@contextmanager
def learning_mode(model: Model, *, dropout: bool) -> Iterator[None]:
    """Puts a model into the mode in which it learns, and into eval mode afterwards.

    The log-probs of sampled tokens must be those of the distribution that the tokens were drawn from.
    Sampling has no dropout, so a policy learns without dropout too.

    Args:
        dropout: with the dropout of the config of the model. Without it, only modules that recompute
            activations are in training mode, because transformers recomputes in no other mode.
    """
    rates: list[tuple[nn.Module, str, float]] = []
    if dropout:
        model.train()
    else:
        model.eval()
        for module in model.modules():
            if getattr(module, "gradient_checkpointing", False):
                # The module alone: `train()` would reach its children, and with them every nn.Dropout.
                module.training = True
                rates += [(module, *rate) for rate in _own_rates(module)]
    # Layers such as OPT's call F.dropout themselves, with a rate that is an attribute of theirs.
    for module, name, _ in rates:
        setattr(module, name, 0.0)
    try:
        yield
    finally:
        for module, name, rate in rates:
            setattr(module, name, rate)
        model.eval()


def _own_rates(module: nn.Module) -> list[tuple[str, float]]:
    """The dropout rates that a module keeps as plain numbers."""
    return [(n, value) for n, value in vars(module).items() if "drop" in n and isinstance(value, float)]
