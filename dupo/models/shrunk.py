"""A model of the same class with a small shape and random weights: what its code does shows in milliseconds.

Two layers of each kind are chosen, by every list that names a kind for each layer. Widths are cut
by the names that configs share. A class that cannot be built this way has no small model, and is checked with
its real weights at more lengths instead.
"""

import copy
from typing import Any

import torch

from dupo.models.load import Model
from dupo.models.own_forward import own_noise
from dupo.models.positions import rope_settings, window_names

VOCABULARY, HEAD, HEADS, HIDDEN = 64, 16, 4, 64
POSITIONS = 256
MOST_LAYERS = 16
SPREAD = 0.2  # standard deviation of the weights: logits then differ by more than a nat
# Size -> names of what gets it. A name that a config lacks, or that is None or 0 there, is left alone.
# A size stands in several rows where its names do not fit into one.
SIZES: tuple[tuple[int, tuple[str, ...]], ...] = (
    (VOCABULARY, ("vocab_size", "vocab_size_per_layer_input")),
    (HIDDEN, ("hidden_size", "n_embd", "d_model", "dim", "n_embed", "word_embed_proj_dim", "lru_width")),
    (HIDDEN, ("dim_model",)),
    (2 * HIDDEN, ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "inner_dim")),
    (2 * HIDDEN, ("shared_intermediate_size", "dff", "d_ff", "moe_intermediate_size")),
    (2 * HIDDEN, ("shared_expert_intermediate_size", "expert_intermediate_size", "moe_ffn_dim")),
    (2 * HIDDEN, ("moe_shared_expert_intermediate_size", "dense_intermediate_size")),
    (2 * HIDDEN, ("intermediate_size_mlp",)),
    (HEADS, ("num_attention_heads", "n_head", "n_heads", "num_heads", "linear_num_value_heads")),
    (HEADS // 2, ("linear_num_key_heads", "num_experts_per_tok", "num_experts_per_token", "moe_topk")),
    (HEADS // 2, ("top_k", "moe_top_k", "moe_k", "num_experts_per_topk")),
    (HEAD, ("head_dim", "v_head_dim", "qk_rope_head_dim", "rotary_dim", "kv_channels")),
    (HEAD, ("attention_head_dim", "global_head_dim", "q_lora_rank", "kv_lora_rank", "linear_key_head_dim")),
    (HEAD, ("linear_value_head_dim", "mamba_d_head", "mamba_head_dim", "mamba_d_state", "ssm_state_size")),
    (HEAD, ("state_size", "hidden_size_per_layer_input")),
    (HEAD // 2, ("qk_nope_head_dim", "mamba_n_heads", "mamba_num_heads", "num_local_experts")),
    (HEAD // 2, ("num_experts", "n_routed_experts", "moe_num_experts", "n_expert")),
    (1, ("n_group", "topk_group", "n_groups", "mamba_n_groups", "n_shared_experts", "num_shared_experts")),
    (POSITIONS, ("max_position_embeddings", "n_positions", "original_max_position_embeddings")),
)
HEAD_COUNTS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
KEY_HEADS = ("num_key_value_heads", "num_kv_heads", "multi_query_group_num", "num_global_key_value_heads")
PERIODS = ("period", "_step", "interval", "pattern", "every_n", "freq")
LETTERS = set("M*-E|")  # of Nemotron-H: Mamba, attention, dense, experts, and a bar between


def shrunk(model: Model, window: int) -> Model | None:
    """A small float32 model on the CPU of the class of `model`, in eval mode, with its attention.

    Args:
        window: of every layer that has a window.

    Returns:
        None where the class cannot be built small. The generator of torch is as before.
    """
    config = copy.deepcopy(model.config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # Whatever stops a small model from working by itself, the real weights are checked in its place.
        try:
            inner = config.get_text_config()
            others = [getattr(config, name) for name in getattr(config, "sub_configs", {})]
            for shape in [inner, *(other for other in others if other is not None and other is not inner)]:
                _shrink(shape, window)
            small: Any = type(model)._from_config(
                config, dtype=torch.float32, attn_implementation=model.config._attn_implementation
            )
            own_noise(small.eval(), [[1, 2, 3]], "float32")
        except Exception:
            return None
        with torch.no_grad():
            for weight in small.parameters():
                if weight.is_floating_point():
                    if weight.dim() > 1:
                        weight.normal_(0, SPREAD)
                    else:
                        # Scales stay near 1: they are vectors, and so are biases, which start at 0.
                        weight.add_(torch.randn_like(weight), alpha=SPREAD)
    return small.requires_grad_(False)


def _shrink(shape: Any, window: int) -> None:
    """Cuts the settings of one model in place."""
    numbers, windows = _numbers(shape), window_names(shape)
    depth = _first(numbers, LAYERS)
    if depth:
        _choose_layers(shape, depth)
    heads = _first(numbers, HEAD_COUNTS)
    for name in KEY_HEADS:
        if count := numbers.get(name):
            # All heads, one head, or groups: the ratio is what the code depends on.
            setattr(shape, name, HEADS if count == heads else 1 if count == 1 else HEADS // 2)
    for size, names in SIZES:
        for name in names:
            if numbers.get(name, 0) > 0:
                setattr(shape, name, size)
    # Latent attention: some configs call the rotary part of a head the head, some the whole.
    if whole := numbers.get("qk_head_dim"):
        shape.qk_head_dim = shape.qk_nope_head_dim + shape.qk_rope_head_dim
        if numbers.get("head_dim") == whole:
            shape.head_dim = shape.qk_head_dim
    for name in windows:
        setattr(shape, name, window)
    _shrink_rope(shape)
    # Embeddings refuse a padding token that they lack; other tokens beyond the vocabulary never come.
    if numbers.get("pad_token_id", 0) >= VOCABULARY:
        shape.pad_token_id = 0


def _numbers(shape: Any) -> dict[str, int]:
    """The whole numbers that a config holds; what it computes from others follows by itself."""
    return {name: value for name, value in vars(shape).items() if type(value) is int}


def _first(numbers: dict[str, int], names: tuple[str, ...]) -> int:
    return next((numbers[name] for name in names if name in numbers), 0)


def _choose_layers(shape: Any, depth: int) -> None:
    """Keeps two layers of each kind, in their order, and whole periods where kinds come in periods."""
    kinds = _kinds_of_layers(vars(shape), depth)
    _keep(shape, _layers_to_keep(shape, kinds), depth)


def _kinds_of_layers(settings: dict[str, Any], depth: int) -> list[tuple[object, ...]]:
    """What the settings say of each layer; layers of one kind have equal entries."""
    lists = _listed_by_layer(settings, depth).values()
    indices = _lists_of_layers(settings, depth).values()
    return [
        (*(str(values[layer]) for values in lists), *(layer in layers for layers in indices))
        for layer in range(depth)
    ]


def _layers_to_keep(shape: Any, kinds: list[tuple[object, ...]]) -> list[int]:
    """Numbers of the layers that stay, from 0: two of each kind, and the first others up to two periods."""
    depth = len(kinds)
    staying = [layer for layer in range(depth) if kinds[:layer].count(kinds[layer]) < 2]
    periods = [n for name, n in _numbers(shape).items() if any(word in name for word in PERIODS)]
    # Dense layers come first, experts after them: no list tells the two kinds apart.
    fewest = 4 if getattr(shape, "first_k_dense_replace", None) else 2
    wanted = min(depth, MOST_LAYERS, max(2 * max(periods, default=1), fewest))
    others = [layer for layer in range(depth) if layer not in staying]
    return sorted(staying + others[: max(0, wanted - len(staying))])


def _keep(shape: Any, staying: list[int], depth: int) -> None:
    """Cuts every setting that tells of layers to the layers that stay."""
    for name, values in _listed_by_layer(vars(shape), depth).items():
        cut = [values[layer] for layer in staying]
        if isinstance(values, str):
            cut = "".join(cut)
        setattr(shape, name, cut)
    for name, layers in _lists_of_layers(vars(shape), depth).items():
        setattr(shape, name, [new for new, old in enumerate(staying) if old in layers])
    for name in LAYERS:
        if name in _numbers(shape):
            setattr(shape, name, len(staying))
    if dense := getattr(shape, "first_k_dense_replace", None):
        shape.first_k_dense_replace = min(dense, 2)


def _listed_by_layer(settings: dict[str, Any], depth: int) -> dict[str, Any]:
    """The settings that hold an entry for each layer."""
    lists = {
        name: values
        for name, values in settings.items()
        if isinstance(values, list | tuple | str) and len(values) == depth > 1
    }
    # Another text may be as long as the model is deep: "silu" where there are four layers.
    return {n: v for n, v in lists.items() if not isinstance(v, str) or set(v) <= LETTERS}


def _lists_of_layers(settings: dict[str, Any], depth: int) -> dict[str, set[int]]:
    """The settings that list the numbers of some layers."""
    return {name: set(value) for name, value in settings.items() if _is_indices(name, value, depth)}


def _is_indices(name: str, value: object, depth: int) -> bool:
    """Whether a setting lists numbers of layers."""
    words = ("layer", "idx", "indices")
    return (
        isinstance(value, list | tuple)
        and any(word in name for word in words)
        and len(value) != depth
        and all(type(i) is int and 0 <= i < depth for i in value)
    )


def _shrink_rope(shape: Any) -> None:
    """Cuts the factors of longrope to the head, and moves the border to the end of the positions."""
    for rope in rope_settings(shape):
        if "original_max_position_embeddings" in rope:
            rope["original_max_position_embeddings"] = POSITIONS
        rotary = int(
            (getattr(shape, "qk_rope_head_dim", None) or HEAD) * rope.get("partial_rotary_factor", 1.0)
        )
        for name in ("short_factor", "long_factor"):
            if name in rope:
                rope[name] = list(rope[name])[: rotary // 2]
