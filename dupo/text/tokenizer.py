"""Prompts to token ids, and sampled ids back to text, for any transformers tokenizer.

Text of a data set or of a model is never read as special or added tokens: a sampled `<|im_end|>` or `<think>`
inside a prompt stays plain characters. Only the words of the chat template may be special. (A tokenizer that
is written in Python alone has only its own `split_special_tokens`, which may still match added tokens.)
"""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerFast

from dupo.errors import UserError
from dupo.records import Prompt
from dupo.text.assembler import Assembler, Counts
from dupo.text.ids import Ids
from dupo.text.locality import Reader

# User messages that a frame is tested with.
SAMPLES = ("Hello there.", "5 and 7 more", "x", "\\boxed{7}", "'Tis so", "Is it?")
CONTENT = "\x02content\x03"  # stands for the text of the user while the chat template is rendered


class Frame(NamedTuple):
    """What stands around the text of every prompt.

    Attributes:
        before: ids before the prompt.
        opening: text that is tokenised together with the start of the prompt.
        closing: text that is tokenised together with the end of the prompt.
        after: ids after the prompt.
    """

    before: list[int]
    opening: str
    closing: str
    after: list[int]


class PromptTokenizer:
    """Encodes prompts and decodes samples.

    Args:
        hf: a transformers tokenizer with an end token and a padding token.
        samples: user messages that decide how the chat template is split into ids and text.

    Attributes:
        hf: the transformers tokenizer.
        eos_ids: ids that end a completion.
        frame: the chat template around each prompt, or only a BOS where the tokenizer adds a BOS.
        pad_id: fills the left of shorter prompts in generation, always masked.
        local: whether prompts are put together from chunks. If not, every prompt is tokenised at once.
    """

    def __init__(self, hf: PreTrainedTokenizerFast, samples: Sequence[str] = SAMPLES) -> None:
        self.hf = hf
        self.eos_ids = {int(hf.eos_token_id)}  # type: ignore[arg-type]
        self.pad_id = int(hf.pad_token_id)  # type: ignore[arg-type]
        self.frame = Frame([i for i in hf("").input_ids if i == hf.bos_token_id], "", "", [])
        # Read apart from `hf`, which would match special tokens inside the text.
        self._reader = reader = Reader(hf)
        self.local = reader.is_local()
        tokenize = reader.chunks if self.local else reader.texts
        self._assembler = Assembler(tokenize, local=self.local)
        if hf.chat_template is not None:
            self.frame = self._chat_frame(samples)
            self._assembler = Assembler(tokenize, local=self.local)  # its counts are of prompts only

    def encode(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Returns the ids of `encode_packed` as one list per prompt."""
        return self.encode_packed(prompts).lists()

    def encode_packed(self, prompts: Sequence[Prompt], *, threads: int = 1) -> Ids:
        """Returns the token ids of each prompt, framed by the chat template if the tokenizer has one.

        A prompt in pieces has the ids of its joined text. Equal pieces are tokenised once.

        Raises:
            ValueError: a lone surrogate, or more than 2**31 - 1 tokens in all.
        """
        # Equal pieces share one index, so that each is sent to the core and cut once.
        pieces: dict[str, int] = {}
        members, offsets = [], [0]
        for prompt in prompts:
            inside = (prompt,) if isinstance(prompt, str) else prompt
            for piece in (self.frame.opening, *inside, self.frame.closing):
                members.append(pieces.setdefault(piece, len(pieces)))
            offsets.append(len(members))
        frame = {"before": self.frame.before, "after": self.frame.after}
        return self._assembler(list(pieces), members, offsets, **frame, threads=threads)

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

    def _chat_frame(self, samples: Sequence[str]) -> Frame:
        """Splits the chat template into what stands before and after the text of a prompt.

        Two frames compete. The joined frame tokenises the words next to the prompt together with the prompt,
        up to the nearest special token. The separate frame tokenises the template on its own, which is right
        for a template whose tokens swallow the space beside a prompt. The frame that gives more samples the
        ids of the whole chat wins, the joined frame in a tie.
        """
        before, after = self._template()
        special = [*self.hf.get_added_vocab(), *self.hf.all_special_tokens]
        start = max((before.rfind(token) + len(token) for token in special if token in before), default=0)
        end = min((after.find(token) for token in special if token in after), default=len(after))
        joined = Frame(
            self._plain_ids(before[:start]), before[start:], after[:end], self._plain_ids(after[end:])
        )
        separate = Frame(self._plain_ids(before), "", "", self._plain_ids(after))
        expected = [self._plain_ids(before + text + after) for text in samples]
        # `encode` reads self.frame, so each candidate is put there in turn; __init__ sets the winner.
        scores = []
        for self.frame in (joined, separate):
            pairs = zip(self.encode(samples), expected, strict=True)
            scores.append(sum(ids == expected_ids for ids, expected_ids in pairs))
        if max(scores) < len(samples):
            warnings.warn(
                "the tokenizer reads its chat template differently in parts: prompts may differ from those "
                "of apply_chat_template by a token beside the text",
                stacklevel=2,
            )
        return joined if scores[0] >= scores[1] else separate

    def _template(self) -> tuple[str, str]:
        """Returns what the chat template writes before and after the message of a user."""
        chat = [{"role": "user", "content": CONTENT}]
        rendered = str(self.hf.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))
        before, content, after = rendered.partition(CONTENT)
        if not content:
            raise UserError("tokenizer: its chat template does not show the user's message")
        return before, after

    def _plain_ids(self, text: str) -> list[int]:
        return self.hf(text, add_special_tokens=False).input_ids  # type: ignore[return-value]
