"""The machine of a plan: how many GPUs, how much memory, how fast.

Speeds are those of data sheets, and the shares of them that are reached are assumptions. Both stand beside
the figures that are made of them.
"""

import time
from dataclasses import dataclass

import torch

from dupo.config.config import Config
from dupo.config.plan_options import PlanOptions
from dupo.errors import UserError
from dupo.machine.facts import usable_memory

GB = 1e9
# GB -> (a card of that size, 1e12 operations a second in dense bfloat16, TB a second), of data sheets.
CARDS: dict[float, tuple[str, float, float]] = {
    24: ("RTX 4090", 165, 1.0),
    48: ("L40S", 362, 0.86),
    80: ("H100 SXM", 989, 3.35),
    141: ("H200", 989, 4.8),
    192: ("B200", 2250, 8.0),
}
SHARE_OF_FLOPS, SHARE_OF_BANDWIDTH = 0.4, 0.7  # that are reached: assumed for GPUs
PRODUCT, TIMES = 768, 5  # size of a product of matrices by which a CPU is measured
COPIED = 2**25  # bytes


@dataclass(frozen=True)
class Machine:
    """Where a run is to be.

    Attributes:
        name: of the device, and where its speed comes from.
        gpus: number of GPUs; 0: the CPU.
        shards: GPUs among which weights are shared out.
        memory: bytes of a GPU, or of the machine.
        flops, bandwidth: operations and bytes a second that are reached by one GPU or by the CPU.
        speed: where these two come from, in words.
    """

    name: str
    gpus: int
    shards: int
    memory: float
    flops: float
    bandwidth: float
    speed: str

    @property
    def ranks(self) -> int:
        """Processes of the run."""
        return max(1, self.gpus)


def machine_of(options: PlanOptions, config: Config) -> Machine:
    """The machine that the options name, or this one: one GPU of it, or its CPU.

    Args:
        config: of the run: its device, and how many ranks share one copy of the weights out.

    Raises:
        UserError: GPUs without a size, on a machine that has none to look at; or GPUs that no run has.
    """
    has_gpu = torch.cuda.is_available()
    if options.gpus is None and options.memory is None and (config.model.device == "cpu" or not has_gpu):
        return cpu_here()
    gpus, shards = _gpus(options, config)
    memory, name = options.memory, ""
    if memory is None:
        if not has_gpu:
            raise UserError(
                "memory: expected --memory GB beside --gpus, as this machine has no GPU, got none"
            )
        properties = torch.cuda.get_device_properties(0)
        memory, name = properties.total_memory / GB, properties.name
    # Of a card that is not here nothing is known but its size, and few cards share a size.
    card, tflops, bandwidth = CARDS[min(CARDS, key=lambda size: abs(size - memory))]
    tflops, bandwidth = options.tflops or tflops, options.bandwidth or bandwidth
    sheet = "--tflops, --bandwidth" if options.tflops and options.bandwidth else f"those of the {card}"
    shares = [f"{share:.0%}" for share in (SHARE_OF_FLOPS, SHARE_OF_BANDWIDTH)]
    return Machine(
        name=f"{gpus} GPU{'s' if gpus > 1 else ''} of {memory:.0f} GB{f' ({name})' if name else ''}",
        gpus=gpus,
        shards=shards,
        memory=memory * GB,
        flops=SHARE_OF_FLOPS * tflops * 1e12,
        bandwidth=SHARE_OF_BANDWIDTH * bandwidth * 1e12,
        speed=f"{shares[0]} of {tflops:g} TFLOP/s, {shares[1]} of {bandwidth:g} TB/s, {sheet}",
    )


def _gpus(options: PlanOptions, config: Config) -> tuple[int, int]:
    """GPUs of a run, one for each of its processes, and among how many of them weights are shared out."""
    processes, degree = config.ranks.num_processes, config.ranks.data_parallel_shard_degree
    if options.gpus is not None and processes not in (None, options.gpus):
        raise UserError(f"gpus: expected {processes}, one for each of num_processes, got {options.gpus}")
    gpus = options.gpus or processes or 1
    shards = min(gpus, degree or options.gpus_per_node)
    # Training refuses them as well.
    if gpus % shards:
        name = "data_parallel_shard_degree" if degree else "gpus_per_node"
        raise UserError(f"{name}: expected a divisor of the {gpus} GPUs, got {shards}")
    return gpus, shards


def cpu_here() -> Machine:
    """This machine without a GPU; how fast it is, is measured in a moment."""
    a, b = torch.ones(2, PRODUCT, PRODUCT).unbind()  # no numbers of the generator that a run draws from
    source, target = torch.zeros(COPIED // 4), torch.empty(COPIED // 4)
    # The best of a few: others may compute beside.
    flops = max(2 * PRODUCT**3 / _seconds(lambda: a @ b) for _ in range(TIMES))
    bandwidth = max(2 * COPIED / _seconds(lambda: target.copy_(source)) for _ in range(TIMES))
    threads = torch.get_num_threads()
    return Machine(
        name=f"this CPU, {threads} thread{'s' if threads > 1 else ''}",
        gpus=0,
        shards=1,
        memory=float(usable_memory() or 0),
        flops=flops,
        bandwidth=bandwidth,
        speed=f"{flops / 1e9:.0f} GFLOP/s and {bandwidth / 1e9:.0f} GB/s, measured just now",
    )


def _seconds(work: object) -> float:
    start = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - start
