"""Fits the margins of `dupo/tasks/language_margins.py` on references, and prints the tables.

    python -m bench.text.language_margins shared/data/flores_dev

The folder has line-parallel files <name>.<language>. Lines 1, 3, 5, ... fit; the others are left for judging.
A margin is the largest log-odds of a fitted reference against its own language, and at least `LEAST`: first
words of references, which stand for short texts, have up to that. A related language may be likelier by less,
so it has a margin of its own: the smallest, from `LEAST_RELATED` up, that refuses
at most `SHARE` of the fitted references.
"""

import math
import sys
from pathlib import Path

from dupo.tasks.language_detection import NO_LANGUAGE, classes_of, scores_of
from dupo.tasks.related_words import telling_log_odds

LEAST, LEAST_RELATED, SHARE = 20.0, 7.0, 0.003
# Indonesian and Malay are too near to be refused for less than a quarter more than any fitted reference.
NEAREST, SLACK = {"id", "ms"}, 1.25
# Classes of py3langid that a right text in the language may look like. Bosnian is so near to Croatian
# (likelier for a quarter of the references) that its margin is that of any language.
RELATED = {
    "cs": ("sk",),
    "da": ("no", "nn", "sv"),
    "es": ("ca", "gl", "pt"),
    "hr": ("sl", "sr"),
    "id": ("ms",),
    "ms": ("id",),
    "nb": ("da", "sv"),
    "no": ("da", "sv"),
    "pt": ("es", "gl"),
    "ru": ("be", "bg", "uk"),
    "sv": ("da", "no", "nn"),
    "uk": ("be", "bg", "ru"),
}


def fit(language: str, texts: list[str]) -> tuple[float, dict[str, float]]:
    """Returns the margin of a language, and the margins of its related languages, in nats."""
    own, related = classes_of(language), RELATED.get(language, ())
    log_odds: dict[str, list[float]] = {}
    for text in texts:
        scores = scores_of(text)
        own_score = max(scores[name] for name in own if name in scores)
        for name in scores.keys() - {*own, NO_LANGUAGE}:
            log_odds.setdefault(name, []).append(
                scores[name] - own_score + telling_log_odds(text, name, language)
            )
    margin = max(max(values) for name, values in log_odds.items() if name not in related)
    allowed = 0 if language in NEAREST else int(SHARE * len(texts))
    slack = SLACK if language in NEAREST else 1.0
    margins = {name: slack * sorted(log_odds[name], reverse=True)[allowed] for name in related}
    # Rounded up, so that the fitted references stay inside.
    return max(LEAST, _above(margin)), {name: max(LEAST_RELATED, _above(margins[name])) for name in related}


def _above(nats: float) -> float:
    return math.ceil(10 * nats) / 10


def main(folder: str) -> None:
    """Prints the tables as Python."""
    files = sorted(path for path in Path(folder).iterdir() if path.is_file())
    codes = [path.suffix[1:] for path in files]
    tables = {
        code: fit(code, path.read_text("utf-8").splitlines()[::2])
        for code, path in zip(codes, files, strict=True)
    }
    if "nb" in tables:
        tables["no"] = tables["nb"]
    margins = {code: tables[code][0] for code in sorted(tables)}
    related = {code: tables[code][1] for code in sorted(tables) if tables[code][1]}
    print(f"MARGINS: dict[str, float] = {margins}")
    print(f"RELATED_MARGINS: dict[str, dict[str, float]] = {related}")


if __name__ == "__main__":
    main(sys.argv[1])
