"""Whether a text is in the source language instead of the target language, by py3langid (optional)."""

import math
from importlib.util import find_spec

from dupo.tasks.languages import in_same_group, language_of
from dupo.tasks.scripts import SCRIPT_OF

# py3langid must find the source language so many nats likelier than the target: at most 0.5 % of references
# are refused then, and at least 96 % of sentences of the source language are.
MARGIN = 4.0
# Not so between Indonesian and Malay: 12 % of references in Malay, 63 % of sentences in Malay. Norwegian has
# one class for both names.
NOT_TOLD_APART = ({"id", "ms"}, {"nb", "no"})


def can_be_told_apart(src: str, tgt: str) -> bool:
    """Says whether py3langid was measured to tell two languages apart."""
    languages = {language_of(src), language_of(tgt)}
    measured = len(languages) == 2 and languages <= SCRIPT_OF.keys()
    return measured and not in_same_group(src, tgt, NOT_TOLD_APART)


def detects(src: str, tgt: str) -> bool:
    """Says whether py3langid decides between two languages: installed, and able to tell them apart."""
    return can_be_told_apart(src, tgt) and find_spec("py3langid") is not None


def is_in_source_language(text: str, src: str, tgt: str) -> bool:
    """Says whether py3langid is sure that a text is in `src` rather than in `tgt`."""
    return source_evidence(text, src, tgt) > MARGIN


def source_evidence(text: str, src: str, tgt: str) -> float:
    """Returns log p(src | text) - log p(tgt | text) in nats, of the naive Bayes model of py3langid."""
    import py3langid  # optional; it loads its model at the first call

    scores = dict(py3langid.rank(text))
    # Norwegian Bokmål has no class of its own there.
    source, target = ("no" if code == "nb" else code for code in map(language_of, (src, tgt)))
    evidence = scores[source] - scores[target]
    return evidence if math.isfinite(evidence) else 0.0
