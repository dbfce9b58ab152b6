"""Text that cannot be seen is shown as its escape."""

import pytest

from dupo.views.escaping import shortened, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 日本 مرحبا 👩‍🔬", "plain ü 日本 مرحبا 👩‍🔬"),
        ("two\nlines", "two\nlines"),
        ("\x00\x07\x1b[2J\t\r\x7f\x9b", "\\x00\\x07\\x1b[2J\\t\\r\\x7f\\x9b"),
        ("\u202e\u2066\u200b\ufeff\U000e0041", "\\u202e\\u2066\\u200b\\ufeff\\U000e0041"),
        ("\u2028\u2029\ud800\uffff", "\\u2028\\u2029\\ud800\\uffff"),
    ],
    ids=["ordinary", "break", "control", "format", "separators"],
)
def test_what_cannot_be_seen_is_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_shortened_says_how_much_is_missing() -> None:
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdef", 4) == "abcd ... (2 more characters)"
