"""Text to token ids and back, for any transformers tokenizer, and two that need no files.

What a data set or a model wrote is never read as special tokens: a sampled `<|im_end|>` inside a prompt
stays ten characters of text. Only the chat template's own words may be special. (Tokens that a tokenizer
adds without calling them special, such as Qwen3's `<think>`, keep their one id.)
"""

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import logging as hub_logging
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from dupo.config import Config, UserError

ALPHABET = "0123456789+-=#@?:"  # of the arithmetic task; with three special tokens, a vocabulary of 20
CONTENT = "\x02content\x03"  # stands for the user's text while the chat template is rendered


class PromptTokenizer:
    """Prompts in, sampled ids out.

    Attributes:
        hf: the transformers tokenizer.
        eos_ids: ids that end a completion.
        pad_id: fills the left of shorter prompts in generation, always masked.
    """

    def __init__(self, hf: PreTrainedTokenizerFast) -> None:
        self.hf = hf
        self.eos_ids = {int(hf.eos_token_id)}  # type: ignore[arg-type]
        self.pad_id = int(hf.pad_token_id)  # type: ignore[arg-type]
        self.before, self.after = self._frame()

    def _frame(self) -> tuple[list[int], list[int]]:
        """Ids that stand before and after the text of every prompt: the chat template, or only a BOS."""
        if self.hf.chat_template is None:
            alone = self.hf("").input_ids
            return [i for i in alone if i == self.hf.bos_token_id], []
        rendered = self.hf.apply_chat_template(
            [{"role": "user", "content": CONTENT}], tokenize=False, add_generation_prompt=True
        )
        before, found, after = str(rendered).partition(CONTENT)
        if not found:
            raise UserError("tokenizer: its chat template does not show the user's message")
        return tuple(self.hf(part, add_special_tokens=False).input_ids for part in (before, after))  # type: ignore[return-value]

    def encode(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt, framed by the chat template if the tokenizer has one."""
        if not prompts:
            return []
        ids = self.hf(list(prompts), add_special_tokens=False, split_special_tokens=True).input_ids
        return [self.before + one + self.after for one in ids]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Text of each list of ids, special tokens left out."""
        return self.hf.batch_decode([list(one) for one in ids], skip_special_tokens=True)

    def __len__(self) -> int:
        return len(self.hf)


def load_tokenizer(config: Config) -> PromptTokenizer:
    """The tokenizer that `tokenizer_name` or the model's folder names; a built-in one for `tiny`."""
    name = config.tokenizer_name or config.model_name_or_path
    if name == "tiny":
        return PromptTokenizer(characters() if config.task == "arithmetic" else raw_bytes())
    check_path("tokenizer_name" if config.tokenizer_name else "model_name_or_path", name)
    transformers_logging.set_verbosity_error()  # what it warns of and then raises would be said twice
    hub_logging.set_verbosity_error()
    try:
        hf = AutoTokenizer.from_pretrained(name, trust_remote_code=config.trust_remote_code)
    except (OSError, ValueError) as error:
        raise UserError(f"no tokenizer could be loaded from {name}: {in_one_line(error)}") from None
    for kind in ("pad_token", "eos_token"):
        if wanted := getattr(config, kind):
            if wanted not in hf.get_vocab():
                raise UserError(f"{kind}: expected a token of the vocabulary of {name}, got {wanted!r}")
            setattr(hf, kind, wanted)
        if getattr(hf, kind) is None:
            raise UserError(f"the tokenizer of {name} has no {kind}: name one with --{kind} TOKEN")
    return PromptTokenizer(hf)


def check_path(option: str, name: str) -> None:
    """A name that can only be a folder must be one; `owner/name` may be on the Hub."""
    looks_like_hub = name.count("/") <= 1 and not name.startswith((".", "/", "~")) and "\\" not in name
    if not Path(name).is_dir() and not looks_like_hub:
        raise UserError(
            f"{option}: expected `tiny`, a folder or a Hub name, got {name!r}, which does not exist"
        )


def in_one_line(error: Exception) -> str:
    """What a library says is wrong, its first 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def characters() -> PreTrainedTokenizerFast:
    """One token a character: the vocabulary of 20 of the arithmetic task."""
    vocab = {token: i for i, token in enumerate(["<pad>", "<eos>", "<unk>", *ALPHABET])}
    core = FastTokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")  # type: ignore[assignment]
    core.decoder = decoders.Fuse()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def raw_bytes() -> PreTrainedTokenizerFast:
    """One token a byte of UTF-8: reads any text in any language."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate(["<pad>", "<eos>", *alphabet])}
    core = FastTokenizer(models.BPE(vocab, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)  # type: ignore[assignment]
    core.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>")
