"""How alike two sentences are: sacrebleu's sentence metrics, or a function of the user."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from dupo.config.options import METRICS
from dupo.errors import UserError
from dupo.plugins import load_function
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
        return Likeness(load_function("translation_metric", metric), metric)
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


def describe_metric(metric: BLEU | CHRF) -> str:
    """Returns name, settings and version, as sacrebleu writes them."""
    # sacrebleu knows all of its settings only after a first score.
    name = metric.sentence_score("a", ["a"]).name
    return f"{name} {metric.get_signature()}"


def check_likeness(values: object, count: int, metric: str) -> list[float]:
    """Returns the values of a metric as floats.

    Args:
        values: what the function of the metric returned.
        count: number of sentences.
        metric: name of the metric, for the message.

    Raises:
        UserError: not `count` values, or one outside [0, 1].
    """
    if not isinstance(values, Iterable):
        raise UserError(f"{metric}: expected a list of {count} values, got {values!r}")
    floats = [float(value) for value in values]
    if len(floats) != count:
        raise UserError(f"{metric}: expected {count} values, one a back-translation, got {len(floats)}")
    for value in floats:
        if not 0 <= value <= 1:  # also refuses NaN
            raise UserError(f"{metric}: expected values in [0, 1], got {value}")
    return floats
