"""The source text of the project, file by file, for tests that read it."""

import ast
import tokenize
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from io import StringIO

from tests.helpers.project import ROOT

FOLDERS = ("kernels", "dupo", "bench", "csrc", "tests", "examples")
SUFFIXES = {".py", ".pyi", ".cpp", ".hpp"}


@dataclass(frozen=True)
class File:
    """`path` as seen from the repository's root, with forward slashes."""

    path: str
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree)) if self.name.endswith((".py", ".pyi")) else []

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def lines(self) -> int:
        return len(self.source.splitlines())

    @cached_property
    def comments(self) -> int:
        """Number of comments; docstrings are none."""
        tokens = tokenize.generate_tokens(StringIO(self.source).readline)
        return sum(token.type == tokenize.COMMENT for token in tokens)

    def under(self, *folders: str) -> bool:
        return self.path.split("/")[0] in folders

    @cached_property
    def imports(self) -> list[str]:
        """Absolute dotted names, `from a import b` as a.b, at any depth of the code."""
        package = self.path.removeprefix("kernels/").split("/")[:-1]
        found = []
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                parents = package[: len(package) - node.level + 1] if node.level else []
                base = ".".join([*parents, *([node.module] if node.module else [])])
                found += [f"{base}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__"):
                found += [a.value for a in node.args[:1] if is_text(a)]  # type: ignore[attr-defined]
        return found


def complaints_of(
    rules: Iterable[Callable[[File], Iterable[str]]], files: Iterable[File]
) -> dict[str, list[str]]:
    """Name of each rule -> its complaints about the files; one pass, so that every file is parsed once."""
    rules = list(rules)
    found: dict[str, list[str]] = {rule.__name__: [] for rule in rules}
    for file in files:
        for rule in rules:
            found[rule.__name__] += [f"{file.path}: {complaint}" for complaint in rule(file)]
    return found


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def is_text(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def starts_with(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@cache  # trees of several seconds, shared by all tests of a process
def project_files() -> list[File]:
    paths = [p for folder in FOLDERS for p in sorted((ROOT / folder).rglob("*")) if p.suffix in SUFFIXES]
    return [File(p.relative_to(ROOT).as_posix(), p.read_text(encoding="utf-8")) for p in paths]
