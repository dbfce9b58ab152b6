"""Seconds of the phases of a run, from operations and bytes; names of phases are those of timings.jsonl.

    decoding   a token of all rows: weights and caches are read once, or as long as the products take
    learning   operations of the forward pass, three times; four times where activations are recomputed

Assumed: what `Machine` reaches, and `LAUNCHES` for a token. Not counted: prompts that are read, data sent
between GPUs, rewards and evaluation. Groups without spread count, though they need no backward pass.
"""

from dupo.config.config import Config
from dupo.models.outline import FLOAT32, Outline
from dupo.planning.machines import Machine
from dupo.planning.memory import cache_bytes, precision_of

LAUNCHES = 0.004  # seconds of a token on a GPU, whatever the model: kernels are started from one graph
LAUNCHES_CPU = 0.0002  # for each layer


def decode_seconds(
    config: Config, model: Outline, machine: Machine, *, tokens: float, rows: float, length: float
) -> float:
    """Seconds of sampling on one GPU, or on the CPU.

    Args:
        tokens: of all completions.
        rows: completions that are under way at once.
        length: of the tokens before, on average over rows and time.
    """
    itemsize = 4 if precision_of(config, machine) == FLOAT32 else 2
    # All weights are read for every token, however few rows there are: so a few rows cost as much as many.
    read = itemsize * model.matrices + rows * length * cache_bytes(config, model, machine)
    products = rows * (forward_flop(model, length) + head_flop(model))
    # Without a graph, Python starts every operation of every layer.
    layers = len(model.costs.attention) if model.costs else 0
    start = LAUNCHES if machine.gpus else LAUNCHES_CPU * layers
    return tokens / rows * (max(read / machine.bandwidth, products / machine.flops) + start)


def forward_flop(model: Outline, seen: float) -> float:
    """Operations of one token in the layers.

    Args:
        seen: keys that a token sees, on average.
    """
    if model.costs is None:
        return 2.0 * (model.matrices - model.vocabulary * model.hidden)
    # Beyond its window a layer sees no more, so its scores grow no longer.
    keys = [min(seen, layer.window or seen) for layer in model.costs.attention]
    scores = sum(layer.flop * n for layer, n in zip(model.costs.attention, keys, strict=True))
    return model.costs.flop + scores


def head_flop(model: Outline) -> float:
    """Operations of the head for one token."""
    return 2.0 * model.vocabulary * model.hidden


def update_seconds(
    config: Config, model: Outline, machine: Machine, *, tokens: float, rows: float, length: float
) -> float:
    """Seconds of forward and backward passes, shared out over all GPUs.

    Args:
        tokens: of all sequences, prompts among them.
        rows: sampled tokens, which alone pass through the head.
        length: of a sequence.
    """
    # Backward: a product for the gradient of the input and one for that of the weight, which adapters spare.
    passes = 2 if config.lora.use_peft else 3
    # The head stands behind the layers that are computed again, and is computed once.
    head_passes = passes
    passes += 1 if config.model.gradient_checkpointing else 0
    flop = passes * tokens * forward_flop(model, length / 2) + head_passes * rows * head_flop(model)
    return flop / (machine.flops * machine.ranks)


def forward_seconds(model: Outline, machine: Machine, *, tokens: float, rows: float, length: float) -> float:
    """Seconds of a pass that only measures log-probs."""
    flop = tokens * forward_flop(model, length / 2) + rows * head_flop(model)
    return flop / (machine.flops * machine.ranks)
