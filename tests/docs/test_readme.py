"""The README in the records of a wheel: its links lead to the repository, where pyproject.toml names it."""

import re
import shutil
import subprocess
import sys
from email.parser import Parser
from pathlib import Path

from tests.helpers.project import ROOT

ADDRESS = "https://example.org/us/dupo"
TARGET = re.compile(r"\]\(([^)\s]+)\)")


def readme_of_wheel(folder: Path, urls: str) -> str:
    """What a package index would show."""
    (folder / "kernels").mkdir()
    for name in ("setup.py", "README.md", "LICENSE", "kernels/VERSION"):
        shutil.copy(ROOT / name, folder / name)
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    settings = re.sub(r"(?m)^\[project\.urls\]\n(?:\w.*\n)*", "", settings)
    (folder / "pyproject.toml").write_text(f"{settings}\n{urls}", encoding="utf-8")
    command = [sys.executable, "setup.py", "-q", "egg_info"]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    records = Parser().parsestr((folder / "dupo.egg-info/PKG-INFO").read_text(encoding="utf-8"))
    assert records["Description-Content-Type"] == "text/markdown"
    return str(records.get_payload())


def test_links_are_absolute_where_the_repository_is_known(tmp_path: Path) -> None:
    text = readme_of_wheel(tmp_path, f'[project.urls]\nRepository = "{ADDRESS}"\n')
    targets = TARGET.findall(text)
    own = [target.removeprefix(ADDRESS) for target in targets if target.startswith(ADDRESS)]
    assert all(target.startswith("https://") for target in targets)
    assert "/raw/main/docs/evidence_arithmetic.svg" in own
    paths = [re.sub(r"^/(raw|blob)/main/|#.*", "", target) for target in own]
    assert len(paths) > 10 and all((ROOT / path).is_file() for path in paths)
    assert f"git clone {ADDRESS} dupo" in text


def test_the_readme_is_as_it_stands_where_the_repository_is_not_known(tmp_path: Path) -> None:
    assert readme_of_wheel(tmp_path, "").strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()
