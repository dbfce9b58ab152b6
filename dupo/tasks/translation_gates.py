"""What a translation must pass to be an answer, whatever its back-translation is worth.

A copy of the source comes back perfectly, and text that carries the source along comes back well; so a reward
from back-translation alone teaches a model to copy. A gate refuses such a completion, with its name:

    unreadable  nothing there (cannot be turned off)
    lines       more than one line with text on it; without this gate the first one counts
    copy        the source again, a long run of it, or more than half of it in the same order
    length      max_length_ratio times longer or shorter than the source
    language    most letters are not in the script of the target language, or py3langid (if it is installed)
                is sure that the text is in the source language

Knows nothing of models and metrics. The constants were fitted on the references of FLORES-200 dev (26
languages beside English, 997 sentences, every direction), which should all pass; `tests/test_gates.py`
repeats some of it.
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec

from dupo.errors import UserError
from dupo.tasks.final_answer import without_thinking

GATES = ("lines", "copy", "length", "language")  # in the order in which they are asked

# Shares of the source that a translation may have in the same order: in one run of letters, and in all.
COPIED, COPIED_CLOSE = (0.3, 0.5), (0.5, 0.7)
# What is shared does not count before there is so much: "Angela Merkel besucht Paris".
COPY_SLACK = 8
# Between these, references share more than half of the source (id-ms 12 %, da-nb 4 %, da-sv 1 %; any other
# pair at most 0.1 %), at most 0.8 % more than 0.7 of it, and at most 0.6 % a run of more than half of it (any
# other pair at most 0.2 % one of more than 0.3).
CLOSE = ({"da", "nb", "no", "sv"}, {"id", "ms"})

# Letters of an alphabet that carry as much as one character; "OK" may become "In Ordnung".
WEIGHTS: dict[str, float] = {"CJK": 2.9, "IDEOGRAPHIC": 2.9, "HANGUL": 2.3, "HIRAGANA": 1.6, "KATAKANA": 1.6}
LENGTH_SLACK = 10

# ISO 15924, with the first words of the Unicode names of its letters.
SCRIPTS = {
    "Arab": {"ARABIC"},
    "Cyrl": {"CYRILLIC"},
    "Grek": {"GREEK"},
    "Hans": {"CJK", "IDEOGRAPHIC"},
    "Hant": {"CJK", "IDEOGRAPHIC"},
    "Jpan": {"HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "CJK", "IDEOGRAPHIC"},
    "Kore": {"HANGUL"},
    "Latn": {"LATIN"},
    "Thai": {"THAI"},
}
LATIN = "cs da de en es fi fr hr hu id it ms nb nl no pl pt ro sv tr vi"
OTHERS = {"ar": "Arab", "el": "Grek", "ja": "Jpan", "ko": "Kore", "th": "Thai", "zh": "Hans"}
SCRIPT_OF: dict[str, str] = (
    dict.fromkeys(LATIN.split(), "Latn") | dict.fromkeys(("ru", "uk"), "Cyrl") | OTHERS
)
ALPHA3 = """ara ar arb ar ces cs dan da deu de ell el eng en spa es fin fi fra fr hrv hr hun hu ind id ita it
    jpn ja kor ko msa ms zsm ms nob nb nor no nld nl pol pl por pt ron ro rus ru swe sv tha th tur tr ukr uk
    vie vi zho zh cmn zh"""
SHORT_CODES: dict[str, str] = dict(zip(ALPHA3.split()[::2], ALPHA3.split()[1::2], strict=True))

# py3langid must find the source language so many nats likelier than the target: at most 0.5 % of references
# are refused then, and at least 96 % of sentences of the source language are. Not so between Indonesian and
# Malay: 12 % of references in Malay, 63 % of sentences in Malay. Norwegian has one class for both names.
MARGIN = 4.0
NOT_TOLD_APART = ({"id", "ms"}, {"nb", "no"})


def gates_of(text: str) -> frozenset[str]:
    """The gates that the option `gates` names: a comma-separated list, or `off`."""
    names: list[str] = [name.strip().lower() for name in text.split(",")]
    if names == ["off"]:
        return frozenset()
    for name in names:
        if name not in GATES:
            raise UserError(f"gates: expected off, or any of {', '.join(GATES)}, got {name!r}")
    return frozenset(names)


@dataclass(frozen=True)
class Gates:
    """The gates of one run. `names`: those in force; `src`, `tgt`: codes such as de, zh-CN, nob_Latn."""

    names: frozenset[str]
    src: str
    tgt: str
    max_length_ratio: float

    def __post_init__(self) -> None:
        if self.max_length_ratio < 1:
            raise UserError(f"max_length_ratio: expected at least 1, got {self.max_length_ratio:g}")

    def read(self, source: str, completion: str) -> tuple[str | None, str | None]:
        """(the translation, None) or (None, the gate that it did not pass)."""
        lines = lines_of(completion)
        if not lines:
            return None, "unreadable"
        text = lines[0]
        shares = COPIED_CLOSE if _both(self.src, self.tgt, CLOSE) else COPIED
        checks = {
            "lines": lambda: len(lines) == 1,
            "copy": lambda: not is_copy(source, text, shares),
            "length": lambda: length_ratio(source, text) <= self.max_length_ratio,
            "language": lambda: self._in_target_language(text),
        }
        refused = next((name for name in GATES if name in self.names and not checks[name]()), None)
        return (None, refused) if refused else (text, None)

    def note(self) -> str:
        """The gates in force, one line."""
        details = {"length": f" (at most {self.max_length_ratio:g} times the source, or a part of it)"}
        details["language"] = f" ({self._language_checks()})"
        return "gates: " + (", ".join(g + details.get(g, "") for g in GATES if g in self.names) or "off")

    def _in_target_language(self, text: str) -> bool:
        if not in_script(text, self.tgt):
            return False
        return not (classified(self.src, self.tgt) and source_evidence(text, self.src, self.tgt) > MARGIN)

    def _language_checks(self) -> str:
        script = "script" if scripts_of(self.tgt) else f"no script is known for {self.tgt}"
        if classified(self.src, self.tgt):
            return f"{script}; py3langid"
        if not classified(self.src, self.tgt, installed=True):
            return f"{script}; py3langid does not tell {self.src} from {self.tgt}"
        return f"{script} only, which tells no languages of one script apart: pip install py3langid"


def lines_of(completion: str) -> list[str]:
    """The lines with anything on them, after the thinking."""
    lines = (line.strip() for line in without_thinking(completion).splitlines())
    return [line for line in lines if line]


def first_line(completion: str) -> str | None:
    """The first of them; what follows it is comment, not translation."""
    return next(iter(lines_of(completion)), None)


# --- copy ---


def is_copy(source: str, text: str, shares: tuple[float, float] = COPIED) -> bool:
    """Whether `text` is the source again, or has more than these shares of it: of its letters in one
    run, of its grams in the same order, among whatever else. Capitals, spaces and punctuation make no
    difference."""
    here, there = _alphanumeric(source), _alphanumeric(text)
    if here == there:
        return here != "" or source.split() == text.split()
    run, every = (int(share * len(here)) + COPY_SLACK + 1 for share in shares)
    if any(here[k : k + run] in there for k in range(len(here) - run + 1)):
        return True
    return common(_grams(here), _grams(there)) >= every


def common(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence: a bit for each place of `a`, cleared where a match ends
    (Hyyrö 2004), so that one addition does a whole row of the usual table."""
    places: dict[str, int] = {}
    for k, gram in enumerate(a):
        places[gram] = places.get(gram, 0) | 1 << k
    every = (1 << len(a)) - 1
    row = every
    for gram in b:
        matches = row & places.get(gram, 0)
        row = ((row + matches) | (row - matches)) & every
    return len(a) - row.bit_count()


def _alphanumeric(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


def _grams(text: str) -> list[str]:
    """Runs of four letters; a Han character, a syllable or a kana alone says enough."""
    return [c if script(c) in WEIGHTS else text[k : k + 4] for k, c in enumerate(text)]


# --- length ---


def length_ratio(a: str, b: str) -> float:
    """How many times longer the longer one is, at least 1; short texts count as nearly equal."""
    x, y = (_weight(script(c) for c in text if not c.isspace()) + LENGTH_SLACK for text in (a, b))
    return max(x, y) / min(x, y)


def _weight(scripts: Iterable[str]) -> float:
    return sum(WEIGHTS.get(name, 1.0) for name in scripts)


# --- language ---


def language_of(code: str) -> str:
    """`zh` for zh, zh-CN, zh_Hans and zho_Hans."""
    base = re.split("[-_]", code.strip().lower())[0]
    return SHORT_CODES.get(base, base)


def scripts_of(code: str) -> set[str]:
    """The scripts of a language, or of the subtag of its code (uk-Latn); empty if nothing is known."""
    subtag = next((tag.title() for tag in re.split("[-_]", code)[1:] if len(tag) == 4), None)
    return SCRIPTS.get(subtag or SCRIPT_OF.get(language_of(code), ""), set())


@lru_cache(maxsize=2**16)
def script(char: str) -> str:
    """The first word of the name of a letter, its script: LATIN, CJK; empty for what is no letter."""
    return unicodedata.name(char, "").split(" ")[0] if char.isalpha() else ""


def in_script(text: str, code: str) -> bool:
    """Whether at least half of the letters, weighed as for the length, are in the script of a language:
    Chinese with foreign names has many Latin letters. True if there are none, or nothing is known."""
    expected = scripts_of(code)
    found = [name for c in unicodedata.normalize("NFKC", text) if (name := script(c))]
    inside, outside = (_weight(n for n in found if (n in expected) == side) for side in (True, False))
    return not expected or inside >= outside


def classified(src: str, tgt: str, *, installed: bool | None = None) -> bool:
    """Whether py3langid decides between two languages: it is there, and was measured to tell them apart."""
    pair = {language_of(src), language_of(tgt)}
    known = len(pair) == 2 and pair <= SCRIPT_OF.keys() and not _both(src, tgt, NOT_TOLD_APART)
    return known and (find_spec("py3langid") is not None if installed is None else installed)


def source_evidence(text: str, src: str, tgt: str) -> float:
    """log p(src | text) - log p(tgt | text) in nats, of py3langid's naive Bayes model."""
    import py3langid  # optional; it loads its model at the first call

    scores = dict(py3langid.rank(text))
    here, there = ("no" if c == "nb" else c for c in map(language_of, (src, tgt)))
    evidence = scores[here] - scores[there]
    return evidence if math.isfinite(evidence) else 0.0


def _both(src: str, tgt: str, groups: Sequence[set[str]]) -> bool:
    return any({language_of(src), language_of(tgt)} <= group for group in groups)
