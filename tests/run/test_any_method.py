"""A run knows a method by the members of `Method` alone: a class that has them trains, saves and resumes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dupo.config.command_line import parse
from dupo.methods.base import Method
from dupo.records import StepBatch
from tests.helpers.runs import loop, same_files
from tests.helpers.worlds import rows, summary, tiny


class Adding(Method):
    """Adds the number of the step to its weights, and remembers the sum of all numbers."""

    name, headline, num_held_out = "adding", "total", 3

    def describe(self) -> list[tuple[str, str]]:
        return [("method", "adds")]

    def load(self) -> None:
        self.model, self.tokenizer, self.engine, _ = tiny("--seed", "2")

    def start(self) -> None:
        self.total = 0.0
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)

    def next_batch(self, step: int) -> StepBatch:
        return StepBatch([], {"number": float(step)}, [])

    def update(self, batch: StepBatch, step: int) -> dict[str, float]:
        self.total += step
        weight = self.model.get_input_embeddings().weight
        weight.grad = torch.full_like(weight, batch.metrics["number"] + self.total)
        self.optimizer.step()
        return {"loss": self.total}

    def evaluate(self) -> dict[str, float]:
        return {"total": self.total}

    def state(self) -> dict[str, Any]:
        return {"total": self.total}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.total = state["total"]


def run(out: Path, *options: str) -> dict[str, Any]:
    config = parse(["--output_dir", str(out), "--eval_steps", "3", "--save_steps", "2", *options])
    return loop(config, Adding(config))


def test_a_method_is_what_the_base_says_and_nothing_else(tmp_path, capsys):
    never, stopped = tmp_path / "never", tmp_path / "stopped"
    result = run(never, "--max_steps", "6")
    assert [row["loss"] for row in rows(never)] == [0, 1, 3, 6, 10, 15]
    assert [row["step"] for row in rows(never) if "eval/total" in row] == [3, 6]
    assert result["evals"] == [[0, {"total": 0.0}], [3, {"total": 3.0}], [6, {"total": 15.0}]]
    assert summary(never)["eval/total_after"] == 15 and (never / "report.html").is_file()
    assert sorted(f.name for f in never.glob("checkpoint-*")) == ["checkpoint-4", "checkpoint-6"]
    assert "adds" in capsys.readouterr().out

    run(stopped, "--max_steps", "3")
    resumed = ["--output_dir", str(stopped), "--resume_from_checkpoint", "latest", "--max_steps", "6"]
    config = parse(resumed)
    assert loop(config, Adding(config))["evals"] == result["evals"]
    same_files(never, stopped, "metrics.jsonl", "checkpoint-6/model.safetensors")
