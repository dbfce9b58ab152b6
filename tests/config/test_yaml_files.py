"""Options in YAML files: taken as written, there and back, and refused by file and name."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dupo.config.command_line import parse
from dupo.config.config import GROUPS, OPTIONS
from dupo.config.layers import read_config
from dupo.config.yaml_files import to_yaml
from tests.helpers.options import KINDS, RUN, WriteFile, refusal, table


def test_yaml_scalars_are_taken_as_written(write: WriteFile) -> None:
    lines = ["\ufeff# comment", "tgt: no", "learning_rate: 1e-6", "pad_token: 'null'", "src: 010"]
    lines += ["gradient_checkpointing: yes", "eos_token:", 'kl: "k2"', "question_column: frage # Ü"]
    expected = {"tgt": "no", "learning_rate": 1e-6, "pad_token": "null", "src": "010", "kl": "k2"}
    expected |= {"gradient_checkpointing": True, "question_column": "frage"}
    assert parse(["--config", write("\n".join(lines))]) == RUN.changed(**expected)
    assert parse(["--config", write("")]) == parse(["--config", write("# nothing\n")]) == RUN


def test_configs_of_the_package_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse(["--config", "configs/gsm8k.yaml"]).task.task == "word_problems"
    for name in ("gsm8k.yaml", "other/configs/gsm8k.yaml", "configs/nothing"):
        assert refusal("--config", name) == f"{name}: expected a file, got no such file"
    # A file of the user goes first, and also a folder, which is refused.
    Path("configs").mkdir()
    Path("configs/gsm8k.yaml").write_text("task: conlang")
    assert parse(["--config", "configs/gsm8k.yaml"]).task.task == "conlang"
    Path("configs/arithmetic.yaml").mkdir()
    refused = "configs/arithmetic.yaml: expected a file, got a folder"
    assert refusal("--config", "configs/arithmetic.yaml") == refused


def test_names_of_trl_are_taken(write: WriteFile) -> None:
    text = "task: word_problems\ndataset_name: a.jsonl\nactivation_checkpointing: true"
    own = "task: word_problems\ndataset: a.jsonl\ngradient_checkpointing: true"
    assert parse(["--config", write(text)]) == parse(["--config", write(own)])


WRONG_FILES = table(r"""
    num_generation: 8 => unknown key num_generation: did you mean num_generations?
    num-generations: 8 => unknown key num-generations: did you mean num_generations?
    zzz: 8 => unknown key zzz; see --help
    ? [a]\n: 1 => unknown key ?; see --help
    seed: 1\nbeta: 0\nseed: 2 => line 3: expected seed once, got it twice
    dataset: a\ndataset_name: b => line 2: expected dataset or dataset_name once, got it twice
    dataset_name: a\ndataset: b => line 2: expected dataset or dataset_name once, got it twice
    use_vllm: true => unknown key use_vllm: TRL's use_vllm is --engine vllm here
    seed: [1, 2] => seed: expected one value, got a list
    seed:\n- 1 => seed: expected one value, got a list
    seed:\n  a: 1 => seed: expected one value, got a nested mapping
    model:\n  compute_dtype: auto => unknown key model: did you mean model_name_or_path?
    - seed => expected lines of `option: value`, got something else
    seed => expected lines of `option: value`, got something else
    seed: eight => seed: expected an integer, got 'eight'
    train_batch_size: 'null' => train_batch_size: expected an integer or none, got 'null'
    kl: k33 => kl: expected one of k1, k2, k3, abs, k3+, got 'k33', did you mean k3?
    beta: -1 => beta: expected at least 0, got -1.0
    seed: 1\nkl: [ => line 2: expected YAML, got an error: expected the node content, but found '<stream end>'
    seed: 1\n---\nseed: 2 => line 2: expected YAML, got an error: but found another document
""")


@pytest.mark.parametrize(("text", "message"), WRONG_FILES)
def test_a_wrong_file_is_refused_by_name(write: WriteFile, text: str, message: str) -> None:
    assert refusal("--config", write(text)) == f"FILE.yaml: {message}"


def test_a_file_that_cannot_be_read_is_named(write: WriteFile, tmp_path: Path) -> None:
    assert refusal("--config", "no.yaml") == "no.yaml: expected a file, got no such file"
    assert refusal("--config", str(tmp_path)) == f"{tmp_path}: expected a file, got a folder"
    not_text = "expected a YAML file in UTF-8, got other bytes"
    assert refusal("--config", write(b"src: \xff")) == f"FILE.yaml: {not_text}"
    assert refusal("--config", write(b"seed: 1\x00")) == "FILE.yaml: expected YAML, got an error: bad bytes"


@pytest.mark.parametrize("text", ["a: " + "[" * 1200, "- " * 1200, "a: " + "{a: " * 1200])
def test_yaml_that_is_nested_deeply_is_refused(write: WriteFile, text: str) -> None:
    deep = "FILE.yaml: expected lines of `option: value`, got deeply nested YAML"
    assert refusal("--config", write(text)) == deep


def test_yaml_that_holds_itself_many_times_costs_nothing(write: WriteFile) -> None:
    levels = "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(30))
    assert refusal("--config", write(f"a0: &a0 x\n{levels}")).startswith("FILE.yaml: unknown key a0")


TRICKY = ["no", "1e-6", "null", "None", "none", "010", "yes", "<<", "@a", "!x", "&a", "a: b", " a ", "a\nb"]
TRICKY += list("~#'\"=.%\\\t\x7f\x85\u2028\ufeffü語😀")


def of_kind(name: str, kind: type) -> st.SearchStrategy[Any]:
    """The values of a type that `check` lets through alone."""
    limits = OPTIONS[name].metadata
    if kind is float:
        is_share = limits.get("below") == 1 or limits.get("at_most") == 1
        lowest = max(1e-37, limits.get("at_least") or 0.0)
        return st.floats(lowest, 0.999 if is_share else limits.get("at_most") or 1e37)
    if kind is str and limits["choices"]:
        return st.sampled_from(limits["choices"])
    if kind is str:
        # A name of a file has at most 255 bytes.
        texts = st.sampled_from(TRICKY) | st.text(min_size=1, max_size=60)
        return texts.filter(lambda text: "\0" not in text) if limits.get("is_path") else texts
    most = limits.get("at_most") or 10**18 - 1
    return {bool: st.booleans(), int: st.integers(1, most), type(None): st.none()}[kind]


# Options whose values depend on those of other options.
TIED = "num_generations num_trained_generations generation_batch_size train_batch_size dual_samples "
TIED += "skip_equal_answers method task resume_from_checkpoint engine base_url weight_folder "
TIED += "dataset eval_dataset reward reward_weights dual_model translation_metric pool_sizes pool_models "
TIED += "report_to overlong gates teach num_threads chat_template_date chat_template_kwargs "
TIED += "max_completion_length dual_max_completion_length soft_punish_cache "
TIED += "max_concurrent_sequences weight_decay dual_temperature "
TIED += "loss_type importance_sampling_level epsilon_high delta clip_ratio_c "
TIED += (
    "loss_weights label_smoothing f_divergence_type f_alpha_divergence_coef discopop_tau simpo_gamma alpha "
)
TIED += "use_peft lora_r lora_alpha lora_dropout lora_target_modules use_rslora merge_lora "
TIED += "vllm_merge_adapters load_in_4bit bnb_4bit_quant_type use_bnb_nested_quant "
TIED += "pairs pair_margin "
TIED += "vllm_importance_sampling_clip_min vllm_importance_sampling_clip_max"
FREE = {
    name: st.one_of(*(of_kind(name, kind) for kind in KINDS[name]))
    for name in OPTIONS
    if name not in TIED.split()
}


@settings(max_examples=2)  # of some 100 options each
@given(st.fixed_dictionaries(FREE))
@example({"learning_rate": 1e-6, "adam_epsilon": 1.1e-16, "max_grad_norm": 1e22, "beta": 1.0})
def test_yaml_gives_the_same_config_back(tmp_path_factory, changes: dict[str, Any]) -> None:
    there_and_back(tmp_path_factory.getbasetemp() / "there_and_back.yaml", changes)


def test_yaml_of_another_method_has_the_options_of_that_method(tmp_path: Path) -> None:
    path, words = tmp_path / "dpo.yaml", ["--method", "dpo", "--dataset", "a", "--loss_type", "sigmoid,sft"]
    config = parse([*words, "--loss_weights", "1,0.5", "--beta", "0.25"])
    assert (config.comparison.beta, config.loss.beta) == (0.25, 0.0)
    path.write_text(to_yaml(config))
    assert parse(["--config", str(path)]) == config == read_config(path)
    assert config.flat()["loss_type"] == "sigmoid,sft" and config.changed(beta=0.5).comparison.beta == 0.5
    # The command line may name the method of a file that does not.
    path.write_text("beta: 0.25\nloss_type: ipo\ndataset: a\n")
    config = parse(["--method", "dpo", "--config", str(path)])
    assert (config.comparison.loss_type, config.comparison.beta) == ("ipo", 0.25)
    assert "loss_type: expected one of grpo" in refusal("--config", str(path))


@pytest.mark.slow
@settings(max_examples=10)
@given(st.fixed_dictionaries(FREE))
@example({"seed": 10**18 - 1})
def test_yaml_gives_many_configs_back(tmp_path_factory, changes: dict[str, Any]) -> None:
    there_and_back(tmp_path_factory.getbasetemp() / "there_and_back.yaml", changes)


def there_and_back(path: Path, changes: dict[str, Any]) -> None:
    config = RUN.changed(**changes)
    path.write_text(to_yaml(config), encoding="utf-8")
    assert parse(["--config", str(path)]) == config == read_config(path)
    assert yaml.safe_load(to_yaml(config)) == config.flat()  # other readers see the same values


JSON = '{"enable_thinking": false, "texts": ["no", "1", "é"], "numbers": [1, 2.5, null]}'
MAPPINGS = [
    "chat_template_kwargs: " + JSON,
    "chat_template_kwargs:\n  enable_thinking: no\n  texts: ['no', \"1\", é]\n  numbers: [1, 2.5, ~]\n",
    "chat_template_kwargs: '" + JSON + "'",
]


@pytest.mark.parametrize("text", MAPPINGS)
def test_a_mapping_in_yaml_is_json_on_the_command_line(write: WriteFile, text: str) -> None:
    config = parse(["--config", write(text)])
    assert config == parse(["--chat_template_kwargs", JSON.replace(": ", ":")])
    assert config == RUN.changed(chat_template_kwargs=json.loads(JSON))
    assert parse(["--config", write(to_yaml(config))]) == config
    assert config.model.template_arguments == json.loads(JSON)


@pytest.mark.parametrize("text", ["&a {x: *a}", "{x: 2024-02-03}", "{x: 2024-13-03}", "[1]", "x"])
def test_a_mapping_that_json_does_not_have_is_refused(write: WriteFile, text: str) -> None:
    message = refusal("--config", write(f"chat_template_kwargs: {text}"))
    assert message.startswith("FILE.yaml: chat_template_kwargs: expected ")


@pytest.mark.parametrize("text", TRICKY)
def test_tricky_texts_survive_yaml(write: WriteFile, text: str) -> None:
    config = RUN.changed(pad_token=text, src=text)
    assert parse(["--config", write(to_yaml(config))]) == config


def test_yaml_is_grouped_and_complete() -> None:
    lines = to_yaml(RUN).splitlines()
    titles = ["# method", *(f"# {group}" for group in GROUPS)]
    assert [line for line in lines if line.startswith("#")] == titles
    assert [line.split(":")[0] for line in lines if not line.startswith("#")] == list(OPTIONS)
