"""What a training run says of its reward at its end."""

from dupo.config.options import RewardOptions
from dupo.run.summary import show_result
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
    show_result(Display(stream), {"evals": [[0, {}]], **facts}, RewardOptions())
    return stream.written()


def test_an_auc_stands_beside_its_pairs_and_readable_answers_come_first():
    facts = {"reward_auc": 0.89, "reward_auc_pairs": 1200, "readable_reward_auc": 0.35} | {
        "readable_reward_auc_pairs": 27
    }
    assert "AUC 0.350 of 27 pairs of readable answers; 0.890 of 1,200 pairs of all samples" in told(facts)


def test_an_auc_of_no_pair_is_none():
    assert "AUC none of 0 pairs of readable answers; none of 0 pairs of all samples" in told(NOTHING)
    assert "AUC" not in told({})  # a method without a reward
