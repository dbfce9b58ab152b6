"""README.md of a model on the Hub: what a run knows of the model that it made, and nothing more.

Everything is read from the folder of the run, so the card is the same whenever the model is pushed. Paths of
this machine do not leave it: of a file or folder only the name is told.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from dupo.config.config import OPTIONS, Config
from dupo.config.layers import ONE_START, assemble, read_config
from dupo.config.model_options import BUILT_IN_MODEL
from dupo.config.reward_names import MODEL, is_model
from dupo.config.values import listed, show
from dupo.storage.files import read_mapping
from dupo.storage.inputs import SETTINGS
from dupo.storage.names import CONFIG, INPUTS, SUMMARY
from dupo.user_files import NOTHING, path_kind

WEIGHTS = "the weights of the model"  # as inputs.json calls them
# Where the model goes is no part of how it was made.
_NOT_TOLD = ONE_START | {"push_to_hub", "hub_model_id", "hub_private_repo", "report_to", "run_name"}

# What a method is called; and where it reads no reward, what training read.
_METHODS = {
    "sft": "supervised fine-tuning",
    "dpo": "preference optimization",
    "kto": "Kahneman-Tversky optimization",
    "reward_model": "comparing answers",
    "online_dpo": "online preference optimization",
    "online_kto": "online Kahneman-Tversky optimization",
    "rft": "rejection sampling fine-tuning",
}
_READ = {
    "sft": "completions that were given",
    "dpo": "pairs of a better and a worse answer",
    "kto": "answers that are good or bad",
    "reward_model": "answers from the best to the worst",
}


def model_card(run: Path, repo: str) -> str:
    """The text of README.md.

    Args:
        run: the folder of a finished run.
        repo: OWNER/NAME on the Hub.
    """
    config = read_config(run / CONFIG)
    summary, inputs = read_mapping(run / SUMMARY), read_mapping(run / INPUTS)
    # A commit stands for weights of the Hub, a sha256 for a folder of this machine.
    is_of_hub = inputs.get(WEIGHTS, "").startswith("commit ")
    scores = config.learns_scores
    data = ModelCardData(
        base_model=config.model.model_name_or_path if is_of_hub else None,
        library_name="transformers",
        pipeline_tag="text-classification" if scores else "text-generation",
        tags=["dupo", config.method],
    )
    text = "\n\n".join(_sections(config, summary, inputs, repo))
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}\n"))


def _sections(
    config: Config, summary: Mapping[str, Any], inputs: Mapping[str, str], repo: str
) -> Iterator[str]:
    yield f"# {repo.rpartition('/')[2]}"
    name = config.model.model_name_or_path
    base = "random weights" if name == BUILT_IN_MODEL else f"`{_without_place('model_name_or_path', name)}`"
    method = _METHODS.get(config.method, f"`--method {config.method}`")
    task = f" on the task `{config.task.task}`" if "task" in summary else ""
    what = "A reward model, made" if config.learns_scores else "Made"
    yield f"{what} from {base} by {method}{task}, with dupo. Training read {_labels(config, summary)}."
    yield _code(
        "python",
        *_usage(
            repo, "AutoModelForSequenceClassification" if config.learns_scores else "AutoModelForCausalLM"
        ),
    )
    yield "## Figures"
    yield from _figures(summary)
    yield "## How it was made"
    yield _code("bash", command_of(config))
    yield _table(
        ("what was read", "fingerprint"), [(k, f"`{v}`") for k, v in inputs.items() if k != SETTINGS]
    )
    yield f"`{summary['signature']}`"


def _labels(config: Config, summary: Mapping[str, Any]) -> str:
    read = _READ.get(config.method, config.reward.labels_read)
    lessons = summary.get("teaching_labels")
    return f"{read}, after a teaching on {lessons:,} labelled examples" if lessons else read


def _usage(repo: str, model_class: str) -> Sequence[str]:
    return (
        f"from transformers import {model_class}, AutoTokenizer",
        "",
        f'model = {model_class}.from_pretrained("{repo}")',
        f'tokenizer = AutoTokenizer.from_pretrained("{repo}")',
    )


def _figures(summary: Mapping[str, Any]) -> Iterator[str]:
    """The held-out figures, each with its number of problems."""
    held_out, names = summary["eval/problems"], list(summary["evals"][0][1])
    yield f"Of one run of {summary['steps']:,} steps with seed {summary['seed']}. Nothing else was measured."
    if not names:
        yield "No problem was held out."
        return
    header = (f"{held_out:,} held-out problems", "before", "after")
    rows = [(n, *(f"{summary[f'eval/{n}_{when}']:.3f}" for when in ("before", "after"))) for n in names]
    yield _table(header, rows)


def command_of(config: Config) -> str:
    """The command line that asks for the same training: every option that is not at its default."""
    default = assemble({"method": config.method, "task": config.task.task, "dataset": config.task.dataset})
    before = default.flat()
    told = ["method", "task", *(n for n, v in config.flat().items() if v != before[n])]
    names = [n for n in dict.fromkeys(told) if n not in _NOT_TOLD] + ["dataset"] * bool(config.task.dataset)
    values = config.flat()
    # `show` cuts long texts, for messages.
    texts = {n: str(values[n]) if isinstance(values[n], str) else show(values[n]) for n in names}
    options = [(f"--{n}", _without_place(n, text)) for n, text in texts.items()]
    return shlex.join(["python", "-m", "dupo.train", *(word for pair in options for word in pair)])


def _without_place(name: str, value: str) -> str:
    """The value of an option; of a path on this machine only the last name."""
    if name == "reward":
        # Rewards are no paths, but a reward model stands among them by its folder.
        names = (f"{MODEL}{Path(term).name}" if is_model(term) else term for term in listed(value))
        return ",".join(names)
    is_place = OPTIONS[name].metadata.get("is_path") and (
        value.startswith((".", "/", "~")) or path_kind(value) != NOTHING
    )
    return Path(value).name if is_place else value


def _code(language: str, *lines: str) -> str:
    return "\n".join([f"```{language}", *lines, "```"])


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))
