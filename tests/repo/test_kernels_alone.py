"""`pip install ./kernels`: the wheel holds dupo_kernels and nothing else, and needs only torch and triton."""

import importlib.metadata
import json
import os
import re
import shutil
import sys
import tomllib
import zipfile
from collections.abc import Callable
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest
import torch

import dupo
from dupo_kernels._triton import HAS_TRITON
from tests.helpers.project import ROOT, RunPython

KERNELS = ROOT / "kernels"
INFO = f"dupo_kernels-{dupo.__version__}.dist-info"


def project(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text())["project"]


def test_both_packages_have_one_version_and_the_same_needs() -> None:
    version = (KERNELS / "VERSION").read_text().strip()
    (cited,) = re.findall(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.M)
    assert version == dupo.__version__ == cited
    whole, alone = project(ROOT), project(KERNELS)
    assert set(alone["dependencies"]) <= set(whole["dependencies"])
    assert {re.match(r"[\w-]+", need)[0] for need in alone["dependencies"]} == {"torch", "triton"}  # type: ignore[index]
    for field in ("requires-python", "license", "authors"):
        assert whole[field] == alone[field]


def run_readme(names: dict[str, Any]) -> None:
    """The code of kernels/README.md."""
    (code,) = re.findall(r"```python\n(.*?)```", (KERNELS / "README.md").read_text(), re.DOTALL)
    exec(code, names)


def test_the_code_of_the_readme_runs() -> None:
    torch.manual_seed(0)
    lm_head = torch.nn.Linear(8, 11, bias=False)
    hidden, targets = torch.randn(2, 5, 8, requires_grad=True), torch.randint(11, (2, 5))
    names = {"hidden": hidden, "lm_head": lm_head, "targets": targets, "mask": torch.ones(2, 5)}
    names |= {"advantages": torch.tensor([1.0, -1.0]), "old_logprobs": -2 * torch.ones(2, 5)}
    run_readme(names)
    assert names["stats"]["tokens"] == 10
    assert hidden.grad is not None and hidden.grad.abs().sum() > 0


# --- the wheel -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(run_python: RunPython, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by pip without network, from a copy that holds nothing of an earlier build."""
    folder = tmp_path_factory.mktemp("kernels_alone")
    unwanted = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    shutil.copytree(KERNELS, folder / "kernels", ignore=unwanted)
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder))
    done = run_python("-m", "pip", "wheel", *options, str(folder / "kernels"), cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_wheel_holds_the_kernels_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.startswith(f"{INFO}/")}
    source = KERNELS / "dupo_kernels"
    assert names == {
        path.relative_to(KERNELS).as_posix()
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "dupo_kernels/py.typed" in names
    assert all(name.endswith((".py", ".json", "py.typed")) for name in names)


@pytest.mark.slow
def test_wheel_says_what_it_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as files:
        metadata = Parser().parsestr(files.read(f"{INFO}/METADATA").decode())
        assert f"{INFO}/licenses/LICENSE" in files.namelist()
        licence = files.read(f"{INFO}/licenses/LICENSE").decode()
    assert (metadata["Name"], metadata["Version"]) == ("dupo-kernels", dupo.__version__)
    needs = sorted(need.replace("'", '"').replace(" ", "") for need in metadata.get_all("Requires-Dist", []))
    assert needs == sorted(need.replace(" ", "") for need in project(KERNELS)["dependencies"])
    assert metadata.get_payload() == (KERNELS / "README.md").read_text()
    assert licence == (ROOT / "LICENSE").read_text()


ALONE = """
import json, sys, warnings
from importlib.machinery import PathFinder
warnings.filterwarnings("ignore", message="Failed to initialize NumPy")
absent = set(json.loads(sys.argv[1]))
class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in absent else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Finder

import torch, dupo_kernels as k
torch.manual_seed(0)
targets, mask = torch.randint(11, (2, 5)), torch.ones(2, 5)
old, advantages = -2 * torch.ones(2, 5), torch.tensor([1.0, -1.0])
weights = k.token_weights("dapo", mask)
hidden, weight = torch.randn(2, 5, 8, requires_grad=True), torch.randn(11, 8, requires_grad=True)
per_token = {"advantages": advantages, "old_logprobs": old}
loss, _ = k.linear_objective(hidden, weight, targets, k.policy_objective("dapo"), per_token, weights=weights)
loss.backward()
logits = torch.randn(2, 5, 11, requires_grad=True)
logp, _ = k.token_logprobs(logits, targets)
other, _ = k.policy_loss(logp, advantages, old_logprobs=old, mask=mask)
other.backward()
sums = [float(x.grad.abs().sum()) for x in (hidden, weight, logits)]
tops = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps([k.__file__, float(loss), float(other), sums, tops]))
"""


def distributions_needed(*names: str) -> set[str]:
    """The distributions and all that they need, by normalised name."""
    needed, rest = set[str](), list(names)
    while rest:
        name = re.sub(r"[-_.]+", "-", rest.pop()).lower()
        if name in needed:
            continue
        needed.add(name)
        try:
            requires = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # for another platform
            continue
        rest += [re.match(r"[\w.-]+", line)[0] for line in requires if "extra ==" not in line]  # type: ignore[index]
    return needed


def modules_that_are_not_theirs(needed: set[str]) -> set[str]:
    """Top-level modules of everything else that is installed."""
    normal: Callable[[str], str] = lambda name: re.sub(r"[-_.]+", "-", name).lower()  # noqa: E731
    owners = importlib.metadata.packages_distributions()
    return {module for module, names in owners.items() if not {normal(name) for name in names} & needed}


@pytest.mark.slow
def test_works_beside_torch_and_triton_alone(wheel: Path, run_python: RunPython) -> None:
    folder = wheel.parent / "site"
    zipfile.ZipFile(wheel).extractall(folder)
    absent = modules_that_are_not_theirs(distributions_needed("torch", "triton")) - {"dupo_kernels"}
    # pytest's plugins and the linters are among them; these are what dupo needs and the kernels may not.
    needed_by_dupo = {"transformers", "numpy", "sacrebleu", "tokenizers", "safetensors", "yaml", "rich"}
    assert needed_by_dupo <= absent
    # -S: the .pth file of an editable install would serve the checkout's kernels.
    path = os.pathsep.join([str(folder), str(Path(torch.__file__).parents[1])])
    done = run_python(
        "-S", "-c", ALONE, json.dumps(sorted(absent | {"dupo"})), env={"PYTHONPATH": path}, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    file, loss, other, sums, tops = json.loads(done.stdout)
    assert Path(file) == folder / "dupo_kernels" / "__init__.py"
    assert all(abs(x) < 1e3 for x in (loss, other)) and all(x > 0 for x in sums)
    assert "torch" in tops and ("triton" in tops or not HAS_TRITON)
    assert not set(tops) & (absent | {"dupo"}), sys.path
