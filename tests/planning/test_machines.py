"""Which GPUs a plan is of: one for each process of the run, in groups that training takes as well."""

import pytest

from dupo.config.command_line import parse
from dupo.config.plan_options import PlanOptions
from dupo.errors import UserError
from dupo.planning.machines import machine_of


def test_each_process_of_the_run_has_a_gpu() -> None:
    for options, gpus, shards in (([], 1, 1), (["--num_processes", "16"], 16, 8)):
        machine = machine_of(PlanOptions(memory=80), parse(options))
        assert (machine.gpus, machine.shards) == (gpus, shards)


@pytest.mark.parametrize(
    ("gpus", "options", "said"),
    [
        (8, ["--num_processes", "4"], "gpus: expected 4, one for each of num_processes, got 8"),
        (12, [], "gpus_per_node: expected a divisor of the 12 GPUs, got 8"),
        (8, ["--data_parallel_shard_degree", "3"], "shard_degree: expected a divisor of the 8 GPUs, got 3"),
    ],
)
def test_gpus_that_no_run_has_are_refused(gpus: int, options: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        machine_of(PlanOptions(gpus=gpus, memory=80), parse(options))
