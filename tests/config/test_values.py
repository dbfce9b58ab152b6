"""One option: what a text stands for, what each option cannot be, and groups that check themselves."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dupo.config.catalogue import METHODS
from dupo.config.config import GROUPS, OPTIONS, Config, group_of
from dupo.config.model_options import ModelOptions
from dupo.config.options import DualOptions, OptimizerOptions, RewardOptions, SelectOptions
from dupo.config.rollout_options import RolloutOptions
from dupo.config.task_options import TaskOptions
from dupo.config.values import coerce
from dupo.errors import UserError, cut, in_one_line, quoted
from tests.helpers.options import KINDS, RUN, reader_of, refusal

MAY_BE_0 = "eval_size duals_per_prompt warmup_steps seed num_exchanges_to_log num_threads num_problems "
MAY_BE_0 += "num_decoys vote_samples max_retries"
MAY_BE_NEGATIVE = ("min_reward", "label_threshold")
# The loss options declare their own bounds: some of them may be negative.
FLOATS = [
    name
    for name in OPTIONS
    if float in KINDS[name]
    and name not in MAY_BE_NEGATIVE
    and (group_of(name) != "loss" or OPTIONS[name].metadata.get("at_least") == 0)
]

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
        got = coerce(OPTIONS[name], text)
        assert got == value and type(got) is type(value), text


@pytest.mark.parametrize("name", [name for name in OPTIONS if int in KINDS[name]])
def test_every_integer_has_a_smallest_value(name: str) -> None:
    least = 0 if name in MAY_BE_0.split() else 2 if name.endswith("_generations") else 1
    program, words = reader_of(name)
    message = refusal(*words, f"--{name}", str(least - 1), program=program)
    assert message == f"{name}: expected at least {least}, got {least - 1}"
    assert coerce(OPTIONS[name], str(least)) == least


@pytest.mark.parametrize("name", FLOATS)
def test_every_float_is_finite_and_not_negative(name: str) -> None:
    program, words = reader_of(name)
    assert refusal(*words, f"--{name}", "-0.5", program=program).startswith(f"{name}: expected ")


@pytest.mark.parametrize("name", [name for name in OPTIONS if float in KINDS[name]])
def test_no_config_holds_a_float_that_is_not_finite(name: str) -> None:
    for value in (float("nan"), float("inf")):
        with pytest.raises(UserError, match=f"{name}: expected a finite number, got {value}"):
            RUN.changed(**{name: value})


WRONG_GROUPS: list[tuple[type, dict[str, Any], str]] = [
    (RolloutOptions, {"temperature": -3}, "temperature: expected at least 0.001, got -3"),
    (RolloutOptions, {"num_generations": 1}, "num_generations: expected at least 2, got 1"),
    (RolloutOptions, {"num_generations": 2.0}, "num_generations: expected an integer, got 2.0"),
    (RolloutOptions, {"max_completion_length": True}, "max_completion_length: expected an integer, got True"),
    (
        TaskOptions,
        {"task": "nonsense"},
        "task: expected one of arithmetic, conlang, stories, word_problems, translation, got 'nonsense'",
    ),
    (
        TaskOptions,
        {"task": "translation", "src": "de"},
        "tgt: expected another language than src, de, got de",
    ),
    (ModelOptions, {"model_name_or_path": ""}, "model_name_or_path: expected some text, got none"),
    (ModelOptions, {"trust_remote_code": "yes"}, "trust_remote_code: expected true or false, got 'yes'"),
    (OptimizerOptions, {"adam_beta2": 1.5}, "adam_beta2: expected less than 1, got 1.5"),
    (OptimizerOptions, {"learning_rate": None}, "learning_rate: expected a number, got None"),
    (RewardOptions, {"reward": "dual,dual"}, "reward: expected different names, got 'dual,dual'"),
    (
        DualOptions,
        {"dual_samples": 2},
        "dual_samples: expected 1, as dual_temperature 0 makes all alike, got 2",
    ),
    (
        SelectOptions,
        {"pool_sizes": "8,1"},
        "pool_sizes: expected integers of at least 2 and at most 65536, comma-separated, got 8,1",
    ),
]


@pytest.mark.parametrize(("group", "values", "message"), WRONG_GROUPS)
def test_a_group_checks_itself_when_it_is_built(group: type, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        group(**values)
    assert str(caught.value) == message
    with pytest.raises(UserError) as caught:
        dataclasses.replace(group(), **values)
    assert str(caught.value) == message


WRONG_VALUES: list[tuple[str, Any]] = [
    ("loss_type", "nonsense"),
    ("learning_rate", "x"),
    ("epsilon", "x"),
    ("epsilon", -0.1),
    ("clip_ratio_c", 0.5),
    ("use_bias_correction_kl", 1),
    ("method", "nonsense"),
    ("task", "nonsense"),
    ("reward", "nonsense"),
    ("num_generations", None),
    ("seed", "3"),
]


@pytest.mark.parametrize(("name", "value"), WRONG_VALUES)
def test_a_config_made_in_python_is_checked_like_one_of_the_command_line(name: str, value: Any) -> None:
    for build in (Config.of, RUN.changed):
        with pytest.raises(UserError, match=f"^{name}: ") as caught:
            build(**{name: value})
        assert "\n" not in str(caught.value)


def test_a_config_of_groups_checks_its_own_option() -> None:
    with pytest.raises(
        UserError,
        match=r"^method: expected one of dupo, sft, dpo, kto, reward_model, .*, rft, got 'nonsense'",
    ):
        Config(method="nonsense")


def test_every_option_has_one_group_a_type_and_help() -> None:
    declared = {group: {spec.name for spec in dataclasses.fields(GROUPS[group])} for group in GROUPS}
    assert {"method"}.union(*declared.values()) == OPTIONS.keys()
    # Two groups that share a name are never read by one method.
    shared = {(a, b) for a in declared for b in declared if a < b and declared[a] & declared[b]}
    losses = {"comparison", "labels", "loss", "scores"}
    assert shared == {(a, b) for a in losses for b in losses if a < b}
    for entry in METHODS.values():
        assert len(losses & set(entry.groups)) <= 1
    for name, spec in OPTIONS.items():
        assert KINDS[name][0] in (int, float, bool, str), name
        assert len(spec.metadata["help"]) > 10 and isinstance(spec.metadata["choices"], tuple), name


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


ODD_VALUES: list[Any] = [
    *(None, True, 3, -3, 10**400, -(10**5000), 2.5, float("nan"), 1e-320, 1e308, "", "x", "a\nb", "a\0b"),
    *("x" * 10**5, b"x", [], [1], {}, {"a": 1}, (1, 2), {1}, object(), Unshowable(), Path("x"), int, len),
    *(
        np.float64(2.5),
        np.float32(2.5),
        np.int64(3),
        np.array([1, 2]),
        np.array("x"),
        torch.tensor([1.0, 2.0]),
    ),
]


@pytest.mark.parametrize("name", OPTIONS)
def test_any_value_from_python_is_taken_or_refused_in_one_line(name: str) -> None:
    for value in ODD_VALUES:
        try:
            config = RUN.changed(**{name: value})
        except UserError as error:
            message = str(error)
            assert "\n" not in message and len(message) < 1000
        else:
            assert type(config.flat()[name]) in (int, float, str, bool, type(None), np.float64)


NOT_NUMBERS = ["1e-40", "1e-308", "1e39", "-1e39", "1e308", "9" * 300]


@pytest.mark.parametrize("name", [name for name in OPTIONS if float in KINDS[name]])
def test_no_option_holds_a_float_that_float32_cannot_hold(name: str) -> None:
    for text in NOT_NUMBERS:
        with pytest.raises(UserError, match=f"^{name}: expected "):
            coerce(OPTIONS[name], text)


# --- values and errors in a message ---


class Silent(Exception):
    """An error of a user that fails to say what it is, and a value that fails to show itself."""

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


def test_what_cannot_show_itself_is_named_by_its_type() -> None:
    assert in_one_line(Silent()) == in_one_line(Silent(), kind=True) == "Silent"
    assert quoted(Silent()) == "an object of type Silent"
    assert quoted(10**5000) == "an object of type int"


def test_a_long_value_is_cut() -> None:
    assert quoted("x" * 5000) == f"'{'x' * 80}'... (5,000 characters)"
    assert cut("x" * 5000) == f"{'x' * 80}... (5,000 characters)" and cut("x" * 80) == "x" * 80
    assert refusal("--seed", "x" * 5000) == f"seed: expected an integer, got {quoted('x' * 5000)}"
    assert in_one_line(ValueError("a\n b")) == "a b"
    assert in_one_line(ValueError("x" * 300), kind=True) == "ValueError: " + "x" * 200


def test_a_path_in_another_encoding_is_refused_before_anything_is_written() -> None:
    with pytest.raises(UserError, match=r"output_dir: expected a path .*got a text that is no UTF-8"):
        Config.of(output_dir="runs/\udc80x")
