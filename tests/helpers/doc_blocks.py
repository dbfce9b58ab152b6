"""The code blocks of README.md and docs/, and the commands in them.

A comment `<!-- needs: WHAT -->` on the line before a block says why tests parse the block and do not run it.
The attribute `title="NAME"` of a block says that the block is the content of the file NAME.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from dupo.config.doors import DOORS
from tests.helpers.project import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(
    r"(?:^<!-- needs: (?P<needs>[\w -]+) -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
# What a shell has to run: anything beside plain commands with && between them.
_OF_A_SHELL = re.compile(r"[|<>;$`()*~]")


@dataclass(frozen=True)
class Block:
    """A code block with a language.

    Attributes:
        line: of the page, where the block begins.
        title: the file that the block is, or None.
        needs: why the block is not run, or None.
    """

    page: Path
    line: int
    language: str
    text: str
    title: str | None
    needs: str | None

    @property
    def place(self) -> str:
        """PAGE:LINE, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in order; those without a language are left out, they show output."""
    text = page.read_text(encoding="utf-8")
    blocks = []
    for found in _BLOCK.finditer(text):
        indent = len(found["indent"])
        body = "".join(line[indent:] or "\n" for line in found["text"].splitlines(keepends=True))
        line = text.count("\n", 0, found.start()) + 1
        blocks.append(Block(page, line, found["language"], body, found["title"], found["needs"]))
    return blocks


def lines_of(text: str) -> list[str]:
    """The lines of a shell script, continued lines joined, without comments and empty lines."""
    joined = re.sub(r"\\\n\s*", " ", text)
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line]


def is_plain(line: str) -> bool:
    """Whether a line holds commands, and nothing that takes a shell."""
    return not _OF_A_SHELL.search(re.sub(r"'[^']*'|\"[^\"]*\"", "", line))


def commands_of(line: str) -> list[list[str]]:
    """The words of each command of a line."""
    commands: list[list[str]] = [[]]
    for word in shlex.split(line):
        if word in ("&&", "|", ";", ">", ">>"):
            commands.append([])
        else:
            commands[-1].append(word)
    return [words for words in commands if words]


def own_program(words: list[str]) -> tuple[str, list[str]] | None:
    """(program, its options) of a command of dupo; None for any other command."""
    while words and re.fullmatch(r"\w+=.*", words[0]):
        words = words[1:]
    if words[:1] == ["torchrun"] and "-m" in words:
        words = ["python", *words[words.index("-m") :]]
    if words[:2] == ["python", "-m"] and words[2:] and words[2].startswith("dupo."):
        return words[2].removeprefix("dupo."), words[3:]
    if words[:3] == ["python", "-m", "dupo"] or words[:1] == ["dupo"]:
        name, *options = words[3 if words[0] == "python" else 1 :]
        return (name, options) if name in DOORS else ("__main__", [name, *options])
    return None
