"""The audit as a program, with policies and duals whose quality is known: what it says of each."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dupo.audit import main as audit_door
from dupo.config.command_line import parse
from dupo.config.layers import read_config
from dupo.duality.reconstruct import Ask
from dupo.engines.load import load_engine
from dupo.evaluation.statistics import pair_order
from dupo.rerank import main as rerank_door
from dupo.run.rows import LoadEngine
from dupo.select import main as select_door
from dupo.tasks.arithmetic import Arithmetic
from dupo.tasks.word_problems import WordProblems
from dupo.trust.audit import PAGE, RESULT, ROWS, audit
from dupo.views.audit_page import roc_curve, write_page
from dupo.views.folder_page import write_folder_page
from tests.helpers.left_rows import leave, whole_batches
from tests.helpers.pages import HOSTILE, Page
from tests.helpers.worlds import rows, said, save_tiny
from tests.trust.fakes import fake, solve, start, write_jsonl

SMALL = "--num_threads 1 --num_generations 4 --generation_batch_size 64 --num_problems 40"


def run(load: LoadEngine, out: Path, *options: str, code: int = 0) -> dict[str, Any]:
    """Audits, and returns what audit.json holds."""
    start("audit", audit, load, out, *SMALL.split(), *options, code=code)
    return result(out) if code == 0 else {}


def result(out: Path) -> dict[str, Any]:
    def odd(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads((out / RESULT).read_text(), parse_constant=odd)


def check_page(out: Path) -> Page:
    """Well-formed, from this machine alone, and every picture drawn of finite numbers."""
    page = Page(out / PAGE)
    page.check_is_closed()
    return page


def noise(prompts):
    rng = random.Random(len(prompts))
    return [[said(f"{rng.randrange(1000):03}")] for _ in prompts]


# --- the verdict on duals that are known ---


def test_a_perfect_dual_is_one_to_train_on(tmp_path, capfd):
    report = run(fake(solve), tmp_path / "run")
    metrics = report["metrics"]
    assert report["verdict"] == "train" and all(check["passed"] for check in report["checks"])
    for name in ("reward_auc", "reward_accuracy", "dual_on_gold", "signal"):
        assert metrics[name] == pytest.approx(1), name
    assert metrics["agreement"]["mean"] == metrics["agreement"]["high"] == 1
    assert 0.5 < metrics["agreement"]["low"] < 1  # of 40 problems nobody knows the next
    assert (metrics["dual_on_wrong"], metrics["leak/no_answer"], metrics["leak/decoy"]) == (0, 0, 0)
    data = rows(tmp_path / "run", ROWS)
    config = read_config(tmp_path / "run/config.yaml", "audit")
    problems = Arithmetic(config.task, config.run.seed).problems[:40]
    assert [row["problem"] for row in data] == [p.id for p in problems]
    for row in data:
        assert row["rewards"] == row["quality"] == [float(a == row["gold"]) for a in row["answers"]]
        assert row["refused"] == {"unreadable": row["answers"].count(None)} or None not in row["answers"]
        assert [d["gold"] for d in row["duals"]] == [1, 1]
        different = {a for a in row["answers"] if a is not None}
        assert all(set(d["solved"]) == different for d in row["duals"])
        assert all(d["decoys"] and not different & set(d["decoys"]) for d in row["duals"])
    answers = [a for row in data for a in row["answers"]]
    assert metrics["accuracy"] == sum(sum(row["quality"]) for row in data) / 160
    assert metrics["readable"] == 1 - answers.count(None) / 160
    assert "VERDICT: train\n" in "".join(capfd.readouterr())
    page = (tmp_path / "run" / PAGE).read_bytes()
    assert write_folder_page(tmp_path / "run").read_bytes() == page  # `dupo report` makes the same page
    text = check_page(tmp_path / "run").text
    assert "Verdict: train" in text and "Rewards of right answers and wrong answers" in text
    pairs = metrics["readable_agreement_pairs"]
    assert f"{pairs} pairs of readable answers" in text and "160 completions" in text
    assert f"of {metrics['trials_on_wrong']} trials, recovered from wrong answers" in text
    assert f"of {metrics['readable_compared']} completions" in text


@pytest.mark.parametrize("right", [0.4, 0.0], ids=["partly right", "all wrong"])
def test_a_dual_of_noise_is_to_be_put_right_first(right, tmp_path):
    report = run(fake(noise, right=right, read=1.0), tmp_path / "run")
    assert report["verdict"].startswith("fix this first: the dual cannot answer")
    assert report["metrics"]["dual_on_gold"] < 0.05
    assert "fix this first" in check_page(tmp_path / "run").text


def test_answers_that_are_all_wrong_leave_nothing_to_learn_from(tmp_path):
    report = run(fake(solve, right=0.0, read=1.0), tmp_path / "run")
    assert "all get the same reward" in report["verdict"]
    assert report["metrics"]["dual_on_gold"] == 1 and report["metrics"]["agreement"] is None
    text = check_page(tmp_path / "run").text
    assert "none" in text and "0 pairs of readable answers" in text and "0.500" not in text


def test_answers_that_cannot_be_read_are_named(tmp_path):
    report = run(fake(solve, right=0.03, read=0.0), tmp_path / "run")
    assert report["verdict"].startswith("fix this first: answers cannot be read")
    assert report["metrics"]["refused"] == {"unreadable": 1 - report["metrics"]["readable"]}


def knowing(when: Callable[[str], bool]) -> Ask:
    """A dual that knows the hidden part by heart where `when(answer)`, and else works it out."""
    task = Arithmetic(parse([]).task, 0)
    hidden = {dual.known: dual.unknown for p in task.problems[:40] for dual in task.duals(p)}
    return lambda prompts: [[said(hidden[p[0]])] if when(p[1]) else solve([p])[0] for p in prompts]


def test_a_dual_that_is_solved_with_no_answer_is_a_leak(tmp_path):
    report = run(fake(knowing(lambda answer: answer == "")), tmp_path / "run")
    assert report["verdict"].startswith("fix this first: duals are solved without the answer")
    assert "duals solved with no answer 1.00 of 80 duals, at most 0.10 needed" in report["verdict"]
    assert report["metrics"]["outcomes"] == {"solved without an answer": 80}
    assert report["metrics"]["leak/decoy"] == 0


def test_a_dual_that_is_solved_whatever_the_answer_leaks_with_decoys_too(tmp_path):
    load = fake(knowing(lambda answer: answer != ""))
    report = run(load, tmp_path / "run")
    assert "duals solved with a decoy 1.00" in report["verdict"]
    assert run(load, tmp_path / "none", "--num_decoys", "0")["metrics"]["leak/decoy"] is None


@pytest.mark.slow
def test_a_decoy_that_happens_to_be_right_is_no_leak(tmp_path, monkeypatch):
    """Decoys are answers to other problems; here all problems have one answer, which is sampled for some."""

    def ask(prompts):
        return [[said("\\boxed{5}" if "{8}" in "".join(p) else "?")] for p in prompts]

    lines = [{"question": f"Ann, {name}, has 5 pens and 3 hats.", "answer": 8} for name in "abcdefgh"]

    def sampled(task, problem, text):
        return "8" if int(problem.id[-1]) % 2 else "9"

    monkeypatch.setattr(WordProblems, "answer", sampled)
    file = write_jsonl(tmp_path / "same.jsonl", *lines)
    options = ["--task", "word_problems", "--dataset", file, "--duals_per_prompt", "1"]
    report = run(fake(ask), tmp_path / "run", *options)
    assert report["metrics"]["dual_on_gold"] > 0 and report["metrics"]["leak/decoy"] == 0
    decoys = [d["decoys"] for row in rows(tmp_path / "run", ROWS) for d in row["duals"]]
    assert all("8" not in tried for tried in decoys) and any(decoys)


# --- other rewards ---


def unasked(prompts):
    raise AssertionError("no reward here needs a dual")


@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        ("majority", "train"),
        ("gold", "train"),
        ("gold,majority", "train"),
        ("random", "the reward does not tell better from worse"),
        ("format_only", "the reward does not tell better from worse"),
    ],
)
def test_rewards_without_duals(reward, expected, tmp_path):
    load = fake(unasked, right=0.5, read=1.0)
    report = run(load, tmp_path / "run", "--reward", reward, "--num_generations", "8")
    assert expected in report["verdict"] and report["reward"] == reward
    assert "dual" not in " ".join(check["name"] for check in report["checks"])
    assert "none" in check_page(tmp_path / "run").text  # in the column of duals


def test_shuffled_rewards_say_nothing_of_the_answers(tmp_path):
    report = run(fake(solve), tmp_path / "run", "--reward", "shuffled")
    assert "the reward does not tell better from worse" in report["verdict"]
    assert report["metrics"]["reward_auc"] == pytest.approx(0.5, abs=0.15)


def test_the_same_duals_are_not_asked_twice(tmp_path):
    seen = []

    def ask(prompts):
        seen.extend(prompts)
        return solve(prompts)

    run(fake(ask), tmp_path / "run", "--reward", "dual,shuffled")
    assert len(seen) == len(set(seen)) > 40 * 2 * 3


# --- data of one's own ---

SUMS = [{"question": f"Ann has {n} pens, buys {n + 31}. How many?", "answer": 2 * n + 31} for n in range(30)]


def boxed(prompts):
    return [[said("\\boxed{1}")] for _ in prompts]


def test_a_few_dozen_problems_are_enough(tmp_path):
    """Fewer than the held-out problems of a training run."""
    load = fake(boxed)
    file = write_jsonl(tmp_path / "few.jsonl", *SUMS)
    common = ["--task", "word_problems", "--dataset", file]
    assert run(load, tmp_path / "run", *common)["metrics"]["problems"] == 30
    apart = write_jsonl(tmp_path / "apart.jsonl", *SUMS[:7])
    report = run(load, tmp_path / "apart", *common, "--eval_dataset", apart)
    assert report["metrics"]["with_gold"] == report["metrics"]["problems"] == 7


def test_without_right_answers_it_says_so(tmp_path, capfd):
    load = fake(boxed)
    blind = [{"question": problem["question"]} for problem in SUMS]
    file = write_jsonl(tmp_path / "blind.jsonl", *blind)
    report = run(load, tmp_path / "run", "--task", "word_problems", "--dataset", file)
    assert report["metrics"]["with_gold"] == 0 and report["metrics"]["reward_auc"] is None
    assert "no right answers: whether the reward follows quality was not measured" in capfd.readouterr()[0]
    assert "Rewards" in check_page(tmp_path / "run").text


@pytest.mark.slow
def test_hostile_text_stays_text(tmp_path, monkeypatch):
    text = HOSTILE.replace("\ud800", "")  # neither a data set nor a tokenizer gives half a character
    monkeypatch.setattr(WordProblems, "answer", lambda task, problem, completion: f"{completion} {text}")
    lines = [{"question": f"{text} has {n} pens and {n + 3} hats.", "answer": n} for n in range(5, 9)]
    file = write_jsonl(tmp_path / "hostile.jsonl", *lines)
    run(fake(boxed), tmp_path / "run", "--task", "word_problems", "--dataset", file)
    page = check_page(tmp_path / "run")
    assert page.text.count("<script>alert(1)</script>") >= 8  # of every question and its answers
    # every text of a row by itself, whichever task may write it
    data, report = rows(tmp_path / "run", ROWS)[:1], result(tmp_path / "run")
    dual = data[0]["duals"][0] | dict.fromkeys(("known", "unknown", "outcome"), HOSTILE)
    data[0] |= {"text": HOSTILE, "gold": HOSTILE, "answers": [HOSTILE] * 4, "duals": [dual]}
    report["metrics"] |= {"refused": {HOSTILE: 0.5}, "outcomes": {HOSTILE: 1}}
    report |= {"verdict": HOSTILE, "signature": HOSTILE}
    config = parse([]).changed(model_name_or_path=HOSTILE[:-1].replace("\0", ""))
    write_page(tmp_path / "run" / PAGE, config, report, data, one_answer=True)
    page = check_page(tmp_path / "run")
    assert page.text.count("<script>alert(1)</script>") >= 12


def test_the_page_calls_gold_a_reference_where_answers_are_better_or_worse(tmp_path):
    report = run(fake(solve, right=0.5), tmp_path / "run")
    target = tmp_path / "run" / PAGE
    # The settings below have options of that name.
    shown = re.sub(r'<pre class="card">.*?</pre>', "", target.read_text(), flags=re.DOTALL)
    assert "<dt>right</dt>" in shown and "recovered from right answers" in shown
    assert "right answers taken" in shown and "reference" not in shown
    data = rows(tmp_path / "run", ROWS)
    write_page(target, parse([]), report, data, one_answer=False)
    styles = {
        "train": "right",
        "train, as far as can be told without right answers": "",
        "fix this first: all": "wrong",
    }
    for verdict, style in styles.items():
        write_page(target, parse([]), report | {"verdict": verdict}, data, one_answer=True)
        assert f'<p class="verdict {style}">Verdict: {verdict}</p>' in target.read_text()
        # What to type next stands where the verdict is to train.
        assert ("dupo.train" in target.read_text()) == verdict.startswith("train")
    write_page(target, parse([]), report, data, one_answer=False)
    shown = check_page(tmp_path / "run").text
    assert "recovered from references" in shown and "answers of quality 0.5 or more taken" in shown
    shown = target.read_text()
    assert "<dt>reference</dt>" in shown
    told = check_page(tmp_path / "run").text.partition("What the words mean")[0]
    assert not any(text in told for text in ("from right answers", "wrong answers"))


def test_the_curve_has_the_area_that_is_printed():
    rng = np.random.default_rng(0)
    right, wrong = rng.integers(0, 4, 30) / 3, rng.integers(0, 3, 50) / 3
    curve, chance = roc_curve(right, wrong)
    area = np.trapezoid(np.asarray(curve.ys, float), curve.xs)
    assert area == pytest.approx(pair_order([*right, *wrong], [1] * 30 + [0] * 50).share)
    assert chance.xs == chance.ys == curve.xs and (chance.xs[0], chance.xs[-1]) == (0, 1)


# --- again, on from where it stopped, or not at all ---


@pytest.mark.slow
def test_an_audit_that_was_killed_goes_on_to_the_same_bytes(tmp_path):
    load, out = fake(solve), tmp_path / "run"
    metrics = run(load, out)["metrics"]
    data = (out / ROWS).read_bytes()  # batches of 16, 16 and 8 problems
    lines = data.splitlines(keepends=True)
    for content in (
        b"",
        b"".join(lines[:16]),
        b"".join(lines[:20]),
        b"".join(lines[:33]) + lines[33][:99],
        data,
    ):
        leave(out / ROWS, content, whole_batches(content, 16, 40))
        (out / RESULT).unlink()
        (out / PAGE).unlink()
        assert run(load, out)["metrics"] == metrics
        assert (out / ROWS).read_bytes() == data
        check_page(out)


def test_other_settings_are_refused_in_one_line(tmp_path, capfd):
    load = fake(solve)
    run(load, tmp_path / "run")
    capfd.readouterr()
    run(load, tmp_path / "run", "--reward", "majority", code=2)
    line = capfd.readouterr().err
    assert line.startswith("error: ") and line.count("\n") == 1
    assert "reward is majority, the run was started with dual" in line
    report = run(load, tmp_path / "run", "--reward", "majority", "--overwrite_output_dir")
    assert report["reward"] == "majority"


# --- the real thing ---


def test_random_weights_are_found_out(tmp_path):
    model = ["--model_name_or_path", str(save_tiny(tmp_path / "untrained"))]
    report = run(load_engine, tmp_path / "run", *model)
    # Random weights seldom write an end token: what is cut comes first, and the dual is not blamed.
    assert report["verdict"].startswith("fix this first: completions are cut at the limit")
    assert report["metrics"]["truncated"] > 0.5 and report["checks"][0]["passed"] is False
    assert report["metrics"]["accuracy"] < 0.05 and report["metrics"]["dual_on_gold"] < 0.05
    again = run(load_engine, tmp_path / "again", *model)
    assert again["metrics"] == report["metrics"]
    assert (tmp_path / "run" / ROWS).read_bytes() == (tmp_path / "again" / ROWS).read_bytes()


REAL = {
    "gsm8k": ["--task", "word_problems", "--dataset", "gsm8k/train.jsonl"],
    "flores": ["--task", "translation", "--src", "en", "--tgt", "de", "--dataset", "flores_dev"],
}


@pytest.mark.slow  # 26 s
@pytest.mark.full
@pytest.mark.parametrize("name", REAL)
def test_real_text_with_random_weights(name, data_dir, tmp_path):
    """From files to metrics: a model that knows nothing is told so."""
    *options, dataset = REAL[name]
    common = [*SMALL.split(), *options, str(data_dir / dataset), "--model_name_or_path", "tiny"]
    common += ["--max_completion_length", "16", "--num_problems", "8"]
    small = ["--pool_sizes", "4,2"]
    assert select_door([*common, *small, "--output_dir", str(tmp_path / "select")]) == 0
    assert rerank_door([*common, "--output_dir", str(tmp_path / "rerank")]) == 0
    assert audit_door([*common, "--output_dir", str(tmp_path / "audit")]) == 0
    chosen, ranked = (json.loads((tmp_path / n / "summary.json").read_text()) for n in ("select", "rerank"))
    assert chosen["problems"] == ranked["problems"] == ranked["with_gold"] == 8
    assert chosen["kept_duals"] <= 2
    assert max(method["score"] for method in ranked["methods"]) < 0.15
    metrics = result(tmp_path / "audit")["metrics"]
    assert max(metrics["accuracy"], metrics["dual_on_gold"], metrics["reward"]) < 0.15
    # Random weights seldom write an end token, and no dual can be judged by answers that were cut off.
    advice = "fix this first: completions are cut at the limit"
    assert result(tmp_path / "audit")["verdict"].startswith(advice)
    check_page(tmp_path / "audit")
