"""The largest memory of a process, as the operating system counted it."""

import resource
import sys


def peak_bytes(usage: resource.struct_rusage) -> int:
    """Returns the largest resident size so far, in bytes."""
    # The unit of ru_maxrss is bytes on macOS and KiB on Linux.
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
