"""Splitting data sets into training and held-out problems."""

import random

import pytest

from dupo.data.splits import (
    Split,
    copies_note,
    evaluation_note,
    keyed_hash,
    split_by_hash,
    split_problems,
    without_texts_of,
)
from dupo.errors import UserError
from dupo.records import Problem


def numbered(count: int) -> list[Problem]:
    return [Problem(f"f:{k}", f"text {k}", str(k)) for k in range(count)]


def test_hash_is_the_same_everywhere() -> None:
    assert keyed_hash("Natalia", "key") == 11981606297932247284
    assert keyed_hash("Natalia", "other") != keyed_hash("Natalia", "key")


def test_split_is_disjoint_and_does_not_depend_on_the_order() -> None:
    problems = numbered(200)
    train, held_out = split_by_hash(problems, 50)
    assert len(held_out) == 50
    assert {p.text for p in train} | {p.text for p in held_out} == {p.text for p in problems}
    assert not {p.text for p in train} & {p.text for p in held_out}
    shuffled = random.Random(0).sample(problems, 200)
    assert split_by_hash(shuffled, 50)[1] == held_out
    assert split_by_hash(problems, 20)[1] == held_out[:20]


def test_copies_of_a_text_stay_on_one_side() -> None:
    problems = numbered(40) + [Problem(f"g:{k}", f"text {k}", str(k)) for k in range(40)]
    train, held_out = split_by_hash(problems, 10)
    assert len(held_out) == len({p.text for p in held_out}) == 10
    assert len(train) == 60
    assert not {p.text for p in train} & {p.text for p in held_out}


def test_only_problems_with_an_answer_are_held_out() -> None:
    problems = [Problem(f"f:{k}", f"text {k}", "1" if k < 3 else None) for k in range(20)]
    train, held_out = split_by_hash(problems, 10)
    assert sorted(p.id for p in held_out) == ["f:0", "f:1", "f:2"]
    assert len(train) == 17
    nothing = [Problem(f"f:{k}", f"text {k}") for k in range(5)]
    assert split_by_hash(nothing, 10) == (nothing, [])


def test_something_must_be_left_to_train_on() -> None:
    with pytest.raises(UserError, match=r"eval_size: expected less than the 8 different problems, .* got 8"):
        split_by_hash(numbered(8), 8)
    with pytest.raises(UserError, match=r"eval_dataset: expected to leave problems .*, got every problem"):
        split_problems(numbered(8), numbered(9), 9)


@pytest.mark.parametrize(
    ("with_answer", "without", "size"), [(30, 0, 3), (30, 1000, 3), (9, 0, 0), (639, 0, 63), (5000, 0, 64)]
)
def test_a_tenth_of_those_with_an_answer_is_held_out_by_default(with_answer, without, size) -> None:
    problems = numbered(with_answer) + [Problem(f"g:{k}", f"other {k}") for k in range(without)]
    copies = problems + [Problem(f"h:{k}", f"text {k}", str(k)) for k in range(with_answer)]
    for several in (problems, copies):
        train, held_out = split_problems(several, None, None)
        assert len(held_out) == size and len({p.text for p in train}) == with_answer + without - size


def test_a_data_set_for_evaluation_is_no_tenth_of_anything() -> None:
    other = [Problem(f"e:{k}", f"held {k}", "1") for k in range(100)]
    assert len(split_problems(numbered(30), other[:40], None).held_out) == 40
    assert len(split_problems(numbered(30), other, None).held_out) == 64


def test_a_data_set_for_evaluation_keeps_its_texts_out_of_train() -> None:
    train, held_out = split_problems(numbered(30), numbered(5), 3)
    assert len(held_out) == 3
    assert {p.text for p in train} == {p.text for p in numbered(30)} - {p.text for p in held_out}


COPIES = [
    "Ann has  5 pens.",
    "Ann has 5\u00a0pens.",
    "ANN has 5 pens .",
    "Ann\nhas 5 pens.\u200b",
    "\ufeffann has 5 pens.",
]


@pytest.mark.parametrize("copy", [*COPIES, "철수 5 Cafe\u0301"])
def test_copies_that_look_alike_stay_on_one_side(copy: str) -> None:
    text = "철수 5 Café" if "철수" in copy else "Ann has 5 pens."
    first, second = Problem("f:1", text, "5"), Problem("g:1", copy, "5")
    split = split_problems([*numbered(5), first, second], [second], None)
    assert split.train == numbered(5) and split.held_out == [second]
    for num_held_out in range(1, 6):
        train, held_out = split_problems([*numbered(5), first, second], None, num_held_out)
        sides = [sum(p in side for p in (first, second)) for side in (train, held_out)]
        assert sides in ([2, 0], [0, 1])


def test_other_texts_are_no_copies() -> None:
    texts = ["x² = 5", "x2 = 5", "1 2", "12", "x = 5", "x = 6", "①", "1"]
    problems = [Problem(f"f:{k}", text, "5") for k, text in enumerate(texts)]
    train, held_out = split_problems([*problems, *numbered(1)], problems, None)
    assert train == numbered(1) and len(held_out) == len(texts)


def test_copies_of_held_out_texts_are_counted() -> None:
    copies = [Problem(f"g:{k}", f" TEXT {k}", "1") for k in range(3)]
    (note,) = copies_note(9, split_problems(numbered(9), copies, None), are_apart=True)
    assert note.startswith("3 rows not trained on")
    held_out = numbered(2)
    split = Split(without_texts_of(numbered(9), held_out), held_out)
    assert copies_note(9, split, are_apart=False) == []
    split = Split(without_texts_of([*numbered(9), *copies], held_out), held_out)
    (note,) = copies_note(9 + len(copies), split, are_apart=False)
    assert note.startswith("2 rows not trained on")


def test_a_data_set_too_small_for_a_tenth_names_the_option() -> None:
    small, bare = numbered(9), [Problem("f:1", "text", None)]
    assert evaluation_note(small, split_by_hash(small, None).held_out, None, "no gold") == [
        "0 held out, a tenth of 9: name --eval_size, or there is no evaluation"
    ]
    assert evaluation_note(bare, [], None, "no gold") == ["no gold"]
    assert (
        evaluation_note(small, [], 0, "no gold") == evaluation_note(small, small[:1], None, "no gold") == []
    )
