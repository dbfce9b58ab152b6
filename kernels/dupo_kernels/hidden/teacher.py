"""The head of a teacher: like that of a student, without targets and without a gradient.

Shape letters: N tokens, M tokens that count, V vocabulary, H hidden of the teacher.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from dupo_kernels._checks import FLOATING, check_devices, check_tensors
from dupo_kernels._messages import refused
from dupo_kernels.hidden.inputs import HeadInputs, prepare_head


class Teacher(NamedTuple):
    """The inputs of a teacher's head, as a custom op can take it beside the `HeadInputs` of a student.

    Attributes:
        teacher_hidden: (N, H). teacher_weight: (V, H). teacher_bias: (V,) or None.
        teacher_inv_temperature, teacher_inv_temperature_of_all, teacher_softcap: as in `HeadInputs`.
    """

    teacher_hidden: Tensor
    teacher_weight: Tensor
    teacher_bias: Tensor | None
    teacher_inv_temperature: Tensor | None
    teacher_inv_temperature_of_all: float
    teacher_softcap: float

    def like(self, student: HeadInputs) -> HeadInputs:
        """The head as `write_logits` takes it; targets and types are those of the student's N tokens."""
        return student._replace(
            hidden=self.teacher_hidden,
            weight=self.teacher_weight,
            bias=self.teacher_bias,
            inv_temperature=self.teacher_inv_temperature,
            inv_temperature_of_all=self.teacher_inv_temperature_of_all,
            softcap=self.teacher_softcap,
        )


def without_targets(name: str, hidden: Any) -> Tensor:
    """Targets that nobody reads, in the shape of the tokens of `hidden`; they take no memory.

    Raises:
        ValueError: hidden states that are none.
    """
    check_tensors(FLOATING, (name,), **{name: hidden})
    if hidden.dim() == 0:
        raise refused(name, "shape (*tokens, H)", hidden.shape)
    # One number, expanded: the rest of the head asks targets for the shape of the tokens.
    return hidden.new_zeros((), dtype=torch.int64).expand(hidden.shape[:-1])


@torch.no_grad()
def prepare_teacher(
    student: HeadInputs,
    tokens: Tensor,
    hidden: Any,
    weight: Any,
    bias: Any,
    *,
    temperature: Any,
    **scaling: Any,
) -> Teacher:
    """Checks the inputs of a teacher, casts them as autocast says, and flattens them.

    Args:
        tokens: of the student, in the shape that the teacher's hidden states must have.
        temperature: of the student, already checked.
        scaling: logit_scale, softcap and check, see `prepare_head`.

    Raises:
        ValueError: what `prepare_head` refuses, other tokens, another vocabulary, or float64 beside others.
    """
    targets = without_targets("teacher_hidden", hidden)
    check_devices(student.hidden.device, "hidden", teacher_hidden=hidden)
    if targets.shape != tokens.shape:
        raise refused(
            "teacher_hidden", f"shape (*tokens, H) with the tokens {tuple(tokens.shape)}", hidden.shape
        )
    try:
        head = prepare_head(
            hidden, weight, targets, bias,
            temperature=temperature, logits_dtype=torch.float32, process_group=None, **scaling,
        )  # fmt: skip
    except ValueError as error:
        # The same argument of another head.
        raise ValueError(f"teacher_{error}") from None
    if head.weight.shape[0] != student.weight.shape[0]:
        expected = f"the vocabulary of weight, {student.weight.shape[0]} rows"
        raise refused("teacher_weight", expected, head.weight.shape)
    # The logits of both are subtracted from each other.
    if head.wide != student.wide:
        raise refused(
            "teacher_hidden",
            f"float64 on both sides or on none, as hidden is {student.hidden.dtype}",
            head.hidden.dtype,
        )
    return Teacher(
        head.hidden, head.weight, head.bias, head.inv_temperature, head.inv_temperature_of_all, head.softcap
    )
