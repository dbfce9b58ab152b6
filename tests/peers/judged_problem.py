"""A problem, a model that can answer it and its duals, and a tokenizer for both."""

import re

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

PROBLEMS = '{"question": "Ann has 12 pens and buys 30 more. How many pens has Ann now?"}\n'
CHARACTERS = [chr(code) for code in (10, *range(32, 127))]


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a character, with a template that names the role."""
    vocabulary = {text: number for number, text in enumerate(["<pad>", "<eos>", *CHARACTERS])}
    characters = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    characters.pre_tokenizer, characters.decoder = pre_tokenizers.Split("", "isolated"), decoders.Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=characters, pad_token="<pad>", eos_token="<eos>")
    fast.chat_template = (
        "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    return fast


def say(prompt: str) -> str:
    """42 to the question; what is hidden to the duals of 42."""
    numbers = set(re.findall(r"\d+", prompt))
    hidden = {"12", "30"} - numbers
    if not hidden:
        return r"\boxed{42}"
    return rf"\boxed{{{hidden.pop()}}}" if "42" in numbers else "no idea"
