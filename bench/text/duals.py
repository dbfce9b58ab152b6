"""From problems and answers to packed dual prompts: how long, how much memory, and beside whole strings.

    python -m bench.text.duals --dataset problems.jsonl --tokenizer FOLDER_OR_FILE

Each problem has three duals and sixteen different answers near the right answer. So asking once about equal
answers saves nothing. Each measurement is a process of its own that starts with an empty cache. "Whole
strings" builds every dual prompt and calls the tokenizer of transformers on the prompts. All ids are
compared. Writes bench/results/duals_cpu_<date>_<sha>.json.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import transformers

from bench.peak_memory import peak_bytes
from bench.result_files import ROOT, result_path, signature, write
from dupo import text
from dupo.config.config import Config
from dupo.records import Prompt
from dupo.tasks.answer_numbers import format_number as number_text
from dupo.tasks.final_answer import normalise
from dupo.tasks.word_problems import WordProblems
from dupo.text.tokenizer import PromptTokenizer

NUM_ANSWERS, NUM_DUALS = 16, 3
STRINGS_PER_CALL = 10_000  # of the tokenizer of transformers


def load_tokenizer(name: str) -> PromptTokenizer:
    """The tokenizer of a folder, of a model on the Hub, or of the file tokenizer.json of Qwen3."""
    if name.endswith(".json"):
        special = {"pad_token": "<|endoftext|>", "eos_token": "<|im_end|>"}  # of Qwen3
        hf = transformers.PreTrainedTokenizerFast(tokenizer_file=name, **special)
    else:
        hf = transformers.AutoTokenizer.from_pretrained(name)
    return PromptTokenizer(hf)


def load_task(dataset: str, limit: int = 0) -> WordProblems:
    """The word problems of a file, the first `limit` of them (0: all)."""
    options = Config.of(task="word_problems", dataset=dataset, eval_size=0, duals_per_prompt=NUM_DUALS).task
    task = WordProblems(options, seed=0)
    task.train = task.train[: limit or None]
    return task


def make_answers(task: WordProblems) -> list[list[str]]:
    """Different answers to each problem, as a model writes them: near the right answer, some with a sign."""
    rng, answers = random.Random(0), []
    for problem in task.train:
        # Halves and eighths, so that fractions are among the answers.
        right = Fraction(problem.gold or "10")
        steps = rng.sample(range(-200, 200), NUM_ANSWERS)
        values = [right + step * rng.choice([Fraction(1), Fraction(1, 4)]) / 2 for step in steps]
        answers.append([rng.choice(["", "", "$"]) + number_text(value) for value in values])
    return answers


def dual_prompts(task: WordProblems, answers: Sequence[Sequence[str]]) -> list[Prompt]:
    """The dual prompts of a rollout, as the trainer builds them: each different answer once."""
    prompts: list[Prompt] = []
    for problem, group in zip(task.train, answers, strict=True):
        duals = task.duals(problem)
        # The trainer asks once about equal answers.
        different = dict.fromkeys(answer for answer in map(normalise, group) if answer is not None)
        prompts += [task.dual_prompt(problem, dual, answer) for answer in different for dual in duals]
    return prompts


def measure_assembled(task: WordProblems, tokenizer: PromptTokenizer, threads: int) -> dict[str, Any]:
    """Our way: pieces of ids are put together."""
    answers = make_answers(task)
    # The answers exist in every way of assembling, so they do not count.
    bytes_before = own_peak_bytes()
    start = time.perf_counter()
    prompts = dual_prompts(task, answers)
    built = time.perf_counter()
    ids = tokenizer.encode_packed(prompts, threads=threads)
    encoded = time.perf_counter()
    batch = text.packed(ids, threads=threads)
    end = time.perf_counter()
    output_bytes = sum(array.nbytes for array in batch if not isinstance(array, int))
    return {
        "prompts": len(prompts),
        "tokens": len(batch.input_ids),
        "seconds": end - start,
        "build": built - start,
        "encode": encoded - built,
        "pack": end - encoded,
        "output_bytes": output_bytes,
        "peak_bytes_over_output": (own_peak_bytes() - bytes_before) / output_bytes,
        "counts": tokenizer.counts._asdict(),
    }


def measure_whole_strings(task: WordProblems, tokenizer: PromptTokenizer, threads: int) -> dict[str, Any]:
    """The usual way, and then whether the assembled ids are equal. The tokenizer uses one thread."""
    answers = make_answers(task)
    start = time.perf_counter()
    prompts = dual_prompts(task, answers)
    frame = tokenizer.frame
    # The chat template is part of a whole string; the assembler adds it as ids.
    strings = ["".join([frame.opening, *prompt, frame.closing]) for prompt in prompts]
    rows: list[list[int]] = []
    # In parts: one call on all strings would hold every encoding object at once.
    for i in range(0, len(strings), STRINGS_PER_CALL):
        call = strings[i : i + STRINGS_PER_CALL]
        batch = tokenizer.hf(call, add_special_tokens=False, split_special_tokens=True)
        rows += batch.input_ids  # type: ignore[arg-type]
    seconds = time.perf_counter() - start
    num_different = 0
    for i in range(0, len(prompts), STRINGS_PER_CALL):
        # Compared after the clock has stopped.
        assembled = tokenizer.encode(prompts[i : i + STRINGS_PER_CALL])
        whole_string_ids = [[*frame.before, *row, *frame.after] for row in rows[i : i + STRINGS_PER_CALL]]
        num_different += sum(ours != theirs for ours, theirs in zip(assembled, whole_string_ids, strict=True))
    return {"prompts": len(prompts), "seconds": seconds, "prompts_with_other_ids": num_different}


def own_peak_bytes() -> int:
    """The largest resident size of this process so far."""
    return peak_bytes(resource.getrusage(resource.RUSAGE_SELF))


WAYS = {"assembled": measure_assembled, "whole_strings": measure_whole_strings}


def measure_in_process(options: argparse.Namespace, way: str, threads: int) -> dict[str, Any]:
    """Measures one way in a process of its own, so that no cache and no memory is left of another."""
    command = [sys.executable, "-m", "bench.text.duals", "--dataset", options.dataset]
    command += ["--tokenizer", options.tokenizer, "--way", way, "--threads", str(threads)]
    command += ["--limit", str(options.limit)]
    # Threads of the tokenizer or of OpenMP would blur what one thread costs.
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return {"way": way, "threads": threads, **json.loads(done.stdout.splitlines()[-1])}


def measure_all(options: argparse.Namespace) -> None:
    """Measures every way, writes the result file, and prints what was measured."""
    runs = []
    for _ in range(options.repeats):
        runs += [measure_in_process(options, "assembled", threads) for threads in (1, 2)]
    # The least of several: other work on the machine can only add time.
    best = {n: min(run["seconds"] for run in runs if run["threads"] == n) for n in (1, 2)}
    # Once: it takes minutes, and the ratio is far from one.
    whole_strings = measure_in_process(options, "whole_strings", 1)
    command = " ".join(["python -m bench.text.duals", *sys.argv[1:]])
    content = {
        "signature": signature(command, "transformers", "tokenizers"),
        "seconds": {"1 thread": best[1], "2 threads": best[2]},
        "faster_than_whole_strings": whole_strings["seconds"] / best[1],
        "runs": [*runs, whole_strings],
    }
    path = result_path("duals", content["signature"])
    write(path, content)
    for run in content["runs"]:
        print({key: round(value, 2) if isinstance(value, float) else value for key, value in run.items()})
    print(f"{content['faster_than_whole_strings']:.1f} times as fast as whole strings; written: {path}")


def main() -> None:
    """Measures everything; with `--way`, one way in this process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", required=True, help="JSON lines, as for python -m dupo.train")
    parser.add_argument(
        "--tokenizer", required=True, metavar="NAME", help="a folder, a Hub name, or a tokenizer.json (Qwen3)"
    )
    parser.add_argument("--limit", type=int, default=0, help="problems (default: all)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way is None:
        measure_all(options)
        return
    task, tokenizer = load_task(options.dataset, options.limit), load_tokenizer(options.tokenizer)
    print(json.dumps(WAYS[options.way](task, tokenizer, options.threads)))


if __name__ == "__main__":
    main()
