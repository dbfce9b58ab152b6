"""What the compiler makes of the kernels of tokens: `python -m tests.kernels.tokens.compiled_tokens 90`.

The launchers say what is compiled: they run on meta tensors, with `warmup` in place of each launch and a
driver that names a GPU. Prints the bytes of spills by kernel, as JSON. Needs a process of its own.
"""

import contextlib
import io
import json
import re
import sys
from collections import Counter
from typing import Any

import torch
from triton import knobs
from triton.runtime import driver

from dupo_kernels import PolicyObjective, _scaling
from dupo_kernels.tokens import token_report, token_weights, triton_path
from dupo_kernels.tokens.token_inputs import TokenInputs
from dupo_kernels.tokens.token_objective import token_objective
from dupo_kernels.tokens.token_weights import PIECE, Weighing
from tests.helpers.named_gpu import NamedGpu

N, S = 4096, 7
KERNELS = {token_weights: ["_count"], triton_path: ["_losses", "_gradients"], token_report: ["_reduce"]}
KERNELS |= {_scaling: ["_scale"]}


class Compiler:
    """In a kernel's place: compiles what would be launched."""

    def __init__(self, name: str, kernel: Any, spilled: Counter[str]) -> None:
        self.name, self.kernel, self.spilled = name, kernel, spilled

    def __getitem__(self, grid: Any) -> Any:
        def compile(**arguments: Any) -> None:
            with contextlib.redirect_stdout(io.StringIO()) as log:
                self.kernel.warmup(grid=grid, **arguments)
            spills = re.findall(r"(\d+) bytes spill (?:stores|loads)", log.getvalue())
            # What was compiled before is not compiled again.
            assert spills or self.name in self.spilled, "the compiler says nothing of spills"
            self.spilled[self.name] += sum(map(int, spills))

        return compile


def vector(dtype: torch.dtype = torch.float32, size: int = N) -> torch.Tensor:
    return torch.empty(size, dtype=dtype, device="meta")


def launch_all() -> None:
    """Every layout and every way to weigh; the objective with everything, and the least."""
    everything = PolicyObjective(
        "dapo", beta=0.1, entropy_coef=0.1, delta=2.0, vllm_importance_sampling_mode="token_mask"
    )
    mask, bounds, others = vector(torch.bool), vector(torch.int32, S + 1), [vector() for _ in range(3)]
    packed: dict[str, Any] = {"cu_seqlens": bounds, "sequences": S, "num_tokens": N, "length": PIECE}
    by_sequence, num_items = vector(size=S), vector(size=1)
    for objective, inputs, weighing in (
        (everything, TokenInputs(None, vector(), None, mask, *others, length=64), (1.0, None, True, True)),
        (everything, TokenInputs(None, by_sequence, None, mask, *others, **packed), (2.0, None, True, True)),
        (PolicyObjective("grpo"), TokenInputs(None, by_sequence, **packed), (1.0, num_items, False, True)),
        (PolicyObjective("sapo"), TokenInputs(None, vector(), length=PIECE), (9.0, None, False, False)),
    ):
        kernel_objective = token_objective(
            objective,
            inputs,
            has_entropy=objective is everything,
            by_sequence=inputs.advantages is by_sequence,
        )
        triton_path.token_losses(vector(torch.bfloat16), vector(), kernel_objective, Weighing(*weighing))
    triton_path.token_gradients(num_items, vector(), vector(), torch.bfloat16, torch.float32)
    rows = torch.empty(8, 512, dtype=torch.bfloat16, device="meta")
    for gradient in (rows, rows[:, :500], rows.float()):
        _scaling.scale_by_kernel(gradient, num_items, 2.0, torch.bfloat16)


def main(architecture: int) -> None:
    """Prints the spills of all kernels."""
    # One GPU a process: what was compiled for one is taken for another.
    driver.set_active(NamedGpu(architecture))  # type: ignore[arg-type]
    knobs.compilation.always_compile = knobs.nvidia.dump_ptxas_log = True
    spilled: Counter[str] = Counter()
    for module, names in KERNELS.items():
        for name in names:
            setattr(module, name, Compiler(name, getattr(module, name), spilled))
    launch_all()
    print(json.dumps(spilled))


if __name__ == "__main__":
    main(int(sys.argv[1]))
