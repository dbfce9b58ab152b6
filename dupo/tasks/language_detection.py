"""Whether a text is in its target language, asked of all languages that py3langid (optional) knows.

    log-odds   log p(text | other) - log p(text | target) of each other language, in nats
    refused    where the log-odds are above the margin of the target and the other language

The log-odds of nearly every reference are below zero. The margins are those of `language_margins`; related
languages have margins of their own.
"""

import math
from functools import lru_cache
from importlib.util import find_spec

from dupo.tasks.language_margins import MARGINS, RELATED_MARGINS, UNFITTED_MARGIN
from dupo.tasks.languages import language_of
from dupo.tasks.related_words import telling_log_odds

# Classes of py3langid that count as the language: it has one class for both names of Norwegian, and it takes
# a sentence in a standard language for a dialect of that language now and then.
CLASSES: dict[str, tuple[str, ...]] = {
    "ar": ("ar", "ary", "arz"),
    "nb": ("no", "nn"),
    "no": ("no", "nn"),
    "zh": ("zh", "wuu", "yue"),
}
NO_LANGUAGE = "zxx"  # its class of numbers, codes and the like
CACHED_TEXTS = 2**14  # texts of a few rollouts; a gate asks for the same text more than once


def is_installed() -> bool:
    """Says whether py3langid can be imported."""
    return find_spec("py3langid") is not None


def knows(code: str) -> bool:
    """Says whether py3langid is installed and has a class for a language."""
    return is_installed() and any(name in scores_of("a") for name in classes_of(code))


def is_fitted(code: str) -> bool:
    """Says whether the margin of a language was fitted on references."""
    return language_of(code) in MARGINS


def classes_of(code: str) -> tuple[str, ...]:
    """Returns the classes of py3langid that count as a language."""
    language = language_of(code)
    return CLASSES.get(language, (language,))


@lru_cache(maxsize=CACHED_TEXTS)
def scores_of(text: str) -> dict[str, float]:
    """Returns log p(text, language) of each class of py3langid, in nats; do not change it."""
    import py3langid  # optional; it loads its model at the first call

    return dict(py3langid.rank(text))


def log_odds_against(text: str, code: str) -> dict[str, float]:
    """Returns log p(text | other) - log p(text | code) of each other class, in nats.

    py3langid must know the language `code`.
    """
    scores, own, language = scores_of(text), classes_of(code), language_of(code)
    own_score = max(scores.get(name, -math.inf) for name in own)
    return {
        name: score - own_score + telling_log_odds(text, name, language)
        for name, score in scores.items()
        if name not in own and name != NO_LANGUAGE
    }


def is_in_another_language(text: str, code: str) -> bool:
    """Says whether py3langid is sure that a text is not in a language, which it must know."""
    language = language_of(code)
    margin = MARGINS.get(language, UNFITTED_MARGIN)
    related = RELATED_MARGINS.get(language, {})
    return any(odds > related.get(name, margin) for name, odds in log_odds_against(text, code).items())


def log_odds(text: str, code: str, other: str) -> float:
    """Returns log p(text | code) - log p(text | other) in nats, both languages that py3langid knows."""
    scores = scores_of(text)
    first, second = (max(scores[name] for name in classes_of(c) if name in scores) for c in (code, other))
    return first - second
