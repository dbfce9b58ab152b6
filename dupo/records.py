"""The nouns of the method, and nothing that computes.

Shape letters used everywhere: P problems of a rollout, G completions of each (`num_generations`),
S sequences of a batch, N its tokens, M those of them that were sampled, V the vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # records are read where torch is not imported: help, views
    from torch import Tensor


class Message(NamedTuple):
    """One message of a chat that stands before a prompt.

    Attributes:
        role: who says it, as chat templates name the roles: system, user, assistant.
    """

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """A prompt that comes with the messages before it.

    Attributes:
        pieces: the pieces that make the text of the last message of the user.
        history: the messages before; never empty.
    """

    pieces: tuple[str, ...]
    history: tuple[Message, ...]


Prompt = str | tuple[str, ...] | ChatPrompt  # a text, the pieces that make it, or those with a history


@dataclass(frozen=True, slots=True)
class Problem:
    """One input x of the primal task.

    Attributes:
        id: stable name, unique in its data set ("train.jsonl:17").
        text: what the primal prompt is made from.
        gold: the right answer, a label. None where it is unknown, and None on everything that the training
            loop sees unless a reward reads labels (`--reward gold`). A reward function of the user gets
            `columns`, which may hold the label.
        columns: all that the data set says of the problem, for reward functions of the user's own.
        system: the system message that the data set puts before the primal prompt; None where it has none.
        is_chat: the data set is one of messages, so reward functions of the user get messages, not texts.
    """

    id: str
    text: str
    gold: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    system: str | None = None
    is_chat: bool = False


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


@dataclass(frozen=True, slots=True, eq=False)
class Completion:
    """What a model sampled after one prompt; tensors stay on the CPU.

    Attributes:
        ids: (T,) int32, sampled token ids, with the end token where one was sampled. Trained on as they are,
            but for those that are `forced`.
        logprobs: (T,) fp32, log-probability of each id under the distribution it was drawn from, nats.
        text: the ids decoded without special tokens.
        truncated: no end token came within `max_completion_length`.
        entropy: mean over the tokens of the entropy of the distribution, nats; None unless measured.
        self_certainty: mean over the tokens of KL(uniform || distribution), nats; None unless measured.
        starts_in_thought: the prompt ends with `<think>`, so the text starts inside a thinking part.
        forced: (T,) bool, tokens that were written into the completion and not sampled, as those that close
            a thought (`thinking_token_budget`). Their log-probs are 0 and mean nothing, and they are no part
            of the means above. None where all tokens were sampled.
    """

    ids: Tensor
    logprobs: Tensor
    text: str
    truncated: bool
    entropy: float | None = None
    self_certainty: float | None = None
    starts_in_thought: bool = field(default=False, kw_only=True)
    forced: Tensor | None = field(default=None, kw_only=True)

    @property
    def to_read(self) -> str:
        """The text as a task reads it: behind the `<think>` of the prompt, which tells what is thought."""
        return "<think>" + self.text if self.starts_in_thought else self.text


@dataclass(frozen=True, slots=True)
class Rollout:
    """P problems, each answered G times. Lists are indexed `[problem]` or `[problem][generation]`.

    Attributes:
        prompt_ids: token ids of the primal prompt of each problem.
        answers: the final answer read from each completion, normalised; None where none could be read.
    """

    problems: list[Problem]
    prompt_ids: list[list[int]]
    completions: list[list[Completion]]
    answers: list[list[str | None]]

    @property
    def num_tokens(self) -> int:
        """Tokens of all completions, each with its prompt."""
        return sum(
            len(prompt) + len(completion.ids)
            for prompt, group in zip(self.prompt_ids, self.completions, strict=True)
            for completion in group
        )

    def take(self, indices: Sequence[int]) -> Rollout:
        """The problems at `indices`, with all their completions."""
        return Rollout(
            # Field by field, so that a new field is not forgotten in silence.
            [self.problems[i] for i in indices],
            [self.prompt_ids[i] for i in indices],
            [self.completions[i] for i in indices],
            [self.answers[i] for i in indices],
        )

    def first(self, count: int) -> Rollout:
        """The first `count` completions of every problem."""
        completions = [group[:count] for group in self.completions]
        return replace(self, completions=completions, answers=[group[:count] for group in self.answers])


class Reconstruction(NamedTuple):
    """One answer put through one dual: what was asked, what came back, how far from the truth.

    Attributes:
        completions: text of each dual sample.
        distances: d(x_u, recovered) in [0, 1] of each dual sample; None where nothing could be read.
        tokens: number of tokens generated, over all samples.
    """

    dual: Dual
    prompt: str
    completions: list[str]
    distances: list[float | None]
    tokens: int

    @property
    def similarity(self) -> float:
        """Mean of 1 - d over the samples; a sample that could not be read counts 0."""
        return sum(0.0 if d is None else 1 - d for d in self.distances) / len(self.distances)


class Trajectory(NamedTuple):
    """One completion as the optimizer sees it; tensors stay on the CPU.

    Attributes:
        prompt_ids: token ids of the prompt.
        completion_ids: (T,) int32.
        logprobs: (T,) fp32, log-probs of `completion_ids` under the policy that sampled them, nats.
        advantage: the same for every token of the completion.
        ref_logprobs: (T,) fp32, log-probs under the reference model, nats; None where beta is 0.
        problem: id of the problem, to name it when something goes wrong.
        masked: left out of the loss (a truncated completion, where `mask_truncated_completions` is on).
        sampling_logprobs: (T,) fp32, what an engine with other arithmetic gave for `logprobs`, nats; None
            where the engine shares the arithmetic of the learner.
        forced: (T,) bool, tokens that nobody sampled: context to the tokens behind them, as the prompt is,
            and no part of the loss. Their log-probs are 0 and mean nothing. None where all were sampled.
    """

    prompt_ids: list[int]
    completion_ids: Tensor
    logprobs: Tensor
    advantage: float
    ref_logprobs: Tensor | None = None
    problem: str = ""
    masked: bool = False
    sampling_logprobs: Tensor | None = None
    forced: Tensor | None = None

    @property
    def num_sampled(self) -> int:
        """Tokens of the completion that were sampled."""
        return len(self.completion_ids) - (0 if self.forced is None else int(self.forced.sum()))


class StepBatch(NamedTuple):
    """What one optimizer step learns from.

    Attributes:
        trajectories: completions with their advantages.
        metrics: what is known before the step, for metrics.jsonl.
        exchanges: rows of samples.jsonl; only the first step of a rollout has some.
    """

    trajectories: list[Trajectory]
    metrics: dict[str, float]
    exchanges: list[Exchange]


@dataclass(frozen=True, slots=True)
class DualExchange:
    """A dual prompt and the first sample of its answer.

    Attributes:
        unknown: what was hidden.
        distance: d(x_u, recovered); None where nothing could be read.
        plain: prompt and completion as people write them; None where they stand so already.
    """

    prompt: str
    completion: str
    unknown: str
    distance: float | None
    plain: str | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """One problem, one completion, and what its duals gave back: a row of samples.jsonl.

    Attributes:
        problem: id of the problem.
        prompt: the primal prompt, as the model reads it.
        reward: mean over the duals; None where there is none.
        correct: whether the answer is right; None where gold is unknown or says no such thing.
        score: quality of the answer against gold, in [0, 1]; None where gold is unknown.
        logged: `function/column` -> what reward functions of the user logged of the completion.
        plain: prompt and answer as people write them; None where they stand so already.
        plain_gold: prompt and gold answer likewise.
    """

    problem: str
    prompt: str
    completion: str
    answer: str | None
    reward: float | None
    correct: bool | None
    duals: list[DualExchange]
    advantage: float | None = None
    gold: str | None = None
    score: float | None = None
    logged: Mapping[str, Any] = field(default_factory=dict)
    plain: str | None = None
    plain_gold: str | None = None

    def row(self, step: int, *, held_out: bool) -> dict[str, Any]:
        """The JSON object of samples.jsonl; `held_out`: the problem is one of evaluation."""
        # asdict keeps the order of the fields, which is the order in the file.
        row = {"step": step, **asdict(self)}
        if not self.logged:
            del row["logged"]
        # A held-out exchange has no advantage, and one of training never shows gold.
        if held_out:
            return {name: row[name] for name in row if name != "advantage"} | {"held_out": True}
        return {name: row[name] for name in row if name not in ("gold", "score", "plain_gold")}

    def to_json(self) -> str:
        """One JSON text, from which `from_json` makes an exchange with the same `row`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Exchange:
        """What `to_json` was called on."""
        fields = json.loads(text)
        return cls(**fields | {"duals": [DualExchange(**dual) for dual in fields["duals"]]})


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
        completion_cu_seqlens: (S + 1,) int32, the same bounds within the M sampled tokens; on the host.
        old_logprobs: (M,) fp32, log-probs at sampling time, nats.
        advantages: (M,) fp32.
        ref_logprobs: (M,) fp32 log-probs of the reference model, or None where beta is 0.
        sampling_logprobs: (M,) fp32 log-probs of an engine with other arithmetic, or None.
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
    sampling_logprobs: Tensor | None = None
