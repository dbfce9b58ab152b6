"""The rows that select, rerank and audit write, one row for each problem.

A program that continues reads its rows back, so every row turns into JSON and back without loss.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

from dupo.records import Dual, DualExchange
from dupo.trust.dual_filter import TRUSTED, Trial


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One dual of a problem: what was tried, and the outcome, one of `dual_filter.OUTCOMES`."""

    # Saved with the trial, because whoever reads the file may not know the options that decided.
    outcome: str
    trial: Trial

    @property
    def is_trusted(self) -> bool:
        """Whether the dual is kept."""
        return self.outcome in TRUSTED

    def to_json(self) -> dict[str, Any]:
        """The dual as part of a row; `gold` only where the right answer was tried."""
        # Without gold the key is missing, so that a selection does not look as if it had read labels.
        trial = self.trial
        row: dict[str, Any] = {
            "outcome": self.outcome,
            **asdict(trial.dual),
            "solved": dict(trial.solved),
            "no_answer": trial.no_answer,
            "decoys": dict(trial.decoys),
            "unread": trial.unread,
        }
        return row if trial.gold is None else {**row, "gold": trial.gold}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """What `to_json` gave."""
        dual = Dual(row["known"], row["unknown"], row["variable"])
        return cls(
            row["outcome"],
            Trial(dual, row["solved"], row["no_answer"], row["decoys"], row["unread"], row.get("gold")),
        )


@dataclass(frozen=True, slots=True)
class PassRow:
    """A row of pass-N.jsonl: how the duals of a problem fared in one pass of a selection.

    Attributes:
        problem: id of the problem.
        text: the problem.
        answers: the pool: different answer -> how many of the samples gave the answer.
        duals: one for each dual of the problem.
    """

    problem: str
    text: str
    answers: Mapping[str, int]
    duals: Sequence[TrialRow]

    def to_json(self) -> dict[str, Any]:
        """The row as pass-N.jsonl holds it."""
        return {
            "problem": self.problem,
            "text": self.text,
            "answers": dict(self.answers),
            "duals": [dual.to_json() for dual in self.duals],
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """What `to_json` gave."""
        duals = [TrialRow.from_json(dual) for dual in row["duals"]]
        return cls(row["problem"], row["text"], row["answers"], duals)


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A row of audit.jsonl: the sampled answers to a problem, their rewards, and how the duals fared.

    Attributes:
        problem: id of the problem.
        text: the problem.
        gold: the right answer; None where it is unknown.
        answers: one for each completion; None where none could be read.
        refused: reason -> how many completions have no answer for that reason.
        truncated: how many completions were cut at the limit of their length.
        rewards: one for each completion.
        quality: score in [0, 1] of each answer against gold; None without gold.
        duals: one for each dual of the problem; empty where the reward asks no duals.
        completion: text of the completion with the highest reward.
        plain: problem and right answer as people write them; None: they stand so already.
    """

    problem: str
    text: str
    gold: str | None
    answers: Sequence[str | None]
    refused: Mapping[str, int]
    truncated: int
    rewards: Sequence[float]
    quality: Sequence[float] | None
    duals: Sequence[TrialRow]
    completion: str
    plain: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The row as audit.jsonl holds it."""
        return {
            "problem": self.problem,
            "text": self.text,
            "gold": self.gold,
            "answers": list(self.answers),
            "refused": dict(self.refused),
            "truncated": self.truncated,
            "rewards": list(self.rewards),
            "quality": None if self.quality is None else list(self.quality),
            "duals": [dual.to_json() for dual in self.duals],
            "completion": self.completion,
            "plain": self.plain,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """What `to_json` gave."""
        # Fields and keys have the same names; only the duals are records of their own.
        return cls(**{**row, "duals": [TrialRow.from_json(dual) for dual in row["duals"]]})


class Candidate(NamedTuple):
    """One different answer to a problem.

    Attributes:
        votes: how many of the samples gave the answer.
        backward_rate: how well the question is recovered from the answer, in [0, 1]; 0 without any dual.
        reward: the highest of its samples, where another reward than the dual chooses; else None.
    """

    answer: str
    votes: int
    backward_rate: float
    reward: float | None = None

    @property
    def score(self) -> float:
        """What the answer is ranked by."""
        return self.backward_rate if self.reward is None else self.reward


class TokenCounts(NamedTuple):
    """What was generated for one problem, in tokens.

    Attributes:
        n: number of samples that were put through duals (not tokens).
        greedy: of the greedy answer.
        samples: of these n samples.
        duals: of all dual samples.
        equal_cost: of as many samples as together cost what samples and duals cost.
        more_votes: of the samples beyond the first n.
    """

    # No tokens, but what `samples` is divided by for the cost of a single sample.
    n: int
    greedy: int
    samples: int
    duals: int
    equal_cost: int
    more_votes: int


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """A row of answers.jsonl: the answer to a problem, what other methods answer, and what all of it cost.

    Attributes:
        problem: id of the problem.
        text: the problem; the key in the file is `question`.
        duals: number of duals of the problem.
        answer: the chosen answer; None where no sample could be read.
        score: what the answer was chosen by: its backward rate, or its reward; None where there is none.
        votes: how many of the samples gave the answer.
        runner_up: the second candidate; None where there is none.
        answers: method -> its answer: greedy, majority, dual or reward, equal_cost, more_votes.
        candidates: every different answer, best first.
        completion: text of the first sample that gave the answer.
        gold: the right answer; None where it is unknown.
        quality: method -> score in [0, 1] of its answer, also for `mean` and `pass`; None without gold.
        reconstructions: what the duals gave back from the answer.
        plain: problem and answer as people write them; None: they stand so already.
        plain_gold: problem and right answer likewise.
    """

    problem: str
    text: str
    duals: int
    answer: str | None
    score: float | None
    votes: int
    runner_up: Candidate | None
    answers: Mapping[str, str | None]
    candidates: Sequence[Candidate]
    completion: str
    gold: str | None
    quality: Mapping[str, float] | None
    tokens: TokenCounts
    reconstructions: Sequence[DualExchange] = ()
    plain: str | None = None
    plain_gold: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The row as answers.jsonl holds it."""
        # The keys stand in the order in which a person asks: what was answered, against what, at which cost.
        return {
            "problem": self.problem,
            "question": self.text,
            "duals": self.duals,
            "answer": self.answer,
            "score": self.score,
            "votes": self.votes,
            "runner_up": self.runner_up._asdict() if self.runner_up else None,
            "answers": dict(self.answers),
            "candidates": [candidate._asdict() for candidate in self.candidates],
            "completion": self.completion,
            "reconstructions": [asdict(dual) for dual in self.reconstructions],
            "plain": self.plain,
            "gold": self.gold,
            "plain_gold": self.plain_gold,
            "quality": None if self.quality is None else dict(self.quality),
            "tokens": self.tokens._asdict(),
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """What `to_json` gave."""
        # The file says `question`, as data sets of word problems do; the field is called as in other rows.
        values = {name: value for name, value in row.items() if name != "question"}
        values["text"] = row["question"]
        values["runner_up"] = Candidate(**row["runner_up"]) if row["runner_up"] else None
        values["candidates"] = [Candidate(**candidate) for candidate in row["candidates"]]
        values["tokens"] = TokenCounts(**row["tokens"])
        # Runs that began before these rows held reconstructions go on without them.
        values["reconstructions"] = tuple(DualExchange(**dual) for dual in row.get("reconstructions", ()))
        return cls(**values)
