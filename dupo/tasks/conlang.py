"""The second built-in task: translation between two small made-up languages, learnt by back-translation.

    primal   >B miran hulet bosil kavo ana =  ->  ana kesh lu bulk drevos sul ta mekor    (S V O -> S O V)
    dual     >A ana kesh lu bulk drevos sul ta mekor =  ->  miran hulet bosil kavo ana    (x is hidden)

A puts adjectives before nouns, and its nouns show their number. In B, adjectives come after nouns, the
verb comes last, and two markers before it show the number of subject and object, as in Swahili; two
nouns of A share one noun of B, told apart by their class, which the adjective shows, or an article where
there is none. Names are the same in both: who is spoken to, last in A and first in B. So a translation needs
another order, agreement and a lexicon; it is unique, and B determines A. B says nothing twice, on purpose:
where it did, the policy found a code of its own that the dual could read, and was rewarded for it
(dev/LOG.md).

Back-translation has a known exploit: a copy of the source comes back perfectly. Here it can be watched. Web
crawls hold lines that were never translated, and models learn to copy from them (Khayrallah and Koehn 2018,
arXiv 1805.12282), so `UNTRANSLATED` of the warm-up examples of both directions are such lines. The policy
then copies now and then, and the dual gives a sentence of A back as it is. Of `gates`, `copy` and `language`
refuse these answers; `length` and `lines` have nothing to do here.
"""

import random
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from sacrebleu.metrics.bleu import BLEU

from dupo.config.options import TaskOptions
from dupo.errors import UserError
from dupo.records import Dual, Problem
from dupo.tasks.base import Lessons
from dupo.tasks.generated import belongs, different
from dupo.tasks.translation_gates import gates_of

# noun of B: the nouns of A that it stands for, in class 0 and in class 1
NOUNS = {
    "kesh": ("mira", "talo"),
    "dorv": ("sola", "nepu"),
    "bulk": ("rima", "kavo"),
    "zint": ("pelu", "jato"),
    "gresh": ("feno", "lisa"),
    "thok": ("bano", "duri"),
    "vulp": ("hako", "semi"),
    "prad": ("nilo", "goda"),
    "yelk": ("tuma", "keri"),
    "smorg": ("vado", "pisu"),
    "chet": ("luni", "robe"),
    "kront": ("sifa", "mopu"),
}
ADJECTIVES = {  # A: stem in B
    "bosil": "drev",
    "tamil": "shog",
    "ruvel": "klin",
    "pedal": "warb",
    "nakil": "twen",
    "solel": "grud",
    "vimul": "plex",
    "jotal": "hesk",
}
VERBS = {  # stem in A: stem in B
    "hul": "mek",
    "dan": "strof",
    "ser": "vlad",
    "kop": "jund",
    "lim": "brask",
    "fat": "gwil",
    "nor": "zeft",
    "pav": "chorm",
}
NAMES = ("ana", "boris", "kim", "olu")
ARTICLES, CLASS_ENDINGS = ("lu", "los"), ("u", "os")  # by class, in B
PLURAL = "n"  # of nouns, in A
TENSES_A = ("e", "et")  # present, past
TENSES_B = ("il", "or")
SUBJECT_MARKERS, OBJECT_MARKERS = ("sa", "sul"), ("ta", "tam")  # singular, plural, in B

TO_B, TO_A, END = ">B", ">A", "="
TRAIN_SIZE, DEV_SIZE, MOST_HELD_OUT = 20_000, 500, 50_000
DESCRIBED, ADDRESSED = 0.5, 0.3  # shares of nouns with an adjective, of sentences with a name
UNTRANSLATED = 0.2  # of the warm-up examples of either direction


class Thing(NamedTuple):
    """A subject or an object."""

    noun: str  # of B
    noun_class: int
    plural: bool
    adjective: str = ""  # of A


class Sentence(NamedTuple):
    """What is said, in no language."""

    subject: Thing
    verb: str  # stem of A
    past: bool
    object: Thing
    name: str = ""  # who is spoken to


def in_a(said: Sentence) -> str:
    words = [*thing_in_a(said.subject), said.verb + TENSES_A[said.past], *thing_in_a(said.object), said.name]
    return " ".join(filter(None, words))


def thing_in_a(thing: Thing) -> list[str]:
    return [thing.adjective, NOUNS[thing.noun][thing.noun_class] + PLURAL * thing.plural]


def in_b(said: Sentence) -> str:
    markers = [SUBJECT_MARKERS[said.subject.plural], OBJECT_MARKERS[said.object.plural]]
    verb = VERBS[said.verb] + TENSES_B[said.past]
    words = [said.name, *thing_in_b(said.subject), *thing_in_b(said.object), *markers, verb]
    return " ".join(filter(None, words))


def thing_in_b(thing: Thing) -> list[str]:
    if not thing.adjective:
        return [thing.noun, ARTICLES[thing.noun_class]]
    return [thing.noun, ADJECTIVES[thing.adjective] + CLASS_ENDINGS[thing.noun_class]]


WORDS_A = {
    *NAMES,
    *ADJECTIVES,
    *(noun + plural for pair in NOUNS.values() for noun in pair for plural in ("", PLURAL)),
    *(verb + tense for verb in VERBS for tense in TENSES_A),
}
WORDS_B = {
    *NAMES,
    *ARTICLES,
    *NOUNS,
    *(stem + ending for stem in ADJECTIVES.values() for ending in CLASS_ENDINGS),
    *(stem + tense for stem in VERBS.values() for tense in TENSES_B),
    *SUBJECT_MARKERS,
    *OBJECT_MARKERS,
}
VOCABULARY = [TO_B, TO_A, END, *sorted(WORDS_A | WORDS_B)]


class Conlang:
    """See `dupo.tasks.base.Task`. `seed` decides which sentences are drawn; held-out ones are always the same."""

    headline = "accuracy"
    one_answer = True

    def __init__(self, options: TaskOptions, seed: int) -> None:
        if options.eval_size > MOST_HELD_OUT:
            raise UserError(
                f"eval_size: expected at most {MOST_HELD_OUT:,} sentences, got {options.eval_size:,}"
            )
        self.problems = self.train = draw("train", TRAIN_SIZE, seed)
        self.held_out = draw("held_out", options.eval_size, seed=0)
        self.lessons = Lessons(VOCABULARY, labelled_examples, partial(draw, "dev", DEV_SIZE, seed=0))
        self.gates = gates_of(options.gates)
        # Sentence BLEU as in the translation task; the words are tokens already. A graded distance tells a
        # translation with one wrong word from one with three, so that early groups have something to compare.
        self.bleu = BLEU(effective_order=True, tokenize="none")
        self.notes = [
            "sentences of language A, to be put into language B: miran hulet bosil kavo ana",
            f"{TRAIN_SIZE:,} sentences to train on, {options.eval_size:,} held out",
            f"gates: {', '.join(sorted(self.gates & {'copy', 'language'})) or 'off, a copy is an answer'}",
        ]

    def prompt(self, problem: Problem) -> str:
        return f"{TO_B} {problem.text} {END}"

    def answer(self, problem: Problem, completion: str) -> str | None:
        return completion if self.refusal(problem, completion) is None else None

    def refusal(self, problem: Problem, completion: str) -> str | None:
        words = completion.split()
        if not words or not set(words) <= WORDS_A | WORDS_B:
            return "unreadable"
        if "copy" in self.gates and completion == problem.text:
            return "copy"
        return "language" if "language" in self.gates and not set(words) <= WORDS_B else None

    def duals(self, problem: Problem) -> list[Dual]:
        return [Dual(known="", unknown=problem.text)]

    def dual_prompt(self, problem: Problem, dual: Dual, answer: str) -> tuple[str, ...]:
        return f"{TO_A} ", answer, f" {END}"

    def distances(
        self, duals: Sequence[Dual], answers: Sequence[str], completions: Sequence[str]
    ) -> list[float | None]:
        return [self.distance(d, text) for d, text in zip(duals, completions, strict=True)]

    def distance(self, dual: Dual, completion: str) -> float | None:
        if not completion:
            return None
        if completion == dual.unknown:
            return 0.0  # BLEU's rounding may leave a little
        return min(1.0, max(0.0, 1 - self.bleu.sentence_score(completion, [dual.unknown]).score / 100))

    def score(self, problem: Problem, answer: str | None) -> float:
        return float(answer is not None and answer == problem.gold)

    def evaluate(self, problems: Sequence[Problem], answers: Sequence[str | None]) -> dict[str, float]:
        """`copies`: the share of answers that are the source again. The gate `copy` moves them to `none`."""
        rows = list(zip(problems, answers, strict=True))
        return {
            "accuracy": sum(self.score(p, a) for p, a in rows) / len(rows),
            "copies": sum(a == p.text for p, a in rows) / len(rows),
            "none": sum(a is None for a in answers) / len(rows),
        }


def some_thing(rng: random.Random) -> Thing:
    adjective = rng.choice(list(ADJECTIVES)) if rng.random() < DESCRIBED else ""
    return Thing(rng.choice(list(NOUNS)), rng.randrange(2), rng.random() < 0.5, adjective)


def stream(which: str, seed: int) -> Iterator[Problem]:
    """Random sentences of one of the disjoint sets with their translations, for ever, with repeats."""
    rng = random.Random(f"conlang {which} {seed}")
    while True:
        subject, object = some_thing(rng), some_thing(rng)
        name = rng.choice(NAMES) if rng.random() < ADDRESSED else ""
        said = Sentence(subject, rng.choice(list(VERBS)), rng.random() < 0.5, object, name)
        text = in_a(said)
        if belongs(text) == which:
            yield Problem(text, text, in_b(said))


def draw(which: str, count: int, seed: int) -> list[Problem]:
    """`count` different sentences of one of the disjoint sets."""
    return different(stream(which, seed), count)


def labelled_examples(seed: int, dual_share: float) -> Iterator[tuple[str, str]]:
    """(prompt, completion) pairs of both directions from the warm-up set, for ever, some never translated."""
    rng = random.Random(f"conlang formats {seed}")
    for problem in stream("warmup", seed):
        gold = problem.text if rng.random() < UNTRANSLATED else problem.gold or ""
        if rng.random() < dual_share:
            yield f"{TO_A} {gold} {END}", problem.text
        else:
            yield f"{TO_B} {problem.text} {END}", gold
