"""What a training run says of its reward at its end."""

import pytest

from dupo.config.layers import assemble
from dupo.run.summary import result_in_words, show_result
from dupo.views.references import references
from dupo.views.terminal import Display
from tests.helpers.streams import Stream

NOTHING = {
    "reward_auc": None,
    "reward_auc_pairs": 0,
    "readable_reward_auc": None,
    "readable_reward_auc_pairs": 0,
}


def told(facts: dict[str, float | None]) -> str:
    stream = Stream()
    show_result(Display(stream), {"evals": [[0, {}]], **facts}, assemble({}))
    return stream.written()


def test_an_auc_stands_beside_its_pairs_and_readable_answers_come_first():
    facts = {"reward_auc": 0.89, "reward_auc_pairs": 1200, "readable_reward_auc": 0.35} | {
        "readable_reward_auc_pairs": 27
    }
    assert "AUC 0.350 of 27 pairs of readable answers; 0.890 of 1,200 pairs of all samples" in told(facts)


def test_an_auc_of_no_pair_is_left_out():
    some = NOTHING | {"reward_auc": 0.5, "reward_auc_pairs": 3}
    assert "AUC none of 0 pairs of readable answers; 0.500 of 3 pairs of all samples" in told(some)
    assert "AUC" not in told(NOTHING)
    assert "AUC" not in told({})  # a method without a reward


FACTS = {"eval/accuracy_before": 0.5, "eval/accuracy_after": 0.75}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {},
            "Training read no label; right answers to problems that it never saw rose from 50.0% to 75.0%",
        ),
        ({"reward": "gold"}, "Training read the labels of its problems; right answers"),
        (
            {"reward": "tests.rewards.test_user.rewards"},
            "Training read what your reward function reads of the data; right answers",
        ),
        ({"method": "sft"}, "Training was supervised; right answers"),
    ],
    ids=str,
)
def test_the_end_says_what_happened_and_what_was_read(options, words):
    assert next(result_in_words(FACTS, assemble(options))).startswith(words)


def test_the_next_question_is_that_of_the_dual_reward_on_the_data_of_the_user():
    own = {"task": "word_problems", "dataset": "my.jsonl", "answer_column": "my_answer"}
    last = list(result_in_words(FACTS, assemble(own)))[-1]
    assert "--task word_problems --dataset my.jsonl --answer_column my_answer --model_name" in last
    assert "--dataset questions.jsonl" in list(result_in_words(FACTS, assemble({})))[-1]
    for options in ({"reward": "random"}, {"method": "sft"}):
        assert "audit" not in " ".join(result_in_words(FACTS, assemble(options)))


def test_a_loss_is_told_by_the_table_alone():
    assert list(result_in_words({"eval/loss_before": 2.0, "eval/loss_after": 1.0}, assemble({}))) == []


def test_only_the_default_loop_stands_beside_other_rewards():
    ceiling, floor = references(assemble({}))
    assert (ceiling.reward, floor.reward) == ("gold", "random") and ceiling.change > 0.3 > 0 > floor.change
    assert references(assemble({"seed": 3, "reward": "majority"})) == [ceiling, floor]
    others = [{"max_steps": 20}, {"learning_rate": 1e-4}, {"eval_size": 500}, {"task": "conlang"}]
    others.append({"task": "word_problems", "dataset": "questions.jsonl"})
    for other in others:
        assert references(assemble(other)) == []
    said = " ".join(result_in_words(FACTS, assemble({"reward": "gold"})))
    # A run with gold rewards is its own ceiling.
    assert "--reward random" in said and "--reward gold" not in said
    assert f"{100 * floor.change:+.1f} points" in said and f"mean of {floor.seeds} seeds" in said
    assert "at the same learning rate" in said and "one seed may lie above or below such a mean" in said
