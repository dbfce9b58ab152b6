"""What the gates of translations catch and what they refuse wrongly, on references with planted failures.

    python -m bench.text.translation_gates shared/data/flores_dev

The folder has line-parallel files <name>.<language>. Lines 2, 4, 6, ... are judged; with --fitted the lines
1, 3, 5, ..., on which the constants were fitted.
"""

import argparse
import time
from collections import Counter, defaultdict
from pathlib import Path

from dupo.config.task_options import GATES
from dupo.tasks.translation_gates import Gates
from tests.helpers import planted_translations as planted


def read_texts(folder: str) -> dict[str, list[str]]:
    """Returns the lines of each language."""
    files = [path for path in Path(folder).iterdir() if path.is_file()]
    return {
        path.suffix[1:]: [line.strip() for line in path.read_text("utf-8").splitlines()] for path in files
    }


def failures_of(src: str, tgt: str, row: dict[str, str]) -> dict[str, str]:
    """Returns the planted failures of one sentence by kind; `row` has the sentence in every language."""
    source, target = row[src], row[tgt]
    texts = {kind: plant(source, target) for kind, plant in planted.FAILURES.items()}
    if src in planted.ROT13_SCRIPTS:
        texts.pop("rot13")
        texts.pop("leetspeak")
        texts.pop("source in capitals")
    for third in planted.THIRD_LANGUAGES[tgt].split():
        if third != src:
            texts[f"third language {third}"] = row[third]
    if src not in planted.ROT13_SCRIPTS and tgt in planted.LETTERS:
        texts["transliterated"] = planted.mapped(source, planted.LETTERS[tgt])
    if src in ("ru", "uk") and tgt not in planted.ROT13_SCRIPTS:
        texts["transliterated"] = planted.mapped(source, planted.LATIN)
    if src == "ar" and tgt not in planted.ROT13_SCRIPTS:
        texts["transliterated"] = planted.mapped(source, planted.TO_LATIN_FROM_ARABIC)
    if tgt not in planted.ROT13_SCRIPTS:
        texts["homoglyphs"] = target.translate(planted.HOMOGLYPHS)
    for language in {"en", tgt}:
        texts[f"refusal {'in the target' if language == tgt else 'en'}"] = planted.REFUSALS[language]
    return texts


def wrapped(tgt: str, source: str, target: str) -> dict[str, str]:
    """Returns the wrapped references by kind."""
    texts = {kind: plant(source, target) for kind, plant in planted.WRAPPERS.items()}
    texts["lead in the target"] = f"{planted.LEADS[tgt]} {target}"
    texts["lead in the target on its line"] = f"{planted.LEADS[tgt]}\n\n{target}"
    return texts


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--fitted", action="store_true")
    parser.add_argument("--directions", default=",".join(planted.DIRECTIONS))
    parser.add_argument("--references", action="store_true", help="references alone: nothing planted")
    parser.add_argument("--show", default="", help="print what passes of this kind")
    args = parser.parse_args()
    texts = read_texts(args.folder)
    rows = [dict(zip(texts, lines, strict=True)) for lines in zip(*texts.values(), strict=True)]
    rows = rows[0 if args.fitted else 1 :: 2 * args.step]
    caught, kept = defaultdict[str, dict[str, float]](dict), defaultdict[str, dict[str, float]](dict)
    refusals, pooled = {}, Counter[str]()
    for direction in args.directions.split(","):
        src, tgt = direction.split("-")
        gates = Gates(frozenset(GATES), src, tgt, 3.0)
        start, counts, totals, bare = time.perf_counter(), Counter[str](), Counter[str](), Counter[str]()
        reasons = Counter[str]()
        for row in rows:
            planted_texts = {} if args.references else failures_of(src, tgt, row)
            for kind, text in planted_texts.items():
                result = gates.read(row[src], text)
                totals[kind] += 1
                counts[kind] += result.answer is None
                if args.show == kind and result.answer is not None:
                    print(direction, kind, "|", row[src], "|", text)
            result = gates.read(row[src], row[tgt])
            reasons[result.refusal or "passed"] += 1
            bare["bare"] += result.answer in (row[tgt], None)
            if result.answer not in (row[tgt], None):
                print(f"changed {direction}: {row[src]} | {row[tgt]} | {result.answer}")
            if result.refusal and args.show == "references":
                print(direction, result.refusal, "|", row[src], "|", row[tgt])
            wrapped_texts = {} if args.references else wrapped(tgt, row[src], row[tgt])
            for kind, text in wrapped_texts.items():
                unwrapped = gates.read(row[src], text)
                bare[kind] += unwrapped.answer in (row[tgt], None) or unwrapped.answer == result.answer
                counts["refused: " + kind] += unwrapped.answer is None
                if args.show == kind and unwrapped.answer not in (row[tgt], None):
                    print(direction, kind, "|", row[src], "|", text, "|", unwrapped.answer)
        for kind in totals:
            name = "third language" if kind.startswith("third") else kind
            share = counts[kind] / totals[kind]
            caught[name][direction + (kind.removeprefix(name) if name != kind else "")] = share
        for kind in bare:
            kept[kind][direction] = bare[kind] / len(rows)
            if kind != "bare":
                kept["refused " + kind][direction] = counts["refused: " + kind] / len(rows)
        wrong = len(rows) - reasons.pop("passed", 0)
        pooled.update(reasons)
        refusals[direction] = wrong
        print(
            direction,
            f"{wrong} of {len(rows)} references refused",
            dict(reasons),
            f"{time.perf_counter() - start:.0f} s",
            flush=True,
        )
    print(f"references refused: {sum(refusals.values())} of {len(rows) * len(refusals)}, {dict(pooled)}")
    for kind, shares in caught.items():
        far = {d: v for d, v in shares.items() if d[3:5] not in planted.RELATED_TARGETS}
        near = {d: v for d, v in shares.items() if d not in far}
        print(f"{kind:26}", summary(far), "| related targets", summary(near))
    for kind, shares in kept.items():
        print(
            f"{kind:40}",
            summary(shares)
            if not kind.startswith("refused")
            else f"most {max(shares.values()):.3f} mean {sum(shares.values()) / len(shares):.4f}",
        )


def summary(shares: dict[str, float]) -> str:
    """Returns the least, the mean, and the directions with the least."""
    if not shares:
        return "-"
    least = sorted(shares, key=lambda direction: shares[direction])[:3]
    worst = " ".join(f"{direction} {100 * shares[direction]:.0f}" for direction in least)
    return f"min {100 * min(shares.values()):5.1f} mean {100 * sum(shares.values()) / len(shares):5.1f} ({worst})"


if __name__ == "__main__":
    main()
