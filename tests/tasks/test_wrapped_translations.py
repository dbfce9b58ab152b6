"""Wrapped translations and paragraphs, as the translation task takes them."""

import json
from pathlib import Path
from typing import Any

from dupo.config.config import Config
from dupo.records import Dual
from dupo.tasks.translation import Translation

CAT = "The cat sat on the mat in the house."


def make(dataset: Path, **options: Any) -> Translation:
    flat = {"task": "translation", "dataset": str(dataset), "eval_size": 1, **options}
    return Translation(Config.of(**flat).task, seed=0)


def distance_of(task: Translation, dual: Dual, completion: str) -> float | None:
    [distance] = task.distances([dual], ["an answer"], [completion])
    return distance


def test_paragraphs_are_answers_and_likeness_ignores_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    rows = [{"en": f"First {k}.\n\n Second  line. ", "de": f"Erste {k}.\nZweite Zeile."} for k in range(5)]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    task, joined = (make(path, paragraphs=flag, eval_size=1, gates="lines") for flag in (True, False))
    problem = next(p for p in task.train if p.text.startswith("First"))
    assert problem.text.split("\n")[1:] == ["Second line."]
    assert "\n" not in "".join(p.text + (p.gold or "") for p in [*joined.train, *joined.held_out])
    assert task.prompt(problem).startswith("Translate the following text from English to German.")
    completion = "Erste.\n\n  Zweite\nDritte Zeile.\n"
    assert task.answer(problem, completion) == "Erste.\nZweite\nDritte Zeile."
    assert [joined.answer(problem, completion), joined.refusal(problem, completion)] == [None, "lines"]
    assert task.dual_prompt(problem, Dual("", problem.text), "Erste.\nZweite")[1] == "Erste.\nZweite"
    dual = Dual("", problem.text)
    assert distance_of(task, dual, problem.text.replace("\n", " ")) == 0.0
    assert distance_of(task, dual, problem.text + "\nmore") == distance_of(task, dual, problem.text + " more")
    assert task.score(problem, (problem.gold or "Erste 0.\nZweite Zeile.").replace("\n", " ")) == 1.0
    wrapped = f"Here is the translation:\n\n```\n{completion}```"
    assert task.answer(problem, wrapped) == task.answer(problem, completion)


def test_a_back_translation_is_bare(tmp_path: Path) -> None:
    (tmp_path / "dev.en").write_text(f"{CAT}\nThe dog barks.\n", encoding="utf-8")
    task, dual = make(tmp_path), Dual("", CAT)
    for wrapped in (f'"{CAT}"', f"Here is the translation:\n{CAT}", f"**{CAT}**", f"- {CAT}"):
        assert distance_of(task, dual, wrapped) == 0.0
