"""A few steps of each TRL trainer on toy data: a Qwen3 of two layers with random weights, on a CPU.

The trainers are TRL's own, from rows to optimizer. What they log is compared by `bench.training.trl_trainers`
and by tests/peers/peer_trl_trainers.py. Nothing is fetched. Needs TRL, accelerate and datasets on the path.
"""

import importlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from bench.peak_memory import added_bytes

STEPS = 3
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
CHARACTERS = [chr(code) for code in range(32, 127)]
# What depends on the clock alone.
CLOCKS = ("time", "runtime", "per_second", "flos", "profiling")
Row = dict[str, Any]


class Size(NamedTuple):
    """The model, and what is sampled.

    Attributes:
        vocabulary: at least the tokens of the tokenizer, 97.
        completion: most tokens of a completion.
        repeats: how often a text of a preference stands in its completion.
    """

    vocabulary: int = 97
    hidden: int = 32
    completion: int = 12
    repeats: int = 1


SMALL = Size()


class Measured(NamedTuple):
    """What a run logged and took.

    Attributes:
        rows: the metrics of each step.
        seconds: of the processor, of `train`.
        peak_bytes: resident at the peak of `train`, above what was resident before.
    """

    rows: list[Row]
    seconds: float
    peak_bytes: int


def tokenizer() -> PreTrainedTokenizerFast:
    """One token for each character."""
    vocabulary = {text: number for number, text in enumerate(["<pad>", "<eos>", *CHARACTERS])}
    characters = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    characters.pre_tokenizer, characters.decoder = pre_tokenizers.Split("", "isolated"), decoders.Fuse()
    names = {"pad_token": "<pad>", "eos_token": "<eos>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=characters, **names)
    fast.chat_template = TEMPLATE
    return fast


def shape_of(size: Size) -> Row:
    """What a config of transformers takes."""
    return dict(
        vocab_size=size.vocabulary, hidden_size=size.hidden, intermediate_size=2 * size.hidden,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16, initializer_range=0.1,
        max_position_embeddings=1024, tie_word_embeddings=False,
        pad_token_id=0, eos_token_id=1, bos_token_id=None,
    )  # fmt: skip


def make_model(size: Size, seed: int = 0) -> Any:
    """The same random weights at every call."""
    torch.manual_seed(seed)
    return Qwen3ForCausalLM(Qwen3Config(**shape_of(size)))


def saved_model(model: Any, folder: str) -> str:
    """A folder with that model: trainers that need a reference load the model twice."""
    path = Path(folder, "model")
    model.save_pretrained(path)
    tokenizer().save_pretrained(path)
    return str(path)


# --- data ------------------------------------------------------------------------------------------


def sums() -> Any:
    """Prompts."""
    return _dataset([{"prompt": f"{a}+{b}="} for a in range(8) for b in range(8)])


def scored_model(folder: str, seed: int = 0) -> str:
    """Turns the language model of a folder into a reward model, whose score is drawn; returns the folder."""
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(seed)
    padding = tokenizer().pad_token_id
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, pad_token_id=padding)
    model.save_pretrained(folder)
    return folder


def pairs(repeats: int) -> Any:
    """A prompt with an answer that is right and a longer one that is not."""
    return _dataset(
        [
            {"prompt": f"{a}+{b}=", "chosen": f"{a + b} " * repeats, "rejected": f"{a * b + 3}... " * repeats}
            for a in range(8)
            for b in range(8)
        ]
    )


def labelled(repeats: int) -> Any:
    """Completions with their labels, as many good ones as bad ones."""
    rows = pairs(repeats).to_list()
    return _dataset(
        [
            {
                "prompt": row["prompt"],
                "completion": row["chosen" if i % 2 else "rejected"],
                "label": i % 2 == 1,
            }
            for i, row in enumerate(rows)
        ]
    )


def completed(repeats: int) -> Any:
    """Prompts with the right answer."""
    return pairs(repeats).rename_column("chosen", "completion").remove_columns("rejected")


def chats(repeats: int) -> Any:
    """The same as messages."""
    rows = pairs(repeats).to_list()
    names = {"prompt": "user", "chosen": "assistant"}
    return _dataset(
        [{"messages": [{"role": names[key], "content": row[key]} for key in names]} for row in rows]
    )


def _dataset(rows: list[Row]) -> Any:
    return importlib.import_module("datasets").Dataset.from_list(rows)


def even_ids(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """A reward that random weights reach: the share of even ids."""
    return [sum(i % 2 == 0 for i in ids) / max(1, len(ids)) for ids in completion_ids]


# --- trainers --------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """A trainer of TRL.

    Attributes:
        module: where its class and its config are.
        data: makes its rows, of texts repeated so often.
        options: of its config.
        most_tokens: the option that bounds what it samples.
        rewarded: it takes reward functions.
        taught: it takes a teacher.
    """

    name: str
    module: str
    data: Callable[[int], Any]
    options: Row
    most_tokens: str | None = None
    rewarded: bool = False
    taught: bool = False


_SAMPLED = dict(num_generations=4, num_iterations=2, beta=0.01)
KINDS = {
    "grpo": Kind(
        "GRPO", "trl", lambda _: sums(), _SAMPLED | dict(entropy_coef=0.01), "max_completion_length", True
    ),
    "rloo": Kind("RLOO", "trl", lambda _: sums(), _SAMPLED, "max_completion_length", True),
    "dpo": Kind("DPO", "trl", pairs, dict(loss_type=["sigmoid", "sft"], loss_weights=[1.0, 0.5])),
    "kto": Kind("KTO", "trl", labelled, {}),
    "sft": Kind("SFT", "trl", completed, {}),
    "cpo": Kind("CPO", "trl.experimental.cpo", pairs, dict(cpo_alpha=0.7, label_smoothing=0.1)),
    "simpo": Kind("CPO", "trl.experimental.cpo", pairs, dict(loss_type="simpo", cpo_alpha=0.0)),
    "orpo": Kind("ORPO", "trl.experimental.orpo", pairs, {}),
    "online_dpo": Kind(
        "OnlineDPO", "trl.experimental.online_dpo", lambda _: sums(), {}, "max_new_tokens", True
    ),
    "gkd": Kind(
        "GKD", "trl.experimental.gkd", chats, dict(lmbda=0.5, beta=0.3), "max_new_tokens", taught=True
    ),
    "gkd_forward": Kind("GKD", "trl.experimental.gkd", chats, dict(lmbda=0.0, beta=0.0), taught=True),
}


def settings(kind: Kind, size: Size, folder: str, bf16: bool, steps: int) -> Any:
    """The config of a trainer."""
    common: Row = dict(
        output_dir=folder, use_cpu=True, max_steps=steps, logging_steps=1, report_to="none",
        save_strategy="no", learning_rate=1e-3, seed=3, per_device_train_batch_size=8, bf16=bf16,
        disable_tqdm=True, gradient_checkpointing=False,
    )  # fmt: skip
    if kind.most_tokens:
        common[kind.most_tokens] = size.completion
    config = getattr(importlib.import_module(kind.module), f"{kind.name}Config")
    return config(**common | kind.options)


def make_trainer(
    name: str,
    folder: str,
    size: Size = SMALL,
    *,
    bf16: bool = False,
    steps: int = STEPS,
    model: Any = None,
    peft_config: Any = None,
) -> Any:
    """A trainer that writes below the folder.

    Args:
        model: what is trained, with the vocabulary of `size`; a Qwen3 by default.
        peft_config: of an adapter.
    """
    kind = KINDS[name]
    extra: Row = {"reward_funcs": even_ids} if kind.rewarded else {}
    # A student that has a head of its own to learn.
    extra |= {"teacher_model": make_model(size, seed=1)} if kind.taught else {}
    extra |= {} if peft_config is None else {"peft_config": peft_config}
    return getattr(importlib.import_module(kind.module), f"{kind.name}Trainer")(
        model=saved_model(make_model(size) if model is None else model, folder),
        args=settings(kind, size, folder, bf16, steps),
        train_dataset=kind.data(size.repeats),
        processing_class=tokenizer(),
        **extra,
    )


def logged(trainer: Any) -> list[Row]:
    """The metrics of each step, but for clocks."""
    history = [row for row in trainer.state.log_history if "loss" in row]
    return [
        {name: row[name] for name in row if not any(clock in name for clock in CLOCKS)} for row in history
    ]


def run(name: str, size: Size = SMALL, *, bf16: bool = False, steps: int = STEPS) -> Measured:
    """Trains for so many steps."""
    with tempfile.TemporaryDirectory() as folder:
        running = make_trainer(name, folder, size, bf16=bf16, steps=steps)
        started = time.process_time()
        peak = added_bytes(running.train)
        seconds = time.process_time() - started
    return Measured(logged(running), seconds, peak)


def worst(one: list[Row], other: list[Row], allowed: Callable[[float, float], float]) -> tuple[float, str]:
    """The largest difference of a metric over what is allowed between two values, and which metric.

    Raises:
        ValueError: the runs logged other metrics.
    """
    differences = [(0.0, "none")]
    for step, (a, b) in enumerate(zip(one, other, strict=True), start=1):
        if a.keys() != b.keys():
            raise ValueError(f"step {step}: expected the same metrics, got {sorted(a.keys() ^ b.keys())}")
        for name in a:
            if isinstance(a[name], int | float):
                # NaN beside NaN is no difference, NaN beside a number the largest.
                is_same = a[name] == b[name] or (a[name] != a[name] and b[name] != b[name])
                apart = 0.0 if is_same else abs(a[name] - b[name]) / allowed(a[name], b[name])
                differences.append((float("inf") if apart != apart else apart, f"{name}, step {step}"))
    return max(differences)
