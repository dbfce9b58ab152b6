"""The site: it builds without a warning, opens without a network, and its reference has everything."""

import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import dupo_kernels
from dupo.config.catalogue import METHODS
from dupo.config.command_line import program_named
from dupo.config.config import PROGRAMS
from tests.helpers.project import ROOT, RunPython

# What a browser fetches by itself when it shows a page.
FETCHED = re.compile(
    r"<(?:script|img|iframe|link(?=[^>]*\brel=\"?stylesheet))\b[^>]*?\b(?:src|href)=\"?([^\" >]+)"
)


@pytest.mark.parametrize(
    ("address", "code", "section"),
    [
        ("", "a", "b"),
        (
            "https://example.org/dupo",
            "[a](https://example.org/dupo/blob/main/bench/x.py)",
            "[b](https://example.org/dupo/blob/main/README.md#data)",
        ),
    ],
)
def test_links_out_of_docs_lead_to_the_repository(
    address: str, code: str, section: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or stay text, where it has no address: a site that is built cannot show these files."""
    hooks = load_hooks()
    monkeypatch.setattr(hooks, "repository", lambda: address)
    page = SimpleNamespace(file=SimpleNamespace(src_uri="howto/a.md"))
    text = "[a](../../bench/x.py), [b](../../README.md#data), [c](../trl.md#data), [d](b.md)"
    expected = f"{code}, {section}, [c](../trl.md#data), [d](b.md)"
    assert hooks.on_page_markdown(text, page) == expected


def load_hooks() -> Any:
    """The module that makes pages, which stands in no package."""
    pytest.importorskip("mkdocs")
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs/site/hooks.py")
    assert spec and spec.loader
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    return hooks


def test_an_option_that_two_methods_share_is_told_as_each_reads_it() -> None:
    _, *sections = load_hooks().options_page("train").split("## --method ")
    rows = {text.split()[0]: re.findall(r"\| `--loss_type` .*", text) for text in sections}
    assert [len(rows[method]) for method in ("dupo", "sft", "dpo")] == [1, 0, 1]
    assert "cispo" in rows["dupo"][0] and "sigmoid is DPO" in rows["dpo"][0]


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


@pytest.mark.slow
def test_pages_fetch_nothing(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    fetched = {address for page in pages for address in FETCHED.findall(page.read_text(encoding="utf-8"))}
    assert len(fetched) > 3
    assert not [address for address in fetched if re.match(r"(https?:)?//", address)]


@pytest.mark.slow
@pytest.mark.parametrize("program", ["train", *PROGRAMS])
def test_every_option_is_there(program: str, site: Path) -> None:
    page = (site / f"options/{program}.html").read_text(encoding="utf-8")
    for method in METHODS if program == "train" else ["dupo"]:
        for name in program_named(program, method).names:
            assert f"<code>--{name}</code>" in page


@pytest.mark.slow
def test_every_public_function_of_the_kernels_is_there(site: Path) -> None:
    page = (site / "reference/loss_head.html").read_text(encoding="utf-8")
    headings = set(re.findall(r"<h2 id=\"dupo_kernels[\w.]*\.(\w+)\"", page))
    assert headings == set(dupo_kernels.__all__)


@pytest.mark.slow
def test_the_glossary_is_there(site: Path) -> None:
    words = re.findall(
        r"^\| ([^|]+) \| [^|]+ \|$", (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"), re.M
    )
    page = (site / "reference/glossary.html").read_text(encoding="utf-8")
    for word in ("reconstruction", "surrogate", "trial"):
        assert word in words and f"<td>{word}</td>" in page
