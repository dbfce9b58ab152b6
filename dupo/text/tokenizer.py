"""Prompts to token ids, and sampled ids back to text, for any transformers tokenizer.

Text of a data set or of a model is never read as special or added tokens: a sampled `<|im_end|>` or `<think>`
inside a prompt stays plain characters. Only the words of the chat template may be special. (A tokenizer that
is written in Python alone has only its own `split_special_tokens`, which may still match added tokens.)
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from functools import cached_property
from typing import Any

from transformers import PreTrainedTokenizerFast

from dupo.errors import UserError
from dupo.records import ChatPrompt, Message, Prompt
from dupo.text.assembler import Counts
from dupo.text.chat_frames import SAMPLES, ChatFrames, Frame, framed_ids, pieces_of
from dupo.text.ids import Ids
from dupo.text.template_arguments import unread_arguments

SYSTEM = "system"  # the role of a message that says how to answer
OPEN_THOUGHT, CLOSED_THOUGHT = "<think>", "</think>"


def ends_in_mark(text: str) -> bool:
    """Whether a prompt, or its end, ends with `<think>` and white space."""
    return text.rstrip().endswith(OPEN_THOUGHT)


class PromptTokenizer:
    """Encodes prompts and decodes samples.

    Args:
        hf: a transformers tokenizer with an end token and a padding token.
        samples: user messages that decide how the chat template is split into ids and text.
        day: the date in a chat template that shows one; None: today.
        system_prompt: the system message of every prompt that brings none; None: no message.
        arguments: of the chat template, such as `enable_thinking`.

    Attributes:
        hf: the transformers tokenizer.
        eos_ids: ids that end a completion.
        frame: the chat template around a prompt without a history of its own, or only a BOS where the
            tokenizer has no template and adds a BOS.
        pad_id: fills the left of shorter prompts in generation, always masked.
        local: whether prompts are put together from chunks. If not, every prompt is tokenised at once.
        has_histories: whether a prompt came with a history of its own.

    Raises:
        UserError: the chat template cannot be split, gives other ids than `apply_chat_template`, takes no
            system message, or is not there though it is needed.
    """

    def __init__(
        self,
        hf: PreTrainedTokenizerFast,
        samples: Sequence[str] = SAMPLES,
        day: date | None = None,
        system_prompt: str | None = None,
        arguments: Mapping[str, Any] = {},
    ) -> None:
        self.hf = hf
        self.eos_ids = {int(hf.eos_token_id)}  # type: ignore[arg-type]
        self.pad_id = int(hf.pad_token_id)  # type: ignore[arg-type]
        self._has_id: dict[str, bool] = {}
        self._opens_thought: dict[tuple[str | int, ...], bool] = {}
        self.frames = ChatFrames(hf, samples, day, arguments)
        self._start = () if system_prompt is None else (Message(SYSTEM, system_prompt),)
        self.has_histories = False
        self.frame, reader = self._first_frame()
        # Read apart from `hf`, which would match special tokens inside the text.
        self._reader, self._assembler = self.frames.readers[reader], self.frames.assembler(reader)
        self.local = self._reader.is_local()

    def _first_frame(self) -> tuple[Frame, int]:
        try:
            return self.frames.of(self._start)
        except UserError as problem:
            if not self._start:
                raise
            # A template that takes no chat at all is not the fault of the system message.
            self.frames.of(())
            raise UserError(f"system_prompt: expected none, as {problem}") from None

    def unread_arguments(self, names: Collection[str]) -> list[str]:
        """The arguments that the chat template never reads; all where there is no template."""
        template = self.frames.template
        if template is None:
            return list(names)
        return unread_arguments(template.source, names)

    def frame_of(self, prompt: Prompt) -> Frame:
        """The frame of a prompt.

        Raises:
            UserError: the chat template does not take its history.
        """
        return self.frames.of(self._history(prompt))[0] if isinstance(prompt, ChatPrompt) else self.frame

    def _history(self, prompt: Prompt) -> tuple[Message, ...]:
        """The messages before a prompt; `system_prompt` stands where they hold no system message."""
        if not isinstance(prompt, ChatPrompt):
            return self._start
        self.has_histories = True
        brings_system = any(message.role == SYSTEM for message in prompt.history)
        return prompt.history if brings_system else self._start + prompt.history

    def encode(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Returns the ids of `encode_packed` as one list per prompt."""
        return self.encode_packed(prompts).lists()

    def encode_packed(self, prompts: Sequence[Prompt], *, threads: int = 1) -> Ids:
        """Returns the token ids of each prompt, framed by the chat template if the tokenizer has one.

        A prompt in pieces has the ids of its joined text. Equal pieces are tokenised once.

        Raises:
            ValueError: a lone surrogate, or more than 2**31 - 1 tokens in all.
            UserError: the chat template does not take the history of a prompt.
        """
        places: dict[tuple[Message, ...], list[int]] = {}
        for place, prompt in enumerate(prompts):
            places.setdefault(self._history(prompt), []).append(place)
        if places.keys() <= {self._start}:
            return framed_ids(self._assembler, self.frame, prompts, threads)
        rows: list[list[int]] = [[] for _ in prompts]
        for history, indices in places.items():
            frame, reader = self.frames.of(history)
            ids = framed_ids(
                self.frames.assembler(reader), frame, [prompts[i] for i in indices], threads
            ).lists()
            for i, row in zip(indices, ids, strict=True):
                rows[i] = row
        return Ids.of(rows)

    def encode_completions(self, completions: Sequence[str]) -> list[list[int]]:
        """Returns the token ids of each completion with the end token, for supervised training.

        A completion has no frame: the frame of its prompt stands before it already.
        """
        end = int(self.hf.eos_token_id)  # type: ignore[arg-type]
        return [[*ids, end] for ids in self._reader.texts(list(completions))]

    def encode_answers(self, answers: Sequence[str]) -> list[list[int]]:
        """Returns the token ids of each answer in a chat that is over, which follow those of its prompt.

        Both together have the ids of `apply_chat_template`, as reward models are asked. Qwen's template puts
        an empty thought before an answer, and a line break behind its end. Without a template, the end token
        follows.

        Raises:
            UserError: the chat template shows no answer.
        """
        before, after = self._around_answer
        return [[*before, *ids, *after] for ids in self._reader.texts(list(answers))]

    @cached_property
    def _around_answer(self) -> tuple[list[int], list[int]]:
        """Token ids before and after an answer in a chat that is over."""
        # The ids of one answer are those of all: no template was seen to close answers in several ways.
        end = [int(self.hf.eos_token_id)]  # type: ignore[arg-type]
        if self.frames.template is None:
            return [], end
        before, after = (
            list(self.hf(text, add_special_tokens=False).input_ids)
            for text in self.frames.template.around_answer()
        )
        return before, after or end

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Returns the text of each list of ids, without special tokens but those around a thinking part."""
        # Without its marks a thought would be read as the answer.
        if not self._special_but_thoughts:
            return self.hf.batch_decode([list(row) for row in ids], skip_special_tokens=True)
        rows = [[i for i in row if i not in self._special_but_thoughts] for row in ids]
        return self.hf.batch_decode(rows, skip_special_tokens=False)

    @cached_property
    def _special_but_thoughts(self) -> set[int]:
        """Ids that no text has, where the marks of a thought are special tokens; else empty, as mostly."""
        tokens = self.hf.added_tokens_decoder.items()
        special = {i: str(token) for i, token in tokens if token.special}
        marks = {i for i, token in special.items() if token in (OPEN_THOUGHT, CLOSED_THOUGHT)}
        return special.keys() - marks if marks else set()

    def opens_thought(self, prompt: Prompt) -> bool:
        """Whether the chat template ends a prompt with `<think>`: a completion then starts in a thought."""
        frame = self.frame_of(prompt)
        key = (frame.closing, *frame.after)
        if key not in self._opens_thought:
            (after,) = self.hf.batch_decode([frame.after], skip_special_tokens=False)
            end = frame.closing + after
            self._opens_thought[key] = ends_in_mark(end)
        return self._opens_thought[key]

    @property
    def counts(self) -> Counts:
        """How the prompts so far were tokenised."""
        return self._assembler.counts

    def __len__(self) -> int:
        """Size of the vocabulary."""
        return len(self.hf)

    def highest_token(self) -> tuple[str, int]:
        """The token with the highest id, and this id."""
        return max(self.hf.get_vocab().items(), key=lambda pair: pair[1])

    def framed(self, prompt: Prompt) -> str:
        """The text of a prompt with the words of the template that are tokenised together with the text."""
        frame = self.frame_of(prompt)
        return "".join([frame.opening, *pieces_of(prompt), frame.closing])

    def most_tokens(self, prompt: Prompt) -> int:
        """At least as many tokens as a prompt has, without counting them."""
        frame = self.frame_of(prompt)
        # A token is at least a byte, and NFC makes at most three bytes of one.
        return len(frame.before) + len(frame.after) + 3 * len(self.framed(prompt).encode()) + 1

    def has_ids(self, prompt: Prompt) -> bool:
        """Whether a prompt has any id; looks at single characters first, which is quick."""
        frame = self.frame_of(prompt)
        if frame.before or frame.after:
            return True
        # A character that has an id by itself never vanishes beside others; white space may.
        for character in self.framed(prompt):
            if character not in self._has_id:
                self._has_id[character] = bool(self._reader.texts([character])[0])
            if self._has_id[character]:
                return True
        return bool(self.encode([prompt])[0])
