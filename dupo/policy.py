"""The model that learns: loading it, its log-probabilities on packed sequences, one optimizer step.

Everything about the loss itself stands in `dupo_kernels`; everything about sampling in `rollout`.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dupo_kernels import policy_loss, token_logprobs
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel, Qwen3Config
from transformers.utils import logging as transformers_logging

from dupo import attention, text
from dupo.config import Config, UserError
from dupo.records import Batch, Rollout, Trajectory
from dupo.tokenizer import PromptTokenizer, check_path, first_line

LOGITS_BYTES = 1 << 30  # fp32 logits that exist at once in training
Model = PreTrainedModel  # what learns, answers duals and is compared with


def pick_device(wanted: str) -> torch.device:
    """`--device`: auto takes a GPU where there is one."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("device: expected a CUDA GPU, got none that torch can use (try --device cpu)")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def tiny_config(tokenizer: PromptTokenizer) -> Qwen3Config:
    """A Qwen3 shape of 0.3M parameters beside its embeddings. Chosen by trial (dev/LOG.md): q/k norm and
    eight heads learn the built-in task on every seed, the Llama shape with four did not."""
    return Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=8,
        head_dim=16,
        tie_word_embeddings=True,
        initializer_range=0.08,
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": 30.0},
        pad_token_id=tokenizer.pad_id,
        eos_token_id=min(tokenizer.eos_ids),
        bos_token_id=None,
    )


def model_config(config: Config, tokenizer: PromptTokenizer) -> PretrainedConfig:
    """The shape of the model, without its weights: enough to check lengths before anything is loaded."""
    name = config.model_name_or_path
    if name == "tiny":
        return tiny_config(tokenizer)
    check_path("model_name_or_path", name)
    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=config.trust_remote_code)
    except (OSError, ValueError) as error:
        raise UserError(f"model_name_or_path: {name} has no usable model: {first_line(error)}") from None


def load_model(config: Config, shape: PretrainedConfig, device: torch.device) -> Model:
    """The policy as it is before any training, in eval mode (no dropout), on `device`."""
    attention.register()
    transformers_logging.disable_progress_bar()  # it would write over ours
    torch.manual_seed(config.seed)
    dtype = torch.bfloat16 if config.dtype == "bfloat16" else torch.float32
    options: dict[str, Any] = {"dtype": dtype, "attn_implementation": attention.NAME}
    if config.model_name_or_path == "tiny":
        model = AutoModelForCausalLM.from_config(shape, **options)
    else:
        options["trust_remote_code"] = config.trust_remote_code
        try:
            model = AutoModelForCausalLM.from_pretrained(config.model_name_or_path, **options)
        except (OSError, ValueError) as error:
            raise UserError(
                f"model_name_or_path: {config.model_name_or_path} could not be loaded: {first_line(error)}"
            ) from None
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    return model.to(device).eval()


def frozen_copy(model: Model) -> Model:
    """The same weights, which no optimizer will touch."""
    return copy.deepcopy(model).requires_grad_(False)


@torch.no_grad()
def blend(average: Model, model: Model, decay: float) -> None:
    """One step of the exponential moving average of the weights."""
    for old, new in zip(average.parameters(), model.parameters(), strict=True):
        old.lerp_(new, 1 - decay)


@torch.no_grad()
def copy_weights(source: Model, target: Model) -> None:
    for old, new in zip(target.parameters(), source.parameters(), strict=True):
        old.copy_(new)


def load_weights(model: Model, folder: Path) -> None:
    """The weights of a checkpoint, bit for bit, into a model of the same shape."""
    source = AutoModelForCausalLM.from_pretrained(folder, dtype=model.dtype)
    copy_weights(source, model)


@contextmanager
def computing(model: Model, config: Config) -> Iterator[None]:
    """bfloat16 arithmetic over float32 weights on a GPU that has it; nothing elsewhere."""
    mixed = model.device.type == "cuda" and config.dtype == "auto" and torch.cuda.is_bf16_supported()
    with torch.autocast("cuda", torch.bfloat16, enabled=mixed):
        yield


def make_batch(trajectories: Sequence[Trajectory], device: torch.device) -> Batch:
    """Packs prompts and completions end to end; see `Batch`."""
    prompts = [len(t.prompt_ids) for t in trajectories]
    completions = [len(t.completion_ids) for t in trajectories]
    position_ids, cu_seqlens, owner = text.layout(np.add(prompts, completions))
    loss_rows, completion_cu_seqlens = text.pack_completions(prompts, completions)
    reference = [x for t in trajectories for x in t.ref_logprobs or ()]

    def put(values: object, dtype: torch.dtype) -> Tensor:
        return torch.as_tensor(values, dtype=dtype).to(device, non_blocking=True)

    return Batch(
        input_ids=put([i for t in trajectories for i in (*t.prompt_ids, *t.completion_ids)], torch.int64),
        position_ids=put(position_ids, torch.int64),
        cu_seqlens=put(cu_seqlens, torch.int32),
        owner=put(owner, torch.int32),
        max_seqlen=max(map(sum, zip(prompts, completions, strict=True))),
        loss_rows=put(loss_rows, torch.int64),
        targets=put([i for t in trajectories for i in t.completion_ids], torch.int64),
        completion_cu_seqlens=put(completion_cu_seqlens, torch.int32),
        old_logprobs=put([x for t in trajectories for x in t.logprobs], torch.float32),
        advantages=put([t.advantage for t in trajectories for _ in t.completion_ids], torch.float32),
        ref_logprobs=put(reference, torch.float32) if reference else None,
    )


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


def batch_logprobs(model: Model, batch: Batch, config: Config) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the sampled tokens and entropies of their distributions, (M,) fp32 nats each.

    Logits exist for `LOGITS_BYTES` of rows at a time: where that is not all of them, each chunk is computed
    again in the backward pass instead of being kept."""
    head, shape = model.get_output_embeddings(), model.config.get_text_config()
    scale = getattr(shape, "logit_scale", None) or 1 / (getattr(shape, "logits_scaling", None) or 1)
    softcap = getattr(shape, "final_logit_softcapping", None)

    def logprobs(hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        with computing(model, config):
            logits = head(hidden) * scale if scale != 1 else head(hidden)
        return token_logprobs(
            logits, targets, temperature=config.temperature, softcap=softcap, entropy=True
        )

    with computing(model, config):
        hidden = hidden_packed(model, batch)
    rows = max(1, LOGITS_BYTES // (4 * head.weight.shape[0]))
    parts = list(zip(hidden.split(rows), batch.targets.split(rows), strict=True))
    if len(parts) == 1:
        found = [logprobs(*parts[0])]
    else:
        found = [checkpoint(logprobs, *part, use_reentrant=False) for part in parts]
    return torch.cat([logp for logp, _ in found]), torch.cat([entropy for _, entropy in found])


def check_model(model: Model, config: Config) -> None:
    """Refuses a model that the packed path would get silently wrong: two sequences packed must give the
    log-probs that transformers' own forward gives to each alone (positions, bounds, head and scaling)."""
    vocabulary = model.get_input_embeddings().weight.shape[0]
    ids = [[(7 * i + 3 * k) % vocabulary for i in range(9 + 4 * k)] for k in range(2)]
    pair = [Trajectory(one[:4], one[4:], [0.0] * (len(one) - 4), 0.0) for one in ids]
    alone = []
    with torch.no_grad():
        together, _ = batch_logprobs(model, make_batch(pair, model.device), config)
        for one in ids:
            with computing(model, config):
                logits = model(input_ids=torch.tensor([one], device=model.device), use_cache=False).logits[0, 3:-1]
            targets = torch.tensor(one[4:], device=model.device)
            alone.append(token_logprobs(logits, targets, temperature=config.temperature)[0])
    worst = (together - torch.cat(alone)).abs().max().item()
    exact = model.dtype == torch.float32 and model.device.type == "cpu"
    allowed = 1e-3 if exact else 0.25  # bfloat16 logits differ by as much between two correct orders of summation
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
    shapes = {"constant": 1.0, "linear": left, "cosine": 0.5 * (1 - np.cos(np.pi * left))}
    return config.learning_rate * float(shapes[config.lr_scheduler_type])


def mini_batches(rollout: Rollout, advantages: Tensor, config: Config) -> list[list[Trajectory]]:
    """The completions of a rollout with their advantages (P, G), `train_batch_size` for each optimizer step."""
    rows = zip(rollout.problems, rollout.prompt_ids, rollout.completions, advantages.tolist(), strict=True)
    flat = [
        (c.truncated, Trajectory(prompt_ids, c.ids, c.logprobs, advantage, problem=problem.id))
        for problem, prompt_ids, group, row in rows
        for c, advantage in zip(group, row, strict=True)
    ]
    size, masked = config.train_batch_size or len(flat), config.mask_truncated_completions
    return [
        [t for truncated, t in flat[start : start + size] if not (truncated and masked)]
        for start in range(0, len(flat), size)
    ]


@torch.no_grad()
def with_reference(
    reference: Model, trajectories: list[Trajectory], config: Config
) -> list[Trajectory]:
    """The same trajectories with their log-probs under the reference model."""
    found = list(trajectories)
    for chosen, batch in micro_batches(trajectories, config, reference.device):
        logprobs, _ = batch_logprobs(reference, batch, config)
        bounds = batch.completion_cu_seqlens.tolist()
        flat = logprobs.tolist()
        for k, i in enumerate(chosen):
            found[i] = found[i]._replace(ref_logprobs=flat[bounds[k] : bounds[k + 1]])
    return found


def micro_batches(
    trajectories: Sequence[Trajectory], config: Config, device: torch.device
) -> Iterator[tuple[list[int], Batch]]:
    """Packed batches of at most `token_budget` tokens, each with the indices of its trajectories."""
    lengths = [len(t.prompt_ids) + len(t.completion_ids) for t in trajectories]
    for chosen in text.pack(lengths, config.token_budget):
        yield chosen.tolist(), make_batch([trajectories[i] for i in chosen], device)


def update(
    model: Model,
    optimizer: torch.optim.Optimizer,
    trajectories: Sequence[Trajectory],
    config: Config,
    step: int,
) -> dict[str, float]:
    """One optimizer step of the clipped policy gradient over these trajectories, in micro-batches.

    The normaliser counts all of them, also those without advantage that need no pass through the model, so
    neither the split into micro-batches nor the skipping changes the gradient.

    Returns: `loss`, `grad_norm`, `learning_rate` and the statistics of `policy_loss`, as host floats.
    Raises: FloatingPointError if loss or gradient is not finite; the weights are then unchanged.
    """
    by_token = config.loss_type == "dapo"
    num_items = sum(len(t.completion_ids) for t in trajectories) if by_token else len(trajectories)
    active = [t for t in trajectories if t.advantage != 0 or config.beta != 0]
    optimizer.param_groups[0]["lr"] = rate = learning_rate(step, config)
    optimizer.zero_grad(set_to_none=True)
    model.train()
    figures: dict[str, Tensor] = {}
    loss_sum, tokens = torch.zeros((), device=model.device), 0
    for _, batch in micro_batches(active, config, model.device):
        logprobs, entropy = batch_logprobs(model, batch, config)
        loss, stats = policy_loss(
            logprobs,
            batch.advantages,
            entropy=entropy,
            old_logprobs=batch.old_logprobs,
            ref_logprobs=batch.ref_logprobs,
            cu_seqlens=batch.completion_cu_seqlens,
            loss_type=config.loss_type,
            epsilon=config.epsilon,
            epsilon_high=config.epsilon_high,
            beta=config.beta,
            kl=config.kl,
            use_bias_correction_kl=config.use_bias_correction_kl,
            num_items=num_items,
            max_completion_length=config.max_completion_length,
        )
        loss.backward()
        loss_sum += loss.detach()
        stats["sampling/sampling_logp_difference/mean"] = (logprobs.detach() - batch.old_logprobs).abs().mean()
        here = batch.targets.numel()
        tokens += here
        for name, value in stats.items():
            if name.endswith("/max"):
                figures[name] = torch.maximum(figures.get(name, value), value)
            else:
                figures[name] = figures.get(name, torch.zeros_like(value)) + value * here
    model.eval()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
    if not (torch.isfinite(loss_sum) and torch.isfinite(norm)):
        raise FloatingPointError(f"loss {loss_sum.item()}, gradient norm {norm.item()}")
    if active:
        optimizer.step()
    means = {n: value.item() / (1 if n.endswith("/max") else tokens) for n, value in figures.items()}
    return {"loss": loss_sum.item(), "grad_norm": float(norm), "learning_rate": rate, **means}
