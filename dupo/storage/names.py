"""The names of the files that programs leave in their folders, and which program a folder belongs to.

config.yaml      the settings, complete: they reproduce the run
inputs.json      fingerprints of what the run reads: data, weights, tokenizer, chat frame
metrics.jsonl    one row per optimizer step, a pure function of settings, seed and machine
samples.jsonl    what was asked, answered and reconstructed
timings.jsonl    everything that comes from a clock
summary.json     the final metrics, with the signature
report.html      the page of a run: curves and sampled exchanges, or the answers that rerank chose
audit.html       the page of an audit; audit.json its metrics, audit.jsonl a row for each problem
answers.jsonl    what rerank answers, a row for each problem
tensorboard/     event files, and what wandb writes in wandb/; both only where asked for
trackers.json    the run in each tracker, and the step of the last row that the tracker has got
teaching.pt      the state of the supervised teaching stage that Ctrl-C stopped; removed when done
server.jsonl     every answer that a server gave, by the key of its request
given/           what a call from Python brought: rows, model, tokenizer; an input, which no program removes
run.lock         who writes into the folder; there while a program runs
taught_model/    the built-in model after teaching, for a program that does not train
rows.json        length and checksum of the rows that a program that does not train has finished
rollouts/        what was sampled since the last checkpoint, see `storage/rollouts.py`
merged/          the whole model of a run that trained adapters, where it was asked for
set-aside-N/     the run as it was before an older checkpoint was resumed, with the newer checkpoints
"""

import re
from fnmatch import fnmatchcase
from pathlib import Path

from dupo.errors import UserError
from dupo.user_files import is_file, read_file

CONFIG, SUMMARY, REPORT = "config.yaml", "summary.json", "report.html"
METRICS, SAMPLES, TIMINGS = "metrics.jsonl", "samples.jsonl", "timings.jsonl"
TRACKERS, TENSORBOARD, WANDB = "trackers.json", "tensorboard", "wandb"
TEACHING, TAUGHT = "teaching.pt", "taught_model"
AUDIT, AUDIT_ROWS, AUDIT_PAGE = "audit.json", "audit.jsonl", "audit.html"
ANSWERS = "answers.jsonl"
SERVER_ANSWERS = "server.jsonl"
INPUTS, FINISHED_ROWS = "inputs.json", "rows.json"
LOCK = "run.lock"  # see `storage/lock.py`; belongs to no program and is no output of a run
GIVEN = "given"  # belongs to no program either: config.yaml names what lies there
MERGED = "merged"
ROLLOUTS = "rollouts"
LATEST = "latest"  # the file that names the newest checkpoint

# What each program writes beside config.yaml, as patterns of file names. --overwrite_output_dir removes
# these and nothing else: a file of the user in the same folder stays.
WRITTEN_BY: dict[str, tuple[str, ...]] = {
    "train": (METRICS, SAMPLES, TIMINGS, SUMMARY, REPORT, TEACHING, LATEST, "checkpoint-[0-9]*",
              "set-aside-[0-9]*", "nonfinite-[0-9]*.json", TRACKERS, TENSORBOARD, WANDB, INPUTS, MERGED,
              ROLLOUTS),
    "select": (SUMMARY, TEACHING, TAUGHT, "pass-[0-9]*.jsonl", "kept.jsonl", FINISHED_ROWS,
               SERVER_ANSWERS, INPUTS),
    "rerank": (SUMMARY, REPORT, TEACHING, TAUGHT, ANSWERS, FINISHED_ROWS, SERVER_ANSWERS, INPUTS),
    "audit": (TEACHING, TAUGHT, AUDIT_ROWS, AUDIT, AUDIT_PAGE, FINISHED_ROWS, SERVER_ANSWERS, INPUTS),
}  # fmt: skip
# Of everything in the folder of a run: options, inputs, rows, checkpoints. Format 1 wrote no number; format 2
# had no fingerprints, no checksums, and one group of weights in the optimizer.
FORMAT = 3
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


def holds_work(folder: Path, program: str) -> bool:
    """Whether a folder holds anything that the program wrote after config.yaml and inputs.json."""
    patterns = [pattern for pattern in WRITTEN_BY[program] if pattern != INPUTS]
    return any(fnmatchcase(entry.name, pattern) for entry in folder.iterdir() for pattern in patterns)


def program_of(folder: Path) -> str | None:
    """Returns the program whose run a folder holds; None if the folder holds no config.yaml."""
    if not is_file(folder / CONFIG):
        return None
    match = _FIRST_LINE.match(_opening(folder))
    return match[1] if match else "train"


def _opening(folder: Path) -> str:
    return read_file(folder / CONFIG)[:100].decode("utf-8", "replace")
