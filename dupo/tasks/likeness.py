"""How alike two sentences are: sacrebleu's sentence metrics, or a function of the user."""

from collections.abc import Callable
from typing import NamedTuple

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from dupo.config.task_options import METRICS
from dupo.plugins import call_function, load_function, read_numbers
from dupo.tasks.languages import language_of

# Characters where words are not spaced. sacrebleu downloads none of these tokenizers.
BLEU_TOKENIZERS = {"zh": "zh", "ja": "char", "ko": "char", "th": "char"}

# (back-translations, the sentences they should be, the translations they were made from) -> a value in [0, 1]
# for each, 1 = same meaning. Called once with all completions, so that it may be a model.
LikenessFunction = Callable[[list[str], list[str], list[str]], list[float]]


class Likeness(NamedTuple):
    """A metric of sentences.

    Attributes:
        measure: the function.
        description: the metric with its settings and version, for the start-up table.
    """

    measure: LikenessFunction
    description: str


def make_likeness(metric: str, language: str) -> Likeness:
    """Makes the metric that `translation_metric` names, for sentences of `language`.

    Raises:
        UserError: the function of the user cannot be imported.
    """
    if metric not in METRICS:
        function = load_function("translation_metric", metric)

        def measure(hypotheses: list[str], references: list[str], sources: list[str]) -> list[float]:
            # Counted before the call: the lists belong to the function, which may change them.
            count = len(hypotheses)
            returned = call_function(metric, function, hypotheses, references, sources)
            values = read_numbers(metric, returned, count, "back-translation", low=0, high=1)
            return [value for value in values if value is not None]

        return Likeness(measure, metric)
    metrics = sentence_metrics(metric, language)

    def mean(hypotheses: list[str], references: list[str], sources: list[str]) -> list[float]:
        values = []
        for hypothesis, reference in zip(hypotheses, references, strict=True):
            scores = [metric.sentence_score(hypothesis, [reference]).score for metric in metrics]
            values.append(min(1.0, sum(scores) / len(scores) / 100))  # rounding goes above 100
        return values

    return Likeness(mean, " and ".join(map(describe_metric, metrics)))


def sentence_metrics(name: str, language: str) -> list[BLEU | CHRF]:
    """Returns the metrics whose mean is the likeness: bleu, chrf, or mean (both)."""
    bleu = BLEU(effective_order=True, tokenize=bleu_tokenizer(language))
    chrf = CHRF(word_order=2)
    return {"bleu": [bleu], "chrf": [chrf], "mean": [bleu, chrf]}[name]


def bleu_tokenizer(language: str) -> str:
    """Returns the name of sacrebleu's tokenizer for BLEU in a language."""
    return BLEU_TOKENIZERS.get(language_of(language), "13a")


def bleu_name(language: str) -> str:
    """Returns the name of the metric: "bleu", or with its tokenizer, "bleu_char", where that is not 13a.

    Papers split Japanese and Korean into words (ja-mecab, ko-mecab): a figure of characters is higher, and
    not to be compared with theirs.
    """
    tokenizer = bleu_tokenizer(language)
    return "bleu" if tokenizer == "13a" else f"bleu_{tokenizer}"


def char_note(src: str, tgt: str) -> list[str]:
    """Says that a BLEU of characters is no figure of a paper; nothing where words are counted.

    Args:
        src: source language, in which back-translations are measured.
        tgt: target language, in which answers are measured.
    """
    of_chars = [name for name in dict.fromkeys((src, tgt)) if bleu_tokenizer(name) == "char"]
    if not of_chars:
        return []
    return [
        f"BLEU in {' and '.join(of_chars)} counts characters (tokenizer char): higher than in papers, which "
        "count words"
    ]


def describe_metric(metric: BLEU | CHRF) -> str:
    """Returns name, settings and version, as sacrebleu writes them."""
    # sacrebleu knows all of its settings only after a first score.
    name = metric.sentence_score("a", ["a"]).name
    return f"{name} {metric.get_signature()}"
