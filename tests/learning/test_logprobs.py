"""Log-probs of a reference model over packed batches."""

import pytest

from dupo.learning.batches import make_batch
from dupo.learning.logprobs import batch_logprobs, with_reference
from tests.helpers.learning import trajectories
from tests.helpers.worlds import CPU, tiny


def test_reference_log_probs_are_those_of_the_reference():
    world = tiny("--token_budget", "24", spread=2.0)
    reference = tiny("--seed", "3", spread=2.0).model
    rows = trajectories(world)
    for t, before in zip(with_reference(reference, rows, world.compute), rows, strict=True):
        alone = batch_logprobs(reference, make_batch([t], CPU), world.compute)[0]
        assert t.ref_logprobs.tolist() == pytest.approx(alone.tolist(), abs=1e-5)
        assert t._replace(ref_logprobs=None) == before and before.ref_logprobs is None
