"""Command lines and files as a fuzz makes them: absurd values, valid files with something broken in them."""

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from dupo.config.config import OPTIONS
from dupo.config.values import option_type

NUMBERS = (
    "0 -0 1 2 3 -1 0.5 1e-40 1e-308 5e-324 1e39 1e308 -1e308 1e999 nan inf -inf 99999999999999996 1_000 0x10"
)
NUMBERS += " 100000 999999999999999999 1234567890123456789 " + "9" * 400 + " ٣ 1e 1,2 1,nan 1e39,1e39"
WORDS = [
    "",
    " ",
    "none",
    "null",
    "~",
    "true",
    "no",
    "tiny",
    "policy",
    "ema",
    "frozen",
    "latest",
    "off",
    ".",
    "..",
    "/",
]
WORDS += [
    "/dev/zero",
    "/dev/null",
    "/proc/self/mem",
    "a\0b",
    "x" * 300,
    "/" + "a/" * 2500,
    "--seed",
    "-1",
    "\udcff",
]
WORDS += [
    "os.system",
    "builtins.exit",
    "math.pi",
    "os.path.join",
    "sys.exit",
    "a.b",
    "..",
    "a..b",
    "dual,dual",
]
WORDS += [
    "dual,gold",
    "random",
    "gold",
    "language,lines",
    "\n",
    "\x1b[31m",
    "ü",
    "😀",
    "zh",
    "de",
    "en",
    "hub/name",
]
HOSTILE_BYTES = [
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"[" * 300,
    b"{" * 300,
    b"[" * 5000,
    b'{"a":' * 1500,
    b"- " * 1200,
]
HOSTILE_BYTES += [
    b"9" * 400,
    b"9" * 5000,
    b"1e999",
    b"-1e308",
    b"NaN",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'""',
    b"\\ud800",
]
HOSTILE_BYTES += [
    b"\n",
    b"\r",
    b"\xe2\x80\xa8",
    b"&a [*a]",
    b"!!python/object:os.x {}",
    b"? [a]\n: 1\n",
    b"\\boxed{",
    b": ",
]

TEXTS = st.sampled_from(WORDS) | st.text(max_size=20)
VALUES = st.sampled_from(NUMBERS.split()) | TEXTS | st.integers().map(str) | st.floats().map(repr)


@st.composite
def options(draw: st.DrawFn, names: Sequence[str], files: Sequence[str], most: int = 3) -> list[str]:
    """Words of a command line: options with absurd values, most of a kind that the option can read.

    Args:
        names: options of the program.
        files: names of files that may be values.
    """
    words: list[str] = []
    for _ in range(draw(st.integers(0, most))):
        # Now and then an option of another program, or of none.
        is_own = draw(st.integers(0, 9))
        name = draw(
            st.sampled_from(names) if is_own else st.sampled_from([*OPTIONS, "config", "zzz", "no_seed"])
        )
        value = draw(VALUES if name not in OPTIONS or not draw(st.integers(0, 9)) else values_of(name, files))
        spelling = draw(st.integers(0, 20))
        flag = f"--{name.replace('_', '-') if spelling == 1 else name}"
        words += [flag] if spelling == 0 else [f"{flag}={value}"] if spelling % 2 else [flag, value]
    return words


def values_of(name: str, files: Sequence[str]) -> st.SearchStrategy[str]:
    """Texts of the kind that an option reads; what they say is absurd."""
    kind, choices = option_type(OPTIONS[name])[0], OPTIONS[name].metadata["choices"]
    if choices:
        return st.sampled_from(choices)
    if kind is bool:
        return st.sampled_from(["true", "false"])
    numbers = st.sampled_from(NUMBERS.split())
    if kind is int:
        return numbers | st.integers(0, 9).map(str) | st.integers().map(str)
    if kind is float:
        return numbers | st.floats().map(repr) | st.floats(0, 1).map(repr)
    return TEXTS | st.sampled_from(files)


@st.composite
def damaged(draw: st.DrawFn, sound: bytes) -> bytes:
    """A valid file with up to four cuts, repeats or insertions of hostile bytes."""
    data = sound
    # Rows of the right form with a wrong value go further than broken ones.
    if draw(st.booleans()):
        return _with_another_value(draw, data)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 40)))
        kind = draw(st.sampled_from(["insert", "replace", "cut", "repeat", "bytes", "value"]))
        if kind == "insert":
            data = data[:start] + draw(st.sampled_from(HOSTILE_BYTES)) + data[start:]
        elif kind == "replace":
            data = data[:start] + draw(st.sampled_from(HOSTILE_BYTES)) + data[end:]
        elif kind == "cut":
            data = data[:start] if draw(st.booleans()) else data[:start] + data[end:]
        elif kind == "repeat":
            data = data[:end] + data[start:end] * draw(st.integers(1, 30)) + data[end:]
        elif kind == "bytes":
            data = data[:start] + draw(st.binary(max_size=8)) + data[end:]
        else:
            data = _with_another_value(draw, data)
    return data


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXTS
    | st.sampled_from([10**400, 1e308, "7 pens"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def _with_another_value(draw: st.DrawFn, data: bytes) -> bytes:
    """JSON lines with another value, or none, in one field; other files stay as they are."""
    lines = data.split(b"\n")
    index = draw(st.integers(0, len(lines) - 1))
    try:
        row: Any = json.loads(lines[index])
    except (ValueError, RecursionError):
        return data
    if not isinstance(row, dict) or not row:
        return data
    _change_one_value(draw, row)
    lines[index] = json.dumps(row).encode("utf-8", "surrogatepass")
    return b"\n".join(lines)


def _change_one_value(draw: st.DrawFn, value: Any) -> None:
    """Changes or removes one value at any depth of an object or a list."""
    keys = sorted(value) if isinstance(value, dict) else list(range(len(value)))
    key = draw(st.sampled_from(keys))
    inner = value[key]
    if isinstance(inner, dict | list) and inner and draw(st.booleans()):
        _change_one_value(draw, inner)
    elif draw(st.integers(0, 2)):
        value[key] = draw(JSON)
    else:
        del value[key]
