"""The problems of a program that does not train."""

import json
from pathlib import Path

import pytest

from dupo.config.layers import assemble
from dupo.errors import UserError
from dupo.run.problems import read_run_problems


@pytest.mark.parametrize(
    ("row", "lack"),
    [
        ({"question": "Is the sky blue?", "answer": "yes"}, "a dual"),
        ({"question": "2 and 3?", "answer": ""}, "a right answer"),
    ],
)
def test_the_error_names_what_the_problems_of_an_audit_lack(tmp_path: Path, row, lack: str) -> None:
    for name, line in (("train", {"question": "4 and 5?"}), ("other", row)):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(line) + "\n")
    values = {
        "task": "word_problems",
        "dataset": str(tmp_path / "train.jsonl"),
        "eval_dataset": str(tmp_path / "other.jsonl"),
        "output_dir": str(tmp_path / "run"),
        "model_name_or_path": "tiny",
    }
    with pytest.raises(UserError, match=f"^eval_dataset: expected problems with {lack}, got none"):
        read_run_problems(assemble(values, "audit"))
