"""The names of the files that programs leave in their folders, and which program a folder belongs to.

config.yaml      the settings, complete: they reproduce the run
metrics.jsonl    one row per optimizer step, a pure function of settings, seed and machine
samples.jsonl    what was asked, answered and reconstructed
timings.jsonl    everything that comes from a clock
summary.json     the final metrics, with the signature
report.html      curves and sampled exchanges on one page
teaching.pt      the state of the supervised teaching stage that Ctrl-C stopped; removed when done
taught_model/    the built-in model after teaching, for a program that does not train
"""

import re
from pathlib import Path

from dupo.errors import UserError
from dupo.user_files import is_file, read_file

CONFIG, SUMMARY, REPORT = "config.yaml", "summary.json", "report.html"
METRICS, SAMPLES, TIMINGS = "metrics.jsonl", "samples.jsonl", "timings.jsonl"
TEACHING, TAUGHT = "teaching.pt", "taught_model"
LATEST = "latest"  # the file that names the newest checkpoint

# What each program writes beside config.yaml, as patterns of file names. --overwrite_output_dir removes
# these and nothing else: a file of the user in the same folder stays.
WRITTEN_BY: dict[str, tuple[str, ...]] = {
    "train": (METRICS, SAMPLES, TIMINGS, SUMMARY, REPORT, TEACHING, LATEST, "checkpoint-[0-9]*",
              "nonfinite-[0-9]*.json"),
    "select": (SUMMARY, TEACHING, TAUGHT, "pass-[0-9]*.jsonl", "kept.jsonl"),
    "rerank": (SUMMARY, TEACHING, TAUGHT, "answers.jsonl"),
    "audit": (TEACHING, TAUGHT, "audit.jsonl", "audit.json", "audit.html"),
}  # fmt: skip
# Of everything in the folder of a run: options, rows, checkpoints. Format 1 wrote no number.
FORMAT = 2
_FIRST_LINE = re.compile(r"# python -m dupo\.(\w+)(?:, format (\d+))?\n")


def first_line(program: str) -> str:
    """Returns the first line of config.yaml, which names the program and the format."""
    return f"# python -m dupo.{program}, format {FORMAT}\n"


def check_format(folder: Path) -> None:
    """Refuses the folder of a run that another format wrote; the folder holds a config.yaml.

    Raises:
        UserError: the run cannot be continued.
    """
    match = _FIRST_LINE.match(_opening(folder))
    number = int(match[2]) if match and match[2] else 1
    if number != FORMAT:
        raise UserError(
            f"{folder} holds a run of format {number}, this dupo continues format {FORMAT}: start anew"
        )


def owner_of(folder: Path) -> str | None:
    """Returns the program whose run a folder holds; None if the folder holds no config.yaml."""
    if not is_file(folder / CONFIG):
        return None
    match = _FIRST_LINE.match(_opening(folder))
    return match[1] if match else "train"


def _opening(folder: Path) -> str:
    return read_file(folder / CONFIG)[:100].decode("utf-8", "replace")
