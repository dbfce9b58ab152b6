"""Where models come from: a folder, the Hub, or the built-in shape with random weights."""

from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from dupo.config.options import BUILT_IN_MODEL, ModelOptions
from dupo.errors import UserError
from dupo.models import attention
from dupo.models.tiny import tiny_config
from dupo.models.tokenizers import check_path, in_one_line
from dupo.text.tokenizer import PromptTokenizer

Model = PreTrainedModel  # the policy, the judge of its duals, the reference


def model_config(options: ModelOptions, tokenizer: PromptTokenizer) -> PretrainedConfig:
    """The shape of the model without its weights: enough to check lengths before any weight is loaded.

    Raises:
        UserError: the folder or the Hub has no model of that name.
    """
    name = options.model_name_or_path
    if name == BUILT_IN_MODEL:
        return tiny_config(tokenizer)
    check_path("model_name_or_path", name)
    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=options.trust_remote_code)
    except (OSError, ValueError) as error:
        raise UserError(f"model_name_or_path: {name} has no usable model: {in_one_line(error)}") from None


def load_model(options: ModelOptions, shape: PretrainedConfig, device: torch.device, seed: int) -> Model:
    """Loads the model in eval mode (no dropout) on `device`.

    Args:
        shape: what `model_config` gave.
        seed: fixes the random weights of the built-in model.

    Raises:
        UserError: the weights cannot be loaded.
    """
    attention.register()
    transformers_logging.disable_progress_bar()  # two bars would overwrite each other
    # Random weights come from the global generator.
    torch.manual_seed(seed)
    # float32 weights unless asked otherwise: at RL's learning rates bfloat16 weights do not move.
    dtype = torch.bfloat16 if options.dtype == "bfloat16" else torch.float32
    arguments: dict[str, Any] = {"dtype": dtype, "attn_implementation": attention.NAME}
    name = options.model_name_or_path
    if name == BUILT_IN_MODEL:
        model = AutoModelForCausalLM.from_config(shape, **arguments)
    else:
        arguments["trust_remote_code"] = options.trust_remote_code
        try:
            model = AutoModelForCausalLM.from_pretrained(name, **arguments)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise UserError(f"model_name_or_path: {name} could not be loaded: {in_one_line(error)}") from None
    if options.gradient_checkpointing:
        # transformers renamed the method within version 5
        enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
        enable({"use_reentrant": False})
    model.to(device)  # type: ignore[arg-type]
    return model.eval()


def end_tokens(model: Model) -> set[int]:
    """Ids that end a text by the generation settings of the model, which may name more than the tokenizer."""
    ids = getattr(model.generation_config, "eos_token_id", None)
    if ids is None:
        return set()
    return set(ids) if isinstance(ids, list | tuple) else {int(ids)}
