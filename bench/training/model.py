"""A Qwen3 of random weights, its tokenizer and its prompts: a machine without a network has no other model.

What a model says takes no time of its own: tokens a second, bytes and a step are those of any weights. With
150,000 tokens to choose from, random weights hardly ever draw an end token, so every row runs to its limit.
"""

import random
from typing import NamedTuple

import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from dupo.models import attention
from dupo.models.load import Model
from dupo.text.tokenizer import PromptTokenizer

PAD, EOS = "<pad>", "<eos>"


class Size(NamedTuple):
    """What the bench runs.

    Attributes:
        hidden, layers, vocabulary: of the model.
        rows: completions at once, for each measurement of an engine.
        prompt, completion: tokens.
        prompts, generations: of the rollout of the whole step.
    """

    hidden: int
    layers: int
    vocabulary: int
    rows: tuple[int, ...]
    prompt: int
    completion: int
    prompts: int
    generations: int


# The shape of Qwen3-0.6B.
FULL = Size(1024, 28, 151_936, rows=(8, 64, 256), prompt=256, completion=128, prompts=32, generations=8)
TINY = Size(64, 2, 512, rows=(2, 4), prompt=8, completion=6, prompts=4, generations=4)


def config_of(size: Size) -> Qwen3Config:
    """Qwen3-0.6B's shape, or less of it."""
    heads = size.hidden // 64
    return Qwen3Config(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        intermediate_size=3 * size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 2),
        head_dim=128 if heads > 1 else 32,
        tie_word_embeddings=True,
        max_position_embeddings=40_960,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )


def make_model(size: Size, device: torch.device) -> Model:
    """The policy as a trainer holds it: float32 weights, with the attention of this package."""
    attention.register()
    torch.manual_seed(0)
    with device:
        model: Model = Qwen3ForCausalLM._from_config(
            config_of(size), dtype=torch.float32, attn_implementation=attention.NAME
        )
    return model.eval()


def make_tokenizer(size: Size) -> PreTrainedTokenizerFast:
    """One token for each byte, and one for every other id of the model, which no text is read as."""
    words = [PAD, EOS, *sorted(ByteLevel.alphabet())]
    words += [f"w{i}" for i in range(len(words), size.vocabulary)]
    tokenizer = Tokenizer(BPE({word: i for i, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = ByteLevelDecoder()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS)


def prompt_tokenizer(size: Size) -> PromptTokenizer:
    """The tokenizer as engines take it."""
    return PromptTokenizer(make_tokenizer(size))


def prompts(size: Size, count: int) -> list[list[int]]:
    """Ids of different prompts."""
    rng = random.Random(0)
    return [[rng.randrange(2, size.vocabulary) for _ in range(size.prompt)] for _ in range(count)]
