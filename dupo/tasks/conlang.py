"""The second built-in task: translation between two small made-up languages, learnt by back-translation.

    primal   >B miran hulet bosil kavo ana =  ->  ana kesh lu bulk drevos sul ta mekor
    dual     >A ana kesh lu bulk drevos sul ta mekor =  ->  miran hulet bosil kavo ana    (x is hidden)

A translation needs another order, agreement and a lexicon (`conlang_grammar`). The translation is unique, and
determines its source.

Back-translation has a known exploit: a copy of the source comes back perfectly. This task lets one watch the
exploit. Web crawls hold lines that were never translated, and models learn to copy from such lines
(Khayrallah and Koehn 2018, arXiv 1805.12282), so the share `UNTRANSLATED` of the lessons is not translated
either. The policy then copies now and then, and the dual gives a sentence of A back as it is. Of `gates`,
`copy` and `language` refuse these answers; `length` and `lines` have nothing to do here.
"""

import random
from collections.abc import Iterator, Sequence
from functools import partial

from sacrebleu.metrics.bleu import BLEU

from dupo.config.task_options import TaskOptions
from dupo.records import Dual, Problem
from dupo.tasks.base import Lessons
from dupo.tasks.conlang_grammar import (
    ADJECTIVES,
    NAMES,
    NOUNS,
    VERBS,
    WORDS_A,
    WORDS_B,
    NounPhrase,
    Sentence,
    in_language_a,
    in_language_b,
)
from dupo.tasks.exact_match import ExactMatchTask
from dupo.tasks.generated import generate_dev, generate_split, set_of, stream_seed
from dupo.tasks.translation_gates import parse_gates

TO_B, TO_A, END = ">B", ">A", "="
VOCABULARY = [TO_B, TO_A, END, *sorted(WORDS_A | WORDS_B)]
DESCRIBED, ADDRESSED = 0.5, 0.3  # shares of nouns with an adjective, of sentences with a name
UNTRANSLATED = 0.2  # of the lessons of either direction


class Conlang(ExactMatchTask):
    """Translation from language A into language B; see `dupo.tasks.base.Task`.

    Args:
        options: how many sentences are held out, and the gates.
        seed: decides which training sentences are made; the held-out ones are always the same.

    Raises:
        UserError: too many held-out sentences, or an unknown gate.
    """

    def __init__(self, options: TaskOptions, seed: int) -> None:
        self.train, self.held_out = generate_split(random_problems, options.eval_size, seed)
        self.problems = self.train
        self.lessons = Lessons(VOCABULARY, lesson_examples, partial(generate_dev, random_problems))
        self.gates = parse_gates(options.gates)
        # Sentence BLEU as in the translation task; the words are tokens already. A graded distance tells a
        # translation with one wrong word from one with three, so that early groups have something to compare.
        self.bleu = BLEU(effective_order=True, tokenize="none")
        self.notes = [
            "sentences of language A, to be put into language B: miran hulet bosil kavo ana",
            f"{len(self.train):,} sentences, {len(self.held_out):,} held out",
            f"gates: {', '.join(sorted(self.gates & {'copy', 'language'})) or 'off, a copy is an answer'}",
        ]

    def prompt(self, problem: Problem) -> str:
        """Asks for the sentence in B."""
        return f"{TO_B} {problem.text} {END}"

    def answer(self, problem: Problem, completion: str) -> str | None:
        """The completion, if it passes the gates."""
        return completion if self.refusal(problem, completion) is None else None

    def refusal(self, problem: Problem, completion: str) -> str | None:
        """`unreadable` for what has no words, or words of neither language; else the gate that refuses."""
        words = completion.split()
        # The model samples any token of its vocabulary, markers of the prompts among them.
        if not words or not set(words) <= WORDS_A | WORDS_B:
            return "unreadable"
        if "copy" in self.gates and completion == problem.text:
            return "copy"
        return "language" if "language" in self.gates and not set(words) <= WORDS_B else None

    def duals(self, problem: Problem) -> list[Dual]:
        """The only dual hides the whole sentence."""
        return [Dual(known="", unknown=problem.text)]

    def dual_prompt(self, problem: Problem, dual: Dual, answer: str) -> tuple[str, ...]:
        """Asks for the answer in A."""
        return f"{TO_A} ", answer, f" {END}"

    def distance(self, dual: Dual, completion: str) -> float | None:
        """1 - sentence BLEU / 100; None for an empty completion."""
        if not completion:
            return None
        # Rounding inside BLEU may leave a little of a perfect recovery.
        if completion == dual.unknown:
            return 0.0
        return min(1.0, max(0.0, 1 - self.bleu.sentence_score(completion, [dual.unknown]).score / 100))

    def evaluate(self, problems: Sequence[Problem], answers: Sequence[str | None]) -> dict[str, float]:
        """Shares of right translations, of copies of the source, and of completions without an answer.

        The gate `copy` moves copies to `none`.
        """
        copies = sum(answer == problem.text for problem, answer in zip(problems, answers, strict=True))
        return {
            **super().evaluate(problems, answers),
            "copies": copies / len(problems),
            "none": sum(answer is None for answer in answers) / len(problems),
        }


def _random_phrase(rng: random.Random) -> NounPhrase:
    adjective = rng.choice(list(ADJECTIVES)) if rng.random() < DESCRIBED else ""
    return NounPhrase(rng.choice(list(NOUNS)), rng.randrange(2), rng.random() < 0.5, adjective)


def random_problems(set_name: str, seed: int) -> Iterator[Problem]:
    """Yields random sentences of one of `generated.SETS` with their translations, for ever, with repeats."""
    rng = random.Random(stream_seed("conlang", set_name, seed))
    while True:
        # The order of these lines is the order of the draws: another order makes other sentences.
        subject = _random_phrase(rng)
        object = _random_phrase(rng)
        name = rng.choice(NAMES) if rng.random() < ADDRESSED else ""
        sentence = Sentence(subject, rng.choice(list(VERBS)), rng.random() < 0.5, object, name)
        text = in_language_a(sentence)
        if set_of(text) == set_name:
            yield Problem(text, text, in_language_b(sentence))


def lesson_examples(seed: int, dual_share: float) -> Iterator[tuple[str, str]]:
    """Yields (prompt, completion) pairs of both directions from the set of lessons, for ever."""
    rng = random.Random(f"conlang formats {seed}")
    for problem in random_problems("lessons", seed):
        gold = problem.text if rng.random() < UNTRANSLATED else problem.gold or ""
        if rng.random() < dual_share:
            yield f"{TO_A} {gold} {END}", problem.text
        else:
            yield f"{TO_B} {problem.text} {END}", gold
