"""Which arguments a chat template reads."""

from collections.abc import Collection
from typing import ClassVar

from jinja2 import Environment, TemplateError, meta, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser


class _Generation(Extension):
    """The block of transformers around what an assistant says, read as its content."""

    tags: ClassVar[set[str]] = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The statements between the two tags."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def unread_arguments(source: str, names: Collection[str]) -> list[str]:
    """Those of `names` that the template never reads, in their order; none where it cannot be parsed."""
    try:
        tree = Environment(extensions=["jinja2.ext.loopcontrols", _Generation]).parse(source)
    except TemplateError:
        return []  # rendering says what is wrong with it
    read = meta.find_undeclared_variables(tree)
    return [name for name in names if name not in read]
