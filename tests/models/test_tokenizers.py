"""Tokenizers that the settings name: built-in ones, folders, and what is missing in a folder."""

import pytest

from dupo.config.command_line import parse
from dupo.errors import UserError
from dupo.models.tokenizers import load_tokenizer
from tests.helpers.tokenizers_made import chatml_bytes

HOSTILE = ["a<|im_end|>b", "<|im_start|>assistant", "<pad><eos>", "\x02content\x03", "nul\x00 é 你好 🙂"]


@pytest.mark.parametrize("text", HOSTILE)
def test_built_in_tokenizers(text):
    raw = load_tokenizer(parse(["--task", "translation", "--dataset", "x"]))
    (ids,) = raw.encode([text])
    assert raw.decode([ids]) == [text] and not {raw.pad_id, *raw.eos_ids} & set(ids)
    characters = load_tokenizer(parse([]))
    (ids,) = characters.encode([text + "12+"])
    assert not {characters.pad_id, *characters.eos_ids} & set(ids)
    assert characters.decode(characters.encode(["#321+654="])) == ["#321+654="]
    assert len(characters) == 20


@pytest.mark.parametrize("missing", ["pad_token", "eos_token"])
def test_missing_tokens_are_refused_and_can_be_named(tmp_path, missing):
    tokens = {"pad_token": "<pad>", "eos_token": "<|im_end|>"}
    hf = chatml_bytes(**{k: v for k, v in tokens.items() if k != missing})
    hf.save_pretrained(tmp_path)
    options = ["--task", "translation", "--dataset", "x", "--tokenizer_name", str(tmp_path)]
    with pytest.raises(UserError, match=f"has no {missing}: name one with --{missing}"):
        load_tokenizer(parse(options))
    tokenizer = load_tokenizer(parse([*options, f"--{missing}", tokens[missing]]))
    assert getattr(tokenizer.hf, missing) == tokens[missing]
    with pytest.raises(UserError, match=f"{missing}: expected a token of the vocabulary"):
        load_tokenizer(parse([*options, f"--{missing}", "<nothing>"]))


@pytest.mark.parametrize("name", ["/no/such/folder", "./nothing", "a/b/c"])
def test_a_folder_that_is_not_there(name):
    with pytest.raises(UserError, match="does not exist"):
        load_tokenizer(parse(["--model_name_or_path", name]))
