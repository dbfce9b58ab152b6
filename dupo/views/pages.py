"""Every page is one file: templates of `templates/`, with style, scripts and figures inlined.

A page needs no network. Text from a model or a data set is never markup: jinja2 escapes each value, and what
draws nothing, or moves other characters, becomes its escape first. Should markup ever slip through, the page
still runs no script but its own two, because it names their checksums to the browser.
"""

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from dupo.storage.files import write_atomic
from dupo.views.counts import counted
from dupo.views.escaping import shortened, visible

_HERE = Path(__file__).parent
_TEMPLATES, _UPLOT = _HERE / "templates", _HERE / "uplot"
_LONGEST_TEXT = 4000


def write_html(target: Path, template: str, **values: Any) -> Path:
    """Writes a page and returns its path.

    Args:
        target: the file.
        template: name of a file in `templates/`.
        values: what the template shows.
    """
    write_atomic(target, _environment().get_template(template).render(**values).encode())
    return target


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scripts = [_script(_UPLOT / "uPlot.iife.min.js"), _script(_TEMPLATES / "charts.js")]
    environment.globals |= {
        "styles": [_read(_UPLOT / "uPlot.min.css"), _read(_TEMPLATES / "page.css")],
        "scripts": scripts,
        "script_sums": " ".join(map(_checksum, scripts)),
    }
    environment.filters |= {
        "shortened": lambda text: shortened(text, _LONGEST_TEXT),
        "counted": counted,
        "with_options": _with_options,
    }
    return environment


def _shown(value: Any) -> Any:
    """A value of a template as text that can be seen; markup of the templates themselves stays."""
    if value is None:
        return "–"
    return value if isinstance(value, Markup) else visible(str(value))


def _with_options(text: str) -> Markup:
    """A text in which no name of an option is broken at its double hyphen."""
    pieces = re.split(r"(--\w+)", visible(text))
    return Markup("").join(
        Markup('<span class="option">{}</span>').format(piece) if number % 2 else escape(piece)
        for number, piece in enumerate(pieces)
    )


def _read(file: Path) -> Markup:
    # Files of the package, not of a user: they are what the page is made of.
    return Markup(file.read_text(encoding="utf-8"))


def _script(file: Path) -> Markup:
    text = _read(file)
    # A browser ends a script at these characters wherever they stand.
    if "</script" in text.lower():
        raise ValueError(f"{file.name} would end its own script element")
    return text


def _checksum(script: Markup) -> str:
    """A script as a Content-Security-Policy names it."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
