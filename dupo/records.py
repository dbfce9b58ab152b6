"""The nouns of the method, and nothing that computes.

Shape letters used everywhere: P problems of a rollout, G completions of each (`num_generations`),
S sequences of a batch, N its tokens, M those of them that were sampled, V the vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

Prompt = str | tuple[str, ...]  # a text, or the pieces that make it


@dataclass(frozen=True, slots=True)
class Problem:
    """One input x of the primal task.

    Attributes:
        id: stable name, unique in its data set ("train.jsonl:17").
        text: what the primal prompt is made from.
        gold: the right answer, for evaluation only. None where it is unknown, and None on everything
            that the training loop sees unless the arm asks for it (`--reward gold`). A reward function of the
            user's own gets `columns`, which may hold it.
        columns: all that the data set says of the problem, for reward functions of the user's own.
    """

    id: str
    text: str
    gold: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Dual:
    """One way to split x into a known and an unknown part (DuPO, section 3.2).

    Attributes:
        known: x_k, the problem with the unknown part masked; empty where all of x is unknown.
        unknown: x_u, what the dual task must recover; it comes from x itself, never from a label.
        variable: the name that stands for x_u in `known`.
    """

    known: str
    unknown: str
    variable: str = ""


class Completion(NamedTuple):
    """What the model sampled after one prompt.

    Attributes:
        ids: sampled token ids, the end token included where one was sampled. Trained on as they are.
        logprobs: log-probability of each id under the distribution it was drawn from, nats.
        text: the ids decoded without special tokens.
        truncated: no end token came within `max_completion_length`.
        entropy: mean over its tokens of the entropy of the distribution, nats; None unless measured.
        self_certainty: mean over its tokens of KL(uniform || distribution), nats; None unless measured.
    """

    ids: list[int]
    logprobs: list[float]
    text: str
    truncated: bool
    entropy: float | None = None
    self_certainty: float | None = None


@dataclass(frozen=True, slots=True)
class Rollout:
    """P problems, each answered G times. All lists are indexed [problem] or [problem][generation]."""

    problems: list[Problem]
    prompt_ids: list[list[int]]
    completions: list[list[Completion]]
    answers: list[list[str | None]]  # extracted final answer, normalised; None: none could be read


class Reconstruction(NamedTuple):
    """One answer put through one dual: what was asked, what came back, how far from the truth.

    Attributes:
        completions: text of each dual sample.
        distances: d(x_u, recovered) in [0, 1] of each dual sample; None where nothing could be read.
        tokens: how many were generated, over all samples.
    """

    dual: Dual
    prompt: str
    completions: list[str]
    distances: list[float | None]
    tokens: int


class Trajectory(NamedTuple):
    """One completion as the optimizer sees it; plain numbers, so that a checkpoint can hold it.

    Attributes:
        logprobs: log-probs of `completion_ids` when they were sampled, nats.
        advantage: the same for every token of the completion.
        ref_logprobs: log-probs under the reference model, nats; None where beta is 0.
        problem: id of the problem, to name it when something goes wrong.
        masked: left out of the loss (a truncated completion, where `mask_truncated_completions` is on).
    """

    prompt_ids: list[int]
    completion_ids: list[int]
    logprobs: list[float]
    advantage: float
    ref_logprobs: list[float] | None = None
    problem: str = ""
    masked: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences of one micro-batch, packed end to end with no padding.

    Attributes:
        input_ids: (N,) int64.
        position_ids: (N,) int64, restarting at 0 with every sequence.
        cu_seqlens: (S + 1,) int32, where each sequence starts and the last one ends.
        max_seqlen: tokens of the longest sequence.
        loss_rows: (M,) int64, rows of the packed input whose next token was sampled.
        targets: (M,) int64, the sampled tokens.
        completion_cu_seqlens: (S + 1,) int32, the same bounds within the M sampled tokens.
        old_logprobs: (M,) fp32, log-probs at sampling time, nats.
        advantages: (M,) fp32.
        ref_logprobs: (M,) fp32 log-probs of the reference model, or None where beta is 0.
    """

    input_ids: Tensor
    position_ids: Tensor
    cu_seqlens: Tensor
    max_seqlen: int
    loss_rows: Tensor
    targets: Tensor
    completion_cu_seqlens: Tensor
    old_logprobs: Tensor
    advantages: Tensor
    ref_logprobs: Tensor | None = None
