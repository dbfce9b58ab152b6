"""Models and tokenizers as objects of transformers: those that a user brings, and those of a checkpoint."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from dupo.config.model_options import ModelOptions
from dupo.errors import UserError, quoted
from dupo.models.adapter_files import has_adapters
from dupo.models.library_errors import library_call
from dupo.models.load import Model, holds_score, read_model, scorer_config
from dupo.models.saving import refusal, token_settings
from dupo.models.tokenizers import load_tokenizer


def check_object(name: str, thing: object) -> None:
    """Refuses an object that is no model, or no tokenizer, of transformers.

    Args:
        name: of the argument: "model" or "tokenizer".

    Raises:
        UserError: names what was expected.
    """
    expected = PreTrainedModel if name == "model" else PreTrainedTokenizerBase
    # Saved as it is, a model with adapters is a file that no class reads, or the adapter without the model.
    if isinstance(thing, torch.nn.Module) and has_adapters(thing):
        whole = "a model without adapters (use_peft=True makes new ones, merge_and_unload() ends old ones)"
        raise UserError(f"{name}: expected {whole}, got a {type(thing).__name__} with adapters")
    if not isinstance(thing, expected):
        raise UserError(f"{name}: expected a path or a {name} of transformers, got {quoted(thing)}")


def save_object(name: str, thing: Any, folder: Path) -> None:
    """Writes a model or a tokenizer into a folder; the object stays as it was.

    Args:
        name: of the argument: "model" or "tokenizer".

    Raises:
        UserError: the object cannot be saved.
    """
    with library_call(f"{name}: the {type(thing).__name__} cannot be saved"):
        if not isinstance(thing, PreTrainedModel):
            thing.save_pretrained(folder)
            return
        # `save_pretrained` writes the class and the dtype into the config of the object.
        config, settings = deepcopy(vars(thing.config)), getattr(thing, "generation_config", None)
        try:
            # As for any model that is loaded: sampling here reads the token ids and no other setting.
            if settings is not None and refusal(settings, str(folder)):
                thing.generation_config = token_settings(settings)
            thing.save_pretrained(folder)
        finally:
            vars(thing.config).clear()
            vars(thing.config).update(config)
            if settings is not None:
                thing.generation_config = settings


def model_of(checkpoint: Path, *, trust_remote_code: bool = False) -> Model:
    """The model of a checkpoint, as transformers loads it: in eval mode, float32, on the CPU.

    An adapter is merged into the model beneath it. A reward model is `...ForSequenceClassification`.
    """
    options = ModelOptions(model_name_or_path=str(checkpoint), trust_remote_code=trust_remote_code)
    scored = scorer_config(options, load_tokenizer(options, None)) if holds_score(options) else None
    return read_model("model", str(checkpoint), scored=scored, trust_remote_code=trust_remote_code).eval()


def tokenizer_of(checkpoint: Path, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint, as transformers loads it."""
    with library_call(f"no tokenizer could be loaded from {checkpoint}"):
        return AutoTokenizer.from_pretrained(str(checkpoint), trust_remote_code=trust_remote_code)
