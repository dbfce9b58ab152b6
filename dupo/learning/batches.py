"""From a rollout to packed tensors: mini-batches (one optimizer step each), micro-batches (one pass each)."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from dupo import text
from dupo.config.options import Config
from dupo.records import Batch, Rollout, Trajectory


def mini_batches(rollout: Rollout, advantages: Tensor, config: Config) -> list[list[Trajectory]]:
    """The completions of a rollout and their advantages (P, G), cut into one list for each optimizer step."""
    rows = zip(rollout.problems, rollout.prompt_ids, rollout.completions, advantages.tolist(), strict=True)
    masks = config.mask_truncated_completions
    flat = [
        Trajectory(prompt_ids, c.ids, c.logprobs, advantage, None, problem.id, c.truncated and masks)
        for problem, prompt_ids, group, row in rows
        for c, advantage in zip(group, row, strict=True)
    ]
    size = config.train_batch_size or len(flat)
    return [flat[start : start + size] for start in range(0, len(flat), size)]


def micro_batches(
    trajectories: Sequence[Trajectory], config: Config, device: torch.device
) -> Iterator[tuple[list[int], Batch]]:
    """Packed batches of at most `token_budget` tokens, each with the indices of its trajectories."""
    lengths = [len(t.prompt_ids) + len(t.completion_ids) for t in trajectories]
    for chosen in text.pack(lengths, config.token_budget):
        yield chosen.tolist(), make_batch([trajectories[i] for i in chosen], device)


def make_batch(trajectories: Sequence[Trajectory], device: torch.device) -> Batch:
    """Packs prompts and completions end to end; see `Batch`."""
    prompts = text.Ids.of([t.prompt_ids for t in trajectories])
    completions = text.Ids.of([t.completion_ids for t in trajectories])
    packed = text.packed(prompts, completions)
    reference = [x for t in trajectories for x in t.ref_logprobs or ()]

    def put(values: object, dtype: torch.dtype) -> Tensor:
        return torch.as_tensor(values, dtype=dtype).to(device, non_blocking=True)

    return Batch(
        input_ids=put(packed.input_ids, torch.int64),
        position_ids=put(packed.position_ids, torch.int64),
        cu_seqlens=put(packed.cu_seqlens, torch.int32),
        max_seqlen=packed.max_seqlen,
        loss_rows=put(np.flatnonzero(packed.loss_mask) - 1, torch.int64),  # row r predicts token r + 1
        targets=put(completions.ids, torch.int64),
        completion_cu_seqlens=put(completions.cu_seqlens, torch.int32),
        old_logprobs=put([x for t in trajectories for x in t.logprobs], torch.float32),
        advantages=put([t.advantage for t in trajectories for _ in t.completion_ids], torch.float32),
        ref_logprobs=put(reference, torch.float32) if reference else None,
    )
