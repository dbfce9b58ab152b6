"""Pairs of prompt and completion: what stands in the file is what is learnt."""

import json

import pytest

from dupo.data.examples import Example, read_examples
from dupo.errors import UserError
from dupo.records import Message


def write(path, *rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_texts_are_kept_as_they_stand(tmp_path):
    pairs = [("  def f():", "    return 1\n"), ("한국어로 인사해", " 안녕하세요 "), ("a", "b\r\n")]
    file = write(tmp_path / "pairs.jsonl", *({"prompt": p, "completion": c} for p, c in pairs))
    train, held_out, notes = read_examples(file, None, 0)
    assert train == [Example(f"pairs.jsonl:{k}", *pair) for k, pair in enumerate(pairs, start=1)]
    assert held_out == notes == []


def test_held_out_examples_share_no_prompt_with_the_others(tmp_path):
    rows = [{"prompt": str(k % 7), "completion": str(k)} for k in range(20)]
    train, held_out, _ = read_examples(write(tmp_path / "pairs.jsonl", *rows), None, 2)
    assert len(held_out) == 2 and not {e.prompt for e in train} & {e.prompt for e in held_out}


def message(role, content):
    return {"role": role, "content": content}


SYSTEM, FIRST, REPLY = message("system", "Be brief."), message("user", "2?"), message("assistant", "4")
LAST, LEARNT = message("user", "And 3?"), message("assistant", " 9\n")


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [SYSTEM, FIRST, REPLY, LAST, LEARNT]},
        {"prompt": [SYSTEM, FIRST, REPLY, LAST], "completion": [LEARNT]},
        {"prompt": [SYSTEM, FIRST, REPLY, LAST], "completion": " 9\n", "messages": [FIRST, REPLY]},
        {"messages": [SYSTEM, FIRST, REPLY, message("user", [{"type": "text", "text": "And 3?"}]), LEARNT]},
    ],
)
def test_chats_are_read_by_the_names_of_trl(tmp_path, row):
    (example,), _, notes = read_examples(write(tmp_path / "a.jsonl", row), None, 0)
    history = (Message("system", "Be brief."), Message("user", "2?"), Message("assistant", "4"))
    assert example == Example("a.jsonl:1", "And 3?", " 9\n", history) and notes == []


def test_pairs_with_a_gap_are_left_out(tmp_path):
    rows = [{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": float("nan")}]
    rows += [{"prompt": float("inf"), "completion": "d"}]
    train, _, notes = read_examples(write(tmp_path / "pairs.jsonl", *rows), None, 0)
    assert train == [Example("pairs.jsonl:1", "a", "b")] and len(notes) == 2
    assert all(note.startswith("rows left out: 1, expected text in ") for note in notes)


def test_pairs_whose_prompt_is_held_out_are_counted(tmp_path):
    rows = [{"prompt": text, "completion": "b"} for text in ("Ann has 5", "ann  has 5", "other")]
    held = write(tmp_path / "held.jsonl", {"prompt": "ANN has 5", "completion": "b"})
    train, held_out, (note,) = read_examples(write(tmp_path / "pairs.jsonl", *rows), held, None)
    assert [e.prompt for e in train] == ["other"] and len(held_out) == 1 and note.startswith("2 rows not")


def test_a_completion_of_json_is_a_completion(tmp_path):
    texts = ['{"a": 1}', '[{"id": 1}]', '["a"]']
    rows = [{"prompt": str(k), "completion": text} for k, text in enumerate(texts)]
    train, _, notes = read_examples(write(tmp_path / "pairs.jsonl", *rows), None, 0)
    assert [e.completion for e in train] == texts and notes == []


def test_chats_that_end_in_one_question_are_different_prompts(tmp_path):
    rows = [{"messages": [message("system", str(k)), LAST, LEARNT]} for k in range(20)]
    train, held_out, _ = read_examples(write(tmp_path / "a.jsonl", *rows), None, 5)
    assert (len(train), len(held_out)) == (15, 5)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "a", "completion": " "}, "expected text in 'completion'"),
        ({"prompt": "", "completion": "b"}, "expected text in 'prompt'"),
        ({"prompt": "a", "completion": ["b"]}, "expected text or a number in 'completion'"),
        ({"prompt": [FIRST, REPLY], "completion": "b"}, "expected a message of the user and then one"),
        ({"prompt": "a", "completion": [FIRST]}, "expected a message of the user and then one"),
        ({"messages": [FIRST]}, "expected text in 'prompt'"),
    ],
)
def test_a_pair_without_text_is_left_out_and_named(tmp_path, row, message):
    file = write(tmp_path / "pairs.jsonl", {"prompt": "x", "completion": "y"}, row)
    train, _, (note,) = read_examples(file, None, 0)
    assert train == [Example("pairs.jsonl:1", "x", "y")]
    assert message in note and "first: pairs.jsonl, line 2" in note
    if "messages" not in row:
        with pytest.raises(UserError, match=f"pairs.jsonl, line 1: {message}"):
            read_examples(write(tmp_path / "pairs.jsonl", row), None, 0)


def test_columns_of_other_names_are_refused(tmp_path):
    file = write(tmp_path / "pairs.jsonl", {"question": "x", "answer": "y"})
    with pytest.raises(
        UserError, match=r"columns prompt and completion, or messages, .* got question, answer"
    ):
        read_examples(file, None, 0)
