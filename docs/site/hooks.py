"""What the site shows beside the pages of docs/: the options of every program and the glossary.

Both are made from the code and from ARCHITECTURE.md when the site is built, so no copy can go stale.
"""

import html
import posixpath
import re
import tomllib
from argparse import ArgumentParser
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from dupo.config.catalogue import METHODS
from dupo.config.command_line import program_named, shown_default
from dupo.config.config import PROGRAMS, group_of, option_of
from dupo.config.doors import DOORS

ROOT = Path(__file__).parents[2]
LINK_UP = re.compile(r"\[([^\]\n]*)\]\(((?:\.\./)+[^)\s]*)\)")


def on_config(config: MkDocsConfig) -> None:
    """Lists the pages of options below Reference, and the repository if pyproject.toml names it."""
    config.repo_url = repository()
    (reference,) = (entry["Reference"] for entry in config.nav if "Reference" in entry)
    reference.append({"Options": [f"options/{name}.md" for name in DOORS]})


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Adds the pages that are made here."""
    texts = {f"options/{name}.md": options_page(name) for name in DOORS}
    texts["reference/glossary.md"] = glossary((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))
    for path, text in texts.items():
        files.append(File.generated(config, path, content=text))


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Leads links out of docs/ to the repository; where that is unknown, only their text stays."""
    folder = posixpath.join("docs", posixpath.dirname(page.file.src_uri))

    def mend(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, match[2]))
        if path.startswith("docs/"):
            return match[0]
        address = repository()
        return f"[{match[1]}]({address}/blob/main/{path})" if address else match[1]

    return LINK_UP.sub(mend, markdown)


def repository() -> str:
    """The address of the repository in pyproject.toml, or nothing."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project.get("urls", {}).get("Repository", "")


def glossary(architecture: str) -> str:
    """The section of ARCHITECTURE.md, as a page."""
    _, _, rest = architecture.partition("\n## Glossary\n")
    return "# Glossary\n" + rest.partition("\n## ")[0]


def options_page(program: str) -> str:
    """What `dupo PROGRAM --help` says, as a page."""
    title = f"# dupo {program}\n\n"
    if program == "train":
        parts = [f"## --method {method}\n\n{option_tables(program, method)}" for method in METHODS]
        return title + "\n\n".join(parts)
    if program in PROGRAMS:
        return title + option_tables(program, next(iter(METHODS)))
    return title + f"```\n{parser_help(import_module(f'dupo.{program}').parser())}\n```"


def parser_help(parser: ArgumentParser) -> str:
    """The help of a program whose options are not those of `Config`."""
    return parser.format_help().rstrip()


def option_tables(program: str, method: str) -> str:
    """One table for each group of options of a program, after what the program is for."""
    about = program_named(program, method)
    groups: dict[str, list[str]] = {}
    for name in about.names:
        groups.setdefault(group_of(name, method) or "method", []).append(row(name, program, method))
    return "\n\n".join([about.description, *tables(groups)])


def tables(groups: dict[str, list[str]]) -> Iterator[str]:
    """Markdown of each group."""
    for group, rows in groups.items():
        lines = [f"**{group}**", "", "| option | default | meaning |", "|---|---|---|", *rows]
        yield "\n".join(lines)


def row(name: str, program: str, method: str) -> str:
    """The line of an option."""
    metadata = option_of(name, method).metadata
    choices = f" (one of {', '.join(metadata['choices'])})" if metadata["choices"] else ""
    cells = [f"`--{name}`", shown_default(name, program, method), metadata["help"] + choices]
    option, default, meaning = (cell_text(cell) for cell in cells)
    # A long list may break at its commas.
    return f"| {option} | {default.replace(',', ',<wbr>')} | {meaning} |"


def cell_text(text: str) -> str:
    """Text that markdown leaves as it is, inside a cell; what stands between backticks is code."""
    parts = html.escape(text, quote=False).replace("|", "&#124;").split("`")
    plain = [re.sub(r"([\\*_\[\]])", r"\\\1", part) for part in parts[::2]]
    parts[::2] = plain
    return "`".join(parts)
