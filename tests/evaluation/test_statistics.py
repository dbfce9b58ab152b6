"""How well rewards follow quality."""

import pytest
import torch

from dupo.evaluation.statistics import concordance, pair_order


def test_concordance_is_the_area_under_the_curve():
    assert concordance([0.9, 0.1], [1, 0]) == 1
    assert concordance([0.1, 0.9], [1, 0]) == 0
    assert concordance([0.5, 0.5], [1, 0]) == 0.5
    assert concordance([1, 1], [1, 1]) is None
    order = pair_order([1, 1, 0], [1, 0.5, 0.5])
    assert order == (1.5, 2, 1) and order.share == order.auc == 0.75
    assert pair_order([], []) == (0, 0, 0) and pair_order([], []).auc is None
    tied = pair_order([0, 0, 0], [1, 0.5, 0])  # no comparison says anything
    assert tied == (1.5, 3, 3) and (tied.share, tied.auc) == (0.5, None)
    rng = torch.Generator().manual_seed(0)
    rewards, quality = (torch.rand(60, generator=rng).round(decimals=1) for _ in range(2))
    pairs = [(i, j) for i in range(60) for j in range(60) if quality[i] > quality[j]]
    wins = sum(float(rewards[i] > rewards[j]) + 0.5 * float(rewards[i] == rewards[j]) for i, j in pairs)
    assert concordance(rewards.numpy(), quality.numpy()) == pytest.approx(wins / len(pairs))
