"""Every command and code block of README.md and docs/ works.

The blocks of a page run from top to bottom in one folder, those of Python in one namespace. Models of the Hub
become a tiny folder, and runs are cut short (`SHORT`). A block that `needs` what no test has is parsed.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from dupo.config.command_line import parse, program_named
from dupo.config.config import OPTIONS, PROGRAMS
from dupo.config.doors import DOORS
from tests.docs import given
from tests.helpers.doc_blocks import PAGES, Block, blocks_of, commands_of, is_plain, lines_of, own_program
from tests.helpers.project import ROOT
from tests.helpers.worlds import save_tiny

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
SHELL = [block for block in BLOCKS if block.language == "bash"]
OF_HUB = re.compile(r"(Qwen|meta-llama)/[\w.-]+")
# At most so much of each, so that a run takes seconds.
SHORT = {"max_steps": 2, "generation_batch_size": 8, "train_batch_size": 8, "num_generations": 4}
SHORT |= {"max_completion_length": 12, "dual_max_completion_length": 12, "num_problems": 6, "vote_samples": 8}
SHORT |= {"eval_size": 4, "num_threads": 1}
# Shortened where a command names them, and left alone where not.
IF_NAMED = ("train_batch_size", "vote_samples", "dual_max_completion_length")


def method_of(options: list[str]) -> str:
    return options[options.index("--method") + 1] if "--method" in options else "dupo"


def has_options_of_config(program: str) -> bool:
    return program == "train" or program in PROGRAMS


def shortened(program: str, options: list[str]) -> list[str]:
    """The options with the small model and small sizes."""
    if not has_options_of_config(program) or "--resume_from_checkpoint" in options or "--help" in options:
        return options
    options = [OF_HUB.sub("tiny_model", word) for word in options]
    # A file of options may name a model of the Hub.
    if "--config" in options and "--model_name_or_path" not in options:
        options += ["--model_name_or_path", "tiny_model"]
    built_in = "--model_name_or_path" not in options
    for name in program_named(program, method_of(options)).names:
        if name not in SHORT or (built_in and name.endswith("max_completion_length")):
            continue
        flag, most = f"--{name}", SHORT[name]
        if flag in options:
            place = options.index(flag) + 1
            options[place] = str(min(int(options[place]), most))
        elif name not in IF_NAMED:
            options += [flag, str(most)]
    return options


def run_command(words: list[str]) -> None:
    """Runs a command: a program of dupo in this process, any other in one of its own."""
    own = own_program(words)
    if own is None:
        words = [sys.executable, *words[1:]] if words[0] == "python" else words
        subprocess.run(words, check=True, capture_output=True, timeout=120)
        return
    program, options = own
    try:
        code = import_module(f"dupo.{program}").main(shortened(program, options))
    except SystemExit as done:  # of a help
        code = done.code
    assert not code, f"exit code {code} of {words}"


def run_in_shell(line: str, bin_folder: Path) -> None:
    """Runs a line that needs a shell, which finds this dupo and this Python."""
    path = os.pathsep.join([str(bin_folder), os.environ["PATH"]])
    packages = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    home = {"HOME": str(Path.cwd())}  # no page writes into the home of who runs the tests
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line],
        env={**os.environ, **home, "PATH": path, "PYTHONPATH": packages},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def run_block(block: Block, names: dict[str, Any], bin_folder: Path) -> None:
    if block.title:
        path = Path(block.title)
        assert not path.is_absolute() and ".." not in path.parts
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
    elif block.language == "python":
        exec(compile(block.text, block.place, "exec"), names)
    elif block.language == "bash":
        for line in lines_of(block.text):
            if is_plain(line):
                for words in commands_of(line):
                    run_command(words)
            else:
                run_in_shell(line, bin_folder)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights that takes any text."""
    folder = tmp_path_factory.mktemp("docs")
    given.write_files(folder)
    options = ["--task", "word_problems", "--dataset", str(folder / "train.jsonl")]
    return save_tiny(folder / "tiny_model", 0, *options)


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a page runs, with the model and the files that pages take for granted."""
    shutil.copytree(tiny_model, tmp_path / "tiny_model")
    given.write_files(tmp_path)
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    # A link to a Python would leave its environment.
    for name, command in {"python": sys.executable, "dupo": f"{sys.executable} -m dupo"}.items():
        (bin_folder / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (bin_folder / name).chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # as for a script in the folder
    before = set(sys.modules)
    yield tmp_path
    # Modules that the page wrote: another page may write others of these names.
    for module in set(sys.modules) - before:
        if str(getattr(sys.modules[module], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[module]


IN_CI = ("README.md", "docs/tutorial.md", "docs/korean.md")  # what a newcomer reads


def marks_of(page: Path) -> list[pytest.MarkDecorator]:
    """Slow is a page that runs programs, as commands or from Python."""
    run = [block for block in blocks_of(page) if not block.needs]
    if not any(block.language == "bash" or "dupo.api" in block.text for block in run):
        return []
    is_in_ci = page.relative_to(ROOT).as_posix() in IN_CI
    return [pytest.mark.slow] if is_in_ci else [pytest.mark.slow, pytest.mark.full]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.relative_to(ROOT).as_posix(), marks=marks_of(page))
        for page in PAGES
        if any(not block.needs for block in blocks_of(page))
    ],
)
def test_page_runs(page: Path, folder: Path) -> None:
    name = page.relative_to(ROOT).as_posix()
    names = given.NAMES.get(name, dict)()
    check: Callable[[int, dict[str, Any]], None] = given.CHECKS.get(name, lambda number, names: None)
    for number, block in enumerate(blocks_of(page)):
        if not block.needs:
            run_block(block, names, folder / "bin")
            check(number, names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_blocks_are_of_kinds_that_are_run(page: Path) -> None:
    """A block of another language would be run by nobody: it is a file, with a title, or has no language."""
    unknown = [b.place for b in blocks_of(page) if not b.title and b.language not in ("bash", "python")]
    assert not unknown


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.place)
def test_commands_have_options_that_there_are(block: Block, folder: Path) -> None:
    """Of all blocks, so that a renamed option fails at once; those that `needs` are tested by this alone."""
    check = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True)
    assert check.returncode == 0, check.stderr
    for line in lines_of(block.text):
        for words in commands_of(line):
            own = own_program(words)
            if own is None or own[0] == "__main__" or "--help" in own[1]:
                continue
            program, options = own
            if not has_options_of_config(program):
                import_module(f"dupo.{program}").parser().parse_args(options)
            elif "--resume_from_checkpoint" not in options:  # asks for the run
                parse(options, program)


PAGE = """
```
shown
```

<!-- needs: network -->
```bash
hf download a  # not run
```

- a list
  ```csv title="a.csv"
  question

  Why?
  ```

```bash
A=1 dupo train --seed 1 \\
    --max_steps 2 && python -m dupo.audit  # two
```
"""


def test_blocks_and_commands_are_read(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    network, file, bash = blocks_of(page)
    assert (network.needs, network.text, network.line) == ("network", "hf download a  # not run\n", 6)
    assert (file.title, file.text, file.needs) == ("a.csv", "question\n\nWhy?\n", None)
    (line,) = lines_of(bash.text)
    assert [own_program(words) for words in commands_of(line)] == [
        ("train", ["--seed", "1", "--max_steps", "2"]),
        ("audit", []),
    ]
    assert is_plain(line) and not is_plain("dupo report a > b")
    assert own_program(["dupo", "--help"]) == ("__main__", ["--help"]) and own_program(["ls"]) is None
    started = ["torchrun", "--nproc-per-node", "2", "-m", "dupo.train", "--seed", "1"]
    assert own_program(started) == ("train", ["--seed", "1"])


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language == "python"], ids=lambda block: block.place
)
def test_python_compiles(block: Block) -> None:
    compile(block.text, block.place, "exec")


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language == "yaml"], ids=lambda block: block.place
)
def test_yaml_is_yaml(block: Block) -> None:
    assert all(isinstance(document, dict | list) for document in yaml.safe_load_all(block.text))


def test_the_task_of_the_page_is_the_one_that_a_run_tries() -> None:
    """tests/tasks/test_adding_a_task.py trains with that file."""
    (task,) = (b for b in blocks_of(ROOT / "docs/howto/own_task.md") if b.title == "reverse.py")
    assert task.text == (ROOT / "tests/tasks/reverse_task.py").read_text(encoding="utf-8")


# Of other programs: hf, pip, xcode-select, pytest, and our scripts in bench/.
OF_OTHERS = {
    "dtype",
    "logprobs-mode",
    "worker-extension-cls",
    "repo-type",
    "no-deps",
    "install",
    "benchmark-only",
    "results",
    "full",
    "votes",
    "step",
    "references",
    "ipc",  # of containers
    "tiny",  # of the bench
    "nproc-per-node",  # of torchrun
    "node-rank",
    "max-restarts",
    "signal",  # of scancel
}
# Their names are those of other trainers; tests/peers/test_trl_options.py tests the ones of TRL.
OF_TRAINERS = {ROOT / "docs/trl.md", ROOT / "docs/other_trainers.md"}


@cache
def known_options() -> set[str]:
    """The options of all programs, without --."""
    others = [import_module(f"dupo.{door}").parser() for door in DOORS if not has_options_of_config(door)]
    flags = {flag for parser in others for action in parser._actions for flag in action.option_strings}
    return {flag.lstrip("-") for flag in flags} | {*OPTIONS, "config", "version", "help"}


@pytest.mark.parametrize(
    "page", [p for p in PAGES if p not in OF_TRAINERS], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_options_that_a_text_names_exist(page: Path) -> None:
    text = re.sub(r"(?s)^ *```.*?```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    spans = re.findall(r"`([^`\n]+)`", text)
    named = {name for span in spans for name in re.findall(r"(?:^| )--([a-z][\w-]+)", span)}
    unknown = {name for name in named - OF_OTHERS if name.removeprefix("no_") not in known_options()}
    assert not unknown


LINK = re.compile(r"!?\[[^\]\n]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize(
    "page", [*PAGES, *ROOT.glob("*.md")], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_links_lead_to_files(page: Path) -> None:
    """As on a host of git: relative to the page."""
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    files = [target.partition("#")[0] for target in targets if not re.match(r"https?://|#|mailto:", target)]
    missing = [file for file in files if not (page.parent / file).exists()]
    assert not missing
