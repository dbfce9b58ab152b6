"""What the three parts of bench/gpu_run.sh do, the most important first: what time runs out on is the least.

    1   smoke tests, bare products, the sweep that fills the launch table
    2   the head at the shapes that people train, then beside other libraries, which compile for long
    3   clocks that are sustained, bytes by the hardware's count, a traced step, small shapes by the host's
        clock

Shape letters: N tokens, V vocabulary, H hidden size.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from bench.loss_head.compile_ahead import CompileAhead
from bench.loss_head.dram import DramBytes
from bench.loss_head.harness import Timer
from bench.loss_head.inputs import ORDINARY, Setting
from bench.loss_head.machine import Sustained
from bench.loss_head.measurement import Fact, Measurement, Shape
from bench.loss_head.smoke import CHECKS, Check, Tests
from bench.loss_head.steps import LIBRARIES, Step
from bench.loss_head.sweep import Sweep
from bench.loss_head.training_step import TracedStep

Sizes = Callable[[Shape], Shape]

# (N, V, H): Qwen3-8B, its vocabulary over smaller models, down to Qwen3-0.6B.
LARGE, MIDDLE, SMALL = (8192, 151_936, 4096), (8192, 151_936, 2048), (8192, 151_936, 1024)
LONG = (65_536, 151_936, 2048)
GEMMA, ODD, MASKED = (8192, 262_144, 2304), (16_384, 50_257, 1024), (16_384, 151_936, 2048)
HOST_BOUND = [(1024, 32_000, 2048), (2048, 151_936, 1024)]
VOCABULARIES, SWEPT_TOKENS = (151_936, 32_000, 262_144), 4096
TESTS = [
    Tests("kernels/logits/test_token_logprobs.py", 25),
    Tests("kernels/logits/test_fused_loss.py", 25),
    Tests("kernels/hidden/test_linear_objective.py", 25),
    Tests("kernels/test_nan.py", 15),
]


class AnyStep(Protocol):
    """A step of a part.

    Attributes:
        interpreted: without a GPU the step runs under Triton's interpreter.
    """

    interpreted: bool

    @property
    def name(self) -> str:
        """Name of the step in result files."""
        ...

    def run(self, timer: Timer) -> Iterator[Sequence[Measurement | Fact]]:
        """What the step says, as it comes."""
        ...


def parts(tiny: bool) -> dict[int, list[AnyStep]]:
    """The steps of each part; for a rehearsal tiny ones, in the same order and of the same code."""
    sizes = _tiny if tiny else _same
    return {1: _first(tiny, sizes), 2: _second(sizes), 3: _third(tiny, sizes)}


def _first(tiny: bool, sizes: Sizes) -> list[AnyStep]:
    # Compiled ahead, on all cores: the sweep then waits for no compiler.
    # Under the interpreter a program is slow: rows as short as they can be and still be walked in blocks.
    vocabularies = (VOCABULARIES[0] // 256 // 16 * 16,) if tiny else VOCABULARIES
    steps: list[AnyStep] = [CompileAhead(vocabularies, tiny)]
    steps += [Check(name, sizes((2048, 32_000, 1024))) for name in CHECKS]
    steps += [Tests("kernels/tokens/test_kl.py", 60)] if tiny else TESTS
    steps += [Step("gemms", sizes(shape)) for shape in (LARGE, SMALL)]
    return steps + [
        Sweep(kernel, (4 if tiny else SWEPT_TOKENS, V, 0), dtype, tiny)
        for V in vocabularies
        for dtype in ("bfloat16", "float32")
        for kernel in ("fused", "forward")
    ]


def _second(sizes: Sizes) -> list[AnyStep]:
    both, plain = (True,), (False,)
    torch_alone = {"peers": ("torch",), "backward": both}
    steps: list[AnyStep] = [Step("linear_objective", sizes(LARGE), **torch_alone)]
    steps += [Step("linear_objective", sizes(s), entropy=plain, **torch_alone) for s in (MIDDLE, SMALL)]
    steps += [Step("fused_policy_loss", sizes(LARGE), peers=("torch",))]
    settings = [
        (LONG, Setting(level="sequence")),
        (GEMMA, Setting(softcap=30.0)),
        (ODD, ORDINARY),
        (MASKED, Setting(active=0.5)),
    ]
    steps += [
        Step("linear_objective", sizes(shape), entropy=plain, setting=setting, **torch_alone)
        for shape, setting in settings
    ]
    steps += [Step("fused_policy_loss", sizes(LARGE), "float32", ("torch",))]
    for shape, setting in ((GEMMA, Setting(softcap=30.0)), (ODD, ORDINARY)):
        steps += [Step("fused_policy_loss", sizes(shape), peers=("torch",), setting=setting)]
        steps += [Step("token_logprobs", sizes(shape), peers=("torch",), entropy=both, setting=setting)]
    # Peers last: their compilers take longer than everything else, and may not take the time of our figures.
    steps += [Step("linear_objective", sizes(LARGE), peers=LIBRARIES[1:], backward=both)]
    steps += [Step("fused_policy_loss", sizes(LARGE), peers=LIBRARIES[1:], entropy=both)]
    steps += [
        Step("linear_token_logprobs", sizes(LARGE), peers=LIBRARIES[1:], entropy=both, backward=both),
        Step("linear_objective", sizes(SMALL), peers=LIBRARIES[1:], entropy=plain, backward=both),
    ]
    return steps + [
        # torch.compile compiles anew for each shape, so only the first shape is measured.
        Step(op, sizes(LARGE), peers=("compile",), backward=both, entropy=plain)
        for op in ("linear_objective", "fused_policy_loss")
    ]


def _third(tiny: bool, sizes: Sizes) -> list[AnyStep]:
    both, plain = (True,), (False,)
    steps: list[AnyStep] = [Sustained(sizes(LARGE), wide, 0.5 if tiny else 6.0) for wide in (False, True)]
    steps += [DramBytes((4, 600, 0) if tiny else (2048, LARGE[1], 0), 75.0)]
    steps += [TracedStep(sizes(SMALL))]
    steps += [
        Step("linear_objective", sizes(shape), peers=("torch",), entropy=plain, backward=both)
        for shape in HOST_BOUND
    ]
    steps += [Step("memory", sizes(LARGE))]
    # Old and reference log-probabilities: forward alone.
    return steps + [
        Step(op, sizes(LARGE), peers=("torch",), entropy=plain, backward=plain)
        for op in ("linear_token_logprobs", "token_logprobs")
    ]


def _same(shape: Shape) -> Shape:
    return shape


def _tiny(shape: Shape) -> Shape:
    """A shape that a CPU runs in milliseconds; an odd V stays odd, and no two shapes become one."""
    N, V, H = shape
    return max(32, N // 1024 * 4), V // 400 // 2 * 2 + V % 2, max(16, H // 64)
