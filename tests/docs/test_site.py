"""The site: it builds without a warning, opens without a network, and its reference has everything."""

import re
from pathlib import Path

import pytest

import dupo_kernels
from dupo.config.catalogue import METHODS
from dupo.config.command_line import program_named
from dupo.config.config import PROGRAMS
from tests.helpers.project import ROOT, RunPython

pytestmark = pytest.mark.slow
# What a browser fetches by itself when it shows a page.
FETCHED = re.compile(
    r"<(?:script|img|iframe|link(?=[^>]*\brel=\"?stylesheet))\b[^>]*?\b(?:src|href)=\"?([^\" >]+)"
)


@pytest.fixture(scope="module")
def site(run_python: RunPython, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")
    folder = tmp_path_factory.mktemp("site")
    command = [
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "-f",
        "docs/site/mkdocs.yml",
        "-d",
        str(folder),
    ]
    built = run_python(*command)
    assert built.returncode == 0 and not built.stdout + built.stderr, built.stdout + built.stderr
    return folder


def test_pages_fetch_nothing(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    fetched = {address for page in pages for address in FETCHED.findall(page.read_text(encoding="utf-8"))}
    assert len(fetched) > 3
    assert not [address for address in fetched if re.match(r"(https?:)?//", address)]


@pytest.mark.parametrize("program", ["train", *PROGRAMS])
def test_every_option_is_there(program: str, site: Path) -> None:
    page = (site / f"options/{program}.html").read_text(encoding="utf-8")
    for method in METHODS if program == "train" else ["dupo"]:
        for name in program_named(program, method).names:
            assert f"<code>--{name}</code>" in page


def test_every_public_function_of_the_kernels_is_there(site: Path) -> None:
    page = (site / "reference/loss_head.html").read_text(encoding="utf-8")
    headings = set(re.findall(r"<h2 id=\"dupo_kernels[\w.]*\.(\w+)\"", page))
    assert headings == set(dupo_kernels.__all__)


def test_the_glossary_is_there(site: Path) -> None:
    words = re.findall(
        r"^\| ([^|]+) \| [^|]+ \|$", (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"), re.M
    )
    page = (site / "reference/glossary.html").read_text(encoding="utf-8")
    for word in ("reconstruction", "surrogate", "trial"):
        assert word in words and f"<td>{word}</td>" in page
