"""The extension under AddressSanitizer and UndefinedBehaviorSanitizer, driven by hypothesis."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLAGS = "-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g -O1"
SECONDS = os.environ.get("DUPO_FUZZ_SECONDS", "20")


@pytest.mark.slow
@pytest.mark.full
def test_nothing_is_found_by_the_sanitizers(
    tmp_path: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """Set DUPO_FUZZ_SECONDS for a longer search."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++")
    libraries = [
        subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True).stdout.strip()
        for name in ("libasan.so", "libstdc++.so")
    ]
    if not all(map(os.path.isabs, libraries)):
        pytest.skip("g++ has no AddressSanitizer here")
    for name in ("csrc", "dupo", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    environment = {"CC": "gcc", "CXX": "g++", "CFLAGS": FLAGS, "LDFLAGS": FLAGS}
    built = run_python("setup.py", "build_ext", "--inplace", env=environment, cwd=tmp_path)
    assert list((tmp_path / "dupo").glob("_C*.so")), built.stdout + built.stderr
    fuzzed = run_python(
        str(ROOT / "tests/repo/fuzz_extension.py"),
        SECONDS,
        env={
            # dupo from the build; the other folders, which hold no extension, from here
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT / "kernels"), str(ROOT)]),
            "LD_PRELOAD": " ".join(libraries),
            "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0",
            "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        },
        cwd=tmp_path,
        timeout=float(SECONDS) + 300,
    )
    assert fuzzed.returncode == 0, fuzzed.stdout + fuzzed.stderr[-4000:]
    assert f"nothing found in {tmp_path}" in fuzzed.stdout
