"""What was measured of one variant of one operation, what else a step says, and how a file holds both."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, Self

Shape = tuple[int, int, int]  # N tokens, V vocabulary, H hidden size; H is 0 where there is no hidden state


class Case(NamedTuple):
    """Which operation, on which inputs.

    Attributes:
        op: linear_objective, linear_token_logprobs, token_logprobs, fused_policy_loss, gemm or sweep.
        setting: the options of the operation in words.
        passes: "forward" or "forward+backward".
        dtype: of the inputs, without "torch.".
    """

    op: str
    setting: str
    passes: str
    shape: Shape
    dtype: str

    @property
    def size(self) -> str:
        """The shape in words: "N=8192, V=151936, H=4096"."""
        return ", ".join(f"{letter}={n}" for letter, n in zip("NVH", self.shape, strict=True) if n)

    @property
    def place(self) -> str:
        """Shape and dtype in words."""
        return f"{self.size}, {self.dtype}"

    @property
    def title(self) -> str:
        """All of the case in words."""
        return f"{self.op} ({self.setting}), {self.passes}, {self.place}"


@dataclass
class Measurement:
    """One variant of a case. What could not be measured is None.

    Attributes:
        variant: name of the variant; names that begin with "ours" are dupo_kernels.
        unit: of `rate`, TFLOP/s or GB/s.
        reason: why the variant was not measured to the end.
        seconds: median over the runs; q1 and q3 are quartiles.
        runs: number of timed runs.
        rate: the least work of the operation, per second.
        times_floor: seconds as a multiple of those of the floor.
        wall_seconds: of a run on the host's clock, runs back to back; what the host needs to launch counts.
        build_seconds: of making the variant and its first run, compilation included; in no other figure.
        peak_bytes: memory at the peak beyond the memory before.
        errors: against float64, by what was compared.
        step: number of the step of the GPU suite.
    """

    case: Case
    variant: str
    unit: str = ""
    reason: str | None = None
    seconds: float | None = None
    q1: float | None = None
    q3: float | None = None
    runs: int | None = None
    rate: float | None = None
    times_floor: float | None = None
    wall_seconds: float | None = None
    build_seconds: float | None = None
    peak_bytes: int | None = None
    errors: dict[str, float] = field(default_factory=dict)
    step: int | None = None

    @property
    def is_ours(self) -> bool:
        """Whether the variant is dupo_kernels."""
        return self.variant.startswith("ours")

    @property
    def is_floor(self) -> bool:
        """Whether the variant is what nothing can beat: products or a copy and nothing else."""
        return "bare" in self.variant or "copy" in self.variant

    @property
    def share(self) -> float | None:
        """The rate as a share of the floor's, which was measured in the same run."""
        return 1 / self.times_floor if self.times_floor else None

    @property
    def error_text(self) -> str:
        """The errors in words."""
        return ", ".join(f"{name} {error:.1e}" for name, error in self.errors.items())

    def to_json(self) -> dict[str, Any]:
        """The object of a result file; what is None is left out, but not the reason."""
        case = self.case._asdict()
        values = {spec.name: getattr(self, spec.name) for spec in fields(self) if spec.name != "case"}
        measured = {name: value for name, value in values.items() if value is not None or name == "reason"}
        # `pass` is a keyword of Python and cannot name a field.
        return {"pass" if name == "passes" else name: value for name, value in case.items()} | measured

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """The measurement that an object of a result file holds."""
        case = Case(row["op"], row["setting"], row["pass"], tuple(row["shape"]), row["dtype"])
        names = {spec.name for spec in fields(cls)} - {"case"}
        return cls(case, **{name: value for name, value in row.items() if name in names})


@dataclass
class Fact:
    """What a step says that is no time of a variant.

    Attributes:
        name: of the step.
        kind: what the values are about: clocks before and after, compile, check, tests, bytes, trace,
            sustained; or failed.
        values: by name; what JSON can hold.
        reason: why the step could not say it.
        step: number of the step of the GPU run.
    """

    name: str
    kind: str
    values: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    step: int | None = None

    @property
    def text(self) -> str:
        """The fact in a line."""
        values = ", ".join(f"{name} {_short(value)}" for name, value in self.values.items())
        return f"{self.kind} ({self.name}): {self.reason or values}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
