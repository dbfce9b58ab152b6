"""The shape of the code, read from its source text: who may import whom, and how large a piece may grow.

A rule is a function from one file to the complaints it has about it. Every rule meets every file of the
project, then one text that breaks it and one that only looks as if it did.
"""

import ast
import re
import statistics
import sys
from collections.abc import Callable, Iterator

import pytest

from dupo.config import doors
from tests.helpers.project import ROOT
from tests.helpers.source import File, called, complaints_of, is_text, project_files, starts_with

# Room of dupo -> what the room may import beside itself: rooms, or single modules of a room.
NOUNS = {
    "records",
    "errors",
    "seeds",
    "progress",
    "phases",
    "plugins",
    "user_files",
    "distributed",
    "process",
}
READS_DATA = NOUNS | {"config", "data", "text", "tasks"}
COMPUTES = READS_DATA | {"models", "engines", "duality", "rewards", "learning", "evaluation"}
ROOMS: dict[str, set[str]] = {
    "records": set(),
    "errors": set(),
    "seeds": set(),
    "progress": set(),
    "phases": set(),
    "process": set(),
    "distributed": {"errors"},
    "plugins": {"errors"},
    "user_files": {"errors"},
    "storage": NOUNS,
    "config": NOUNS | {"storage"},
    "data": NOUNS | {"config"},
    "text": NOUNS,
    "tasks": NOUNS | {"config", "data", "text"},
    "views": NOUNS | {"config", "storage"},
    "models": NOUNS | {"config", "text"},
    "engines": READS_DATA | {"models"},
    "duality": READS_DATA | {"models", "engines"},
    "rewards": READS_DATA
    | {"models", "engines", "duality", "learning"},  # a reward model scores packed texts
    "learning": NOUNS | {"config", "text", "models"},
    "evaluation": READS_DATA | {"engines", "duality", "rewards"},
    "methods": COMPUTES,
    "planning": NOUNS | {"config", "models", "machine.facts", "engines.slot_cache", "views"},
    "run": COMPUTES
    | {"storage", "views", "methods.base", "planning"},  # a run knows what a method is, and none by name
    "machine": NOUNS | {"storage.signature"},  # for the versions of packages
    "api": NOUNS | {"config", "data", "storage", "views", "run"},
    "metrics": set(),  # a user names them; they also run in an environment without dupo
    "trust": COMPUTES | {"methods", "run", "storage", "views"},
    # Nothing imports an integration: it needs the trainer of others that it is for.
    "integrations": COMPUTES,
}
# Nothing imports a door by name. `__main__` is the command `dupo`.
DOORS = {*doors.DOORS, "__main__"}
USES_TRANSFORMERS = {"dupo/text", "dupo/models", "dupo/engines", "dupo/integrations"}
FACE_OF_EXTENSION = "dupo/text/extension.py"
# Python puts these folders on sys.path when a file in them is run. One door bears a name of the standard
# library by decree.
RUN_AS_SCRIPTS = {"dupo", "bench", "bench/evidence", "bench/loss_head", "bench/text", "examples", "kernels"}
RUN_AS_SCRIPTS |= {"dupo/metrics"}
RUN_AS_SCRIPTS |= {"tests", "tests/repo", "tests/peers", "tests/kernels", "tests/kernels/hidden"}
DECREED_NAME = "dupo/select.py"
KERNELS_MAY_IMPORT = sys.stdlib_module_names | {"torch", "dupo_kernels"}

MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_POSITIONAL, MEDIAN_FILE_LINES = 400, 60, 8, 140


# --- imports ---


def rooms_import_what_they_may(file: File) -> Iterator[str]:
    if not file.under("dupo"):
        return
    here = file.path.split("/")[1].removesuffix(".pyi").removesuffix(".py")
    if here not in {*ROOMS, *DOORS, "__init__", "_C"}:
        yield f"{here} is neither a room nor a door"
        return
    allowed = ROOMS.get(here, set(ROOMS) if here in DOORS else set()) | {here}
    for name in file.imports:
        target = name.removeprefix("dupo.") if name.startswith("dupo.") else ""
        if target.split(".")[0] in {*ROOMS, *DOORS} and not any(
            starts_with(target, room) for room in allowed
        ):
            yield f"imports {name}, which {here} may not"


def packages_stay_apart(file: File) -> Iterator[str]:
    if file.under("kernels", "dupo"):
        yield from (f"imports {n}" for n in file.imports if n.split(".")[0] in ("bench", "tests", "examples"))
    if file.under("kernels"):
        allowed = KERNELS_MAY_IMPORT | ({"triton"} if file.name == "_triton.py" else set())
        yield from (f"imports {name}" for name in file.imports if name.split(".")[0] not in allowed)


def extension_has_one_face(file: File) -> Iterator[str]:
    if file.under("dupo", "kernels") and file.path != FACE_OF_EXTENSION:
        yield from (f"imports {name}" for name in file.imports if starts_with(name, "dupo._C"))


def transformers_is_confined(file: File) -> Iterator[str]:
    if file.under("dupo") and not file.path.startswith(tuple(USES_TRANSFORMERS)):
        yield from (f"imports {name}" for name in file.imports if starts_with(name, "transformers"))


def triton_stays_in_kernels(file: File) -> Iterator[str]:
    if file.under("dupo"):
        yield from (f"imports {name}" for name in file.imports if starts_with(name, "triton"))


def imports_are_not_tried(file: File) -> Iterator[str]:
    if not file.under("kernels", "dupo"):
        return
    for node in file.nodes:
        if not isinstance(node, ast.Try):
            continue
        inside = [n for statement in node.body for n in ast.walk(statement)]
        caught = [n for h in node.handlers if h.type for n in ast.walk(h.type) if isinstance(n, ast.Name)]
        if node.handlers and any(isinstance(n, ast.Import | ast.ImportFrom) for n in inside):
            yield f"line {node.lineno}: an import inside try/except; look with find_spec"
        if any(n.id in ("ImportError", "ModuleNotFoundError") for n in caught):
            yield f"line {node.lineno}: catches a failed import; look with find_spec"


def interpreter_is_the_users_choice(file: File) -> Iterator[str]:
    """Reading TRITON_INTERPRET is fine, putting it anywhere is not."""
    if not file.under("kernels", "dupo"):
        return
    for node in file.nodes:
        written: list[ast.expr | None] = []
        if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            written = [node.slice]
        elif isinstance(node, ast.Dict):
            written = list(node.keys)
        elif isinstance(node, ast.Call) and called(node) in ("setdefault", "putenv", "setenv"):
            written = list(node.args[:1])
        elif isinstance(node, ast.keyword) and node.arg == "TRITON_INTERPRET":
            yield f"line {node.lineno}: sets TRITON_INTERPRET"
        if any(is_text(key) and key.value == "TRITON_INTERPRET" for key in written):  # type: ignore[union-attr]
            yield f"line {node.lineno}: sets TRITON_INTERPRET"  # type: ignore[attr-defined]


def cpp_knows_python_in_one_place(file: File) -> Iterator[str]:
    if not file.under("csrc"):
        return
    for system, own in re.findall(r'#\s*include\s*(?:<([^>]+)>|"([^"]+)")', file.source):
        if system.startswith("pybind11") or system == "Python.h":
            if not re.fullmatch(r"module\.cpp|bindings_\w+\.cpp", file.name):
                yield f"includes <{system}>"
        elif "/" in system or "." in system or "/" in own:
            yield f"includes {system or own}, which is neither the standard library nor a file of csrc/"


# --- names and sizes ---


def names_shadow_nothing(file: File) -> Iterator[str]:
    folder, _, name = file.path.removesuffix("/__init__.py").rpartition("/")
    module = name.removesuffix(".pyi").removesuffix(".py")
    # `python dupo/train.py` puts dupo/ in front of the standard library.
    shadows = folder in RUN_AS_SCRIPTS and module in sys.stdlib_module_names and file.path != DECREED_NAME
    if shadows or file.name in ("kernels.py", "types.py", "math.py"):
        yield "shadows another module when its folder is on sys.path"
    if file.path == "kernels/__init__.py":
        yield "would stand in front of Hugging Face's `kernels` and break transformers"


def files_are_short(file: File) -> Iterator[str]:
    if file.lines > MAX_FILE_LINES:
        yield f"{file.lines} lines, at most {MAX_FILE_LINES}"


def functions_are_short(file: File) -> Iterator[str]:
    """Triton kernels are exempt. The docstring of a keyword-only public entry point in kernels/ is not
    counted: it is the reference page of a dozen arguments."""
    if not file.under("kernels", "dupo", "bench"):
        return
    for node in file.nodes:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        # A kernel's arguments, and those of an op, are a flat list by their nature.
        flat = r"\b(_?jit|custom_op|register_fake)\b"
        if any(re.search(flat, ast.unparse(decorator)) for decorator in node.decorator_list):
            continue
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if file.under("kernels") and not node.name.startswith("_") and node.args.kwonlyargs:
            length -= len((ast.get_docstring(node, clean=False) or "").splitlines())
        if length > MAX_FUNCTION_LINES:
            yield f"{node.name}: {length} lines, at most {MAX_FUNCTION_LINES}"
        names = [a.arg for a in node.args.posonlyargs + node.args.args]
        positional = len(names) - (names[:1] in (["self"], ["cls"], ["ctx"]))
        if positional > MAX_POSITIONAL:
            yield f"{node.name}: {positional} positional arguments, at most {MAX_POSITIONAL}"


RULES: list[Callable[[File], Iterator[str]]] = [
    rooms_import_what_they_may,
    packages_stay_apart,
    extension_has_one_face,
    transformers_is_confined,
    triton_stays_in_kernels,
    imports_are_not_tried,
    interpreter_is_the_users_choice,
    cpp_knows_python_in_one_place,
    names_shadow_nothing,
    files_are_short,
    functions_are_short,
]


@pytest.fixture(scope="module")
def complaints() -> dict[str, list[str]]:
    return complaints_of(RULES, project_files())


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_project_keeps(rule: Callable[[File], Iterator[str]], complaints: dict[str, list[str]]) -> None:
    assert not complaints[rule.__name__], "\n".join(complaints[rule.__name__])


def test_every_folder_is_looked_at() -> None:
    seen = {file.path.split("/")[0] for file in project_files()}
    assert {"dupo", "bench", "csrc", "tests"} <= seen


def test_median_file_is_short() -> None:
    sizes = [file.lines for file in project_files() if file.under("kernels", "dupo", "bench", "csrc")]
    assert statistics.median(sizes) <= MEDIAN_FILE_LINES, sorted(sizes)


def test_loop_fits_one_screen() -> None:
    """`train` reads as the method; the general cap would hold it to the same length, but not to its name."""
    path = ROOT / "dupo/train.py"
    if not path.is_file():
        pytest.skip("no dupo/train.py")
    functions = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef)]
    sizes = [(n.end_lineno or 0) - n.lineno + 1 for n in functions if n.name == "train"]
    assert len(sizes) == 1
    assert sizes[0] <= MAX_FUNCTION_LINES


LONG = "\n".join(["def f():", *["    x = 1"] * MAX_FUNCTION_LINES])
LONG_DOCSTRING = "-\n" * MAX_FUNCTION_LINES
MANY = ", ".join(f"a{i}" for i in range(MAX_POSITIONAL + 1))
KERNEL = "kernels/dupo_kernels/hidden/logprobs.py"

BROKEN = [
    (rooms_import_what_they_may, "dupo/config/options.py", "import dupo.models.load"),
    (rooms_import_what_they_may, "dupo/config/options.py", "from dupo.models.load import load"),
    (rooms_import_what_they_may, "dupo/config/options.py", "from dupo import models"),
    (rooms_import_what_they_may, "dupo/config/options.py", "from .. import models"),
    (rooms_import_what_they_may, "dupo/config/options.py", "from ..models import load"),
    (rooms_import_what_they_may, "dupo/config/options.py", "def f():\n    from dupo.models.load import load"),
    (rooms_import_what_they_may, "dupo/config/options.py", "importlib.import_module('dupo.models.load')"),
    (rooms_import_what_they_may, "dupo/tasks/arithmetic.py", "from ..models import load"),
    (rooms_import_what_they_may, "dupo/models/load.py", "from dupo.train import train"),
    (rooms_import_what_they_may, "dupo/__main__.py", "from dupo import train"),
    (rooms_import_what_they_may, "dupo/__init__.py", "from dupo.train import train"),
    (rooms_import_what_they_may, "dupo/utils.py", ""),
    (packages_stay_apart, KERNEL, "from dupo.records import Batch"),
    (packages_stay_apart, KERNEL, "import numpy as np"),
    (packages_stay_apart, KERNEL, "import triton"),
    (packages_stay_apart, "dupo/train.py", "from bench.harness import timed"),
    (extension_has_one_face, "dupo/engines/builtin.py", "from dupo import _C"),
    (extension_has_one_face, "dupo/engines/builtin.py", "from dupo._C import pack"),
    (extension_has_one_face, "dupo/text/batching.py", "from dupo import _C"),
    (transformers_is_confined, "dupo/train.py", "from transformers import AutoModel"),
    (triton_stays_in_kernels, "dupo/models/load.py", "import triton.language as tl"),
    (imports_are_not_tried, KERNEL, "try:\n    import triton\nexcept Exception:\n    triton = None"),
    (
        imports_are_not_tried,
        "dupo/storage/run_folder.py",
        "try:\n    f('wandb')\nexcept (ImportError, OSError):\n    pass",
    ),
    (interpreter_is_the_users_choice, KERNEL, "os.environ['TRITON_INTERPRET'] = '1'"),
    (interpreter_is_the_users_choice, KERNEL, "os.environ.setdefault('TRITON_INTERPRET', '1')"),
    (interpreter_is_the_users_choice, KERNEL, "os.environ.update({'TRITON_INTERPRET': '1'})"),
    (interpreter_is_the_users_choice, KERNEL, "os.environ.update(TRITON_INTERPRET='1')"),
    (cpp_knows_python_in_one_place, "csrc/batches_packing.cpp", "#include <pybind11/numpy.h>"),
    (cpp_knows_python_in_one_place, "csrc/module.cpp", "#include <torch/extension.h>"),
    (names_shadow_nothing, "bench/kernels.py", ""),
    (names_shadow_nothing, "dupo/tasks/math.py", ""),
    (names_shadow_nothing, "dupo/numbers/__init__.py", ""),
    (names_shadow_nothing, "bench/statistics.py", ""),
    (names_shadow_nothing, "kernels/__init__.py", ""),
    (files_are_short, "csrc/packing.cpp", "\n" * (MAX_FILE_LINES + 1)),
    (functions_are_short, "dupo/storage/run_folder.py", LONG),
    (functions_are_short, KERNEL, LONG),
    (functions_are_short, "dupo/storage/run_folder.py", f"def f({MANY}): ..."),
    (functions_are_short, KERNEL, f"def f({MANY}): ..."),
]

KEPT = [
    (rooms_import_what_they_may, "dupo/config/options.py", "from dupo import __version__\nimport policy"),
    (rooms_import_what_they_may, "dupo/models/load.py", "from ..records import Batch\nfrom dupo import text"),
    (rooms_import_what_they_may, "dupo/tasks/arithmetic.py", "from dupo.tasks.final_answer import normalise"),
    (rooms_import_what_they_may, "dupo/train.py", "from dupo import run"),
    (packages_stay_apart, "kernels/dupo_kernels/_triton.py", "import triton"),
    (packages_stay_apart, KERNEL, "import torch\nfrom dupo_kernels._triton import tl\nfrom . import weights"),
    (extension_has_one_face, "dupo/text/extension.py", "import_module('dupo._C')"),
    (transformers_is_confined, "dupo/models/load.py", "from transformers import AutoModel"),
    (triton_stays_in_kernels, "dupo/models/load.py", "find_spec('triton')"),
    (
        imports_are_not_tried,
        "dupo/storage/run_folder.py",
        "import json\ntry:\n    f()\nexcept ValueError:\n    pass",
    ),
    (interpreter_is_the_users_choice, KERNEL, "on = os.environ['TRITON_INTERPRET'] == '1'"),
    (interpreter_is_the_users_choice, KERNEL, "on = os.environ.get('TRITON_INTERPRET')"),
    (cpp_knows_python_in_one_place, "csrc/bindings_x.cpp", "#include <pybind11/numpy.h>\n#include <set>"),
    (names_shadow_nothing, "kernels/dupo_kernels/__init__.py", ""),
    (names_shadow_nothing, "dupo/select.py", ""),
    (names_shadow_nothing, "dupo/text/numbers/__init__.py", ""),
    (files_are_short, "csrc/packing.cpp", "\n" * MAX_FILE_LINES),
    (functions_are_short, KERNEL, f"@triton.jit(do_not_specialize=['n'])\n{LONG}"),
    (functions_are_short, KERNEL, f"def f(x, *, {MANY}):\n    '''{LONG_DOCSTRING}'''"),
]


@pytest.mark.parametrize(("rule", "path", "source"), BROKEN)
def test_rule_catches(rule: Callable[[File], Iterator[str]], path: str, source: str) -> None:
    assert list(rule(File(path, source)))


@pytest.mark.parametrize(("rule", "path", "source"), KEPT)
def test_rule_allows(rule: Callable[[File], Iterator[str]], path: str, source: str) -> None:
    assert not list(rule(File(path, source)))


def test_every_rule_is_shown_to_catch() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(RULES) == {rule for rule, _, _ in KEPT}
