"""A cache of fixed size whose rows are slots: every slot has a length of its own and can be filled anew.

The column of a token is its position in its row, so a slot needs no padding. The static cache of transformers
knows one length for all rows, so it cannot do that. Layers with a window keep all columns; their masks hide
what lies before the window.

Shape letters: S slots, B of them that decode, H heads, W columns, D numbers of a head.
"""

import inspect
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import CacheLayerMixin, DynamicLayer, DynamicSlidingWindowLayer

from dupo.models import attention
from dupo.models.load import Model
from dupo.models.positions import BORDERED_ROPE, rope_settings

NARROWEST = 128  # columns: a view of the cache grows from here by doubling, so few shapes occur
SHARE = 0.9  # of the free memory: the rest is for activations and for what the allocator cannot use
LOGITS_AT_ONCE = 5  # of a row, fp32: logits, log-probs, their padded copy, probabilities, and a spare
MASK_MAKERS = ("create_causal_mask", "create_sliding_window_causal_mask", "create_masks_for_generate")


class SlotLayer(CacheLayerMixin):
    """Keys and values of one layer.

    Args:
        keys, values: (1, H, 1, D) of one token of the model: their shapes count, and not what they hold.
        positions_S: of the next token of each slot; the decoder moves them on.
        columns: of the cache.
        dtype: of the cache.

    Attributes:
        rows, width: slots and columns that take part in the next forward pass, from the first one on.
    """

    is_sliding = False
    keys: Any  # Tensor; None in layers of transformers that have not begun
    values: Any

    def __init__(
        self, keys: Tensor, values: Tensor, positions_S: Tensor, columns: int, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.positions_S = positions_S
        self.keys, self.values = (
            x.new_zeros((len(positions_S), x.shape[1], columns, x.shape[-1]), dtype=dtype)
            for x in (keys, values)
        )
        self.index_S = torch.arange(len(positions_S), device=keys.device)
        self.rows, self.width, self.is_initialized = len(positions_S), columns, True

    def lazy_initialization(self, *args: object) -> None:
        """Nothing: the memory is there from the start."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Writes one token (B, H, 1, D) of every row; returns all that the rows may see, (B, H, width, D)."""
        # A row that has ended writes its last column again and again: cheaper than a choice of rows.
        rows, positions_B = self.index_S[: self.rows], self.positions_S[: self.rows]
        self.keys[rows, :, positions_B] = key_states[:, :, 0].to(self.keys.dtype)
        self.values[rows, :, positions_B] = value_states[:, :, 0].to(self.values.dtype)
        return self.keys[: self.rows, :, : self.width], self.values[: self.rows, :, : self.width]

    def get_mask_sizes(self, *args: object) -> tuple[int, int]:
        """Columns of the mask, and the first of them."""
        return self.width, 0

    def get_seq_length(self) -> Any:
        """Tokens of each row (B,) before the next one; `dupo.models.attention` makes its mask of them."""
        return self.positions_S[: self.rows]

    def get_max_length(self) -> int:
        """Columns of the cache."""
        return self.keys.shape[2]

    get_max_cache_shape = get_max_length  # its name in older versions of transformers

    def fill(self, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """Writes the first tokens (H, T, D) of a row into slots."""
        length = keys.shape[1]
        self.keys[slots, :, :length] = keys.to(self.keys.dtype)
        self.values[slots, :, :length] = values.to(self.values.dtype)

    def move(self, old: Tensor, new: Tensor) -> None:
        """Copies slots into others."""
        for states in (self.keys, self.values):
            states[new, :, : self.width] = states[old, :, : self.width]


def slot_cache(token: Cache, positions_S: Tensor, columns: int) -> Cache:
    """An empty cache for a model.

    Args:
        token: a cache into which the model has read one token.
        positions_S, columns: see `SlotLayer`.
    """
    layers: Any = [
        SlotLayer(layer.keys, layer.values, positions_S, columns, _cached_dtype(layer.keys))
        for layer in _layers_of(token)
    ]
    return Cache(layers=layers)


def token_bytes(token: Cache) -> int:
    """Bytes of one token of one row in all layers, as the cache of slots keeps it.

    Args:
        token: as in `slot_cache`. The config is not asked: of latent attention it tells other sizes than are
            cached.
    """
    return sum(
        states[0, :, 0].numel() * _cached_dtype(states).itemsize
        for layer in _layers_of(token)
        for states in (layer.keys, layer.values)
    )


def most_slots(free: int, columns: int, token_bytes: int, vocabulary: int) -> int:
    """How many slots fit into memory, at least one.

        slots = SHARE free / (columns token_bytes + 4 LOGITS_AT_ONCE vocabulary)

    Args:
        free: bytes.
        columns: tokens of the longest prompt and its completion.
        token_bytes: of all layers, from `token_bytes`.
        vocabulary: logits of a row.
    """
    return max(1, int(SHARE * free) // (columns * token_bytes + 4 * LOGITS_AT_ONCE * vocabulary))


def free_bytes(device: torch.device) -> int | None:
    """Memory that torch can still give out on a GPU; None: not limited by what is known here."""
    if device.type != "cuda":
        return None
    # torch keeps what was freed for the next tensor; the driver does not count it as free.
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def width_for(longest: int, columns: int) -> int:
    """Columns that rows of at most `longest` tokens are read with: one of few numbers."""
    width = NARROWEST
    while width < longest:
        width *= 2
    return min(width, columns)


def why_no_slots(model: Model) -> str | None:
    """Why the model cannot decode in slots; None: it can. The names say what it is."""
    name = type(model).__name__
    if model.config._attn_implementation != attention.NAME:
        return f"{name} has the attention {model.config._attn_implementation}"
    for layer in DynamicCache(config=model.config).layers:
        if type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer):
            return f"{name} has the cache {type(layer).__name__}"
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return f"{name} counts the positions itself"
    inner = model.config.get_text_config()
    if getattr(inner, "num_kv_shared_layers", None):
        return f"{name} has layers that share their keys and values"
    for rope in rope_settings(inner):
        # They would see the longest row at every token, and wait for it.
        if (kind := rope.get("rope_type") or rope.get("type")) in BORDERED_ROPE:
            return f"{name} has rotary angles of the type {kind}"
    # A mask of the model's own making would take all columns for tokens.
    modules = {sys.modules[type(layer).__module__] for layer in model.modules()}
    if not any(hasattr(module, maker) for module in modules for maker in MASK_MAKERS):
        return f"{name} makes its own attention mask"
    return None


def _layers_of(token: Cache) -> Sequence[Any]:
    return token.layers


def _cached_dtype(states: Tensor) -> torch.dtype:
    """Of cached keys and values: attention casts them to this type under autocast, whatever they are."""
    kind = states.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states.dtype
