"""One part of what a training step is made of, within a time limit; bench/gpu_train.sh starts it.

    bench/gpu_train.sh [--tiny] OUT PART

steps.py has the steps. Results are written as those of bench/gpu_run.sh are, by the same supervisor.
"""

from bench.loss_head.gpu_run import Program, main
from bench.training.steps import parts

PROGRAM = Program("bench.training.gpu_train", "bench/gpu_train.sh", __doc__ or "", parts)

if __name__ == "__main__":
    main(PROGRAM)
