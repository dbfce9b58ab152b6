"""Pages as a browser would see them, and text that tries to be more than text."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>'\"&amp;\x00\x1b[31m\u202eabc\ufffe\ud800"
)
# The scripts of every page: uPlot, and what draws the charts with it.
NUM_SCRIPTS = 2


class Page(HTMLParser):
    """Tags, attributes, text and charts of a page, as a browser would see them.

    Attributes:
        charts: the data of each chart, in the order of the page.
        scripts: the text of what a browser would run.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.open = "", []
        self.charts: list[dict[str, Any]] = []
        self.scripts: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            is_data = self.tags[-1] == ("script", {"type": "application/json"})
            (
                self.charts.append(json.loads(data, parse_constant=_refused))
                if is_data
                else self.scripts.append(data)
            )
        elif self.open[-1:] != ["style"]:
            self.text += data

    def names(self) -> set[str]:
        return {name for name, _ in self.tags}

    def chart(self, title: str) -> dict[str, dict[float, float | None]]:
        """The points of the chart of that title, by the name of the line."""
        (chart,) = [chart for chart in self.charts if chart["title"] == title]
        return points(chart)

    def check_is_closed(self) -> None:
        """Nothing is left open, nothing comes from elsewhere, and no other script than the two runs."""
        assert self.open == [] and len(self.scripts) == NUM_SCRIPTS
        assert not self.names() & {"img", "link", "iframe", "object", "base", "form"}
        attributes = {name for _, attributes in self.tags for name in attributes}
        assert not attributes & {"src", "href"} and not [name for name in attributes if name.startswith("on")]


def points(chart: dict[str, Any]) -> dict[str, dict[float, float | None]]:
    """Line -> x -> y of a chart."""
    return {line["name"]: dict(zip(line["xs"], line["ys"], strict=True)) for line in chart["lines"]}


def _refused(word: str) -> None:
    raise AssertionError(f"{word} is not JSON")
