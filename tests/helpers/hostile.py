"""Command lines and files as a fuzz makes them: absurd values, valid files with something broken in them."""

import json
from typing import Any

from hypothesis import strategies as st

from dupo.config.config import OPTIONS

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
def options(draw: st.DrawFn, files: dict[str, str], most: int = 4) -> list[str]:
    """Words of a command line: options with absurd values, often of a kind that the option can read.

    Args:
        files: names of files that may be values.
    """
    words: list[str] = []
    values = VALUES | st.sampled_from(sorted(files.values()))
    for name in draw(st.lists(st.sampled_from([*OPTIONS, "config", "zzz", "no_seed"]), max_size=most)):
        choices = OPTIONS[name].metadata["choices"] if name in OPTIONS else ()
        value = draw(values | st.sampled_from(choices) if choices else values)
        spelling = draw(st.sampled_from(["two words", "equals", "dashes", "bare"]))
        flag = f"--{name.replace('_', '-') if spelling == 'dashes' else name}"
        words += (
            [f"{flag}={value}"] if spelling == "equals" else [flag] if spelling == "bare" else [flag, value]
        )
    return words


@st.composite
def damaged(draw: st.DrawFn, sound: bytes) -> bytes:
    """A valid file with up to four cuts, repeats or insertions of hostile bytes."""
    data = sound
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
    name = draw(st.sampled_from(sorted(row)))
    if draw(st.booleans()):
        del row[name]
    else:
        row[name] = draw(JSON)
    lines[index] = json.dumps(row).encode("utf-8", "surrogatepass")
    return b"\n".join(lines)
