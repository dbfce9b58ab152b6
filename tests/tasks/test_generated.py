"""Problems that are made on the spot: every version makes the same ones."""

import zlib
from itertools import islice

import pytest

from dupo.tasks import arithmetic, conlang, stories
from dupo.tasks.generated import SETS

# The results that README and docs report belong to these problems: checksums of seeds 0 to 2, 2000 each.
CHECKSUMS = {
    arithmetic: {"lessons": 1762685493, "train": 3326172549, "held_out": 317904387, "dev": 3013063088},
    conlang: {"lessons": 3007192975, "train": 1743947194, "held_out": 871778389, "dev": 3474275391},
    stories: {"lessons": 1235527416, "train": 2014949529, "held_out": 293106268, "dev": 1822694812},
}
LESSON_CHECKSUMS = {arithmetic: 3191800850, conlang: 3819765686, stories: 4141229739}


def checksum(texts) -> int:
    return zlib.crc32("".join(texts).encode())


# Stories take longest.
TASKS = [
    pytest.param(task, id=name, marks=pytest.mark.slow if task is stories else ())
    for task, name in ((arithmetic, "arithmetic"), (conlang, "conlang"), (stories, "stories"))
]
# Made by the same code, so one set of a task tells most in the quick tests.
SETS_OF_A_RUN = [name if name == "held_out" else pytest.param(name, marks=pytest.mark.slow) for name in SETS]


@pytest.mark.parametrize("set_name", SETS_OF_A_RUN)
@pytest.mark.parametrize("task", TASKS)
def test_problems_are_those_of_every_version(task, set_name):
    problems = [p for seed in range(3) for p in islice(task.random_problems(set_name, seed), 2000)]
    assert checksum(p.text + p.gold for p in problems) == CHECKSUMS[task][set_name]


@pytest.mark.parametrize("task", TASKS)
def test_lessons_are_those_of_every_version(task):
    pairs = [pair for seed in range(3) for pair in islice(task.lesson_examples(seed, 0.9), 2000)]
    assert checksum(prompt + completion for prompt, completion in pairs) == LESSON_CHECKSUMS[task]
