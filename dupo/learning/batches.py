"""From a rollout to packed tensors: mini-batches (one optimizer step each), micro-batches (one pass each).

Shape letters: P problems, G completions of each, N tokens of a micro-batch, M sampled tokens among them.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from dupo import text
from dupo.distributed.ranks import ALONE, Ranks
from dupo.records import Batch, Rollout, Trajectory

OPTIONAL_LOGPROBS = ("ref_logprobs", "sampling_logprobs")  # fields of a trajectory and of a batch


def trajectories_of(rollout: Rollout, advantages_PG: Tensor, *, mask_truncated: bool) -> list[Trajectory]:
    """The completions of a rollout with their advantages, problem by problem.

    Args:
        mask_truncated: leave completions without an end token out of the loss.
    """
    return [
        Trajectory(
            prompt_ids,
            completion.ids,
            completion.logprobs,
            advantage,
            problem=problem.id,
            masked=completion.truncated and mask_truncated,
            forced=completion.forced,
        )
        for problem, prompt_ids, completions, advantages in zip(
            rollout.problems, rollout.prompt_ids, rollout.completions, advantages_PG.tolist(), strict=True
        )
        for completion, advantage in zip(completions, advantages, strict=True)
    ]


def mini_batches(trajectories: list[Trajectory], size: int | None) -> list[list[Trajectory]]:
    """Cuts the trajectories into lists of `size` (None: one list), one for each optimizer step."""
    size = size or max(len(trajectories), 1)
    return [trajectories[start : start + size] for start in range(0, len(trajectories), size)]


def micro_batches(
    trajectories: Sequence[Trajectory], token_budget: int, device: torch.device, ranks: Ranks = ALONE
) -> Iterator[tuple[list[int], Batch]]:
    """The micro-batches of this rank: packed batches of at most `token_budget` tokens.

    Every rank gets as many: a sharded model is gathered by all ranks in each pass, so a rank with fewer
    passes would let the others wait for ever. Where a rank has no more, it gets a token that is nobody's.

    Returns:
        Pairs of the indices of the trajectories, none for a batch that only fills up, and the batch.
    """
    # Whole sequences are packed: a completion that was cut in two would lose its prompt.
    lengths = [len(t.prompt_ids) + len(t.completion_ids) for t in trajectories]
    for indices in _own_packs(lengths, token_budget, ranks):
        yield indices, make_batch([trajectories[i] for i in indices] or [_nobody(trajectories)], device)


def group_batches(
    groups: Sequence[Sequence[Trajectory]], token_budget: int, device: torch.device, ranks: Ranks = ALONE
) -> Iterator[tuple[list[int], Batch]]:
    """As `micro_batches`, of whole groups, which may differ in size: their loss compares them.

    Returns:
        Pairs of the indices of the groups, none for a batch that only fills up, and the batch, which has the
        trajectories of a group side by side.
    """
    # Answers that are compared need one pass: their loss has no part for each of them.
    lengths = [sum(len(t.prompt_ids) + len(t.completion_ids) for t in group) for group in groups]
    for indices in _own_packs(lengths, token_budget, ranks):
        members = [t for i in indices for t in groups[i]]
        yield indices, make_batch(members or [_nobody(groups[0])] * len(groups[0]), device)


def _own_packs(lengths: Sequence[int], token_budget: int, ranks: Ranks) -> list[list[int]]:
    """Indices of what each micro-batch of this rank holds; none in those that only fill up."""
    packs = [indices.tolist() for indices in text.pack(lengths, token_budget)]
    return deal(packs, lengths, ranks.size)[ranks.rank]


def deal(packs: list[list[int]], lengths: Sequence[int], size: int) -> list[list[list[int]]]:
    """Shares packs out over ranks, the same number to each and about as many tokens.

    Args:
        packs: indices of the sequences of each micro-batch.
        lengths: tokens of each sequence.
        size: number of ranks.

    Returns:
        The packs of each rank; empty ones where there are no more.
    """
    if size == 1:
        return [packs]
    # The largest first: what is left at the end evens the sums out.
    by_tokens = sorted(packs, key=lambda pack: -sum(lengths[i] for i in pack))
    hands: list[list[list[int]]] = [[] for _ in range(size)]
    tokens = [0] * size
    for pack in by_tokens:
        rank = min(range(size), key=lambda rank: (len(hands[rank]), tokens[rank]))
        hands[rank].append(pack)
        tokens[rank] += sum(lengths[i] for i in pack)
    most = max(map(len, hands))
    return [hand + [[]] * (most - len(hand)) for hand in hands]


def _nobody(trajectories: Sequence[Trajectory]) -> Trajectory:
    """One token after a prompt of one token, with the fields that the others have."""
    # Every rank makes passes of one kind: with a reference's log-probs on all of them, or on none.
    like = trajectories[0]
    token = like.completion_ids[:1]
    fields = {name: torch.zeros(1) for name in OPTIONAL_LOGPROBS if getattr(like, name) is not None}
    return Trajectory(token.tolist(), token, torch.zeros(1), 0.0)._replace(**fields)


def make_batch(trajectories: Sequence[Trajectory], device: torch.device) -> Batch:
    """Packs prompts and completions end to end; see `Batch`.

    Forced tokens of a completion are context, as its prompt is: no row of the loss predicts them. So every
    loss, and every statistic of tokens or sequences, is one of sampled tokens.
    """
    prompts = text.Ids.of([t.prompt_ids for t in trajectories])
    completions = text.Ids.of([t.completion_ids.numpy() for t in trajectories])
    packed = text.packed(prompts, completions)
    # Every sampled token of a completion has the advantage of the completion.
    lengths = [t.num_sampled for t in trajectories]
    advantages = np.repeat([t.advantage for t in trajectories], lengths)
    forced = forced_of(trajectories)
    sampled = slice(None) if forced is None else ~forced.numpy()

    def put(values: object, dtype: torch.dtype) -> Tensor:
        tensor = torch.as_tensor(values, dtype=dtype)
        # The host would wait for a copy from memory that is not pinned.
        return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)

    return Batch(
        input_ids=put(packed.input_ids, torch.int64),
        position_ids=put(packed.position_ids, torch.int64),
        cu_seqlens=put(packed.cu_seqlens, torch.int32),
        max_seqlen=packed.max_seqlen,
        # Row r of the hidden states predicts token r + 1.
        loss_rows=put(np.flatnonzero(packed.loss_mask)[sampled] - 1, torch.int64),
        targets=put(completions.ids[sampled], torch.int64),
        # The loss cuts its chunks where the host knows that completions end.
        completion_cu_seqlens=torch.as_tensor(np.cumsum([0, *lengths]), dtype=torch.int32),
        old_logprobs=put(torch.cat([t.logprobs for t in trajectories])[sampled], torch.float32),
        advantages=put(advantages, torch.float32),
        **{
            name: put(torch.cat(rows)[sampled], torch.float32)
            for name in OPTIONAL_LOGPROBS
            if (rows := logprobs_of(trajectories, name))
        },
    )


def logprobs_of(trajectories: Sequence[Trajectory], name: str) -> list[Tensor]:
    """The log-probs by that name: of all trajectories, or none at all."""
    return [logprobs for t in trajectories if (logprobs := getattr(t, name)) is not None]


def forced_of(trajectories: Sequence[Trajectory]) -> Tensor | None:
    """Which tokens of all completions, end to end, are forced, bool; None where none is."""
    if all(t.forced is None for t in trajectories):
        return None
    return torch.cat(
        [torch.zeros(len(t.completion_ids)).bool() if t.forced is None else t.forced for t in trajectories]
    )


def trajectories_to_state(trajectories: Sequence[Trajectory]) -> dict[str, object]:
    """A few flat tensors and lists that a checkpoint can hold; `trajectories_from_state` reads them."""
    # Flat tensors: one small tensor for each completion takes a hundred times as long to save.
    empty = torch.zeros(0)
    # The completions of a group share one list of prompt ids, which is written once.
    prompts = {id(t.prompt_ids): t.prompt_ids for t in trajectories}
    places = {key: place for place, key in enumerate(prompts)}
    return {
        "prompt_ids": torch.from_numpy(text.Ids.of(list(prompts.values())).ids).int(),
        "prompt_lengths": [len(prompt) for prompt in prompts.values()],
        "prompts": [places[id(t.prompt_ids)] for t in trajectories],
        "completion_ids": torch.cat([empty.int(), *(t.completion_ids for t in trajectories)]),
        "completion_lengths": [len(t.completion_ids) for t in trajectories],
        "logprobs": torch.cat([empty, *(t.logprobs for t in trajectories)]),
        **{
            name: torch.cat(rows) if (rows := logprobs_of(trajectories, name)) else None
            for name in OPTIONAL_LOGPROBS
        },
        "advantages": [t.advantage for t in trajectories],
        "problems": [t.problem for t in trajectories],
        "masked": [t.masked for t in trajectories],
        "forced": forced_of(trajectories),
    }


def trajectories_from_state(state: dict[str, object]) -> list[Trajectory]:
    """The trajectories of `trajectories_to_state`, bit for bit."""
    tensors: dict[str, Tensor] = {k: v for k, v in state.items() if isinstance(v, Tensor)}
    columns: dict[str, list] = {k: v for k, v in state.items() if isinstance(v, list)}
    # split gives views that share one storage, as long as the batch lives.
    lengths = columns["completion_lengths"]
    reference, sampling = (
        tensors[name].split(lengths) if name in tensors else [None] * len(lengths)
        for name in OPTIONAL_LOGPROBS
    )
    # A checkpoint of an earlier version has no such key: all its tokens were sampled.
    rows = tensors["forced"].split(lengths) if "forced" in tensors else [None] * len(lengths)
    forced = [row if row is not None and row.any() else None for row in rows]
    prompts = [prompt.tolist() for prompt in tensors["prompt_ids"].split(columns["prompt_lengths"])]
    # Nor has it this key: it held a prompt for each trajectory.
    places = columns.get("prompts", range(len(lengths)))
    return [
        Trajectory(prompts[place], *columns_of_one)
        for place, *columns_of_one in zip(
            places,
            tensors["completion_ids"].int().split(lengths),
            tensors["logprobs"].split(lengths),
            columns["advantages"],
            reference,
            columns["problems"],
            columns["masked"],
            sampling,
            forced,
            strict=True,
        )
    ]
