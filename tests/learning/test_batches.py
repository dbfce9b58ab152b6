"""From rollouts to packed tensors, and to plain values that a checkpoint can hold."""

import io

import pytest
import torch

from dupo.learning.batches import (
    make_batch,
    micro_batches,
    mini_batches,
    trajectories_from_state,
    trajectories_of,
    trajectories_to_state,
)
from dupo.records import Completion, Problem, Rollout, Trajectory
from tests.helpers.cuda_copies import CudaCopies
from tests.helpers.learning import trajectories
from tests.helpers.worlds import CPU, tiny


def trajectory(prompt, ids, logprobs, advantage, **more):
    return Trajectory(prompt, torch.tensor(ids, dtype=torch.int32), torch.tensor(logprobs), advantage, **more)


def test_batches_are_packed_as_described():
    rows = [trajectory([5, 6, 7], [8, 9], [-0.1, -0.2], 1.0), trajectory([3], [4], [-0.3], -2.0)]
    batch = make_batch(rows, CPU)
    assert batch.input_ids.tolist() == [5, 6, 7, 8, 9, 3, 4]
    assert batch.position_ids.tolist() == [0, 1, 2, 3, 4, 0, 1]
    assert batch.cu_seqlens.tolist() == [0, 5, 7]
    assert batch.loss_rows.tolist() == [2, 3, 5]
    assert batch.targets.tolist() == [8, 9, 4]
    assert batch.completion_cu_seqlens.tolist() == [0, 2, 3]
    assert batch.completion_cu_seqlens.device.type == "cpu"
    assert batch.advantages.tolist() == [1, 1, -2]
    assert batch.old_logprobs.tolist() == pytest.approx([-0.1, -0.2, -0.3])
    assert batch.max_seqlen == 5 and batch.ref_logprobs is None


def test_batches_for_cuda_are_copied_from_pinned_memory():
    """Else the host would wait for each copy of more than 64 KB."""
    rows = [trajectory([5, 6, 7], [8, 9], [-0.1, -0.2], 1.0), trajectory([3], [4], [-0.3], -2.0)]
    with CudaCopies() as cuda:
        batch = make_batch(rows, torch.device("cuda"))
    assert cuda.copies == [(True, True)] * 7
    assert batch.loss_rows.tolist() == [2, 3, 5]
    with CudaCopies() as cpu:
        make_batch(rows, CPU)
    assert not cpu.pinned


def test_micro_batches_hold_every_trajectory_once_within_the_budget():
    rows = trajectories(tiny(spread=2.0))
    for budget in (24, 40, 10_000):
        seen = []
        for indices, batch in micro_batches(rows, budget, CPU):
            assert len(batch.input_ids) <= budget
            expected = make_batch([rows[i] for i in indices], CPU)
            assert torch.equal(batch.input_ids, expected.input_ids)
            assert torch.equal(batch.advantages, expected.advantages)
            seen += indices
        assert sorted(seen) == list(range(8))


def rollout_of_two():
    group = [
        Completion(torch.tensor([1]), torch.tensor([-0.25]), "", True),
        Completion(torch.tensor([2]), torch.tensor([-0.5]), "", False),
    ]
    return Rollout([Problem("a", "x")], [[7]], [group], [["1", "2"]])


def test_truncated_completions_can_be_masked():
    advantages = torch.tensor([[1.0, -1.0]])
    plain = trajectories_of(rollout_of_two(), advantages, mask_truncated=False)
    assert [(t.completion_ids.tolist(), t.masked) for t in plain] == [([1], False), ([2], False)]
    masked = trajectories_of(rollout_of_two(), advantages, mask_truncated=True)
    assert [(t.completion_ids.tolist(), t.masked) for t in masked] == [([1], True), ([2], False)]
    first = plain[0]
    assert (first.prompt_ids, first.advantage, first.problem) == ([7], 1.0, "a")
    assert first.logprobs.tolist() == [-0.25] and first.ref_logprobs is None


def test_mini_batches_are_one_optimizer_step_each():
    rows = trajectories_of(rollout_of_two(), torch.tensor([[1.0, -1.0]]), mask_truncated=False)
    assert [len(batch) for batch in mini_batches(rows, 1)] == [1, 1]
    assert [len(batch) for batch in mini_batches(rows, None)] == [2]
    assert mini_batches(rows, 2)[0] == rows


def same(first: Trajectory, second: Trajectory) -> None:
    """Fails unless both are equal bit for bit, in value and in type."""
    for name, before, after in zip(Trajectory._fields, first, second, strict=True):
        assert type(before) is type(after), name
        if isinstance(before, torch.Tensor):
            assert before.dtype == after.dtype and torch.equal(before, after), name
        else:
            assert before == after, name


ROWS = [
    trajectory([5, 6, 7], [8, 9], [-0.1, -1e-7], 0.1 + 0.2, problem="train.jsonl:1"),
    trajectory([3], [4], [-3.0], -2.0, problem="é", masked=True),
    trajectory([], [4, 4, 4], [-1.0, -2.0, -3.0], 0.0),
]


@pytest.mark.parametrize(
    "names", [[], ["ref_logprobs"], ["sampling_logprobs"], ["ref_logprobs", "sampling_logprobs"]], ids=str
)
def test_trajectories_come_back_from_a_checkpoint_bit_for_bit(names):
    rows = [t._replace(**{name: t.logprobs / (3 + k) for k, name in enumerate(names)}) for t in ROWS]
    buffer = io.BytesIO()
    torch.save(trajectories_to_state(rows), buffer)
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True)  # plain values: nothing is pickled
    for before, after in zip(rows, trajectories_from_state(state), strict=True):
        same(before, after)
    assert trajectories_from_state(trajectories_to_state([])) == []


def test_a_prompt_is_held_once_for_its_group_and_older_checkpoints_are_read() -> None:
    prompt = [5, 6, 7]
    rows = [t._replace(prompt_ids=prompt) for t in ROWS] + [ROWS[0]]
    state = trajectories_to_state(rows)
    assert state["prompt_lengths"] == [3, 3]
    first, second, third, other = trajectories_from_state(state)
    assert first.prompt_ids is second.prompt_ids is third.prompt_ids
    assert other.prompt_ids == prompt and other.prompt_ids is not first.prompt_ids
    # As it was: a prompt for each trajectory, all ids int64.
    older = {name: value for name, value in trajectories_to_state(ROWS).items() if name != "prompts"}
    older |= {name: older[name].long() for name in ("prompt_ids", "completion_ids")}
    for before, after in zip(ROWS, trajectories_from_state(older), strict=True):
        same(before, after)
