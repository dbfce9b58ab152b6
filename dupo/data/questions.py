"""The question of a row: the text of one column, of several, or the last question of a chat."""

from collections.abc import Sequence
from typing import NamedTuple

from dupo.data.chats import chat_of, holds_messages, messages_at
from dupo.data.columns import RowError, column_text, value_at
from dupo.data.look_alikes import is_json_rows
from dupo.data.rows import Row

# Alpaca, Dolly: an instruction that says all has a blank input. A blank column of any other group is a lack.
_LAST_MAY_BE_BLANK = (("instruction", "input"), ("instruction", "context"))


class Question(NamedTuple):
    """What a row asks.

    Attributes:
        system: the system message before the question; None where there is none.
        answer: what the assistant answers in the chat; None where there is no chat, or no answer.
        is_chat: the row holds messages.
    """

    text: str
    system: str | None = None
    answer: str | None = None
    is_chat: bool = False


def question_of(row: Row, columns: Sequence[str]) -> Question:
    """Reads the question of a row; several columns are joined by line ends.

    Raises:
        RowError: no text in one of the columns (the input of an instruction may be blank),
            or a chat in which the question depends on earlier turns.
    """
    if len(columns) == 1 and (messages := messages_at(row, columns[0])):
        chat = chat_of(row, columns[0], messages)
        # A dual of the last question alone could not be solved: what it speaks of stands in earlier turns.
        if turns := [message for message in chat.history if message.role != "system"]:
            roles = ", ".join(message.role for message in turns)
            raise RowError(row, f"no turn before the question in {columns[0]!r}", roles)
        system = "\n\n".join(message.content for message in chat.history).strip()
        text, answer = (t.replace("\r\n", "\n").strip() for t in (chat.question, chat.answer or ""))
        return Question(text, system or None, answer or None, is_chat=True)
    text = value_at(row, columns[0])
    if isinstance(text, str) and text.lstrip().startswith(("{", "[")) and is_json_rows(text):
        raise RowError(row, f"text or messages in {columns[0]!r}", "other JSON")
    # A question without its story is another question, and a story without its question is none.
    needed = columns[:1] if tuple(name.lower() for name in columns) in _LAST_MAY_BE_BLANK else columns
    texts = [column_text(row, name, required=name in needed) for name in columns]
    # TRL asks what stands in `prompt`, and so does a data set that has both.
    return Question("\n".join(text for text in texts if text), is_chat=holds_messages(row.get("prompt")))
