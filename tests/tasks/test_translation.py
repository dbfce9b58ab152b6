"""The translation task: what it reads, asks, accepts, and how it measures likeness."""

import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from dupo.config.config import Config
from dupo.errors import UserError
from dupo.records import Dual, Problem
from dupo.tasks.languages import LANGUAGES
from dupo.tasks.likeness import bleu_tokenizer
from dupo.tasks.translation import Translation
from dupo.tasks.translation_gates import GATES, read_back

PAIRS = [(f"Sentence number {k} is here.", f"Satz Nummer {k} ist hier.") for k in range(8)]
CAT = "The cat sat on the mat in the house."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "dev.en").write_text("".join(f"{en}\n" for en, _ in PAIRS), encoding="utf-8")
    (tmp_path / "dev.de").write_text("".join(f"{de}\n" for _, de in PAIRS), encoding="utf-8")
    return tmp_path


def make(dataset: Path | str | None, **options: Any) -> Translation:
    path = None if dataset is None else str(dataset)
    flat = {"task": "translation", "dataset": path, "eval_size": 3, **options}
    return Translation(Config.of(**flat).task, seed=0)


def distance_of(task: Translation, dual: Dual, completion: str) -> float | None:
    [distance] = task.distances([dual], ["an answer"], [completion])
    return distance


def gold_by_text(task: Translation) -> dict[str, str | None]:
    return {p.text: p.gold for p in [*task.train, *task.held_out]}


def test_a_folder_of_parallel_lines(folder: Path) -> None:
    task = make(folder)
    assert gold_by_text(task) == dict(PAIRS)
    assert [len(task.train), len(task.held_out)] == [5, 3]
    assert not {p.text for p in task.train} & {p.text for p in task.held_out}
    assert {p.id for p in [*task.train, *task.held_out]} == {f"dev.en:{k}" for k in range(1, 9)}
    assert task.notes[0] == "8 sentences read (en to de); 3 held out"
    assert task.notes[1].startswith(
        "likeness of a back-translation: BLEU nrefs:1|case:mixed|eff:yes|tok:13a|smooth:exp|"
    )
    assert gold_by_text(make(folder, src="de", tgt="en")) == {de: en for en, de in PAIRS}


def test_blank_lines_are_left_out_without_moving_the_others(folder: Path) -> None:
    (folder / "dev.en").write_text("one\n\nthree\nfour\n", encoding="utf-8")
    (folder / "dev.de").write_text("eins\nzwei\n\nvier\n", encoding="utf-8")
    task = make(folder, eval_size=1)
    assert gold_by_text(task) == {"one": "eins", "three": None, "four": "vier"}


def test_a_fault_of_the_held_out_sentences_names_their_option(folder: Path, tmp_path: Path) -> None:
    (other := tmp_path / "other").mkdir()
    for name, text in (("a.en", "one\n"), ("a.de", "eins\nzwei\n")):
        (other / name).write_text(text)
    with pytest.raises(UserError, match=r"^eval_dataset: expected as many lines"):
        make(folder, eval_dataset=str(other))
    (other / "b.en").write_text("two\n")
    with pytest.raises(UserError, match=r"^eval_dataset: expected one file that ends in \.en"):
        make(folder, eval_dataset=str(other))


def test_no_references_no_evaluation(folder: Path) -> None:
    task = make(folder, tgt="fr")
    assert len(task.train) == 8 and list(task.held_out) == [] and "no metric can be given" in task.notes[-1]


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [{"en": f"{en}\n ", "de": de} for en, de in PAIRS]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert gold_by_text(make(path)) == dict(PAIRS)
    assert [p.gold for p in make(path, tgt="fr").train] == [None] * 8
    with pytest.raises(
        UserError, match=r"src: expected a column it or translation\.it in pairs\.jsonl, got en, de"
    ):
        make(path, src="it")


def test_the_layout_of_hugging_face_and_files_of_sentences(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [{"id": k, "translation": {"en": en, "de": de}} for k, (en, de) in enumerate(PAIRS)]
    path.write_text("\n".join(map(json.dumps, [*rows, {"translation": {"en": None}}])), encoding="utf-8")
    task = make(path)
    assert gold_by_text(task) == dict(PAIRS)
    assert task.notes[-1].startswith(
        "rows left out: 1, expected text in 'translation.en' (first: pairs.jsonl"
    )
    for end in ("txt", "en"):  # sentences without references
        file = tmp_path / f"alone.{end}"
        file.write_text("\n".join(en for en, _ in PAIRS), encoding="utf-8")
        assert gold_by_text(make(file)) == dict.fromkeys((en for en, _ in PAIRS))


def test_a_data_set_for_evaluation(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "eval.jsonl"
    path.write_text(
        json.dumps({"en": PAIRS[0][0], "de": "x"}) + "\n" + json.dumps({"en": "New."}), encoding="utf-8"
    )
    task = make(folder, eval_dataset=str(path))
    assert [p.id for p in task.held_out] == ["eval.jsonl:1"]
    assert {p.text for p in task.train} == {en for en, _ in PAIRS[1:]}
    with pytest.raises(UserError, match=r"eval_dataset: expected translations into 'fr' in .*, got none"):
        make(folder, eval_dataset=str(path), tgt="fr")


def test_what_cannot_be_used_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"dataset: expected a file that ends in \.it in .*, got none"):
        make(folder, src="it")
    with pytest.raises(UserError, match="tgt: expected another language than src, en, got en"):
        make(folder, tgt="en")
    with pytest.raises(UserError, match="dataset: expected --dataset PATH, which --task translation needs"):
        make(None)
    with pytest.raises(UserError, match="expected a file, got no such file"):
        make(folder / "train")
    with pytest.raises(UserError, match="eval_size: expected less than"):
        make(folder, eval_size=8)
    (folder / "test.en").write_text("one\n", encoding="utf-8")
    with pytest.raises(
        UserError,
        match=r"expected one file that ends in \.en in .*, or a name such as .*dev, got dev\.en, test\.en",
    ):
        make(folder)
    assert gold_by_text(make(folder / "dev")) == dict(PAIRS)
    (folder / "test.de").write_text("eins\nzwei\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"expected as many lines in test\.en as in test\.de, got 1 and 2"):
        make(folder / "test")
    (folder / "bad.en").write_bytes(b"good\n\xff\xfe\n")
    with pytest.raises(UserError, match=r"bad\.en, line 2: expected UTF-8, got an invalid byte at 1"):
        make(folder / "bad")


def test_prompts_name_the_languages(folder: Path) -> None:
    task = make(folder)
    problem = Problem("x", CAT)
    assert task.prompt(problem) == (
        f"Translate the following sentence from English to German. Write only the translation.\n\n{CAT}"
    )
    [dual] = task.duals(problem)
    assert dual == Dual(known="", unknown=CAT)
    back = task.dual_prompt(problem, dual, "Die {Katze}.")
    assert back == (
        "Translate the following sentence from German to English. Write only the translation.\n\n",
        "Die {Katze}.",
    )
    assert " from English to xx." in make(folder, tgt="xx").prompt(problem)
    assert {"nb", "zh", "vi"} < set(LANGUAGES)


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("Die Katze.", "Die Katze."),
        ("\n \n  Die Katze.  \n \n", "Die Katze."),
        ("Die Katze.\n(The cat sat on the mat.)", None),
        ("<think>The cat</think>\nDie Katze.", "Die Katze."),
        ("<think>Die Katze.", None),
        ("", None),
        (" \n\t\n", None),
        (CAT, None),
        (f"  {CAT.upper()}\nDie Katze.", None),
        ("The  cat sat on\u00a0the mat in the house.", None),
        (CAT[:-1], None),  # a dropped full stop makes no translation
    ],
)
def test_an_answer_is_one_line_and_no_copy(folder: Path, completion: str, answer: str | None) -> None:
    problem = Problem("x", CAT)
    assert make(folder, gates="lines, copy").answer(problem, completion) == answer


def test_without_gates_the_first_line_counts(folder: Path) -> None:
    task, problem = make(folder, gates="off"), Problem("x", CAT)
    assert task.answer(problem, f"\n{CAT}\nDie Katze.") == CAT and task.refusal(problem, CAT) is None
    assert [task.answer(problem, " \n"), task.refusal(problem, " \n")] == [None, "unreadable"]
    assert task.notes[2] == "gates: off"


def test_the_gates_of_a_run_stand_in_its_notes_and_wrong_ones_are_refused(folder: Path) -> None:
    task = make(folder, max_length_ratio=2.0)
    assert task.notes[2].startswith(
        "gates: lines, wrapper, apology, repetition, copy, disguise, length (at most 2 times"
    )
    assert "language (script; py3langid" in task.notes[2] or "pip install py3langid" in task.notes[2]
    problem = Problem("x", CAT)
    long = "Die Katze saß auf der Matte im Haus, und " + "niemand weiß, warum sie dort so lange saß. " * 2
    refused = [
        task.refusal(problem, text) for text in ("", "Die\nKatze", CAT, long, "Кошка сидела на коврике")
    ]
    assert refused == ["unreadable", "lines", "copy", "length", "language"]
    assert task.refusal(problem, "Die Katze saß auf der Matte im Haus.") is None
    with pytest.raises(UserError, match=r"gates: expected off, or any of lines, .*, got 'size'"):
        make(folder, gates="copy,size")
    with pytest.raises(UserError, match=r"max_length_ratio: expected at least 1, got 0\.5"):
        make(folder, max_length_ratio=0.5)


SWAPPED = CAT.replace("sat", "slept")


@pytest.mark.parametrize("metric", ["bleu", "chrf", "mean"])
def test_distance_is_one_minus_the_metric(folder: Path, metric: str) -> None:
    task = make(folder, translation_metric=metric)
    dual = Dual("", CAT)
    bleu = sacrebleu.sentence_bleu(SWAPPED, [CAT], use_effective_order=True).score / 100
    chrf = sacrebleu.sentence_chrf(SWAPPED, [CAT], word_order=2).score / 100
    expected = {"bleu": bleu, "chrf": chrf, "mean": (bleu + chrf) / 2}[metric]
    assert distance_of(task, dual, f"\n{SWAPPED}\nand more") == pytest.approx(1 - expected, abs=1e-12)
    assert 0.1 < expected < 0.9
    assert distance_of(task, dual, CAT) == 0.0
    assert distance_of(task, dual, "?") == 1.0
    assert distance_of(task, dual, "<think>" + CAT) is None


@pytest.mark.parametrize(
    ("language", "tokenizer"),
    [
        ("zh", "zh"),
        ("zh-CN", "zh"),
        ("zho_Hans", "zh"),
        ("ja", "char"),
        ("ko", "char"),
        ("th", "char"),
        ("de", "13a"),
    ],
)
def test_words_are_told_apart_where_they_are_not_spaced(folder: Path, language: str, tokenizer: str) -> None:
    assert bleu_tokenizer(language) == tokenizer
    (folder / f"x.{language}").write_text("我喜欢猫。\n我们走吧。\n", encoding="utf-8")
    task = make(folder / "x", src=language, tgt="en", translation_metric="bleu")
    distance = distance_of(task, Dual("", "我非常喜欢这只小猫。"), "我喜欢这只小猫。")
    truth = sacrebleu.sentence_bleu(
        "我喜欢这只小猫。", ["我非常喜欢这只小猫。"], tokenize=tokenizer, use_effective_order=True
    )
    assert distance == pytest.approx(1 - truth.score / 100, abs=1e-12)
    assert f"tok:{tokenizer}|" in task.notes[1]
    assert (distance < 0.5) == (tokenizer != "13a")


def test_score_and_evaluation_use_the_references(folder: Path) -> None:
    task = make(folder)
    problems = [Problem(str(k), en, de) for k, (en, de) in enumerate(PAIRS)]
    answers = [de for _, de in PAIRS[:4]] + [None] * 2 + [de.replace("hier", "dort") for _, de in PAIRS[6:]]
    outputs, references = [answer or "" for answer in answers], [[de for _, de in PAIRS]]
    metrics = task.evaluate(problems, answers)
    assert metrics["chrf"] == pytest.approx(sacrebleu.corpus_chrf(outputs, references, word_order=2).score)
    assert metrics["bleu"] == pytest.approx(sacrebleu.corpus_bleu(outputs, references).score)
    assert task.headline in metrics and 30 < metrics["chrf"] < 90
    assert task.evaluate(problems, [de for _, de in PAIRS]) == {"chrf": 100.0, "bleu": 100.0}
    assert task.evaluate(problems, [None] * 8) == {"chrf": 0.0, "bleu": 0.0}
    (folder / "x.ja").write_text("猫が好きです。\n行きましょう。\n", encoding="utf-8")
    (folder / "x.en").write_text("I like cats.\nLet us go.\n", encoding="utf-8")
    into_japanese = make(folder / "x", src="en", tgt="ja", eval_size=1)
    # A figure of characters is no paper's, and bears another name.
    problem = Problem("0", "I like cats.", "猫が好きです。")
    assert into_japanese.evaluate([problem], ["猫が好きです。"]) == {"chrf": 100.0, "bleu_char": 100.0}
    truth = sacrebleu.sentence_chrf(answers[6] or "", [PAIRS[6][1]], word_order=2).score / 100
    assert task.score(problems[6], answers[6]) == pytest.approx(truth)
    assert [task.score(problems[0], answer) for answer in (PAIRS[0][1], None, "?")] == [1.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="answers: expected 8 answers"):
        task.evaluate(problems, ["x"])


@pytest.fixture(scope="module")
def mean_task(tmp_path_factory: pytest.TempPathFactory) -> Translation:
    path = tmp_path_factory.mktemp("any")
    (path / "x.en").write_text("a\nb\n", encoding="utf-8")
    return make(path, translation_metric="mean")


METRIC = """
calls = []
def f(hypotheses, references, sources):
    calls.append((hypotheses, references, sources))
    return [len(h) / 10 for h in hypotheses]
def short(hypotheses, references, sources): return []
def high(hypotheses, references, sources): return [1.5] * len(hypotheses)
def nan(hypotheses, references, sources): return [float("nan")] * len(hypotheses)
def one(hypotheses, references, sources): return 0.5
def none(hypotheses, references, sources): return [None]
def leaving(hypotheses, references, sources): raise SystemExit(0)
def failing(hypotheses, references, sources):
    return {}["x"]
def greedy(hypotheses, references, sources):
    values = [len(h) / 10 for h in hypotheses]
    for texts in (hypotheses, references, sources):
        texts.clear()
    return values
"""


def test_a_metric_of_the_user_is_called_once_in_order(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "metric_of_mine.py").write_text(METRIC)
    monkeypatch.chdir(tmp_path)
    task = make(folder, translation_metric="metric_of_mine.f")
    assert task.notes[1] == "likeness of a back-translation: metric_of_mine.f"
    duals = [Dual("", text) for text in ("one", "two", "three")]
    distances = task.distances(duals, ["eins", "zwei", "drei"], [" ab\nmore", "<think>", "abcde"])
    assert distances == [0.8, None, 0.5]
    calls = importlib.import_module("metric_of_mine").calls
    assert calls == [(["ab", "abcde"], ["one", "three"], ["eins", "drei"])]
    assert task.distances(duals[:1], ["eins"], [""]) == [None] and len(calls) == 1
    changing = make(folder, translation_metric="metric_of_mine.greedy")
    assert changing.distances(duals, ["eins", "zwei", "drei"], [" ab", "<think>", "abcde"]) == distances
    for name, got in (
        ("short", " expected 1 numbers from 0 to 1, one a back-translation, got 0"),
        ("high", " expected 1 numbers from 0 to 1, .*, number 1 is 1.5"),
        ("nan", " expected .* number 1 is nan"),
        ("one", " expected .* got 0.5"),
        ("none", " expected .* number 1 is None"),
        ("failing", r" failed: KeyError: 'x' \(.*metric_of_mine.py, line 13\)"),
        ("leaving", " failed: SystemExit: 0 "),
    ):
        task = make(folder, translation_metric=f"metric_of_mine.{name}")
        with pytest.raises(UserError, match=f"metric_of_mine.{name}:?{got}"):
            task.distances(duals[:1], ["eins"], ["text"])


@pytest.mark.parametrize(
    ("path", "got"),
    [
        ("blue", "expected bleu, chrf, mean or package.module.function, got blue"),
        ("a b.f", "expected package.module.function, got 'a b.f'"),
        (
            "no_such_module.f",
            "expected a module to import, no_such_module, got ModuleNotFoundError: No module",
        ),
        ("broken.f", "expected a module to import, broken, got ZeroDivisionError: division by zero"),
        ("empty.f", "expected a function f in empty, got none of that name"),
        ("empty.g", "expected a function g in empty, got a int"),
    ],
)
def test_a_metric_that_cannot_be_imported(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, got: str
) -> None:
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "empty.py").write_text("g = 1")
    monkeypatch.chdir(tmp_path)
    if path == "empty.g":  # as `python -m` does
        monkeypatch.syspath_prepend(tmp_path)
    before = list(sys.path)
    with pytest.raises(UserError, match=f"^translation_metric: {re.escape(got)}") as error:
        make(folder, translation_metric=path)
    assert "\n" not in str(error.value) and sys.path == before


@given(source=st.text(), completion=st.text())
def test_any_text_has_a_distance(mean_task: Translation, source: str, completion: str) -> None:
    task = mean_task
    distance = distance_of(task, Dual("", source), completion)
    if read_back("an answer", completion, "en", paragraphs=False) is None:
        assert distance is None
    else:
        assert distance is not None and 0 <= distance <= 1
    answer, refusal = (f(Problem("x", source), completion) for f in (task.answer, task.refusal))
    assert (answer is None) == (refusal in {"unreadable", *GATES})
    assert answer is None or (answer == answer.strip() != "" and "\n" not in answer)


FLORES_DIRECTIONS = [
    pytest.param("en", "de", marks=pytest.mark.slow),
    pytest.param("zh", "th", marks=[pytest.mark.slow, pytest.mark.full]),
    pytest.param("ar", "ja", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("src", "tgt"), FLORES_DIRECTIONS)
def test_flores(data_dir: Path, src: str, tgt: str) -> None:
    task = make(data_dir / "flores_dev", src=src, tgt=tgt, eval_size=97, translation_metric="mean")
    assert [len(task.train), len(task.held_out)] == [900, 97]
    assert all(p.gold for p in [*task.train, *task.held_out])
    distances, refused = [], 0
    for problem, other in zip(task.train[::3], task.train[1::3], strict=True):
        [dual] = task.duals(problem)
        assert distance_of(task, dual, problem.text) == 0.0
        assert task.answer(problem, problem.text) is None
        assert task.refusal(problem, problem.text) == "copy"
        refused += task.answer(problem, problem.gold or "") != problem.gold
        distances.append(distance_of(task, dual, other.text))
    assert min(d for d in distances if d is not None) > 0.2
    assert refused <= 2  # a name of eight words, a sentence in quotes that its source lacks
    assert task.evaluate(task.held_out, [p.gold for p in task.held_out])["chrf"] == pytest.approx(100.0)
