"""server.jsonl: an answer that was kept is found again, and a line that is not whole is not."""

from pathlib import Path

import pytest

from dupo.storage.kept_answers import KeptAnswers


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "server.jsonl"
    answers = KeptAnswers(file)
    for number in range(5):
        answers.put(f"key {number}", {"text": f"answer {number} 답\n", "truncated": False})
    answers.sync()
    return file


def texts(answers: KeptAnswers) -> list[str | None]:
    keys = [f"key {number}" for number in range(5)]
    return [answers.get(key)["text"] if key in answers else None for key in keys]


def test_answers_come_back(file: Path) -> None:
    assert texts(KeptAnswers(file)) == [f"answer {number} 답\n" for number in range(5)]
    assert "key 7" not in KeptAnswers(file) and len(KeptAnswers(file)) == 5


def test_every_torn_last_line_is_dropped_and_the_next_answer_does_not_join_it(file: Path) -> None:
    whole = file.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    for length in [*range(start, len(whole), 13), len(whole) - 1]:
        file.write_bytes(whole[:length])
        answers = KeptAnswers(file)
        assert len(answers) == 4 and answers.num_dropped == (length > start)
        answers.put("key 4", {"text": "again"})
        assert texts(KeptAnswers(file))[-1] == "again" and len(KeptAnswers(file)) == 5


def test_a_changed_line_is_dropped(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"answer 2", b"answer 9"))
    answers = KeptAnswers(file)
    assert texts(answers)[2] is None and answers.num_dropped == 1 and len(answers) == 4


@pytest.mark.parametrize(
    "line", [b"\n", b"{}\n", b"[1]\n", b"\xff\xfe\n", b'{"key": 1, "answer": 2, "crc32": 3}\n']
)
def test_a_line_of_another_kind_is_dropped(file: Path, line: bytes) -> None:
    file.write_bytes(line + file.read_bytes())
    assert texts(KeptAnswers(file)) == [f"answer {number} 답\n" for number in range(5)]
