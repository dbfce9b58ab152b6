import json
import math
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from dupo.errors import UserError
from dupo.report import main
from dupo.storage.run_folder import RunFolder
from dupo.views.chart import Series, line_chart
from dupo.views.run_page import write_report

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>'\"&amp;\x00\x1b[31m\u202eabc\ufffe\ud800"
)


class Page(HTMLParser):
    """Tags, attributes and text of a page, as a browser would see them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.open = "", []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data

    def names(self) -> set[str]:
        return {name for name, _ in self.tags}


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
    row |= {"completions/mean_length": 5.0, "frac_reward_zero_std": 0.25, "entropy": 0.125, "odd/figure": 3.0}
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


def chart(svg_or_page: str, title: str) -> ET.Element:
    found = [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", svg_or_page, re.S)]
    (one,) = [svg for svg in found if svg.get("aria-label") == title]
    return one


def hovers(svg: ET.Element) -> list[str]:
    return [title.text or "" for title in svg.iter(f"{SVG}title")]


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
        ("odd/figure", "odd/figure\n1: 3"),
    ):
        assert hovers(chart(page, title))[0] == value
    assert "KL to the starting model" not in page


def test_large_scores_do_not_flatten_shares(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "task: translation\n", overwrite=False)
    run.metrics({"step": 1, "reward": 0.5, "eval/bleu": 31.0, "eval/language_rate": 0.5})
    page = write_report(tmp_path).read_text()
    found = [hovers(ET.fromstring(svg)) for svg in re.findall(r"<svg.*?</svg>", page, re.S)]
    assert ["bleu\n1: 31"] in found
    assert ["language_rate\n1: 0.5"] in found


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
    for kept in range(8):
        folder = full_run(tmp_path / str(kept))
        for index, name in enumerate(names):
            if not kept >> index & 1:
                (folder / name).unlink()
        page = Page(write_report(folder))
        assert page.open == []
        assert ("unfinished" in page.text) == (not kept & 4)
        assert ("prompt-4-1" in page.text) == bool(kept & 2)


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
    assert main(["--help"]) == 0
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


# --- charts ---


def draw(*series: Series, **options: Any) -> ET.Element:
    return ET.fromstring(line_chart(series, **{"title": "t", "x_label": "x", "y_label": "y", **options}))


def lines(svg: ET.Element) -> list[list[tuple[float, float]]]:
    paths = [path.get("d", "") for path in svg.iter(f"{SVG}path") if path.get("fill") == "none"]
    return [[tuple(map(float, corner.split())) for corner in path[1:].split("L")] for path in paths]  # type: ignore[misc]


def texts(svg: ET.Element) -> list[str]:
    return [text.text or "" for text in svg.iter(f"{SVG}text")]


def test_points_land_where_the_ticks_say() -> None:
    svg = draw(Series("a", [0, 5, 10], [0.0, 0.25, 1.0]), y_range=(0, 1), width=400, height=300)
    ((start, middle, end),) = lines(svg)
    at = {text.text: (float(text.get("x", 0)), float(text.get("y", 0))) for text in svg.iter(f"{SVG}text")}
    assert (start[0], end[0]) == (at["0"][0], at["10"][0])
    assert middle[0] == pytest.approx((start[0] + end[0]) / 2, abs=0.1)
    assert (start[1] - middle[1]) / (start[1] - end[1]) == pytest.approx(0.25, abs=0.01)
    assert at["0.2"][1] - 4 == pytest.approx(start[1] + 0.2 * (end[1] - start[1]), abs=0.11)
    assert 0 < end[1] < start[1] < 300


def test_a_gap_breaks_the_line_and_a_lone_point_is_a_dot() -> None:
    ys = [1.0, 2.0, None, 3.0, math.nan, 1.0, 2.0, math.inf, *[1.0] * 40]
    svg = draw(Series("a", list(range(48)), ys))
    assert [len(line) for line in lines(svg)] == [2, 2, 40]
    dots = [c for c in svg.iter(f"{SVG}circle") if c.get("fill") == "none"]
    assert len(dots) == 1
    assert "a\n3: 3" in hovers(svg)


@pytest.mark.parametrize(
    ("xs", "ys"),
    [
        ([], []),
        ([3], [1e-6]),
        ([1, 2], [4.2, 4.2]),
        ([1, 2], [0.0, 0.0]),
        ([1, 2], [None, math.nan]),
        ([5, 5], [1, 2]),
    ],
    ids=["nothing", "one", "constant", "zero", "gaps", "same-x"],
)
def test_degenerate_series_draw_finite_pictures(xs: list[float], ys: list[Any]) -> None:
    text = line_chart([Series("a", xs, ys)], title="t", x_label="x", y_label="y")
    assert "nan" not in text and "inf" not in text
    svg = ET.fromstring(text)
    drawn = [y for y in ys if y is not None and math.isfinite(y)]
    assert len([c for c in svg.iter(f"{SVG}circle") if c.get("fill") == "none"]) == len(drawn)
    for circle in svg.iter(f"{SVG}circle"):
        assert 0 < float(circle.get("cx", -1)) < 720 and 0 < float(circle.get("cy", -1)) < 360


def test_many_points_are_thinned_and_spikes_stay() -> None:
    ys: list[float] = [0.0, *(float((-1) ** x) for x in range(9_998)), 0.0]
    ys[4321], ys[8765] = 9.0, -9.0
    text = line_chart([Series("a", list(range(10_000)), ys)], title="t", x_label="x", y_label="y")
    (line,) = lines(ET.fromstring(text))
    assert 200 < len(line) <= 700 and len(text) < 60_000
    whole = lines(draw(Series("a", [0, 4321, 8765, 9999], [ys[i] for i in (0, 4321, 8765, 9999)])))[0]
    assert set(whole) <= set(line)  # both ends and both spikes, at the same pixels


def test_values_outside_the_range_stop_at_its_edge() -> None:
    (line,) = lines(draw(Series("a", [0, 1, 2], [0.0, 1.0, 50.0]), y_range=(0, 1)))
    assert line[1][1] == line[2][1]


def test_bands_surround_the_line_and_break_at_gaps() -> None:
    xs = [0, 1, 2, 3, 4]
    svg = draw(Series("a", xs, [1.0] * 5, band=([0, 0, None, 0, 0], [2, 2, 2, 2, 2])))
    bands = [p for p in svg.iter(f"{SVG}path") if p.get("fill-opacity")]
    assert len(bands) == 2
    edges = [tuple(map(float, c.split())) for c in bands[0].get("d", "")[1:-1].split("L")]
    height = lines(svg)[0][0][1]
    assert [y < height for _, y in edges] == [True, True, False, False]


def test_alone_it_has_a_ground_a_legend_and_colours_that_differ() -> None:
    svg = draw(Series("dual", [1, 2], [1, 2]), Series("gold", [1, 2], [2, 3], "#123456", dashed=True))
    ground = next(iter(svg))
    assert (ground.tag, ground.get("fill")) == (f"{SVG}rect", "#ffffff")
    assert {"dual", "gold", "t", "x", "y"} <= set(texts(svg))
    strokes = [p for p in svg.iter(f"{SVG}path") if p.get("fill") == "none"]
    assert [p.get("stroke") for p in strokes] == ["#0072b2", "#123456"]
    assert [p.get("stroke-dasharray") for p in strokes] == [None, "6 4"]
    assert not list(svg.iter(f"{SVG}style")) and not list(svg.iter(f"{SVG}script"))


def test_no_two_lines_look_alike() -> None:
    svg = draw(*(Series(str(n), [1, 2], [n, n + 1], dashed=n > 2) for n in range(10)))
    strokes = [p for p in svg.iter(f"{SVG}path") if p.get("fill") == "none"]
    looks = [(p.get("stroke"), p.get("stroke-dasharray")) for p in strokes]
    assert len(set(looks)) == 10 and [look[1] for look in looks] == [None] * 3 + ["6 4"] * 4 + ["2 3"] * 3


def test_long_legends_wrap_inside_the_picture() -> None:
    svg = draw(*(Series(f"an arm with a long name {n}", [1, 2], [n, n + 1]) for n in range(7)), width=460)
    entries = [text for text in svg.iter(f"{SVG}text") if (text.text or "").startswith("an arm")]
    assert len({text.get("y") for text in entries}) >= 4
    assert all(float(t.get("x", 0)) + 6.8 * len(t.text or "") < 460 for t in entries)
    assert max(float(text.get("y", 0)) for text in entries) < min(y for line in lines(svg) for _, y in line)


def test_short_runs_have_whole_steps_on_the_axis() -> None:
    labels = texts(draw(Series("a", [1, 2, 3], [0.1, 0.2, 0.3]), x_label="step"))
    assert {"1", "2", "3"} <= set(labels) and not {"1.5", "2.5"} & set(labels)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="low < high"):
        draw(Series("a", [1], [1]), y_range=(1, 1))
    with pytest.raises(ValueError, match=r"shorter|longer"):
        draw(Series("a", [1, 2], [1]))
