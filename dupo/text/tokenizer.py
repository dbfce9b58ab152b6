"""Prompts to token ids, and sampled ids back to text, for any transformers tokenizer.

Text of a data set or of a model is never read as special or added tokens: a sampled `<|im_end|>` or `<think>`
inside a prompt stays plain characters. Only the words of the chat template may be special. (A tokenizer that
is written in Python alone has only its own `split_special_tokens`, which may still match added tokens.)
"""

from collections.abc import Sequence
from datetime import date
from itertools import product
from typing import NamedTuple

from transformers import PreTrainedTokenizerFast

from dupo.errors import UserError
from dupo.records import Prompt
from dupo.text.assembler import Assembler, Counts
from dupo.text.chat_template import TRIMS, ChatTemplate, Trim
from dupo.text.ids import Ids
from dupo.text.locality import Reader

# User messages that a frame is tested with: words, lines, white space at the edges, other scripts, formulas.
SAMPLES = ("Hello there.", "5 and 7 more", "x", "\\boxed{7}", "'Tis so", "Is it?", 'MiXeD "quotes" (a): #1')
SAMPLES += (" on both sides ", "\n\nlines around\n", "First line.\nSecond line:\n\n- a point\n\tand a tab")
SAMPLES += (
    "<think>\nso\n</think> 12",
    "사과 세 개와 배 두 개는 모두 몇 개입니까?",
    "小明有三个苹果。",
    "Ünïcödé 🙂",
)
SAMPLES += ("Solve $\\frac{3}{4}x^2 = \\sqrt{2}$, 50% of \\$4 & {{ 7 }} <b>",)


class Frame(NamedTuple):
    """What stands around the text of every prompt.

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


class PromptTokenizer:
    """Encodes prompts and decodes samples.

    Args:
        hf: a transformers tokenizer with an end token and a padding token.
        samples: user messages that decide how the chat template is split into ids and text.
        day: the date in a chat template that shows one; None: today.

    Attributes:
        hf: the transformers tokenizer.
        eos_ids: ids that end a completion.
        frame: the chat template around each prompt, or only a BOS where the tokenizer adds a BOS.
        pad_id: fills the left of shorter prompts in generation, always masked.
        local: whether prompts are put together from chunks. If not, every prompt is tokenised at once.

    Raises:
        UserError: the chat template cannot be split, or gives other ids than `apply_chat_template`.
    """

    def __init__(
        self, hf: PreTrainedTokenizerFast, samples: Sequence[str] = SAMPLES, day: date | None = None
    ) -> None:
        self.hf = hf
        self.eos_ids = {int(hf.eos_token_id)}  # type: ignore[arg-type]
        self.pad_id = int(hf.pad_token_id)  # type: ignore[arg-type]
        self._has_id: dict[str, bool] = {}
        # Read apart from `hf`, which would match special tokens inside the text.
        reader, frame = Reader(hf), Frame([i for i in hf("").input_ids if i == hf.bos_token_id], "", "", [])
        if hf.chat_template is not None:
            reader, frame = _chat_frame(hf, reader, ChatTemplate(hf, day), samples)
        self._reader, self.frame, self.local = reader, frame, reader.is_local()
        self._assembler = _assembler(reader)

    def encode(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Returns the ids of `encode_packed` as one list per prompt."""
        return self.encode_packed(prompts).lists()

    def encode_packed(self, prompts: Sequence[Prompt], *, threads: int = 1) -> Ids:
        """Returns the token ids of each prompt, framed by the chat template if the tokenizer has one.

        A prompt in pieces has the ids of its joined text. Equal pieces are tokenised once.

        Raises:
            ValueError: a lone surrogate, or more than 2**31 - 1 tokens in all.
        """
        return _framed_ids(self._assembler, self.frame, prompts, threads)

    def encode_completions(self, completions: Sequence[str]) -> list[list[int]]:
        """Returns the token ids of each completion with the end token, for supervised training.

        A completion has no frame: the frame of its prompt stands before it already.
        """
        end = int(self.hf.eos_token_id)  # type: ignore[arg-type]
        return [[*ids, end] for ids in self._reader.texts(list(completions))]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Returns the text of each list of ids, without special tokens."""
        return self.hf.batch_decode([list(row) for row in ids], skip_special_tokens=True)

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

    def has_ids(self, text: str) -> bool:
        """Whether a prompt of this text has any id; looks at single characters first, which is quick."""
        if self.frame.before or self.frame.after:
            return True
        # A character that has an id by itself never vanishes beside others; white space may.
        for character in text:
            if character not in self._has_id:
                self._has_id[character] = bool(self._reader.texts([character])[0])
            if self._has_id[character]:
                return True
        return bool(self.encode([text])[0])


def _assembler(reader: Reader) -> Assembler:
    is_local = reader.is_local()
    return Assembler(reader.chunks if is_local else reader.texts, local=is_local)


def _framed_ids(assembler: Assembler, frame: Frame, prompts: Sequence[Prompt], threads: int = 1) -> Ids:
    """The token ids of each prompt inside a frame."""
    # Equal pieces share one index, so that each is sent to the core and cut once.
    pieces: dict[str, int] = {}
    members, offsets = [], [0]
    for prompt in prompts:
        inside = frame.trim.strip_pieces((prompt,) if isinstance(prompt, str) else prompt)
        for piece in (frame.opening, *inside, frame.closing):
            members.append(pieces.setdefault(piece, len(pieces)))
        offsets.append(len(members))
    around = {"before": frame.before, "after": frame.after}
    return assembler(list(pieces), members, offsets, **around, threads=threads)


def _chat_frame(
    hf: PreTrainedTokenizerFast, reader: Reader, template: ChatTemplate, samples: Sequence[str]
) -> tuple[Reader, Frame]:
    """Splits the chat template into what stands before and after the text of a prompt.

    Several frames compete; the first that gives every sample the ids of `apply_chat_template` wins.

        joined      tokenises the words beside the prompt with the prompt, up to a special token
        separate    tokenises the template alone: right where its tokens swallow the space beside a prompt
        spared      the joined frame without its first space

    Returns:
        the frame, and the reader of what stands inside.

    Raises:
        UserError: no frame gives every sample those ids.
    """
    before, after, narrowest = template.parts(samples)
    special = [*hf.get_added_vocab(), *hf.all_special_tokens]
    start = max((before.rfind(token) + len(token) for token in special if token in before), default=0)
    end = min((after.find(token) for token in special if token in after), default=len(after))
    opening, closing = before[start:], after[:end]
    joined = Frame(_plain_ids(hf, before[:start]), opening, closing, _plain_ids(hf, after[end:]))
    separate = Frame(_plain_ids(hf, before), "", "", _plain_ids(hf, after))
    # SentencePiece puts the space of a first word itself: the space behind [INST] is then there already.
    spared = joined._replace(opening=opening.removeprefix(" "))
    # Texts that hold a special word are left out: here such a word is plain text, and should be.
    plain = [text for text in samples if not any(token in text for token in special)]
    expected = [template.ids(text) for text in plain]
    readers = [other for other in (reader, reader.behind()) if other is not None]
    # Tokens such as Phi-3's <|user|> swallow white space beside them, which looks like a wider trim.
    wider = [trim for trim in TRIMS if trim.left >= narrowest.left and trim.right >= narrowest.right]
    trims = sorted(wider, key=sum)
    differing = ""
    for trim, inner, shape in product(trims, readers, (joined, separate, spared)):
        frame = shape._replace(trim=trim)
        ids = _framed_ids(_assembler(inner), frame, plain).lists()
        wrong = next((text for text, a, b in zip(plain, ids, expected, strict=True) if a != b), None)
        if wrong is None:
            return inner, frame
        differing = differing or wrong
    raise UserError(
        f"{template.name} gives prompts other ids in parts than as a whole, by apply_chat_template: "
        f"{differing!r} differs"
    )


def _plain_ids(hf: PreTrainedTokenizerFast, text: str) -> list[int]:
    return hf(text, add_special_tokens=False).input_ids  # type: ignore[return-value]
