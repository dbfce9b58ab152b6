"""Learning: log-probabilities of packed sequences, and one optimizer step of the clipped policy gradient.

The loss itself stands in `dupo_kernels`, which knows nothing of models; sampling stands in `rollout`.
"""

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from dupo.config.options import Config
from dupo.errors import UserError
from dupo.learning.batches import make_batch, micro_batches
from dupo.models.load import Model, computing
from dupo.records import Batch, Trajectory
from dupo_kernels import (
    PolicyObjective,
    counts_tokens,
    linear_objective,
    linear_token_logprobs,
    token_logprobs,
    token_weights,
)

OBJECTIVE_OPTIONS = {f.name for f in fields(PolicyObjective)} & {f.name for f in fields(Config)}


def hidden_packed(model: Model, batch: Batch) -> Tensor:
    """Last hidden states (M, H) of the rows that predict a sampled token."""
    states = model.base_model(
        input_ids=batch.input_ids[None],
        position_ids=batch.position_ids[None],
        cu_seq_lens_q=batch.cu_seqlens,
        cu_seq_lens_k=batch.cu_seqlens,
        max_length_q=batch.max_seqlen,
        max_length_k=batch.max_seqlen,
        use_cache=False,
    ).last_hidden_state[0]
    return states[batch.loss_rows]


def head_of(model: Model, config: Config) -> tuple[Any, dict[str, Any]]:
    """(weight, options) of the language-model head, as the loss head of `dupo_kernels` takes them."""
    head: Any = model.get_output_embeddings()
    shape = model.config.get_text_config()
    scale = getattr(shape, "logit_scale", None) or 1 / (getattr(shape, "logits_scaling", None) or 1)
    return head.weight, {
        "bias": getattr(head, "bias", None),
        "temperature": config.temperature,
        "logit_scale": scale,
        "softcap": getattr(shape, "final_logit_softcapping", None),
    }


def batch_logprobs(model: Model, batch: Batch, config: Config) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the sampled tokens and entropies of their distributions, (M,) fp32 nats each."""
    weight, options = head_of(model, config)
    with computing(model, config):
        hidden = hidden_packed(model, batch)
        logprobs, entropy = linear_token_logprobs(hidden, weight, batch.targets, entropy=True, **options)
    assert entropy is not None
    return logprobs, entropy


def objective_of(config: Config) -> PolicyObjective:
    """Raises UserError for options that do not go together."""
    try:
        return PolicyObjective(**{name: getattr(config, name) for name in OBJECTIVE_OPTIONS})
    except ValueError as error:
        raise UserError(str(error)) from None


def batch_loss(
    model: Model, batch: Batch, config: Config, num_items: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """The policy loss of one micro-batch of an optimizer step that has `num_items` tokens or completions."""
    weight, options = head_of(model, config)
    objective = objective_of(config)
    per_token = {
        "advantages": batch.advantages,
        "old_logprobs": batch.old_logprobs,
        "ref_logprobs": batch.ref_logprobs,
    }
    cu_seqlens = batch.completion_cu_seqlens
    weights = token_weights(
        config.loss_type,
        cu_seqlens=cu_seqlens,
        num_items=num_items,
        max_completion_length=config.max_completion_length,
        num_tokens=len(batch.targets),
    )
    with computing(model, config):
        hidden, targets = hidden_packed(model, batch), batch.targets
        options |= {"weights": weights, "cu_seqlens": cu_seqlens}
        return linear_objective(hidden, weight, targets, objective, per_token, **options)


@torch.no_grad()
def with_reference(reference: Model, trajectories: list[Trajectory], config: Config) -> list[Trajectory]:
    """The same trajectories with their log-probs under the reference model."""
    found = list(trajectories)
    for chosen, batch in micro_batches(trajectories, config, reference.device):
        logprobs, _ = batch_logprobs(reference, batch, config)
        bounds = batch.completion_cu_seqlens.tolist()
        flat = logprobs.tolist()
        for k, i in enumerate(chosen):
            found[i] = found[i]._replace(ref_logprobs=flat[bounds[k] : bounds[k + 1]])
    return found


def check_model(model: Model, config: Config) -> None:
    """Refuses a model that the packed path would get silently wrong: two sequences packed must give the
    log-probs that transformers' own forward gives to each alone (positions, bounds, head and scaling)."""
    vocabulary = int(model.config.get_text_config().vocab_size)
    ids = [[(7 * i + 3 * k) % vocabulary for i in range(9 + 4 * k)] for k in range(2)]
    pair = [Trajectory(one[:4], one[4:], [0.0] * (len(one) - 4), 0.0) for one in ids]
    alone = []
    with torch.no_grad():
        try:
            together, _ = batch_logprobs(model, make_batch(pair, model.device), config)
        except ValueError as error:  # an attention feature that the packed path lacks
            raise UserError(f"{type(model).__name__} cannot be trained packed: {error}") from None
        for one in ids:
            with computing(model, config):
                logits = model(input_ids=torch.tensor([one], device=model.device), use_cache=False).logits[
                    0, 3:-1
                ]
            targets = torch.tensor(one[4:], device=model.device)
            alone.append(token_logprobs(logits, targets, temperature=config.temperature)[0])
    worst = (together - torch.cat(alone)).abs().max().item()
    exact = model.dtype == torch.float32 and model.device.type == "cpu"
    allowed = (
        1e-3 if exact else 0.25
    )  # bfloat16 logits differ by as much between two correct orders of summation
    if not worst <= allowed:
        raise UserError(
            f"{type(model).__name__} cannot be trained packed: log-probs of packed sequences differ from "
            f"single ones by {worst:.2g}, expected at most {allowed}"
        )


def make_optimizer(model: Model, config: Config) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        model.parameters(),
        lr=config.learning_rate,
        betas=(config.adam_beta1, config.adam_beta2),
        eps=config.adam_epsilon,
        weight_decay=config.weight_decay,
    )


def learning_rate(step: int, config: Config) -> float:
    """The rate of optimizer step `step` (from 0)."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    left = 1 - (step - config.warmup_steps) / max(1, config.max_steps - config.warmup_steps)
    shapes = {"constant": 1.0, "linear": left, "cosine": 0.5 * (1 - math.cos(math.pi * left))}
    return config.learning_rate * shapes[config.lr_scheduler_type]


def update(
    model: Model,
    optimizer: torch.optim.Optimizer,
    trajectories: Sequence[Trajectory],
    config: Config,
    step: int,
) -> dict[str, float]:
    """One optimizer step of the clipped policy gradient over these trajectories.

    Returns: `loss`, `grad_norm`, `learning_rate` and the statistics of `policy_loss`, as host floats.
    Raises: FloatingPointError if loss or gradient is not finite; the weights are then unchanged.
    """
    optimizer.param_groups[0]["lr"] = rate = learning_rate(step, config)
    optimizer.zero_grad(set_to_none=True)
    torch.manual_seed(
        (config.seed * 1_000_003 + step) % 2**63
    )  # dropout, if there is any: resumed steps draw the same
    model.train()
    loss, figures = accumulate_gradient(model, trajectories, config)
    model.eval()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
    if not (torch.isfinite(loss) and torch.isfinite(norm)):
        raise FloatingPointError(f"loss {loss.item()}, gradient norm {norm.item()}")
    if figures:  # else no trajectory had an advantage: nothing to learn, not even from Adam's momentum
        optimizer.step()
    return {"loss": loss.item(), "grad_norm": norm.item(), "learning_rate": rate, **figures}


def accumulate_gradient(
    model: Model, trajectories: Sequence[Trajectory], config: Config
) -> tuple[Tensor, dict[str, float]]:
    """Adds the gradient of the policy loss to `.grad`, one micro-batch after the other.

    The normaliser counts all trajectories, also those without advantage, which need no pass through the
    model. So neither the split into micro-batches nor the skipping changes the gradient. Returns the loss
    (fp32 scalar) and the statistics over the tokens that were passed; none if there were none.
    """
    counted = [t for t in trajectories if not t.masked]
    num_items = len(trajectories)  # completions, masked ones too, as TRL does
    if counts_tokens(config.loss_type):
        num_items = sum(len(t.completion_ids) for t in counted)
    pulled = config.beta != 0 or config.entropy_coef != 0  # by something other than the advantage
    active = [t for t in counted if t.advantage != 0 or pulled]
    total, means, extremes = torch.zeros((), device=model.device), {}, {}
    for _, batch in micro_batches(active, config, model.device):
        loss, stats = batch_loss(model, batch, config, num_items)
        loss.backward()
        total += loss.detach()
        tokens = stats.pop("tokens")
        for name, value in stats.items():
            if name.endswith("/max"):
                extremes[name] = torch.maximum(extremes.get(name, value), value)
            else:
                name = f"{name}_mean" if name.startswith("clip_ratio/") else name  # TRL's names
                means[name] = means.get(name, 0) + value * tokens
    count = sum(len(t.completion_ids) for t in active)
    return total, {n: v.item() / count for n, v in means.items()} | {n: v.item() for n, v in extremes.items()}
