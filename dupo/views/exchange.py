"""One sampled exchange: a problem, its answer, and the duals that try to recover the hidden part.

samples.jsonl holds one row per exchange. The terminal and the page of a run show the same record.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dupo.views.lenient import mappings, number_or_none, text_or_none


@dataclass(frozen=True)
class DualExchangeRow:
    """A dual question and its completion.

    Attributes:
        hidden: the part of the problem that the dual asks for.
        distance: between the hidden part and the part that came back, in [0, 1]; None: not measured.
        plain: question and completion as people write them; None: they stand so already.
    """

    prompt: str
    completion: str
    hidden: str
    distance: float | None
    plain: str | None


@dataclass(frozen=True)
class ExchangeRow:
    """One row of samples.jsonl; whatever the row lacks is None or empty.

    Attributes:
        step: number of the first optimizer step on the rollout; of a held-out exchange, steps done.
        answer: read from the completion; None: no answer could be read.
        gold: the right answer, where the task knows one.
        correct: whether the answer is right; None: unknown, or not to be said.
        score: quality of the answer against gold, in [0, 1]; None: unknown.
        advantage: of the completion; None in an evaluation.
        held_out: whether the problem is one of evaluation, which training never sees.
        plain: problem and answer as people write them; None: they stand so already.
        plain_gold: problem and right answer likewise.
    """

    step: float | None
    problem: str | None
    prompt: str
    completion: str
    answer: str | None
    gold: str | None
    correct: bool | None
    score: float | None
    reward: float | None
    advantage: float | None
    held_out: bool
    plain: str | None
    plain_gold: str | None
    duals: tuple[DualExchangeRow, ...]


def read_exchange(row: Mapping[str, Any]) -> ExchangeRow:
    """Reads one row of samples.jsonl."""
    # A task without a right answer writes null; anything but true and false is as good as unknown.
    correct = row.get("correct")
    return ExchangeRow(
        # Rows of other versions may lack any key, so none is taken for granted.
        step=number_or_none(row.get("step")),
        problem=text_or_none(row.get("problem")),
        prompt=text_or_none(row.get("prompt")) or "",
        completion=text_or_none(row.get("completion")) or "",
        answer=text_or_none(row.get("answer")),
        gold=text_or_none(row.get("gold")),
        correct=correct if isinstance(correct, bool) else None,
        score=number_or_none(row.get("score")),
        reward=number_or_none(row.get("reward")),
        advantage=number_or_none(row.get("advantage")),
        held_out=row.get("held_out") is True,
        plain=text_or_none(row.get("plain")),
        plain_gold=text_or_none(row.get("plain_gold")),
        duals=tuple(read_dual(dual) for dual in mappings(row.get("duals"))),
    )


def read_dual(row: Mapping[str, Any]) -> DualExchangeRow:
    """Reads one dual of a row."""
    return DualExchangeRow(
        prompt=text_or_none(row.get("prompt")) or "",
        completion=text_or_none(row.get("completion")) or "",
        # The files say "unknown", as the paper does: the part of the problem that the dual must recover.
        hidden=text_or_none(row.get("unknown")) or "",
        distance=number_or_none(row.get("distance")),
        plain=text_or_none(row.get("plain")),
    )


def judgement(exchange: ExchangeRow) -> str:
    """Says in words how good the answer is: right or wrong, or its score where it is neither."""
    if exchange.correct is not None:
        return "right" if exchange.correct else "wrong"
    if exchange.score is not None:
        return f"score {exchange.score:.2f} of 1"
    return "gold unknown" if exchange.gold is None else "not judged"


def exchange_of(row: Mapping[str, Any]) -> tuple[str, list[tuple[str, str]]]:
    """Returns title and lines of one row of samples.jsonl, as `Display.exchange` takes them."""
    exchange = read_exchange(row)
    judged = judgement(exchange)
    # Gold stands beside the answer, so a reader sees at once why an answer was judged wrong. Where answers
    # are better or worse, gold is one good answer of many.
    kind = "reference" if exchange.correct is None else "gold"
    remark = judged if exchange.gold is None else f"{judged}; {kind}: {exchange.gold}"
    answer = "none could be read" if exchange.answer is None else f"{exchange.answer} ({remark})"
    lines = [("problem", exchange.prompt), ("completion", exchange.completion), ("answer", answer)]
    lines += [("in plain", plain_sum(exchange))] if exchange.plain else []
    for dual in exchange.duals:
        lines += [
            ("dual", dual.prompt),
            ("came back", dual.completion),
            *([("in plain", dual.plain)] if dual.plain else []),
            ("was hidden", f"{dual.hidden} (distance {_decimal(dual.distance)})"),
        ]
    # A held-out problem has a reward from its duals alone, and a group of one answer may not be judged.
    unasked = exchange.reward is None and not exchange.duals
    lines.append(("reward", "none, as no dual was asked" if unasked else _decimal(exchange.reward)))
    # Right answers are shown of held-out problems alone, and training reads none of these.
    kind = "held out · " if exchange.held_out else ""
    return f"step {exchange.step} · {kind}{exchange.problem} · {judged}", lines


def plain_sum(exchange: ExchangeRow) -> str:
    """Problem and answer as people write them, with the right answer beside a wrong one."""
    right = f" (right: {exchange.plain_gold})" if exchange.correct is False and exchange.plain_gold else ""
    return f"{exchange.plain}{right}"


def _decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
