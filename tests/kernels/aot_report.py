"""What the compiler makes of every launch of a kernel, for a GPU that need not be there.

    python -m tests.kernels.aot_report 90 quick    # the report, as JSON
    python -m tests.kernels.aot_report --write     # adds what this Triton says to aot_table.json

The launchers themselves say what is compiled: they run on meta tensors with a driver that names a GPU, and
`warmup` in place of the launch. Needs a process without TRITON_INTERPRET.
"""

import contextlib
import io
import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
import triton
from triton import knobs
from triton.runtime import driver

from dupo_kernels import PolicyObjective
from dupo_kernels._triton import VERSION
from dupo_kernels.logits import fused_loss as fused
from dupo_kernels.logits import triton_path as kernels
from dupo_kernels.logits.launch_table import SUMS_OVER_CLUSTERS, Config
from dupo_kernels.logits.rows import Rows, RowStatistics, narrowed, new_statistics
from dupo_kernels.tokens import token_report
from dupo_kernels.tokens.token_inputs import TokenInputs
from dupo_kernels.tokens.token_objective import token_objective
from tests.helpers import triton_objective
from tests.helpers.machine_code import loops
from tests.helpers.named_gpu import NamedGpu

TABLE = Path(__file__).with_name("aot_table.json")
ARCHITECTURES = (80, 90, 100, 120)
CLUSTERS = (90, 100)  # of several programs
TYPES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}
BF16, FP16, FP32 = TYPES
N = 64
Layout = tuple[int, int]  # V, and the logits from row to row
ALIGNED, ODD, PADDED = (32_000, 32_000), (50_257, 50_257), (50_257, 50_264)
# Everything that a token-scope objective can ask of a kernel, and the least.
EVERYTHING = PolicyObjective(
    "dapo", beta=0.1, entropy_coef=0.01, delta=2.0, vllm_importance_sampling_mode="token_truncate"
)
DAPO, CISPO, SAPO = (
    PolicyObjective("dapo"),
    PolicyObjective("cispo", epsilon_high=5.0),
    PolicyObjective("sapo"),
)


class Launch(NamedTuple):
    """A launcher that starts one kernel of a module.

    Attributes:
        quick: compiled by `pytest -m slow -k quick tests/kernels/test_aot.py`.
        tiles: the instructions of its loops are counted, for each logit of a tile that a thread has.
    """

    module: ModuleType
    kernel: str
    start: Callable[[], None]
    quick: bool = False
    clusters: bool = False
    tiles: bool = False


# --- what is launched ------------------------------------------------------------------------------


def _vector(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(N, dtype=dtype, device="meta")


def _rows(layout: Layout, softcap: float, dtype: torch.dtype) -> Rows:
    V, stride = layout
    logits = torch.empty(N, stride, dtype=dtype, device="meta")[:, :V]
    return Rows(logits, _vector(torch.int64), _vector(), softcap)


def _forward(layout: Layout, softcap: float, entropy: bool, dtype: torch.dtype) -> None:
    rows = _rows(layout, softcap, dtype)
    kernels.forward(rows, _vector(), _vector() if entropy else None, _vector(), _vector())


def _backward(layout: Layout, softcap: float, entropy: bool, dtype: torch.dtype, out: torch.dtype) -> None:
    rows = _rows(layout, softcap, dtype)
    dlogits = narrowed(rows.logits, out)
    kernels.backward(rows, _vector(), _vector(), _vector(), _vector() if entropy else None, dlogits)


def _fused(
    layout: Layout, softcap: float, options: PolicyObjective, dtype: torch.dtype, out: torch.dtype | None,
    config: Config | None = None,
) -> None:  # fmt: skip
    rows = _rows(layout, softcap, dtype)
    everything = options == EVERYTHING
    inputs = TokenInputs(
        _vector(), _vector(),
        index=_vector(torch.int64) if everything else None,
        active=_vector(torch.bool),
        old_logprobs=_vector(),
        ref_logprobs=_vector() if everything else None,
        sampling_logprobs=_vector() if everything else None,
    )  # fmt: skip
    objective = token_objective(options, inputs, has_entropy=everything)
    dlogits = None if out is None else narrowed(rows.logits, out)
    statistics: RowStatistics | None = new_statistics(rows.logits, N, everything) if everything else None
    report = token_report.new_report(N, torch.device("meta"))
    fused.fused_loss(rows, objective, report, dlogits, statistics, config)


# The Triton copies of surrogates.py and kl.py; scalars are real numbers, except N.
OBJECTIVE = {p.name: 0.5 for p in triton_objective.objective_kernel.params} | {"N": 27, "BLOCK": 128}


def _objective() -> None:
    vectors = {name: _vector() for name in OBJECTIVE if name.endswith("_ptr")}
    options = {"num_warps": 4, "enable_fp_fusion": True}
    triton_objective.objective_kernel[(1,)](**OBJECTIVE | vectors | options)


def _reduced() -> None:
    token_report.reduce_report(token_report.new_report(N, torch.device("meta")))


@cache
def launches() -> dict[str, Launch]:
    """A chosen set of variants of every kernel, by a name for people."""
    chosen = {
        "objective_kernel": Launch(triton_objective, "objective_kernel", _objective, quick=True),
        "_reduce": Launch(token_report, "_reduce", _reduced, quick=True),
    }

    def add(module: ModuleType, kernel: str, words: str, layout: Layout, start: Any, quick: set[str]) -> None:
        name = f"{kernel} {words} V={layout[0]}/{layout[1]}"
        has_tiles = kernel in ("_forward", "_backward", "_looped")
        chosen[name] = Launch(module, kernel, start, name in quick, kernel == "_held", has_tiles)

    for layout, (softcap, entropy), dtype in _cases(FLOATS):
        words = f"{TYPES[dtype]}{' softcap' * (softcap > 0)}{' entropy' * entropy}"
        add(kernels, "_forward", words, layout, partial(_forward, layout, softcap, entropy, dtype), QUICK)
    for layout, (softcap, entropy), (dtype, out) in _cases(PAIRS):
        if layout == ODD and dtype != out:
            continue
        words = f"{TYPES[dtype]}->{TYPES[out]}{' softcap' * (softcap > 0)}{' entropy' * entropy}"
        start = partial(_backward, layout, softcap, entropy, dtype, out)
        add(kernels, "_backward", words, layout, start, QUICK)
    for layout, dtype, out, softcap, options in LOOPED:
        kind = "everything" if options == EVERYTHING else options.loss_type
        words = f"{TYPES[dtype]}->{TYPES[out] if out else 'none'}{' softcap' * (softcap > 0)} {kind}"
        add(fused, "_looped", words, layout, partial(_fused, layout, softcap, options, dtype, out), QUICK)
    for V, dtype, options, config in OTHERS:
        kernel, out = f"_{config.variant}", BF16
        kind = "everything" if options == EVERYTHING else options.loss_type
        words = f"{TYPES[dtype]}->{TYPES[out]} {kind} warps={config.warps} ctas={config.ctas}"
        start = partial(_fused, (V, V), 0.0, options, dtype, out, config)
        add(fused, kernel, words, (V, V), start, QUICK)
    return chosen


FLOATS = [BF16, FP16, FP32]
# Of the logits and of dlogits. Where these are narrower they overwrite fp32 logits, as in the linear head.
PAIRS = [(dtype, dtype) for dtype in FLOATS] + [(FP32, dtype) for dtype in FLOATS[:2]]


def _cases(dtypes: list[Any]) -> Iterator[tuple[Layout, tuple[float, bool], Any]]:
    """Layouts other than the plain one with the entropy alone: the switches meet nothing that moves."""
    for dtype in dtypes:
        for switches in ((0.0, False), (0.0, True), (30.0, True)):
            yield ALIGNED, switches, dtype
        yield ODD, (0.0, True), dtype
    yield PADDED, (0.0, True), dtypes[-1]


LOOPED: list[tuple[Layout, torch.dtype, torch.dtype | None, float, PolicyObjective]] = [
    (ALIGNED, BF16, BF16, 0.0, DAPO),
    (ALIGNED, BF16, BF16, 0.0, EVERYTHING),
    (ALIGNED, BF16, BF16, 30.0, EVERYTHING),
    (ALIGNED, BF16, BF16, 0.0, CISPO),
    (ALIGNED, BF16, None, 0.0, SAPO),
    (ALIGNED, FP16, FP16, 0.0, EVERYTHING),
    (ALIGNED, FP32, FP32, 0.0, EVERYTHING),
    (ALIGNED, FP32, BF16, 0.0, DAPO),
    (ALIGNED, FP32, BF16, 0.0, EVERYTHING),
    (ALIGNED, FP32, BF16, 30.0, EVERYTHING),
    (ALIGNED, FP32, FP16, 0.0, SAPO),
    (ODD, BF16, BF16, 0.0, EVERYTHING),
    (ODD, FP16, FP16, 0.0, DAPO),
    (ODD, FP32, FP32, 0.0, DAPO),
    (PADDED, FP32, BF16, 0.0, DAPO),
]
OTHERS = [
    (32_000, BF16, EVERYTHING, Config("persistent", warps=16)),
    (151_936, FP32, DAPO, Config("persistent", warps=32)),
    (32_000, BF16, EVERYTHING, Config("held", warps=16, ctas=4)),
    (128_256, BF16, EVERYTHING, Config("held", warps=16, ctas=8)),
    (151_936, FP32, EVERYTHING, Config("held", warps=16, ctas=8)),
    (151_936, FP32, EVERYTHING, Config("held", warps=16, ctas=16, registers=64)),
    (248_320, BF16, DAPO, Config("held", warps=16, ctas=16)),
]
QUICK = {
    "_forward bf16 entropy V=32000/32000",
    "_forward bf16 softcap entropy V=32000/32000",
    "_forward bf16 entropy V=50257/50257",
    "_backward fp32->bf16 entropy V=32000/32000",
    "_backward bf16->bf16 entropy V=50257/50257",
    "_looped bf16->bf16 everything V=32000/32000",
    "_looped bf16->bf16 everything V=50257/50257",
    "_looped fp32->bf16 dapo V=32000/32000",
    "_held fp32->bf16 everything warps=16 ctas=8 V=151936/151936",
}


# --- what becomes of it ----------------------------------------------------------------------------


class _Compiler:
    """In a kernel's place: compiles what would be launched."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.compiled: list[Any] = []
        self.per_thread = 0

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def launch(**arguments: Any) -> None:
            self.per_thread = arguments.get("STEPS", 0) * arguments.get("VEC", 0)
            self.compiled.append(self.kernel.warmup(grid=grid, **arguments))

        return launch


def build(launch: Launch, architecture: int) -> dict[str, Any]:
    """Registers a thread, bytes of shared memory and of spills, `extremes`, `loops`, and `trace` of the PTX.

    extremes: how many instructions take the larger or the smaller of two floats, and a number before NaN.
    loops: of the machine code, as machine_code.py reads them; None without a disassembler.
    """
    driver.set_active(NamedGpu(architecture))
    knobs.compilation.always_compile = knobs.nvidia.dump_ptxas_log = True
    kernel = getattr(launch.module, launch.kernel)
    compiler = _Compiler(kernel)
    setattr(launch.module, launch.kernel, compiler)
    try:
        with contextlib.redirect_stdout(io.StringIO()) as log:
            launch.start()
    finally:
        setattr(launch.module, launch.kernel, kernel)
    (compiled,) = compiler.compiled
    return {
        "registers": int(re.findall(r"Used (\d+) registers", log.getvalue())[-1]),
        "shared": compiled.metadata.shared,
        "spilled": sum(int(n) for n in re.findall(r"(\d+) bytes spill (?:stores|loads)", log.getvalue())),
        "threads": 32 * compiled.metadata.num_warps,
        "per_thread": compiler.per_thread if launch.tiles else 0,
        "extremes": len(
            re.findall(r"^\s*(?:@!?%p\d+ )?(?:max|min)\.(?!NaN)\S*f32\s", compiled.asm["ptx"], re.M)
        ),
        "loops": loops(compiled.asm["cubin"]),
        **trace(compiled.asm["ptx"], list(_runtime(compiled.src.signature))),
    }


def _runtime(signature: dict[str, Any]) -> Iterator[str]:
    """The names of the arguments that reach the kernel; those of a tuple by their place in it."""
    for name, kind in signature.items():
        if isinstance(kind, tuple):
            yield from _runtime({f"{name}.{place}": inner for place, inner in enumerate(kind)})
        elif kind != "constexpr":
            yield name


def trace(ptx: str, parameters: list[str]) -> dict[str, Any]:
    """Where addresses come from.

    products: for each stride, the widths in bits of its products with the program's number.
    tiles: (instruction, strides in its address) of the loads and stores of which each thread has its own.
    order: of these, all others of logits and dlogits, and the barriers, as `ld`, `bar` and `st`.
    """
    lines = [
        (opcode, [re.findall(r"%\w+(?:\.x)?|_param_\d+", operand) for operand in _operands(rest)])
        for opcode, rest in re.findall(r"^\s*(?:@!?%p\d+ )?([a-z]+\.[\w.:]+)\s+([^;]*);", ptx, re.M)
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
                if last and address & {"thread", "logits_ptr", "dlogits_ptr"}:
                    order.append(opcode[:2])
                if last and "thread" in address:
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
    """`build` of each launch with `part` in its name, or of the quick ones, on all cores."""
    chosen = [
        name
        for name, launch in launches().items()
        if (launch.quick if part == "quick" else part in name)
        and (not launch.clusters or (architecture in CLUSTERS and VERSION >= SUMS_OVER_CLUSTERS))
    ]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), get_context("fork")) as pool:
        return dict(zip(chosen, pool.map(_built, chosen, [architecture] * len(chosen)), strict=True))


def _built(name: str, architecture: int) -> dict[str, Any]:
    return build(launches()[name], architecture)


def first_walk(built: dict[str, Any]) -> float | None:
    """Instructions a logit of the loops that read and do not write, the worst of them."""
    walks = [loop["instructions"] for loop in built["loops"] or () if loop["loads"] and not loop["stores"]]
    if not walks or not built["per_thread"]:
        return None
    return round(max(walks) / built["per_thread"], 2)


def write() -> None:
    table = json.loads(TABLE.read_text()) if TABLE.is_file() else {}
    figures: dict[str, dict[str, list[Any]]] = defaultdict(dict)
    for architecture in ARCHITECTURES:
        for name, built in report(architecture).items():
            row = [built["registers"], built["shared"], first_walk(built)]
            figures[name][str(architecture)] = row
    table[triton.__version__] = figures
    lines = re.sub(r"\s*\n {3,}|\s*\n  (?=\})", " ", json.dumps(table, indent=1))  # one for each variant
    TABLE.write_text(lines + "\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write()
    else:
        print(json.dumps(report(int(sys.argv[1]), *sys.argv[2:])))
