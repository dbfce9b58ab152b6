"""Runs that are started from Python: rows, a reward function, and options that take a second."""

from pathlib import Path
from typing import Any

ROWS = [
    {"question": f"Ann has {n} pens and gets {n + 3} more. How many?", "answer": 2 * n + 3, "level": [n % 2]}
    for n in range(5, 13)
]
SMALL: dict[str, Any] = dict(
    task="word_problems", num_threads=1, num_generations=2, generation_batch_size=4, eval_size=2
)
SMALL |= dict(max_completion_length=4, max_steps=4)


def variety(completions: list[str], **_: Any) -> list[float]:
    """A reward that random weights reach: different characters."""
    return [float(len(set(completion))) for completion in completions]


def same_run(one: Path, other: Path, step: int = 4) -> bool:
    """Whether two runs wrote the same metrics and the same weights."""
    names = ["metrics.jsonl", f"checkpoint-{step}/model.safetensors"]
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)
