"""Pairs of prompt and completion: what stands in the file is what is learnt."""

import json

import pytest

from dupo.data.examples import Example, read_examples
from dupo.errors import UserError


def write(path, *rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_texts_are_kept_as_they_stand(tmp_path):
    pairs = [("  def f():", "    return 1\n"), ("한국어로 인사해", " 안녕하세요 ")]
    file = write(tmp_path / "pairs.jsonl", *({"prompt": p, "completion": c} for p, c in pairs))
    train, held_out = read_examples(file, None, 0)
    assert train == [Example(f"pairs.jsonl:{k}", *pair) for k, pair in enumerate(pairs, start=1)]
    assert held_out == []


def test_held_out_examples_share_no_prompt_with_the_others(tmp_path):
    rows = [{"prompt": str(k % 7), "completion": str(k)} for k in range(20)]
    train, held_out = read_examples(write(tmp_path / "pairs.jsonl", *rows), None, 2)
    assert len(held_out) == 2 and not {e.prompt for e in train} & {e.prompt for e in held_out}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "a", "completion": " "}, "expected text in 'completion'"),
        ({"prompt": "", "completion": "b"}, "expected text in 'prompt'"),
        ({"prompt": "a", "completion": ["b"]}, "expected text or a number in 'completion'"),
    ],
)
def test_a_pair_without_text_is_named(tmp_path, row, message):
    file = write(tmp_path / "pairs.jsonl", {"prompt": "x", "completion": "y"}, row)
    with pytest.raises(UserError, match=f"pairs.jsonl.*2.*{message}"):
        read_examples(file, None, 0)
