"""Layers of defaults, what makes two configs the same, and the options of a run that is resumed."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from dupo.config.catalogue import METHODS, TASKS, TEACHING
from dupo.config.command_line import parse
from dupo.config.config import OPTIONS, Config
from dupo.config.layers import (
    METHOD_DEFAULTS,
    PROGRAM_DEFAULTS,
    config_hash,
    fixed_settings,
    read_config,
    resume_differences,
)
from dupo.config.yaml_files import to_yaml
from dupo.storage.names import first_line
from tests.helpers.options import KINDS, RUN, WriteFile, refusal, table
from tests.helpers.project import ROOT

FOLDERS = "output_dir overwrite_output_dir resume_from_checkpoint"
NO_EFFECT = f"{FOLDERS} num_exchanges_to_log save_steps save_total_limit strict report_to run_name"
NO_EFFECT += " log_level quiet push_to_hub hub_model_id hub_private_repo merge_lora"
NO_EFFECT += " max_concurrent_requests request_timeout max_retries api_key_env"
NO_EFFECT += " weight_folder save_rollout_seconds async_save"
NO_EFFECT += " vllm_gpu_memory_utilization vllm_enable_sleep_mode"
NO_EFFECT += " num_processes data_parallel_shard_degree cpu_offload ddp_timeout"


def test_later_layers_win_and_the_task_is_found_before_its_defaults(write: WriteFile) -> None:
    assert Config().rollout.num_generations == 8 and parse([]).rollout.num_generations == 4
    file = write("task: word_problems\ndataset: a.jsonl\nlearning_rate: 1e-5\n")
    expected = Config.of(task="word_problems", dataset="a.jsonl", learning_rate=1e-5)
    assert parse(["--config", file]) == expected
    assert parse(["--learning_rate", "2e-5", "--config", file]) == expected.changed(learning_rate=2e-5)
    arithmetic = ["--task", "arithmetic", "--dataset", "none"]
    assert parse(["--config", file, *arithmetic]) == RUN.changed(learning_rate=1e-5)
    assert parse(["--task=translation", "--dataset=d"]) == Config.of(task="translation", dataset="d")


def test_the_method_is_found_before_its_defaults(write: WriteFile) -> None:
    with_file = parse(["--method", "sft", "--dataset", "d"])
    assert with_file == Config.of(method="sft", dataset="d", **METHOD_DEFAULTS["sft"])
    lessons = parse(["--method=sft"])
    expected = METHOD_DEFAULTS["sft"] | dict(TASKS["arithmetic"].defaults["sft"])
    assert lessons == Config.of(method="sft", **expected)
    assert lessons.optimizer.learning_rate == TEACHING["learning_rate"] != RUN.optimizer.learning_rate
    file = write("method: sft\ndataset: d\n")
    assert parse(["--config", file]) == with_file
    assert parse(["--config", file, "--train_batch_size", "3"]) == with_file.changed(train_batch_size=3)
    assert parse(["--config", file, "--method", "dupo", "--dataset", "none"]) == RUN


def test_every_program_has_its_own_layer() -> None:
    for program, values in PROGRAM_DEFAULTS.items():
        flat = parse([], program).flat()
        assert all(flat[name] == value for name, value in values.items()), program
    assert parse([], "audit").rollout.num_generations == 8
    assert parse(["--num_generations", "3"], "audit").rollout.num_generations == 3


def test_layers_hold_options_with_values_of_their_types() -> None:
    of_tasks = [values for entry in TASKS.values() for values in entry.defaults.values()]
    for values in [*of_tasks, *METHOD_DEFAULTS.values(), *PROGRAM_DEFAULTS.values(), TEACHING]:
        assert all(type(value) is KINDS[name][0] for name, value in values.items())
    assert all(entry.defaults.keys() <= METHODS.keys() for entry in TASKS.values())
    assert Config.of(**TASKS["arithmetic"].defaults["dupo"]) == RUN != Config()


@pytest.mark.parametrize("path", sorted((ROOT / "dupo/configs").glob("*.yaml")), ids=lambda path: path.name)
def test_the_configs_of_the_repository_parse(path: Path) -> None:
    config = parse(["--config", str(path)])
    task = {"arithmetic": "arithmetic", "flores_en_de": "translation", "paper_translation": "translation"}
    assert config.task.task == task.get(path.stem, "word_problems")
    assert path.read_text(encoding="utf-8").startswith("# ")
    assert config_hash(config.changed(beta=0)) == config_hash(config)  # 0 is 0.0
    assert config.task.dataset is None or not Path(config.task.dataset).is_absolute()
    assert path.stem != "arithmetic" or config == RUN  # what `python -m dupo.train` does


def another(name: str) -> Any:
    """A value that differs from that of RUN, and that the rules allow beside the other values."""
    value, limits = RUN.flat()[name], OPTIONS[name].metadata
    special = {
        "loss_type": "bnpo",
        "reward": "gold",
        "reward_weights": "2",
        "generation_batch_size": 1024,
        "pool_sizes": "8,4",
        "pool_models": "a,b",
        "translation_metric": "chrf",
        "gates": "copy",
        "num_generations": 8,
        "top_entropy_quantile": 0.5,
        "clip_ratio_c": 1.5,
        "chat_template_date": "2001-02-03",
        "chat_template_kwargs": '{"a": 1}',
        "num_trained_generations": 2,
        "report_to": "wandb",
        "base_url": "http://b/v1",
        "lora_dropout": 0.1,
        "loss_weights": "2",
        "label_smoothing": 0.2,
        "f_divergence_type": "js_divergence",
    }
    if name in special:
        return special[name]
    if bool in KINDS[name]:
        return not value
    if str in KINDS[name]:
        return next((choice for choice in limits["choices"] if choice != value), "other")
    if limits.get("below") == 1 or limits.get("at_most") == 1:
        return value / 2
    return (value or 0) + 1


# A file of problems cannot be had beside the built-in task, nor several samples beside greedy duals.
BESIDE = {
    "dataset": {"task": "word_problems", "dataset": "a"},
    "eval_dataset": {"task": "word_problems", "dataset": "a"},
    "task": {"task": "conlang"},
    "dual_samples": {"dual_temperature": 1.0},
    "base_url": {"engine": "server", "base_url": "http://a/v1"},
    "weight_folder": {"engine": "server", "base_url": "http://a/v1", "weight_folder": "a"},
    # Sampling has no dropout, and random weights want teaching.
    "lora_dropout": {"use_peft": True, "method": "sft", "model_name_or_path": "a"},
}
for _name in ("lora_r", "lora_alpha", "lora_target_modules", "use_rslora", "merge_lora"):
    BESIDE[_name] = {"use_peft": True}
BESIDE["load_in_4bit"] = {"use_peft": True, "model_name_or_path": "a"}
for _name in ("bnb_4bit_quant_type", "use_bnb_nested_quant"):
    BESIDE[_name] = {"use_peft": True, "model_name_or_path": "a", "load_in_4bit": True}
BESIDE["vllm_merge_adapters"] = {"use_peft": True, "engine": "vllm"}
_DPO = {"method": "dpo", "dataset": "pairs.jsonl", "model_name_or_path": "a"}
_COMPARED = ("loss_weights", "reference_free", "label_smoothing", "f_divergence_type")
BESIDE |= {name: _DPO for name in _COMPARED}
BESIDE["label_smoothing"] = _DPO | {"loss_type": "exo_pair", "label_smoothing": 0.1}
BESIDE["f_alpha_divergence_coef"] = _DPO | {"f_divergence_type": "alpha_divergence"}
BESIDE["discopop_tau"] = _DPO | {"loss_type": "discopop"}
BESIDE["simpo_gamma"] = BESIDE["alpha"] = _DPO | {"loss_type": "simpo"}
BESIDE["pairs"] = {"method": "online_dpo"}
BESIDE["pair_margin"] = {"method": "online_dpo", "pairs": "margin", "pair_margin": 0.25}
HASH_OF_RUN = config_hash(RUN)


@pytest.mark.parametrize("name", OPTIONS)
def test_what_changes_results_changes_the_hash_and_may_not_change_on_resume(name: str) -> None:
    before = RUN.changed(**BESIDE.get(name, {}))
    changed = before.changed(**{name: "arithmetic" if name == "task" else another(name)})
    new = config_hash(changed)
    assert len(new) == 12 and int(new, 16) >= 0
    # The date counts for few models: equal runs of two days have one hash, but a run keeps its date.
    outside_hash = [*NO_EFFECT.split(), "chat_template_date"]
    # Most options are changed in the same config, whose hash is the dear part of this test.
    old = HASH_OF_RUN if name not in BESIDE else config_hash(before)
    assert (new == old) == (name in outside_hash)
    # Of the places, these two alone lead from a place to another place here.
    expected = [] if name in [*NO_EFFECT.split(), "max_steps", "dataset", "base_url"] else [name]
    assert [line.split(" is ")[0] for line in resume_differences(before, changed)] == expected


def test_differences_are_written_as_people_write_them() -> None:
    old = RUN.changed(learning_rate=3e-4, train_batch_size=None)
    new = old.changed(learning_rate=1e-4, train_batch_size=8, gradient_checkpointing=True, eos_token="\n")
    assert resume_differences(old, new) == [
        "eos_token is '\\n', the run was started with none",
        "gradient_checkpointing is true, the run was started with false",
        "learning_rate is 1e-4, the run was started with 3e-4",
        "train_batch_size is 8, the run was started with none",
    ]


OLD_RUN = RUN.changed(seed=5, output_dir="old", overwrite_output_dir=True, resume_from_checkpoint="latest")
RESUMED = table("""
    --resume_from_checkpoint latest --output_dir runs/a => latest
    --resume_from_checkpoint latest --config where.yaml => latest
    --resume_from_checkpoint runs/a/checkpoint-50 => runs/a/checkpoint-50
    --resume_from_checkpoint runs/a/checkpoint-50/ => runs/a/checkpoint-50/
    --resume_from_checkpoint runs/a/checkpoint-50 --output_dir ./runs/b/../a => runs/a/checkpoint-50
""")


@pytest.mark.parametrize(("argv", "checkpoint"), RESUMED)
def test_a_resumed_run_keeps_its_options(write: WriteFile, argv: str, checkpoint: str) -> None:
    write(to_yaml(OLD_RUN), "runs/a/config.yaml")
    write("output_dir: runs/a\n", "where.yaml")
    folder = str(parse(argv.split()).run.output_dir)
    assert Path(folder).resolve() == Path("runs/a").resolve()
    changes = dict(zip(FOLDERS.split(), (folder, False, checkpoint), strict=True))
    assert read_config("runs/a/config.yaml") == OLD_RUN  # resumes nothing
    assert parse(argv.split()) == OLD_RUN.changed(**changes)
    assert parse([*argv.split(), "--max_steps", "7"]) == OLD_RUN.changed(**changes, max_steps=7)


def test_the_resumed_run_is_a_layer_below_the_file_and_the_command_line(write: WriteFile) -> None:
    old = OLD_RUN.changed(task="translation", dataset="a", beta=0.1, epsilon=0.3)
    write(to_yaml(old), "a/config.yaml")
    file = write("beta: 0.2\nepsilon: 0.4\n")
    got = parse(["--resume_from_checkpoint", "a/checkpoint-1", "--config", file, "--epsilon", "0.5"])
    assert (got.task.task, got.run.seed, got.loss.beta, got.loss.epsilon) == ("translation", 5, 0.2, 0.5)


def test_a_resumed_run_keeps_its_method(write: WriteFile) -> None:
    write(to_yaml(parse(["--method", "sft", "--seed", "5"])), "a/config.yaml")
    got = parse(["--resume_from_checkpoint", "a/checkpoint-1", "--max_steps", "7"])
    assert got == parse(["--method", "sft", "--seed", "5", "--max_steps", "7", "--output_dir", "a"]).changed(
        resume_from_checkpoint="a/checkpoint-1"
    )


NOT_RESUMED = table("""
    latest => resume_from_checkpoint: expected --output_dir RUN beside `latest`, got none
    latest --output_dir b => resume_from_checkpoint: expected a run to go on with, got no config.yaml in b
    lates => resume_from_checkpoint: expected latest, or RUN/checkpoint-N, got 'lates'
    b/checkpoint-1 => resume_from_checkpoint: expected a run to go on with, got no config.yaml in b
    a/checkpoint-1 --output_dir b => output_dir: expected a, the run that is resumed, got b
    a/c-1 --overwrite_output_dir => overwrite_output_dir: expected false while a run is resumed, got true
    bad/checkpoint-1 => bad/config.yaml: unknown key sed: did you mean seed?
""")


@pytest.mark.parametrize(("argv", "message"), NOT_RESUMED)
def test_what_cannot_be_resumed_is_refused(write: WriteFile, argv: str, message: str) -> None:
    write(to_yaml(OLD_RUN), "a/config.yaml")
    write("sed: 1\n", "bad/config.yaml")
    assert refusal("--resume_from_checkpoint", *argv.split()) == message


# --- the date of chat templates ---


def test_the_date_is_that_of_the_first_start(write: WriteFile) -> None:
    today = date.today().isoformat()
    assert RUN.model.chat_template_date in (
        today,
        (date.today() - timedelta(1)).isoformat(),
    )  # or at midnight
    old = RUN.changed(chat_template_date="2024-07-26")
    write(to_yaml(old), "a/config.yaml")
    resumed = parse(["--resume_from_checkpoint", "a/checkpoint-1"])
    assert resumed.model.day == date(2024, 7, 26) and not resume_differences(old, resumed)
    other = parse(["--resume_from_checkpoint", "a/checkpoint-1", "--chat_template_date", "2024-07-27"])
    assert resume_differences(old, other) == [
        "chat_template_date is 2024-07-27, the run was started with 2024-07-26"
    ]


@pytest.mark.parametrize("program", ["rerank", "select", "audit"])
def test_work_that_goes_on_another_day_keeps_its_date(write: WriteFile, program: str) -> None:
    old = parse(["--chat_template_date", "2024-07-26"], program)
    write(first_line(program) + to_yaml(old), "a/config.yaml")
    assert parse(["--output_dir", "a"], program).model.chat_template_date == "2024-07-26"
    today = parse([], program).model.chat_template_date
    for anew in (["--output_dir", "b"], ["--output_dir", "a", "--overwrite_output_dir"]):
        assert parse(anew, program).model.chat_template_date == today != "2024-07-26"


def test_a_date_that_is_none_is_refused() -> None:
    for text in ("tomorrow", "2024-13-01", "2024-02-30", "26.07.2024"):
        expected = f"chat_template_date: expected a date, YYYY-MM-DD, got {text}"
        assert refusal("--chat_template_date", text) == expected


def test_a_run_goes_on_wherever_its_inputs_stand_and_as_strict_as_it_is_told(write: WriteFile) -> None:
    old = RUN.changed(
        task="word_problems", dataset="a/wp.jsonl", model_name_or_path="m", tokenizer_name="t", strict=True
    )
    moved = old.changed(dataset="/b/wp.jsonl", model_name_or_path="./m", tokenizer_name="u", strict=False)
    assert not resume_differences(old, moved) and fixed_settings(old) == fixed_settings(moved)
    other = old.changed(model_name_or_path="tiny")
    assert resume_differences(old, other) == ["model_name_or_path is tiny, the run was started with (a path)"]
