"""What stands around the text of a prompt: token ids before, words tokenised with the text, ids after.

A chat template makes one frame for every history, that is for every list of messages before the prompt. Each
frame is compared with the ids of `apply_chat_template` before it is used.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from itertools import product
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerFast

from dupo.errors import UserError
from dupo.records import ChatPrompt, Message, Prompt
from dupo.text.assembler import Assembler
from dupo.text.chat_history import History, ids_with_plain_words
from dupo.text.chat_template import TRIMS, ChatTemplate, Trim
from dupo.text.ids import Ids
from dupo.text.locality import Reader

MOST_FRAMES = 4096  # frames that are kept: a data set may bring another system message with every problem

# User messages that a frame is tested with: words, lines, white space at the edges, other scripts, formulas.
EDGES = ("Hello there.", " on both sides ", "\n\nlines around\n")
SAMPLES = (*EDGES, "5 and 7 more", "x", "\\boxed{7}", "'Tis so", "Is it?", 'MiXeD "quotes" (a): #1')
SAMPLES += ("First line.\nSecond line:\n\n- a point\n\tand a tab", "<think>\nso\n</think> 12")
SAMPLES += ("사과 세 개와 배 두 개는 모두 몇 개입니까?", "小明有三个苹果。", "Ünïcödé 🙂")
SAMPLES += ("Solve $\\frac{3}{4}x^2 = \\sqrt{2}$, 50% of \\$4 & {{ 7 }} <b>",)


class Frame(NamedTuple):
    """What stands around the text of a prompt.

    Attributes:
        before: ids before the prompt.
        opening: text that is tokenised together with the start of the prompt.
        closing: text that is tokenised together with the end of the prompt.
        after: ids after the prompt.
        trim: white space around the prompt that the chat template leaves out.
    """

    before: list[int]
    opening: str
    closing: str
    after: list[int]
    trim: Trim = Trim(False, False)


class _Choice(NamedTuple):
    """How a frame is cut out of a chat; see `ChatFrames`."""

    trim: Trim
    reader: int
    shape: int


class ChatFrames:
    """The frames of one tokenizer, each made once.

    Several ways to cut a frame out of a chat compete; the first that gives every sample the ids of
    `apply_chat_template` wins.

        joined      tokenises the words beside the prompt with the prompt, up to a special token
        separate    tokenises the template alone: right where its tokens swallow the space beside a prompt
        spared      the joined frame without its first space

    Args:
        hf: a transformers tokenizer; without a chat template there is one frame, a BOS where it adds one.
        samples: user messages that a frame is tested with.
        day: the date in a chat template that shows one; None: today.
        arguments: of the chat template; nothing reads them where there is none.

    Raises:
        UserError: the template is for no plain chats.
    """

    def __init__(
        self,
        hf: PreTrainedTokenizerFast,
        samples: Sequence[str] = SAMPLES,
        day: date | None = None,
        arguments: Mapping[str, Any] = {},
    ) -> None:
        self.hf, self.samples = hf, samples
        readers = [Reader(hf)]
        self.template = None
        if hf.chat_template is not None:
            self.template = ChatTemplate(hf, day, arguments)
            readers += [other for other in [readers[0].behind()] if other is not None]
        self.readers = readers
        self._assemblers: dict[tuple[int, str], Assembler] = {}
        self._frames: dict[tuple[Message, ...], tuple[Frame, int]] = {}
        self._choices: dict[tuple[str, ...], _Choice] = {}

    def assembler(self, reader: int, purpose: str = "prompts") -> Assembler:
        """The assembler of what stands inside a frame, made when it is first wanted."""
        key = reader, purpose
        if key not in self._assemblers:
            is_local, inner = self.readers[reader].is_local(), self.readers[reader]
            self._assemblers[key] = Assembler(inner.chunks if is_local else inner.texts, local=is_local)
        return self._assemblers[key]

    def of(self, history: tuple[Message, ...]) -> tuple[Frame, int]:
        """The frame of a prompt behind `history`, and which reader reads what stands inside.

        Raises:
            UserError: the template cannot be split, gives other ids in parts than as a whole, or refuses or
                leaves out a message of the history.
        """
        if history not in self._frames:
            if len(self._frames) >= MOST_FRAMES:
                self._frames.clear()
            self._frames[history] = self._frame(history)
        return self._frames[history]

    def _frame(self, history: tuple[Message, ...]) -> tuple[Frame, int]:
        if self.template is not None:
            return self._cut(self.template, history)
        if history:
            name = self.hf.name_or_path or "of the built-in model"
            raise UserError(
                f"the tokenizer {name} has no chat template for a message of the {history[0].role}: "
                "write it into the question, or name a tokenizer with a template by --tokenizer_name"
            )
        return Frame([i for i in self.hf("").input_ids if i == self.hf.bos_token_id], "", "", []), 0

    def _cut(self, template: ChatTemplate, messages: tuple[Message, ...]) -> tuple[Frame, int]:
        special = [*self.hf.get_added_vocab(), *self.hf.all_special_tokens]
        history = History.of(messages, special, template)
        roles = tuple(message.role for message in messages)
        # Chats of the same roles differ in the contents alone, so the choice of the first is tested on few.
        known = self._choices.get(roles)
        samples = self.samples if known is None else self.samples[: len(EDGES)]
        before, after, narrowest = template.parts(samples, history.messages)
        start = max((before.rfind(token) + len(token) for token in special if token in before), default=0)
        end = min((after.find(token) for token in special if token in after), default=len(after))
        # Tokens such as Phi-3's <|user|> swallow white space beside them, which looks like a wider trim.
        wider = [trim for trim in TRIMS if trim.left >= narrowest.left and trim.right >= narrowest.right]
        choices = [
            _Choice(*choice)
            for choice in product(sorted(wider, key=sum), range(len(self.readers)), range(len(_SHAPES)))
        ]
        if known in choices:
            choices.sort(key=lambda choice: choice != known)
        # Texts that hold a special word are left out: here such a word is plain text, and should be.
        plain = [text for text in samples if not any(token in text for token in special)]
        expected = [template.ids(text, history.messages) for text in plain]
        differing = ""
        for choice in choices:
            texts = _SHAPES[choice.shape](before[:start], before[start:], after[:end], after[end:])
            frame = Frame(self._ids(texts[0]), texts[1], texts[2], self._ids(texts[3]), choice.trim)
            # Apart from the one in use, whose counts tell of prompts alone.
            ids = framed_ids(self.assembler(choice.reader, "trials"), frame, plain).lists()
            wrong = next((text for text, a, b in zip(plain, ids, expected, strict=True) if a != b), None)
            if wrong is None:
                self._choices.setdefault(roles, choice)
                return self._restored(frame, texts, history, special), choice.reader
            differing = differing or wrong
        raise UserError(
            f"{template.name} gives prompts other ids in parts than as a whole, by apply_chat_template: "
            f"{differing!r} differs"
        )

    def _restored(
        self, frame: Frame, texts: tuple[str, str, str, str], history: History, special: Sequence[str]
    ) -> Frame:
        """The frame with the special words that the history holds, as plain text."""
        if not history.words:
            return frame
        before, opening, closing, after = texts

        def ids(text: str) -> list[int]:
            plain_ids = ids_with_plain_words(self.hf, self.readers, text, history.restored, special)
            if plain_ids is None:
                words = ", ".join(map(repr, history.words))
                raise UserError(
                    f"tokenizer {self.hf.name_or_path}: expected a history without special words of the "
                    f"tokenizer, got {words}, which would not stay plain text"
                )
            return plain_ids

        whole = frame._replace(before=ids(before), after=ids(after))
        return whole._replace(opening=history.restored(opening), closing=history.restored(closing))

    def _ids(self, text: str) -> list[int]:
        return self.hf(text, add_special_tokens=False).input_ids  # type: ignore[return-value]


def _joined(before: str, opening: str, closing: str, after: str) -> tuple[str, str, str, str]:
    return before, opening, closing, after


def _separate(before: str, opening: str, closing: str, after: str) -> tuple[str, str, str, str]:
    return before + opening, "", "", closing + after


def _spared(before: str, opening: str, closing: str, after: str) -> tuple[str, str, str, str]:
    # SentencePiece puts the space of a first word itself: the space behind [INST] is then there already.
    return before, opening.removeprefix(" "), closing, after


_SHAPES = (_joined, _separate, _spared)


def pieces_of(prompt: Prompt) -> tuple[str, ...]:
    """The pieces of the text of a prompt, without its history."""
    if isinstance(prompt, ChatPrompt):
        return prompt.pieces
    return (prompt,) if isinstance(prompt, str) else prompt


def framed_ids(assembler: Assembler, frame: Frame, prompts: Sequence[Prompt], threads: int = 1) -> Ids:
    """The token ids of each prompt inside a frame; the history of a prompt is that of the frame."""
    # Equal pieces share one index, so that each is sent to the core and cut once.
    pieces: dict[str, int] = {}
    members, offsets = [], [0]
    for prompt in prompts:
        inside = frame.trim.strip_pieces(pieces_of(prompt))
        for piece in (frame.opening, *inside, frame.closing):
            members.append(pieces.setdefault(piece, len(pieces)))
        offsets.append(len(members))
    around = {"before": frame.before, "after": frame.after}
    return assembler(list(pieces), members, offsets, **around, threads=threads)
