"""The check before training: a model whose packed sequences see one another is refused."""

import pytest

from dupo.errors import UserError
from dupo.learning.packed_check import check_packed
from dupo.models import attention
from dupo.models.attention import bucketed_sdpa
from tests.helpers.worlds import tiny


def test_a_model_whose_packed_sequences_mix_is_refused(monkeypatch):
    world = tiny(spread=4.0)

    def leaky(q, k, v, cu_seqlens, max_seqlen, scale):
        return bucketed_sdpa(q, k, v, cu_seqlens[[0, -1]], scale)  # as if all were one sequence

    monkeypatch.setattr(attention, "packed_attention", leaky)
    with pytest.raises(UserError, match="cannot be trained packed"):
        check_packed(world.model, world.compute)


def test_the_built_in_model_passes_the_check():
    world = tiny(spread=4.0)
    check_packed(world.model, world.compute)
