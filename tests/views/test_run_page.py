"""The page of a run: every recorded value, whatever files there are, and text that stays text."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from dupo.errors import UserError
from dupo.report import main
from dupo.storage.run_folder import RunFolder
from dupo.views.run_page import write_report
from tests.helpers.pages import HOSTILE, SVG, Page, charts, hovers


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
        "loss": -0.5,
        "grad_norm": 1.5,
    }
    row |= {"completions/mean_length": 5.0, "frac_reward_zero_std": 0.25, "entropy": 0.125, "odd/metric": 3.0}
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


def chart(page: str, title: str) -> ET.Element:
    (svg,) = [svg for svg in charts(page) if svg.get("aria-label") == title]
    return svg


# --- the page ---


def test_page_tells_the_run(tmp_path: Path) -> None:
    path = write_report(full_run(tmp_path))
    assert path == tmp_path / "report.html"
    text = Page(path).text
    for expected in (
        *("arithmetic · reward dual · seed 3", "4 steps", "50.0% → 70.0%", "2000 problems", "72.5%"),
        *("0.938", "0.400", "141 s", "dupo:0.1.0|git:abc1234", "max_steps: 4"),
        *("back 17", "hidden 17", "distance 0.250", "reward 0.750", "advantage 0.500", "right", "wrong"),
    ):
        assert expected in text, expected


def test_curves_hold_the_recorded_values(tmp_path: Path) -> None:
    page = write_report(full_run(tmp_path)).read_text()
    assert hovers(chart(page, "Held-out evaluation")) == [
        "accuracy\n0: 0.5",
        "accuracy\n2: 0.6",
        "accuracy\n4: 0.7",
    ]
    reward = hovers(chart(page, "Reward and reconstruction"))
    assert reward[:4] == ["reward\n1: 0.1", "reward\n2: 0.2", "reward\n3: 0.3", "reward\n4: 0.4"]
    strokes = [
        p for p in chart(page, "Reward and reconstruction").iter(f"{SVG}path") if p.get("fill") == "none"
    ]
    assert [bool(p.get("stroke-dasharray")) for p in strokes] == [False, True]  # equal lines both show
    assert reward[4:] == [f"dual/reconstruct_rate\n{s}: {s / 20:g}" for s in (1, 2, 3, 4)]
    for title, value in (
        ("Loss", "loss\n1: -0.5"),
        ("Gradient norm", "grad_norm\n1: 1.5"),
        ("Completion length", "completions/mean_length\n1: 5"),
        ("Groups and completions that teach nothing", "frac_reward_zero_std\n1: 0.25"),
        ("Entropy", "entropy\n1: 0.125"),
        ("odd/metric", "odd/metric\n1: 3"),
    ):
        assert hovers(chart(page, title))[0] == value
    assert "KL to the starting model" not in page


def test_large_scores_do_not_flatten_shares(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "task: translation\n", overwrite=False)
    run.metrics({"step": 1, "reward": 0.5, "eval/bleu": 31.0, "eval/language_rate": 0.5})
    page = write_report(tmp_path).read_text()
    told = [hovers(svg) for svg in charts(page)]
    assert ["bleu\n1: 31"] in told
    assert ["language_rate\n1: 0.5"] in told


def test_a_lone_curve_is_named_beside_its_axis(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "task: translation\n", overwrite=False)
    run.metrics({"step": 1, "eval/bleu": 31.0, "eval/language_rate": 0.5, "eval/copies": 0.25})
    shares, scores = charts(write_report(tmp_path).read_text())
    assert [text.text for text in scores.iter(f"{SVG}text")][-1] == "bleu"
    assert [text.text for text in shares.iter(f"{SVG}text")][-1] == "score"  # the legend names its two lines


def test_a_reward_that_is_the_reconstruction_rate_is_drawn_once(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "task: arithmetic\n", overwrite=False)
    for step in (1, 2):
        run.metrics({"step": step, "reward": step / 4, "dual/reconstruct_rate": step / 4})
    page = write_report(tmp_path).read_text()
    assert [hovers(svg) for svg in charts(page)] == [["reward\n1: 0.25", "reward\n2: 0.5"]]


def test_held_out_problems_lead_and_the_rest_is_folded(tmp_path: Path) -> None:
    page = write_report(full_run(tmp_path)).read_text()
    before, folded = page.split("<details>")
    titles = [svg.get("aria-label") for svg in charts(before)]
    assert titles[:3] == ["Held-out evaluation", "Reward and reconstruction", "Loss"]
    assert [svg.get("aria-label") for svg in charts(folded)] == ["odd/metric"]
    assert "1 other metrics" in folded


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
    run.metrics({"step": 1, "reward": 0.0, HOSTILE: 1.0})
    run.summary({"signature": HOSTILE, "headline": HOSTILE, "task": HOSTILE})
    path = write_report(tmp_path)
    page = Page(path)
    assert not page.names() & {"script", "img", "link", "iframe", "object"}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert page.open == []
    seen = HOSTILE.replace("\x00", "\\x00").replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
    seen = seen.replace("\ufffe", "\\ufffe").replace("\ud800", "\\ud800")
    # title, h1, signature, headline figure, prompt, completion, answer, three of the dual: each at least once
    assert page.text.count(seen) >= 10
    for svg in re.findall(r"<svg.*?</svg>", path.read_text(), re.S):
        ET.fromstring(svg)


def test_page_opens_without_network_or_script(tmp_path: Path) -> None:
    path = write_report(full_run(tmp_path))
    page = Page(path)
    assert "script" not in page.names()
    assert not [tag for tag in page.tags if {"src", "href"} & tag[1].keys()]
    text = path.read_text()
    assert "url(" not in text and "@import" not in text
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "prefers-color-scheme:dark" in text
    assert ("meta", {"name": "viewport", "content": "width=device-width,initial-scale=1"}) in page.tags


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
