"""What the compiler makes of every launch of a kernel, for a GPU that need not be there.

    python -m tests.kernels.aot_report 90          # the report, as JSON
    python -m tests.kernels.aot_report --write     # adds what this Triton says to aot_table.json

The launchers themselves say what is compiled: they run on meta tensors with a recorder in the kernel's place.
Needs a process without TRITON_INTERPRET.
"""

import contextlib
import io
import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from dupo_kernels.logits import triton_path as kernels
from dupo_kernels.logits.rows import Rows
from tests.helpers.triton_objective import objective_kernel

TABLE = Path(__file__).with_name("aot_table.json")
ARCHITECTURES = (80, 90, 100)
TYPES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32", torch.int64: "i64"}
Layout = tuple[int, int]
Launch = tuple[Any, dict[str, Any]]  # a kernel and its arguments by name

FLOATS = [torch.bfloat16, torch.float16, torch.float32]
# Of the logits and of dlogits. Where these are narrower they overwrite fp32 logits, as in the linear head.
BOTH_TYPES = [(dtype, dtype) for dtype in FLOATS] + [(torch.float32, dtype) for dtype in FLOATS[:2]]
# V and the logits from row to row. Triton compiles apart what divides by 16 and what does not.
LAYOUTS = [(32_000, 32_000), (50_257, 50_257), (50_257, 50_272)]


# --- what is launched ------------------------------------------------------------------------------


class _Recorder:
    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.launches: list[Launch] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return lambda **arguments: self.launches.append((self.kernel, arguments))


@cache
def launches() -> dict[str, Launch]:
    """Every variant of every kernel, by a name for people."""
    recorders = _Recorder(kernels._forward), _Recorder(kernels._backward)
    kernels._forward, kernels._backward = recorders
    try:
        for layout, softcap, entropy in product(LAYOUTS, (0.0, 30.0), (False, True)):
            for logits, dlogits in BOTH_TYPES:
                if logits == dlogits:
                    _forward(layout, softcap, entropy, logits)
                _backward(layout, softcap, entropy, logits, dlogits)
    finally:
        kernels._forward, kernels._backward = (recorder.kernel for recorder in recorders)
    return {_name(*launch): launch for recorder in recorders for launch in recorder.launches} | _objective()


def _rows(layout: Layout, softcap: float, dtype: torch.dtype) -> tuple[Rows, torch.Tensor]:
    V, stride = layout
    memory = torch.empty(4, stride, dtype=dtype, device="meta")
    return Rows(memory[:, :V], _vector(torch.int64), _vector(), softcap), memory


def _vector(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(4, dtype=dtype, device="meta")


def _forward(layout: Layout, softcap: float, entropy: bool, dtype: torch.dtype) -> None:
    rows, _ = _rows(layout, softcap, dtype)
    kernels.forward(rows, _vector(), _vector() if entropy else None, _vector(), _vector())


def _backward(
    layout: Layout, softcap: float, entropy: bool, logits: torch.dtype, dlogits: torch.dtype
) -> None:
    rows, memory = _rows(layout, softcap, logits)
    out = memory.view(dlogits)[:, : layout[0]]
    kernels.backward(rows, _vector(), _vector(), _vector(), _vector() if entropy else None, out)


def _objective() -> dict[str, Launch]:
    """The Triton copies of surrogates.py and kl.py; scalars are real numbers, except N."""
    values = {"N": 27, "BLOCK": 128}
    arguments = {
        p.name: _vector() if p.name.endswith("_ptr") else values.get(p.name, 0.5)
        for p in objective_kernel.params
    }
    options = {"num_warps": 4, "enable_fp_fusion": True}
    return {objective_kernel.__name__: (objective_kernel, arguments | options)}


def _name(kernel: Any, arguments: dict[str, Any]) -> str:
    pointers = ("logits_ptr", "dlogits_ptr")
    types = [TYPES[arguments[name].dtype] for name in pointers if name in arguments]
    switches = [name.lower() for name in ("SOFTCAP", "ENTROPY") if arguments[name]]
    layout = f"V={arguments['V']}/{arguments['stride_n']}"
    return " ".join([kernel.__name__, *dict.fromkeys(types), *switches, layout])


# --- what becomes of it ----------------------------------------------------------------------------


def build(kernel: Any, arguments: dict[str, Any], architecture: int) -> dict[str, Any]:
    """Registers a thread, bytes of shared memory and of spills, `extremes`, and `trace` of the PTX.

    extremes: how many instructions take the larger or the smaller of two floats, and a number before NaN.
    """
    arguments = dict(arguments)
    signature, constants, divisible = {}, {}, {}
    for at, parameter in enumerate(kernel.params):
        name, value = parameter.name, arguments.pop(parameter.name)
        specialized = isinstance(value, int) and not parameter.do_not_specialize
        if parameter.is_constexpr or (specialized and value == 1):
            signature[name], constants[name] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[name] = f"*{TYPES[value.dtype]}"
        else:
            signature[name] = "i32" if isinstance(value, int) else "fp32"
        if name not in constants and (isinstance(value, torch.Tensor) or (specialized and value % 16 == 0)):
            divisible[at,] = [["tt.divisibility", 16]]
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=divisible)
    knobs.compilation.always_compile = knobs.nvidia.dump_ptxas_log = True
    with contextlib.redirect_stdout(io.StringIO()) as log:
        compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=arguments)
    runtime = [name for name, kind in signature.items() if kind != "constexpr"]
    return {
        "registers": int(re.findall(r"Used (\d+) registers", log.getvalue())[-1]),
        "shared": compiled.metadata.shared,
        "spilled": sum(int(n) for n in re.findall(r"(\d+) bytes spill (?:stores|loads)", log.getvalue())),
        "threads": 32 * compiled.metadata.num_warps,
        "extremes": len(
            re.findall(r"^\s*(?:@!?%p\d+ )?(?:max|min)\.(?!NaN)\S*f32\s", compiled.asm["ptx"], re.M)
        ),
        **trace(compiled.asm["ptx"], runtime),
    }


def trace(ptx: str, parameters: list[str]) -> dict[str, Any]:
    """Where addresses come from.

    products: for each stride, the widths in bits of its products with the program's number.
    tiles: (instruction, strides in its address) of the loads and stores of which each thread has its own.
    order: of these and the barriers, as `ld`, `bar` and `st`.
    """
    lines = [
        (opcode, [re.findall(r"%\w+(?:\.x)?|_param_\d+", operand) for operand in _operands(rest)])
        for opcode, rest in re.findall(r"^\s*(?:@!?%p\d+ )?([a-z]+\.[\w.]+)\s+([^;]*);", ptx, re.M)
    ]
    sources: dict[str, set[str]] = defaultdict(set, {"%ctaid.x": {"program"}, "%tid.x": {"thread"}})
    sources |= {f"_param_{i}": {name} for i, name in enumerate(parameters)}
    products: dict[str, set[int]] = defaultdict(set)
    tiles: list[tuple[str, list[str]]] = []
    order: list[str] = []
    for last in (False, False, True):  # loops carry sources backwards
        for opcode, (first, *others) in lines:
            read = [set().union(*(sources[name] for name in names)) for names in others]
            if opcode.startswith(("ld.global", "st.global")):
                address = read[0] if opcode.startswith("ld") else set().union(*(sources[n] for n in first))
                if last and "thread" in address:
                    order.append(opcode[:2])
                    tiles.append((opcode, sorted(name for name in address if name.startswith("program "))))
                continue
            if last and opcode.startswith("bar."):
                order.append("bar")
            found = set().union(*read)
            if opcode.startswith(("mul.", "mad.")):
                for stride in _strides(read[0], read[1]) | _strides(read[1], read[0]):
                    products[stride].add(64 if ".wide." in opcode or opcode.endswith("64") else 32)
                    found.add(f"program x {stride}")
            for name in first:
                sources[name] |= found
    widths = {name: sorted(found) for name, found in products.items()}
    return {"products": widths, "tiles": tiles, "order": order}


def _strides(one: set[str], other: set[str]) -> set[str]:
    return {name for name in other if name.startswith("stride_")} if "program" in one else set()


def _operands(text: str) -> list[str]:
    """`{ %r1, %r2 }, [ %rd1 + 0 ]` is two."""
    return re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s][^,]*", text)


def report(architecture: int, part: str = "") -> dict[str, Any]:
    """`build` of each launch with `part` in its name, on all cores."""
    chosen = [name for name in launches() if part in name]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), get_context("fork")) as pool:
        return dict(zip(chosen, pool.map(_built, chosen, [architecture] * len(chosen)), strict=True))


def _built(name: str, architecture: int) -> dict[str, Any]:
    return build(*launches()[name], architecture)


def write() -> None:
    table = json.loads(TABLE.read_text()) if TABLE.is_file() else {}
    figures: dict[str, dict[str, list[int]]] = defaultdict(dict)
    for architecture in ARCHITECTURES:
        for name, found in report(architecture).items():
            figures[name][str(architecture)] = [found["registers"], found["shared"]]
    table[triton.__version__] = figures
    lines = re.sub(r"\s*\n {3,}|\s*\n  (?=\})", " ", json.dumps(table, indent=1))  # one for each variant
    TABLE.write_text(lines + "\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write()
    else:
        print(json.dumps(report(int(sys.argv[1]), *sys.argv[2:])))
