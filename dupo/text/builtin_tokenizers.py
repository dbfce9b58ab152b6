"""Two tokenizers that need no files: for the vocabulary of a built-in task, and for the bytes of any text."""

from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


def word_level(vocabulary: Sequence[str]) -> PreTrainedTokenizerFast:
    """Makes the tokenizer of a built-in task.

    A vocabulary of single characters gives one token per character. Any other vocabulary gives one token per
    word between spaces.
    """
    ids = {token: i for i, token in enumerate(["<pad>", "<eos>", "<unk>", *vocabulary])}
    core = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    if max(map(len, vocabulary)) == 1:
        core.pre_tokenizer = pre_tokenizers.Split("", "isolated")  # type: ignore[assignment]
        core.decoder = decoders.Fuse()  # type: ignore[assignment]
    else:  # without a decoder, words are joined by spaces
        core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def raw_bytes() -> PreTrainedTokenizerFast:
    """Makes a tokenizer with one token per byte of UTF-8, for any text in any language."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    ids = {token: i for i, token in enumerate(["<pad>", "<eos>", *alphabet])}
    core = Tokenizer(models.BPE(ids, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)  # type: ignore[assignment]
    core.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>")
