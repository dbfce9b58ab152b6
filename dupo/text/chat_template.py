"""What a chat template of transformers does to the message of a user.

A prompt is made of ids before the text, the text, and ids after the text, so that texts which share pieces
are tokenised once. This needs a template that shows the text once and as it is, but for white space around.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerFast

from dupo.errors import UserError, in_one_line
from dupo.records import Message

CONTENT = "\x02content\x03"  # stands for the text of the user while the chat template is rendered
THOUGHT, ANSWER = "\x02thought\x03", "\x02answer\x03"  # stand for those of an assistant in the same way
SHOWN = 60  # characters of a text in an error

# Templates ask for the date by the function strftime_now(format). transformers hands templates plain data
# only, so the function is defined anew at the top of the template, with the words of one day. The line end
# after `endmacro` is left out of the prompt, as after every block of a template of transformers.
DATED = """{%- macro strftime_now(format) -%}
{%- set day = namespace(text=format) -%}
{%- for word, value in words_of_the_day.items() -%}{%- set day.text = day.text | replace(word, value) -%}
{%- endfor -%}{{ day.text }}
{%- endmacro %}
"""
DATE_WORDS = "aAbBcCdDeFGgHIjklMmnpRrSTtUuVWwXxYyZz"


class Trim(NamedTuple):
    """Which white space around a text is left out."""

    left: bool
    right: bool

    def strip(self, text: str) -> str:
        """The text without that white space."""
        text = text.lstrip() if self.left else text
        return text.rstrip() if self.right else text

    def strip_pieces(self, pieces: Sequence[str]) -> list[str]:
        """Pieces of a text, of which the joined text has lost that white space."""
        inside = list(pieces)
        for is_wanted, index, strip in ((self.left, 0, str.lstrip), (self.right, -1, str.rstrip)):
            # A piece that is all white space vanishes, and the next one comes to stand at the edge.
            while is_wanted and inside and not strip(inside[index]):
                inside.pop(index)
            if is_wanted and inside:
                inside[index] = strip(inside[index])
        return inside


# In the order in which they are tried: most templates leave the text as it is, or strip both sides.
TRIMS = (Trim(False, False), Trim(True, True), Trim(True, False), Trim(False, True))


class ChatTemplate:
    """The chat template of a tokenizer on one day.

    Args:
        hf: a transformers tokenizer with a chat template.
        day: what the template is told where it asks for the date; None: today.
        arguments: of the template, `chat_template_kwargs`.

    Attributes:
        source: the text of the template.

    Raises:
        UserError: there is no template for plain chats.
    """

    def __init__(
        self, hf: PreTrainedTokenizerFast, day: date | None = None, arguments: Mapping[str, Any] = {}
    ) -> None:
        self.hf, self.name = hf, f"tokenizer {hf.name_or_path}: its chat template"
        self.arguments: dict[str, Any] = {**arguments, "add_generation_prompt": True}
        self.source: str = self._asking(hf.get_chat_template)
        if "strftime_now" in self.source:
            words = words_of(day or date.today())
            self.arguments |= {"chat_template": DATED + self.source, "words_of_the_day": words}
        self._shown_roles: set[tuple[str, ...]] = set()

    def render(self, text: str, history: Sequence[Message] = ()) -> str:
        """The whole chat that asks for an answer to `text` behind the messages of `history`.

        Raises:
            UserError: the template cannot be rendered.
        """
        return str(self._chat(text, history, tokenize=False))

    def ids(self, text: str, history: Sequence[Message] = ()) -> list[int]:
        """The token ids that transformers gives the whole chat; special words in the text count as such."""
        return list(self._chat(text, history, tokenize=True, return_dict=False))

    def check_shown(self, history: Sequence[Message]) -> None:
        """Checks that the template shows every message before the text.

        Raises:
            UserError: it leaves a message out.
        """
        roles = tuple(message.role for message in history)
        if roles in self._shown_roles:
            return
        marked = [Message(role, f"\x02message {k}\x03") for k, role in enumerate(roles)]
        chat = self.render(CONTENT, marked)
        for message in marked:
            if message.content not in chat:
                raise UserError(f"{self.name} leaves out the message of the {message.role}")
        self._shown_roles.add(roles)

    def parts(self, samples: Sequence[str], history: Sequence[Message] = ()) -> tuple[str, str, Trim]:
        """What stands before and after a text, and which white space around the text is left out.

        Raises:
            UserError: says what the template does to the text instead.
        """
        rendered = self.render(CONTENT, history)
        if (times := rendered.count(CONTENT)) > 1:
            raise UserError(f"{self.name} shows the user's message {times} times, expected once")
        before, _, after = rendered.partition(CONTENT)
        chats = {text: self.render(text, history) for text in samples}
        # A template that never shows the text has no place for the text: none of the trims fits.
        trims = TRIMS if times else ()
        fitting = {
            text: [trim for trim in trims if chat == before + trim.strip(text) + after]
            for text, chat in chats.items()
        }
        for trim in trims:
            if all(trim in fitting[text] for text in chats):
                return before, after, trim
        # The first sample that shows what happens is named.
        changed = next((text for text in chats if not fitting[text]), CONTENT)
        shown = chats.get(changed, rendered)
        raise UserError(
            f"{self.name} changes the user's message, expected the text as it is: "
            f"{changed[:SHOWN]!r} becomes {_around(shown, before if times else '')!r}"
        )

    def behind_thought(self) -> str:
        """What stands between the thought and the answer of an assistant; empty where no thought is shown."""
        # By the two names that templates read.
        thought = {"reasoning_content": THOUGHT, "reasoning": THOUGHT}
        chat = [
            {"role": "user", "content": CONTENT},
            {"role": "assistant", "content": ANSWER, **thought},
        ]
        options = {**self.arguments, "add_generation_prompt": False}
        try:
            shown = str(self._asking(self.hf.apply_chat_template, chat, tokenize=False, **options))
        except UserError:  # a template may take questions alone
            return ""
        _, thought_mark, behind = shown.rpartition(THOUGHT)
        between, answer_mark, _ = behind.partition(ANSWER)
        return between if thought_mark and answer_mark else ""

    def around_answer(self) -> tuple[str, str]:
        """What stands before and after the answer in a chat that is over, behind the prompt that asks for it.

        Raises:
            UserError: the template cannot be rendered, or shows no answer.
        """
        asked = [{"role": "user", "content": CONTENT}]
        options = {**self.arguments, "add_generation_prompt": False}
        chat = [*asked, {"role": "assistant", "content": ANSWER}]
        shown = str(self._asking(self.hf.apply_chat_template, chat, tokenize=False, **options))
        before, mark, after = shown.partition(ANSWER)
        if not mark:
            raise UserError(f"{self.name} leaves out the message of the assistant")
        # A template may open a thought where an answer is asked for, and none in a chat that is over.
        prompt = self.render(CONTENT)
        return before.removeprefix(prompt) if before.startswith(prompt) else "", after

    def _chat(self, text: str, history: Sequence[Message], **options: Any) -> Any:
        messages = [*history, Message("user", text)]
        chat = [{"role": message.role, "content": message.content} for message in messages]
        return self._asking(self.hf.apply_chat_template, chat, **options, **self.arguments)

    def _asking(self, ask: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return ask(*arguments, **options)
        except Exception as error:
            # A template is a program from elsewhere: it may raise anything, by mistake or by raise_exception.
            raise UserError(f"{self.name} cannot be used: {in_one_line(error, kind=True)}") from None


def words_of(day: date) -> dict[str, str]:
    """What every directive of strftime stands for on a day, at midnight: `%d` -> 26, `%-d` as well."""
    directives = [f"%{flag}{letter}" for flag in ("-", "") for letter in DATE_WORDS]
    words = {directive: day.strftime(directive) for directive in directives}
    # A system that lacks a directive gives it back: it stays as it is, and must not be looked at twice.
    return {directive: word for directive, word in words.items() if "%" not in word} | {"%%": "%"}


def _around(chat: str, before: str) -> str:
    """The part of a chat that an error shows: from the text on, or the end, where the text cannot be told."""
    return chat.removeprefix(before)[:SHOWN] if before else chat[-SHOWN:]
