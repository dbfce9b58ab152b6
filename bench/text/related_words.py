"""Fits the words of `dupo/tasks/related_words.py` that tell Indonesian from Malay, and prints the tables.

    python -m bench.text.related_words shared/data/flores_dev

Lines 1, 3, 5, ... fit. A word tells if it is `RATIO` times as frequent in sentences of one language as of the
other, half a sentence added to both counts, and is no name.
"""

import sys
import textwrap
from collections import Counter
from pathlib import Path

from dupo.tasks.words import words_of

RATIO = 8.0
LANGUAGES = ("id", "ms")


def main(folder: str) -> None:
    """Prints the tables as Python."""
    counts, capitals = {code: Counter[str]() for code in LANGUAGES}, Counter[str]()
    for code in LANGUAGES:
        [path] = Path(folder).glob(f"*.{code}")
        for text in path.read_text("utf-8").splitlines()[::2]:
            words = words_of(text)
            counts[code].update({word.key for word in words})
            capitals.update({word.key for word in words if word.text[0].isupper() and not word.opens})
    for code, other in (LANGUAGES, LANGUAGES[::-1]):
        telling = sorted(
            word
            for word, count in counts[code].items()
            if word.isalpha()
            and count + 0.5 > RATIO * (counts[other][word] + 0.5)
            and 2 * capitals[word] < count + counts[other][word]
        )
        lines = textwrap.wrap(" ".join(telling), 104)
        print(f'_{code.upper()} = """\n' + "\n".join(lines) + '\n"""')


if __name__ == "__main__":
    main(sys.argv[1])
