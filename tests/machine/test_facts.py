"""How facts are found: on this machine, with a torch that is broken, and without any package."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from dupo.machine import facts
from dupo.machine.kernel_facts import try_kernels
from tests.helpers.project import ROOT, RunPython

HERE = (str(ROOT), str(ROOT / "kernels"))


@pytest.mark.slow
def test_this_machine_can_train(run_python: RunPython) -> None:
    done = run_python("-m", "dupo", "doctor", "--json")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    answer = json.loads(done.stdout)
    assert answer["can_train"] and answer["facts"]["torch"]["version"] == torch.__version__
    assert answer["facts"]["problems"] == {} and 1 <= answer["facts"]["cores"] <= 1024
    assert answer["facts"]["memory"] > 2**28
    assert len(answer["facts"]["torch"]["gpus"]) == torch.cuda.device_count()


@pytest.mark.slow
def test_a_broken_torch_is_told_and_breaks_nothing(tmp_path: Path, run_python: RunPython) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text('raise ImportError("libcudart.so.13: cannot open")')
    done = run_python("-m", "dupo.doctor", env={"PYTHONPATH": ":".join([str(tmp_path), *HERE])})
    assert (done.returncode, done.stderr) == (1, ""), done.stdout
    assert "torch does not load: ImportError: libcudart.so.13: cannot open" in done.stdout
    assert "pip install --force-reinstall 'torch" in done.stdout
    assert done.stdout.endswith("training cannot run\n")


@pytest.mark.slow
def test_where_no_package_is_installed_each_is_named(tmp_path: Path, run_python: RunPython) -> None:
    """Only `packaging` is there, which reads the versions that dupo allows."""
    origin = find_spec("packaging").origin  # type: ignore[union-attr]
    (tmp_path / "packaging").symlink_to(Path(str(origin)).parent)
    done = run_python("-S", "-m", "dupo.doctor", env={"PYTHONPATH": ":".join([str(tmp_path), *HERE])})
    assert (done.returncode, done.stderr) == (1, ""), done.stdout
    for name in facts.required_packages():
        assert f"{name} is not installed" in done.stdout or name == "triton", done.stdout


@pytest.mark.parametrize(
    ("code", "result"),
    [
        ("print('{\"a\": 1}')", ({"a": 1}, "")),
        ("pass", (None, "")),
        (
            "print('{\"a\": 1}', flush=True); raise RuntimeError('no kernel image')",
            ({"a": 1}, "RuntimeError: no kernel image"),
        ),
        ("raise ImportError('needs b\\nTry: pip')", (None, "ImportError: needs b")),
        ("import sys; sys.exit('a\\nb')", (None, "b")),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
            (None, "the process was ended by SIGSEGV"),
        ),
        ("import sys; sys.exit(3)", (None, "the process ended with code 3")),
    ],
)
def test_a_trial_gives_what_it_printed_and_what_it_said_last(code: str, result: tuple[object, str]) -> None:
    assert facts.run_trial(("-c", code)) == result


def test_a_trial_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "PATIENCE", 0.5)
    assert facts.run_trial(("-c", "import time; time.sleep(60)")) == (None, "no answer after 0.5 s")


def test_gpus_keep_their_types_through_json() -> None:
    gpu = {"name": "H200", "capability": [9, 0], "memory": 7}
    fields = {"version": "2", "built_for": "CUDA 13.0", "threads": 1, "instructions": "AVX2", "gpus": [gpu]}
    assert facts.Torch.of(json.loads(json.dumps(fields))).gpus == (facts.Gpu("H200", (9, 0), 7),)


def test_the_trial_of_the_kernels_computes_what_it_should() -> None:
    try_kernels("cpu")
    with pytest.raises(RuntimeError):
        try_kernels("meta")


@pytest.mark.skipif(sys.platform != "linux", reason="limits of containers are those of Linux")
@pytest.mark.parametrize(
    ("limit", "most"), [(["150000", "100000"], 1), (["max", "100000"], 4096), ([], 4096)]
)
def test_cores_are_those_of_the_container(
    limit: list[str], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "_limit", lambda name: limit)
    assert 1 <= facts.usable_cores() <= most
