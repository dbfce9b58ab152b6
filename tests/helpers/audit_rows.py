"""Rows of an audit, as small as a test needs them."""

from dupo.records import Dual
from dupo.trust.dual_filter import Trial
from dupo.trust.rows import AuditRow, TrialRow


def dual(solved=None, no_answer=0.0, decoys=None, gold=None, unread=None, outcome="kept") -> TrialRow:
    return TrialRow(outcome, Trial(Dual("@?", "1", "?"), solved or {}, no_answer, decoys or {}, unread, gold))


def row(rewards, quality=None, answers=None, duals=(), refused=None, truncated=0) -> AuditRow:
    answers = list("abcd"[: len(rewards)]) if answers is None else answers
    refused = refused or {"unreadable": answers.count(None)}
    refused = {reason: count for reason, count in refused.items() if count}
    return AuditRow("id", "text", None, answers, refused, truncated, rewards, quality, list(duals), "")


MIXED = row([1.0, 0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0])
CLEAR = row([1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0])
WRONG = row([0.0] * 4, [0.0] * 4)
