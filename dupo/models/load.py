"""Models: where they come from, copies of them, their weights.

What is done with them stands in `learner` (log-probs and optimizer steps) and `rollout` (sampling).
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel, Qwen3Config
from transformers.utils import logging as transformers_logging

from dupo.config.options import Config
from dupo.errors import UserError
from dupo.models import attention
from dupo.models.tokenizers import check_path, in_one_line
from dupo.text.tokenizer import PromptTokenizer

Model = PreTrainedModel  # what learns, answers duals and is compared with


def pick_device(wanted: str) -> torch.device:
    """`--device`: auto takes a GPU where there is one."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("device: expected a CUDA GPU, got none that torch can use (try --device cpu)")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def tiny_config(tokenizer: PromptTokenizer) -> Qwen3Config:
    """A Qwen3 shape of 0.3M parameters beside its embeddings. Chosen by trial (dev/LOG.md): q/k norm and
    eight heads learn the built-in task on every seed, the Llama shape with four did not."""
    return Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=8,
        head_dim=16,
        tie_word_embeddings=True,
        initializer_range=0.08,
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": 30.0},
        pad_token_id=tokenizer.pad_id,
        eos_token_id=min(tokenizer.eos_ids),
        bos_token_id=None,
    )


def model_config(config: Config, tokenizer: PromptTokenizer) -> PretrainedConfig:
    """The shape of the model, without its weights: enough to check lengths before anything is loaded."""
    name = config.model_name_or_path
    if name == "tiny":
        return tiny_config(tokenizer)
    check_path("model_name_or_path", name)
    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=config.trust_remote_code)
    except (OSError, ValueError) as error:
        raise UserError(f"model_name_or_path: {name} has no usable model: {in_one_line(error)}") from None


def load_model(config: Config, shape: PretrainedConfig, device: torch.device) -> Model:
    """The policy as it is before any training, in eval mode (no dropout), on `device`."""
    attention.register()
    transformers_logging.disable_progress_bar()  # it would write over ours
    torch.manual_seed(config.seed)
    dtype = torch.bfloat16 if config.dtype == "bfloat16" else torch.float32
    options: dict[str, Any] = {"dtype": dtype, "attn_implementation": attention.NAME}
    if config.model_name_or_path == "tiny":
        model = AutoModelForCausalLM.from_config(shape, **options)
    else:
        options["trust_remote_code"] = config.trust_remote_code
        try:
            model = AutoModelForCausalLM.from_pretrained(config.model_name_or_path, **options)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise UserError(
                f"model_name_or_path: {config.model_name_or_path} could not be loaded: {in_one_line(error)}"
            ) from None
    if config.gradient_checkpointing:
        # transformers renamed it within version 5
        enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
        enable({"use_reentrant": False})
    model.to(device)  # type: ignore[arg-type]
    return model.eval()


def end_tokens(model: Model) -> set[int]:
    """Ids that end a text, by the model's own generation settings; they may name more than the tokenizer."""
    found = getattr(model.generation_config, "eos_token_id", None)
    return set(found) if isinstance(found, list | tuple) else set() if found is None else {int(found)}


def frozen_copy(model: Model) -> Model:
    """The same weights, which no optimizer will touch."""
    return copy.deepcopy(model).requires_grad_(False)


@torch.no_grad()
def blend(average: Model, model: Model, decay: float) -> None:
    """One step of the exponential moving average of the weights."""
    for old, new in zip(average.parameters(), model.parameters(), strict=True):
        old.lerp_(new, 1 - decay)


@torch.no_grad()
def copy_weights(source: Model, target: Model) -> None:
    for old, new in zip(target.parameters(), source.parameters(), strict=True):
        old.copy_(new)


def load_weights(model: Model, folder: Path) -> None:
    """The weights of a checkpoint, bit for bit, into a model of the same shape."""
    source = AutoModelForCausalLM.from_pretrained(folder, dtype=model.dtype)
    copy_weights(source, model)


@contextmanager
def computing(model: Model, config: Config) -> Iterator[None]:
    """bfloat16 arithmetic over float32 weights on a GPU that has it; nothing elsewhere."""
    mixed = model.device.type == "cuda" and config.dtype == "auto" and torch.cuda.is_bf16_supported()
    with torch.autocast("cuda", torch.bfloat16, enabled=mixed):
        yield
