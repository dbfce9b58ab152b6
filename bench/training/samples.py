"""Host memory and time of a rollout as tensors, beside the same rollout as lists of Python numbers.

    python -m bench.training.samples              writes bench/results/samples_cpu_<date>_<sha>.json
    python -m bench.training.samples --quick      a rehearsal that writes nothing

Four things are done with the samples of a rollout: batching (`make_batch`, all sequences at once), saving
and loading as pending batches of a checkpoint, and holding them. The lists are the reference: ids and
log-probs as `.tolist()` gives them, joined token by token. Both ways are timed in turn, in one process on one
thread; the least of the seconds of CPU is told.
"""

import copy
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from bench.result_files import result_path, signature, write
from dupo.learning.batches import make_batch, trajectories_from_state, trajectories_to_state
from dupo.records import Trajectory
from dupo.storage.tensors import save_tensors

CPU = torch.device("cpu")
GROUPS, OF_GROUP, PROMPT, MEAN = 32, 8, 64, 2000  # groups, completions of each, tokens
TURNS = 5


class ListTrajectory(NamedTuple):
    """A trajectory as lists: what the tensors are compared with."""

    prompt_ids: list[int]
    completion_ids: list[int]
    logprobs: list[float]
    advantage: float


def make_trajectories(groups: int, mean: int) -> list[Trajectory]:
    """Trajectories with completions of 1 to 2 x `mean` tokens."""
    generator = torch.Generator().manual_seed(0)
    trajectories: list[Trajectory] = []
    for group in range(groups):
        prompt = torch.randint(0, 150_000, (PROMPT,), generator=generator).tolist()
        for _ in range(OF_GROUP):
            length = int(torch.randint(1, 2 * mean, (1,), generator=generator))
            ids = torch.randint(0, 150_000, (length,), generator=generator, dtype=torch.int32)
            logprobs = -torch.rand(length, generator=generator)
            trajectories.append(Trajectory(prompt, ids, logprobs, 0.5, problem=f"problem {group}"))
    return trajectories


def as_lists(trajectories: Sequence[Trajectory]) -> list[ListTrajectory]:
    """The same trajectories as lists."""
    return [
        ListTrajectory(list(t.prompt_ids), t.completion_ids.tolist(), t.logprobs.tolist(), t.advantage)
        for t in trajectories
    ]


def batch_of_lists(trajectories: Sequence[ListTrajectory]) -> dict[str, torch.Tensor]:
    """What a micro-batch takes from lists: ids, positions, targets, log-probs, advantages of all tokens."""
    sequences = [t.prompt_ids + t.completion_ids for t in trajectories]
    return {
        "input_ids": torch.tensor([i for ids in sequences for i in ids]),
        "position_ids": torch.tensor([place for ids in sequences for place in range(len(ids))]),
        "targets": torch.tensor([i for t in trajectories for i in t.completion_ids]),
        "old_logprobs": torch.tensor([value for t in trajectories for value in t.logprobs]),
        "advantages": torch.tensor([t.advantage for t in trajectories for _ in t.completion_ids]),
    }


def list_bytes(trajectories: Sequence[ListTrajectory]) -> int:
    """Bytes of the lists of completions and of the numbers in them; small integers are shared by Python."""
    columns = [column for t in trajectories for column in (t.completion_ids, t.logprobs)]
    numbers = {id(number): number for column in columns for number in column}
    return sum(map(sys.getsizeof, columns)) + sum(map(sys.getsizeof, numbers.values()))


def tensor_bytes(trajectories: Sequence[Trajectory]) -> int:
    """Bytes of the storages of completions; a storage that is shared counts once."""
    tensors = [value for t in trajectories for value in t if isinstance(value, torch.Tensor)]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


def save_lists(trajectories: Sequence[ListTrajectory], file: Path) -> None:
    """Writes lists as a checkpoint held them."""
    torch.save([tuple(t) for t in trajectories], file)


def cpu_seconds(work: Callable[[], object]) -> float:
    """Seconds of CPU that work takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def measure(groups: int = GROUPS, mean: int = MEAN, turns: int = TURNS) -> dict[str, Any]:
    """Seconds and bytes of both ways, and how many times better tensors are."""
    trajectories = make_trajectories(groups, mean)
    lists = as_lists(trajectories)
    tokens = sum(len(t.completion_ids) for t in trajectories)
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "tensors.pt"), Path(folder, "lists.pt")
        pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "batching": (lambda: make_batch(trajectories, CPU), lambda: batch_of_lists(lists)),
            "saving": (
                lambda: save_tensors({"pending": trajectories_to_state(trajectories)}, first),
                lambda: save_lists(lists, second),
            ),
            "loading": (
                lambda: trajectories_from_state(torch.load(first, weights_only=True)["pending"]),
                lambda: torch.load(second, weights_only=True),
            ),
        }
        seconds = {
            name: [tuple(map(cpu_seconds, ways)) for _ in range(turns)] for name, ways in pairs.items()
        }
    rows = {
        name: {
            "tensors_ns_a_token": 1e9 * min(ours for ours, _ in measured) / tokens,
            "lists_ns_a_token": 1e9 * min(theirs for _, theirs in measured) / tokens,
            "times_faster": min(theirs for _, theirs in measured) / min(ours for ours, _ in measured),
        }
        for name, measured in seconds.items()
    }
    held = {
        "tensors_bytes_a_token": tensor_bytes(trajectories) / tokens,
        "lists_bytes_a_token": list_bytes(copy.deepcopy(lists)) / tokens,
    }
    return {"completions": len(trajectories), "tokens": tokens, "turns": turns, "held": held, **rows}


def main(words: Sequence[str]) -> None:
    """Measures, prints, and writes the result file unless it is a rehearsal."""
    torch.set_num_threads(1)
    is_quick = "--quick" in words
    measured = measure(2, 500, 1) if is_quick else measure()
    made_by = signature("python -m bench.training.samples", "torch")
    for name in ("batching", "saving", "loading"):
        row = measured[name]
        print(
            f"{name:9} {row['tensors_ns_a_token']:7.1f} ns a token, lists {row['lists_ns_a_token']:7.1f}: "
            f"{row['times_faster']:.0f} x"
        )
    ours, theirs = measured["held"].values()
    print(f"held      {ours:7.1f} bytes a token, lists {theirs:.1f}")
    if not is_quick:
        path = result_path("samples", made_by)
        write(path, {**made_by, **measured})
        print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
