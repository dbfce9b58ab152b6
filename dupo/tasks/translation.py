"""Sentences of one language: translate, translate back, and compare with where it started.

    primal   source in `src`  ->  answer in `tgt`
    dual     answer in `tgt`  ->  source again; d = 1 - BLEU / 100 (or chrF++, or their mean), per sentence

DuPO, section 3.4: all of the input is the unknown part, the known part is only the pair of languages. A copy
of the source would come back perfectly, so an answer must pass `gates`. `translation_metric` may also be the
dotted path of a function of the user's: see `Likeness`. Training needs no reference; evaluation does, and its
headline is chrF++, because a figure of the same family as the reward (BLEU unless chosen otherwise) would
partly measure the reward itself.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from dupo.config.options import TaskOptions
from dupo.data.files import column, columns, make_split, read_jsonl, read_lines, text_at
from dupo.errors import UserError
from dupo.plugins import load_function
from dupo.records import Dual, Problem
from dupo.tasks.translation_gates import Gates, first_line, gates_of, language_of

# The languages of Seed-X, on which DuPO was tried.
LANGUAGES = {
    "ar": "Arabic",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fi": "Finnish",
    "fr": "French",
    "hr": "Croatian",
    "hu": "Hungarian",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "ms": "Malay",
    "nb": "Norwegian Bokmål",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sv": "Swedish",
    "th": "Thai",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "vi": "Vietnamese",
    "zh": "Chinese",
}
TOKENIZERS = {"zh": "zh", "ja": "char", "ko": "char", "th": "char"}
BUILT_IN = ("bleu", "chrf", "mean")

# (back-translations, the sentences they should be, the translations they were made from) -> a value in [0, 1]
# for each, 1 = same meaning. Called once with all completions, so that it may be a model.
Likeness = Callable[[list[str], list[str], list[str]], list[float]]


class Translation:
    """See `dupo.tasks.base.Task`.

    Attributes:
        notes: what was read, how likeness is measured and which gates are in force, one line each.
    """

    headline = "chrf"
    one_answer = False
    lessons = None

    def __init__(self, options: TaskOptions, seed: int) -> None:
        self.src, self.tgt = options.src, options.tgt
        assert options.dataset is not None  # held by `Config`
        self.problems = sentences = read_sentences(options.dataset, self.src, self.tgt)
        apart = options.eval_dataset and read_sentences(options.eval_dataset, self.src, self.tgt)
        if apart and all(p.gold is None for p in apart):
            raise UserError(f"eval_dataset: {options.eval_dataset} has no translations into {self.tgt!r}")
        self.train, self.held_out = make_split(sentences, apart or None, options.eval_size)
        self._gates = Gates(gates_of(options.gates), self.src, self.tgt, options.max_length_ratio)
        self._metric = options.translation_metric
        self._likeness, measure = likeness(self._metric, self.src)
        self._chrf = CHRF(word_order=2)
        self._bleu = BLEU(tokenize=tokenizer_for(self.tgt))
        self.notes = [
            f"{len(sentences):,} sentences read ({self.src} to {self.tgt}); {len(self.held_out):,} held out",
            f"likeness of a back-translation: {measure}",
            self._gates.note(),
        ]
        if not self.held_out and options.eval_size:
            self.notes.append("no held-out sentence with a reference translation: no figure can be given")

    def prompt(self, problem: Problem) -> str:
        return "".join(translate_prompt(problem.text, self.src, self.tgt))

    def answer(self, problem: Problem, completion: str) -> str | None:
        return self._gates.read(problem.text, completion)[0]

    def refusal(self, problem: Problem, completion: str) -> str | None:
        return self._gates.read(problem.text, completion)[1]

    def duals(self, problem: Problem) -> list[Dual]:
        return [Dual(known="", unknown=problem.text)]

    def dual_prompt(self, problem: Problem, dual: Dual, answer: str) -> tuple[str, ...]:
        return translate_prompt(answer, self.tgt, self.src)

    def distances(
        self, duals: Sequence[Dual], answers: Sequence[str], completions: Sequence[str]
    ) -> list[float | None]:
        lines = [first_line(text) for text in completions]
        rows = [(n, d.unknown, a) for n, d, a in zip(lines, duals, answers, strict=True) if n is not None]
        if not rows:
            return [None] * len(lines)
        values = self._likeness(*(list(column) for column in zip(*rows, strict=True)))
        found = iter(checked(values, len(rows), self._metric))
        return [None if line is None else 1 - next(found) for line in lines]

    def score(self, problem: Problem, answer: str | None) -> float:
        if answer is None or problem.gold is None:
            return 0.0
        return min(1.0, self._chrf.sentence_score(answer, [problem.gold]).score / 100)

    def evaluate(self, problems: Sequence[Problem], answers: Sequence[str | None]) -> dict[str, float]:
        references = [[p.gold or "" for p in problems]]
        outputs = [answer or "" for answer in answers]
        if len(outputs) != len(problems):
            raise ValueError(f"expected {len(problems)} answers, one a problem, got {len(outputs)}")
        return {
            "chrf": self._chrf.corpus_score(outputs, references).score,
            "bleu": min(100.0, self._bleu.corpus_score(outputs, references).score),  # rounding goes above 100
        }


def translate_prompt(sentence: str, src: str, tgt: str) -> tuple[str, str]:
    """Asks for a translation, the sentence apart; languages without a known name are shown by their code."""
    languages = f"from {LANGUAGES.get(src, src)} to {LANGUAGES.get(tgt, tgt)}"
    return f"Translate the following sentence {languages}. Write only the translation.\n\n", sentence


def tokenizer_for(language: str) -> str:
    """sacrebleu's tokenizer for BLEU: characters where words are not spaced. None of them is downloaded."""
    return TOKENIZERS.get(language_of(language), "13a")


def likeness(metric: str, language: str) -> tuple[Likeness, str]:
    """What `translation_metric` names, for sentences of `language`, and how it calls itself."""
    if metric not in BUILT_IN:
        return load_function("translation_metric", metric), metric
    metrics = sentence_metrics(metric, language)

    def mean(hypotheses: list[str], references: list[str], sources: list[str]) -> list[float]:
        pairs = zip(hypotheses, references, strict=True)
        scores = [[m.sentence_score(text, [truth]).score for m in metrics] for text, truth in pairs]
        return [min(1.0, sum(row) / len(row) / 100) for row in scores]  # rounding goes above 100

    return mean, " and ".join(map(signature, metrics))


def sentence_metrics(name: str, language: str) -> list[BLEU | CHRF]:
    """The metrics whose mean is the likeness of two sentences of `language`: bleu, chrf, or mean (both)."""
    bleu = BLEU(effective_order=True, tokenize=tokenizer_for(language))
    chrf = CHRF(word_order=2)
    return {"bleu": [bleu], "chrf": [chrf], "mean": [bleu, chrf]}[name]


def signature(metric: BLEU | CHRF) -> str:
    """sacrebleu's description of a metric: name, settings, version; complete only after a first score."""
    name = metric.sentence_score("a", ["a"]).name
    return f"{name} {metric.get_signature()}"


def checked(values: object, count: int, metric: str) -> list[float]:
    """The values of a metric as plain floats. Raises UserError unless there are `count`, all in [0, 1]."""
    if not isinstance(values, Iterable):
        raise UserError(f"{metric}: expected a list of {count} values, got {values!r}")
    found = [float(value) for value in values]
    if len(found) != count:
        raise UserError(f"{metric}: expected {count} values, one a back-translation, got {len(found)}")
    bad = next((value for value in found if not 0 <= value <= 1), None)
    if bad is not None:
        raise UserError(f"{metric}: expected values in [0, 1], got {bad}")
    return found


# --- data sets ---


def read_sentences(dataset: str, src: str, tgt: str) -> list[Problem]:
    """Sentences of `src`, with their translations into `tgt` as gold where the data set has them.

    `dataset` is a folder with <name>.<src> and, if there are references, <name>.<tgt>, line by line; or such
    a path without the ending, folder/name; or a JSON-lines file with a column `src` and perhaps one `tgt`.

    Raises:
        UserError: nothing of this is there, or it cannot be read.
    """
    path = Path(dataset)
    if path.is_dir():
        return _parallel(_stem(path, src), src, tgt)
    if not path.exists() and _with_ending(path, src).is_file():
        return _parallel(path, src, tgt)
    rows = read_jsonl(path)
    source = column(rows, path, src, (), "src")
    target = tgt if tgt in columns(rows) else None
    problems = []
    for row in rows:
        text = text_at(row, path, source, needed=True) or ""
        gold = text_at(row, path, target, needed=False) if target else None
        problems.append(_problem(f"{path.name}:{getattr(row, 'line', '?')}", text, gold, row))
    return problems


def _problem(id: str, text: str, gold: str | None, row: Mapping[str, Any] | None = None) -> Problem:
    # An answer is one line, so a source of several could never be recovered.
    return Problem(id, " ".join(text.split()), " ".join(gold.split()) or None if gold else None, row or {})


def _with_ending(stem: Path, language: str) -> Path:
    return stem.parent / f"{stem.name}.{language}"


def _stem(folder: Path, src: str) -> Path:
    """The one <name> for which folder/<name>.<src> exists."""
    found = sorted(p for p in folder.iterdir() if p.name.endswith(f".{src}") and p.is_file())
    if not found:
        raise UserError(f"dataset: no file in {folder} ends in .{src}")
    if len(found) > 1:
        names = ", ".join(p.name for p in found)
        stem = folder / found[0].name.removesuffix(f".{src}")
        raise UserError(
            f"dataset: several files in {folder} end in .{src} ({names}); name one, such as {stem}"
        )
    return found[0].parent / found[0].name.removesuffix(f".{src}")


def _parallel(stem: Path, src: str, tgt: str) -> list[Problem]:
    source, target = _with_ending(stem, src), _with_ending(stem, tgt)
    lines = read_lines(source)
    golds = read_lines(target) if target.is_file() else [""] * len(lines)
    if len(golds) != len(lines):
        raise UserError(
            f"dataset: {source.name} and {target.name} must have as many lines as each other, "
            f"got {len(lines):,} and {len(golds):,}"
        )
    pairs = enumerate(zip(lines, golds, strict=True), start=1)
    return [_problem(f"{source.name}:{k}", text, gold) for k, (text, gold) in pairs if text.strip()]
