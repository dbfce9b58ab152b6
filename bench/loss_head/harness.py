"""Times variants of one operation against each other on the device at hand.

Variants run in turn (A, B, C, A, B, C, ...), so that what the device does meanwhile (clocks, other work)
meets all alike. On a GPU each turn is an untimed run, which fills the allocator, and timed ones, before each
of which the last-level cache is overwritten; a time is that of the device, between two events, and the host
gets a head start, so that its launches do not count. On a CPU it is the wall clock's. What fails (absent,
out of memory, unsupported) becomes a row that says why.
"""

import contextlib
import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

FEWEST, MOST = 3, 10  # turns
HEAD_START_CYCLES = 2_000_000  # of the GPU's clock, about a millisecond
Row = dict[str, Any]


class Result(NamedTuple):
    """What a run yields, for comparison with the truth: logp or loss, and the gradients of the leaves."""

    value: Tensor | None = None
    gradients: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Call:
    """What is timed, and what comes before each run, untimed."""

    run: Callable[[], Result]
    before: Callable[[], None] = lambda: None


@dataclass
class Group:
    """Variants of one operation on the same inputs.

    Attributes:
        about: op, setting, pass, shape and dtype; goes into every row.
        work: of one run, what it takes at least, for every variant: flop if unit is TFLOP/s, bytes if GB/s.
        floor: the variant that nothing can beat; times are given as multiples of its.
        errors: errors of a result against the truth.
        variants: by name, "ours..." for ours, what makes the call, and raises what makes that impossible.
    """

    about: Row
    work: float
    unit: str
    floor: str
    errors: Callable[[Result], dict[str, float]] = lambda _: {}
    variants: dict[str, Callable[[], Call]] = field(default_factory=dict)

    def add(
        self, name: str, call: Callable[..., Call], make: Callable[..., Any], *args: Any, **options: Any
    ) -> None:
        """A variant whose call is call(make(*args, **options)), made when its turn comes."""
        self.variants[name] = lambda: call(make(*args, **options))


@dataclass
class Session:
    """How groups are measured.

    Attributes:
        seconds: of timing for a group, beyond FEWEST turns.
        end: by time.monotonic(); after it no variant is begun.
        lost: variants not to be tried, and why.
        begins: is told of each variant before it runs.
    """

    device: torch.device
    seconds: float = 0.0
    end: float = float("inf")
    lost: Mapping[str, str] = field(default_factory=dict)
    begins: Callable[[str], None] = lambda _: None

    def measure(self, group: Group) -> list[Row]:
        """One row for each variant."""
        gc.collect()
        gc.freeze()  # else a look for garbage after each variant can take longer than the variant
        try:
            return self._measure(group)
        finally:
            gc.unfreeze()

    def _measure(self, group: Group) -> list[Row]:
        rows: dict[str, Row] = {}
        calls: dict[str, Call] = {}
        for name, build in group.variants.items():
            row = rows[name] = group.about | {"variant": name, "unit": group.unit, "reason": None}
            if name in self.lost or time.monotonic() > self.end:
                row["reason"] = self.lost.get(name, "no time left")
                continue
            self.begins(name)
            try:
                call = build()
                row |= self._once(call, group)
                calls[name] = call
            except Exception as error:
                row["reason"] = reason(error)
            self._release()
        for name, found in self._in_turns(calls, rows).items():
            if len(found) >= 2 and not rows[name]["reason"]:
                rows[name] |= spread(found, group)
        floor = rows.get(group.floor, {}).get("seconds")
        for row in rows.values():
            if floor and "seconds" in row:
                row["times_floor"] = row["seconds"] / floor
        return list(rows.values())

    def _once(self, call: Call, group: Group) -> Row:
        """Errors and peak memory. On a GPU the first run compiles; what the last does not write is NaN."""
        call.before()
        if self.device.type != "cuda":
            result, peak = peak_extra(call.run, self.device)
            return {"peak_bytes": peak, "errors": group.errors(result)}
        call.run()
        call.before()
        peak = peak_extra(call.run, self.device)[1]
        call.before()
        with contextlib.suppress(torch.OutOfMemoryError):
            torch.full((max(peak, 4) // 4,), torch.nan, device=self.device)
        return {"peak_bytes": peak, "errors": group.errors(call.run())}

    def _in_turns(self, calls: Mapping[str, Call], rows: dict[str, Row]) -> dict[str, list[float]]:
        """Times of each call; one that fails is left out from then on, with the reason in its row."""
        times: dict[str, list[float]] = {name: [] for name in calls}
        stop = time.monotonic() + self.seconds
        for turn in range(MOST):
            if turn >= FEWEST and time.monotonic() > min(stop, self.end):
                break
            for name in [name for name in calls if not rows[name]["reason"]]:
                self.begins(name)
                try:
                    times[name] += self._turn(calls[name])
                except Exception as error:
                    rows[name]["reason"] = reason(error)
                    self._release()
        return times

    def _turn(self, call: Call) -> list[float]:
        """Seconds."""
        call.before()
        if self.device.type != "cuda":
            start = time.perf_counter()
            call.run()
            return [time.perf_counter() - start]
        call.run()
        found = []
        size = 2 * torch.cuda.get_device_properties(self.device).L2_cache_size
        cache = torch.empty(size, dtype=torch.uint8, device=self.device)
        for _ in range(2):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            call.before()
            cache.zero_()
            torch.cuda._sleep(HEAD_START_CYCLES)
            start.record()
            call.run()
            end.record()
            end.synchronize()
            found.append(start.elapsed_time(end) / 1e3)
        return found

    def _release(self) -> None:
        """Gives back what a finished or failed variant held. Raises if it took the device with it."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.empty_cache()


def peak_extra(call: Callable[[], Any], device: torch.device) -> tuple[Any, int]:
    """(result, bytes at the peak beyond those before), the result included.

    On a CPU every allocation of a tensor counts, those inside torch's own functions too.
    """
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = call()
        torch.cuda.synchronize()
        return result, torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        result = call()
    live = peak = 0
    for event in trace.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    return result, peak


def spread(times: list[float], group: Group) -> Row:
    """Median and quartiles of seconds, and the rate."""
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive")
    rate = group.work / middle / (1e12 if group.unit == "TFLOP/s" else 1e9)
    return {"seconds": middle, "q1": low, "q3": high, "runs": len(times), "rate": rate}


def reason(error: BaseException) -> str:
    """One line; the first of the message."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:100]
