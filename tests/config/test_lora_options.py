"""Options of adapters: TRL's names, what they mean, and what is refused before anything is loaded."""

import math

import pytest

from dupo import api
from dupo.config import lora_options
from dupo.config.command_line import parse
from dupo.config.lora_options import LoraOptions, check_peft
from dupo.errors import UserError
from dupo.methods.data import read_task
from tests.helpers.options import refusal, table

PEFT = "--use_peft"
FILES = "--task word_problems --dataset a --model_name_or_path m"
REFUSED = table(f"""
    --lora_r 8 => use_peft: expected true beside lora_r 8, got false
    --merge_lora => use_peft: expected true beside merge_lora true, got false
    {PEFT} --lora_r 0 => lora_r: expected at least 1, got 0
    {PEFT} --lora_dropout 0.1 => lora_dropout: expected 0 with --method dupo, as completions are sampled
    {PEFT} --lora_target_modules a,,b => lora_target_modules: expected different names with commas
    {PEFT} --lora_target_modules a,a => lora_target_modules: expected different names with commas
    {PEFT} --lora_target_modules all-linear,a => lora_target_modules: expected different names with commas
    {PEFT} --method sft => use_peft: expected false with --model_name_or_path tiny, whose random weights
    {PEFT} --task word_problems --dataset a => use_peft: expected false with --model_name_or_path tiny
    {PEFT} --push_to_hub {FILES} => push_to_hub: expected --merge_lora beside --use_peft
    {PEFT} --use_dora => TRL's use_dora is not here: DoRA scales whole weights
    {PEFT} --lora_modules_to_save lm_head => TRL's lora_modules_to_save is not here: with --use_peft adapters
    {PEFT} --lora_target_parameters a => TRL's lora_target_parameters is not here yet
""")


@pytest.mark.parametrize(("line", "words"), REFUSED)
def test_what_no_adapter_can_be_is_one_line(line: str, words: str) -> None:
    assert words in refusal(*line.split())


def test_the_defaults_are_those_of_trl_but_for_dropout() -> None:
    lora = parse([PEFT]).lora
    assert lora == LoraOptions(use_peft=True, lora_r=16, lora_alpha=32, lora_dropout=0.0)
    assert lora.targets is None and not lora.use_rslora and not parse([]).lora.use_peft


def test_names_are_a_list_whatever_their_number() -> None:
    """peft reads a single text as a regular expression."""
    assert parse([PEFT, "--lora_target_modules", "q_proj"]).lora.targets == ["q_proj"]
    assert parse([PEFT, "--lora_target_modules", "q_proj, v_proj"]).lora.targets == ["q_proj", "v_proj"]
    assert parse([PEFT, "--lora_target_modules", "all-linear"]).lora.targets == "all-linear"


def test_the_factor_of_an_adapter() -> None:
    assert LoraOptions(use_peft=True, lora_r=8, lora_alpha=20).scale == 2.5
    rooted = LoraOptions(use_peft=True, lora_r=8, lora_alpha=20, use_rslora=True)
    assert rooted.scale == pytest.approx(20 / math.sqrt(8), rel=1e-15)


def test_supervised_training_has_dropout() -> None:
    words = f"--method sft --use_peft --lora_dropout 0.1 --dataset a {FILES}"
    assert parse(words.split()).lora.lora_dropout == 0.1


def test_without_peft_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lora_options, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^use_peft: .*got none installed: pip install peft$"):
        read_task(parse([PEFT, "--eval_size", "0"]))
    read_task(parse(["--eval_size", "0"]))
    with pytest.raises(UserError, match="pip install peft"):
        check_peft("x")


def test_a_config_of_peft_is_not_taken_for_an_option() -> None:
    with pytest.raises(UserError, match="TRL's peft_config is --use_peft here, with --lora_r"):
        api.train(peft_config=object())


def test_names_may_be_a_list_in_python() -> None:
    with pytest.raises(UserError, match=r"lora_target_modules: expected different names .*got 'a,a'"):
        api.train(use_peft=True, lora_target_modules=["a", "a"])
