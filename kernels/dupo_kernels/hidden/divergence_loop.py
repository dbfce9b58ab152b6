"""A student's and a teacher's head over all chunks: divergences, and the student's gradients.

    both logits of a chunk -> divergence -> dlogits in place of the student's -> dhidden, dweight

6NVH flop of the student and 2NVH of the teacher, with one chunk of logits of each.

Shape letters: M rows (tokens that count), C rows of one chunk, V vocabulary.
"""

from torch import Tensor

from dupo_kernels.hidden.chunks import Chunks
from dupo_kernels.hidden.head import GradientSums, logits_buffer, logits_rows, write_logits
from dupo_kernels.hidden.inputs import HeadInputs
from dupo_kernels.logits.row_divergence import row_divergence
from dupo_kernels.logits.rows import narrowed


def run_divergence(
    student: HeadInputs, teacher: HeadInputs, chunks: Chunks, beta: float, slope: Tensor
) -> tuple[Tensor, GradientSums]:
    """(divergence of each of M rows, the gradients of sum(slope * divergence)).

    Args:
        student, teacher: the inputs of the M rows.
        slope: (M,), of the type of the logits.
    """
    gradients = GradientSums(student, chunks.num_with_grad, chunks.several)
    # One pair of buffers for all chunks: the allocator would otherwise hold two while the next is made.
    student_memory, teacher_memory = (logits_buffer(head, chunks.longest) for head in (student, teacher))
    divergence = slope.new_empty(chunks.num_rows)
    for rows in chunks.once():
        logits_CV, teacher_CV = (x[: rows.stop - rows.start] for x in (student_memory, teacher_memory))
        write_logits(student, rows, logits_CV)
        write_logits(teacher, rows, teacher_CV)
        # The place of the student's logits: a block of rows is read before dlogits are written over it.
        dlogits = narrowed(logits_CV, student.hidden.dtype) if student.wants_gradient else None
        pair = logits_rows(student, rows, logits_CV), logits_rows(teacher, rows, teacher_CV)
        row_divergence(*pair, beta, slope[rows], divergence[rows], dlogits)
        if dlogits is not None:
            gradients.add_products(dlogits, rows)
    return divergence, gradients
