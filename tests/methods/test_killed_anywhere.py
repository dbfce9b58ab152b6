"""Methods of this folder that are killed at three random places of a run, and go on to the same bytes."""

import json
import random
import shutil
from pathlib import Path

import pytest

from dupo.train import main
from tests.helpers.kills import kill_at, places
from tests.helpers.runs import SMALL, resume, same_files

pytestmark = pytest.mark.slow
WORDS = ["red", "green", "blue", "white", "black", "grey"]
ROWS = [(first, second) for first in WORDS for second in WORDS if first != second]
FILES = {
    "dpo": [
        {"prompt": f"Say {a} {b}.", "chosen": f"{a} {b}", "rejected": f"{a} {b.upper()}"} for a, b in ROWS
    ],
    "kto": [
        {"prompt": f"Say {a} {b}.", "completion": f"{a} {b if a < b else b.upper()}", "label": a < b}
        for a, b in ROWS
    ],
}
FILES["reward_model"] = FILES["dpo"]
SAMPLED = ["--reward", "random", "--num_generations", "8", "--save_rollout_seconds", "0"]


def words_of(method: str, model: Path, folder: Path) -> list[str]:
    words = [
        "--method",
        method,
        "--model_name_or_path",
        str(model),
        "--max_steps",
        "6",
        "--learning_rate",
        "1e-3",
    ]
    words += [
        "--train_batch_size",
        "6",
        "--num_threads",
        "1",
        "--eval_steps",
        "2",
        "--save_steps",
        "2",
        "--quiet",
    ]
    if method not in FILES:
        return [*words, *SMALL, *SAMPLED]
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in FILES[method]))
    return [*words, "--dataset", str(data), "--eval_size", "4", "--model_name_or_path", "tiny"]


@pytest.mark.parametrize("method", ["dpo", "kto", "reward_model", "online_dpo", "online_kto", "rft"])
def test_a_run_that_is_killed_anywhere_goes_on_to_the_same_bytes(
    untrained: Path, tmp_path: Path, method: str
) -> None:
    run, words = tmp_path / "run", words_of(method, untrained, tmp_path)

    def program() -> int:
        if (run / "config.yaml").is_file():
            return resume(run, "--quiet")
        return main([*words, "--output_dir", str(run)])

    named = places(program, run, tmp_path / "places")
    never = Path(shutil.move(run, tmp_path / "never"))
    for number in random.Random(method).sample(range(len(named)), 3):
        kill_at(number, program, run)
        assert program() == 0, named[number]
        same_files(never, run, "metrics.jsonl", "checkpoint-6/model.safetensors")
        shutil.rmtree(run)
