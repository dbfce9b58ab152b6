"""Options in YAML files: lines of `option: value`, each value as it is written."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from dupo.config.config import OPTIONS, Config, group_of, option_of
from dupo.config.trl import ALIASES, about_unknown
from dupo.config.values import coerce, json_text, option_type
from dupo.errors import UserError, cut
from dupo.user_files import NOTHING, is_file, path_kind, read_file

_SHIPPED = Path(__file__).parents[1] / "configs"


def config_file(path: str) -> Path:
    """The file that `--config` names; configs/<name>.yaml of the package, where no such file stands."""
    named = Path(path)
    shipped = _SHIPPED / named.name
    is_of_package = named.parts == (_SHIPPED.name, named.name) and is_file(shipped)
    return shipped if is_of_package and path_kind(path) == NOTHING else named


def method_of(path: str | Path) -> str | None:
    """The method that a YAML file of options names; None where it names none.

    Raises:
        UserError: the file cannot be read.
    """
    return _named_method(_compose(path))


def read_yaml(path: str | Path, method: str | None = None) -> dict[str, Any]:
    """Reads the options named in a YAML file, by our names or TRL's, each with the type of its field.

    Scalars are taken as written: `tgt: no` is Norwegian, `1e-6` a number. A quoted "none" is that word.

    Args:
        method: whose options are meant, where methods share a name; None: that of the file.

    Raises:
        UserError: the file cannot be read, or an option in it is unknown, stands twice or has a wrong value.
    """
    # The method decides what an option may be, and may stand below the option.
    root = _compose(path)
    method = method or _named_method(root) or Config.method
    values: dict[str, Any] = {}
    spellings: dict[str, str] = {}
    for key, node in root.value if root else ():
        written = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
        name = ALIASES.get(written, written)
        if name not in OPTIONS:
            raise UserError(f"{path}: unknown key {cut(name)}{about_unknown(name, OPTIONS)}")
        if name in values:
            once = " or ".join(dict.fromkeys([name, spellings[name], written]))
            raise UserError(f"{path}: line {key.start_mark.line + 1}: expected {once} once, got it twice")
        spellings[name] = written
        spec = option_of(name, method)
        if isinstance(node, yaml.MappingNode) and spec.metadata.get("is_json"):
            values[name] = _json_of(path, name, node)
            continue
        if not isinstance(node, yaml.ScalarNode):
            kind = "list" if isinstance(node, yaml.SequenceNode) else "nested mapping"
            raise UserError(f"{path}: {name}: expected one value, got a {kind}")
        try:
            values[name] = coerce(spec, node.value, is_quoted=node.style is not None)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
    return values


def to_yaml(config: Config) -> str:
    """Writes every option. `read_yaml`, and any other YAML reader, reads the same values back."""
    groups: dict[str, list[str]] = {}
    for name in OPTIONS:
        groups.setdefault(group_of(name, config.method), []).append(name)
    return "".join(f"# {group or 'method'}\n{yaml_lines(config, names)}" for group, names in groups.items())


def yaml_lines(config: Config, names: Iterable[str]) -> str:
    """Writes one line `name: value` for each option named."""
    lines, values = list[str](), config.flat()
    for name in names:
        value = values[name]
        # Double quotes keep the word "none" apart from None, and unprintable characters as they are.
        is_quoted = isinstance(value, str) and (value.lower() == "none" or not value.isprintable())
        style = '"' if is_quoted else None
        # An int in a float option is written as a float, so that other YAML readers see one type.
        kind, _ = option_type(option_of(name, config.method))
        typed = {name: None if value is None else kind(value)}
        lines.append(yaml.safe_dump(typed, default_style=style, allow_unicode=True, width=math.inf))
    return "".join(lines)


def _named_method(root: yaml.MappingNode | None) -> str | None:
    named = [node for key, node in root.value if key.value == "method"] if root else []
    return named[0].value if named and isinstance(named[0], yaml.ScalarNode) else None


def _json_of(path: str | Path, name: str, node: yaml.MappingNode) -> str:
    """A mapping of YAML as the JSON text of an option."""
    try:
        return json_text(OPTIONS[name], _typed(node))
    except (UserError, ValueError, RecursionError, yaml.YAMLError) as error:
        problem = str(error) if isinstance(error, UserError) else f"{name}: expected values that JSON has"
        raise UserError(f"{path}: {problem}") from None


def _typed(node: yaml.Node) -> Any:
    """The value of a node with the types of YAML: false is a truth value, 1 a number, "1" a text."""
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): _typed(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_typed(item) for item in node.value]
    assert isinstance(node, yaml.ScalarNode)
    loader, is_plain = yaml.SafeLoader(""), node.style is None
    # BaseLoader calls every scalar a text.
    tag = loader.resolve(yaml.ScalarNode, node.value, (is_plain, not is_plain))
    return loader.construct_object(yaml.ScalarNode(tag, node.value))


def _compose(path: str | Path) -> yaml.MappingNode | None:
    """The top node of a YAML file, None if the file is empty."""
    data = read_file(path)
    try:
        # BaseLoader leaves scalars as texts: YAML's own types would make False of the language code no.
        root = yaml.compose(data.decode("utf-8-sig"), Loader=yaml.BaseLoader)
    except UnicodeDecodeError:
        raise UserError(f"{path}: expected a YAML file in UTF-8, got other bytes") from None
    except RecursionError:
        raise UserError(f"{path}: expected lines of `option: value`, got deeply nested YAML") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem, where = getattr(error, "problem", "bad bytes"), f"line {mark.line + 1}: " if mark else ""
        raise UserError(f"{path}: {where}expected YAML, got an error: {problem}") from None
    if root is not None and not isinstance(root, yaml.MappingNode):
        raise UserError(f"{path}: expected lines of `option: value`, got something else")
    return root
