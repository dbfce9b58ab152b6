"""The command lines: spellings, refusals, help, and options that reach where they are read."""

import dataclasses
from typing import Any

import pytest

from dupo.config.catalogue import METHODS
from dupo.config.command_line import PROGRAMS, parse, program_named
from dupo.config.config import OPTIONS, option_of
from dupo.config.trl import ALIASES
from dupo.learning.policy_loss import objective_of
from dupo_kernels.tokens.policy_options import PolicyOptions
from tests.helpers.options import RUN, WriteFile, doors, refusal, table
from tests.helpers.project import ROOT, RunPython

REFUSED = table("""
    --num_generation 8 => unknown option --num_generation: did you mean --num_generations?
    --num-generation=8 => unknown option --num_generation: did you mean --num_generations?
    -seed 3 => unknown option -seed: did you mean --seed?
    --rank_by dual => unknown option --rank_by: dupo.train does not have it, only dupo.rerank
    --conf FILE => unknown option --conf: did you mean --config?
    --model tiny => unknown option --model: did you mean --model_name_or_path?
    --zzz 1 => unknown option --zzz; see --help
    --version => unknown option --version; see --help
    --max_epochs 3 => unknown option --max_epochs; see --help
    --num_train_epochs 3 => unknown option --num_train_epochs: TRL's num_train_epochs is --max_steps here, \
optimizer steps: an epoch is problems x num_generations x num_iterations / train_batch_size of them
    --reward_funcs my.f => unknown option --reward_funcs: TRL's reward_funcs is --reward here: names, or \
package.module.function, with commas between them
    --reward-funcs=my.f --method sft => unknown option --reward_funcs: TRL's reward_funcs is --reward here: \
names, or package.module.function, with commas between them (dupo.train --method sft has no --reward)
    --no_bf16 => unknown option --no_bf16: TRL's bf16 is --compute_dtype bfloat16 here
    --use_vllm true => unknown option --use_vllm: TRL's use_vllm is --engine vllm here
    --max_prompt_length 512 => unknown option --max_prompt_length: TRL's max_prompt_length is not here: \
--overlong says what becomes of what is too long
    --dataset_name a --dataset b => dataset_name: expected dataset or dataset_name, its name in TRL, got both
    --no_activation_checkpointing --gradient_checkpointing => activation_checkpointing: expected \
gradient_checkpointing or activation_checkpointing, its name in TRL, got both
    --activation_checkpointing maybe => gradient_checkpointing: expected true or false, got 'maybe'
    --method sft --vllm_importance_sampling_cap 2 => unknown option \
--vllm_importance_sampling_cap: dupo.train --method sft does not have it, only dupo.train
    data.jsonl => expected options that start with --, got 'data.jsonl'
    --reward_weights 1 0.2 => expected options that start with --, got '0.2': lists are written 1,0.2
    --seed 1 2 => expected options that start with --, got '2'
    --seed => --seed: expected a value
    --config => --config: expected a value
    --method => --method: expected a value
    --no_trust_remote_code=true => --no_trust_remote_code: expected no value
    --num_generations eight => num_generations: expected an integer, got 'eight'
    --num_generations 1_000 => num_generations: expected an integer, got '1_000'
    --num_generations 1e3 => num_generations: expected an integer, got '1e3'
    --seed 1234567890123456789 => seed: expected an integer, got '1234567890123456789'
    --train_batch_size x => train_batch_size: expected an integer or none, got 'x'
    --beta 1_0.5 => beta: expected a number, got '1_0.5'
    --beta 1e999 => beta: expected a finite number, got inf
    --trust_remote_code maybe => trust_remote_code: expected true or false, got 'maybe'
    --loss_type ppo => loss_type: expected one of grpo, bnpo, dr_grpo, dapo, cispo, sapo, luspo, vespo, \
got 'ppo'
    --loss_type GSPO => loss_type: expected one of grpo, bnpo, dr_grpo, dapo, cispo, sapo, luspo, vespo, \
got 'GSPO': GSPO is --loss_type grpo --importance_sampling_level sequence here
    --kl K3 => kl: expected one of k1, k2, k3, abs, k3+, got 'K3', did you mean k3?
    --scale_rewards null => scale_rewards: expected one of group, batch, none, got 'null'
    --num_generations 0 => num_generations: expected at least 2, got 0
    --model_name_or_path= => model_name_or_path: expected some text, got none
    --temperature 0 => temperature: expected at least 0.001, got 0.0
    --temperature 1e-40 => temperature: expected at least 0.001, got 1e-40
    --temperature 1e9 => temperature: expected at most 100, got 1e+9
    --dual_temperature 1e-9 => dual_temperature: expected 0 or at least 0.001, got 1e-9
    --learning_rate 1e-40 => learning_rate: expected 0 or a size of at least 1.2e-38 (float32), got 1e-40
    --reward_lambda 1e39 => reward_lambda: expected a size of at most 3.4e+38 (float32), got 1e+39
    --adam_epsilon 1e-300 => adam_epsilon: expected at least 1e-16, got 1e-300
    --entropy_coef -1 => entropy_coef: expected at least 0, got -1.0
    --off_policy_mask_threshold -1 => off_policy_mask_threshold: expected at least 0, got -1.0
    --num_threads 100000 => num_threads: expected at most 1,024, got 100000
    --num_threads 999999999999999999 => num_threads: expected at most 1,024, got 999999999999999999
    --generation_batch_size 99999999999999996 => generation_batch_size: expected at most 1,048,576, \
got 99999999999999996
    --num_generations 999999999999 => num_generations: expected at most 65,536, got 999999999999
    --max_completion_length 999999999999 => max_completion_length: expected at most 1,048,576, \
got 999999999999
    --num_iterations 999999999999 => num_iterations: expected at most 1,000, got 999999999999
    --train_batch_size 999999999999 => train_batch_size: expected at most 1,048,576, got 999999999999
    --token_budget 9999999999 => token_budget: expected at most 2,147,483,647, got 9999999999
    --dual_samples 999999999 --dual_temperature 1 => dual_samples: expected at most 65,536, got 999999999
    --max_grad_norm 0 => max_grad_norm: expected more than 0, got 0.0
    --ema_decay 1 => ema_decay: expected less than 1, got 1.0
    --learning_rate 1e38 => learning_rate: expected at most 1, got 1e+38
    --adam_beta2 1.5 => adam_beta2: expected less than 1, got 1.5
    --method sftt => method: expected one of dupo, sft, dpo, kto, reward_model, online_dpo, online_kto, rft, \
got 'sftt', did you mean sft?
    --method sft --num_generations 4 => unknown option --num_generations: dupo.train \
--method sft does not have it, only dupo.select, dupo.rerank, dupo.audit, dupo.train, \
dupo.train --method online_dpo, dupo.train --method online_kto, dupo.train --method rft
    --method sft --epsilon 0.1 => unknown option --epsilon: dupo.train --method sft does not \
have it, only dupo.train
    --method sft --num_generation 4 => unknown option --num_generation; see --help
""")  # fmt: skip


@pytest.mark.parametrize(("argv", "message"), REFUSED)
def test_what_is_wrong_is_refused_in_one_line(argv: str, message: str) -> None:
    assert refusal(*argv.split()) == message


@pytest.mark.parametrize("option", ["--num_generations ", "--num-generations ", "--num-generations="])
def test_every_spelling_of_an_option(option: str) -> None:
    assert parse(f"{option}8".split()) == RUN.changed(num_generations=8)
    assert parse(f"--num_generations 2 {option}8".split()) == RUN.changed(num_generations=8)


FLAGS = table("""
    --use_bias_correction_kl => True
    --use-bias-correction-kl True => True
    --use_bias_correction_kl=false => False
    --no_use_bias_correction_kl => False
    --no-use-bias-correction-kl => False
    --no_use_bias_correction_kl --use_bias_correction_kl => True
""")


@pytest.mark.parametrize(("argv", "value"), FLAGS)
def test_every_spelling_of_a_flag(argv: str, value: str) -> None:
    expected = RUN.changed(use_bias_correction_kl=value == "True", seed=3)
    assert parse([*argv.split(), "--seed", "3"]) == expected


NAMES_OF_TRL = table("""
    --task word_problems --dataset_name a.jsonl => --task word_problems --dataset a.jsonl
    --task word_problems --dataset-name=a.jsonl => --task word_problems --dataset a.jsonl
    --method sft --dataset_name a.jsonl --activation_checkpointing => --method sft --dataset a.jsonl \
--gradient_checkpointing
    --activation_checkpointing --no_activation_checkpointing => --no_gradient_checkpointing
    --vllm_importance_sampling_cap 2 => --vllm_importance_sampling_clip_max 2
""")


@pytest.mark.parametrize(("argv", "own"), NAMES_OF_TRL)
def test_names_of_trl_are_taken_where_the_meaning_is_the_same(argv: str, own: str) -> None:
    assert parse(argv.split()) == parse(own.split())


def test_the_command_line_wins_over_its_file_under_any_name(write: WriteFile) -> None:
    for in_file, on_line in (("dataset", "dataset_name"), ("dataset_name", "dataset")):
        config = write(f"task: word_problems\n{in_file}: a.jsonl")
        assert parse(["--config", config, f"--{on_line}", "b.jsonl"]).task.dataset == "b.jsonl"


def test_values_may_hold_dashes_equals_signs_and_spaces() -> None:
    words = ["--task", "word_problems", "--pad_token=--a-b", "--eos_token", "a=b-c"]
    got = parse([*words, "--dataset", "my data/a-b.jsonl"])
    assert (got.model.pad_token, got.model.eos_token) == ("--a-b", "a=b-c")
    assert got.task.dataset == "my data/a-b.jsonl"


LOSS_OPTIONS = {spec.name: spec for spec in dataclasses.fields(PolicyOptions)}
# Options that need another option, or another value, beside them.
BESIDE = {"epsilon_high": {"loss_type": "cispo"}, "vllm_importance_sampling_clip_min": {"beta": 0.1}}


def another(spec: dataclasses.Field[Any]) -> Any:
    """A value that is not the default of a loss option, within its bounds."""
    limits = spec.metadata
    if isinstance(spec.default, bool):
        return not spec.default
    if limits["choices"]:  # bnpo goes with all defaults, as dapo does
        return next(choice for choice in limits["choices"] if choice not in (spec.default, "grpo"))
    if limits.get("at_most") == 1:
        return spec.default / 2
    return (spec.default or 1.0) + 0.25


@pytest.mark.parametrize("name", LOSS_OPTIONS)
def test_every_option_of_the_loss_reaches_the_objective(name: str) -> None:
    value = another(LOSS_OPTIONS[name])
    beside = BESIDE.get(name, {})
    words = [word for option, text in (beside | {name: value}).items() for word in (f"--{option}", str(text))]
    assert value != LOSS_OPTIONS[name].default
    objective = objective_of(parse(words).loss)
    assert getattr(objective, name) == value
    assert getattr(objective_of(RUN.loss), name) == LOSS_OPTIONS[name].default
    expected = {other: spec.default for other, spec in LOSS_OPTIONS.items()} | beside | {name: value}
    assert {other: getattr(objective, other) for other in LOSS_OPTIONS} == expected


@pytest.fixture
def help_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """The help of a program, or of a method of `train`, on a terminal of some width."""

    def help_text(columns: int, program: str = "train", method: str = "dupo") -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        words = [] if method == "dupo" else ["--method", method]
        with pytest.raises(SystemExit, match="0"):
            parse(["--seed", "3", *words, "--help"], program)
        return capsys.readouterr().out

    return help_text


def test_help_names_and_explains_every_option(help_text) -> None:
    shown = set()
    for program, method in doors():
        about = program_named(program, method)
        text = "".join(help_text(80, program, method).split())  # lines may break anywhere, at hyphens too
        shown.update(about.names)
        for name in about.names:
            about_it = option_of(name, method).metadata
            option = f"--{name}{'|'.join(about_it['choices'])}"
            explained = f"{about_it['help']} (default: ".replace(" ", "")
            assert option in text and len(explained) > 20 and explained in text, name
        words = help_text(300, program, method).split()
        names_of_trl = [alias for alias, name in ALIASES.items() if name in about.names]
        assert all(f"--{alias}," in words for alias in names_of_trl)
        assert not [name for name in OPTIONS.keys() - set(about.names) if f"--{name}" in words]
    assert shown == OPTIONS.keys()
    defaults = (
        "8; arithmetic: 4; conlang: 4; stories: 16",
        "1e-6; arithmetic: 4e-4; conlang: 3e-4; stories: 3e-4",
        "none",
    )
    assert all(f"(default: {default})" in help_text(140) for default in defaults)
    assert "(default: 200)" in help_text(140, "audit")  # a program's own
    assert "(default: 2e-5; arithmetic: 0.001; conlang: 0.001; stories: 0.001)" in help_text(
        140, method="sft"
    )


def test_help_of_a_method_shows_what_that_method_reads(help_text) -> None:
    text = help_text(140, method="sft")
    for name in ("dataset", "learning_rate", "train_batch_size", "max_steps", "seed", "token_budget"):
        assert f"--{name} " in text
    of_others = "reward dual_model num_generations temperature epsilon beta rank_by num_iterations ema_decay "
    of_others += "generation_batch_size src tgt translation_metric duals_per_prompt num_exchanges_to_log"
    for name in of_others.split():
        assert f"--{name} " not in text
    assert METHODS["sft"].description in " ".join(text.split())
    assert f"--method {'|'.join(METHODS)}" in text and "--method sft" in text


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_help_fits_the_terminal(help_text, columns: int) -> None:
    options = help_text(columns).split("options:")[1].split("`--no_NAME`")[0]
    # An option and its choices stand on one line, however long the choices are.
    lines = [line for line in options.splitlines() if not line.startswith("  --") or len(line.split()) > 2]
    assert columns - 20 < max(len(line) for line in lines) < columns


FILES = {"sft": "pairs.jsonl", "dpo": "preferences.jsonl", "kto": "labels.jsonl"}
FILES["reward_model"] = FILES["dpo"]


def test_the_examples_in_the_help_parse(help_text, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for program, method in doors():
        lines = help_text(80, program, method).splitlines()
        configs = [parse(line.split()[3:], program) for line in lines if line.startswith("  python")]
        if method in FILES:
            assert [(config.method, config.task.dataset) for config in configs] == [(method, FILES[method])]
        else:
            assert [config.task.task for config in configs] == ["arithmetic", "word_problems"], program


def test_options_are_read_and_refused_without_torch(run_python: RunPython) -> None:
    code = (
        "import sys\nfrom dupo.config.command_line import parse\nfrom dupo.errors import UserError\n"
        "try:\n    parse(['--num_generation', '8'])\nexcept UserError as error:\n    print(error)\n"
        "try:\n    parse(['--help'])\nexcept SystemExit:\n    pass\n"
        "parse([])\nprint(sorted({'torch', 'transformers', 'numpy', 'rich'} & sys.modules.keys()))"
    )
    result = run_python("-c", code)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "unknown option --num_generation: did you mean --num_generations?"
    assert lines[-1] == "[]"
    assert PROGRAMS.keys() == {"select", "rerank", "audit"}
