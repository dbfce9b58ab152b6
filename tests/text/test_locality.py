"""Which tokenizers allow texts to be cut."""

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from dupo.text.locality import PROBES, Reader
from tests.helpers.tokenizers_made import bytewise


def altered(**parts) -> Tokenizer:
    core = bytewise()
    for name, part in parts.items():
        setattr(core, name, part)
    return core


def split(pattern: str) -> pre_tokenizers.PreTokenizer:
    in_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), in_bytes])


def spaced(pre_tokenizer: pre_tokenizers.PreTokenizer | None = None, **more: int) -> Tokenizer:
    """No byte alphabet: the space is a character of the vocabulary, or unknown."""
    vocab = {"a": 1} | more | {"<unk>": 0}
    core = Tokenizer(models.BPE(vocab, [], unk_token="<unk>", fuse_unk=True))
    if pre_tokenizer is not None:
        core.pre_tokenizer = pre_tokenizer
    return core


@pytest.mark.parametrize(
    ("core", "local"),
    [
        (bytewise(), True),
        (bytewise(("Ġ", "a"), ("Ġ", "Ġ"), ("Ċ", "Ġ")), True),
        (bytewise(("a", "Ġ")), False),  # a word across a cut
        (bytewise(("Â", "ł"), ("Âł", "Ġ")), True),  # a no-break space is no place for a cut
        (bytewise(dropout=0.1), False),
        (bytewise(end_of_word_suffix="</w>"), False),
        (altered(normalizer=normalizers.NFC()), True),
        (altered(normalizer=normalizers.NFKC()), False),
        (altered(normalizer=normalizers.Replace("a", "b ")), False),
        (altered(normalizer=normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])), False),
        (altered(pre_tokenizer=pre_tokenizers.UnicodeScripts()), False),
        (altered(pre_tokenizer=split(r"(?<=a) b")), False),
        (altered(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True)), True),
        (spaced(**{" ": 2}), True),
        (spaced(pre_tokenizer=pre_tokenizers.Metaspace(split=False), **{"▁": 2}), True),
        (spaced(pre_tokenizer=pre_tokenizers.Metaspace(split=False), **{"▁": 2, "a▁": 3}), False),
        (spaced(pre_tokenizer=pre_tokenizers.Metaspace("_"), **{"_": 2}), False),
        (spaced(), False),  # an unknown space melts into its neighbour
        (
            spaced(**{c: 2 + i for i, c in enumerate({*"".join(PROBES)} - {" "})}),
            False,
        ),  # no probe can see it
        (Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>")), False),
        (Tokenizer(models.WordPiece({"<unk>": 0}, unk_token="<unk>")), False),
    ],
)
def test_what_is_local(core: Tokenizer, local: bool) -> None:
    assert Reader(PreTrainedTokenizerFast(tokenizer_object=core)).is_local() is local


def test_a_pattern_that_looks_across_a_cut_is_found_by_the_probe() -> None:
    merges = [("1", "2"), ("Ġ", "1"), ("Ġ1", "2")]
    for pattern, local in ((r" ?[^ ]+| +", True), (r"12(?= don)|[^\n]", False), (r"[^ ](?:.{20})?|.", False)):
        core = bytewise(*merges)
        core.pre_tokenizer = split(pattern)
        assert Reader(PreTrainedTokenizerFast(tokenizer_object=core)).is_local() is local
