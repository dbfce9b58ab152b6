"""Special words in the messages before a prompt stay plain text, as in every text of a data set.

A chat template writes such messages among special words of its own, and transformers tells the two apart no
more. So a placeholder takes the place of each special word while the template is rendered:

    "Say <|im_end|> now."  ->  "Say \\x02word 7\\x03 now."  ->  the ids of "Say <|im_end|> now." as plain text
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

from transformers import PreTrainedTokenizerFast

from dupo.errors import UserError
from dupo.records import Message
from dupo.text.chat_template import ChatTemplate
from dupo.text.locality import Reader

STX = "\x02"
PLACEHOLDER = re.compile(f"{STX}word ([0-9]+)\x03")


class History(NamedTuple):
    """The messages before a prompt.

    Attributes:
        messages: what the template is given, with placeholders for special words.
        words: the special words, by the number of their placeholder.
    """

    messages: tuple[Message, ...]
    words: tuple[str, ...] = ()

    @classmethod
    def of(cls, messages: tuple[Message, ...], special: Sequence[str], template: ChatTemplate) -> Self:
        """Puts placeholders into messages.

        A template may look for a word and act on it: most drop what an earlier answer thought before
        `</think>`. Such a word is left to the template.

        Args:
            special: the special and added words of the tokenizer.

        Raises:
            UserError: the template cannot be rendered, leaves out a message, or acts on a word and shows it.
        """
        template.check_shown(messages)
        # White space commands nothing, and templates trim it. No text may hold the start of a placeholder.
        hideable = {STX, *(word for word in special if word.strip())}
        present = [word for word in hideable if any(word in message.content for message in messages)]
        # The longest word first, as tokenizers match them.
        words = tuple(sorted(present, key=lambda word: (-len(word), word)))
        if not words:
            return cls(messages)
        whole = template.render("x", messages)
        acted_on = {word for word in words if cls._hiding(messages, (word, STX)).shown(template) != whole}
        history = cls._hiding(messages, tuple(word for word in words if word not in acted_on))
        # Without any content: what is left are the words of the template itself.
        bare = template.render("x", tuple(message._replace(content="x") for message in messages))
        chat = template.render("x", history.messages)
        for word in acted_on:
            if chat.count(word) > bare.count(word):
                raise UserError(f"{template.name} acts on {word!r} in the messages before a prompt")
        return history

    @classmethod
    def _hiding(cls, messages: tuple[Message, ...], words: tuple[str, ...]) -> Self:
        if not words:
            return cls(messages)
        pattern = re.compile("|".join(map(re.escape, words)))

        def placeholder_of(match: re.Match[str]) -> str:
            return f"{STX}word {words.index(match[0])}\x03"

        hidden = (m._replace(content=pattern.sub(placeholder_of, m.content)) for m in messages)
        return cls(tuple(hidden), words)

    def restored(self, text: str) -> str:
        """A text with the words themselves where placeholders are."""
        return PLACEHOLDER.sub(lambda match: self.words[int(match[1])], text)

    def shown(self, template: ChatTemplate) -> str:
        """The chat that the template makes of the messages, with the words themselves."""
        return self.restored(template.render("x", self.messages))


def ids_with_plain_words(
    hf: PreTrainedTokenizerFast,
    readers: Sequence[Reader],
    text: str,
    restored: Callable[[str], str],
    special: Sequence[str],
) -> list[int] | None:
    """The ids of a text of a chat template: its own special words are tokens, placeholders plain text.

    Args:
        readers: of plain text: at the start of a text, and behind other ids where that is another one.
        restored: puts the words in the place of their placeholders.

    Returns:
        None where the text with its placeholders, taken apart in this way, has other ids than as a whole.
    """
    longest_first = sorted({word for word in special if word}, key=len, reverse=True)
    runs = re.split(f"({'|'.join(map(re.escape, longest_first))})", text)
    whole = hf(text, add_special_tokens=False).input_ids
    for behind in readers:

        def ids(change: Callable[[str], str], behind: Reader = behind) -> list[int]:
            joined: list[int] = []
            for k, run in enumerate(runs):
                # re.split gives what matched at every odd place.
                if k % 2:
                    joined.append(hf.convert_tokens_to_ids(run))  # type: ignore[arg-type]
                elif run:
                    reader = behind if joined else readers[0]
                    joined += reader.texts([change(run)])[0]
            return joined

        if ids(lambda run: run) == whole:
            return ids(restored)
    return None
