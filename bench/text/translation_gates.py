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


def judge(
    direction: str, rows: list[dict[str, str]], caught: Shares, bare: Shares, references: bool
) -> Counter[str]:
    """Adds the shares of one direction: caught by kind of failure, bare or refused by kind of wrapper.

    Args:
        direction: such as en-de.
        rows: sentences, each in every language.
        caught: gains the shares of failures.
        bare: gains the shares of wrappers.
        references: judge the references alone.

    Returns:
        How many references each gate refuses.
    """
    src, tgt = direction.split("-")
    gates = Gates(frozenset(GATES), src, tgt, 3.0)
    reasons, counts, totals, changed = Counter[str](), Counter[str](), Counter[str](), 0
    for row in rows:
        for kind, text in planted.failures_of(src, tgt, row).items() if not references else ():
            totals[kind] += 1
            counts[kind] += gates.read(row[src], text).answer is None
        result = gates.read(row[src], row[tgt])
        if result.refusal:
            reasons[result.refusal] += 1
            print(f"refused {direction} {result.refusal} | {row[src]} | {row[tgt]}")
        elif result.answer != row[tgt]:
            changed += 1
            print(f"changed {direction} | {row[src]} | {row[tgt]}")
        for kind, text in planted.wrapped(tgt, row[src], row[tgt]).items() if not references else ():
            answer = gates.read(row[src], text).answer
            counts["wrapped " + kind] += answer is None or answer in (row[tgt], result.answer)
            totals["wrapped " + kind] += 1
    reasons["changed"] = changed
    for kind in totals:
        share = counts[kind] / totals[kind]
        if kind.startswith("wrapped "):
            bare[kind][direction] = share
        elif "third language" in kind:
            caught[kind[:-3]][f"{direction} {kind[-2:]}"] = share
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
    parser.add_argument("--references", action="store_true", help="judge the references alone")
    args = parser.parse_args()
    rows = read_rows(args.folder, 0 if args.fitted else 1, args.step)
    caught, bare = defaultdict[str, dict[str, float]](dict), defaultdict[str, dict[str, float]](dict)
    refused, changed, directions = Counter[str](), 0, args.directions.split(",")
    for direction in directions:
        start = time.process_time()
        reasons = judge(direction, rows, caught, bare, args.references)
        seconds = time.process_time() - start
        changed += reasons.pop("changed")
        count = reasons.total()
        print(f"{direction}: {count} of {len(rows)} references refused {dict(reasons)}, {seconds:.0f} s")
        refused.update(reasons)
    num_references = len(rows) * len(directions)
    print(f"references refused: {refused.total()} of {num_references} {dict(refused)}; changed: {changed}")
    for kind, shares in caught.items():
        far = {name: share for name, share in shares.items() if name[3:5] not in planted.RELATED_TARGETS}
        near = {name: share for name, share in shares.items() if name not in far}
        print(f"{kind:24} {summary(far)}; targets hr id ms da nb sv: {summary(near)}")
    for kind, shares in bare.items():
        print(f"{kind:40} {summary(shares)}")


if __name__ == "__main__":
    main()
