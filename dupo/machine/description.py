"""The facts of a machine as rows of (name, text), and with the advice as JSON, for `dupo doctor`."""

import dataclasses
import json
from collections.abc import Sequence

from dupo.machine.advice import Advice, can_train
from dupo.machine.facts import Facts
from dupo.machine.optional import OPTIONAL, OTHERS


def describe(facts: Facts) -> list[tuple[str, str]]:
    """One row for each thing that dupo uses or could use."""
    return [
        ("dupo", f"{facts.dupo}, Python {facts.python}, {facts.system}"),
        ("processor", _processor(facts)),
        ("torch", _torch(facts)),
        ("GPU", _gpus(facts)),
        ("kernels", _kernels(facts)),
        ("attention", _attention(facts)),
        ("batches", _batches(facts)),
        ("libraries", _named(facts, [name for name in facts.requires if name not in ("torch", "triton")])),
        ("optional", _named(facts, [*OPTIONAL, *OTHERS])),
    ]


def as_json(facts: Facts, advice: Sequence[Advice]) -> str:
    """One JSON object: facts, advice, can_train."""
    rows = [line._asdict() for line in advice]
    answer = {"facts": dataclasses.asdict(facts), "advice": rows, "can_train": can_train(advice)}
    return json.dumps(answer, indent=2)


def _processor(facts: Facts) -> str:
    memory = "" if facts.memory is None else f", {_gibibytes(facts.memory)} of memory"
    instructions = f", {facts.torch.instructions}" if facts.torch else ""
    return f"{facts.cores} cores{memory}{instructions}"


def _torch(facts: Facts) -> str:
    if facts.torch is None:
        return "does not load" if facts.versions.get("torch") else "not installed"
    return f"{facts.torch.version}, built for {facts.torch.built_for}, {facts.torch.threads} threads"


def _gpus(facts: Facts) -> str:
    if facts.torch is None:
        return "not known without torch"
    rows = [
        f"{gpu.name}, compute capability {gpu.capability[0]}.{gpu.capability[1]}, {_gibibytes(gpu.memory)}"
        for gpu in facts.torch.gpus
    ]
    return "\n".join(rows) or "none that torch sees"


def _kernels(facts: Facts) -> str:
    triton = facts.versions.get("triton")
    has_triton = f"Triton {triton}" if triton else "no Triton"
    if facts.kernels is None:
        return f"not tried; {has_triton}"
    if facts.kernels.are_interpreted:
        return f"interpreted by Python (TRITON_INTERPRET); {has_triton}"
    gpus = facts.torch.gpus if facts.torch else ()
    if not gpus or not facts.kernels.compile:
        return f"torch computes in their place; {has_triton}"
    return f"do not run; {has_triton}" if "kernels" in facts.problems else f"tried on the GPU; {has_triton}"


def _attention(facts: Facts) -> str:
    if facts.torch is None:
        return "not known without torch"
    if not facts.torch.gpus:
        return "SDPA of torch"
    flash = facts.versions.get("flash-attn")
    other = "varlen attention of torch" if facts.torch.has_varlen else "SDPA of torch"
    return f"flash-attn {flash}" if flash else other


def _batches(facts: Facts) -> str:
    if not facts.has_extension:
        return "plain Python"
    return "the C++ extension does not load" if "extension" in facts.problems else "C++ extension"


def _named(facts: Facts, names: list[str]) -> str:
    there = [f"{name} {facts.versions[name]}" for name in names if facts.versions.get(name)]
    absent = [name for name in names if not facts.versions.get(name)]
    rows = [", ".join(there)] if there else []
    return "\n".join([*rows, *([f"not installed: {', '.join(absent)}"] if absent else [])])


def _gibibytes(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
