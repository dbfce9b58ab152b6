"""Bytes of one GPU, or of a machine without one, while a run samples and while it makes a step.

    start      the whole model and its copies, before several GPUs share the weights out
    held       weights, gradients, two moments of AdamW, copies
    sampling   held, weights rounded to bfloat16, and the cache of keys and values
    update     held, and a backward pass; the step of AdamW takes less

Gradients stay until the next update begins, so they are there while answers are sampled as well.
"""

from dataclasses import dataclass

from dupo.config.config import Config
from dupo.config.engine_options import BUILTIN, TRANSFORMERS, VLLM, is_address
from dupo.config.model_options import BUILT_IN_MODEL
from dupo.config.options import ADAMW_8BIT, DUAL_MODELS
from dupo.models.four_bits import bytes_of_weight
from dupo.models.outline import BFLOAT16, FLOAT32, MIXED, Outline
from dupo.planning.machines import Machine

MOMENTS = {"adamw_torch": "AdamW, two float32 moments", ADAMW_8BIT: "AdamW, two moments of 8 bits"}
CHUNK_ROWS = 8192  # of logits that exist at once (docs/loss_head.md, "Memory")


@dataclass(frozen=True)
class Item:
    """Something that takes memory.

    Attributes:
        name: in words.
        sampling, update: bytes while answers are sampled, and while a step is made.
        is_certain: no assumption is in it.
        start: bytes before weights are shared out over GPUs; 0 on one GPU, where the phases are no smaller.
    """

    name: str
    sampling: float
    update: float
    is_certain: bool = True
    start: float = 0.0


def precision_of(config: Config, machine: Machine) -> str:
    """In which precision the learner computes, as `dupo.models.outline` names it."""
    wanted = config.model.compute_dtype
    if wanted == "float32" or (wanted == "auto" and not machine.gpus):
        return FLOAT32
    # Sharded weights are gathered in bfloat16; autocast rounds those of one GPU where they are multiplied.
    return BFLOAT16 if is_sharded(config, machine) else MIXED


def is_sharded(config: Config, machine: Machine) -> bool:
    """Whether GPUs share the weights out. Beneath adapters, each keeps them whole."""
    return machine.shards > 1 and not config.lora.use_peft


def held(config: Config, model: Outline, judge: Outline | None, machine: Machine) -> list[Item]:
    """What is there in both phases from the second step on: nothing in it is an assumption.

    Args:
        judge: the model that `dual_model` names, where it is another one.
    """
    shards = machine.shards if is_sharded(config, machine) else 1
    # Neither gradients nor moments belong to the weights beneath adapters.
    frozen = model.parameters + adapters_of(config, model) - model.trained
    halved, quantized = halved_beneath(config, model, machine), quantized_beneath(config, model)
    weights = [
        ("weights, float32", 4 * (frozen - halved - quantized + model.trained) / shards),
        ("gradients, float32", 4 * model.trained / shards),
        moments_item(config, model, shards),
    ]
    if quantized:
        weights.insert(0, ("weights beneath adapters, 4 bits", bytes_of_weight(config.lora) * quantized))
    if halved:
        weights.insert(0, ("weights beneath adapters, bfloat16", 2 * halved))
    items = [Item(name, size, size) for name, size in weights]
    itemsize = copy_itemsize(config, machine)
    if copies_policy(config):
        size = itemsize * model.parameters
        items.append(Item("frozen copy: judge or reference", size, size, start=size if shards > 1 else 0))
    if config.samples and config.duals.dual_model == "ema":
        # The average shares the frozen weights beneath adapters with the model.
        averaged = model.trained if config.lora.use_peft else model.parameters
        # Of a sharded one, each GPU has a part in float32, and a whole copy where that judges.
        copied = itemsize if config.reward.needs("duals") else 0
        size = (copied + 4 / shards) * averaged if shards > 1 else 4 * averaged
        items.append(Item("moving average (ema)", size, size, start=4 * averaged if shards > 1 else 0))
    if judge is not None:
        # Weights that no optimizer changes are rounded where the option asks for that, and not by `auto`.
        size = (2 if config.model.compute_dtype == "bfloat16" else 4) * judge.parameters
        items.append(Item("judge, another model", size, size, start=size if shards > 1 else 0))
    return items


def copy_itemsize(config: Config, machine: Machine) -> int:
    """Bytes of a weight in a copy of the policy: what FSDP casts is copied as it is cast."""
    return 2 if is_sharded(config, machine) and precision_of(config, machine) == BFLOAT16 else 4


def moments_item(config: Config, model: Outline, shards: int) -> tuple[str, float]:
    """What the optimizer keeps: its name and bytes."""
    return MOMENTS[config.optimizer.optim], moment_bytes(config) * model.trained / shards


def moment_bytes(config: Config) -> float:
    """Bytes of both moments of a weight."""
    # Two of 8 bits, and for each block of 256 a scale. Small weights and odd ones keep float32.
    return 2 + 2 * 4 / 256 if config.optimizer.optim == ADAMW_8BIT else 8


def halved_beneath(config: Config, model: Outline, machine: Machine) -> int:
    """Numbers in the weights beneath adapters that are held in bfloat16."""
    # In float32 arithmetic, rounded weights would be another model.
    is_half = config.lora.use_peft and precision_of(config, machine) != FLOAT32
    # The built-in model is taught as a whole, in float32.
    if not is_half or config.model.model_name_or_path == BUILT_IN_MODEL:
        return 0
    return model.halved - quantized_beneath(config, model)


def quantized_beneath(config: Config, model: Outline) -> int:
    """Numbers in the weights beneath adapters that are held in 4 bits."""
    return model.quantized if config.lora.load_in_4bit else 0


def adapters_of(config: Config, model: Outline) -> int:
    """Numbers in the adapters."""
    return model.trained if config.lora.use_peft else 0


def copies_policy(config: Config) -> bool:
    """Whether a second copy of the weights is kept: for the judge or for the KL term."""
    # With the adapters switched off, the model is what it was before training: no copy is needed.
    if not config.samples or config.lora.use_peft:
        return False
    is_judge = config.reward.needs("duals") and config.duals.dual_model == "frozen"
    return is_judge or config.needs_reference


def num_vllms(config: Config) -> int:
    """Instances of vLLM in a process: of the policy, and of a judge with weights of its own."""
    if config.engine.engine != VLLM:
        return 0
    judge = config.duals.dual_model
    # Judges that differ from the policy in adapters alone are in the vLLM of the policy.
    shares = judge == "policy" or is_address(judge) or (config.sends_adapters and judge in DUAL_MODELS)
    return 2 if config.reward.needs("duals") and not shares else 1


def engine_items(config: Config, model: Outline, machine: Machine) -> list[Item]:
    """What the engine takes beside its cache, or all of it where its share is an option."""
    engine, items = config.engine.engine, list[Item]()
    if instances := num_vllms(config):
        share = instances * config.vllm.vllm_gpu_memory_utilization * machine.memory
        # A vLLM that sleeps gives weights and cache up while a step is made.
        sleeps = config.vllm.vllm_enable_sleep_mode and machine.gpus
        start = share if is_sharded(config, machine) else 0
        items.append(Item("vLLM, weights and cache", share, 0 if sleeps else share, start=start))
    if is_sharded(config, machine):
        # Every engine gets its weights from the copy; a server gets them from the shards.
        size = 0 if config.engine.is_server else copy_itemsize(config, machine) * model.parameters
        # In float32, the copy and the model share their weights until the model is shared out.
        start = size if precision_of(config, machine) == BFLOAT16 else 0
        items.append(Item("whole copy to sample from", size, size, start=start))
        items.append(Item("the whole model, before it is shared out", 0, 0, start=4 * model.parameters))
        return items
    precision = precision_of(config, machine)
    if not machine.gpus or precision == FLOAT32:
        return items
    # What is bfloat16 already is shared.
    halved = halved_beneath(config, model, machine) + quantized_beneath(config, model)
    if engine == TRANSFORMERS:
        copied = model.parameters - halved + adapters_of(config, model)
        items.append(Item("whole copy to sample from, bfloat16", 2 * copied, 0))
    elif engine == BUILTIN and model.matrices > halved:
        rounded = 2 * (model.matrices - halved)
        items.append(Item("weights rounded to sample, bfloat16", rounded, 0, is_certain=False))
    return items


def update_items(config: Config, model: Outline, machine: Machine, tokens: int, rows: int) -> list[Item]:
    """What a step needs beside what is held.

    Args:
        tokens: of a micro-batch.
        rows: sampled tokens among them.
    """
    precision, costs = precision_of(config, machine), model.costs
    itemsize = 4 if precision == FLOAT32 else 2
    items = list[tuple[str, float]]()
    if is_sharded(config, machine):
        # The next layer is gathered while one computes; the gradients of the ends are summed in float32.
        gathered = 2 * itemsize * model.largest_layer + (itemsize + 4) * model.ends
        items.append(("two layers, embeddings and head, gathered", gathered))
    elif precision == MIXED:
        small = halved_beneath(config, model, machine) + quantized_beneath(config, model)
        rounded = max(0, model.matrices - small)
        items.append(("weights rounded to bfloat16", 2 * (rounded + adapters_of(config, model))))
    if costs is not None:
        by_token = costs.saved
        if config.model.gradient_checkpointing:
            # The backward pass computes one layer again at a time, and has the inputs of all.
            by_token = costs.saved_inputs + costs.saved_by_layer
        items.append((f"activations of {tokens:,} tokens", by_token * tokens))
    items.append(("logits, gradients of the loss head", head_bytes(config, model, rows, itemsize)))
    return [Item(name, 0, size, is_certain=False) for name, size in items]


def head_bytes(config: Config, model: Outline, rows: int, itemsize: int) -> float:
    """A chunk of logits, the gradient of the hidden states, and that of a head that is trained."""
    chunk = rows if rows <= 2 * model.hidden else min(rows, CHUNK_ROWS)
    # Beneath adapters the head is frozen and has no gradient.
    weight = 0 if config.lora.use_peft else model.vocabulary * model.hidden * itemsize
    if weight and chunk < rows:  # several chunks are summed in float32
        weight += 4 * model.vocabulary * model.hidden
    return 4 * chunk * model.vocabulary + rows * model.hidden * itemsize + weight


def cache_bytes(config: Config, model: Outline, machine: Machine) -> float:
    """Keys and values of one token of one row."""
    # Attention casts keys and values to the type that it computes in.
    cached = model.costs.cached if model.costs else 0
    return cached * (4 if precision_of(config, machine) == FLOAT32 else 2)


def checkpoint_bytes(config: Config, model: Outline, ranks: int = 1) -> float:
    """A checkpoint on the disk: float32 weights, or adapters alone, moments, and a moving average."""
    # A checkpoint of a run with adapters names its base and does not hold the base.
    weights = adapters_of(config, model) or model.parameters
    average = weights if config.samples and config.duals.dual_model == "ema" else 0
    # Several ranks write moments of 8 bits in float32, for any number of ranks to read.
    moments = moment_bytes(config) if ranks == 1 else 8
    return 4 * weights + moments * model.trained + 4 * average
