"""Options of a run in several processes, by the names of accelerate, torchtitan and transformers."""

from dataclasses import dataclass

from dupo.config.values import Options, option

MOST_RANKS = 4096


@dataclass(frozen=True)
class RankOptions(Options):
    """How several processes train one model."""

    num_processes: int | None = option(
        None,
        "processes that train one model together on this machine, each on its own GPU, or all on the CPU; "
        "torchrun starts them as well, on one machine or several; none: one, or those of torchrun",
        at_least=1,
        at_most=MOST_RANKS,
    )
    data_parallel_shard_degree: int | None = option(
        None,
        "processes that share one copy of weights, gradients and optimizer states out among them (FSDP2); "
        "groups of so many repeat it (HSDP); none: those of one machine",
        at_least=1,
        at_most=MOST_RANKS,
    )
    cpu_offload: bool = option(
        False,
        "with several processes: keep weights, gradients and optimizer states in the memory of the CPU, and "
        "on the GPU only the layer that computes",
    )
    ddp_timeout: float = option(
        1800.0,
        "most seconds that a process waits for the others in one exchange; while others sample, seconds "
        "without a completion that ends, and at a server no less than its own limits",
        at_least=1,
        at_most=1e6,
    )
