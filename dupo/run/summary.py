"""After a run: summary.json, and the before/after table."""

from typing import Any

from dupo.config.options import Config
from dupo.config.values import listed
from dupo.storage.signature import signature_line
from dupo.tasks import LESSONS
from dupo.views.terminal import Display


def summarise(
    config: Config, state: dict[str, Any], step: int, seconds: float, made_by: dict[str, str]
) -> dict[str, Any]:
    """What summary.json holds. `state` is the session's: `evals` as [step, figures] pairs, and the rest."""
    figures: dict[str, Any] = {"eval/problems": state["problems"]}
    for name in state["evals"][0][1]:
        values = [found[name] for _, found in state["evals"]]
        figures[f"eval/{name}_before"], figures[f"eval/{name}_after"] = values[0], values[-1]
        figures[f"eval/{name}_peak"] = max(values)
    return {
        **figures,
        "reward_auc": state["reward_auc"],
        "steps": step,
        "seconds": round(seconds, 1),
        "seed": config.seed,
        "task": config.task,
        "reward": config.reward,
        "headline": state["headline"],
        "warmup_labels": state["labels"],
        "warmup_steps": state["warmup_steps"],
        "evals": state["evals"],
        "signature": signature_line(made_by),
    }


def show_result(display: Display, summary: dict[str, Any]) -> None:
    """The before/after table, the quality of the reward, and where labels were used."""
    rows = []
    for name in summary["evals"][0][1]:
        before, after, peak = (summary[f"eval/{name}_{when}"] for when in ("before", "after", "peak"))
        rows.append([name, f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}", f"{peak:.3f}"])
    if rows:
        title = f"{summary['eval/problems']:,} held-out problems, greedy, {summary['seconds']:.0f} s in all"
        display.table(title, ["", "before", "after", "change", "peak"], rows)
    if summary["reward_auc"] is not None:
        display.note(
            f"how well the reward told right from wrong before training: AUC {summary['reward_auc']:.3f}"
        )
    if summary["warmup_labels"]:
        dev = len(LESSONS[summary["task"]].dev())
        where = f"{summary['warmup_labels']:,} examples in the supervised warm-up and {dev} to stop it"
        names = listed(summary["reward"])
        rl = "and those of the training problems in RL" if "gold" in names else "none in RL"
        if any("." in name for name in names):
            rl = "and in RL whatever your reward function read"
        display.note(f"labels used: {where}, {rl}")
