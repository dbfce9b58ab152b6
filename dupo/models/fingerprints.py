"""Fingerprints of a model and its tokenizer by their contents: files change, and their names stay."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from transformers import PretrainedConfig

from dupo.config.model_options import BUILT_IN_MODEL, ModelOptions
from dupo.models.adapter_files import ADAPTER_CONFIG, adapter_folder
from dupo.text.tokenizer import PromptTokenizer

# What decides what a model computes: weights, shape, end tokens, and code that comes with the model. Not all
# .json: the tokenizer is compared as it was loaded, and the state of another trainer changes no result.
_READ = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json", "*.py")
_READ += ("config.json", "generation_config.json")


def model_fingerprints(
    kind: str, options: ModelOptions, tokenizer: PromptTokenizer, shape: PretrainedConfig
) -> Mapping[str, str]:
    """Name -> fingerprint of everything that is read of one model.

    Args:
        kind: what the model is to the run: "model", "judge".
        shape: what `model_config` gave.
    """
    return {
        **weights_fingerprint(kind, options, shape),
        **tokenizer_fingerprints(kind, tokenizer),
    }


def tokenizer_fingerprints(kind: str, tokenizer: PromptTokenizer) -> Mapping[str, str]:
    """The same for the tokenizer and its chat frame alone."""
    return {
        f"the tokenizer of the {kind}": _sha256(tokenizer_text(tokenizer)),
        # As rendered: a template that shows the date changes although its file does not.
        f"the chat frame of the {kind}": _sha256(json.dumps(_chat_frame(tokenizer))),
    }


def weights_fingerprint(
    kind: str, options: ModelOptions, shape: PretrainedConfig | None = None
) -> Mapping[str, str]:
    """The same for the weights alone; empty for the built-in model, which is made from the seed."""
    name = options.model_name_or_path
    if name == BUILT_IN_MODEL:
        return {}
    if adapter := adapter_folder("model_name_or_path", name):
        base = weights_fingerprint(
            f"base of the {kind}", replace(options, model_name_or_path=adapter.base), shape
        )
        return {f"the weights of the {kind}": _adapter_fingerprint(adapter.folder), **base}
    folder = Path(name)
    if folder.is_dir():
        return {f"the weights of the {kind}": _files_fingerprint(folder)}
    # The Hub names every state of a repository by its commit; hashing the files would say no more.
    return {f"the weights of the {kind}": f"commit {getattr(shape, '_commit_hash', None)}"}


def tokenizer_text(tokenizer: PromptTokenizer) -> str:
    """Everything that decides the ids of a text: vocabulary, merges, normaliser, special and added tokens."""
    hf = tokenizer.hf
    core = getattr(hf, "backend_tokenizer", None)
    # A tokenizer in Python alone has no core; its vocabulary is the best that can be read of it.
    rules = core.to_str() if core is not None else json.dumps(sorted(hf.get_vocab().items()))
    special = [hf.pad_token, hf.eos_token, hf.bos_token, hf.unk_token, sorted(hf.get_added_vocab().items())]
    return json.dumps([rules, special])


def _chat_frame(tokenizer: PromptTokenizer) -> object:
    """The frame around most prompts; with the template where prompts come with messages before them."""
    template = tokenizer.frames.template
    if not tokenizer.has_histories or template is None:
        return tokenizer.frame
    return [tokenizer.frame, template.source, template.arguments]


def _files_fingerprint(folder: Path) -> str:
    """The sha256 of the names and contents of the files that `from_pretrained` may read, each read once."""
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.is_file() and any(fnmatchcase(file.name, pattern) for pattern in _READ):
            with file.open("rb") as opened:
                # In pieces: weights may be larger than the memory.
                content = hashlib.file_digest(opened, "sha256").hexdigest()
            digest.update(f"{content}  {file.name}\n".encode())
    return digest.hexdigest()


def _adapter_fingerprint(folder: Path) -> str:
    """The same for an adapter. Where its base stands is no content: the base has a fingerprint of its own."""
    settings = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    settings |= {"base_model_name_or_path": None}
    return _sha256(_files_fingerprint(folder) + json.dumps(settings, sort_keys=True))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
