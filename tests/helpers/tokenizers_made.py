"""Tokenizers of every kind that language models come with, trained on the spot on grade-school questions."""

import json
from functools import cache
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

ROOT = Path(__file__).parents[2]
QWEN3 = ROOT.parent / "shared/data/tokenizers/qwen3"
GSM8K = ROOT.parent / "shared/data/gsm8k/train.jsonl"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SPECIAL = ["<unk>", "<s>", "</s>"]


@cache
def corpus() -> list[str]:
    """400 questions; our own prose where the data is not there."""
    if GSM8K.is_file():
        return [json.loads(line)["question"] for line in GSM8K.read_text().splitlines()[:400]]
    return [
        line for name in ("README.md", "ARCHITECTURE.md") for line in (ROOT / name).read_text().splitlines()
    ]


def wrapped(core: Tokenizer, end: str, **tokens: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token=end, pad_token=end, **tokens)


def gpt2(pattern: str = GPT2) -> PreTrainedTokenizerFast:
    """Bytes, split by a regular expression; an added token that is not special stands beside."""
    core = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    in_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.pre_tokenizer = pre_tokenizers.Sequence([split, in_bytes])
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        corpus(), trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet, show_progress=False)
    )
    core.add_special_tokens(["<|endoftext|>", "<|im_end|>"])
    core.add_tokens(["<think>", " apples"])
    return wrapped(core, "<|endoftext|>")


def llama() -> PreTrainedTokenizerFast:
    """Characters with byte fallback, words told apart by the space mark alone; merges that lead to "</s>"."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    core.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=700, show_progress=False))
    made = json.loads(core.to_str())["model"]
    names = [*SPECIAL, *(f"<0x{i:02X}>" for i in range(256)), *made["vocab"]]
    merges = [tuple(merge) for merge in made["merges"]]
    for pair in (("<", "/"), ("</", "s"), ("</s", ">")):
        names += [*pair, "".join(pair)]
        merges.append(pair)
    vocab = {name: i for i, name in enumerate(dict.fromkeys(names))}
    core = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.add_special_tokens(SPECIAL)
    core.add_tokens(["[INST]"])
    return wrapped(core, "</s>", bos_token="<s>", unk_token="<unk>")


def unigram() -> PreTrainedTokenizerFast:
    """The likeliest split of every word: it knows "</s>" as it knows a word."""
    core = Tokenizer(models.Unigram())
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    core.train_from_iterator(
        corpus(),
        trainers.UnigramTrainer(
            vocab_size=600,
            special_tokens=SPECIAL,
            unk_token="<unk>",
            initial_alphabet=["<", ">", "/"],
            show_progress=False,
        ),
    )
    return wrapped(core, "</s>", bos_token="<s>", unk_token="<unk>")


def chatml_bytes(**tokens: str) -> PreTrainedTokenizerFast:
    """One token a byte, and the special tokens of ChatML."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<pad>", "<|im_start|>", "<|im_end|>"]
    core = Tokenizer(models.BPE({t: i for i, t in enumerate([*special, *alphabet])}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    hf = PreTrainedTokenizerFast(tokenizer_object=core, **tokens)
    hf.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    return hf


# What chat models do with more than a message: every role is named, what an answer thought before </think> is
# dropped from earlier turns, and `enable_thinking` off puts an empty thought before the answer.
THINKING = """{%- set open, close = '<|im_start|>', '<|im_end|>' %}
{%- for message in messages %}
{{- open + message.role + '\n' }}
{%- if message.role == 'assistant' %}{{- (message.content.split('</think>') | last).lstrip('\n') }}
{%- else %}{{- message.content }}{% endif %}
{{- close + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- open + 'assistant\n' }}
{%- if enable_thinking is defined and not enable_thinking %}{{- '<think>\n\n</think>\n\n' }}{% endif %}
{%- endif %}"""


BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())


def bytewise(*merged: tuple[str, str], **options) -> Tokenizer:
    """Bytes, and the words that `merged` pairs make."""
    vocab = {t: i for i, t in enumerate(["<unk>", *BYTES, *map("".join, merged)])}
    core = Tokenizer(models.BPE(vocab, [*merged], **{"unk_token": "<unk>", **options}))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return core


KINDS = {"gpt2": gpt2, "llama": llama, "unigram": unigram}
