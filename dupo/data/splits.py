"""The split of a data set into training and held-out problems.

The split depends on the texts alone, so it is the same for any order of the lines, any seed and any machine.
"""

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from dupo.errors import UserError
from dupo.records import Problem

SPLIT_KEY = "dupo held-out split"
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")  # soft hyphen, and spaces without width
_SPACE_AT_NO_WORD = re.compile(r"(?<!\w) | (?!\w)")  # as in "How many ?"
MOST_HELD_OUT = 64  # problems, where eval_size says nothing


class Split(NamedTuple):
    """Two sets of problems with no text in common; see `text_key`."""

    train: list[Problem]
    held_out: list[Problem]


def keyed_hash(text: str, key: str) -> int:
    """Hashes a text to 64 bits (BLAKE2b), the same in every process, unlike Python's hash()."""
    # BLAKE2b takes keys of at most 64 bytes. Text may hold half a surrogate pair, which has no UTF-8.
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=key.encode()[:64])
    return int.from_bytes(digest.digest())


def text_key(text: str) -> str:
    """Returns what copies of one text have in common, whatever their white space, Unicode form and capitals.

    Compatibility forms stay apart, because x² is not x2; so do words, because 1 2 is not 12.
    """
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", _INVISIBLE.sub("", text)).casefold())
    return _SPACE_AT_NO_WORD.sub("", " ".join(text.split()))


def first_by_hash(problems: Iterable[Problem], count: int) -> list[Problem]:
    """Returns the first `count` problems in hash order that have a gold answer, no text twice."""
    # Text and gold break ties, so that copies of one text come in the same order from any file.
    ordered = sorted(
        (problem for problem in problems if problem.gold is not None),
        key=lambda problem: (keyed_hash(problem.text, SPLIT_KEY), problem.text, problem.gold),
    )
    by_key: dict[str, Problem] = {}
    for problem in ordered:
        by_key.setdefault(text_key(problem.text), problem)
    return list(by_key.values())[:count]


def without_texts_of(problems: Iterable[Problem], excluded: Collection[Problem]) -> list[Problem]:
    """Returns the problems whose text is not the text of an excluded problem; see `text_key`."""
    keys = {text_key(problem.text) for problem in excluded}
    return [problem for problem in problems if text_key(problem.text) not in keys]


def with_texts_of(problems: Iterable[Problem], chosen: Collection[Problem]) -> list[Problem]:
    """Returns the problems whose text is the text of a chosen problem, in their order; see `text_key`."""
    keys = {text_key(problem.text) for problem in chosen}
    return [problem for problem in problems if text_key(problem.text) in keys]


def default_eval_size(problems: Iterable[Problem]) -> int:
    """A tenth of the different problems that have a gold answer, at most `MOST_HELD_OUT`."""
    return min(MOST_HELD_OUT, _num_with_gold(problems) // 10)


def _num_with_gold(problems: Iterable[Problem]) -> int:
    return len({text_key(problem.text) for problem in problems if problem.gold is not None})


def copies_note(num_problems: int, split: Split, *, are_apart: bool) -> list[str]:
    """The line for the user on problems that are not trained on because they are copies of held-out ones.

    Args:
        num_problems: number of problems in the data set that is trained on.
        are_apart: the held-out problems are of another data set.
    """
    num_copies = num_problems - len(split.train) - (0 if are_apart else len(split.held_out))
    what = "not trained on, as their text is that of a held-out one but for white space and capitals"
    return [f"{num_copies:,} rows {what}"] if num_copies else []


def evaluation_note(
    problems: Iterable[Problem], held_out: Sequence[Problem], eval_size: int | None, lack: str
) -> list[str]:
    """The line for the user where no problem is held out though nobody asked for that.

    Args:
        problems: from which `held_out` was chosen.
        lack: says that the problems have no gold answers.
    """
    if held_out or eval_size == 0:
        return []
    if num := _num_with_gold(problems):
        return [f"0 held out, a tenth of {num}: name --eval_size, or there is no evaluation"]
    return [lack]


def split_by_hash(problems: Sequence[Problem], eval_size: int | None) -> Split:
    """Holds out `eval_size` problems with a gold answer, chosen by a hash of their text.

    Args:
        eval_size: None: `default_eval_size`.

    Copies of one text all land on the same side. Train keeps the order of the file. Without gold answers
    nothing is held out.

    Raises:
        UserError: nothing would be left to train on.
    """
    eval_size = default_eval_size(problems) if eval_size is None else eval_size
    held_out = first_by_hash(problems, eval_size)
    train = without_texts_of(problems, held_out)
    if not train:
        num_texts = len({text_key(problem.text) for problem in problems})
        expected = f"less than the {num_texts:,} different problems, so that some are left to train on"
        raise UserError(f"eval_size: expected {expected}, got {eval_size:,}")
    return Split(train, held_out)


def split_problems(
    problems: Sequence[Problem], eval_problems: Sequence[Problem] | None, eval_size: int | None
) -> Split:
    """Splits off the held-out problems, or takes them from a data set of their own.

    Args:
        eval_problems: the data set of the held-out problems; None: `problems`.
        eval_size: number of held-out problems; None: of a data set of their own at most `MOST_HELD_OUT`, else
            `default_eval_size`.

    Raises:
        UserError: nothing would be left to train on.
    """
    if eval_problems is None:
        return split_by_hash(problems, eval_size)
    # A held-out text may also stand in the training file, as in many public data sets.
    held_out = first_by_hash(eval_problems, MOST_HELD_OUT if eval_size is None else eval_size)
    train = without_texts_of(problems, held_out)
    if not train:
        raise UserError("eval_dataset: expected to leave problems of dataset to train on, got every problem")
    return Split(train, held_out)
