"""Shells complete programs, options, choices and paths: real shells are asked, where they are installed."""

import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from dupo.completion import main
from dupo.config.completion import SHELLS
from dupo.config.doors import DOORS
from tests.helpers.project import RunPython

pytest.importorskip("shtab")
# A command line as far as it is typed -> words that the shell offers, or the one that it completes.
CASES = [
    ("dupo ", list(DOORS)),
    ("dupo tr", ["train"]),
    ("dupo train --los", ["--loss_type"]),
    ("dupo train --loss_type ", ["grpo", "dapo", "vespo"]),
    ("dupo train --strict ", ["true", "false"]),
    ("dupo completion ", list(SHELLS)),
    ("dupo doctor --", ["--json"]),
    ("dupo rerank --dataset ques", ["questions.jsonl"]),
    ("dupo report ques", ["questions.jsonl"]),
]
BASH = """
source "$1"
words=($2); [[ $2 == *" " ]] && words+=("")
COMP_WORDS=("${words[@]}"); COMP_CWORD=$((${#words[@]} - 1)); COMP_LINE=$2; COMP_POINT=${#2}
_shtab_dupo dupo "${words[-1]}" "${words[-2]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
QUIET = 0.4  # seconds in which a terminal writes nothing once it has answered


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the script of every shell, and with a file that may be completed."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "questions.jsonl").touch()
    for shell in SHELLS:
        with pytest.MonkeyPatch.context() as patch, (folder / f"_dupo.{shell}").open("w") as file:
            patch.setattr("sys.stdout", file)
            assert main([shell]) == 0
    return folder


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("typed", "offered"), CASES)
def test_a_shell_completes(shell: str, typed: str, offered: list[str], scripts: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    ask = {"bash": in_bash, "fish": in_fish, "zsh": in_zsh}[shell]
    answer = ask(scripts, typed)
    assert all(word in answer for word in offered), answer


def in_bash(folder: Path, typed: str) -> str:
    """What the function of the script puts into COMPREPLY."""
    command = ["bash", "--norc", "-c", BASH, "bash", str(folder / "_dupo.bash"), typed]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def in_fish(folder: Path, typed: str) -> str:
    """What fish says that it would offer."""
    command = ["fish", "-c", 'source $argv[1]; complete -C "$argv[2]"', str(folder / "_dupo.fish"), typed]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def in_zsh(folder: Path, typed: str) -> str:
    """What zsh writes to a terminal after a Tab; no other way asks its completion."""
    (folder / "functions").mkdir(exist_ok=True)
    shutil.copy(folder / "_dupo.zsh", folder / "functions" / "_dupo")
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.environ.update(TERM="dumb", ZDOTDIR=str(folder))
        os.execvp("zsh", ["zsh", "-f", "-i"])
    # The quotes keep the echo of the line apart from what the line prints.
    start = "fpath=($PWD/functions $fpath); autoload -Uz compinit; compinit -u -D; print rea''dy"
    os.write(terminal, f"{start}\n".encode())
    read_from(terminal, "ready\r\n")
    os.write(terminal, f"{typed}\t".encode())
    answer = read_from(terminal).replace("\0", "")
    os.write(terminal, b"\x03exit\n")
    read_from(terminal)
    os.close(terminal)
    os.waitpid(process, 0)
    return answer


def read_from(terminal: int, until: str | None = None) -> str:
    """What a terminal writes: until a text comes and the terminal rests, or until it rests."""
    text, deadline = "", time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], QUIET)[0]:
            try:
                text += os.read(terminal, 65536).decode(errors="replace")
            except OSError:  # the shell has ended
                return text
        elif until is None or until in text:
            return text
    raise AssertionError(text)


def test_without_shtab_one_line_says_what_to_install(run_python: RunPython, tmp_path: Path) -> None:
    hide = "import sys; sys.modules['shtab'] = None; import dupo.completion as c; sys.exit(c.main(['bash']))"
    done = run_python("-c", hide)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: completion: expected the package shtab, got none: pip install shtab\n"
