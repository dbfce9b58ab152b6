"""The command `dupo`: every program under one name, its versions, and how printed commands name it."""

import importlib.metadata
import sys
import tomllib
from pathlib import Path

import pytest

import dupo
import dupo_kernels
from dupo.__main__ import main
from dupo.config.doors import DOORS
from dupo.storage.commands import command, resume_command
from tests.doors.test_doors import MARGIN, SECONDS, cpu_seconds
from tests.helpers.project import ROOT, RunPython
from tests.helpers.slow import with_slow

SHOW_IMPORTS = """
import runpy, sys
sys.argv[1:] = sys.argv[2:]
try:
    runpy.run_module("dupo", run_name="__main__")
except SystemExit as done:
    assert not done.code, done.code
assert not {"torch", "transformers", "triton"} & sys.modules.keys()
"""


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_lists_every_program(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines if line.startswith("  ")}
    assert listed == DOORS
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_versions_import_no_torch(option: str, run_python: RunPython) -> None:
    done = run_python("-c", SHOW_IMPORTS, "dupo", option)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_help_comes_at_once(run_python: RunPython) -> None:
    seconds = min(cpu_seconds(run_python, module="dupo") for _ in range(2))
    assert seconds < MARGIN * SECONDS, f"{seconds:.2f} s of CPU"


@pytest.mark.parametrize("door", with_slow(DOORS, quick=("train", "report")))
def test_a_program_is_the_same_under_both_names(door: str, run_python: RunPython) -> None:
    one, other = run_python("-m", "dupo", door, "--help"), run_python("-m", f"dupo.{door}", "--help")
    assert one.returncode == other.returncode == 0
    assert one.stdout.startswith(f"usage: python -m dupo {door}")
    # Lines are broken where the longer name wants it.
    plain = "".join(one.stdout.replace(f"python -m dupo {door}", f"python -m dupo.{door}").split())
    assert plain == "".join(other.stdout.split())


def test_options_and_exit_code_are_those_of_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--max_stepz", "3"]) == 2
    assert "did you mean --max_steps?" in capsys.readouterr().err
    assert main(["report"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("typed", "meant"), [("trian", "train"), ("dual", "duals"), ("Audit", "audit")])
def test_a_slip_is_answered_with_the_name(typed: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([typed]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.endswith(f"got {typed}, did you mean {meant}?\n") and err.count("\n") == 1


def test_a_name_of_nothing_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["\x1b[2Jzz" * 99]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "\x1b" not in err and len(err) < 600


def test_versions_are_those_of_what_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    version = (ROOT / "kernels/VERSION").read_text().strip()
    assert dupo.__version__ == dupo_kernels.__version__ == version
    assert main(["--version"]) == 0
    torch, transformers = map(importlib.metadata.version, ("torch", "transformers"))
    line = capsys.readouterr().out
    assert line.startswith(f"dupo {version} (dupo_kernels {version}, torch {torch}, triton ")
    assert line.endswith(f"transformers {transformers})\n")


@pytest.mark.parametrize(
    ("owners", "expected"), [({"dupo-kernels": "1.2", "dupo": "9"}, "1.2"), ({"dupo": "9"}, "9")]
)
def test_outside_of_a_checkout_the_version_is_that_of_the_installation(
    owners: dict[str, str], expected: str, tmp_path: Path, run_python: RunPython
) -> None:
    package = tmp_path / "dupo_kernels"
    package.mkdir()
    for name in ("__init__", "_version"):
        (package / f"{name}.py").write_bytes((ROOT / f"kernels/dupo_kernels/{name}.py").read_bytes())
    for name, version in owners.items():
        records = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        records.mkdir()
        (records / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    # Of another program, in the folder of all packages.
    (tmp_path / "VERSION").write_text("77")
    done = run_python(
        # Not in the checkout: an editable install leaves records of its own there.
        "-c",
        "import dupo_kernels as d; print(d.__version__)",
        env={"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
    )
    assert done.stdout == f"{expected}\n", done.stderr


def test_the_package_says_what_there_is() -> None:
    assert dupo.__doc__ and all(f" {door}" in dupo.__doc__ for door in DOORS)
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"dupo": "dupo.__main__:run"}


@pytest.mark.parametrize(
    ("started", "typed"),
    [
        ("/usr/bin/dupo", "dupo train"),
        (r"dupo.exe", "dupo train"),
        ("/x/site-packages/dupo/__main__.py", "python -m dupo train"),
        ("/x/dupo/train.py", "python -m dupo.train"),
        ("/usr/bin/pytest", "python -m dupo.train"),
        (None, "python -m dupo.train"),
    ],
)
def test_commands_are_named_as_the_user_called_them(
    started: str | None, typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [started] if started else [])
    assert command("train") == typed
    run = Path("my runs/it's")
    assert resume_command(run).startswith(f"{typed} --output_dir 'my runs/it'")
