"""From problems and answers to packed dual prompts: how long, how much memory, and beside whole strings.

    python -m bench.text.duals --dataset problems.jsonl --tokenizer FOLDER_OR_FILE

Three duals a problem and sixteen different answers to each, near the right one, so that nothing is saved by
asking once about equal answers. Each measurement is a process of its own that starts with an empty cache.
"Whole strings" builds every dual prompt and calls the tokenizer of transformers on it. All ids are compared.
Writes bench/results/duals_cpu_<date>_<sha>.json.
"""

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import transformers

from dupo import text
from dupo.config.options import Config
from dupo.records import Prompt
from dupo.storage.signature import git_revision, package_versions
from dupo.tasks.final_answer import normalise, write
from dupo.tasks.word_problems import WordProblems
from dupo.text.tokenizer import PromptTokenizer

ROOT = Path(__file__).parents[2]
ANSWERS, DUALS = 16, 3
BATCH = 10_000  # strings in one call of the whole-string way


def load(name: str) -> PromptTokenizer:
    if name.endswith(".json"):
        special = {"pad_token": "<|endoftext|>", "eos_token": "<|im_end|>"}  # of Qwen3
        hf = transformers.PreTrainedTokenizerFast(tokenizer_file=name, **special)
    else:
        hf = transformers.AutoTokenizer.from_pretrained(name)
    return PromptTokenizer(hf)


def make_answers(task: WordProblems) -> list[list[str]]:
    """Different answers to each problem, as a model writes them: near the right one, some with a sign."""
    rng, answers = random.Random(0), []
    for problem in task.train:
        right = Fraction(problem.gold or "10")
        steps = rng.sample(range(-200, 200), ANSWERS)
        values = [right + step * rng.choice([Fraction(1), Fraction(1, 4)]) / 2 for step in steps]
        answers.append([rng.choice(["", "", "$"]) + write(value) for value in values])
    return answers


def build(task: WordProblems, answers: Sequence[Sequence[str]]) -> list[Prompt]:
    """The dual prompts of a rollout, as the trainer builds them: each different answer once."""
    prompts: list[Prompt] = []
    for problem, group in zip(task.train, answers, strict=True):
        duals = task.duals(problem)
        read = dict.fromkeys(a for a in map(normalise, group) if a is not None)
        prompts += [task.dual_prompt(problem, dual, answer) for answer in read for dual in duals]
    return prompts


def assembled(task: WordProblems, tokenizer: PromptTokenizer, answers: Any, threads: int) -> dict[str, Any]:
    before = peak_bytes()
    start = time.perf_counter()
    prompts = build(task, answers)
    built = time.perf_counter()
    ids = tokenizer.encode_packed(prompts, threads=threads)
    encoded = time.perf_counter()
    batch = text.packed(ids, threads=threads)
    end = time.perf_counter()
    output = sum(part.nbytes for part in batch if not isinstance(part, int))
    return {
        "prompts": len(prompts),
        "tokens": len(batch.input_ids),
        "seconds": end - start,
        "build": built - start,
        "encode": encoded - built,
        "pack": end - encoded,
        "output_bytes": output,
        "peak_bytes_over_output": (peak_bytes() - before) / output,
        "counts": tokenizer.counts._asdict(),
    }


def whole_strings(task: WordProblems, tokenizer: PromptTokenizer, answers: Any, _: int) -> dict[str, Any]:
    """The usual way, and then whether the assembled ids are the same."""
    start = time.perf_counter()
    prompts = build(task, answers)
    frame = tokenizer.frame
    strings = ["".join([frame.opening, *prompt, frame.closing]) for prompt in prompts]
    rows: list[list[int]] = []
    for at in range(0, len(strings), BATCH):
        batch = tokenizer.hf(strings[at : at + BATCH], add_special_tokens=False, split_special_tokens=True)
        rows += batch.input_ids  # type: ignore[arg-type]
    seconds = time.perf_counter() - start
    different = 0
    for at in range(0, len(prompts), BATCH):
        some = tokenizer.encode(prompts[at : at + BATCH])
        expected = [[*frame.before, *row, *frame.after] for row in rows[at : at + BATCH]]
        different += sum(a != b for a, b in zip(some, expected, strict=True))
    return {"prompts": len(prompts), "seconds": seconds, "prompts_with_other_ids": different}


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(options: argparse.Namespace, way: str, threads: int) -> dict[str, Any]:
    """One way in a process of its own."""
    command = [sys.executable, "-m", "bench.text.duals", "--dataset", options.dataset]
    command += ["--tokenizer", options.tokenizer, "--way", way, "--threads", str(threads)]
    command += ["--limit", str(options.limit)]
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", required=True, help="JSON lines, as for python -m dupo.train")
    parser.add_argument(
        "--tokenizer", required=True, metavar="NAME", help="a folder, a Hub name, or a tokenizer.json (Qwen3)"
    )
    parser.add_argument("--limit", type=int, default=0, help="problems (default: all)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--way", choices=("assembled", "whole_strings"), help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        given = {"task": "word_problems", "dataset": options.dataset, "eval_size": 0}
        task = WordProblems(Config(**given, duals_per_prompt=DUALS))  # type: ignore[arg-type]
        task.train = task.train[: options.limit or None]
        way = {"assembled": assembled, "whole_strings": whole_strings}[options.way]
        print(json.dumps(way(task, load(options.tokenizer), make_answers(task), options.threads)))
        return
    runs = [
        {"way": "assembled", "threads": threads, **measure(options, "assembled", threads)}
        for _ in range(options.repeats)
        for threads in (1, 2)
    ]
    runs.append({"way": "whole_strings", "threads": 1, **measure(options, "whole_strings", 1)})
    best = {t: min(r["seconds"] for r in runs[:-1] if r["threads"] == t) for t in (1, 2)}
    content = {
        "signature": {
            "command": " ".join(["python -m bench.text.duals", *sys.argv[1:]]),
            "git": git_revision(ROOT / "pyproject.toml"),
            "date": date.today().isoformat(),
            "device": f"CPU, {os.cpu_count()} cores",
            "python": platform.python_version(),
            **package_versions("transformers", "tokenizers"),
        },
        "seconds": {f"{t} threads" if t > 1 else "1 thread": best[t] for t in best},
        "faster_than_whole_strings": runs[-1]["seconds"] / best[1],
        "runs": runs,
    }
    signature = content["signature"]
    name = f"duals_cpu_{signature['date'].replace('-', '')}_{signature['git']}.json"
    (ROOT / "bench/results" / name).write_text(json.dumps(content, indent=1) + "\n")
    for run in runs:
        print({key: round(value, 2) if isinstance(value, float) else value for key, value in run.items()})
    print(f"{content['faster_than_whole_strings']:.1f} times as fast as whole strings; bench/results/{name}")


if __name__ == "__main__":
    main()
