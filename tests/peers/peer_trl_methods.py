"""Checks of dupo's methods beside TRL's trainers: five steps in float32 from the same weights.

Every step learns from all rows of the file, so no order of rows can differ. Each side reads the rows, makes
tokens, batches and optimizer by itself. Needs the packages of data sets as well, see .ci/peers.
"""

import json
import tempfile
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

from bench.training.trl_runs import (
    SMALL,
    completed,
    labelled,
    logged,
    make_model,
    pairs,
    saved_model,
    scored_model,
    tokenizer,
)
from dupo.config.command_line import parse
from dupo.train import train_steps
from tests.peers.peer_checks import Checks

STEPS, ROWS, RATE = 5, 24, 1e-3
# Options of TRL's trainer, and ours of the same meaning.
DPO: dict[str, dict[str, Any]] = {
    "sigmoid": {},
    "ipo": {"loss_type": "ipo", "beta": 0.3},
    "sigmoid-sft": {"loss_type": "sigmoid,sft", "loss_weights": "1,0.5"},
    "robust": {"loss_type": "robust", "label_smoothing": 0.2},
    "f-divergence": {"f_divergence_type": "js_divergence"},
    "discopop": {"loss_type": "discopop"},
}
KTO: dict[str, dict[str, Any]] = {
    "kto": {"beta": 0.3, "undesirable_weight": 0.7},
    "apo": {"loss_type": "apo_zero_unpaired"},
}
LISTS = {"loss_type": str, "loss_weights": float}  # TRL's DPO takes lists where we take commas
REPORTED = ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies")
REPORTED += ("logps/chosen", "logps/rejected")
OF_LABELS = tuple(name for name in REPORTED if name != "rewards/accuracies")
REWARD: dict[str, dict[str, Any]] = {"pairs": {}, "centred": {"center_rewards_coefficient": 0.05}}
OF_SCORES = ("accuracy", "margin", "mean_reward", "min_reward", "max_reward")
TRAINERS = {"dpo": "DPO", "kto": "KTO", "sft": "SFT", "reward_model": "Reward"}
SINGLE = {"kto": (*OF_LABELS, "kl"), "apo": OF_LABELS}


def with_margins(seed: int) -> Any:
    """Pairs, some of which differ by more than others."""
    rows = pairs(seed)
    return rows.add_column("margin", [0.25 * (place % 4) for place in range(len(rows))])


def check_steps(kind: str, data: Any, options: dict[str, Any], metrics: tuple[str, ...]) -> None:
    """Losses, norms of the gradient and the metrics that both report, within 1e-5."""
    rows = data(2).select(range(ROWS))
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
        model = saved_model(make_model(SMALL), folder)
        if kind == "reward_model":
            scored_model(model)
        theirs = _trl(kind, model, folder, rows, options)
        path = Path(folder, "rows.jsonl")
        path.write_text("".join(json.dumps(row) + "\n" for row in rows.to_list()))
        words = ["--method", kind, "--dataset", str(path), "--model_name_or_path", model, "--quiet"]
        words += ["--eval_size", "0", "--max_steps", str(STEPS), "--train_batch_size", str(ROWS)]
        words += [
            "--learning_rate",
            str(RATE),
            "--output_dir",
            str(Path(folder, "ours")),
            "--num_threads",
            "1",
        ]
        words += [word for name, value in options.items() for word in (f"--{name}", str(value))]
        ours = list(train_steps(parse(words)))
    assert len(ours) == len(theirs) == STEPS and len({row["loss"] for row in ours}) == STEPS
    for step, (one, other) in enumerate(zip(ours, theirs, strict=True), start=1):
        for name in ("loss", "grad_norm", *metrics):
            a, b = one[name], float(other[name])
            assert abs(a - b) <= 1e-5 * max(abs(a), abs(b), 0.1), f"step {step}, {name}: {a} and TRL's {b}"


def _trl(kind: str, model: str, folder: str, data: Any, options: dict[str, Any]) -> list[dict[str, Any]]:
    import trl

    theirs = {
        name: [LISTS[name](item) for item in value.split(",")] if kind == "dpo" and name in LISTS else value
        for name, value in options.items()
    }
    config = getattr(trl, f"{TRAINERS[kind]}Config")(
        output_dir=str(Path(folder, "theirs")), use_cpu=True, max_steps=STEPS, logging_steps=1,
        report_to="none", save_strategy="no", learning_rate=RATE, per_device_train_batch_size=ROWS,
        bf16=False, disable_tqdm=True, gradient_checkpointing=False, lr_scheduler_type="constant", **theirs,
    )  # fmt: skip
    trainer = getattr(trl, f"{TRAINERS[kind]}Trainer")(
        model=model, args=config, train_dataset=data, processing_class=tokenizer()
    )
    trainer.train()
    return logged(trainer)


CHECKS: Checks = {
    f"dpo-{name}": partial(check_steps, "dpo", pairs, options, REPORTED) for name, options in DPO.items()
}
CHECKS |= {f"kto-{name}": partial(check_steps, "kto", labelled, KTO[name], SINGLE[name]) for name in KTO}
CHECKS |= {
    f"reward-{name}": partial(check_steps, "reward_model", pairs, options, OF_SCORES)
    for name, options in REWARD.items()
}
CHECKS["reward-margins"] = partial(check_steps, "reward_model", with_margins, {}, OF_SCORES)
CHECKS["sft"] = partial(check_steps, "sft", completed, {}, ())
