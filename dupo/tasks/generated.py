"""Problems that are made on the spot: four disjoint sets, by a hash of the text of a problem.

lessons    4 of 10   labelled, for the teaching of the built-in model
train      4 of 10   sampled in training, without labels
held_out   1 of 10   evaluation
dev        1 of 10   labelled, tell when the teaching is over
"""

import zlib
from collections.abc import Callable, Iterator

from dupo.data.splits import MOST_HELD_OUT, Split
from dupo.errors import UserError
from dupo.records import Problem

# By tenths.
SETS = {"lessons": (0, 1, 2, 3), "train": (4, 5, 6, 7), "held_out": (8,), "dev": (9,)}
_SET_OF_TENTH = {tenth: name for name, tenths in SETS.items() for tenth in tenths}
TRAIN_SIZE, DEV_SIZE, MAX_HELD_OUT = 20_000, 500, 50_000

# (name of a set, seed) -> labelled problems of the set, for ever, with repeats.
RandomProblems = Callable[[str, int], Iterator[Problem]]

# Every set seeds its own random numbers with its name. The lessons keep the name that they had when the
# options of the teaching were measured (dev/LOG.md), because another word would draw other problems.
_SEED_WORDS = {"lessons": "warmup"}


def stream_seed(task: str, set_name: str, seed: int) -> str:
    """Returns the seed of the random problems of one set of a task, for `random.Random`."""
    return f"{task} {_SEED_WORDS.get(set_name, set_name)} {seed}"


def set_of(text: str) -> str:
    """Returns the name of the only set that a problem with this text is in."""
    return _SET_OF_TENTH[zlib.crc32(text.encode()) % 10]


def distinct(problems: Iterator[Problem], count: int) -> list[Problem]:
    """Returns the first `count` problems with different texts."""
    by_text: dict[str, Problem] = {}
    while len(by_text) < count:
        problem = next(problems)
        by_text.setdefault(problem.text, problem)
    return list(by_text.values())


def generate_split(random_problems: RandomProblems, eval_size: int | None, seed: int) -> Split:
    """Makes the problems of a run: those of training follow the seed, the held-out ones are always the same.

    Args:
        eval_size: number of held-out problems; None: `MOST_HELD_OUT`.

    Raises:
        UserError: more held-out problems are asked for than the set surely has.
    """
    eval_size = MOST_HELD_OUT if eval_size is None else eval_size
    if eval_size > MAX_HELD_OUT:
        raise UserError(f"eval_size: expected at most {MAX_HELD_OUT:,}, got {eval_size:,}")
    train = distinct(random_problems("train", seed), TRAIN_SIZE)
    return Split(train, distinct(random_problems("held_out", 0), eval_size))


def generate_dev(random_problems: RandomProblems) -> list[Problem]:
    """Makes the labelled problems that tell when the teaching is over, the same for every seed."""
    return distinct(random_problems("dev", 0), DEV_SIZE)
