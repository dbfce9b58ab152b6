"""A tiny model that thinks: one token a byte, `<think>` and `</think>`, and chat templates that know them."""

from typing import Any, NamedTuple

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from dupo.config.command_line import parse
from dupo.config.config import Config
from dupo.models.load import end_tokens, load_model
from dupo.models.tiny import tiny_config
from dupo.text.tokenizer import PromptTokenizer
from tests.helpers.tokenizers_made import THINKING, chatml_bytes
from tests.helpers.worlds import CPU

# As DeepSeek-R1 and Qwen3-Thinking write it: the thought is opened by the prompt, unless thinking is off.
OPENED = THINKING.replace(
    "{%- if enable_thinking", "{%- if enable_thinking is not defined %}{{- '<think>\\n' }}"
)
OPENED = OPENED.replace(" is defined and not enable_thinking %}", "{% elif not enable_thinking %}", 1)
# As Qwen3 shows the thought of an answer; a prompt opens none.
SHOWN = THINKING.replace(
    "{%- if message.role == 'assistant' %}",
    "{%- if message.role == 'assistant' and message.reasoning_content is string %}"
    "{{- '<think>\\n' + message.reasoning_content + '\\n</think>\\n\\n' + message.content }}"
    "{%- elif message.role == 'assistant' %}",
)


def thinking_bytes(template: str, *, special: bool = False) -> PreTrainedTokenizerFast:
    """A chat tokenizer of bytes; `special`: the marks of a thought are special tokens."""
    hf = chatml_bytes(pad_token="<pad>", eos_token="<|im_end|>")
    hf.add_tokens(["<think>", "</think>"], special_tokens=special)
    hf.chat_template = template
    return hf


class Thinker(NamedTuple):
    """A model with random weights, and what comes with it."""

    model: PreTrainedModel
    tokenizer: PromptTokenizer
    config: Config


def thinker(template: str = OPENED, *options: str, **arguments: Any) -> Thinker:
    """The built-in shape around a tokenizer with this template; thoughts of random bytes hardly ever end."""
    config = parse(["--num_threads", "1", *options])
    tokenizer = PromptTokenizer(thinking_bytes(template), arguments=arguments)
    model = load_model(config.model, tiny_config(tokenizer), CPU, config.run.seed)
    tokenizer.eos_ids |= end_tokens(model)
    return Thinker(model, tokenizer, config)
