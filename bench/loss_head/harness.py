"""Times variants of one operation against each other on the device at hand.

Variants run in turn (A, B, C, A, B, C, ...), so that a change of clocks or other work on the device meets
every variant. On a GPU a turn is one untimed run, which fills the allocator, and two timed runs. Before each
timed run the last-level cache is overwritten. A GPU time is the time between two events on the device; a head
start of the host hides the cost of launching, which the wall clock over runs back to back shows. On a CPU the
time is wall time. A variant that fails (absent, out of memory, unsupported) becomes a measurement that says
why.
"""

import contextlib
import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from bench.loss_head.measurement import Case, Measurement

MIN_TURNS, MAX_TURNS = 3, 10
WALL_RUNS = 10
HEAD_START_CYCLES = 2_000_000  # of the GPU's clock, about a millisecond


class Result(NamedTuple):
    """What a run returns for comparison with the truth: logp or loss, and the gradients of the leaves."""

    value: Tensor | None = None
    gradients: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Call:
    """What is timed.

    Attributes:
        run: the timed function.
        prepare: runs before each `run`, untimed.
    """

    run: Callable[[], Result]
    prepare: Callable[[], None] = lambda: None


@dataclass
class Comparison:
    """Variants of one operation on the same inputs.

    Attributes:
        work: the least that one run takes, of every variant: flop if the unit is TFLOP/s, bytes if GB/s.
        floor: the variant that nothing can beat; times are also told as multiples of its time.
        errors: result -> errors against the truth, by what was compared.
        variants: name -> function that makes the call, and raises where the variant cannot run.
    """

    case: Case
    work: float
    unit: str
    floor: str
    errors: Callable[[Result], dict[str, float]] = lambda _: {}
    variants: dict[str, Callable[[], Call]] = field(default_factory=dict)

    def add(
        self, name: str, call: Callable[..., Call], make: Callable[..., Any], *args: Any, **options: Any
    ) -> None:
        """Adds a variant whose call is call(make(*args, **options)), made when its turn comes."""
        self.variants[name] = lambda: call(make(*args, **options))


@dataclass
class Timer:
    """How comparisons are measured.

    Attributes:
        seconds: timing of one comparison goes on for so long after MIN_TURNS turns.
        end: time.monotonic() after which no variant is begun.
        wall: also take the wall clock over WALL_RUNS runs back to back.
        folder: where a step may leave files of its own; None: nowhere.
        skipped: variant -> why it is not tried.
        on_variant: gets the name of each variant before the variant runs.
    """

    device: torch.device
    seconds: float = 0.0
    end: float = float("inf")
    wall: bool = False
    folder: Path | None = None
    skipped: Mapping[str, str] = field(default_factory=dict)
    on_variant: Callable[[str], None] = lambda _: None

    def measure(self, comparison: Comparison) -> list[Measurement]:
        """One measurement for each variant, in their order."""
        gc.collect()
        gc.freeze()  # a garbage collection after each variant could otherwise take longer than the variant
        try:
            return self._measure(comparison)
        finally:
            gc.unfreeze()

    def _measure(self, comparison: Comparison) -> list[Measurement]:
        measurements = {n: Measurement(comparison.case, n, comparison.unit) for n in comparison.variants}
        calls: dict[str, Call] = {}
        for name, build in comparison.variants.items():
            measurement = measurements[name]
            if name in self.skipped or time.monotonic() > self.end:
                measurement.reason = self.skipped.get(name, "no time left")
                continue
            # Told before the variant is built: building compiles kernels, which can fail as well.
            self.on_variant(name)
            try:
                calls[name] = self._build(build, measurement)
                self._measure_memory(calls[name], comparison, measurement)
            # A peer may raise anything; its failure must not end the comparison.
            except Exception as error:
                measurement.reason = reason(error)
                calls.pop(name, None)
            self._release()
        # Timed only after every variant has run once, so that no compilation disturbs the others.
        self._time_in_turns(calls, comparison, measurements)
        floor = measurements[comparison.floor].seconds if comparison.floor in measurements else None
        for measurement in measurements.values():
            if floor and measurement.seconds is not None:
                measurement.times_floor = measurement.seconds / floor
        return list(measurements.values())

    def _build(self, build: Callable[[], Call], measurement: Measurement) -> Call:
        """The call of a variant. On a GPU it has run once: that run compiles, which takes its own memory."""
        start = time.monotonic()
        call = build()
        if self.device.type == "cuda":
            call.prepare()
            call.run()
            torch.cuda.synchronize()
        measurement.build_seconds = time.monotonic() - start
        return call

    def _measure_memory(self, call: Call, comparison: Comparison, measurement: Measurement) -> None:
        """Fills in errors and peak memory."""
        call.prepare()
        if self.device.type != "cuda":
            result, measurement.peak_bytes = peak_extra(call.run, self.device)
            measurement.errors = comparison.errors(result)
            return
        measurement.peak_bytes = peak = peak_extra(call.run, self.device)[1]
        call.prepare()
        # Free memory is filled with NaN: a result that the run forgets to write then shows as an error.
        with contextlib.suppress(torch.OutOfMemoryError):
            torch.full((max(peak, 4) // 4,), torch.nan, device=self.device)
        measurement.errors = comparison.errors(call.run())

    def _time_in_turns(
        self, calls: Mapping[str, Call], comparison: Comparison, measurements: Mapping[str, Measurement]
    ) -> None:
        """Fills in the times. A variant that fails is left out from then on, with the reason."""
        times: dict[str, list[float]] = {name: [] for name in calls}
        stop = time.monotonic() + self.seconds
        for turn in range(MAX_TURNS):
            if turn >= MIN_TURNS and time.monotonic() > min(stop, self.end):
                break
            for name in [name for name in calls if not measurements[name].reason]:
                self.on_variant(name)
                try:
                    times[name] += self._turn(calls[name])
                except Exception as error:
                    measurements[name].reason = reason(error)
                    self._release()
        for name, seconds in times.items():
            if len(seconds) >= 2 and not measurements[name].reason:
                fill_in_times(measurements[name], seconds, comparison.work)
                if self.wall:
                    self.on_variant(name)
                    measurements[name].wall_seconds = self._back_to_back(calls[name])

    def _turn(self, call: Call) -> list[float]:
        """Seconds of one turn."""
        call.prepare()
        if self.device.type != "cuda":
            start = time.perf_counter()
            call.run()
            return [time.perf_counter() - start]
        call.run()
        seconds = []
        # Twice the cache, so that nothing of the inputs stays in the cache.
        size = 2 * torch.cuda.get_device_properties(self.device).L2_cache_size
        cache = torch.empty(size, dtype=torch.uint8, device=self.device)
        for _ in range(2):
            start_event, end_event = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            call.prepare()
            cache.zero_()
            # The device waits until the host has queued the whole run.
            torch.cuda._sleep(HEAD_START_CYCLES)
            start_event.record()
            call.run()
            end_event.record()
            end_event.synchronize()
            seconds.append(start_event.elapsed_time(end_event) / 1e3)
        return seconds

    def _back_to_back(self, call: Call) -> float:
        """Seconds a run by the host's clock, over WALL_RUNS runs that nothing separates."""
        # Inputs are restored once: a run over what the last one left takes as long.
        call.prepare()
        self.wait()
        start = time.perf_counter()
        for _ in range(WALL_RUNS):
            call.run()
        self.wait()
        return (time.perf_counter() - start) / WALL_RUNS

    def wait(self) -> None:
        """Waits until the device has done all that was queued."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _release(self) -> None:
        """Frees what a finished or failed variant held. Raises if the variant took the device with it."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.empty_cache()


def peak_extra(call: Callable[[], Any], device: torch.device) -> tuple[Any, int]:
    """Returns (result, bytes at the peak beyond the bytes before), the result included.

    On a CPU every allocation of a tensor counts, also an allocation inside a function of torch.
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
    # Allocations and frees in the order of time: the running sum is the live memory.
    for event in trace.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    return result, peak


def fill_in_times(measurement: Measurement, seconds: list[float], work: float) -> None:
    """Fills in median, quartiles and rate from the seconds of every run."""
    # The median, because other work on the machine disturbs single runs.
    low, middle, high = statistics.quantiles(seconds, n=4, method="inclusive")
    measurement.seconds, measurement.q1, measurement.q3 = middle, low, high
    measurement.runs = len(seconds)
    measurement.rate = work / middle / (1e12 if measurement.unit == "TFLOP/s" else 1e9)


def reason(error: BaseException) -> str:
    """One line: the type of the error and the first line of its message."""
    lines = str(error).strip().splitlines() or [""]
    # Messages of torch are long, and a table has one line for a variant.
    return f"{type(error).__name__}: {lines[0]}"[:100]
