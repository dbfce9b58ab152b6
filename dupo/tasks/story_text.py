"""The stories of the task `stories`: what happens, how English says it, and how it is solved, both ways.

    tom has 7 apples . ana has 9 apples . tom buys 5 . tom loses 2 . how many apples has tom ?

A person has some things, gets more of them and parts with some. Other sentences hold numbers that do not
enter: an age, the hour, other things, what somebody else has. Every order of the events leads to the answer
through numbers from 0 to `LARGEST`, so that the steps may be written in any order.
"""

import random
from typing import NamedTuple

NAMES = ("tom", "ana", "sam", "mia")
THINGS = ("apples", "pens", "books", "coins")
GETS, PARTS_WITH = ("buys", "finds"), ("sells", "loses")
LARGEST = 40
VOCABULARY = [
    *(str(number) for number in range(LARGEST + 1)),
    *(*NAMES, *THINGS, *GETS, *PARTS_WITH),
    *("has", "is", "years", "old", "the", "shop", "opens", "at", "how", "many"),
    *("?", ".", "answer", "x", "+", "-", "="),
]


class Quantity(NamedTuple):
    """A number of the text that enters.

    Attributes:
        place: of its word in the text.
        event: index of its event; -1: what the person has at first.
    """

    value: int
    place: int
    event: int


class Story(NamedTuple):
    """A word problem.

    Attributes:
        start: what the person has at first.
        changes: what each event adds; negative: what it takes away.
        words: the text.
        quantities: the numbers of the text that enter.
    """

    start: int
    changes: list[int]
    words: list[str]
    quantities: list[Quantity]

    @property
    def answer(self) -> int:
        """What the person has at last."""
        return self.start + sum(self.changes)


def random_story(rng: random.Random) -> Story:
    """Draws a story of one to three steps, with one or two numbers that do not enter."""
    while True:
        start = rng.randint(3, 12)
        changes = [rng.choice((1, -1)) * rng.randint(2, 9) for _ in range(rng.randint(1, 3))]
        # Where the losses alone do not exceed the start, no order of the events does.
        if start + sum(change for change in changes if change < 0) >= 0:
            return _told(start, changes, rng)


def _told(start: int, changes: list[int], rng: random.Random) -> Story:
    """The story in words."""
    person, other = rng.sample(NAMES, 2)
    thing, other_thing = rng.sample(THINGS, 2)
    # (sentence, the event that its number belongs to; None: the number does not enter)
    told: list[tuple[str, int | None]] = [(f"{person} has {start} {thing}", -1)]
    for index, change in enumerate(changes):
        verb = rng.choice(GETS if change > 0 else PARTS_WITH)
        told.append((f"{person} {verb} {abs(change)}", index))
    number = rng.randint(2, 12), rng.randint(2, 12)
    beside = [
        f"{other} has {number[0]} {thing}",
        f"{person} has {number[0]} {other_thing}",
        f"{person} is {number[1]} years old",
        f"the shop opens at {number[1]}",
    ]
    for sentence in rng.sample(beside, rng.randint(1, 2)):
        # Not before the first sentence, which says what the story is about.
        told.insert(rng.randint(1, len(told)), (sentence, None))
    words, quantities = list[str](), list[Quantity]()
    for sentence, event in told:
        for word in sentence.split():
            if word.isdigit() and event is not None:
                quantities.append(Quantity(int(word), len(words), event))
            words.append(word)
        words.append(".")
    return Story(start, changes, [*words, *f"how many {thing} has {person} ?".split()], quantities)


def steps_forward(story: Story, rng: random.Random) -> list[str]:
    """The steps from what the person has at first to the answer, events in random order."""
    return _applied(story.start, rng.sample(story.changes, len(story.changes)))[0]


def steps_back(story: Story, hidden: Quantity, rng: random.Random) -> list[str]:
    """The steps from the answer to a hidden number."""
    others = [-change for index, change in enumerate(story.changes) if index != hidden.event]
    steps, left = _applied(story.answer, rng.sample(others, len(others)))
    if hidden.event >= 0:
        # What is left differs from the start by the hidden number.
        steps.append(f"{max(left, story.start)} - {min(left, story.start)} = {hidden.value}")
    return steps


def _applied(current: int, changes: list[int]) -> tuple[list[str], int]:
    """A step for each change, and the number that the steps end at."""
    steps = []
    for change in changes:
        steps.append(f"{current} {'+' if change > 0 else '-'} {abs(change)} = {current + change}")
        current += change
    return steps, current
