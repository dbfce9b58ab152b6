"""Checks of dupo.integrations.trl with models that a fused head may not serve, and of what stays on them.

Needs the packages of data sets as well, see .ci/peers. Whatever the model, TRL alone logs the same.
"""

import copy
import gc
import tempfile
import weakref

import torch

from bench.training.trl_runs import make_trainer
from tests.peers.peer_checks import Checks
from tests.peers.peer_trl_trainers import installed


def check_models_are_left_as_they_were() -> None:
    """A copy has weights of its own, nothing holds the model, and both compute through their own forward."""
    with tempfile.TemporaryDirectory() as folder:
        with installed() as computed:
            trainer = make_trainer("cpo", folder, steps=1)
            trainer.train()
        assert computed
        model, ids = trainer.model, torch.tensor([[5, 6, 7]])
        twin = copy.deepcopy(model)
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.mul_(1.5)
            assert not torch.equal(twin(ids).logits, model(ids).logits)
        assert "forward" not in vars(model)
        last = weakref.ref(model)
        del model, trainer, twin
        gc.collect()
        assert last() is None


CHECKS: Checks = {"models-are-left": check_models_are_left_as_they_were}
