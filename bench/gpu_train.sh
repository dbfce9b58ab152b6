#!/usr/bin/env bash
# What a training step is made of, on a bare GPU machine: Python, torch and transformers are enough; no network.
#     bench/gpu_train.sh [--tiny] OUT PART     PART 1: tokens a second of each engine at 8, 64 and 256 rows;
#                                              2: new weights for each engine, a whole step with its profile
# A part takes four minutes at most and writes OUT/part<PART>.json as results come, so a part that is killed loses
# nothing. --tiny rehearses it with a tiny model, on a CPU too.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# 99: kineto tells of every start and stop of the profiler.
export PYTHONPATH="$root:$root/kernels${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 KINETO_LOG_LEVEL=99
# The program ends in time by itself; `timeout` is for one that hangs, with all that it started.
exec timeout --kill-after=5 240 "${PYTHON:-python3}" -m bench.training.gpu_train "$@"
