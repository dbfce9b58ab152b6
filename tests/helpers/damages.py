"""Damages of a run folder: each a small function on the working folder, a copy of a small world."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dupo.storage.checkpoint import STATE_KEYS
from dupo.storage.checksums import write_sums

RUN = Path("run")
NEWEST = RUN / "checkpoint-4"
STATE, WEIGHTS, EMA, SUMS = (
    NEWEST / name for name in ("state.pt", "model.safetensors", "ema.safetensors", "SHA256SUMS")
)
METRICS, SAMPLES, TIMINGS = (RUN / f"{name}.jsonl" for name in ("metrics", "samples", "timings"))
Damage = Callable[[], object]


def flip(file: Path, place: float = 0.5) -> None:
    """Changes one bit, at a place between 0 (the start of the file) and 1 (its end)."""
    data = bytearray(file.read_bytes())
    data[int(place * (len(data) - 1))] ^= 1
    file.write_bytes(data)


def halve(file: Path) -> None:
    """Cuts a file in the middle."""
    os.truncate(file, file.stat().st_size // 2)


def append(file: Path, content: bytes) -> None:
    """Writes after the last byte."""
    with file.open("ab") as stream:
        stream.write(content)


def edit(file: Path, old: str, new: str) -> None:
    """Replaces text that is there."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def lines(file: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Changes the lines of a file."""
    file.write_bytes(b"".join(change(file.read_bytes().splitlines(keepends=True))))


def replace(file: Path, content: bytes | str) -> None:
    """Writes other content, over a folder as well."""
    if file.is_dir() and not file.is_symlink():
        shutil.rmtree(file)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())


def as_folder(path: Path) -> None:
    """Puts an empty folder in the place of a file or folder."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.mkdir()


def other(source: str, target: str) -> Damage:
    """Puts a file or folder of the world beside this one in the place of ours."""

    def damage() -> None:
        path = Path(target)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        origin = Path("../other") / source
        (shutil.copytree if origin.is_dir() else shutil.copy)(origin, path)

    return damage


def resealed(change: Callable[[dict[str, Any]], Any]) -> Damage:
    """Changes state.pt and makes the checksums right again, as somebody who meant it would."""

    def damage() -> None:
        state = torch.load(STATE, weights_only=True)
        torch.save(change(state) or state, STATE)
        write_sums(NEWEST)

    return damage


class Pickled:
    """Prints when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("unpickled",)


DAMAGED_CHECKPOINT: dict[str, Damage] = {
    "state cut": lambda: halve(STATE),
    "state empty": lambda: replace(STATE, b""),
    "state gone": lambda: STATE.unlink(),
    "state a folder": lambda: as_folder(STATE),
    **{f"state bit {at}": lambda at=at: flip(STATE, at) for at in (0, 0.01, 0.5, 0.99, 1)},
    "state of text": resealed(lambda state: "text"),
    "state of a list": resealed(lambda state: [state]),
    "state a pickle": resealed(lambda state: {**state, "record": Pickled()}),
    "state of another step": resealed(lambda state: {**state, "step": 2}),
    "state of format 2": resealed(lambda state: {**state, "format": 2}),
    "state of no rows": resealed(lambda state: {**state, "rows": {}}),
    "state of empty rows": resealed(lambda state: {**state, "rows": {name: {} for name in state["rows"]}}),
    "state of other settings": resealed(
        lambda state: {**state, "settings": {**state["settings"], "seed": 1}}
    ),
    "state of other inputs": resealed(lambda state: {**state, "inputs": {}}),
    **{
        f"state without {key}": resealed(lambda state, key=key: state.pop(key) and None) for key in STATE_KEYS
    },
    **{f"{key} a number": resealed(lambda s, key=key: {**s, key: 1.5}) for key in ("optimizer", "method")},
    "optimizer empty": resealed(lambda state: {**state, "optimizer": {}}),
    "method empty": resealed(lambda state: {**state, "method": {}}),
    "record empty": resealed(lambda state: {**state, "record": {}}),
    "weights cut": lambda: halve(WEIGHTS),
    "weights empty": lambda: replace(WEIGHTS, b""),
    "weights gone": lambda: WEIGHTS.unlink(),
    "weights a bit": lambda: flip(WEIGHTS, 0.7),
    "weights of the run before": lambda: shutil.copy(RUN / "checkpoint-2/model.safetensors", WEIGHTS),
    "weights of another run": other("run/checkpoint-4/model.safetensors", str(WEIGHTS)),
    "average cut": lambda: halve(EMA),
    "average gone": lambda: EMA.unlink(),
    "average a bit": lambda: flip(EMA),
    "config cut": lambda: halve(NEWEST / "config.json"),
    "config gone": lambda: (NEWEST / "config.json").unlink(),
    "tokenizer gone": lambda: (NEWEST / "tokenizer.json").unlink(),
    "other weights added": lambda: shutil.copy(WEIGHTS, NEWEST / "pytorch_model.bin"),
    "checksums gone": lambda: SUMS.unlink(),
    "checksums empty": lambda: replace(SUMS, b""),
    "checksums not text": lambda: replace(SUMS, b"\xff\x00\n"),
    "checksums a bit": lambda: flip(SUMS, 0.3),
    "checksums without the weights": lambda: lines(SUMS, lambda rows: [r for r in rows if b"model" not in r]),
    "checkpoint of another run": other("run/checkpoint-4", str(NEWEST)),
    "checkpoint of another step": lambda: (
        shutil.rmtree(NEWEST),
        shutil.copytree(RUN / "checkpoint-2", NEWEST),
    ),
    "checkpoint empty": lambda: as_folder(NEWEST),
    "checkpoint gone": lambda: shutil.rmtree(NEWEST),
    "checkpoint a file": lambda: replace(NEWEST, b"x"),
    "checkpoint a link to another run": lambda: (
        shutil.rmtree(NEWEST),
        NEWEST.symlink_to(Path("../../other/run/checkpoint-4")),
    ),
    "last metrics gone": lambda: lines(METRICS, lambda rows: rows[:3]),
    "last metrics changed": lambda: lines(METRICS, lambda rows: [*rows[:3], rows[3].replace(b"4", b"5", 1)]),
}

# The pointer to the newest checkpoint, which is sound itself.
DAMAGED_LATEST: dict[str, Damage] = {
    "latest not text": lambda: replace(RUN / "latest", b"\xff\xfe"),
    "latest empty": lambda: replace(RUN / "latest", b""),
    "latest a folder": lambda: as_folder(RUN / "latest"),
    "latest gone": lambda: (RUN / "latest").unlink(),
    "latest names nothing": lambda: replace(RUN / "latest", "checkpoint-8\n"),
    "latest out of the folder": lambda: replace(RUN / "latest", "../../other/run/checkpoint-4\n"),
    "latest a link that leads nowhere": lambda: (
        (RUN / "latest").unlink(),
        (RUN / "latest").symlink_to("gone"),
    ),
}

DAMAGED_RUN: dict[str, Damage] = {
    "metrics gone": lambda: METRICS.unlink(),
    "metrics empty": lambda: replace(METRICS, b""),
    "first metrics gone": lambda: lines(METRICS, lambda rows: rows[1:]),
    "first metrics twice": lambda: lines(METRICS, lambda rows: [rows[0], *rows]),
    "metrics in another order": lambda: lines(METRICS, lambda rows: rows[::-1]),
    "a figure changed": lambda: edit(METRICS, '"loss": ', '"loss": 1'),
    "metrics too deep": lambda: lines(METRICS, lambda rows: [b"[" * 100_000 + b"\n", *rows]),
    "metrics of another run": other("run/metrics.jsonl", str(METRICS)),
    "metrics a folder": lambda: as_folder(METRICS),
    "samples gone": lambda: SAMPLES.unlink(),
    "samples changed": lambda: flip(SAMPLES, 0.1),
    "samples cut": lambda: lines(SAMPLES, lambda rows: rows[:2]),
    "timings changed": lambda: flip(TIMINGS, 0.1),
    "seed edited": lambda: edit(RUN / "config.yaml", "seed: 0", "seed: 1"),
    "rate edited": lambda: edit(RUN / "config.yaml", "learning_rate: 0.001", "learning_rate: 0.002"),
    "settings gone": lambda: (RUN / "config.yaml").unlink(),
    "settings empty": lambda: replace(RUN / "config.yaml", b""),
    "settings not text": lambda: replace(RUN / "config.yaml", b"\xff\xfe\x00"),
    "settings of format 2": lambda: edit(RUN / "config.yaml", "format 3", "format 2"),
    "settings of another program": lambda: edit(RUN / "config.yaml", "dupo.train", "dupo.rerank"),
    "inputs gone": lambda: (RUN / "inputs.json").unlink(),
    "inputs empty": lambda: replace(RUN / "inputs.json", b""),
    "inputs too deep": lambda: replace(RUN / "inputs.json", b"[" * 100_000),
    "inputs a list": lambda: replace(RUN / "inputs.json", b"[]"),
    "inputs a folder": lambda: as_folder(RUN / "inputs.json"),
    "inputs a bit": lambda: flip(RUN / "inputs.json"),
    "inputs of another run": other("run/inputs.json", str(RUN / "inputs.json")),
    "data edited": lambda: edit(Path("data.jsonl"), "Tom has", "Ben owns"),
    "held-out answers edited": lambda: lines(Path("data.jsonl"), lambda rows: [_wrong(row) for row in rows]),
    "data longer": lambda: lines(Path("data.jsonl"), lambda rows: [*rows, rows[0].replace(b"Tom", b"Ron")]),
    "data shorter": lambda: lines(Path("data.jsonl"), lambda rows: rows[1:]),
    "model a bit": lambda: flip(Path("model/model.safetensors"), 0.6),
    "model of another seed": other("model/model.safetensors", "model/model.safetensors"),
    "shape edited": lambda: edit(Path("model/config.json"), '"rope_theta": 30.0', '"rope_theta": 40.0'),
    "end tokens edited": lambda: edit(
        Path("model/generation_config.json"), '"eos_token_id": 1', '"eos_token_id": 7'
    ),
    "tokenizer edited": lambda: edit(
        Path("model/tokenizer.json"), '"add_prefix_space": false', '"add_prefix_space": true'
    ),
    "chat template added": lambda: Path("model/chat_template.jinja").write_text(
        "<eos>{{ messages[0].content }}"
    ),
}

HARMLESS: dict[str, Damage] = {
    "nothing": lambda: None,
    "last metrics torn": lambda: append(METRICS, b'{"step": 5, "rew'),
    "rows of a step that was lost": lambda: append(METRICS, b'{"step": 5}\n'),
    "samples end in zeros": lambda: append(SAMPLES, bytes(50)),
    "a writer was killed": lambda: shutil.copytree(NEWEST, RUN / "checkpoint-6.tmp"),
    "a removal was killed": lambda: shutil.copytree(NEWEST, RUN / "checkpoint-0.gone"),
    "page and summary gone": lambda: ((RUN / "report.html").unlink(), (RUN / "summary.json").unlink()),
    "the older checkpoint damaged": lambda: flip(RUN / "checkpoint-2/state.pt"),
    "the older checkpoint gone": lambda: shutil.rmtree(RUN / "checkpoint-2"),
    "a note of the user": lambda: (NEWEST / "note.md").write_text("the best so far"),
    "latest gone beside one checkpoint": lambda: (
        (RUN / "latest").unlink(), shutil.rmtree(RUN / "checkpoint-2")
    ),
}  # fmt: skip


def _wrong(row: bytes) -> bytes:
    return json.dumps({**json.loads(row), "answer": "1"}).encode() + b"\n"
