"""What texts say of the tree is true: paths that they name exist, and the fields of records are read."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.helpers.project import ROOT
from tests.helpers.source import project_files

FOLDERS = "dupo|kernels|csrc|bench|tests|docs|configs|examples"
PATH = re.compile(rf"(?<![\w/.])((?:{FOLDERS})/[\w/.-]*\w\.(?:py|cpp|hpp|md|yaml|json|svg))")
OF_A_REVISION = re.compile(r"`[^`\n]*` at [0-9a-f]{7}")  # a command of then names files of then
MODULE = re.compile(r"`(dupo(?:_kernels)?(?:\.[a-z_]\w*)+)(?:\.[A-Z]\w*)?`")
# The log tells of files that were there on its day.
PROSE = [path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")] if path.name != "CHANGELOG.md"]
# A path that a text makes up for an example.
MADE_UP = {
    "dupo/_C.py",
    "dupo/tasks/x.py",
    "dupo/x.py",
    "bench/x.py",
    "tests/x.py",
    "kernels/dupo_kernels/x.py",
}


def texts() -> Iterator[tuple[str, str]]:
    """(path, text) of sources and prose; the rule tests hold made-up paths."""
    for file in project_files():
        if file.name not in ("test_architecture.py", "test_reading.py", "test_mentions.py"):
            yield file.path, file.source
    for path in PROSE:
        yield path.name, path.read_text(encoding="utf-8")


def exists(path: str) -> bool:
    return any((root / path).exists() for root in (ROOT, ROOT / "kernels", ROOT / "tests", ROOT / "dupo"))


def test_paths_that_texts_name_exist() -> None:
    missing = [
        f"{name}: {path}"
        for name, text in texts()
        for path in PATH.findall(OF_A_REVISION.sub("", text))
        if not exists(path) and path not in MADE_UP and "<" not in path
    ]
    assert not missing, "\n".join(missing)


def test_modules_that_texts_name_exist() -> None:
    missing = []
    for name, text in texts():
        for dotted in MODULE.findall(text):
            parts = dotted.split(".")
            # The last one or two names may be things of a module, as in `dupo.text.find_numbers`.
            prefixes = ["/".join(parts[:k]) for k in range(len(parts), max(1, len(parts) - 2) - 1, -1)]
            if not any(exists(f"{prefix}.py") or exists(f"{prefix}/__init__.py") for prefix in prefixes):
                missing.append(f"{name}: {dotted}")
    assert not missing, "\n".join(missing)


def fields_of_records() -> Iterator[tuple[str, str]]:
    for node in ast.parse((ROOT / "dupo/records.py").read_text()).body:
        if isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
                    yield node.name, member.target.id


@pytest.mark.parametrize(("record", "field"), list(fields_of_records()))
def test_every_field_of_a_record_is_read(record: str, field: str) -> None:
    """A field that nobody reads is computed, copied and saved for nothing."""
    written_whole = {"Exchange", "DualExchange"}  # rows of samples.jsonl, by asdict
    assert field in attributes_read() or record in written_whole


@cache
def attributes_read() -> set[str]:
    """Names of all attributes that the package reads."""
    return {
        node.attr
        for file in project_files()
        if file.under("dupo") and file.name.endswith(".py")
        for node in file.nodes
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }


def test_a_path_that_is_not_there_would_be_seen(tmp_path: Path) -> None:
    assert PATH.findall("the twin stands in dupo/text.py; see csrc/packing.hpp.") == [
        "dupo/text.py",
        "csrc/packing.hpp",
    ]
    assert not exists("dupo/text.py") and not exists("csrc/packing.hpp")
