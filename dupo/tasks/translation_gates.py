"""What a translation must pass to be an answer, whatever its back-translation is worth.

A copy of the source comes back perfectly, and text that carries the source along comes back well; so a reward
from back-translation alone teaches a model to copy. A gate refuses such a completion, with its name:

    unreadable  nothing there (cannot be turned off)
    lines       more than one line with text on it; without this gate the first line counts
    copy        the source again, a long run of it, or more than half of it in the same order
    length      max_length_ratio times longer or shorter than the source
    language    most letters are not in the script of the target language, or py3langid (if it is installed)
                is sure that the text is in the source language

Knows nothing of models and metrics. The constants of the checks were fitted on the references of FLORES-200
dev (26 languages beside English, 997 sentences, every direction), which should all pass;
`tests/tasks/test_translation_gates.py` repeats some of it.
"""

from dataclasses import dataclass
from typing import NamedTuple

from dupo.config.task_options import GATES
from dupo.config.values import listed
from dupo.errors import UserError
from dupo.tasks.copy_check import copy_limits, is_copy
from dupo.tasks.final_answer import without_thinking
from dupo.tasks.language_detection import can_be_told_apart, detects, is_in_source_language
from dupo.tasks.scripts import is_in_script, length_ratio, scripts_of_language


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

    Raises:
        UserError: `max_length_ratio` is below 1.
    """

    names: frozenset[str]
    src: str
    tgt: str
    max_length_ratio: float

    def __post_init__(self) -> None:
        if self.max_length_ratio < 1:
            raise UserError(f"max_length_ratio: expected at least 1, got {self.max_length_ratio:g}")

    def read(self, source: str, completion: str) -> GateResult:
        """Reads the translation in a completion, and puts it through the gates in force."""
        lines = lines_of(completion)
        if not lines:
            return GateResult(None, "unreadable")
        # The first gate that refuses gives its name: rates of refusals then add up.
        for gate in GATES:
            if gate in self.names and not self._passes(gate, source, lines):
                return GateResult(None, gate)
        return GateResult(lines[0], None)

    def _passes(self, gate: str, source: str, lines: list[str]) -> bool:
        text = lines[0]
        if gate == "lines":
            return len(lines) == 1
        if gate == "copy":
            return not is_copy(source, text, copy_limits(self.src, self.tgt))
        if gate == "length":
            return length_ratio(source, text) <= self.max_length_ratio
        return self._is_in_target_language(text)

    def _is_in_target_language(self, text: str) -> bool:
        # Scripts need no package, so they are asked first; py3langid tells languages of one script apart.
        if not is_in_script(text, self.tgt):
            return False
        return not (detects(self.src, self.tgt) and is_in_source_language(text, self.src, self.tgt))

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
        if detects(self.src, self.tgt):
            return f"{script}; py3langid"
        if not can_be_told_apart(self.src, self.tgt):
            return f"{script}; py3langid does not tell {self.src} from {self.tgt}"
        return f"{script} only, which tells no languages of one script apart: pip install py3langid"


def lines_of(completion: str) -> list[str]:
    """Returns the lines after the thinking that have text on them, stripped."""
    lines = (line.strip() for line in without_thinking(completion).splitlines())
    return [line for line in lines if line]


def first_line(completion: str) -> str | None:
    """Returns the first line with text; what follows it is comment, not translation."""
    return next(iter(lines_of(completion)), None)
