"""What a translation must pass to be an answer, whatever its back-translation is worth.

A copy of the source comes back perfectly, and so may a translation into another language, or the source
in other letters: a reward from back-translation alone teaches a model to write these. What a model writes
around a translation is taken off first (`wrappers`). A gate refuses what is left, with its name:

    unreadable  nothing there (cannot be turned off)
    lines       more than one line with text on it; without this gate the first line counts
    wrapper     "Sure!" or "Here is ..." before the translation, where it may be the source's own; data,
                a second translation or an explanation beside the translation
    apology     the model says that it cannot translate
    repetition  one word over and over, or the text twice
    copy        the source again, in any order, much of it, or in brackets; names are no copies
    disguise    the source in other letters, or with distorted words; letters that are not what they look
                like, or are not seen
    length      max_length_ratio times longer or shorter than the source
    language    no letters, another script, or another language, asked of all that py3langid knows, and of
                halves and thirds too

Knows nothing of models and metrics. The constants of the checks were fitted on every second line of
FLORES-200 dev; `python -m bench.text.translation_gates` judges them on the other lines.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from dupo.config.task_options import GATES
from dupo.config.values import listed
from dupo.errors import UserError
from dupo.tasks import language_detection
from dupo.tasks.closings import explains, offers_two
from dupo.tasks.copy_check import copies_in_brackets, copies_words_of, copy_limits, is_copy
from dupo.tasks.disguises import is_misspelt, is_substitution
from dupo.tasks.distortions import is_distortion
from dupo.tasks.final_answer import without_thinking
from dupo.tasks.language_parts import is_partly_in_another_language
from dupo.tasks.markup import is_data
from dupo.tasks.refusals import declines
from dupo.tasks.repetition import is_repetition
from dupo.tasks.scripts import has_letters, is_in_script, length_ratio, scripts_of_language
from dupo.tasks.wrappers import bare_lines, bare_translation, has_doubtful_opening, has_lead

CACHED_RESULTS = 2**14  # an answer and its refusal are asked for one after the other


class GateResult(NamedTuple):
    """What the gates say of a completion: exactly one of both is None.

    Attributes:
        answer: the translation.
        refusal: the gate that the completion did not pass, or `unreadable`.
    """

    answer: str | None
    refusal: str | None


def parse_gates(text: str) -> frozenset[str]:
    """Reads the option `gates`, which `TaskOptions` has checked: a comma-separated list, or `off`."""
    names = [name.lower() for name in listed(text)]
    return frozenset() if names == ["off"] else frozenset(names)


@dataclass(frozen=True)
class Gates:
    """The gates of one run.

    Attributes:
        names: the gates in force.
        src: code of the source language, such as de, zh-CN or nob_Latn.
        tgt: code of the target language.
        max_length_ratio: of translation and source, at least 1.
        paragraphs: a text of several lines is an answer, and keeps its lines.

    Raises:
        UserError: `max_length_ratio` is below 1, or a name is of no gate.
    """

    names: frozenset[str]
    src: str
    tgt: str
    max_length_ratio: float
    paragraphs: bool = False

    def __post_init__(self) -> None:
        if self.max_length_ratio < 1:
            raise UserError(f"max_length_ratio: expected at least 1, got {self.max_length_ratio:g}")
        if unknown := self.names - REFUSERS.keys():
            raise UserError(f"gates: expected any of {', '.join(GATES)}, got {min(unknown)!r}")

    def read(self, source: str, completion: str) -> GateResult:
        """Reads the translation in a completion, and puts it through the gates in force."""
        return _read(self, source, completion)

    def refuses(self, gate: str, source: str, text: str) -> bool:
        """Says whether a gate refuses a bare translation."""
        return REFUSERS[gate](self, source, text)

    def _copies(self, source: str, text: str) -> bool:
        return (
            is_copy(source, text, copy_limits(self.src, self.tgt), self.src)
            or copies_in_brackets(source, text, self.src)
            or copies_words_of(source, text, self.src, self.tgt)
        )

    def _is_in_target_language(self, source: str, text: str) -> bool:
        # Scripts need no package, so they are asked first; py3langid tells languages of one script apart.
        if not is_in_script(text, self.tgt) or (has_letters(source) and not has_letters(text)):
            return False
        if language_detection.knows(self.tgt) and language_detection.is_in_another_language(text, self.tgt):
            return False
        return not is_partly_in_another_language(source, text, self.tgt)

    def note(self) -> str:
        """Names the gates in force on one line."""
        details = {
            "length": f" (at most {self.max_length_ratio:g} times the source, or a part of it)",
            "language": f" ({self._language_checks()})",
        }
        gates = [gate + details.get(gate, "") for gate in GATES if gate in self.names]
        return "gates: " + (", ".join(gates) or "off")

    def _language_checks(self) -> str:
        has_script = bool(scripts_of_language(self.tgt))
        script = "script" if has_script else f"no script is known for {self.tgt}"
        if not language_detection.is_installed():
            return f"{script} only, which tells no languages of one script apart: pip install py3langid"
        if not language_detection.knows(self.tgt):
            return f"{script} only: py3langid does not know {self.tgt}"
        fitted = "" if language_detection.is_fitted(self.tgt) else f", its margin not fitted for {self.tgt}"
        return f"{script}; py3langid, asked of all its languages{fitted}"


def _is_wrapped(source: str, text: str, tgt: str) -> bool:
    return (
        has_doubtful_opening(source, text)
        or has_lead(text, tgt)
        or is_data(source, text)
        or explains(source, text)
        or offers_two(source, text)
    )


def _is_disguised(source: str, text: str) -> bool:
    return is_misspelt(source, text) or is_substitution(source, text) or is_distortion(source, text)


# Each says whether it refuses a bare translation: gates, source, text.
REFUSERS: dict[str, Callable[[Gates, str, str], bool]] = {
    "lines": lambda gates, source, text: "\n" in text and not gates.paragraphs,
    "wrapper": lambda gates, source, text: _is_wrapped(source, text, gates.tgt),
    "apology": lambda gates, source, text: declines(source, text),
    "repetition": lambda gates, source, text: is_repetition(source, text),
    "copy": Gates._copies,
    "disguise": lambda gates, source, text: _is_disguised(source, text),
    "length": lambda gates, source, text: length_ratio(source, text) > gates.max_length_ratio,
    "language": lambda gates, source, text: not gates._is_in_target_language(source, text),
}


@lru_cache(maxsize=CACHED_RESULTS)
def _read(gates: Gates, source: str, completion: str) -> GateResult:
    lines = read_lines(source, completion, gates.tgt)
    if not lines:
        return GateResult(None, "unreadable")
    keeps_lines = gates.paragraphs or "lines" in gates.names
    text = "\n".join(lines) if keeps_lines else lines[0]
    # The first gate that refuses gives its name: rates of refusals then add up.
    for gate in (name for name in GATES if name in gates.names):
        if gates.refuses(gate, source, text):
            return GateResult(None, gate)
    return GateResult(text, None)


def read_lines(source: str, completion: str, tgt: str) -> list[str]:
    """Returns the lines of a bare translation: what a model wrote around the translation is taken off.

    Args:
        source: the text that was translated.
        completion: what the model wrote.
        tgt: code of the language translated into.
    """
    lines = (line.strip() for line in without_thinking(completion).splitlines())
    lines = bare_lines(source, [line for line in lines if line], tgt)
    # The marks of a text of several lines are its own: a list stays a list.
    return [bare_translation(source, lines[0], tgt)] if len(lines) == 1 else lines


def read_back(hidden: str, completion: str, src: str, paragraphs: bool) -> str | None:
    """Returns the bare text of a back-translation: its first line, or all lines; None: nothing there.

    Args:
        hidden: the text that should come back.
        completion: what the judge wrote.
        src: code of the language of the hidden text.
        paragraphs: all lines count.
    """
    lines = read_lines(hidden, completion, src)
    if not lines:
        return None
    return "\n".join(lines) if paragraphs else lines[0]
