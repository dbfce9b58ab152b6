"""The equality of answers sits an exam: pairs by hand, from a person who had not seen the rules."""

from tests.tasks.exam.judge import pairs, wrong_pairs


def test_the_exam_has_109_equal_pairs_and_73_different_ones():
    for name, count in (("equal", 109), ("different", 73)):
        texts = [(pair["answer"], pair["gold"]) for pair in pairs(name)]
        assert len(texts) == len(set(texts)) == count


def test_of_109_pairs_of_equal_meaning_at_least_100_are_called_equal():
    wrong = wrong_pairs("equal")
    assert len(wrong) <= 9, wrong


def test_of_73_pairs_of_different_meaning_at_least_71_are_called_different():
    wrong = wrong_pairs("different")
    assert len(wrong) <= 2, wrong
