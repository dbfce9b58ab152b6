"""How the code reads: docstrings, comments, names, doors, imports at the top, and no circle of modules.

The rules look at source text, as those of tests/test_architecture.py do. A rule meets every file, then a text
that breaks it and one that only looks as if it did.
"""

import ast
import statistics
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

import pytest

from dupo.config import doors
from tests.helpers.source import File, complaints_of, project_files

DOORS = {f"dupo/{name}.py" for name in (*doors.DOORS, "__main__")}
# Imported where they are used: packages that are not always there, and modules that not every torch has.
OPTIONAL = {"flash_attn", "flash_attn.cute"}
OPTIONAL |= {"torch.nn.attention.varlen", "torch.distributed.tensor", "py3langid", "triton"}
OPTIONAL |= {"pyarrow", "huggingface_hub"}  # of data sets that need them
OPTIONAL |= {"comet", "bleurt_pytorch"}  # of learned metrics
OPTIONAL |= {"torch.utils.tensorboard", "wandb", "trackio"}  # of trackers
OPTIONAL |= {"IPython.display"}  # of notebooks
OPTIONAL |= {"peft", "peft.tuners.lora"}  # of adapters
OPTIONAL |= {"shtab"}  # of the completion of shells
OPTIONAL |= {"vllm", "vllm.config.lora", "vllm.lora.request"}  # an engine
OPTIONAL |= {"math_verify", "sympy"}  # of answers that are formulas
# Of moments in 8 bits.
OPTIONAL |= {"torchao.optim", "torchao.optim.subclass_8bit", "torchao.optim.quant_utils"}
VAGUE = {"found", "made", "given", "kept", "part", "one", "each", "some"}
MEDIAN_LINES, DOOR_LINES, COMMENTS = 120, 60, (0.05, 0.10)


def functions(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
            yield inner


def imports_stand_at_the_top(file: File) -> Iterator[str]:
    """Only a door imports inside a function: its help does not wait for torch."""
    if not file.under("dupo", "kernels") or file.path in DOORS:
        return
    for function in functions(file.tree):
        for node in ast.walk(function):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            yield from (
                f"line {node.lineno}: {function.name} imports {name}"  # type: ignore[attr-defined]
                for name in names
                if name not in OPTIONAL
            )


def names_say_something(file: File) -> Iterator[str]:
    if not file.under("dupo", "kernels", "bench"):
        return
    for node in file.nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in VAGUE:
            yield f"line {node.lineno}: assigns {node.id}"


def public_things_have_docstrings(file: File) -> Iterator[str]:
    if not file.under("dupo", "kernels", "bench") or file.name.startswith("bench_"):
        return
    classes = [node for node in file.tree.body if isinstance(node, ast.ClassDef)]
    for node in [*file.tree.body, *(member for public in classes for member in public.body)]:
        is_definition = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if is_definition and not node.name.startswith("_") and ast.get_docstring(node) is None:
            yield f"line {node.lineno}: {node.name} has no docstring"


def doors_are_thin_and_guarded(file: File) -> Iterator[str]:
    """A door that is started as a file says how to start it. Before that it imports only sys: the folder
    dupo/ then stands first on sys.path and holds a select.py."""
    if file.path not in DOORS:
        return
    if file.lines > DOOR_LINES:
        yield f"{file.lines} lines, at most {DOOR_LINES}"
    body = file.tree.body[1:]
    opening = [ast.unparse(node) for node in body[:2]]
    name = PurePosixPath(file.path).stem
    module = "dupo" if name == "__main__" else f"dupo.{name}"
    guard = f"if not __package__:\n    sys.exit('run it as a module: python -m {module}')"
    if opening != ["import sys", guard]:
        yield "does not open with the guard"


def tests_patch_no_strings(file: File) -> Iterator[str]:
    """A patch by a dotted string bites only while that module looks the name up: hand in a fake."""
    if not file.under("tests"):
        return
    for node in file.nodes:
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("setattr", "patch"):
            target = node.args[0] if node.args else None
            if isinstance(target, ast.Constant) and str(target.value).startswith(("dupo.", "dupo_kernels.")):
                yield f"line {node.lineno}: patches {target.value!r}"


RULES: list[Callable[[File], Iterator[str]]] = [
    imports_stand_at_the_top,
    names_say_something,
    public_things_have_docstrings,
    doors_are_thin_and_guarded,
    tests_patch_no_strings,
]


@pytest.fixture(scope="module")
def files() -> list[File]:
    """All files; a tree is parsed once for all tests of this module."""
    return project_files()


@pytest.fixture(scope="module")
def complaints(files: list[File]) -> dict[str, list[str]]:
    return complaints_of(RULES, (file for file in files if file.name.endswith(".py")))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_project_keeps(rule: Callable[[File], Iterator[str]], complaints: dict[str, list[str]]) -> None:
    assert not complaints[rule.__name__], "\n".join(complaints[rule.__name__])


def test_no_module_imports_itself_in_a_circle(files: list[File]) -> None:
    """Whatever stands in a function or under TYPE_CHECKING counts: a circle is one wherever it closes."""
    modules: dict[str, File] = {}
    for file in files:
        if file.under("dupo", "kernels", "bench") and file.name.endswith(".py"):
            dotted = file.path.removeprefix("kernels/").removesuffix(".py").replace("/", ".")
            modules[dotted.removesuffix(".__init__")] = file
    edges = {name: {module_of(target, modules) for target in file.imports} for name, file in modules.items()}
    done, path = set[str](), list[str]()

    def visit(name: str) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        path.append(name)
        for target in sorted(edges[name] - {"", name}):
            visit(target)
        done.add(path.pop())

    for name in modules:
        visit(name)


def module_of(target: str, modules: dict[str, File]) -> str:
    """The module that an import of `a.b.c` reads: a.b.c, or a.b that holds c; "" for a module of others."""
    if target in modules:
        return target
    parent = target.rpartition(".")[0]
    return parent if parent in modules else ""


@pytest.mark.parametrize("folder", ["dupo", "kernels"])
def test_files_are_short_and_comments_say_why(folder: str, files: list[File]) -> None:
    sources = [file for file in files if file.under(folder) and file.name.endswith(".py")]
    sizes = [file.lines for file in sources]
    assert statistics.median(sizes) <= MEDIAN_LINES, sorted(sizes)
    share = sum(file.comments for file in sources) / sum(sizes)
    assert COMMENTS[0] <= share <= COMMENTS[1], f"{share:.1%} of the lines have a comment"


BROKEN = [
    (imports_stand_at_the_top, "dupo/tasks/x.py", "def f():\n    from dupo.records import Problem"),
    (
        imports_stand_at_the_top,
        "kernels/dupo_kernels/x.py",
        "class A:\n    def f(s):\n        import json",
    ),
    (names_say_something, "dupo/x.py", "for each in rows:\n    pass"),
    (names_say_something, "bench/x.py", "found, value = f()"),
    (public_things_have_docstrings, "dupo/x.py", "class A:\n    '''A.'''\n    def f(self): ..."),
    (public_things_have_docstrings, "kernels/dupo_kernels/x.py", "def f(): ..."),
    (doors_are_thin_and_guarded, "dupo/audit.py", "'''A.'''\nimport os\nimport sys"),
    (
        doors_are_thin_and_guarded,
        "dupo/audit.py",
        "'''A.'''\nimport sys\nif not __package__:\n    sys.exit('x')",
    ),
    (tests_patch_no_strings, "tests/x.py", "monkeypatch.setattr('dupo.train.main', f)"),
]
GUARD = "import sys\nif not __package__:\n    sys.exit('run it as a module: python -m dupo.audit')\n"
KEPT = [
    (imports_stand_at_the_top, "dupo/train.py", "def f():\n    from dupo.run.training import TrainingRun"),
    (imports_stand_at_the_top, "dupo/x.py", "def f():\n    from flash_attn import g"),
    (names_say_something, "dupo/x.py", "print(found)\nparts = 1"),
    (public_things_have_docstrings, "dupo/x.py", "def _f(): ...\ndef f():\n    '''F.'''\n    def g(): ..."),
    (doors_are_thin_and_guarded, "dupo/audit.py", f"'''A.'''\n{GUARD}import os"),
    (tests_patch_no_strings, "tests/x.py", "monkeypatch.setattr(train, 'main', f)"),
]


@pytest.mark.parametrize(("rule", "path", "source"), BROKEN)
def test_rule_catches(rule: Callable[[File], Iterator[str]], path: str, source: str) -> None:
    assert list(rule(File(path, source)))


@pytest.mark.parametrize(("rule", "path", "source"), KEPT)
def test_rule_allows(rule: Callable[[File], Iterator[str]], path: str, source: str) -> None:
    assert not list(rule(File(path, source)))


def test_every_rule_is_shown_to_catch() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(RULES) == {rule for rule, _, _ in KEPT}
