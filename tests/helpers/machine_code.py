"""The loops of a kernel's machine code (SASS), read with the disassembler that comes with Triton."""

import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import triton


def disassembler() -> Path | None:
    """The program, or None where this Triton has none."""
    program = Path(triton.__file__).parent / "backends/nvidia/bin/nvdisasm"
    return program if program.is_file() else None


def loops(cubin: bytes) -> list[dict[str, Any]] | None:
    """Each innermost loop: instructions, those of the special unit, widths in bits of global accesses.

    Returns:
        [{"instructions", "loads": {width: count}, "stores": {width: count}, "special"}], or None without
        a disassembler.
    """
    if disassembler() is None:
        return None
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run(
            [str(disassembler()), "-c", file.name], capture_output=True, text=True, check=True
        )
    labels: dict[str, int] = {}
    code: list[str] = []
    for line in done.stdout.splitlines():
        if label := re.match(r"\s*(\.L_x_\d+):", line):
            labels[label[1]] = len(code)
        elif instruction := re.match(r"\s*/\*[0-9a-f]+\*/\s+(.*?)\s*;", line):
            code.append(instruction[1])
    spans = []
    for end, instruction in enumerate(code):
        target = re.search(r"\bBRA\b.*?(\.L_x_\d+)", instruction)
        if target and labels[target[1]] <= end:
            spans.append((labels[target[1]], end + 1))
    inner = [
        span for span in spans if not any(o != span and span[0] <= o[0] and o[1] <= span[1] for o in spans)
    ]
    return [_described(code[first:last]) for first, last in inner]


def _described(body: list[str]) -> dict[str, Any]:
    opcodes = [re.sub(r"^@!?U?P\w+\s+", "", instruction).split()[0] for instruction in body]
    return {
        "instructions": len(body),
        "loads": Counter(_width(opcode) for opcode in opcodes if opcode.startswith("LDG")),
        "stores": Counter(_width(opcode) for opcode in opcodes if opcode.startswith("STG")),
        "special": sum(opcode.startswith("MUFU") for opcode in opcodes),
    }


def _width(opcode: str) -> int:
    """In bits; an access that names none has 32."""
    words = opcode.split(".")
    return next((int(word.lstrip("US")) for word in words if re.fullmatch(r"[US]?(?:8|16|64|128)", word)), 32)
