"""How well rewards follow quality."""

import pytest
import torch

from dupo.evaluation.statistics import pair_order, readable_only


def test_only_samples_with_an_answer_are_compared():
    assert readable_only(["a", None, "", "b"], [1, 2, 3, 4], [0.5, 0.6, 0.7, 0.8]) == (
        [1, 3, 4],
        [0.5, 0.7, 0.8],
    )
    with pytest.raises(ValueError, match="shorter"):
        readable_only(["a", "b"], [1, 2], [1])


def test_the_share_of_ordered_pairs_is_the_area_under_the_curve():
    assert pair_order([0.9, 0.1], [1, 0]).share == 1
    assert pair_order([0.1, 0.9], [1, 0]).share == 0
    assert pair_order([0.5, 0.5], [1, 0]).share == 0.5
    assert pair_order([1, 1], [1, 1]).share is None
    order = pair_order([1, 1, 0], [1, 0.5, 0.5])
    assert order == (1.5, 2, 1) and order.share == order.auc == 0.75
    assert pair_order([], []) == (0, 0, 0) and pair_order([], []).auc is None
    tied = pair_order([0, 0, 0], [1, 0.5, 0])  # no comparison says anything
    assert tied == (1.5, 3, 3) and (tied.share, tied.auc) == (0.5, None)
    rng = torch.Generator().manual_seed(0)
    rewards, quality = (torch.rand(60, generator=rng).round(decimals=1) for _ in range(2))
    pairs = [(i, j) for i in range(60) for j in range(60) if quality[i] > quality[j]]
    wins = sum(float(rewards[i] > rewards[j]) + 0.5 * float(rewards[i] == rewards[j]) for i, j in pairs)
    assert pair_order(rewards.numpy(), quality.numpy()).share == pytest.approx(wins / len(pairs))
