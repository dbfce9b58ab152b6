"""Run by test_sharding.py: two gloo processes with different data against one that has all of it.

python tests/kernels/hidden/sharding_checks.py PORT vocabulary outputs fsdp divergence fsdp_divergence
"""

import os
import sys
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard

from dupo_kernels import (
    HeadOutputs,
    PolicyObjective,
    linear_divergence,
    linear_objective,
    linear_token_logprobs,
    linear_token_logprobs_ref,
    preference_objective,
    token_logprobs_ref,
    token_weights,
)

WORLD, N, V, H = 2, 23, 96, 16
OBJECTIVES = (
    PolicyObjective(entropy_coef=0.1),
    PolicyObjective("grpo", importance_sampling_level="sequence"),
    preference_objective(["sigmoid", "sft"]),
)
CU_SEQLENS = torch.tensor([0, 9, 23])
REFERENCE = torch.tensor([-40.0, -62.0]).double()  # sums of the two sequences, where they are a pair


class Model(nn.Module):
    """A body and a head, the whole of what a trainer shards."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(8, H), nn.Linear(H, V)


def data(rank: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(rank)
    hidden = torch.randn(N, H, generator=generator).double()
    targets = torch.randint(V, (N,), generator=generator)
    advantages, old = torch.randn(2, N, generator=generator).double()
    return {"hidden": hidden, "targets": targets, "advantages": advantages, "old_logprobs": old - 5}


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-9)


def loss_of(
    hidden: Tensor, weight: Any, bias: Any, given: dict[str, Tensor], objective: Any, **options: Any
) -> Any:
    options |= {"bias": bias, "cu_seqlens": CU_SEQLENS}
    if getattr(objective, "scope", "") == "group":
        pair = {"groups": torch.tensor([0, 0]), **options}
        return linear_objective(hidden, weight, given["targets"], objective, {"ref_logps": REFERENCE}, **pair)
    per_token = {name: given[name] for name in ("advantages", "old_logprobs")}
    weights = token_weights(objective.loss_type, cu_seqlens=CU_SEQLENS, dtype=torch.float64)
    options |= {"weights": weights}
    return linear_objective(hidden, weight, given["targets"], objective, per_token, **options)


def vocabulary(rank: int) -> None:
    """Each process holds half of the vocabulary; both see the same tokens."""
    generator = torch.Generator().manual_seed(7)
    whole = [torch.randn(V, H, generator=generator).double(), torch.randn(V, generator=generator).double()]
    mine = slice(rank * V // WORLD, (rank + 1) * V // WORLD)
    given = data(0)
    whole[1][: V // WORLD] = -torch.inf  # the first half says nothing at all
    for spoil in (True, False):
        if not spoil:
            whole[1] = torch.randn(V, generator=generator).double()
        # Of a sequence that is impossible, no loss of pairs is a number.
        for objective in OBJECTIVES[: 2 if spoil else 3]:
            for options in ({}, {"chunk_tokens": 7, "save_budget": 0}, {"mask": torch.arange(N) % 3 > 0}):
                results = []
                for part, group in (slice(None), None), (mine, dist.group.WORLD):
                    leaves = [
                        x.clone().requires_grad_() for x in (given["hidden"], *(w[part] for w in whole))
                    ]
                    loss, stats = loss_of(*leaves, given, objective, process_group=group, **options)
                    loss.backward()
                    results.append((loss, [x.grad for x in leaves], stats))
                (loss, full, stats), (part_loss, parts, part_stats) = results
                close(part_loss, loss)
                close(parts[0], full[0])
                for got, want in zip(parts[1:], full[1:], strict=True):
                    close(got, want[mine])
                for name, value in stats.items():
                    close(part_stats[name], value)
    logp, entropy = linear_token_logprobs(
        given["hidden"], whole[0][mine], given["targets"], bias=whole[1][mine], entropy=True,
        process_group=dist.group.WORLD,
    )  # fmt: skip
    expected = token_logprobs_ref(given["hidden"] @ whole[0].t() + whole[1], given["targets"], entropy=True)
    close(logp, expected[0])
    close(entropy, expected[1])


def outputs(rank: int) -> None:
    """All results of a token, and three targets of it, from halves of the vocabulary."""
    generator = torch.Generator().manual_seed(7)
    weight = torch.randn(V, H, generator=generator).double()
    bias = torch.randn(V, generator=generator).double()
    hidden = data(0)["hidden"]
    hidden[0] = 0.0
    bias[[5, V // 2 + 3]] = bias.max() + 1  # equal logits of the first token, one in each half
    targets = torch.randint(V, (N, 3), generator=generator)
    targets[:, 0] = (hidden @ weight.t() + bias).argmax(1).where(torch.arange(N) % 3 > 0, targets[:, 0])
    targets[0, :2], targets[1, 1:], targets[2, 1] = torch.tensor([5, V // 2 + 3]), targets[1, 0], -100
    mine = slice(rank * V // WORLD, (rank + 1) * V // WORLD)
    upstream = torch.randn(N, 3, generator=generator).double().masked_fill(targets == -100, 0.0)
    for half_is_empty in (False, True):
        if half_is_empty:
            bias = bias.index_fill(0, torch.arange(V // 2), -torch.inf)
        for y, a in (targets, upstream), (targets[:, 0], upstream[:, 0]):
            results = []
            for part, function, options in (
                (slice(None), linear_token_logprobs_ref, {}),
                (mine, linear_token_logprobs, {"process_group": dist.group.WORLD, "chunk_tokens": 7}),
            ):
                leaves = [x.clone().requires_grad_() for x in (hidden, weight[part], bias[part])]
                asked: Any = {"outputs": HeadOutputs._fields, "softcap": None if half_is_empty else 4.0}
                found = function(*leaves[:2], y, bias=leaves[2], **asked, **options)
                loss = (found.logprobs * a).nan_to_num(0.0, 0.0, 0.0).sum() + found.entropy.sum()
                results.append((found, torch.autograd.grad(loss, leaves)))
            (whole, full), (sharded, parts) = results
            for got, want in zip(sharded, whole, strict=True):
                torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9, equal_nan=True)
            assert half_is_empty or (whole.top1[0] and 3 < whole.top1.sum() < N)
            close(parts[0], full[0])
            for got, want in zip(parts[1:], full[1:], strict=True):
                close(got, want[mine])


def fsdp(rank: int) -> None:
    """FSDP2 shards body and head; each process has its own tokens, and the gradient is the mean of theirs."""
    torch.manual_seed(1)
    model, alone = Model().double(), Model().double()
    alone.load_state_dict(model.state_dict())
    fully_shard(model.body)
    fully_shard(model.head)
    for objective in OBJECTIVES:
        for each in (model, alone):
            each.zero_grad()
        inputs = [data(r)["hidden"][:, :8] for r in range(WORLD)]
        hidden = model.body(inputs[rank])
        loss_of(hidden, model.head.weight, model.head.bias, data(rank), objective)[0].backward()
        losses = [
            loss_of(alone.body(inputs[r]), alone.head.weight, alone.head.bias, data(r), objective)[0]
            for r in range(WORLD)
        ]
        (sum(losses) / WORLD).backward()  # type: ignore[union-attr]
        for got, want in zip(model.parameters(), alone.parameters(), strict=True):
            assert want.grad is not None and want.grad.abs().sum() > 0
            close(got.grad.full_tensor(), want.grad)  # type: ignore[union-attr]


def divergence(rank: int) -> None:
    """Each process holds half of the vocabulary of a student and of a teacher."""
    torch.manual_seed(3)
    heads = [torch.randn(V, width).double() for width in (H, 8)]
    biases = [torch.randn(V).double() for _ in range(2)]
    hidden, taught = torch.randn(N, H).double(), torch.randn(N, 8).double()
    mine = slice(rank * V // WORLD, (rank + 1) * V // WORLD)
    for half_is_empty in (False, True):
        if half_is_empty:
            biases = [bias.index_fill(0, torch.arange(V // 2), -torch.inf) for bias in biases]
        for beta in (0.0, 0.3, 1.0):
            for options in ({}, {"chunk_tokens": 7, "save_budget": 0}, {"mask": torch.arange(N) % 3 > 0}):
                results = []
                for part, group in (slice(None), None), (mine, dist.group.WORLD):
                    leaves = [x.clone().requires_grad_() for x in (hidden, heads[0][part], biases[0][part])]
                    loss, stats = linear_divergence(
                        *leaves[:2], taught, heads[1][part], beta=beta, bias=leaves[2],
                        teacher_bias=biases[1][part], process_group=group, **options,
                    )  # fmt: skip
                    results.append([loss, stats["divergence"], *torch.autograd.grad(loss, leaves)])
                (*whole, dweight, dbias), parts = results
                for got, want in zip(parts, [*whole, dweight[mine], dbias[mine]], strict=True):
                    assert want.isfinite().all()
                    close(got, want)


def fsdp_divergence(rank: int) -> None:
    """A student and a teacher, both sharded by FSDP2; the teacher has no gradient."""
    torch.manual_seed(1)
    model, alone, teacher, whole = (Model().double() for _ in range(4))
    alone.load_state_dict(model.state_dict())
    whole.load_state_dict(teacher.state_dict())
    for part in (model.body, model.head, teacher.head):
        fully_shard(part)

    def loss_of_rank(student: Model, other: Model, r: int) -> Tensor:
        hidden, weights = student.body(data(r)["hidden"][:, :8]), (student.head.weight, other.head.weight)
        biases = {"bias": student.head.bias, "teacher_bias": other.head.bias}
        return linear_divergence(hidden, weights[0], data(r)["hidden"], weights[1], beta=0.3, **biases)[0]

    loss_of_rank(model, teacher, rank).backward()
    (sum(loss_of_rank(alone, whole, r) for r in range(WORLD)) / WORLD).backward()  # type: ignore[union-attr]
    for got, want in zip(model.parameters(), alone.parameters(), strict=True):
        assert want.grad is not None and want.grad.abs().sum() > 0
        close(got.grad.full_tensor(), want.grad)  # type: ignore[union-attr]
    assert all(p.grad is None for p in (*teacher.parameters(), *whole.parameters()))


def worker(rank: int, port: str, checks: list[str]) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    dist.init_process_group("gloo", rank=rank, world_size=WORLD)
    for check in checks:
        globals()[check](rank)
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.start_processes(worker, (sys.argv[1], sys.argv[2:]), WORLD, start_method="fork")  # no second import
