"""Chats: lists of messages in a column, as TRL names them (`messages`, or `prompt` and `completion`)."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from dupo.data.columns import RowError, raw_text, value_at
from dupo.data.contents import as_text
from dupo.data.rows import Row
from dupo.records import Message

# Names of a chat column; the second is that of ShareGPT, which TRL reads as well.
CHAT_COLUMNS = ("messages", "conversations")
_SHAREGPT_ROLES = {"human": "user", "gpt": "assistant", "system": "system"}
_NEW_ROLES = {"developer": "system"}  # OpenAI's newer name, which few chat templates know
_CHAT_STARTS = ('[{"role"', '[{"from"', '[{"content"', '[{"value"')


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
        raise RowError(row, f"a message of the user in {name!r}", "none")
    last = places[-1]
    after = messages[last + 1 :]
    if len(after) > 1 or any(message.role != "assistant" for message in after):
        roles = ", ".join(message.role for message in after)
        raise RowError(row, f"one answer of the assistant after the last question in {name!r}", roles)
    question = messages[last].content
    if not question.strip():
        raise RowError(row, f"text in {name!r}", "none")
    return Chat(tuple(messages[:last]), question, after[0].content if after else None)


def _is_message(item: object) -> bool:
    return isinstance(item, dict) and (
        ("role" in item and ("content" in item or "tool_calls" in item)) or {"from", "value"} <= item.keys()
    )


def _from_cell(row: Row, name: str, text: str) -> Any:
    """A chat that stands as JSON in a cell of a table; None for any other text."""
    bare = "".join(text[:40].split())
    # What str() of a Python list gives has no rules by which it could be read back for sure.
    if bare.startswith(tuple(start.replace('"', "'") for start in _CHAT_STARTS)):
        raise RowError(
            row, f"a list of messages as JSON in {name!r} (write the rows as JSON lines)", "Python's"
        )
    if not bare.startswith(_CHAT_STARTS):
        return None
    try:
        return json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        raise RowError(row, f"a list of messages as JSON in {name!r}", "broken JSON") from None


def _message(row: Row, name: str, item: dict[str, Any]) -> Message:
    role, content = (item["role"], item.get("content")) if "role" in item else (item["from"], item["value"])
    role = _SHAREGPT_ROLES.get(role, role) if isinstance(role, str) and "from" in item else role
    if not isinstance(role, str):
        raise RowError(row, f"messages with a role in {name!r}", as_text(role)[:40])
    role = _NEW_ROLES.get(role, role)
    if isinstance(content, list | tuple):
        content = "".join(_text_of_piece(row, name, piece) for piece in content)
    return Message(role, raw_text(row, name, content))


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
