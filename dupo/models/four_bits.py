"""The weights beneath adapters in 4 bits (QLoRA, arXiv 2305.14314), through bitsandbytes and transformers.

    linear layers      a code of 4 bits a weight, and a scale for each block of 64; the head is none of them
    all others         as `dupo.models.frozen_base` has them

A product makes bfloat16 weights of its codes and forgets them. No GPU has run this yet.
"""

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BitsAndBytesConfig, PreTrainedModel

from dupo.config.lora_options import LoraOptions
from dupo.errors import UserError

BLOCK, NESTED_BLOCK = 64, 256  # weights of a scale; scales of a scale of scales
INSTALL = "pip install bitsandbytes"


def check_four_bits(options: LoraOptions, device: torch.device, num_ranks: int) -> None:
    """Looks at what 4 bits need, before any weight is loaded.

    Raises:
        UserError: bitsandbytes is not installed, the device is no CUDA GPU, or several processes train.
    """
    if not options.load_in_4bit:
        return
    if find_spec("bitsandbytes") is None:
        raise UserError(f"load_in_4bit: expected bitsandbytes, got none installed: {INSTALL}")
    # It computes elsewhere too, and so slowly that a run would look as if it hung.
    if device.type != "cuda":
        raise UserError(f"load_in_4bit: expected a CUDA GPU, got --device {device.type}")
    # Ranks send weights to each other at the start, and codes of 4 bits were never sent.
    if num_ranks > 1:
        raise UserError(f"load_in_4bit: expected one process, got {num_ranks}")


def four_bit_settings(options: LoraOptions, dtype: torch.dtype) -> dict[str, Any]:
    """The arguments of `BitsAndBytesConfig`.

    Args:
        dtype: of matrix products.
    """
    return {
        "load_in_4bit": True,
        "bnb_4bit_compute_dtype": dtype,
        "bnb_4bit_quant_type": options.bnb_4bit_quant_type,
        "bnb_4bit_use_double_quant": options.use_bnb_nested_quant,
    }


def reading_arguments(options: LoraOptions, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """What `from_pretrained` gets, so that codes are made on the device as the files are read."""
    config = BitsAndBytesConfig(**four_bit_settings(options, dtype))
    return {"quantization_config": config, "device_map": {"": device}}


def quantized_weights(model: PreTrainedModel) -> list[Tensor]:
    """The weights that become codes; no number is read."""
    # transformers leaves the head out: its rounding would stand in every log-prob.
    head = model.get_output_embeddings()
    layers = [layer for layer in model.modules() if type(layer) is nn.Linear and layer is not head]
    return list({id(layer.weight): layer.weight for layer in layers}.values())


def bytes_of_weight(options: LoraOptions) -> float:
    """Bytes of a weight in 4 bits, its share of the scales included."""
    # A scale is a float32; nested, it is 8 bits and a share of a float32 of its own.
    if options.use_bnb_nested_quant:
        return 0.5 + 1 / BLOCK + 4 / (BLOCK * NESTED_BLOCK)
    return 0.5 + 4 / BLOCK
