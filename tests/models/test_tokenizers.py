"""Tokenizers that the settings name: built-in ones, folders, and what is missing in a folder."""

from dataclasses import replace

import pytest

from dupo.config.command_line import parse
from dupo.config.model_options import ModelOptions
from dupo.config.yaml_files import to_yaml
from dupo.errors import UserError
from dupo.models.tokenizers import load_tokenizer
from dupo.storage.names import first_line
from tests.helpers.options import RUN
from tests.helpers.tokenizers_made import chatml_bytes
from tests.helpers.worlds import task_of

HOSTILE = ["a<|im_end|>b", "<|im_start|>assistant", "<pad><eos>", "\x02content\x03", "nul\x00 é 你好 🙂"]


@pytest.mark.parametrize("text", HOSTILE)
def test_built_in_tokenizers(text):
    raw = load_tokenizer(ModelOptions(), None)
    (ids,) = raw.encode([text])
    assert raw.decode([ids]) == [text] and not {raw.pad_id, *raw.eos_ids} & set(ids)
    lessons = task_of(RUN).lessons
    assert lessons is not None
    characters = load_tokenizer(ModelOptions(), lessons.vocabulary)
    (ids,) = characters.encode([text + "12+"])
    assert not {characters.pad_id, *characters.eos_ids} & set(ids)
    assert characters.decode(characters.encode(["#321+654="])) == ["#321+654="]
    assert len(characters) == 20


@pytest.mark.parametrize("missing", ["pad_token", "eos_token"])
def test_missing_tokens_are_refused_and_can_be_named(tmp_path, missing):
    tokens = {"pad_token": "<pad>", "eos_token": "<|im_end|>"}
    hf = chatml_bytes(**{k: v for k, v in tokens.items() if k != missing})
    hf.save_pretrained(tmp_path)
    options = ModelOptions(tokenizer_name=str(tmp_path))
    with pytest.raises(UserError, match=f"has no {missing}: name one with --{missing}"):
        load_tokenizer(options, None)
    tokenizer = load_tokenizer(replace(options, **{missing: tokens[missing]}), None)
    assert getattr(tokenizer.hf, missing) == tokens[missing]
    with pytest.raises(UserError, match=f"{missing}: expected a token of the vocabulary"):
        load_tokenizer(replace(options, **{missing: "<nothing>"}), None)


@pytest.mark.parametrize("name", ["/no/such/folder", "./nothing", "a/b/c"])
def test_a_folder_that_is_not_there(name):
    with pytest.raises(UserError, match="does not exist"):
        load_tokenizer(ModelOptions(model_name_or_path=name), None)


def test_a_run_that_goes_on_another_day_shows_the_same_prompts(tmp_path):
    hf = load_tokenizer(ModelOptions(), None).hf
    hf.chat_template = "It is {{ strftime_now('%d %B %Y') }}. {{ messages[0].content }}"
    hf.save_pretrained(tmp_path / "tokenizer")
    options = ["--model_name_or_path", str(tmp_path / "tokenizer"), "--chat_template_date", "2024-07-26"]
    (tmp_path / "config.yaml").write_text(first_line("train") + to_yaml(parse(options)))
    resumed = parse(["--resume_from_checkpoint", str(tmp_path / "checkpoint-1")])
    today, then = (load_tokenizer(o, None) for o in (parse(options[:2]).model, resumed.model))
    assert then.decode(then.encode(["1 + 1?"])) == ["It is 26 July 2024. 1 + 1?"]
    assert today.encode(["1 + 1?"]) != then.encode(["1 + 1?"])
