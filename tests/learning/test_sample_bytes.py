"""Host memory of a sampled token, and the time that batching, saving and loading take beside Python lists."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from bench.training.samples import measure
from dupo.engines.base import Sampling
from dupo.engines.builtin import BuiltinEngine
from dupo.learning.batches import trajectories_of
from dupo.records import Completion, Rollout, Trajectory
from dupo.tasks.base import primal_prompt
from tests.helpers.worlds import task_of, tiny


def tensors_of(value: Any) -> Iterator[torch.Tensor]:
    """The tensors that completions and trajectories hold."""
    names = value._fields if isinstance(value, Trajectory) else Completion.__dataclass_fields__
    fields = (getattr(value, name) for name in names)
    return (field for field in fields if isinstance(field, torch.Tensor))


def storage_bytes(values: list[Any]) -> int:
    """Bytes of all their storages, whole, however little of one a tensor shows; a shared one counts once."""
    tensors = [tensor for value in values for tensor in tensors_of(value)]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


@pytest.mark.parametrize("slots", [False, True], ids=["batches", "slots"])
@pytest.mark.parametrize(
    "measured", [pytest.param(False, marks=pytest.mark.slow), True], ids=["log-probs", "distributions"]
)
def test_a_sampled_token_takes_eight_bytes(slots: bool, measured: bool) -> None:
    world = tiny()
    engine = BuiltinEngine(
        world.model,
        world.tokenizer,
        measure_distributions=measured,
        as_on_gpu=slots,
        max_concurrent_sequences=8,
    )
    task = task_of(world.config)
    problems = task.problems[:6]
    prompts = world.tokenizer.encode([primal_prompt(task, problem) for problem in problems])
    groups = engine.sample(prompts, 4, Sampling(1.0, 12), 0)
    tokens = sum(len(c.ids) for group in groups for c in group)
    rollout = Rollout(problems, prompts, groups, [[None] * 4 for _ in problems])
    trajectories = trajectories_of(rollout, torch.zeros(6, 4), mask_truncated=False)
    completions = [completion for group in groups for completion in group]
    assert storage_bytes([*completions, *trajectories]) == 8 * tokens
    assert all(t.completion_ids.dtype == torch.int32 for t in trajectories)


@pytest.mark.slow
def test_tensors_are_twenty_times_as_fast_as_lists() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        measured = measure(groups=16, mean=1000, turns=5)
    finally:
        torch.set_num_threads(threads)
    assert measured["held"]["tensors_bytes_a_token"] <= 12
    for name in ("batching", "saving", "loading"):
        assert measured[name]["times_faster"] >= 20, (name, measured[name])
