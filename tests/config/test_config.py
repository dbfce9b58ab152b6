"""Options: coercion, layers, refusals, help, YAML there and back, resume."""

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from dupo.config import options as module
from dupo.config.command_line import PROGRAMS, parse
from dupo.config.options import TASK_DEFAULTS, Config, coerce, config_hash, read_config, to_yaml
from dupo.errors import UserError

ROOT = Path(__file__).parents[2]
FIELDS = {spec.name: spec for spec in fields(Config)}
KINDS = {name: get_args(spec.type) or (spec.type,) for name, spec in FIELDS.items()}
RUN = parse([])
MAY_BE_0 = "eval_size duals_per_prompt warmup_steps seed num_completions_to_print num_threads num_problems "
MAY_BE_0 += "num_decoys vote_samples"
FOLDERS = "output_dir overwrite_output_dir resume_from_checkpoint"
NO_EFFECT = f"{FOLDERS} num_completions_to_print save_steps save_total_limit"


def table(text: str) -> list[tuple[str, str]]:
    """Lines `left => right`; \\n stands for a line end."""
    pairs = (line.split("=>") for line in text.strip().splitlines())
    return [(left.strip().replace("\\n", "\n"), right.strip()) for left, right in pairs]


def refusal(*argv: str, program: str = "train") -> str:
    with pytest.raises(UserError) as caught:
        parse(argv, program)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a file in an empty working folder and returns its name."""
    monkeypatch.chdir(tmp_path)

    def write(text: str | bytes, name: str = "FILE.yaml") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return name

    return write


VALUES: dict[str, dict[str, Any]] = {
    "seed": {"7": 7, " +7 ": 7},
    "learning_rate": {"1e-6": 1e-6, "1E-6": 1e-6, ".5": 0.5, "1": 1.0},
    "gradient_checkpointing": dict.fromkeys(("true", "True", "YES", "on", "1"), True),
    "use_bias_correction_kl": dict.fromkeys(("false", "False", "NO", "off", "0"), False),
    "tgt": {"no": "no", "null": "null", "1e-6": "1e-6"},
    "train_batch_size": dict.fromkeys(("none", "None", "null", "~", ""), None) | {"32": 32},
    "epsilon_high": {"none": None, "0.28": 0.28},
    "pad_token": dict.fromkeys(("none", "NULL", "~", ""), None) | {"<PAD>": "<PAD>"},
}


@pytest.mark.parametrize("name", VALUES)
def test_a_text_becomes_the_value_it_stands_for(name: str) -> None:
    for text, value in VALUES[name].items():
        got = coerce(FIELDS[name], text)
        assert got == value and type(got) is type(value), text


REFUSED = table("""
    --num_generation 8 => unknown option --num_generation: did you mean --num_generations?
    --num-generation=8 => unknown option --num_generation: did you mean --num_generations?
    -seed 3 => unknown option -seed: did you mean --seed?
    --rank_by dual => unknown option --rank_by: dupo.train does not have it, only dupo.rerank
    --conf FILE => unknown option --conf: did you mean --config?
    --model tiny => unknown option --model: did you mean --model_name_or_path?
    --zzz 1 => unknown option --zzz; see --help
    data.jsonl => expected options that start with --, got 'data.jsonl'
    --seed 1 2 => expected options that start with --, got '2'
    --seed => --seed: expected a value
    --config => --config: expected a value
    --no_trust_remote_code=true => --no_trust_remote_code: expected no value
    --num_generations eight => num_generations: expected an integer, got 'eight'
    --num_generations 1_000 => num_generations: expected an integer, got '1_000'
    --num_generations 1e3 => num_generations: expected an integer, got '1e3'
    --seed 1234567890123456789 => seed: expected an integer, got '1234567890123456789'
    --train_batch_size x => train_batch_size: expected an integer or none, got 'x'
    --beta 1_0.5 => beta: expected a number, got '1_0.5'
    --beta 1e999 => beta: expected a finite number, got inf
    --trust_remote_code maybe => trust_remote_code: expected true or false, got 'maybe'
    --loss_type ppo => loss_type: one of grpo, bnpo, dr_grpo, dapo, cispo, sapo, luspo, vespo; got 'ppo'
    --kl K3 => kl: one of k1, k2, k3, abs, k3+; got 'K3', did you mean k3?
    --scale_rewards null => scale_rewards: one of group, batch, none; got 'null'
    --num_generations 0 => num_generations: expected at least 2, got 0
    --generation_batch_size 510 => generation_batch_size: expected a multiple of num_generations, 4, got 510
    --train_batch_size 100 => train_batch_size: expected a divisor of generation_batch_size, 512, got 100
    --dual_samples 4 => dual_samples: expected 1, as dual_temperature 0 makes all alike, got 4
    --task word_problems => dataset: expected --dataset PATH, which --task word_problems needs, got none
    --dataset a.jsonl => dataset: expected none with --task arithmetic, which makes its own problems \
(--task word_problems reads files), got a.jsonl
    --task conlang --eval_dataset a => eval_dataset: expected none with --task conlang, which makes its own \
problems (--task word_problems reads files), got a
    --task translation --dataset d --src de => tgt: expected another language than src, de, got de
    --model_name_or_path= => model_name_or_path: expected some text, got none
    --temperature 0 => temperature: expected more than 0, got 0.0
    --max_grad_norm 0 => max_grad_norm: expected more than 0, got 0.0
    --reward gild => reward: any of dual, gold, majority, soft_vote, self_certainty, entropy, \
random, shuffled, format_only or package.module.function; got 'gild', did you mean gold?
    --reward dual,gold --reward_weights 1 => reward_weights: expected 2 numbers, \
comma-separated, as reward names 2, got '1'
    --reward dual --reward_weights inf => reward_weights: expected finite numbers, got 'inf'
    --reward dual,dual => reward: expected different names, got 'dual,dual'
    --reward a.f,b.f => reward: expected different names, got 'a.f,b.f'
    --dual_model frozn => dual_model: expected frozen, policy, ema, a folder or a Hub name \
(did you mean frozen?), got frozn
    --translation_metric blue => translation_metric: expected bleu, chrf, \
mean or package.module.function, got blue
    --ema_decay 1 => ema_decay: expected less than 1, got 1.0
    --learning_rate 1e38 => learning_rate: expected at most 1, got 1e+38
    --adam_beta2 1.5 => adam_beta2: expected less than 1, got 1.5
""")  # fmt: skip


@pytest.mark.parametrize(("argv", "message"), REFUSED)
def test_what_is_wrong_is_refused_in_one_line(argv: str, message: str) -> None:
    assert refusal(*argv.split()) == message


@pytest.mark.parametrize("name", [name for name in FIELDS if int in KINDS[name]])
def test_every_integer_has_a_smallest_value(name: str) -> None:
    least = 0 if name in MAY_BE_0.split() else 2 if name == "num_generations" else 1
    program = next(program for program, about in PROGRAMS.items() if name in about.names)
    given = refusal(f"--{name}", str(least - 1), program=program)
    assert given == f"{name}: expected at least {least}, got {least - 1}"
    assert coerce(FIELDS[name], str(least)) == least


@pytest.mark.parametrize("name", [name for name in FIELDS if float in KINDS[name]])
def test_every_float_is_finite_and_not_negative(name: str) -> None:
    program = next(program for program, about in PROGRAMS.items() if name in about.names)
    assert refusal(f"--{name}", "-0.5", program=program).startswith(f"{name}: expected ")
    for value in (float("nan"), float("inf")):
        with pytest.raises(UserError, match=f"{name}: expected a finite number, got {value}"):
            module.validate(replace(RUN, **{name: value}))  # such a Config can be made in Python


def test_what_is_allowed_at_the_edge() -> None:
    assert refusal("--num_generations=1").startswith("num_generations: expected at least 2, got 1")
    assert parse(["--train_batch_size=1", "--num_generations=2"]).train_batch_size == 1
    assert parse(["--dual_samples=4", "--dual_temperature=0.7", "--ema_decay=0"]).dual_samples == 4
    assert parse(["--src=de", "--tgt=de", "--learning_rate=0"]).src == "de"  # only translation minds


@pytest.mark.parametrize("option", ["--num_generations ", "--num-generations ", "--num-generations="])
def test_every_spelling_of_an_option(option: str) -> None:
    assert parse(f"{option}8".split()) == replace(RUN, num_generations=8)
    assert parse(f"--num_generations 2 {option}8".split()) == replace(RUN, num_generations=8)


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
    expected = replace(RUN, use_bias_correction_kl=value == "True", seed=3)
    assert parse([*argv.split(), "--seed", "3"]) == expected


def test_values_may_hold_dashes_equals_signs_and_spaces() -> None:
    words = ["--task", "word_problems", "--pad_token=--a-b", "--eos_token", "a=b-c"]
    got = parse([*words, "--dataset", "my data/a-b.jsonl"])
    assert (got.pad_token, got.eos_token, got.dataset) == ("--a-b", "a=b-c", "my data/a-b.jsonl")


def test_later_layers_win_and_the_task_is_found_before_its_defaults(write) -> None:
    assert Config.num_generations == 8 and parse([]).num_generations == 4
    file = write("task: word_problems\ndataset: a.jsonl\nlearning_rate: 1e-5\n")
    expected = Config(task="word_problems", dataset="a.jsonl", learning_rate=1e-5)
    assert parse(["--config", file]) == expected
    assert parse(["--learning_rate", "2e-5", "--config", file]) == replace(expected, learning_rate=2e-5)
    arithmetic = ["--task", "arithmetic", "--dataset", "none"]
    assert parse(["--config", file, *arithmetic]) == replace(RUN, learning_rate=1e-5)
    assert parse(["--task=translation", "--dataset=d"]) == Config(task="translation", dataset="d")


def test_task_defaults_are_options_with_values_of_their_types() -> None:
    for task, values in TASK_DEFAULTS.items():
        assert task in FIELDS["task"].metadata["choices"]
        assert all(type(value) is FIELDS[name].type for name, value in values.items())
    assert Config(**TASK_DEFAULTS["arithmetic"]) == RUN != Config()


def test_yaml_scalars_are_taken_as_written(write) -> None:
    lines = ["\ufeff# comment", "tgt: no", "learning_rate: 1e-6", "pad_token: 'null'", "src: 010"]
    lines += ["gradient_checkpointing: yes", "eos_token:", 'kl: "k2"', "question_column: frage # Ü"]
    expected = {"tgt": "no", "learning_rate": 1e-6, "pad_token": "null", "src": "010", "kl": "k2"}
    expected |= {"gradient_checkpointing": True, "question_column": "frage"}
    assert parse(["--config", write("\n".join(lines))]) == replace(RUN, **expected)
    assert parse(["--config", write("")]) == parse(["--config", write("# nothing\n")]) == RUN


WRONG_FILES = table(r"""
    num_generation: 8 => unknown key num_generation: did you mean num_generations?
    num-generations: 8 => unknown key num-generations: did you mean num_generations?
    zzz: 8 => unknown key zzz; see --help
    ? [a]\n: 1 => unknown key ?; see --help
    seed: 1\nbeta: 0\nseed: 2 => line 3: expected seed once, got it twice
    seed: [1, 2] => seed: expected one value, got a list
    seed:\n- 1 => seed: expected one value, got a list
    seed:\n  a: 1 => seed: expected one value, got a nested mapping
    model:\n  dtype: auto => unknown key model: did you mean model_name_or_path?
    - seed => expected lines of `option: value`, got something else
    seed => expected lines of `option: value`, got something else
    seed: eight => seed: expected an integer, got 'eight'
    train_batch_size: 'null' => train_batch_size: expected an integer or none, got 'null'
    kl: k33 => kl: one of k1, k2, k3, abs, k3+; got 'k33', did you mean k3?
    beta: -1 => beta: expected at least 0, got -1.0
    seed: 1\nkl: [ => line 2: expected YAML, got an error: expected the node content, but found '<stream end>'
    seed: 1\n---\nseed: 2 => line 2: expected YAML, got an error: but found another document
""")


@pytest.mark.parametrize(("text", "message"), WRONG_FILES)
def test_a_wrong_file_is_refused_by_name(write, text: str, message: str) -> None:
    assert refusal("--config", write(text)) == f"FILE.yaml: {message}"


def test_a_file_that_cannot_be_read_is_named(write, tmp_path: Path) -> None:
    expected = "expected a YAML file that can be read, got:"
    assert refusal("--config", "no.yaml") == f"no.yaml: {expected} No such file or directory"
    assert refusal("--config", str(tmp_path)) == f"{tmp_path}: {expected} Is a directory"
    assert refusal("--config", write(b"src: \xff")) == f"FILE.yaml: {expected} bytes that are not UTF-8"
    assert refusal("--config", write(b"seed: 1\x00")) == "FILE.yaml: expected YAML, got an error: bad bytes"


TRICKY = ["no", "1e-6", "null", "None", "none", "010", "yes", "<<", "@a", "!x", "&a", "a: b", " a ", "a\nb"]
TRICKY += list("~#'\"=.%\\\t\x7f\x85\u2028\ufeffü語😀")


def of_kind(name: str, kind: type) -> st.SearchStrategy[Any]:
    """The values of a type that `validate` lets through alone."""
    if kind is float:
        shares = ("ema_decay", "adam_beta1", "adam_beta2", "learning_rate", "solve_threshold")
        return st.floats(1e-300, 0.999 if name in shares else 1e300)
    if kind is str:
        choices = FIELDS[name].metadata["choices"]
        return st.sampled_from(choices) if choices else st.sampled_from(TRICKY) | st.text(min_size=1)
    return {bool: st.booleans(), int: st.integers(1, 10**18 - 1), type(None): st.none()}[kind]


TIED = "num_generations generation_batch_size train_batch_size dual_samples task resume_from_checkpoint "
TIED += "dataset eval_dataset reward reward_weights dual_model translation_metric pool_sizes pool_models"
KEYS = [name for name in FIELDS if name not in TIED.split()]
FREE = {name: st.one_of(*(of_kind(name, kind) for kind in KINDS[name])) for name in KEYS}


@given(st.fixed_dictionaries(FREE))
@example({"learning_rate": 1e-6, "adam_epsilon": 5e-324, "max_grad_norm": 1e22, "beta": 1.0})
def test_yaml_gives_the_same_config_back(tmp_path_factory, changes: dict[str, Any]) -> None:
    config = replace(RUN, **changes)
    path = tmp_path_factory.getbasetemp() / "there_and_back.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert parse(["--config", str(path)]) == config == read_config(path)
    assert yaml.safe_load(to_yaml(config)) == asdict(config)  # other readers see the same values


@pytest.mark.parametrize("text", TRICKY)
def test_tricky_texts_survive_yaml(write, text: str) -> None:
    config = replace(RUN, pad_token=text, src=text)
    assert parse(["--config", write(to_yaml(config))]) == config


def test_yaml_is_grouped_and_complete() -> None:
    lines = to_yaml(RUN).splitlines()
    titles = ["# model", "# task", "# reward", "# duals", "# rollout", "# optimisation", "# loss", "# run"]
    titles += ["# choice", "# rerank"]
    assert [line for line in lines if line.startswith("#")] == titles
    assert [line.split(":")[0] for line in lines if not line.startswith("#")] == list(FIELDS)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_the_configs_of_the_repository_parse(path: Path) -> None:
    config = parse(["--config", str(path)])
    task = {"arithmetic": "arithmetic", "gsm8k": "word_problems", "flores_en_de": "translation"}
    assert config.task == task[path.stem]
    assert path.read_text(encoding="utf-8").startswith("# ")
    assert config_hash(replace(config, beta=0)) == config_hash(config)  # 0 is 0.0
    assert config.dataset is None or not Path(config.dataset).is_absolute()
    assert path.stem != "arithmetic" or config == RUN  # what `python -m dupo.train` does


def another(name: str) -> Any:
    """A value that differs from that of RUN."""
    value, choices = getattr(RUN, name), FIELDS[name].metadata["choices"]
    if bool in KINDS[name]:
        return not value
    if str in KINDS[name]:
        return next((choice for choice in choices if choice != value), "other")
    return (value or 0) + 1


@pytest.mark.parametrize("name", FIELDS)
def test_what_changes_results_changes_the_hash_and_may_not_change_on_resume(name: str) -> None:
    changed = replace(RUN, **{name: another(name)})
    assert len(config_hash(changed)) == 12 and int(config_hash(changed), 16) >= 0
    assert (config_hash(changed) == config_hash(RUN)) == (name in NO_EFFECT.split())
    expected = [] if name in [*NO_EFFECT.split(), "max_steps"] else [name]
    assert [line.split(" is ")[0] for line in module.resume_differences(RUN, changed)] == expected


def test_differences_are_written_as_people_write_them() -> None:
    old = replace(RUN, learning_rate=3e-4, train_batch_size=None)
    new = replace(old, learning_rate=1e-4, train_batch_size=8, gradient_checkpointing=True, eos_token="\n")
    assert module.resume_differences(old, new) == [
        "eos_token is '\\n', the run was started with none",
        "gradient_checkpointing is true, the run was started with false",
        "learning_rate is 1e-4, the run was started with 3e-4",
        "train_batch_size is 8, the run was started with none",
    ]


OLD_RUN = replace(RUN, seed=5, output_dir="old", overwrite_output_dir=True, resume_from_checkpoint="latest")
RESUMED = table("""
    --resume_from_checkpoint latest --output_dir runs/a => latest
    --resume_from_checkpoint latest --config where.yaml => latest
    --resume_from_checkpoint runs/a/checkpoint-50 => runs/a/checkpoint-50
    --resume_from_checkpoint runs/a/checkpoint-50/ => runs/a/checkpoint-50/
    --resume_from_checkpoint runs/a/checkpoint-50 --output_dir ./runs/b/../a => runs/a/checkpoint-50
""")


@pytest.mark.parametrize(("argv", "checkpoint"), RESUMED)
def test_a_resumed_run_keeps_its_options(write, argv: str, checkpoint: str) -> None:
    write(to_yaml(OLD_RUN), "runs/a/config.yaml")
    write("output_dir: runs/a\n", "where.yaml")
    changes = dict(zip(FOLDERS.split(), (str(Path("runs/a")), False, checkpoint), strict=True))
    assert read_config("runs/a/config.yaml") == OLD_RUN  # resumes nothing
    assert parse(argv.split()) == replace(OLD_RUN, **changes)
    assert parse([*argv.split(), "--max_steps", "7"]) == replace(OLD_RUN, **changes, max_steps=7)


def test_the_resumed_run_is_a_layer_below_the_file_and_the_command_line(write) -> None:
    write(to_yaml(replace(OLD_RUN, task="translation", dataset="a", beta=0.1, epsilon=0.3)), "a/config.yaml")
    file = write("beta: 0.2\nepsilon: 0.4\n")
    got = parse(["--resume_from_checkpoint", "a/checkpoint-1", "--config", file, "--epsilon", "0.5"])
    assert (got.task, got.seed, got.beta, got.epsilon) == ("translation", 5, 0.2, 0.5)


NOT_RESUMED = table("""
    latest => resume_from_checkpoint: expected --output_dir RUN beside `latest`, got none
    latest --output_dir b => resume_from_checkpoint: expected a run to go on with, got no config.yaml in b
    b/checkpoint-1 => resume_from_checkpoint: expected a run to go on with, got no config.yaml in b
    a/checkpoint-1 --output_dir b => output_dir: expected a, the run that is resumed, got b
    a/c-1 --overwrite_output_dir => overwrite_output_dir: expected false while a run is resumed, got true
    bad/checkpoint-1 => bad/config.yaml: unknown key sed: did you mean seed?
""")


@pytest.mark.parametrize(("argv", "message"), NOT_RESUMED)
def test_what_cannot_be_resumed_is_refused(write, argv: str, message: str) -> None:
    write(to_yaml(OLD_RUN), "a/config.yaml")
    write("sed: 1\n", "bad/config.yaml")
    assert refusal("--resume_from_checkpoint", *argv.split()) == message


@pytest.fixture
def help_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def help_text(columns: int, program: str = "train") -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        with pytest.raises(SystemExit, match="0"):
            parse(["--seed", "3", "--help"], program)
        return capsys.readouterr().out

    return help_text


def test_help_names_and_explains_every_option(help_text) -> None:
    shown = set()
    for program, about in PROGRAMS.items():
        text = "".join(help_text(80, program).split())  # lines may break anywhere, at hyphens too
        shown.update(about.names)
        for name in about.names:
            option = f"--{name}{'|'.join(FIELDS[name].metadata['choices'])}"
            explained = f"{FIELDS[name].metadata['help']} (default: ".replace(" ", "")
            assert option in text and len(explained) > 20 and explained in text, name
        assert not [name for name in FIELDS.keys() - set(about.names) if f"--{name}" in text]
    assert shown == FIELDS.keys()
    defaults = ("8; arithmetic: 4; conlang: 4", "1e-6; arithmetic: 3e-4; conlang: 3e-4", "none")
    assert all(f"(default: {default})" in help_text(140) for default in defaults)
    assert "(default: 200)" in help_text(140, "audit")  # a program's own


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_help_fits_the_terminal(help_text, columns: int) -> None:
    options = help_text(columns).split("options:")[1].split("`--no_NAME`")[0]
    assert columns - 20 < max(len(line) for line in options.splitlines()) < columns


def test_the_examples_in_the_help_parse(help_text, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for program in PROGRAMS:
        lines = [line for line in help_text(80, program).splitlines() if line.startswith("  python")]
        found = [parse(line.split()[3:], program).task for line in lines]
        assert found == ["arithmetic", "word_problems"], program


def test_help_and_errors_load_neither_torch_nor_transformers(run_python) -> None:
    code = (
        "import sys\nfrom dupo.config.command_line import parse\nfrom dupo.config.options import UserError\n"
        "try:\n    parse(['--num_generation', '8'])\nexcept UserError as error:\n    print(error)\n"
        "try:\n    parse(['--help'])\nexcept SystemExit:\n    pass\n"
        "parse([])\nprint(sorted({'torch', 'transformers', 'numpy', 'rich'} & sys.modules.keys()))"
    )
    result = run_python("-c", code)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "unknown option --num_generation: did you mean --num_generations?"
    assert lines[-1] == "[]"
