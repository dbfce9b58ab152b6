"""What is compared, and in what order: the steps of `pytest --benchmark-only`, which gpu_parts.py extends.

Shape letters: N tokens, V vocabulary, H hidden size.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from bench.loss_head import comparisons, inputs, truth
from bench.loss_head.harness import Comparison, Timer, reason
from bench.loss_head.inputs import ORDINARY, Setting
from bench.loss_head.measurement import Measurement, Shape
from dupo_kernels import PolicyObjective, policy_objective

ENTROPY_COEF, BETA = 0.01, 0.05
LIBRARIES = ("torch", "trl", "liger", "verl", "cce", "quack")

# (N, V, H) of models that people train: Qwen3-8B, Llama-3-8B, a large vocabulary, a small vocabulary.
GPU_SHAPES = [(8192, 151_936, 4096), (16_384, 128_256, 4096), (16_384, 248_320, 2048), (4096, 32_000, 2048)]
CPU_SHAPE, CPU_LOGITS, CPU_MEMORY = (128, 32_000, 256), (64, 151_936, 0), (256, 32_000, 64)


@dataclass(frozen=True)
class Step:
    """One operation at one shape, measured without interruption.

    Attributes:
        op: linear_objective, linear_token_logprobs, token_logprobs, fused_policy_loss, memory (of both linear
            ones), gemms.
        peers: variants beside dupo_kernels and the floor: any of LIBRARIES, "compile".
        entropy: measure without the entropy, with the entropy; of a loss, an entropy bonus, and of a
            fused_policy_loss a KL penalty as well.
        backward: measure with the backward pass, without.
        setting: what inputs and loss are like.
    """

    op: str
    shape: Shape
    dtype: str = "bfloat16"
    peers: Collection[str] = LIBRARIES
    entropy: Sequence[bool] = (False, True)
    backward: Sequence[bool] = (True, False)
    setting: Setting = ORDINARY
    # Of a step that runs Triton's interpreter where there is no GPU; see gpu_run.py.
    interpreted = False

    @property
    def name(self) -> str:
        """Name of the step in result files and of the test."""
        kind = "-compile" if self.peers == ("compile",) else "" if True in self.backward else "-forward"
        kind += "-gspo" if self.setting.level == "sequence" else ""
        kind += "".join("-" + word.replace(" ", "-") for word in self.setting.words)
        kind += "-peers" if {*self.peers} - {"torch", "compile"} else ""
        return f"{self.op}{kind}-{'x'.join(str(n) for n in self.shape if n)}-{self.dtype}"

    def run(self, timer: Timer) -> Iterator[list[Measurement]]:
        """The measurements of one comparison at a time.

        Where the inputs do not fit into memory, one measurement says so.
        """
        try:
            for comparison in self.comparisons(timer.device):
                yield timer.measure(comparison)
        except torch.OutOfMemoryError as error:
            case = comparisons.case_of(self.op, "all", True, self.shape, getattr(torch, self.dtype))
            yield [Measurement(case, "inputs and truth", reason=reason(error))]

    def comparisons(self, device: torch.device) -> Iterator[Comparison]:
        """The comparisons of the step; inputs and truth are made when the first is asked for."""
        dtype = getattr(torch, self.dtype)
        if self.op in ("token_logprobs", "fused_policy_loss"):
            yield from self._from_logits(inputs.make_logits(self.shape, dtype, device, self.setting))
            return
        head = inputs.make_head(self.shape, dtype, device, self.setting)
        if self.op == "gemms":
            yield comparisons.gemms(head)
        elif self.op == "memory":
            yield from comparisons.memory(head)
        else:
            yield from self._linear(head)

    def _from_logits(self, logits: inputs.LogitsInputs) -> Iterator[Comparison]:
        # The truth is expensive; comparisons with and without backward pass share it.
        sums = truth.logits_sums(logits) if self.op == "fused_policy_loss" else None
        for entropy in self.entropy:
            if sums is not None:
                objective = self._objective(entropy, BETA if entropy else 0.0)
                slopes = truth.objective_slopes(logits, sums, objective)
                errors = truth.logits_errors(logits, True, slopes)
                yield comparisons.fused(logits, objective, self.peers, errors)
                continue
            errors = truth.logits_errors(logits, entropy)
            for backward in self.backward:
                yield comparisons.token_logprobs(logits, entropy, backward, self.peers, errors)

    def _linear(self, head: inputs.HeadInputs) -> Iterator[Comparison]:
        sums = truth.softmax_sums(head)
        for entropy in self.entropy:
            if self.op == "linear_objective":
                objective = self._objective(entropy)
                slopes = truth.objective_slopes(head, sums, objective)
            else:
                objective, slopes = None, truth.fixed_slopes(head, entropy)
            errors = truth.head_errors(head, sums, slopes)
            for backward in self.backward:
                yield comparisons.linear(head, objective, entropy, backward, self.peers, errors)

    def _objective(self, entropy: bool, beta: float = 0.0) -> PolicyObjective:
        return policy_objective(
            "dapo",
            entropy_coef=ENTROPY_COEF if entropy else 0.0,
            beta=beta,
            importance_sampling_level=self.setting.level,
        )


def gpu_steps(shapes: Sequence[Shape] = GPU_SHAPES) -> list[Step]:
    """The most important steps first: what the project promises at the first two shapes, then the others."""
    first, second, *others = shapes
    both_passes, forward = (True,), (False,)
    steps = [Step("gemms", first), Step("gemms", second)]
    steps += [Step("linear_objective", shape, backward=both_passes) for shape in (first, second)]
    steps += [Step("fused_policy_loss", first), Step("token_logprobs", first), Step("memory", first)]
    steps += [Step("linear_token_logprobs", first, backward=both_passes), Step("token_logprobs", second)]
    steps += [Step("linear_objective", shape, backward=both_passes) for shape in others]
    steps += [Step("linear_token_logprobs", shape, backward=both_passes) for shape in shapes[1:]]
    steps += [Step(op, shape) for shape in others for op in ("token_logprobs", "fused_policy_loss")]
    steps += [
        Step(op, shape, backward=forward)
        for op in ("linear_objective", "linear_token_logprobs")
        for shape in shapes
    ]
    # Within pytest there is time for torch.compile in every step.
    return [replace(step, peers=(*LIBRARIES, "compile")) for step in steps]


def cpu_steps() -> list[Step]:
    """The torch path beside eager torch and the peers that run on a CPU, where they do not take minutes."""
    both_passes = (True,)
    steps = []
    # Products of halves are emulated on many CPUs: one peer shows it.
    for dtype, *peers in (("bfloat16", "torch", "trl"), ("float32", "torch", "trl", "liger", "verl")):
        steps += [Step("linear_objective", CPU_SHAPE, dtype, peers, (False,), both_passes)]
        steps += [Step("linear_token_logprobs", CPU_SHAPE, dtype, peers, (True,), both_passes)]
        steps += [Step("token_logprobs", CPU_LOGITS, dtype, peers, (True,))]
        steps += [Step("fused_policy_loss", CPU_LOGITS, dtype, peers, (True,))]
    return [*steps, Step("memory", CPU_MEMORY, "float32")]
