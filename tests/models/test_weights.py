"""Copies of weights: frozen, averaged, and put back."""

import math

import torch

from dupo.models.weights import all_finite, copy_weights, frozen_copy, read_checkpoint_weights, update_average
from tests.helpers.worlds import save_tiny, tiny


def same_weights(first, second):
    return all(torch.equal(p, q) for p, q in zip(first.parameters(), second.parameters(), strict=True))


def test_moving_average():
    average, model = tiny("--seed", "1").model, tiny("--seed", "2").model
    pairs = list(zip(average.parameters(), model.parameters(), strict=True))
    expected = [0.9 * old.detach() + 0.1 * new.detach() for old, new in pairs]
    update_average(average, model, 0.9)
    for weight, wanted in zip(average.parameters(), expected, strict=True):
        torch.testing.assert_close(weight, wanted)


def test_a_frozen_copy_stays_when_the_model_moves():
    model = tiny().model
    frozen = frozen_copy(model)
    assert same_weights(model, frozen) and not any(p.requires_grad for p in frozen.parameters())
    with torch.no_grad():
        model.get_input_embeddings().weight.add_(1)
    assert not same_weights(model, frozen)
    copy_weights(frozen, model)
    assert same_weights(model, frozen) and all(p.requires_grad for p in model.parameters())


def test_weights_come_back_from_a_folder(tmp_path):
    folder, model = save_tiny(tmp_path / "saved", 3), tiny("--seed", "4").model
    read_checkpoint_weights(model, folder)
    assert same_weights(model, tiny("--seed", "3").model)


def test_one_weight_that_is_not_finite_is_seen():
    model = tiny().model
    assert all_finite(model)
    with torch.no_grad():
        model.get_input_embeddings().weight[3, 5] = math.nan
    assert not all_finite(model)
