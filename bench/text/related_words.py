"""Names the words of `dupo/tasks/related_words.py` that references contradict, and how many they confirm.

    python -m bench.text.related_words shared/data/flores_dev

Lines 1, 3, 5, ... are asked. A word that stands in sentences of the other language must be `RATIO` times as
frequent in its own, half a sentence added to both counts. A word that stands in neither is left to knowledge.
"""

import sys
from collections import Counter
from pathlib import Path

from dupo.tasks.related_words import TELLING_WORDS
from dupo.tasks.words import words_of

RATIO = 8.0


def main(folder: str) -> None:
    """Prints the words that are contradicted."""
    counts = {code: Counter[str]() for code in TELLING_WORDS}
    for code in counts:
        [path] = Path(folder).glob(f"*.{code}")
        for text in path.read_text("utf-8").splitlines()[::2]:
            counts[code].update({word.key for word in words_of(text)})
    codes = list(counts)
    for code, other in (codes, codes[::-1]):
        words = TELLING_WORDS[code]
        wrong = [
            word
            for word in sorted(words)
            if counts[other][word] and counts[code][word] + 0.5 < RATIO * (counts[other][word] + 0.5)
        ]
        seen = sum(counts[code][word] > 0 for word in words)
        print(f"{code}: {len(words)} words, {seen} seen, contradicted: {' '.join(wrong) or 'none'}")


if __name__ == "__main__":
    main(sys.argv[1])
