"""One optimizer step on the same ragged rows: by our learner, and by TRL's GRPOTrainer.

Both train a copy of one model in float32 with the loss dapo, without a penalty, on policy. Ours packs the
rows. TRL pads them: it makes its own `training_step` on micro-batches, then clips the gradient, then steps
AdamW. What its trainer does around that (sampling, logging, saving) is left out, as it is of ours.
"""

import importlib
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from bench.loss_head import peers
from dupo.config.options import OptimizerOptions
from dupo.learning.logprobs import Compute, trajectory_logprobs
from dupo.learning.optimizer import make_optimizer
from dupo.learning.policy_loss import PolicyLoss
from dupo.learning.step import optimizer_step
from dupo.models import attention
from dupo.models.load import Model, recompute_activations
from dupo.records import Trajectory
from dupo_kernels import PolicyObjective
from tests.peers.peer_checks import UNUSED, Unused

LONGEST, SHORTEST = 512, 8  # tokens of a completion
# TRL's default. At a rate that moves the ratios to the clip, our loss would have fewer rows with a gradient.
LEARNING_RATE = 1e-6
Gradients = dict[str, Tensor]  # by the name of the weight


class Row(NamedTuple):
    """A prompt with its completion, token ids, and its advantage."""

    prompt: list[int]
    completion: list[int]
    advantage: float


class Trainer(Protocol):
    """What is compared."""

    def gradients(self) -> tuple[float, Gradients]:
        """Loss and gradient of the rows; the weights stay as they are."""
        ...

    def step(self) -> dict[str, float]:
        """Makes an optimizer step; returns its metrics."""
        ...

    @property
    def num_passed(self) -> int:
        """Tokens that go through the model in a step, padding included."""
        ...


def make_rows(count: int, vocabulary: int) -> list[Row]:
    """Ragged rows: prompts of 20 to 59 tokens, completions log-normal around 100, at most 512."""
    draws = torch.Generator().manual_seed(1)
    rows = []
    for _ in range(count):
        num_prompt = int(torch.randint(20, 60, (1,), generator=draws))
        length = (torch.randn(1, generator=draws) * 0.8 + 4.6).exp()
        num_completion = int(length.clamp(SHORTEST, LONGEST))
        ids = torch.randint(2, vocabulary, (num_prompt + num_completion,), generator=draws).tolist()
        rows.append(Row(ids[:num_prompt], ids[num_prompt:], float(torch.randn(1, generator=draws))))
    return rows


def make_model(vocabulary: int, attention_name: str) -> Model:
    """A Qwen3 of two layers, 128 wide, with a tied head; the same random weights at every call."""
    torch.manual_seed(0)
    shape = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=16,
        tie_word_embeddings=True,
        initializer_range=0.05,
        max_position_embeddings=4096,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    return Qwen3ForCausalLM._from_config(shape, dtype=torch.float32, attn_implementation=attention_name)


class Variant(NamedTuple):
    """How a step is made.

    Attributes:
        name: stands in the table.
        micro: rows of a micro-batch of TRL; None: our learner.
        padded_whole: pad all micro-batches of TRL to the longest row of the step. TRL does so: it pads a
            rollout before it splits the rollout. Else each micro-batch is padded to its own longest row.
        recomputed: compute activations twice, to keep fewer of them; TRL's default.
    """

    name: str
    micro: int | None = None
    padded_whole: bool = False
    recomputed: bool = False


def make_trainer(variant: Variant, rows: Sequence[Row], vocabulary: int) -> Trainer:
    """Puts a trainer around a new copy of the model.

    Raises:
        LookupError: TRL is asked for, and neither installed nor named by DUPO_PEER_TRL.
        ValueError: the rows are no whole number of micro-batches.
    """
    return Ours(rows, vocabulary, variant) if variant.micro is None else Trl(rows, vocabulary, variant)


class Ours:
    """The learner of this package, with its defaults."""

    def __init__(self, rows: Sequence[Row], vocabulary: int, variant: Variant) -> None:
        attention.register()
        self.options = OptimizerOptions(learning_rate=LEARNING_RATE)
        self.model: Any = make_model(vocabulary, attention.NAME).eval()
        if variant.recomputed:
            recompute_activations(self.model)
        compute = Compute(1.0, "float32", self.options.token_budget)
        self.loss = PolicyLoss(PolicyObjective(), compute, LONGEST)
        plain = [
            Trajectory(
                row.prompt, torch.tensor(row.completion), torch.zeros(len(row.completion)), row.advantage
            )
            for row in rows
        ]
        # On policy: what the model itself says of the completions.
        logprobs = trajectory_logprobs(self.model, plain, compute)
        self.trajectories = [t._replace(logprobs=own) for t, own in zip(plain, logprobs, strict=True)]
        self.optimizer = make_optimizer(self.model, self.options)
        self.steps = 0

    def gradients(self) -> tuple[float, Gradients]:
        """See `Trainer`."""
        return gradients_of(self.model, lambda: self._accumulate(self.model)[0].item())

    def _accumulate(self, model: Model) -> tuple[Tensor, dict[str, float]]:
        return self.loss.accumulate_gradient(model, self.trajectories)

    def step(self) -> dict[str, float]:
        """See `Trainer`."""
        self.steps += 1
        options = self.options
        return optimizer_step(
            self.model, self.optimizer, self._accumulate, options, self.steps, 0, dropout=False
        )

    @property
    def num_passed(self) -> int:
        """See `Trainer`."""
        return sum(len(t.prompt_ids) + len(t.completion_ids) for t in self.trajectories)


class Trl:
    """TRL's GRPOTrainer; see `make_trainer`."""

    def __init__(self, rows: Sequence[Row], vocabulary: int, variant: Variant) -> None:
        micro = variant.micro
        if micro is None or len(rows) % micro:
            raise ValueError(f"rows: expected a multiple of {micro}, got {len(rows)}")
        module, num_micro = trl_module(), len(rows) // micro
        # TRL makes groups of at least two completions, and counts them over the whole step.
        arguments = module.GRPOConfig(
            output_dir=tempfile.gettempdir(),
            use_cpu=True,
            bf16=False,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            num_generations=2,
            per_device_train_batch_size=micro,
            gradient_accumulation_steps=num_micro,
            loss_type="dapo",
            beta=0.0,
            learning_rate=LEARNING_RATE,
            max_completion_length=LONGEST,
            activation_checkpointing=False,
        )
        self.trainer = module.GRPOTrainer(
            model=make_model(vocabulary, "sdpa"),
            reward_funcs=lambda completions, **_: [0.0] * len(completions),
            args=arguments,
            train_dataset=_prompts(module, len(rows)),
            processing_class=_tokenizer(),
        )
        self.model: Any = self.trainer.model.train()
        if variant.recomputed:
            recompute_activations(self.model)
        # What `train` sets before the first step; the batches below are those after sampling.
        self.trainer.current_gradient_accumulation_steps = num_micro
        self.trainer.accelerator.gradient_accumulation_steps = 1
        self.trainer._prepare_inputs = lambda batch: batch
        self.batches = padded_batches(rows, micro, variant.padded_whole)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)

    def gradients(self) -> tuple[float, Gradients]:
        """See `Trainer`."""
        return gradients_of(self.model, self._backward)

    def _backward(self) -> float:
        total = 0.0
        for batch in self.batches:
            total += self.trainer.training_step(self.model, batch, batch["num_items_in_batch"]).item()
        return total

    def step(self) -> dict[str, float]:
        """See `Trainer`."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return {"loss": loss, "grad_norm": norm.item()}

    @property
    def num_passed(self) -> int:
        """See `Trainer`."""
        return sum(batch["prompt_ids"].numel() + batch["completion_ids"].numel() for batch in self.batches)


def gradients_of(model: Any, backward: Callable[[], float]) -> tuple[float, Gradients]:
    """The loss that `backward` gives, and the gradient that `backward` leaves in the weights."""
    model.zero_grad(set_to_none=True)
    loss = backward()
    by_name = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    return loss, by_name


def padded_batches(rows: Sequence[Row], micro: int, padded_whole: bool) -> list[dict[str, Tensor]]:
    """Micro-batches of `micro` rows as TRL's loss reads them: prompts padded left, completions right."""
    total = torch.tensor(sum(len(row.completion) for row in rows))
    batches = []
    for start in range(0, len(rows), micro):
        members = rows[start : start + micro]
        longest = rows if padded_whole else members
        width = max(len(row.prompt) for row in longest), max(len(row.completion) for row in longest)
        prompts = [[0] * (width[0] - len(row.prompt)) + row.prompt for row in members]
        completions = [row.completion + [0] * (width[1] - len(row.completion)) for row in members]
        # No row draws the id 0, which pads.
        prompt_ids, completion_ids = torch.tensor(prompts), torch.tensor(completions)
        batches.append(
            {
                "prompt_ids": prompt_ids,
                "prompt_mask": (prompt_ids != 0).long(),
                "completion_ids": completion_ids,
                "completion_mask": (completion_ids != 0).long(),
                "advantages": torch.tensor([row.advantage for row in members]),
                "num_items_in_batch": total,
            }
        )
    return batches


def trl_module() -> Any:
    """The module of TRL's GRPOTrainer.

    Raises:
        LookupError: TRL is neither installed nor named by DUPO_PEER_TRL.
    """
    parent = str(peers.folder("trl").parent)
    # Last: what is installed stands before what was unpacked beside TRL.
    if parent not in sys.path:
        sys.path.append(parent)
        # Packages for data sets, which TRL imports and a step does not use.
        sys.meta_path.append(Unused(UNUSED["trl"]))
    return importlib.import_module("trl.trainer.grpo_trainer")


def _prompts(module: Any, count: int) -> Any:
    """A data set that nobody reads: the class is all that TRL's constructor asks for."""

    class Prompts(module.Dataset):
        def __init__(self) -> None:
            """Leaves out what a data set of the base class reads."""

        def __len__(self) -> int:
            return count

        def __getitem__(self, index: int) -> dict[str, str]:
            return {"prompt": "a"}

    return Prompts()


def _tokenizer() -> PreTrainedTokenizerFast:
    words = {"<pad>": 0, "<eos>": 1, "a": 2, "<unk>": 3}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
