"""Sentences of one language: translate, translate back, and compare with where it started.

    primal   source in `src`  ->  answer in `tgt`
    dual     answer in `tgt`  ->  source again; d = 1 - BLEU / 100 (or chrF++, or their mean), per sentence

DuPO, section 3.4: all of the input is the unknown part, the known part is only the pair of languages. A copy
of the source would come back perfectly, so an answer must pass `gates`. `translation_metric` may also be the
dotted path of a function: see `likeness.LikenessFunction`. Training needs no reference; evaluation does, and
its headline is chrF++, because a metric of the family of the reward (BLEU unless chosen otherwise) would
partly measure the reward itself.
"""

from collections.abc import Sequence
from dataclasses import replace

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from dupo.config.task_options import TaskOptions
from dupo.data.parallel_text import read_sentences
from dupo.data.splits import copies_note, evaluation_note, split_problems
from dupo.errors import UserError
from dupo.records import Dual, Problem
from dupo.tasks.languages import LANGUAGES
from dupo.tasks.likeness import bleu_name, bleu_tokenizer, char_note, make_likeness
from dupo.tasks.translation_gates import Gates, parse_gates, read_back


class Translation:
    """Translation from `src` into `tgt`; see `dupo.tasks.base.Task`.

    Args:
        options: data sets, languages, metric and gates.
        seed: not read; nothing here is random.

    Raises:
        UserError: the data cannot be used, or the metric cannot be imported.
    """

    headline = "chrf"
    one_answer = False
    lessons = None

    def __init__(self, options: TaskOptions, seed: int) -> None:
        self.src, self.tgt = options.src, options.tgt
        assert options.dataset is not None  # held by `Config`
        self._paragraphs = options.paragraphs
        self.problems, left_out = self._read(options.dataset, "dataset")
        eval_problems, notes = self._read_eval_sentences(options.eval_dataset)
        self.train, self.held_out = split = split_problems(self.problems, eval_problems, options.eval_size)
        self._gates = Gates(
            parse_gates(options.gates), self.src, self.tgt, options.max_length_ratio, options.paragraphs
        )
        self._likeness = make_likeness(options.translation_metric, self.src)
        self._chrf = CHRF(word_order=2)  # word order 2 makes chrF++
        self._bleu, self._bleu_name = BLEU(tokenize=bleu_tokenizer(self.tgt)), bleu_name(self.tgt)
        sentences = f"{len(self.problems):,} sentences read ({self.src} to {self.tgt})"
        self.notes = [
            f"{sentences}; {len(self.held_out):,} held out",
            f"likeness of a back-translation: {self._likeness.description}",
            *char_note(self.src, self.tgt),
            self._gates.note(),
            *left_out,
            *notes,
        ]
        lack = "no held-out sentence with a reference translation: no metric can be given"
        source = self.problems if eval_problems is None else eval_problems
        self.notes += evaluation_note(source, self.held_out, options.eval_size, lack)
        self.notes += copies_note(len(self.problems), split, are_apart=eval_problems is not None)

    def _read(self, dataset: str, option: str) -> tuple[list[Problem], list[str]]:
        problems, left_out = read_sentences(dataset, self.src, self.tgt, option)
        if self._paragraphs:
            return problems, left_out
        # An answer has one line then, so a source of several lines could never be recovered.
        on_one_line = [
            replace(problem, text=one_line(problem.text), gold=problem.gold and one_line(problem.gold))
            for problem in problems
        ]
        return on_one_line, left_out

    def _read_eval_sentences(self, eval_dataset: str | None) -> tuple[list[Problem] | None, list[str]]:
        if not eval_dataset:
            return None, []
        problems, left_out = self._read(eval_dataset, "eval_dataset")
        # Without references no problem could be held out, and the run would go on without any evaluation.
        if all(problem.gold is None for problem in problems):
            expected = f"translations into {self.tgt!r} in {eval_dataset}"
            raise UserError(f"eval_dataset: expected {expected}, got none")
        return problems, left_out

    def prompt(self, problem: Problem) -> str:
        """Asks for the sentence in `tgt`."""
        return "".join(translation_prompt(problem.text, self.src, self.tgt, self._paragraphs))

    def plain(self, text: str) -> None:
        """None: sentences are plain."""

    def answer(self, problem: Problem, completion: str) -> str | None:
        """The bare translation in the completion, if it passes the gates: one line, or paragraphs."""
        return self._gates.read(problem.text, completion).answer

    def refusal(self, problem: Problem, completion: str) -> str | None:
        """`unreadable` for an empty completion, or the gate that refuses."""
        return self._gates.read(problem.text, completion).refusal

    def duals(self, problem: Problem) -> list[Dual]:
        """The only dual hides the whole sentence."""
        return [Dual(known="", unknown=problem.text)]

    def dual_prompt(self, problem: Problem, dual: Dual, answer: str) -> tuple[str, ...]:
        """Asks for the answer in `src`."""
        return translation_prompt(answer, self.tgt, self.src, self._paragraphs)

    def distances(
        self, duals: Sequence[Dual], answers: Sequence[str], completions: Sequence[str]
    ) -> list[float | None]:
        """1 - likeness of each back-translation and its source; None for an empty completion."""
        # The metric gets readable completions only, all of them in one call, because it may be a model.
        readable = list[int]()
        back_translations, sources, translations = list[str](), list[str](), list[str]()
        for index, (completion, dual, answer) in enumerate(zip(completions, duals, answers, strict=True)):
            # A mark that the hidden sentence has is no wrapper of its back-translation.
            back = read_back(dual.unknown, completion, self.src, self._paragraphs)
            if back is not None:
                readable.append(index)
                back_translations.append(one_line(back))
                sources.append(one_line(dual.unknown))
                translations.append(one_line(answer))
        distances: list[float | None] = [None] * len(completions)
        if not readable:  # a metric of the user may not expect an empty batch
            return distances
        values = self._likeness.measure(back_translations, sources, translations)
        for index, value in zip(readable, values, strict=True):
            distances[index] = 1 - value
        return distances

    def score(self, problem: Problem, answer: str | None) -> float:
        """chrF++ / 100 of the answer and the reference; 0 without an answer or a reference."""
        if answer is None or problem.gold is None:
            return 0.0
        return min(1.0, self._chrf.sentence_score(one_line(answer), [one_line(problem.gold)]).score / 100)

    def evaluate(self, problems: Sequence[Problem], answers: Sequence[str | None]) -> dict[str, float]:
        """chrF++ and BLEU of the corpus, 0 to 100, by `likeness.bleu_name`; no answer is an empty one."""
        references = [[one_line(problem.gold or "") for problem in problems]]
        # A refused completion counts as an empty translation, so that gates cannot raise the score.
        outputs = [one_line(answer or "") for answer in answers]
        if len(outputs) != len(problems):
            raise ValueError(f"answers: expected {len(problems)} answers, one a problem, got {len(outputs)}")
        return {
            "chrf": self._chrf.corpus_score(outputs, references).score,
            self._bleu_name: min(
                100.0, self._bleu.corpus_score(outputs, references).score
            ),  # rounding goes above 100
        }


def one_line(text: str) -> str:
    """Returns a text with its lines joined: no metric says anything of line breaks."""
    return " ".join(text.split("\n"))


def translation_prompt(text: str, src: str, tgt: str, paragraphs: bool = False) -> tuple[str, str]:
    """Asks for a translation, the text apart; a language without a known name is named by its code."""
    # The text is a piece of its own: the instruction before it is tokenised once.
    languages = f"from {LANGUAGES.get(src, src)} to {LANGUAGES.get(tgt, tgt)}"
    what = "text" if paragraphs else "sentence"
    return f"Translate the following {what} {languages}. Write only the translation.\n\n", text
