"""What can fail when a checkpoint is written is tried when the model is loaded, before any step is lost."""

import tempfile
from typing import Any

from transformers import GenerationConfig

from dupo.errors import DISK_FAULTS, UserError, in_one_line, os_error_number
from dupo.models.load import Model


def check_saving(model: Model, tokenizer: Any) -> list[str]:
    """Saves everything but the weights into a temporary folder, once.

    Versions of transformers refuse to save generation settings that they load, such as `do_sample: false`
    beside a temperature. Such settings are replaced by their end, padding and start tokens.
    Sampling here reads no other setting.

    Args:
        tokenizer: has `save_pretrained`.

    Returns:
        A warning for the user where settings were replaced; else nothing.

    Raises:
        UserError: the config, the generation settings or the tokenizer cannot be saved.
    """
    name, lines = model.config.name_or_path or type(model).__name__, list[str]()
    with tempfile.TemporaryDirectory(prefix="dupo-") as folder:
        # A reward model generates nothing, and has no settings.
        settings = getattr(model, "generation_config", None)
        if settings is not None and (reason := refusal(settings, folder)):
            problem = "its generation_config.json cannot be saved and is cut down to its token ids"
            lines.append(f"{name}: {problem}: {reason}")
            model.generation_config = settings = token_settings(settings)
        for saved in (settings, model.config, tokenizer):
            if saved is not None and (reason := refusal(saved, folder)):
                raise UserError(f"{name}: its {type(saved).__name__} cannot be saved: {reason}")
    return lines


def refusal(saved: Any, folder: str) -> str | None:
    """Why `save_pretrained` of a config, generation settings or a tokenizer fails; None if it does not."""
    try:
        saved.save_pretrained(folder)
    except Exception as error:
        # A full disk or a folder that is read-only says nothing about what was saved.
        if os_error_number(error) in DISK_FAULTS:
            return None
        # Any error else: what is wrong with settings depends on the version of the library.
        return in_one_line(error, kind=True)
    return None


def token_settings(settings: Any) -> GenerationConfig:
    """Generation settings with the ids that start, end and pad a text, and nothing else."""
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    return GenerationConfig(**{name: getattr(settings, name, None) for name in names})
