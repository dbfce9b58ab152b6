"""What a profile says: launches, and which kernels take the time."""

from typing import Any

import torch
from torch.profiler import profile

NUM_KERNELS = 12  # of the longest


def spent(trace: profile, on_gpu: bool) -> dict[str, Any]:
    """Launches, time of the device in ms, and the longest kernels: [launches, ms] by name.

    On a CPU the operators of torch stand for the kernels of a GPU.
    """
    device = torch.autograd.DeviceType.CUDA if on_gpu else torch.autograd.DeviceType.CPU
    events = [event for event in trace.key_averages() if event.device_type == device]
    seconds = {e.key: e.self_device_time_total if on_gpu else e.self_cpu_time_total for e in events}
    longest = sorted(events, key=lambda e: -seconds[e.key])[:NUM_KERNELS]
    return {
        "launches": sum(event.count for event in events),
        "device_ms": sum(seconds.values()) / 1e3,
        "longest": {e.key[:60]: [e.count, seconds[e.key] / 1e3] for e in longest},
    }
