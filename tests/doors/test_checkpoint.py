"""A checkpoint of a run in transformers: the README's lines, the chat template, and where a text ends."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from dupo.train import main
from tests.helpers.project import ROOT
from tests.helpers.small_world import TRAIN, inside, make_inputs

TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
MESSAGES = [{"role": "user", "content": "Tom has 3 apples."}]
END = "!"  # another end token than that of the model


@pytest.mark.slow
def test_a_checkpoint_opens_by_the_lines_of_the_readme(tmp_path: Path) -> None:
    world = make_inputs(tmp_path / "world")
    (world / "model" / "chat_template.jinja").write_text(TEMPLATE)
    before = AutoTokenizer.from_pretrained(world / "model")
    with inside(world):
        assert main([*TRAIN, "--max_steps", "1", "--eos_token", END]) == 0
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (code,) = (block for block in blocks if "RUN/checkpoint-150" in block)
    names: dict[str, Any] = {}
    exec(code.replace("RUN/checkpoint-150", str(world / "run" / "checkpoint-1")), names)
    model, tokenizer = names["model"], names["tokenizer"]
    text = tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, tokenize=False)
    assert text == before.apply_chat_template(MESSAGES, add_generation_prompt=True, tokenize=False)
    assert text == "<user>Tom has 3 apples.\n<assistant>"
    ids = tokenizer.apply_chat_template(
        MESSAGES, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    # A model that says nothing but the end token of training stops at its first word.
    end = tokenizer.convert_tokens_to_ids(END)
    assert tokenizer.eos_token == END and end != before.eos_token_id
    bias = torch.zeros(model.config.vocab_size)
    bias[end] = 1e4
    model.lm_head.register_forward_hook(lambda _, __, logits: logits + bias)
    answer = model.generate(**ids, max_new_tokens=4, do_sample=False)
    assert answer[0, ids["input_ids"].shape[1] :].tolist() == [end]
