"""TRL's GRPOTrainer on duals of the built-in sums: held-out accuracy before and after, on a CPU.

    .ci/peers DIRECTORY trl datasets && . DIRECTORY/variables
    export PYTHONPATH=$PYTHONPATH:$DUPO_PEER_TRL:$DUPO_PEER_DATASETS
    python -m bench.training.trl_learning             trains, and writes a file of bench/results
    python -m bench.training.trl_learning --write     publishes the newest file in docs/inside_trl.md

Starts from the taught weights of the built-in task, which answer about half of the sums. Our loss head is
installed. Rewards of `random` are the control: the same loop without a signal.
"""

import importlib
import json
import tempfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import torch

from bench.loss_head.results import table
from bench.result_files import RESULTS, ROOT, between_markers, newest, result_path, signature, write
from dupo.api import train
from dupo.integrations.duals import Duals, load_duals
from dupo.integrations.trl import as_reward, dual_rollout, install

THEME = "trl_learning"
ARMS = ("frozen", "policy", "random")
WHO = {"frozen": "duals, frozen judge", "policy": "duals, the policy judges", "random": "random rewards"}
PAGE = Path("docs/inside_trl.md")
MARKERS = ("<!-- trl learning: made by bench.training.trl_learning -->", "<!-- end of trl learning -->")
COLUMNS = ("reward", "right before, %", "right after, %", "seconds")
PROMPTS, GENERATIONS, HELD_OUT = 128, 4, 500


def start(folder: str) -> Path:
    """The taught model and its tokenizer, as transformers loads them."""
    # No step can be left out, so one is made that changes nothing that counts.
    run = train(max_steps=1, learning_rate=1e-12, eval_size=0, output_dir=folder)
    assert run.checkpoint is not None
    return Path(run.checkpoint)


@torch.no_grad()
def accuracy(model: Any, tokenizer: Any, duals: Duals) -> float:
    """The share of held-out sums whose greedy answer is right."""
    problems = duals.task.held_out[:HELD_OUT]
    ids = torch.tensor([tokenizer(duals.task.prompt(problem)).input_ids for problem in problems])
    sampled = model.generate(ids, max_new_tokens=6, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    texts = tokenizer.batch_decode(sampled[:, ids.shape[1] :], skip_special_tokens=True)
    answers = [duals.task.answer(problem, text) for problem, text in zip(problems, texts, strict=True)]
    return 100 * duals.task.evaluate(problems, answers)["accuracy"]


def run(arm: str, model: Path, duals: Duals, steps: int, seed: int) -> dict[str, Any]:
    """Trains for so many steps; accuracy in per cent before and after, and the mean reward of each step."""
    trl, datasets = importlib.import_module("trl"), importlib.import_module("datasets")
    rollout, reward = None, as_reward("random", duals)
    if arm != "random":
        rollout, reward = dual_rollout(duals, judge=arm)
    with tempfile.TemporaryDirectory() as folder:
        args = trl.GRPOConfig(
            output_dir=folder, use_cpu=True, bf16=False, seed=seed, report_to="none", save_strategy="no",
            disable_tqdm=True, logging_steps=1, gradient_checkpointing=False, max_steps=steps,
            per_device_train_batch_size=PROMPTS * GENERATIONS, num_generations=GENERATIONS,
            max_completion_length=6, learning_rate=3e-4,
        )  # fmt: skip
        trainer = trl.GRPOTrainer(
            model=str(model),
            args=args,
            reward_funcs=reward,
            rollout_func=rollout,
            train_dataset=datasets.Dataset.from_list([{"prompt": text} for text in duals.prompts]),
        )
        tokenizer = trainer.processing_class
        before = accuracy(trainer.model.eval(), tokenizer, duals)
        trainer.model.train()
        trainer.train()
        after = accuracy(trainer.model.eval(), tokenizer, duals)
        history = [row for row in trainer.state.log_history if "reward" in row]
    return {
        "arm": arm,
        "seed": seed,
        "before": before,
        "after": after,
        "rewards": [row["reward"] for row in history],
        "seconds": trainer.state.log_history[-1]["train_runtime"],
    }


def section(path: Path | None) -> str:
    """What stands between the markers of the page."""
    if path is None:
        return "Not measured yet."
    result = json.loads(path.read_text(encoding="utf-8"))
    lines = []
    for arm in ARMS:
        runs = [row for row in result["runs"] if row["arm"] == arm]
        figures = [[row[name] for row in runs] for name in ("before", "after", "seconds")]
        lines.append([WHO[arm], *(f"{sum(values) / len(values):.1f}" for values in figures)])
    made_by = result["signature"]
    source = (
        f"{result['steps']} steps of {PROMPTS} prompts, {GENERATIONS} completions each. Made by "
        f"`{made_by['command']}` at {made_by['git']} ({made_by['device']}, one thread; torch "
        f"{made_by['torch']}, TRL {made_by['trl']}): "
        f"[bench/results/{path.name}](../bench/results/{path.name})."
    )
    return f"{table(COLUMNS, lines)}\n\n{source}"


def publish(page: str, path: Path | None) -> str:
    """The page with the table between the markers."""
    return between_markers(page, MARKERS, section(path))


def main() -> None:
    """Runs the arms and writes a file of bench/results, or publishes."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="publish the newest result")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--arm", action="append", choices=ARMS, help="only this one; writes nothing")
    options = parser.parse_args()
    if options.write:
        page = ROOT / PAGE
        page.write_text(publish(page.read_text(encoding="utf-8"), newest(THEME)), encoding="utf-8")
        return
    torch.set_num_threads(1)
    made_by = signature("python -m bench.training.trl_learning", "torch", "transformers")
    made_by["trl"] = importlib.import_module("trl").__version__
    install()
    duals = load_duals(task="arithmetic", eval_size=HELD_OUT)
    with tempfile.TemporaryDirectory() as folder:
        model = start(folder)
        runs = []
        for seed in range(options.seeds):
            for arm in options.arm or ARMS:
                runs.append(run(arm, model, duals, options.steps, seed))
                print(json.dumps(runs[-1] | {"rewards": runs[-1]["rewards"][:: max(1, options.steps // 6)]}))
    if not options.arm:
        write(
            result_path(THEME, made_by, RESULTS), {"signature": made_by, "steps": options.steps, "runs": runs}
        )


if __name__ == "__main__":
    main()
