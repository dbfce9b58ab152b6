"""Loads the tokenizer that the settings name."""

from pathlib import Path

from huggingface_hub import logging as hub_logging
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from dupo.config.options import Config
from dupo.errors import UserError
from dupo.tasks import LESSONS
from dupo.text.builtin_tokenizers import raw_bytes, word_level
from dupo.text.tokenizer import PromptTokenizer


def load_tokenizer(config: Config) -> PromptTokenizer:
    """Loads the tokenizer of `tokenizer_name` or of the model's folder; `tiny` gets a built-in tokenizer.

    Raises:
        UserError: no tokenizer under that name, or no padding token or end token.
    """
    name = config.tokenizer_name or config.model_name_or_path
    if name == "tiny":
        lessons = LESSONS.get(config.task)
        return PromptTokenizer(word_level(lessons.vocabulary) if lessons else raw_bytes())
    check_path("tokenizer_name" if config.tokenizer_name else "model_name_or_path", name)
    # Both libraries would print what they then raise, and the user would read every error twice.
    transformers_logging.set_verbosity_error()
    hub_logging.set_verbosity_error()
    try:
        hf = AutoTokenizer.from_pretrained(name, trust_remote_code=config.trust_remote_code)
    except (OSError, ValueError) as error:
        raise UserError(f"no tokenizer could be loaded from {name}: {in_one_line(error)}") from None
    for option in ("pad_token", "eos_token"):
        token = getattr(config, option)
        if token:
            if token not in hf.get_vocab():
                raise UserError(f"{option}: expected a token of the vocabulary of {name}, got {token!r}")
            setattr(hf, option, token)
        # Training needs both: padding for batches, and an end that a completion can reach.
        if getattr(hf, option) is None:
            raise UserError(f"the tokenizer of {name} has no {option}: name one with --{option} TOKEN")
    return PromptTokenizer(hf)


def check_path(option: str, name: str) -> None:
    """Refuses a name that can only be a folder and is none. `owner/name` may be on the Hub.

    Raises:
        UserError: no such folder.
    """
    # Asking the Hub for a path would end in an error about repository names.
    looks_like_hub = name.count("/") <= 1 and not name.startswith((".", "/", "~")) and "\\" not in name
    if not Path(name).is_dir() and not looks_like_hub:
        raise UserError(
            f"{option}: expected `tiny`, a folder or a Hub name, got {name!r}, which does not exist"
        )


def in_one_line(error: Exception) -> str:
    """Returns the message of an error in one line, at most 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__
