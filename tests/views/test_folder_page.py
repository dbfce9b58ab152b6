"""`dupo report FOLDER`: the page of a rerank, and one clear line for folders that have none."""

import json
from pathlib import Path
from typing import Any

import pytest

from dupo.report import main
from dupo.views.rerank_page import write_answers
from tests.helpers.pages import HOSTILE, Page

CONFIG = "# python -m dupo.{}, format 3\ntask: arithmetic\nmodel_name_or_path: tiny\nnum_generations: 8\n"


def way(key: str, score: float | None, tokens: float) -> dict[str, Any]:
    low, high = (None, None) if score is None else (score - 0.1, score + 0.1)
    return {"key": key, "method": key, "tokens_per_problem": tokens, "score": score, "low": low, "high": high}


def answered(
    number: int, score: float | None, right: dict[str, float] | None, **changes: Any
) -> dict[str, Any]:
    dual = {
        "prompt": f"dual-{number}",
        "completion": f"back-{number}",
        "unknown": "h",
        "distance": 0.5,
        "plain": None,
    }
    row = {
        "problem": f"p{number}",
        "question": f"question-{number}",
        "answer": "42",
        "score": score,
        "votes": 2,
    }
    candidates = [
        {"answer": "42", "votes": 2, "backward_rate": 1.0},
        {"answer": "7", "votes": 6, "backward_rate": 0.0},
    ]
    row |= {"answers": {"majority": "7", "greedy": "42"}, "candidates": candidates, "completion": "so 42"}
    row |= {"gold": None if right is None else "42", "quality": right, "plain": None, "plain_gold": None}
    return row | {"reconstructions": [dual]} | changes


def rerank_folder(path: Path, rows: list[dict[str, Any]], score: float | None = 0.75) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.yaml").write_text(CONFIG.format("rerank"))
    (path / "answers.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    ways = [way("greedy", score, 10), way("majority", score and 0.5, 80), way("dual", score, 120.5)]
    minus = {} if score is None else {"greedy": {"mean": 0.0, "low": -0.1, "high": 0.1}}
    summary = {"problems": len(rows), "with_gold": 0 if score is None else len(rows), "unanswered": 0}
    summary |= {"without_dual": 1, "other_than_majority": 3, "methods": ways, "dual_minus": minus}
    (path / "summary.json").write_text(json.dumps(summary | {"signature": "dupo:0.1.0"}))
    return path


RIGHT, WRONG = ({"dual": x, "majority": 0.0, "greedy": 1.0} for x in (1.0, 0.0))
ROWS = [answered(n, n / 10, RIGHT if n > 6 else WRONG) for n in range(11)]


def test_the_page_of_a_rerank_tells_what_the_choice_gives(tmp_path: Path) -> None:
    page = Page(write_answers(rerank_folder(tmp_path / "run", ROWS)))
    page.check_is_closed()
    text = " ".join(page.text.split())
    for expected in (
        "Choosing by duals scores 75.0 of 100 on 11 problems (95% interval 65.0 to 85.0)",
        "the majority of the same samples scores 50.0, one greedy answer 75.0",
        "for 3 problems: 4 became better, 0 worse, 7 neither.",
        "1 problem without a dual",
        *("dupo:0.1.0", "num_generations: 8", "120.5", "holds 0: not told apart"),
    ):
        assert expected in text, expected
    # The best four and the worst four, with what came back.
    assert [n for n in range(11) if f"question-{n}" in text] == [0, 1, 2, 3, 7, 8, 9, 10]
    assert text.index("question-10") < text.index("question-0") and "back-10" in text and "back-5" not in text
    curve = page.chart("Can the duals tell which answers to trust?")["the choice by duals"]
    assert (
        len(curve) == 11
        and list(curve.values())[3] == 100
        and list(curve.items())[-1] == (100, pytest.approx(400 / 11, 1e-5))
    )


def test_without_gold_nothing_is_scored(tmp_path: Path) -> None:
    rows = [answered(n, n / 4, None) for n in range(4)] + [answered(9, None, None, reconstructions=[])]
    page = Page(write_answers(rerank_folder(tmp_path / "run", rows, score=None)))
    assert page.charts == [] and "of 100" not in page.text and "right answer" not in page.text
    assert "The duals chose another answer than the majority for 3 problems." in page.text
    assert "question-9" not in page.text  # no dual was asked, so nothing is best or worst


def test_answers_of_an_earlier_version_have_a_page(tmp_path: Path) -> None:
    rows = [
        {k: v for k, v in row.items() if k not in ("reconstructions", "plain", "plain_gold")} for row in ROWS
    ]
    assert "was not recorded" in Page(write_answers(rerank_folder(tmp_path / "run", rows))).text


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    dual = {"prompt": HOSTILE, "completion": HOSTILE, "unknown": HOSTILE, "distance": 1.0, "plain": HOSTILE}
    hostile = answered(1, 0.5, RIGHT, question=HOSTILE, answer=HOSTILE, completion=HOSTILE, gold=HOSTILE)
    hostile |= {
        "problem": HOSTILE,
        "reconstructions": [dual],
        "answers": {"majority": HOSTILE, "greedy": "7"},
    }
    folder = rerank_folder(tmp_path / "run", [hostile])
    (folder / "config.yaml").write_text(CONFIG.format("rerank") + f"run_name: {json.dumps(HOSTILE)}\n")
    page = Page(write_answers(folder))
    page.check_is_closed()
    assert page.text.count("<script>alert(1)</script>") >= 9


@pytest.mark.parametrize(
    ("program", "files", "told"),
    [
        ("rerank", {}, "is not finished"),
        ("audit", {}, "is not finished"),
        ("select", {"summary.json": "{}"}, "holds a selection of duals, which has no page"),
        ("rerank", {"summary.json": "{}", "answers.jsonl": ""}, "is damaged: KeyError('problems')"),
        ("audit", {"audit.json": "[1]", "audit.jsonl": ""}, "is damaged: AttributeError"),
        ("audit", {"audit.json": "{", "audit.jsonl": ""}, "is damaged: JSONDecodeError"),
    ],
)
def test_a_folder_without_a_page_is_one_line(
    program: str, files: dict[str, str], told: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG.format(program))
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert main([str(tmp_path)]) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and told in err
    assert not list(tmp_path.glob("*.html"))


def test_the_door_writes_the_page_of_a_rerank_and_compares_runs_alone(tmp_path: Path, capfd: Any) -> None:
    folder = rerank_folder(tmp_path / "run", ROWS)
    assert main([str(folder)]) == 0 and capfd.readouterr() == (f"{folder}/report.html\n", "")
    other = rerank_folder(tmp_path / "other", ROWS)
    assert main([str(folder), str(other), "--output", str(tmp_path / "two.html")]) == 2
    assert "expected a training run, got the folder of dupo rerank" in capfd.readouterr().err
