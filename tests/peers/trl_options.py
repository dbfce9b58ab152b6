"""The tables of docs/trl.md: every option of `trl grpo`, its default there and here, and what differs.

    PYTHONPATH=.:kernels:$DUPO_PEER_TRL python -m tests.peers.trl_options --write

writes them anew from TRL's dataclasses; without --write the command prints what it read of TRL, as JSON.
"""

import dataclasses
import enum
import json
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from dupo.config.command_line import shown_default
from dupo.config.trl import ALIASES, INSTEAD
from dupo.config.values import show
from tests.helpers.project import ROOT

PAGE = ROOT / "docs/trl.md"
START, END = "<!-- options: made by tests.peers.trl_options -->\n", "<!-- end of options -->\n"

# The same name and the same meaning.
_SAME = """
adam_beta1 adam_beta2 adam_epsilon beta bnb_4bit_quant_type chat_template_kwargs ddp_timeout delta epsilon
epsilon_high eval_steps generation_batch_size gradient_checkpointing hub_model_id hub_private_repo
importance_sampling_level
learning_rate load_in_4bit log_level lora_alpha lora_dropout lora_r lora_target_modules
mask_truncated_completions max_completion_length max_grad_norm max_steps
model_name_or_path num_generations num_iterations off_policy_mask_threshold report_to
resume_from_checkpoint reward_weights router_aux_loss_coef
run_name sapo_temperature_neg sapo_temperature_pos save_steps save_total_limit scale_rewards seed temperature
trust_remote_code use_bias_correction_kl use_bnb_nested_quant
use_peft use_rslora vespo_k_neg vespo_k_pos vespo_lambda_neg
vespo_lambda_pos vllm_importance_sampling_clip_max vllm_importance_sampling_clip_min
vllm_importance_sampling_correction vllm_importance_sampling_mode vllm_enable_sleep_mode
vllm_gpu_memory_utilization vllm_max_model_length weight_decay
"""
SAME = set(_SAME.split())
# The same name, and a meaning that differs in this.
DIFFERS = {
    "push_to_hub": "once, at the end of the run here; there also at every save (`hub_strategy`)",
    "output_dir": "none is `trainer_output` there, `runs/<date>-<time>-<what is done>` here",
    "optim": "`adamw_torch` here is one fused kernel on a CUDA GPU, as `adamw_torch_fused` there; beside it "
    "`adamw_torch_8bit` alone",
    "loss_type": "a step is divided by its own tokens here, for `dapo`, `cispo` and `vespo` there by those "
    "of the rollout over its number of steps: the same where a rollout is one step; `bnpo` is a mean over "
    "the tokens of a micro-batch there, of the step here",
    "top_entropy_quantile": "a share of the tokens of a step here, of a micro-batch there; above 0 here",
    "entropy_coef": "the bonus is a mean over tokens there, and has the weights of the policy loss here: the "
    "same for `dapo`, `bnpo`, `cispo` and `vespo` without `top_entropy_quantile`",
    "lr_scheduler_type": "`constant` here is `constant_with_warmup` there; else `linear`, `cosine`",
    "warmup_steps": "a whole number here; the first step of the rise has a rate of 0 there, and above 0 here",
}
# Values that one side takes and the other does not, for options of the same meaning.
REMARKS = {
    "eval_steps": "none there: `logging_steps`, if `eval_strategy` is `steps`; a whole number here",
    "generation_batch_size": "none there: `per_device_train_batch_size` x devices x `steps_per_generation`",
    "hub_model_id": "none: the name of the folder `output_dir`",
    "log_level": "at `error` no warning of dupo either; no `critical`",
    "max_steps": "-1 there: `num_train_epochs` decides",
    "save_steps": "a whole number here",
    "save_total_limit": "none there: all are kept",
    "max_grad_norm": "0 there: no bound; above 0 here",
    "resume_from_checkpoint": "here also `latest`",
    "reward_weights": "`1 0.2` there, `1,0.2` here",
    "ddp_timeout": "seconds; the same number",
    "router_aux_loss_coef": "none: that of the config of the model",
    "report_to": "`tensorboard`, `wandb`, `trackio`; `wandb trackio` there, `wandb,trackio` here; no `all`",
    "run_name": "none: the name of the folder `output_dir` here",
    "scale_rewards": "there also `true` (`group`) and `false` (`none`)",
    "epsilon_high": "`cispo` without it is refused here",
    "delta": "refused here for losses without a clip, ignored there",
    "use_peft": "needs the extra `peft` here",
    "load_in_4bit": "with `use_peft`, on one CUDA GPU, with the built-in engine here; nobody has "
    "tried it yet",
    "lora_dropout": "above 0 here with `--method sft` alone: sampling has no dropout",
    "lora_target_modules": "`q_proj v_proj` there, `q_proj,v_proj` here: ends of names, or `all-linear`; one "
    "name alone is a regular expression there",
    "vllm_importance_sampling_correction": "no effect with the built-in engine",
    "vllm_gpu_memory_utilization": "of each copy of a model in vLLM: a frozen judge is a second copy, "
    "except with adapters",
}


def read_trl() -> dict[str, dict[str, str]]:
    """The versions, and the default of every option of `trl grpo`, as texts."""
    import transformers
    import trl
    from trl import GRPOConfig, ModelConfig
    from trl.scripts.grpo import GRPOScriptArguments
    from trl.scripts.utils import DatasetMixtureConfig

    # The order of `trl grpo`: where two have a field, the first is the one that counts.
    classes = (GRPOScriptArguments, GRPOConfig, ModelConfig, DatasetMixtureConfig)
    defaults: dict[str, str] = {}
    for spec in (spec for group in classes for spec in dataclasses.fields(group)):
        is_made = spec.default is dataclasses.MISSING
        defaults.setdefault(spec.name, shown(spec.default_factory() if is_made else spec.default))  # type: ignore[misc]
    return {
        "versions": {"trl": trl.__version__, "transformers": transformers.__version__},
        "defaults": defaults,
    }


def shown(value: Any) -> str:
    """A default of TRL as a person writes it."""
    return show(value.value if isinstance(value, enum.Enum) else value) or '""'


def tables(versions: Mapping[str, str], defaults: Mapping[str, str]) -> str:
    """The tables in Markdown.

    Raises:
        ValueError: an option of TRL stands in none of the lists above, or in two of them.
    """
    sections: dict[str, list[tuple[str, ...]]] = {
        kind: [] for kind in ("same", "default", "differs", "alias")
    }
    instead: dict[str, list[str]] = {}
    for name, default in defaults.items():
        if sum(name in names for names in (SAME, DIFFERS, ALIASES, INSTEAD)) != 1:
            raise ValueError(f"expected {name} in one of SAME, DIFFERS, ALIASES and INSTEAD")
        if name in INSTEAD:
            instead.setdefault(INSTEAD[name], []).append(f"`{name}` ({default})")
            continue
        here = shown_default(ALIASES.get(name, name))
        # What a built-in task has instead stands behind the default of all others.
        is_same = here.partition(";")[0] == default
        kind = (
            "alias" if name in ALIASES else "differs" if name in DIFFERS else "same" if is_same else "default"
        )
        about = f"`{ALIASES[name]}`" if name in ALIASES else DIFFERS.get(name, REMARKS.get(name, ""))
        sections[kind].append((f"`{name}`", default, here, about))
    header = ("TRL's option", "default there", "default here")
    rows = [(", ".join(names), marked(text)) for text, names in instead.items()]
    count = {kind: len(section) for kind, section in sections.items()}
    return "\n".join(
        [
            f"TRL {versions['trl']} with transformers {versions['transformers']}: {len(defaults)} options.\n",
            f"### The same name, meaning and default: {count['same']}\n",
            *table([(*header, "values"), *sections["same"]]),
            f"### The same name and meaning, another default: {count['default']}\n",
            *table([(*header, "values"), *sections["default"]]),
            f"### The same name, not quite the same meaning: {count['differs']}\n",
            *table([(*header, "what differs"), *sections["differs"]]),
            f"### Another name of the same meaning; both are taken: {count['alias']}\n",
            *table([(*header, "name here"), *sections["alias"]]),
            f"### Not here by that name: {sum(map(len, instead.values()))}\n",
            *table([("TRL's option (default there)", "what to do"), *rows]),
        ]
    )


def marked(text: str) -> str:
    """A text of `INSTEAD` with its options in code."""
    code = r"--\w+(?: [a-z0-9]+(?= here$))?|\w+\.(?:jsonl|html)"
    return re.sub(code, lambda match: f"`{match[0]}`", text)


def table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """The lines of one table; the first row is the header."""
    header, *others = rows
    for row in (header, ("---",) * len(header), *others):
        yield f"| {' | '.join(row)} |".replace("  ", " ")
    yield ""


def tables_of_page() -> str:
    """The tables as docs/trl.md has them."""
    return PAGE.read_text(encoding="utf-8").partition(START)[2].partition(END)[0]


def read_page() -> dict[str, dict[str, str]]:
    """What docs/trl.md says of TRL, in the form of `read_trl`."""
    text = tables_of_page()
    versions = re.match(r"TRL (?P<trl>\S+) with transformers (?P<transformers>\S+):", text)
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", text, re.MULTILINE)
    rows += re.findall(r"`(\w+)` \(([^)]*)\)", text.partition("### Not here")[2])
    return {"versions": versions.groupdict() if versions else {}, "defaults": dict(rows)}


def main() -> None:
    """See the top of this file."""
    found_in_trl = read_trl()
    if sys.argv[1:] != ["--write"]:
        print(json.dumps(found_in_trl))
        return
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    after = rest.partition(END)[2]
    new = tables(found_in_trl["versions"], found_in_trl["defaults"])
    PAGE.write_text(f"{before}{START}{new}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
