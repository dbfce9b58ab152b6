"""The package installs and works without a compiler, without the extension, and from a wheel."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dupo import text
from dupo.text import extension

ROOT = Path(__file__).parents[2]
RunPython = Callable[..., subprocess.CompletedProcess[str]]

SOURCES = ["pyproject.toml", "setup.py", "MANIFEST.in", "LICENSE", "README.md", "csrc", "dupo", "kernels"]
NOT_SOURCES = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__", "*.egg-info")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What a build needs, without anything that an earlier build left behind."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=NOT_SOURCES)
        elif source.is_file():
            shutil.copy(source, folder / name)
    return folder


def setup_py(checkout: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "setup.py", *args],
        cwd=checkout,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_broken_compiler_builds_without_the_extension(checkout: Path) -> None:
    result = setup_py(checkout, "build", CC="false", CXX="false", LDSHARED="false", LDCXXSHARED="false")
    assert result.returncode == 0, result.stderr
    assert "dupo._C" in result.stdout + result.stderr  # it was tried
    assert (checkout / "build/lib/dupo/text/__init__.py").is_file() or list(
        checkout.glob("build/lib*/dupo/text/__init__.py")
    )
    assert not [p for pattern in ("*.so", "*.pyd") for p in checkout.rglob(pattern)]


def isolated(run_python: RunPython, code: str, package: Path) -> subprocess.CompletedProcess[str]:
    """Runs `code` with the dupo that lies in `package`, and NumPy.

    `-S` leaves out the .pth files: through theirs, an editable install would serve the submodules that this
    dupo lacks.
    """
    path = os.pathsep.join([str(package), str(Path(np.__file__).parents[1])])
    return run_python("-S", "-c", code, env={"PYTHONPATH": path}, cwd=package)


PROBE = """
import json, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import dupo.text
    from dupo.text import Ids, extension, pack, packed, padded
    bins = [b.tolist() for b in pack([7, 1, 5, 3, 3, 9], 10)]
    both = Ids.of([[5, 6], [7]]), Ids.of([[8], []])
    batches = [repr(packed(*both)), repr(padded(*both, pad_id=9))]
    built = extension.core() is not None
print(json.dumps([dupo.text.__file__, built, [str(w.message) for w in caught], bins, batches]))
"""


def test_without_the_extension_the_twin_serves_and_says_so_once(
    checkout: Path, run_python: RunPython
) -> None:
    result = isolated(run_python, PROBE, checkout)
    assert result.returncode == 0, result.stderr
    file, built, warned, bins, batches = json.loads(result.stdout)
    assert Path(file) == checkout / "dupo/text/__init__.py"
    assert not built
    assert len(warned) == 1
    assert "pip install -e ." in warned[0]
    assert bins == [b.tolist() for b in text.pack([7, 1, 5, 3, 3, 9], 10)]
    both = text.Ids.of([[5, 6], [7]]), text.Ids.of([[8], []])
    assert batches == [repr(text.packed(*both)), repr(text.padded(*both, pad_id=9))]


@pytest.mark.slow
@pytest.mark.skipif(extension.core() is None, reason="no compiler built dupo._C here")
def test_wheel_made_from_the_sdist_holds_what_is_needed(checkout: Path, run_python: RunPython) -> None:
    result = setup_py(checkout, "sdist")
    assert result.returncode == 0, result.stderr
    (archive,) = (checkout / "dist").glob("*.tar.gz")
    shutil.unpack_archive(archive, checkout.parent / "unpacked")
    (unpacked,) = (checkout.parent / "unpacked").iterdir()

    result = setup_py(unpacked, "bdist_wheel")
    assert result.returncode == 0, result.stderr
    (wheel,) = (unpacked / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"dupo", "dupo_kernels"}
    assert {"dupo/text/__init__.py", "dupo/_C.pyi", "dupo/py.typed", "dupo/tasks/__init__.py"} <= set(names)
    assert [n for n in names if n.startswith("dupo/_C.") and n.endswith((".so", ".pyd"))]

    site = checkout.parent / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = "import dupo.text as t; bins = [b.tolist() for b in t.pack([3, 3, 2], 5)]\n"
    code += "print(t.__file__, t.extension.core() is not None, bins)"
    result = isolated(run_python, code, site)
    assert result.stdout.split(maxsplit=1) == [str(site / "dupo/text/__init__.py"), "True [[0, 2], [1]]\n"], (
        result.stderr
    )

    (commands,) = (n for n in names if n.endswith("entry_points.txt"))
    assert "dupo = dupo.__main__:main" in zipfile.ZipFile(wheel).read(commands).decode().splitlines()
    # Outside of a checkout the records of the installation tell the version and the packages that dupo needs.
    code = "import dupo; from dupo.machine.facts import required_packages as needs\n"
    result = isolated(
        run_python, f"{code}print(dupo.__version__, needs()['torch'], 'pytest' in needs())", site
    )
    version = (ROOT / "kernels/VERSION").read_text().strip()
    assert result.stdout == f"{version} >=2.10 False\n", result.stderr
