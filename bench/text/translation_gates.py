"""What the gates of translations catch and what they refuse wrongly, on references with planted failures.

    python -m bench.text.translation_gates shared/data/flores_dev

The folder has line-parallel files <name>.<language>. Lines 2, 4, 6, ... are judged; with --fitted the lines
1, 3, 5, ..., on which the constants were fitted. `tests/helpers/planted_translations.py` has the failures,
the wrappers and the directions.
"""

import argparse
import time
from collections import Counter, defaultdict
from pathlib import Path

from dupo.config.task_options import GATES
from dupo.tasks.translation_gates import Gates
from tests.helpers import planted_translations as planted

Shares = dict[str, dict[str, float]]  # by kind, then by direction


def read_rows(folder: str, first: int, step: int) -> list[dict[str, str]]:
    """Returns sentences, each in every language: every `step`-th of every second line from `first` on."""
    files = [path for path in Path(folder).iterdir() if path.is_file()]
    texts = {path.suffix[1:]: path.read_text("utf-8").splitlines() for path in files}
    rows = list(zip(*texts.values(), strict=True))[first :: 2 * step]
    return [{code: text.strip() for code, text in zip(texts, row, strict=True)} for row in rows]


def judge(direction: str, rows: list[dict[str, str]], caught: Shares, bare: Shares) -> Counter[str]:
    """Adds the shares of one direction: caught by kind of failure, bare or refused by kind of wrapper.

    Returns:
        How many references each gate refuses.
    """
    src, tgt = direction.split("-")
    gates = Gates(frozenset(GATES), src, tgt, 3.0)
    reasons, counts, totals = Counter[str](), Counter[str](), Counter[str]()
    for row in rows:
        for kind, text in planted.failures_of(src, tgt, row).items():
            totals[kind] += 1
            counts[kind] += gates.read(row[src], text).answer is None
        result = gates.read(row[src], row[tgt])
        if result.refusal:
            reasons[result.refusal] += 1
            print(f"refused {direction} {result.refusal} | {row[src]} | {row[tgt]}")
        elif result.answer != row[tgt]:
            print(f"changed {direction} | {row[src]} | {row[tgt]}")
        for kind, text in {"": row[tgt], **planted.wrapped(tgt, row[src], row[tgt])}.items():
            answer = gates.read(row[src], text).answer
            counts["wrapped " + kind] += answer is None or answer in (row[tgt], result.answer)
            totals["wrapped " + kind] += 1
    for kind in totals:
        share = counts[kind] / totals[kind]
        if kind.startswith("wrapped "):
            bare[kind][direction] = share
        elif kind.startswith("third language "):
            caught["third language"][f"{direction} {kind[-2:]}"] = share
        else:
            caught[kind][direction] = share
    return reasons


def summary(shares: dict[str, float]) -> str:
    """Returns the least, the mean, and the directions with the least."""
    if not shares:
        return "none"
    least = sorted(shares, key=lambda direction: shares[direction])[:3]
    worst = ", ".join(f"{direction} {100 * shares[direction]:.0f}" for direction in least)
    mean = 100 * sum(shares.values()) / len(shares)
    return f"min {100 * min(shares.values()):5.1f} mean {mean:5.1f} ({worst})"


def main() -> None:
    """Prints the tables, in per cent."""
    parser = argparse.ArgumentParser(description="judges the gates of translations")
    parser.add_argument("folder")
    parser.add_argument("--step", type=int, default=1, help="judge every so manieth sentence")
    parser.add_argument("--fitted", action="store_true", help="the lines that the constants were fitted on")
    parser.add_argument("--directions", default=",".join(planted.DIRECTIONS))
    args = parser.parse_args()
    rows = read_rows(args.folder, 0 if args.fitted else 1, args.step)
    caught, bare = defaultdict[str, dict[str, float]](dict), defaultdict[str, dict[str, float]](dict)
    refused, directions = Counter[str](), args.directions.split(",")
    for direction in directions:
        start = time.process_time()
        reasons = judge(direction, rows, caught, bare)
        seconds = time.process_time() - start
        count = reasons.total()
        print(f"{direction}: {count} of {len(rows)} references refused {dict(reasons)}, {seconds:.0f} s")
        refused.update(reasons)
    print(f"references refused: {refused.total()} of {len(rows) * len(directions)} {dict(refused)}")
    for kind, shares in caught.items():
        far = {name: share for name, share in shares.items() if name[3:5] not in planted.RELATED_TARGETS}
        near = {name: share for name, share in shares.items() if name not in far}
        print(f"{kind:24} {summary(far)}; targets hr id ms da nb sv: {summary(near)}")
    for kind, shares in bare.items():
        print(f"{kind:40} {summary(shares)}")


if __name__ == "__main__":
    main()
