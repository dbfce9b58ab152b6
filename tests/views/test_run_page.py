"""The page of a run: every recorded value, whatever files there are, and text that stays text."""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from dupo.config.command_line import parse
from dupo.config.yaml_files import to_yaml
from dupo.errors import UserError
from dupo.report import main
from dupo.storage.run_folder import RunFolder
from dupo.views.references import references
from dupo.views.run_page import write_report
from tests.helpers.pages import HOSTILE, Page, points


def sample(step: int, number: int, correct: bool | None, **changes: Any) -> dict[str, Any]:
    dual = {"prompt": "? + 25 = 42", "completion": "back 17", "unknown": "hidden 17", "distance": 0.25}
    row = {"step": step, "problem": f"p{number}", "prompt": f"prompt-{step}-{number}", "completion": "c 42"}
    return {
        **row,
        "answer": "42",
        "reward": 0.75,
        "advantage": 0.5,
        "correct": correct,
        "duals": [dual],
        **changes,
    }


def metrics(step: int) -> dict[str, Any]:
    row = {
        "step": step,
        "reward": step / 10,
        "dual/reconstruct_rate": step / 20,
        "loss": -0.5 / step,
        "grad_norm": 1.5,
    }
    row |= {"completions/mean_length": step + 4.0, "frac_reward_zero_std": 0.25 * step, "entropy": 0.125}
    row |= {"odd/metric": 3.0 * step}
    return row | ({"eval/accuracy": 0.5 + step / 20} if step % 2 == 0 else {})


SUMMARY = {
    "eval/accuracy_before": 0.5,
    "eval/accuracy_after": 0.7,
    "eval/accuracy_peak": 0.725,
    "eval/problems": 2000,
    "reward_auc": 0.9375,
    "steps": 4,
    "seconds": 141.2,
    "seed": 3,
    "signature": "dupo:0.1.0|git:abc1234",
    "evals": [[0, {"accuracy": 0.5}], [2, {"accuracy": 0.6}], [4, {"accuracy": 0.7}]],
    "task": "arithmetic",
    "reward": "dual",
    "headline": "accuracy",
}


def full_run(path: Path) -> Path:
    run = RunFolder.create(path, "task: arithmetic\nreward: dual\nseed: 3\nmax_steps: 4\n", overwrite=False)
    for step in range(1, 5):
        run.metrics(metrics(step))
        run.samples([sample(step, 0, True), sample(step, 1, False)])
    run.summary(SUMMARY)
    return path


# --- the page ---


def test_page_tells_the_run(tmp_path: Path) -> None:
    path = write_report(full_run(tmp_path))
    assert path == tmp_path / "report.html"
    text = Page(path).text
    for expected in (
        "Held-out accuracy rose from 50.0% to 70.0%, on 2,000 problems that training never sees.",
        *("arithmetic · reward dual · seed 3", "4 steps", "50.0% → 70.0%", "2,000 problems", "72.5%"),
        *("0.938", "0.400", "141 s", "dupo:0.1.0|git:abc1234", "max_steps: 4"),
        *("back 17", "hidden 17", "distance 0.250", "reward 0.750", "advantage 0.500", "right", "wrong"),
    ):
        assert expected in text, expected


def test_one_auc_is_shown_that_of_readable_answers_where_there_is_one(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "task: arithmetic\nmax_steps: 4\n", overwrite=False)
    run.summary({**SUMMARY, "readable_reward_auc": 0.8125, "readable_reward_auc_pairs": 27})
    text = Page(write_report(tmp_path)).text
    assert "0.812" in text and "27 pairs of readable answers" in text
    assert "0.938" not in text and "all samples" not in text


def test_curves_hold_the_recorded_values(tmp_path: Path) -> None:
    page = Page(write_report(full_run(tmp_path)))
    assert page.chart("Held-out evaluation") == {"accuracy": {0: 0.5, 2: 0.6, 4: 0.7}}
    assert page.chart("Reward and reconstruction") == {
        "reward": {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4},
        "recovered by duals": {s: s / 20 for s in (1, 2, 3, 4)},
    }
    for title, name, values in (
        ("Loss", "loss", {1: -0.5, 2: -0.25, 3: -0.166667, 4: -0.125}),
        ("Completion length", "length", {1: 5, 2: 6, 3: 7, 4: 8}),
        (
            "Groups and completions that teach nothing",
            "groups of equal rewards",
            {1: 0.25, 2: 0.5, 3: 0.75, 4: 1},
        ),
        ("odd/metric", "odd/metric", {1: 3, 2: 6, 3: 9, 4: 12}),
    ):
        assert page.chart(title) == {name: values}
    assert "KL to the starting model" not in page.text
    # The same figures for who runs no script.
    assert "groups of equal rewards" in page.text and "-0.1667" in page.text


def test_what_never_changes_is_a_sentence(tmp_path: Path) -> None:
    page = Page(write_report(full_run(tmp_path)))
    assert "all values are equal: Entropy 0.125; Gradient norm 1.5." in " ".join(page.text.split())
    assert not [chart for chart in page.charts if chart["title"] in ("Entropy", "Gradient norm")]


def test_large_scores_do_not_flatten_shares(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "task: translation\n", overwrite=False)
    for step in (1, 2):
        run.metrics({"step": step, "reward": 0.5, "eval/bleu": 30.0 + step, "eval/language_rate": step / 4})
    told = [points(chart) for chart in Page(write_report(tmp_path)).charts]
    assert told == [{"language_rate": {1: 0.25, 2: 0.5}}, {"bleu": {1: 31.0, 2: 32.0}}]


def test_a_reward_that_is_the_reconstruction_rate_is_drawn_once(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "task: arithmetic\n", overwrite=False)
    for step in (1, 2):
        run.metrics({"step": step, "reward": step / 4, "dual/reconstruct_rate": step / 4})
    assert [points(chart) for chart in Page(write_report(tmp_path)).charts] == [{"reward": {1: 0.25, 2: 0.5}}]


def test_the_references_of_the_default_run_stand_beside_it(tmp_path: Path) -> None:
    config = parse([])
    run = RunFolder.create(tmp_path, to_yaml(config), overwrite=False)
    run.metrics({"step": 10, "eval/accuracy": 0.5}), run.metrics({"step": 20, "eval/accuracy": 0.75})
    page = Page(write_report(tmp_path))
    expected = {f"{r.reward} as reward, mean of {r.seeds} seeds": r for r in references(config)}
    assert len(expected) == 2
    drawn = page.chart("Held-out evaluation")
    assert drawn.pop("accuracy") == {10: 0.5, 20: 0.75}
    assert drawn == {name: dict(zip(r.steps, r.accuracies, strict=True)) for name, r in expected.items()}
    assert (
        f"{expected['gold as reward, mean of 5 seeds'].accuracies[-1]:.1%} with gold as reward" in page.text
    )


def test_held_out_problems_lead_and_the_rest_is_folded(tmp_path: Path) -> None:
    path = write_report(full_run(tmp_path))
    titles = [chart["title"] for chart in Page(path).charts]
    assert titles[:2] == ["Held-out evaluation", "Reward and reconstruction"] and titles[-1] == "odd/metric"
    before, folded = path.read_text().split('<details class="more">')
    assert "<h3>odd/metric</h3>" not in before and "1 other metric<" in folded


def test_rows_of_any_shape_give_a_page(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, "", overwrite=False)
    rows = [
        {"step": 1, "duals": 7, "correct": "yes", "reward": "high", "prompt": None, "advantage": True},
        {"step": 1, "duals": [None, {"distance": "far"}], "answer": 42, "completion": ["a"]},
        {"step": None},
    ]
    (tmp_path / "samples.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    page = Page(write_report(tmp_path))
    assert page.open == []
    assert page.text.count("gold unknown") == 2 and "distance –" in page.text


def test_first_and_last_step_right_and_wrong_are_shown(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "", overwrite=False)
    for step in (1, 2, 3):
        run.samples([sample(step, n, n != 9, reward=n / 16) for n in range(10)])
        run.samples([sample(step, 10, None)])
    text = Page(write_report(tmp_path)).text
    shown = re.findall(r"prompt-(\d)-(\d+)", text)
    # Of nine right ones: the least, the middle and the best rewarded.
    assert shown == [(step, n) for step in "13" for n in ("0", "4", "8", "9", "10")]


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, f"task: {json.dumps(HOSTILE)}\n# </pre><script>\n", overwrite=False)
    duals = [{"prompt": HOSTILE, "completion": HOSTILE, "unknown": HOSTILE, "distance": 1.0}]
    run.samples(
        [sample(1, 0, False, prompt=HOSTILE, completion=HOSTILE, answer=HOSTILE, problem="p", duals=duals)]
    )
    for step in (1, 2):
        run.metrics({"step": step, "reward": 0.0, HOSTILE: float(step)})
    run.summary({"signature": HOSTILE, "headline": HOSTILE, "task": HOSTILE})
    path = write_report(tmp_path)
    page = Page(path)
    page.check_is_closed()
    seen = HOSTILE.replace("\x00", "\\x00").replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
    seen = seen.replace("\ufffe", "\\ufffe").replace("\ud800", "\\ud800")
    # title, h1, signature, headline figure, prompt, completion, answer, three of the dual: each at least once
    assert page.text.count(seen) >= 10
    assert page.chart(seen) == {seen: {1: 1.0, 2: 2.0}}
    assert [name in path.read_text() for name in "\x00\x1b\u202e\ufffe"] == [False] * 4


def test_page_opens_without_network_and_runs_its_own_scripts_alone(tmp_path: Path) -> None:
    path = write_report(full_run(tmp_path))
    page = Page(path)
    page.check_is_closed()
    text = path.read_text()
    assert "url(" not in text and "@import" not in text
    outside = set(re.findall(r"https?://[^\"' )]+", text))
    # The banner of uPlot, and the name of the language of pictures.
    assert outside <= {"http://www.w3.org/2000/svg", "https://github.com/leeoniya/uPlot"}
    assert "prefers-color-scheme:dark" in text
    assert ("meta", {"name": "viewport", "content": "width=device-width,initial-scale=1"}) in page.tags
    (policy,) = [tag["content"] for _, tag in page.tags if "http-equiv" in tag]
    sums = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in page.scripts]
    allowed = " ".join(f"'sha256-{checksum}'" for checksum in sums)
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src {allowed}"


def test_every_subset_of_files_gives_a_page(tmp_path: Path) -> None:
    names = ("metrics.jsonl", "samples.jsonl", "summary.json")
    for mask in range(8):
        folder = full_run(tmp_path / str(mask))
        for index, name in enumerate(names):
            if not mask >> index & 1:
                (folder / name).unlink()
        page = Page(write_report(folder))
        assert page.open == []
        assert ("unfinished" in page.text) == (not mask & 4)
        assert ("prompt-4-1" in page.text) == bool(mask & 2)


def test_killed_run_reports_what_it_has(tmp_path: Path) -> None:
    folder = full_run(tmp_path)
    (folder / "summary.json").write_text('{"eval/accuracy_before": 0.')
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "rew')
    text = Page(write_report(folder)).text
    assert "unfinished: 4 of 4 steps are recorded" in text
    assert "60.0% → 70.0%" in text  # what the rows know: evaluations of steps 2 and 4


@pytest.mark.parametrize(
    "config", ["", "- 1\n", "a: [", "\x00\xff"], ids=["empty", "list", "broken", "binary"]
)
def test_unreadable_settings_are_shown_as_they_are(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.yaml").write_bytes(config.encode("latin-1"))
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "reward": "high", "loss": null}\n{"step": null}\n')
    page = Page(write_report(tmp_path))
    assert "unfinished: 1 of ? steps" in page.text


def test_rows_alone_are_a_run(tmp_path: Path) -> None:
    (full_run(tmp_path) / "config.yaml").unlink()
    assert "config.yaml is missing" in Page(write_report(tmp_path)).text


def test_command_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([str(full_run(tmp_path / "run"))]) == 0
    assert capfd.readouterr() == (f"{tmp_path}/run/report.html\n", "")
    (tmp_path / "run" / "metrics.jsonl").unlink()
    before = (tmp_path / "run" / "report.html").read_text()
    assert main([str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "report.html").read_text() != before
    capfd.readouterr()
    for arguments in ([str(tmp_path)], [str(tmp_path / "nowhere")], [], ["--what"], ["a", "b"]):
        assert main(arguments) == 2
        out, err = capfd.readouterr()
        assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--help"])
    assert "RUN_FOLDER" in capfd.readouterr().out
    with pytest.raises(UserError, match="is no run folder"):
        write_report(tmp_path)


def test_as_a_module(tmp_path: Path, run_python: Any) -> None:
    done = run_python("-m", "dupo.report", str(full_run(tmp_path)))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path}/report.html\n", "")


def test_a_problem_named_by_its_text_is_shown_once(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "", overwrite=False)
    run.samples([sample(1, 0, True, problem="17+25=", prompt="17+25=")])
    assert Page(write_report(tmp_path)).text.count("17+25=") == 1
