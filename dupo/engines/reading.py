"""A model and the cache of what it has read: one call of its forward pass, for every way of decoding.

Shape letters: B rows, T time, V vocabulary.
"""

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dupo import text
from dupo.models.load import Model


class ReadPrompts(NamedTuple):
    """What is known of prompts that a model has read. Padding stands on the left.

    Attributes:
        logits_BV: of the first token after each prompt.
        mask_BT: 1 for a token, 0 for padding.
        positions_BT: of each token within its prompt.
    """

    logits_BV: Tensor
    mask_BT: Tensor
    positions_BT: Tensor


class Reader:
    """Reads tokens into a cache.

    Attributes:
        cache: of transformers; the keys and values of all that was read.
    """

    def __init__(self, model: Model, cache: Any) -> None:
        self.model, self.cache = model, cache
        self._options = {cache_name(model): cache}
        # A config may want router logits, and transformers then fails at the second token of a padded batch.
        if "output_router_logits" in inspect.signature(model.forward).parameters:
            self._options["output_router_logits"] = False

    def next_logits(self, ids_BT: Tensor, positions_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Next-token logits (B, V) after `ids_BT`, which join the cache.

        Args:
            mask_BT: of all columns of the cache, those of `ids_BT` among them.
        """
        return self.model(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            position_ids=positions_BT,
            use_cache=True,
            logits_to_keep=1,
            **self._options,
        ).logits[:, -1]

    def read(self, prompts: Sequence[list[int]], pad_id: int) -> ReadPrompts:
        """Reads prompts into an empty cache, one row each."""
        device = self.model.device
        # Padding stands on the left, so that the last column holds the last token of every prompt.
        padded = text.padded(text.Ids.of(prompts), pad_id=pad_id)
        mask_BT = torch.as_tensor(padded.attention_mask, device=device)
        positions_BT = torch.as_tensor(padded.position_ids, device=device)
        ids_BT = torch.as_tensor(padded.input_ids, device=device)
        return ReadPrompts(self.next_logits(ids_BT, positions_BT, mask_BT), mask_BT, positions_BT)


def cache_name(model: Model) -> str:
    """By which name the model takes its cache.

    Raises:
        ValueError: by none that is known.
    """
    # transformers renamed the argument within version 5. A name that is not in the signature would be
    # swallowed, and every token drawn without its context.
    names = inspect.signature(model.forward).parameters
    for name in ("cache", "past_key_values"):
        if name in names:
            return name
    raise ValueError(f"{type(model).__name__} takes no cache by a name that is known")
