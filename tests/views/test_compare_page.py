"""The page of several runs: a line for each run in each chart, and what differs in their settings."""

import json
from pathlib import Path

import pytest

from dupo.errors import UserError
from dupo.report import main
from dupo.storage.run_folder import RunFolder
from dupo.views.compare_page import write_comparison
from dupo.views.run_record import read_run
from tests.helpers.pages import HOSTILE, Page

SUMMARY = {"eval/accuracy_before": 0.5, "eval/accuracy_after": 0.75, "eval/accuracy_peak": 0.8}
SUMMARY |= {"eval/problems": 2000, "seconds": 141.2, "headline": "accuracy"}
SUMMARY |= {"evals": [[0, {"accuracy": 0.5}], [4, {"accuracy": 0.75}]]}


def write_run(folder: Path, settings: str, *, finished: bool = True) -> Path:
    run = RunFolder.create(folder, f"task: arithmetic\nmax_steps: 8\n{settings}", overwrite=False)
    for step in (1, 2):
        run.metrics({"step": step, "reward": step / 4})
    if finished:
        (folder / "summary.json").write_text(json.dumps(SUMMARY))
    return folder


def test_each_run_has_a_row_and_a_line(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", "reward: dual\n")
    second = write_run(tmp_path / "second", "reward: gold\n", finished=False)
    page = write_comparison([first, second], tmp_path / "page.html")
    seen = Page(page)
    assert seen.open == [] and "2 runs compared" in seen.text
    assert "50.0% → 75.0%" in seen.text and "+25.0 points" in seen.text and "2,000" in seen.text
    assert "2 of 8, unfinished" in seen.text
    assert seen.chart("Held out: accuracy") == {"first": {0: 0.5, 4: 0.75}}
    assert seen.chart("Reward") == {run: {1: 0.25, 2: 0.5} for run in ("first", "second")}
    looks = [[line["look"] for line in chart["lines"]] for chart in seen.charts]
    assert looks == [[0], [0, 1]]  # a run looks the same in all charts


def test_settings_that_differ_are_listed_and_no_others(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "a", "reward: dual\noutput_dir: a\nseed: 1\n"),
        write_run(tmp_path / "b", "reward: gold\noutput_dir: b\nseed: 1\nbeta: 0.04\n"),
    ]
    text = Page(write_comparison(runs, tmp_path / "page.html")).text
    told = text[text.index("What differs") : text.index("What the words mean")]
    assert "reward" in told and "gold" in told and "beta" in told and "–" in told
    assert "seed" not in told and "output_dir" not in told
    equal = [write_run(tmp_path / name, "seed: 1\n") for name in "cd"]
    text = Page(write_comparison(equal, tmp_path / "page.html")).text
    assert "none" in text[text.index("What differs") : text.index("What the words mean")]


@pytest.mark.parametrize(
    ("settings", "seed", "rewards"),
    [
        (["reward: dual\nseed: 1\n", "reward: dual\nseed: 2\n"], False, False),
        (["reward: dual\nseed: 1\n", "reward: random\nseed: 1\n"], True, True),
        (["beta: 0\nreward: dual\n", "beta: 1\nreward: dual\n"], True, False),
        ([f"reward: {r}\nseed: {s}\n" for r in ("dual", "gold") for s in (1, 2)], False, True),
    ],
    ids=["seeds", "rewards", "options", "rewards and seeds"],
)
def test_the_page_warns_of_one_seed_and_of_rewards_that_differ(
    tmp_path: Path, settings: list[str], seed: bool, rewards: bool
) -> None:
    runs = [write_run(tmp_path / str(number), text) for number, text in enumerate(settings)]
    text = Page(write_comparison(runs, tmp_path / "page.html")).text
    assert ("A run is one seed" in text) is seed
    assert ("measure different things" in text) is rewards


def test_runs_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / place / "run", "seed: 1\n") for place in ("x", "y")]
    text = Page(write_comparison(runs, tmp_path / "page.html")).text
    assert all(str(run) in text for run in runs)


def test_text_of_a_run_stays_text(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", f"run_name: {json.dumps(HOSTILE)}\n")
    Page(write_comparison([run, write_run(tmp_path / "b", "")], tmp_path / "page.html")).check_is_closed()


def test_the_door_writes_one_page_for_several_runs(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(Path("a"), ""), write_run(Path("b"), "")
    assert main(["a", "b"]) == 0
    assert capsys.readouterr().out == "comparison.html\n" and Path("comparison.html").is_file()
    assert main(["a", "b", "--output", "two.html"]) == 0 and Path("two.html").is_file()
    assert main(["a"]) == 0 and Path("a/report.html").is_file()
    assert main(["a", "nowhere"]) == 2
    assert "nowhere is no run folder" in capsys.readouterr().err
    with pytest.raises(UserError):
        write_comparison([Path("nowhere")], Path("page.html"))


def test_a_run_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "reward: dual\n")
    with pytest.raises(UserError, match=r"expected different runs to compare, got .*run/\.\./run twice"):
        write_comparison([run, run / "../run"], tmp_path / "page.html")


@pytest.mark.parametrize(
    ("names", "output", "words"),
    [
        (["first"], "page.html", "output: expected several runs"),
        (["first", "second"], "first/metrics.jsonl", "output: expected a name that ends in .html"),
    ],
)
def test_the_page_is_written_over_nothing_else(
    names: list[str], output: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [write_run(tmp_path / name, "reward: dual\n") for name in names]
    rows = (runs[0] / "metrics.jsonl").read_bytes()
    assert main([*map(str, runs), "--output", str(tmp_path / output)]) == 2
    assert words in capsys.readouterr().err
    assert (runs[0] / "metrics.jsonl").read_bytes() == rows and not (tmp_path / "page.html").exists()


def test_a_run_that_was_made_longer_and_stopped_is_not_finished(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "reward: dual\n")
    (run / "summary.json").write_text(json.dumps(SUMMARY | {"steps": 1}))
    assert not read_run(run).finished
    (run / "summary.json").write_text(json.dumps(SUMMARY | {"steps": 2}))
    assert read_run(run).finished
