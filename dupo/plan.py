"""Before a run: whether its prompts fit, and the table that says what will be done and how much of it."""

from typing import Any

from dupo.config import Config, UserError
from dupo.tasks import Task
from dupo.tokenizer import PromptTokenizer

WARM_UP = (
    "supervised, and the only use of labels: 64 labelled examples a step until about half of the answers are "
    "right (40,000 to 75,000 examples); it stands in for pre-training"
)
CHECKED = 1000  # the longest problems, in bytes, whose prompts are counted in tokens


def warms_up(config: Config) -> bool:
    """Whether the model starts from random weights on the built-in task, and is taught before RL."""
    return config.model_name_or_path == "tiny" and config.task == "arithmetic"


def check_lengths(task: Task, tokenizer: PromptTokenizer, shape: Any, config: Config) -> None:
    """Refuses, by name, a prompt that leaves no room for a completion. `shape`: the model's config."""
    positions = getattr(shape, "max_position_embeddings", None) or config.token_budget
    limit = "the model allows" if positions <= config.token_budget else "token_budget allows"
    room = min(positions, config.token_budget)
    longest = sorted([*task.train, *task.held_out], key=lambda p: -len(p.text.encode()))[:CHECKED]
    prompts = tokenizer.encode([task.prompt(p) for p in longest])
    for problem, ids in zip(longest, prompts, strict=True):
        needed = len(ids) + config.max_completion_length
        if needed > room:
            raise UserError(
                f"{problem.id}: its prompt of {len(ids)} tokens and max_completion_length "
                f"{config.max_completion_length} need {needed}, {limit} {room}"
            )


def plan(
    config: Config, task: Task, tokenizer: PromptTokenizer, device: Any
) -> tuple[str, list[tuple[str, str]]]:
    """Title and rows of the start-up table."""
    c = config
    labels = "the labels of its problems" if c.reward == "gold" else "no label"
    judge = f"; the {c.dual_model} model answers the duals" if c.reward in ("dual", "shuffled") else ""
    prompts, each = c.generation_batch_size // c.num_generations, f"{c.num_generations} completions"
    length = f"of at most {c.max_completion_length} tokens, temperature {c.temperature:g}"
    steps = f"{c.max_steps} optimizer steps of {c.train_batch_size or c.generation_batch_size} completions"
    held_out = f"greedy answers to {len(task.held_out):,} held-out problems"
    rows = [
        ("model", f"{c.model_name_or_path} on {device}, {len(tokenizer):,} tokens of vocabulary"),
        ("data", "; ".join(task.notes)),
        ("warm-up", WARM_UP),
        ("reward", f"{c.reward}, RL reads {labels}{judge}"),
        ("rollout", f"{prompts} prompts x {each} {length}"),
        ("steps", f"{steps}; {c.loss_type}, learning rate {c.learning_rate:g}"),
        ("evaluation", f"{held_out}, every {c.eval_steps} steps"),
        ("folder", str(c.output_dir)),
    ]
    return f"dupo: {c.task}, seed {c.seed}", [row for row in rows if row[0] != "warm-up" or warms_up(c)]
