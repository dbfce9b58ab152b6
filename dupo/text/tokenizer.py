"""Text to token ids and back, for any transformers tokenizer, and two that need no files.

What a data set or a model wrote is never read as special or added tokens: a sampled `<|im_end|>` or `<think>`
inside a prompt stays plain characters. Only the chat template's own words may be special. (A tokenizer that
is written in Python alone has only its own `split_special_tokens`, which may still match added tokens.)

A tokenizer is *local* if texts may be cut where `dupo.text.assembly` cuts without changing their ids: then
prompts that share text are tokenised once. This is decided when it is loaded, and in doubt it is not.
"""

import json
import re
import warnings
from collections.abc import Sequence
from itertools import chain, product
from typing import Any, NamedTuple

from tokenizers import Tokenizer as FastTokenizer
from tokenizers import decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from dupo.errors import UserError
from dupo.records import Prompt
from dupo.text import Assembler, Counts, Ids
from dupo.text.assembly import BLANK

SAMPLES = ["Hello there.", "5 and 7 more", "x", "\\boxed{7}", "'Tis so", "Is it?"]  # user messages
CONTENT = "\x02content\x03"  # stands for the user's text while the chat template is rendered

ANCHOR = "a"  # stands before a chunk that does not open its text
AT_ONCE = 4096  # texts that tokenizers gets in one call: it keeps much beside the ids

# Parts that look at neighbouring characters only. What a regular expression sees is probed.
LOCAL_NORMALIZERS = {"NFC", "Prepend", "Replace"}
LOCAL_PRE_TOKENIZERS = {"ByteLevel", "Digits", "Metaspace", "Split"}
SPACE = "\u2581"  # the space of SentencePiece
WHITE = f" \t\r\nĠĉčĊ{SPACE}"  # white space as it stands in vocabularies
PROBES = list("aZ'’\"({%&…-#1½²٣éß。🙂")
PROBES += ["I'm", "don't", "'s", "'S", "“x”", "[x]", "}.", "$x^2$", "\\boxed{7}", "\\"]
PROBES += ["12", "1234567", "0.5", "3,000", "1/2", "--", "x_y", "@a", "..", "!?", ");", "https://a.b/c?d=e"]
PROBES += ["한국어", "你好", "สวัสดี", "ру", "نص", "ĠĊ", "👩\u200d👩", "ﬁ", "\u212b", "\u1100\u1161", "\u1161"]
PROBES += ["e\u0301", "\u0301", "\u0301a", "a\nb", "a\r\nb", "x\n\n\ny", "\\\n1", "x\t\ty", "a  b", ".   ("]
PROBES += ["1\xa0b", "c\u2581d", "e\x01\0f", "<s>", "</s>", "<unk>", "<|im_end|>", "[INST]", "<think>"]
PROBES += ["word" * 30, "7" * 100, "?!" * 40]


class Frame(NamedTuple):
    """What stands around the text of every prompt: ids, then text that is tokenised together with it."""

    before: list[int]
    opening: str
    closing: str
    after: list[int]


class PromptTokenizer:
    """Prompts in, sampled ids out.

    Attributes:
        hf: the transformers tokenizer.
        eos_ids: ids that end a completion.
        frame: the chat template around each prompt, or only a BOS where the tokenizer adds one.
        pad_id: fills the left of shorter prompts in generation, always masked.
        local: whether prompts are put together from chunks; if not, each is tokenised whole.
    """

    def __init__(self, hf: PreTrainedTokenizerFast) -> None:
        self.hf = hf
        self.eos_ids = {int(hf.eos_token_id)}  # type: ignore[arg-type]
        self.pad_id = int(hf.pad_token_id)  # type: ignore[arg-type]
        self.frame = Frame([i for i in hf("").input_ids if i == hf.bos_token_id], "", "", [])
        self._reader = reader = Reader(hf)
        self.local = reader.is_local()
        tokenize = reader.chunks if self.local else reader.texts
        self._assembler = Assembler(tokenize, local=self.local)
        if hf.chat_template is not None:
            self.frame = self._chat_frame()
            self._assembler = Assembler(tokenize, local=self.local)  # its counts are of prompts only

    def _chat_frame(self) -> Frame:
        """The chat template around the text of a prompt.

        What it writes next to the text is tokenised with it, up to its nearest special token. Where that
        gives other ids than the whole (a token may eat the space beside it), it is tokenised apart if that
        is better.
        """
        rendered = str(
            self.hf.apply_chat_template(
                [{"role": "user", "content": CONTENT}], tokenize=False, add_generation_prompt=True
            )
        )
        before, found, after = rendered.partition(CONTENT)
        if not found:
            raise UserError("tokenizer: its chat template does not show the user's message")
        marks = [*self.hf.get_added_vocab(), *self.hf.all_special_tokens]
        start = max((before.rfind(m) + len(m) for m in marks if m in before), default=0)
        end = min((after.find(m) for m in marks if m in after), default=len(after))
        joined = Frame(
            self._plain_ids(before[:start]), before[start:], after[:end], self._plain_ids(after[end:])
        )
        apart = Frame(self._plain_ids(before), "", "", self._plain_ids(after))
        whole = [self._plain_ids(before + text + after) for text in SAMPLES]
        scores = []
        for self.frame in (joined, apart):
            scores.append(sum(a == b for a, b in zip(self.encode(SAMPLES), whole, strict=True)))
        if max(scores) < len(SAMPLES):
            warnings.warn(
                "the tokenizer reads its chat template differently in parts: prompts may differ from those "
                "of apply_chat_template by a token beside the text",
                stacklevel=2,
            )
        return joined if scores[0] >= scores[1] else apart

    def _plain_ids(self, text: str) -> list[int]:
        return self.hf(text, add_special_tokens=False).input_ids  # type: ignore[return-value]

    def encode(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """The ids of `encode_packed`, one list for each prompt."""
        return self.encode_packed(prompts).lists()

    def encode_packed(self, prompts: Sequence[Prompt], *, threads: int = 1) -> Ids:
        """Token ids of each prompt, framed by the chat template if the tokenizer has one.

        A prompt in pieces has the ids of its whole text; equal pieces are tokenised once.

        Raises:
            ValueError: a lone surrogate, or more than 2**31 - 1 tokens in all.
        """
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
        """Token ids of each completion and the end token, for supervised training; no chat template."""
        end = int(self.hf.eos_token_id)  # type: ignore[arg-type]
        return [[*ids, end] for ids in self._reader.texts(list(completions))]

    @property
    def counts(self) -> Counts:
        """How the prompts so far were tokenised."""
        return self._assembler.counts

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Text of each list of ids, special tokens left out."""
        return self.hf.batch_decode([list(one) for one in ids], skip_special_tokens=True)

    def __len__(self) -> int:
        return len(self.hf)


class Reader:
    """Token ids of plain text, without a frame, and without special or added tokens.

    tokenizers matches added tokens before its model sees the text, so this shares the model and not them. A
    model that knows such a token itself (a unigram model knows "</s>") has it spelled out, character by
    character; not the unknown token, nor white space, nor a single character, which has no other spelling.
    """

    def __init__(self, hf: PreTrainedTokenizerFast) -> None:
        self.hf = hf
        backend = getattr(hf, "backend_tokenizer", None)
        self.core: FastTokenizer | None = None
        self.spelled: dict[int, list[int]] = {}
        if isinstance(backend, FastTokenizer):
            model = backend.model
            self.core = _parts(backend, model)
            unknown = getattr(model, "unk_token", hf.unk_token)
            for i in {*backend.get_added_tokens_decoder(), *hf.all_special_ids}:
                token = self.core.id_to_token(i)
                if token is not None and token != unknown and token.strip(WHITE):
                    self.spelled[i] = [t.id for character in token for t in model.tokenize(character)]
            self.anchor = self.texts([ANCHOR])[0]

    def texts(self, texts: Sequence[str], first: Sequence[bool] = ()) -> list[list[int]]:
        """Ids of whole texts."""
        if self.core is None:
            return self.hf(list(texts), add_special_tokens=False, split_special_tokens=True).input_ids  # type: ignore[return-value]
        found = []
        for start in range(0, len(texts), AT_ONCE):
            batch = self.core.encode_batch_fast(texts[start : start + AT_ONCE], add_special_tokens=False)
            found += [encoding.ids for encoding in batch]
        if self.spelled:
            found = [[i for t in ids for i in self.spelled.get(t, (t,))] for ids in found]
        return found

    def chunks(self, chunks: Sequence[str], first: Sequence[bool]) -> list[list[int]]:
        """Ids of chunks of texts; those that do not open their text as they are after another word."""
        rows = zip(chunks, first, strict=True)
        found = self.texts([chunk if opens else ANCHOR + chunk for chunk, opens in rows])
        size = len(self.anchor)
        for i, ids in enumerate(found):
            if not first[i]:
                if ids[:size] != self.anchor:
                    raise RuntimeError(f"tokenizer: expected {ANCHOR!r} to stay apart from {chunks[i]!r}")
                found[i] = ids[size:]
        return found

    def is_local(self) -> bool:
        """Whether the ids of any text are those of its chunks: byte-pair encoding whose parts are known to be
        local and whose vocabulary has no word across a cut. A probe stands behind the reasoning."""
        if self.core is None or not _is_local_by_design(self.core):
            return False
        pieces, size = [*PROBES, " "], len(PROBES)
        pairs = product(range(size), range(size))
        sequences = [(left, size, right, size, left) for left, right in pairs]
        members, offsets = list(chain.from_iterable(sequences)), range(0, 5 * len(sequences) + 1, 5)
        try:
            found = Assembler(self.chunks, local=True)(pieces, members, offsets)
        except RuntimeError:
            return False
        return found.lists() == self.texts(["".join(pieces[i] for i in sequence) for sequence in sequences])


def _parts(backend: FastTokenizer, model: Any) -> FastTokenizer:
    """Another model between the same normalizer and pre-tokenizer, and nothing else of the tokenizer."""
    core = FastTokenizer(model)
    if backend.normalizer is not None:
        core.normalizer = backend.normalizer
    if backend.pre_tokenizer is not None:
        core.pre_tokenizer = backend.pre_tokenizer
    return core


def _is_local_by_design(core: FastTokenizer) -> bool:
    model = core.model
    if not isinstance(model, models.BPE) or model.dropout:
        return False
    described = json.loads(_parts(core, models.BPE()).to_str())
    normalizers, splitters = (_flat(described[name]) for name in ("normalizer", "pre_tokenizer"))
    known = {part["type"] for part in normalizers} <= LOCAL_NORMALIZERS
    known &= {part["type"] for part in splitters} <= LOCAL_PRE_TOKENIZERS
    if not known or _looks_around(str(splitters)):
        return False
    marks = [(p["pattern"].get("String"), p["content"]) for p in normalizers if p["type"] == "Replace"]
    marks += [(" ", part["replacement"]) for part in splitters if part["type"] == "Metaspace"]
    in_bytes = any(part["type"] == "ByteLevel" for part in splitters)
    if any(mark != (" ", SPACE) for mark in marks) or (in_bytes and marks):
        return False
    space = "Ġ" if in_bytes else SPACE if marks else " "
    vocabulary = core.get_vocab()  # the space must be in it: an unknown one could melt into its neighbours
    spans = (token for token in vocabulary if space in token[1:])
    read = decoders.ByteLevel().decode if in_bytes else lambda token: token[0].replace(space, " ")
    return space in vocabulary and not any(re.search(f"[^{BLANK}] ", read([token])) for token in spans)


def _looks_around(patterns: str) -> bool:
    """Whether a regular expression looks further than at the next character, as only `\\s+(?!\\S)` may."""
    return re.search(r"\(\?(?:<?=|<?!)", re.sub(r"\(\?!\\+S\)", "", patterns)) is not None


def _flat(part: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The normalizers or pre-tokenizers of a description, sequences taken apart."""
    if part is None:
        return []
    inner = part.get("normalizers") or part.get("pretokenizers")
    return [one for step in inner for one in _flat(step)] if inner else [part]


def word_level(vocabulary: Sequence[str]) -> PreTrainedTokenizerFast:
    """The vocabulary of a built-in task: one token a character where all of it are characters, else one token
    a word between spaces."""
    vocab = {token: i for i, token in enumerate(["<pad>", "<eos>", "<unk>", *vocabulary])}
    core = FastTokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    if max(map(len, vocabulary)) == 1:
        core.pre_tokenizer = pre_tokenizers.Split("", "isolated")  # type: ignore[assignment]
        core.decoder = decoders.Fuse()  # type: ignore[assignment]
    else:  # without a decoder, words are joined by spaces
        core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def raw_bytes() -> PreTrainedTokenizerFast:
    """One token a byte of UTF-8: reads any text in any language."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate(["<pad>", "<eos>", *alphabet])}
    core = FastTokenizer(models.BPE(vocab, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)  # type: ignore[assignment]
    core.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>")
