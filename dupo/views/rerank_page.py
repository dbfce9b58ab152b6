"""report.html of a rerank: what choosing by duals or rewards gives, and the best and the worst answers.

`rerank_record` reads the files; this file says what stands where, `templates/rerank.html` how it looks.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

from dupo.storage.files import read_mapping
from dupo.storage.names import ANSWERS, CONFIG, REPORT, SUMMARY
from dupo.views.charts import Chart, Series
from dupo.views.counts import counted
from dupo.views.finished import finished
from dupo.views.pages import write_html
from dupo.views.rerank_record import (
    AnsweredProblem,
    Mean,
    RerankRecord,
    best_and_worst,
    read_answer,
    read_rerank,
)
from dupo.views.run_page import Metric
from dupo.views.run_record import settings_text
from dupo.views.words import WORDS, words_of

_SHOWN, _DUALS_SHOWN, _CANDIDATES_SHOWN = 4, 4, 4
_WORDS_OF_DUALS, _WORDS = (
    ("recovered", "dual", "hidden", "distance"),
    ("votes", "majority", "greedy", "tokens"),
)
_WORDS_OF_GOLD = ("score", "gold", "mean@n", "pass@n", "interval")
_CHOICES = {"dual": "duals", "reward": "rewards"}


def write_answers(folder: Path) -> Path:
    """Writes report.html of a finished rerank and returns its path.

    Raises:
        UserError: the rerank is not finished, or one of its files is damaged.
    """
    with finished(folder, "a rerank", SUMMARY, ANSWERS) as (summary, rows):
        return _write(folder, read_rerank(summary), [read_answer(row) for row in rows])


def _write(folder: Path, record: RerankRecord, rows: Sequence[AnsweredProblem]) -> Path:
    settings = read_mapping(folder / CONFIG)
    charts = list(_charts(rows, record.chosen_by))
    chosen = best_and_worst(rows, _SHOWN, record.chosen_by)
    return write_html(
        folder / REPORT,
        "rerank.html",
        kind="rerank: better answers without training",
        title=f"{settings.get('task', 'answers')} · {settings.get('model_name_or_path', 'model')}",
        subtitle=f"{folder.resolve().name} · {counted(record.problems, 'problem')} · "
        f"{settings.get('num_generations', '?')} samples each · seed {settings.get('seed', '?')}",
        lead=list(_lead(record, rows)),
        metrics=list(_metrics(record)),
        ways=[(way, _bar(way.score)) for way in record.ways],
        with_gold=record.with_gold,
        points=points,
        interval=interval,
        chosen_by=record.chosen_by,
        choice=_CHOICES[record.chosen_by],
        chosen_minus=record.chosen_minus,
        charts=charts,
        ends=[
            (title, [row for kind, row in chosen if kind == title])
            for title in dict.fromkeys(kind for kind, _ in chosen)
        ],
        duals_shown=_DUALS_SHOWN,
        candidates_shown=_CANDIDATES_SHOWN,
        words=words_of(
            [
                *(_WORDS_OF_DUALS if record.chosen_by == "dual" else ()),
                *_WORDS,
                *(_WORDS_OF_GOLD if record.with_gold else ()),
            ]
        ),
        signature=record.signature,
        settings=settings_text(folder / CONFIG),
    )


def points(value: float, sign: str = "") -> str:
    """A share or a difference in points, as papers write it."""
    return f"{100 * value:{sign}.1f}"


def interval(mean: Mean, count: int, sign: str = "") -> str:
    """The interval in points; none of one problem, which says nothing of others."""
    return f"{points(mean.low, sign)} to {points(mean.high, sign)}" if count > 1 else "no interval"


def _lead(record: RerankRecord, rows: Sequence[AnsweredProblem]) -> Iterator[str]:
    """What the choice gives, in words."""
    scores = {way.key: way.score for way in record.ways}
    choice = _CHOICES[record.chosen_by]
    chosen, majority, greedy = (scores.get(key) for key in (record.chosen_by, "majority", "greedy"))
    if chosen and majority and greedy:
        yield (
            f"Choosing by {choice} scores {points(chosen.mean)} of 100 on "
            f"{counted(record.with_gold, 'problem')} (95% interval {interval(chosen, record.with_gold)}); "
            f"the majority of the same samples scores {points(majority.mean)}, one greedy answer "
            f"{points(greedy.mean)}."
        )
    changed = f"The {choice} chose another answer than the majority for {counted(record.changed, 'problem')}"
    judged = [
        row.quality[record.chosen_by] - row.quality["majority"]
        for row in rows
        if row.quality and row.answer != row.answers.get("majority")
    ]
    if judged:
        better, worse = sum(d > 0 for d in judged), sum(d < 0 for d in judged)
        changed += f": {better:,} became better, {worse:,} worse, {len(judged) - better - worse:,} neither"
    yield f"{changed}."
    if record.without_dual:
        yield f"{counted(record.without_dual, 'problem')} without a dual: the majority answers."
    if record.unanswered:
        yield f"{counted(record.unanswered, 'problem')} without an answer: no sample could be read."


def _metrics(record: RerankRecord) -> Iterator[Metric]:
    scores = {way.key: way.score for way in record.ways}
    of = f"of 100, {counted(record.with_gold, 'problem')}"
    if (chosen := scores.get(record.chosen_by)) and (majority := scores.get("majority")):
        name = f"majority → choice by {_CHOICES[record.chosen_by]}, score {of}"
        yield Metric(f"{points(majority.mean)} → {points(chosen.mean)}", name, WORDS["score"], main=True)
    for name, mean in record.chosen_minus.items():
        if name.startswith(("greedy", "majority@")):
            within = interval(mean, record.with_gold, "+")
            yield Metric(points(mean.mean, "+"), f"points over {name}, {within}", WORDS["interval"])
    if record.problems:
        share = f"{record.changed / record.problems:.0%}"
        yield Metric(share, f"other choice than the majority, of {counted(record.problems, 'problem')}")


def _bar(score: Mean | None) -> dict[str, str] | None:
    """Where a score and its interval stand on a bar from 0 to 100, in percent."""
    if score is None:
        return None
    low, high = 100 * score.low, 100 * score.high
    return {"mean": f"{100 * score.mean:.1f}%", "low": f"{low:.1f}%", "width": f"{high - low:.1f}%"}


def _charts(rows: Sequence[AnsweredProblem], chosen_by: str) -> Iterator[Chart]:
    """How right the answers are that the duals recover best, or the rewards like best."""
    choice = _CHOICES[chosen_by]
    compared = {chosen_by: f"the choice by {choice}", "majority": "majority", "greedy": "greedy"}
    judged = [row for row in rows if row.quality and row.score is not None]
    levels = sorted({row.score for row in judged if row.score is not None}, reverse=True)
    # Answers of equal score cannot be put in an order: a point for each level, and two make a line.
    if len(levels) < 2:
        return
    subsets = [[row for row in judged if row.score is not None and row.score >= level] for level in levels]
    xs = [100 * len(subset) / len(judged) for subset in subsets]
    lines = [
        Series(
            name, xs, [100 * fmean(row.quality[key] for row in subset if row.quality) for subset in subsets]
        )
        for key, name in compared.items()
    ]
    note = (
        f"score of 100 among the answers that the {choice} put first, of {counted(len(judged), 'problem')}; "
        "at the right end all are kept"
    )
    yield Chart(f"Can the {choice} tell which answers to trust?", note, "answers kept, %", lines)
