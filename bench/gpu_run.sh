#!/usr/bin/env bash
# A part of the bench on a bare GPU machine: Python, torch and Triton are enough; no network, no installation.
#     bench/gpu_run.sh [--tiny] OUT PART     PART 1: smoke tests, products, sweep; 2: the head and its peers;
#                                            3: sustained clocks, bytes, a traced step, the host's clock
# A part takes four minutes at most and writes OUT/part<PART>.json as results come, so a part that is killed loses
# nothing. --tiny rehearses it at tiny shapes, on a CPU too. DUPO_PEERS names what `.ci/peers DIRECTORY` made.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
for name in trl liger verl cce quack; do
    [ ! -d "${DUPO_PEERS:-/nowhere}/$name" ] || export "DUPO_PEER_${name^^}=$DUPO_PEERS/$name"
done
# 99: kineto tells of every start and stop of the profiler, a thousand lines a run.
export PYTHONPATH="$root:$root/kernels${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 KINETO_LOG_LEVEL=99
# The program ends in time by itself; `timeout` is for one that hangs, with all that it started.
exec timeout --kill-after=5 240 "${PYTHON:-python3}" -m bench.loss_head.gpu_run "$@"
