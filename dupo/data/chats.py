"""Chats: lists of messages in a column, as TRL names them (`messages`, or `prompt` and `completion`)."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from dupo.data.columns import RowError, raw_text, value_at
from dupo.data.contents import as_text
from dupo.data.json_rows import parse_json
from dupo.data.rows import Row
from dupo.records import Message

# Names of a chat column; the second is that of ShareGPT, which TRL reads as well.
CHAT_COLUMNS = ("messages", "conversations")
# Names of other programs (ShareGPT, Gemini, OpenAI's newer one), which few chat templates know.
_ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant"}
_ROLES |= {"ai": "assistant", "bot": "assistant", "developer": "system"}
_ROLES |= {role: role for role in ("user", "assistant", "system", "tool")}
# What str() of Python gives for a chat has no rules by which it could be read back for sure.
_PYTHON_CHAT = re.compile(r"\s*(array\()?\[?\s*\{(?=\s*'\w+'\s*:).*'(role|from)'\s*:", re.DOTALL)
_BROKEN_CHAT = re.compile(r'\s*\[\s*\{\s*"(role|from|content|value)"\s*:')


class Chat(NamedTuple):
    """A chat that ends in a question of the user, and perhaps in its answer.

    Attributes:
        history: the messages before the question.
        question: the last message of the user.
        answer: the message of the assistant after the question; None where the chat ends in the question.
    """

    history: tuple[Message, ...]
    question: str
    answer: str | None


def messages_at(row: Row, name: str) -> list[Message] | None:
    """The messages in a column; None where the column holds no list of messages.

    Raises:
        RowError: the column holds messages that are not text, such as images.
    """
    value = value_at(row, name)
    if isinstance(value, str):
        value = _from_cell(row, name, value)
    if isinstance(value, dict) and len(value) == 1:
        value = value.get(next(iter(value.keys() & set(CHAT_COLUMNS)), ""), value)
    # Some data sets put one message in the place of a list.
    if isinstance(value, dict) and _is_message(value):
        value = [value]
    if not isinstance(value, list | tuple) or not value or not all(map(_is_message, value)):
        return None
    return [_message(row, name, item) for item in value]


def chat_of(row: Row, name: str, messages: Sequence[Message]) -> Chat:
    """Splits messages into history, question and answer.

    Raises:
        RowError: no message of the user, or more than one message after the last of them.
    """
    places = [place for place, message in enumerate(messages) if message.role == "user"]
    if not places:
        roles = ", ".join(message.role for message in messages)
        raise RowError(row, f"a message of the user in {name!r}", f"roles {roles}")
    last = places[-1]
    after = messages[last + 1 :]
    if len(after) > 1 or any(message.role != "assistant" for message in after):
        roles = ", ".join(message.role for message in after)
        raise RowError(row, f"one answer of the assistant after the last question in {name!r}", roles)
    question = messages[last].content
    if not question.strip():
        raise RowError(row, f"text in {name!r}", "none")
    return Chat(tuple(messages[:last]), question, after[0].content if after else None)


def holds_messages(value: object) -> bool:
    """Whether TRL takes a prompt for messages and not for a text, by its first item."""
    first = value[0] if isinstance(value, list | tuple) and value else None
    return isinstance(first, dict) and "role" in first


def _is_message(item: object) -> bool:
    return isinstance(item, dict) and (
        ("role" in item and ("content" in item or "tool_calls" in item)) or {"from", "value"} <= item.keys()
    )


def _from_cell(row: Row, name: str, text: str) -> Any:
    """A chat that stands as JSON in a cell of a table, alone or under its name; None for other text."""
    if _PYTHON_CHAT.match(text):
        expected = f"a list of messages as JSON in {name!r} (write the rows as JSON lines)"
        raise RowError(row, expected, "Python's")
    if not text.strip().startswith(("[", "{")):
        return None
    try:
        return parse_json(text)
    except (ValueError, RecursionError):
        if _BROKEN_CHAT.match(text):
            raise RowError(row, f"a list of messages as JSON in {name!r}", "broken JSON") from None
        return None


def _message(row: Row, name: str, item: dict[str, Any]) -> Message:
    role, content = (item["role"], item.get("content")) if "role" in item else (item["from"], item["value"])
    if not isinstance(role, str):
        raise RowError(row, f"messages with a role in {name!r}", as_text(role)[:40])
    role = _ROLES.get(role.strip().lower(), role)
    if isinstance(content, list | tuple):
        content = _joined([_text_of_piece(row, name, piece) for piece in content])
    return Message(role, raw_text(row, name, content))


def _joined(pieces: Sequence[str]) -> str:
    """The pieces in one text; "Ann has 3" and "4 pens" are no 34 pens."""
    text = ""
    for piece in pieces:
        touch = text and piece and not text[-1].isspace() and not piece[0].isspace()
        text += "\n" * bool(touch) + piece
    return text


def _text_of_piece(row: Row, name: str, piece: object) -> str:
    """The text of one piece of a message: {"type": "text", "text": ...}."""
    if isinstance(piece, str):
        return piece
    if isinstance(piece, dict) and piece.get("type", "text") == "text" and isinstance(piece.get("text"), str):
        return piece["text"]
    kind = piece.get("type") if isinstance(piece, dict) else None
    raise RowError(
        row, f"messages of text alone in {name!r}", f"a piece of kind {kind or as_text(piece)[:40]}"
    )
