"""Where tokenizers come from: a folder, the Hub, or the built-in ones that need no files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer
from transformers.utils import CONFIG_NAME

from dupo.config.model_options import BUILT_IN_MODEL, ModelOptions
from dupo.errors import UserError
from dupo.models.adapter_files import adapter_folder
from dupo.models.library_errors import library_call
from dupo.text.builtin_tokenizers import raw_bytes, word_level
from dupo.text.tokenizer import PromptTokenizer


def load_tokenizer(
    options: ModelOptions, vocabulary: Sequence[str] | None, *, is_judge: bool = False
) -> PromptTokenizer:
    """The tokenizer that `tokenizer_name`, or else the folder of the model, names.

    Args:
        vocabulary: tokens of the built-in tokenizer; None: one token for each byte.
        is_judge: of another model than that of the run, whose chat template may leave arguments unread.

    Raises:
        UserError: there is no such tokenizer, or it reads no text, lacks a padding or end token, or has a
            chat template that cannot be used.
    """
    name = options.tokenizer_name or options.model_name_or_path
    if name == BUILT_IN_MODEL:
        return _prompt_tokenizer(word_level(vocabulary) if vocabulary else raw_bytes(), options, is_judge)
    check_model_name("tokenizer_name" if options.tokenizer_name else "model_name_or_path", name)
    arguments: dict[str, Any] = {}
    # Many adapters come without a tokenizer: theirs is that of the model beneath.
    is_bare = not any(Path(name).glob("tokenizer*")) and options.tokenizer_name is None
    if is_bare and (adapter := adapter_folder("model_name_or_path", name)):
        name, arguments["revision"] = adapter.base, adapter.revision
    with library_call(f"no tokenizer could be loaded from {name}", name):
        try:
            hf = AutoTokenizer.from_pretrained(name, **arguments, trust_remote_code=options.trust_remote_code)
        except Exception:
            _check_config(Path(name), trust_remote_code=options.trust_remote_code)
            raise
        # Without tokenizer files transformers makes up an empty tokenizer from the type of the model.
        if not hf.get_vocab().keys() - hf.get_added_vocab().keys():
            raise UserError(f"the tokenizer of {name} has an empty vocabulary: are its files there?")
    for kind, wanted in (("pad_token", options.pad_token), ("eos_token", options.eos_token)):
        if wanted:
            if wanted not in hf.get_vocab():
                raise UserError(f"{kind}: expected a token of the vocabulary of {name}, got {wanted!r}")
            setattr(hf, kind, wanted)
        # Without an end token no completion would ever end; without padding no batch could be made.
        if getattr(hf, kind) is None:
            raise UserError(f"the tokenizer of {name} has no {kind}: name one with --{kind} TOKEN")
    with library_call(f"the tokenizer of {name} cannot be used"):
        return _prompt_tokenizer(hf, options, is_judge)


def _prompt_tokenizer(hf: Any, options: ModelOptions, is_judge: bool) -> PromptTokenizer:
    """The tokenizer with the system message and the template arguments of the options.

    Raises:
        UserError: the chat template takes no system message, or never reads an argument.
    """
    arguments = options.template_arguments
    tokenizer = PromptTokenizer(hf, day=options.day, system_prompt=options.system_prompt, arguments=arguments)
    if unread := [] if is_judge else tokenizer.unread_arguments(arguments):
        name = f"the tokenizer {hf.name_or_path or 'of the built-in model'}"
        expected = f"arguments that the chat template of {name} reads"
        if tokenizer.frames.template is None:
            expected = f"none, as {name} has no chat template"
        raise UserError(f"chat_template_kwargs: expected {expected}, got {', '.join(unread)}")
    return tokenizer


def _check_config(folder: Path, *, trust_remote_code: bool) -> None:
    """Names config.json where that file is at fault: transformers reads the file to choose a tokenizer.

    Raises:
        UserError: the folder has a config.json that cannot be read.
    """
    file = folder / CONFIG_NAME
    if file.is_file():
        with library_call(f"{file} is not usable"):
            AutoConfig.from_pretrained(str(folder), trust_remote_code=trust_remote_code)


def check_model_name(option: str, name: str) -> None:
    """Refuses the folder of a run, and a name that can only be a folder and is none.

    Raises:
        UserError: names the option.
    """
    saved = [path for path in Path(name).glob("checkpoint-*") if path.name.partition("-")[2].isdigit()]
    if saved and not (Path(name) / CONFIG_NAME).is_file():
        # transformers would tell of files of a tokenizer that it does not find.
        newest = max(saved, key=lambda path: int(path.name.partition("-")[2]))
        raise UserError(f"{option}: expected the folder of a model, such as {newest}, got the run {name}")
    # `owner/name` may be on the Hub, so its absence here says nothing.
    looks_like_hub = name.count("/") <= 1 and not name.startswith((".", "/", "~")) and "\\" not in name
    if not Path(name).is_dir() and not looks_like_hub:
        raise UserError(
            f"{option}: expected `tiny`, a folder or a Hub name, got {name!r}, which does not exist"
        )
