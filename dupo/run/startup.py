"""Before a run: whether its prompts fit, and the table that says what will be done and how much of it."""

from collections.abc import Iterable
from typing import Any

from dupo.config.options import Config, asks_duals, reward_terms
from dupo.errors import UserError
from dupo.records import Problem, Prompt
from dupo.tasks import LESSONS, Task
from dupo.text.tokenizer import PromptTokenizer

WARM_UP = (
    "supervised, and the only use of labels: 64 labelled examples a step until about half of the answers are "
    "right (20,000 to 75,000 examples, and 500 more to tell when); it stands in for pre-training"
)


def warms_up(config: Config) -> bool:
    """Whether the model starts from random weights on a built-in task, and is taught before RL."""
    return config.model_name_or_path == "tiny" and config.task in LESSONS


def check_fit(
    task: Task, problems: Iterable[Problem], tokenizer: PromptTokenizer, shape: Any, config: Config
) -> None:
    """Refuses a tokenizer that the model has no embeddings for, and, by name, a problem whose prompt or dual
    prompt leaves no room for a completion. `shape`: the model's config."""
    inner = shape.get_text_config()
    if len(tokenizer) > inner.vocab_size:
        raise UserError(
            f"tokenizer: expected at most the model's {inner.vocab_size:,} tokens, got {len(tokenizer):,}"
        )
    windowed = getattr(inner, "use_sliding_window", True)  # the packed path has no sliding window
    window = (getattr(inner, "sliding_window", None) if windowed else None) or config.token_budget
    positions = min(getattr(inner, "max_position_embeddings", None) or window, window)
    dual_limit = config.dual_max_completion_length or config.max_completion_length
    budget, kept = config.token_budget, config.max_completion_length
    for problem in problems:
        _check_prompt(tokenizer, problem, "prompt", task.prompt(problem), kept, min(positions, budget))
        for dual in task.duals(problem) if asks_duals(config) else ():
            asked = task.dual_prompt(problem, dual, "0")
            _check_prompt(tokenizer, problem, "dual prompt", asked, dual_limit, positions)


def _check_prompt(
    tokenizer: PromptTokenizer, problem: Problem, kind: str, prompt: Prompt, completion: int, room: int
) -> None:
    frame = tokenizer.frame
    written = "".join([frame.opening, *prompt, frame.closing])
    if len(frame.before) + len(frame.after) + 3 * len(written.encode()) + 1 + completion <= room:
        return  # a token is at least a byte, and NFC makes at most three of one: no need to count
    tokens = len(tokenizer.encode([prompt])[0])
    if tokens + completion > room:
        raise UserError(
            f"{problem.id}: its {kind} of {tokens} tokens and a completion of {completion} need "
            f"{tokens + completion}; the model and token_budget allow {room}"
        )


def plan(
    config: Config, task: Task, tokenizer: PromptTokenizer, device: Any
) -> tuple[str, list[tuple[str, str]]]:
    """Title and rows of the start-up table."""
    c = config
    names = [name for name, _ in reward_terms(c)]
    labels = "the labels of its problems" if "gold" in names else "no label"
    if any("." in name for name in names):
        labels = "whatever your function reads: it is given every column of the data"
    judge = f"; the {c.dual_model} model answers the duals" if asks_duals(c) else ""
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
