"""Token ids of plain text, and whether a text may be cut without changing its ids.

A tokenizer is *local* if texts may be cut where `dupo.text.assembly` cuts, without changing the ids. Text
that prompts share is then tokenised once. `Reader.is_local` decides when a tokenizer is loaded: in doubt, no.
"""

import copy
import json
import re
from collections.abc import Sequence
from itertools import chain, product
from typing import Any

from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from dupo.text.assembler import Assembler
from dupo.text.assembly import BLANK

ANCHOR = "a"  # stands before a chunk that does not open its text
TEXTS_PER_CALL = 4096  # texts that tokenizers gets at once: its encodings take much more memory than the ids

# Parts that look at neighbouring characters only. The probes test what a regular expression sees.
LOCAL_NORMALIZERS = {"NFC", "Prepend", "Replace"}
LOCAL_PRE_TOKENIZERS = {"ByteLevel", "Digits", "Metaspace", "Split"}
SPACE_MARK = "\u2581"  # the space of SentencePiece
VOCABULARY_WHITE_SPACE = f" \t\r\nĠĉčĊ{SPACE_MARK}"  # white space as vocabularies spell white space
PROBES = list("aZ'’\"({%&…-#1½²٣éß。🙂")
PROBES += ["I'm", "don't", "'s", "'S", "“x”", "[x]", "}.", "$x^2$", "\\boxed{7}", "\\"]
PROBES += ["12", "1234567", "0.5", "3,000", "1/2", "--", "x_y", "@a", "..", "!?", ");", "https://a.b/c?d=e"]
PROBES += ["한국어", "你好", "สวัสดี", "ру", "نص", "ĠĊ", "👩\u200d👩", "ﬁ", "\u212b", "\u1100\u1161", "\u1161"]
PROBES += ["e\u0301", "\u0301", "\u0301a", "a\nb", "a\r\nb", "x\n\n\ny", "\\\n1", "x\t\ty", "a  b", ".   ("]
PROBES += ["1\xa0b", "c\u2581d", "e\x01\0f", "<s>", "</s>", "<unk>", "<|im_end|>", "[INST]", "<think>"]
PROBES += ["word" * 30, "7" * 100, "?!" * 40]


class Reader:
    """Reads token ids of plain text: no frame, no special tokens, no added tokens.

    The library tokenizers matches added tokens before its model sees the text. So the reader takes over the
    model and leaves the added tokens out. A model may know such a token by itself: a unigram model knows
    "</s>". The reader then spells the token out, character by character. The unknown token, white space and
    single characters are not spelled out: they have no other spelling.
    """

    def __init__(self, hf: PreTrainedTokenizerFast) -> None:
        self.hf = hf
        backend = getattr(hf, "backend_tokenizer", None)
        self.core: Tokenizer | None = None
        self.spellings: dict[int, list[int]] = {}
        if isinstance(backend, Tokenizer):
            model = backend.model
            self.core = _with_model(backend, model)
            unknown = getattr(model, "unk_token", hf.unk_token)
            for i in {*backend.get_added_tokens_decoder(), *hf.all_special_ids}:
                token = self.core.id_to_token(i)
                if token is not None and token != unknown and token.strip(VOCABULARY_WHITE_SPACE):
                    self.spellings[i] = [t.id for character in token for t in model.tokenize(character)]
            self.anchor = self.texts([ANCHOR])[0]
        self._is_local: bool | None = None

    def behind(self) -> "Reader | None":
        """A reader of texts that stand behind other ids; None where their place changes nothing.

        Some tokenizers of the SentencePiece family mark the first word of a whole chat as the start of a
        word, and the first word behind a special token not.
        """
        if self.core is None:
            return None
        # Steps can only be changed as JSON, and an empty model keeps the vocabulary out of the JSON.
        description = json.loads(_with_model(self.core, models.BPE()).to_str())
        marking = [s for s in _steps(description["pre_tokenizer"]) if s.get("prepend_scheme") == "first"]
        if not marking:
            return None
        for step in marking:
            step["prepend_scheme"] = "never"
        reader = copy.copy(self)
        reader._is_local = None
        reader.core = _with_model(Tokenizer.from_str(json.dumps(description)), self.core.model)
        reader.anchor = reader.texts([ANCHOR])[0]
        return reader

    def texts(self, texts: Sequence[str], opens_text: Sequence[bool] = ()) -> list[list[int]]:
        """Returns the ids of complete texts. `opens_text` is ignored: a complete text opens itself."""
        if self.core is None:
            return self.hf(list(texts), add_special_tokens=False, split_special_tokens=True).input_ids  # type: ignore[return-value]
        rows: list[list[int]] = []
        for start in range(0, len(texts), TEXTS_PER_CALL):
            batch = self.core.encode_batch_fast(
                texts[start : start + TEXTS_PER_CALL], add_special_tokens=False
            )
            rows += [encoding.ids for encoding in batch]
        if self.spellings:
            rows = [[i for t in ids for i in self.spellings.get(t, (t,))] for ids in rows]
        return rows

    def chunks(self, chunks: Sequence[str], opens_text: Sequence[bool]) -> list[list[int]]:
        """Returns the ids of chunks of texts. A chunk further on has the ids that follow another word.

        Raises:
            RuntimeError: the word before a chunk was merged with the chunk, so the tokenizer is not local.
        """
        flags = zip(chunks, opens_text, strict=True)
        rows = self.texts([chunk if opens else ANCHOR + chunk for chunk, opens in flags])
        size = len(self.anchor)
        for i, ids in enumerate(rows):
            if not opens_text[i]:
                if ids[:size] != self.anchor:
                    raise RuntimeError(f"tokenizer: expected {ANCHOR!r} to stay apart from {chunks[i]!r}")
                rows[i] = ids[size:]
        return rows

    def is_local(self) -> bool:
        """Tells whether the ids of any text are the ids of its chunks; found out once.

        True for byte-pair encoding whose other steps are known to be local and whose vocabulary has no word
        across a cut. Every pair of probes must then confirm the reasoning.
        """
        if self._is_local is None:
            self._is_local = self._find_out_is_local()
        return self._is_local

    def _find_out_is_local(self) -> bool:
        if self.core is None or not _is_local_by_design(self.core):
            return False
        pieces, space = [*PROBES, " "], len(PROBES)
        pairs = product(range(len(PROBES)), repeat=2)
        sequences = [(left, space, right, space, left) for left, right in pairs]
        members, offsets = list(chain.from_iterable(sequences)), range(0, 5 * len(sequences) + 1, 5)
        try:
            assembled = Assembler(self.chunks, local=True)(pieces, members, offsets)
        except RuntimeError:
            return False
        return assembled.lists() == self.texts(["".join(pieces[i] for i in row) for row in sequences])


def _with_model(backend: Tokenizer, model: Any) -> Tokenizer:
    """Returns `model` between the normalizer and the pre-tokenizer of `backend`, and nothing else."""
    core = Tokenizer(model)
    if backend.normalizer is not None:
        core.normalizer = backend.normalizer
    if backend.pre_tokenizer is not None:
        core.pre_tokenizer = backend.pre_tokenizer
    return core


def _is_local_by_design(core: Tokenizer) -> bool:
    model = core.model
    if not isinstance(model, models.BPE) or model.dropout:
        return False
    # The steps can only be inspected as JSON. An empty model keeps the vocabulary out of the JSON.
    description = json.loads(_with_model(core, models.BPE()).to_str())
    normalizers = _steps(description["normalizer"])
    splitters = _steps(description["pre_tokenizer"])
    if not {step["type"] for step in normalizers} <= LOCAL_NORMALIZERS:
        return False
    if not {step["type"] for step in splitters} <= LOCAL_PRE_TOKENIZERS:
        return False
    if _looks_around(str(splitters)):
        return False
    # The only replacement that keeps cuts in their places is " " -> SPACE_MARK.
    marks = [(s["pattern"].get("String"), s["content"]) for s in normalizers if s["type"] == "Replace"]
    marks += [(" ", step["replacement"]) for step in splitters if step["type"] == "Metaspace"]
    in_bytes = any(step["type"] == "ByteLevel" for step in splitters)
    if any(mark != (" ", SPACE_MARK) for mark in marks) or (in_bytes and marks):
        return False
    space = "Ġ" if in_bytes else SPACE_MARK if marks else " "
    vocabulary = core.get_vocab()  # must have the space: an unknown space could melt into its neighbours
    spaced = (token for token in vocabulary if space in token[1:])
    decode = decoders.ByteLevel().decode if in_bytes else lambda tokens: tokens[0].replace(space, " ")
    return space in vocabulary and not any(re.search(f"[^{BLANK}] ", decode([token])) for token in spaced)


def _looks_around(patterns: str) -> bool:
    """Tells whether a regular expression looks at more than the next character, as only `\\s+(?!\\S)` may."""
    return re.search(r"\(\?(?:<?=|<?!)", re.sub(r"\(\?!\\+S\)", "", patterns)) is not None


def _steps(step: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Flattens the normalizers or pre-tokenizers of a description: sequences are taken apart."""
    if step is None:
        return []
    inner = step.get("normalizers") or step.get("pretokenizers")
    return [flat for item in inner for flat in _steps(item)] if inner else [step]
