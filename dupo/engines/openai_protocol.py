"""What is said to an OpenAI-compatible server, and how its answers read.

    chat   messages to /chat/completions; the server puts its chat template around them
    ids    token ids to /completions, framed by the tokenizer on this machine
    text   a plain text to /completions, for models without a chat template

Exactly one side frames a prompt: a template that is applied twice is no error anywhere, only a worse model.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dupo.engines.base import Sampling
from dupo.engines.connection import Passing
from dupo.errors import quoted
from dupo.records import ChatPrompt, Message, Prompt
from dupo.text.tokenizer import SYSTEM

CHAT, IDS, TEXT = "chat", "ids", "text"
PATHS = {CHAT: "/chat/completions", IDS: "/completions", TEXT: "/completions"}
# Some servers draw from a part of the distribution unless they are told not to; each by names of its own.
WHOLE_DISTRIBUTION: dict[str, dict[str, Any]] = {
    "vllm": {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
    "sglang": {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
    "llamacpp": {"top_k": 0, "min_p": 0.0},
}
_NO_ANSWER = {"content_filter": "stopped by the content filter", "tool_calls": "calling a tool"}
_NO_ANSWER |= {"function_call": "calling a tool"}
BROKEN_OFF = {"abort", "error", "cancelled"}  # the server has stopped the completion for a reason of its own


class Dialect(NamedTuple):
    """How one server wants to be asked.

    Attributes:
        model: name of the model at the server.
        route: `CHAT`, `IDS` or `TEXT`.
        family: who made the server, as its list of models says; empty where it says nothing.
        limit_name: of the field with the most tokens.
        template_arguments: of the chat template, where the server applies it.
    """

    model: str
    route: str
    family: str = ""
    limit_name: str = "max_tokens"
    template_arguments: Mapping[str, Any] = {}

    def body(self, content: Any, sampling: Sampling, seed: int) -> dict[str, Any]:
        """The JSON body of a request.

        Args:
            content: messages, token ids or a text, as the route has it.
            seed: of 31 bits, which every server takes.
        """
        body = {
            "model": self.model,
            "messages" if self.route == CHAT else "prompt": content,
            self.limit_name: sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": 1.0,
            "seed": seed,
            **WHOLE_DISTRIBUTION.get(self.family, {}),
        }
        # Not of OpenAI, but of vLLM, SGLang, llama.cpp and transformers; other servers refuse the field.
        if self.route == CHAT and self.template_arguments:
            body["chat_template_kwargs"] = dict(self.template_arguments)
        return body


class ServerAnswer(NamedTuple):
    """One completion of a server.

    Attributes:
        text: without what a model has thought before; empty where the server gave no text.
        truncated: cut at the most tokens.
        tokens: of the completion; None where the server does not tell.
        fault: why there is no text, in words; empty where nothing is wrong.
    """

    text: str
    truncated: bool
    tokens: int | None
    fault: str = ""


def messages_of(prompt: Prompt, system_prompt: str | None) -> list[dict[str, str]]:
    """The chat of a prompt; `system_prompt` stands where the prompt brings no system message."""
    pieces = prompt.pieces if isinstance(prompt, ChatPrompt) else prompt
    history = prompt.history if isinstance(prompt, ChatPrompt) else ()
    if system_prompt is not None and not any(message.role == SYSTEM for message in history):
        history = (Message(SYSTEM, system_prompt), *history)
    return [message._asdict() for message in (*history, Message("user", "".join(pieces)))]


def choices_of(answer: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The choices of an answer.

    Raises:
        ValueError: there are none.
    """
    choices = answer.get("choices")
    if isinstance(choices, list) and choices and all(isinstance(choice, dict) for choice in choices):
        return choices
    raise ValueError(f"an answer without choices: {quoted(dict(answer))}")


def text_of(choice: Mapping[str, Any]) -> str:
    """The text of a choice; empty for null, which stands where a model only thought or called a tool.

    Raises:
        ValueError: there is no place for a text.
    """
    message = choice.get("message")
    holder, name = (message, "content") if isinstance(message, dict) else (choice, "text")
    text = holder.get(name)
    # Null where a model has thought up to its limit, and said nothing.
    if text is None and name in holder:
        return ""
    # A message that only thinks or calls a tool may lack its content.
    if text is None and isinstance(message, dict):
        return ""
    if not isinstance(text, str):
        raise ValueError(f"an answer without a text: {quoted(dict(choice))}")
    return text


def count_in(answer: Mapping[str, Any], name: str) -> int | None:
    """A number of tokens in the usage of an answer; None where it is not told."""
    # Some servers leave usage out, others send null.
    usage = answer.get("usage")
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if type(count) is int and count >= 0 else None


def read_answer(answer: Mapping[str, Any]) -> ServerAnswer:
    """The one completion that a request asked for.

    Raises:
        Passing: the server broke the completion off.
        ValueError: the answer has no completion.
    """
    choice = choices_of(answer)[0]
    reason = choice.get("finish_reason")
    if reason in BROKEN_OFF:
        raise Passing(f"it broke a completion off (finish_reason {reason})")
    text, fault = text_of(choice), _NO_ANSWER.get(str(reason), "")
    if fault:
        # Half an answer could be read as a whole one.
        text = ""
    elif not text:
        fault = "without text"
    tokens = count_in(answer, "completion_tokens")
    return ServerAnswer(text, reason == "length", tokens, fault)
