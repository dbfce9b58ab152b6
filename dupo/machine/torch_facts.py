"""What torch says of itself and of the GPUs, as one line of JSON: a process of its own for `dupo doctor`.

A torch that is broken may end the process that imports it. The line comes before the GPUs are tried: what is
known of them stands, even where they do not work.
"""

import json
import warnings
from importlib.util import find_spec
from typing import Any

import torch


def torch_facts() -> dict[str, Any]:
    """The fields of `dupo.machine.facts.Torch`."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    properties = [torch.cuda.get_device_properties(index) for index in range(count)]
    built_for = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU alone"
    return {
        "version": str(torch.__version__),
        "built_for": f"ROCm {torch.version.hip}" if torch.version.hip else built_for,
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "gpus": [
            {"name": gpu.name, "capability": [gpu.major, gpu.minor], "memory": gpu.total_memory}
            for gpu in properties
        ],
        "gpu_warning": " ".join(str(warned[0].message).split()) if warned else "",
        "has_varlen": find_spec("torch.nn.attention.varlen") is not None,
    }


def try_gpus(count: int) -> None:
    """Computes a sum on every GPU; a GPU that this build of torch does not serve raises RuntimeError."""
    for index in range(count):
        assert torch.ones(8, device=f"cuda:{index}").sum().item() == 8


if __name__ == "__main__":
    facts = torch_facts()
    print(json.dumps(facts), flush=True)
    try_gpus(len(facts["gpus"]))
