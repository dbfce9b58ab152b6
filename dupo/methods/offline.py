"""What methods share that learn from a file: tokenizer, limits, weights, optimizer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dupo.config.config import Config
from dupo.data.examples import Example
from dupo.distributed.ranks import ALONE, Ranks
from dupo.duality.length_check import Limit, check_known, check_vocabulary
from dupo.learning.logprobs import Compute
from dupo.learning.optimizer import make_optimizer
from dupo.learning.packed_check import check_packed
from dupo.methods.base import Method
from dupo.methods.examples import Fitting, fitting_groups
from dupo.models.balancing import balancing_coefficient
from dupo.models.load import Model, load_model, model_config, share_end_tokens
from dupo.models.positions import position_limit
from dupo.models.saving import check_saving
from dupo.models.tokenizers import load_tokenizer

BATCH_SIZE = 8  # examples or pairs of a step where train_batch_size says nothing


class OfflineMethod(Method):
    """A method that samples nothing to learn; see `dupo.methods.base.Method`.

    Attributes:
        batch_size: examples or pairs of an optimizer step.
        compute: how passes through the model are made.
    """

    def __init__(self, config: Config, ranks: Ranks = ALONE) -> None:
        super().__init__(config, None, ranks)
        self.batch_size = config.optimizer.train_batch_size or BATCH_SIZE
        # No temperature: the probabilities of the model as it is are learned.
        self.compute = Compute(1.0, config.model.compute_dtype, config.optimizer.token_budget)

    def name_of(self, otherwise: str) -> str:
        """What is trained: a file gives the run its name, because the task says nothing about the file."""
        dataset = self.config.task.dataset
        # A config and a split may stand behind the name of a data set.
        return f"{self.config.method}-{Path(dataset.split(':')[0]).stem if dataset else otherwise}"

    def load_tokenizer(self, vocabulary: Sequence[str] | None) -> None:
        """Reads the tokenizer and the config of the model."""
        self.tokenizer = load_tokenizer(self.config.model, vocabulary)
        self.shape = self.read_shape()
        check_vocabulary(self.tokenizer, self.shape)
        self.plan_adapter(self.shape)

    def read_shape(self) -> Any:
        """The config of the model that learns."""
        return model_config(self.config.model, self.tokenizer)

    def fitting(self, groups: Sequence[tuple[Example, ...]], what: str, *, in_chats: bool = False) -> Fitting:
        """The groups whose examples fit into the model and into a micro-batch; see `fitting_groups`.

        Args:
            in_chats: as of `encode_examples`.
        """
        # Checked at the start: the longest example may come after hours.
        texts = [(e.id, text) for group in groups for e in group for text in (e.prompt, e.completion)]
        texts += [(e.id, message.content) for group in groups for e in group for message in e.history]
        check_known(self.tokenizer, texts)
        overlong = self.config.task.overlong
        return fitting_groups(self.tokenizer, groups, self.limit_of, overlong, what, in_chats=in_chats)

    def limit_of(self, size: int) -> Limit:
        """The most tokens of each sequence of a group of `size`."""
        return Limit.of(position_limit(self.shape), self.config.optimizer.token_budget, size)

    def model_rows(self) -> list[tuple[str, str]]:
        """Rows of the start-up table on model and adapter."""
        name = self.config.model.model_name_or_path
        vocabulary = f"{len(self.tokenizer):,} tokens of vocabulary"
        return [("model", f"{name} on {self.device}, {vocabulary}"), *self.adapter_rows()]

    def load(self) -> None:
        """Loads the weights."""
        self.model = self.read_model()
        self.to_tell += check_saving(self.model, self.tokenizer.hf)
        # Known with the weights alone: some configs name a loss that their model does not have.
        coefficient = balancing_coefficient(self.model, self.config.optimizer.router_aux_loss_coef)
        self.compute = self.compute._replace(router_aux_loss_coef=coefficient)
        check_packed(self.model, self.compute)

    def read_model(self) -> Model:
        """The model that learns."""
        config = self.config
        model = load_model(config.model, self.shape, self.device, self.seed, lora=config.lora)
        share_end_tokens(model, self.tokenizer)
        return model

    def start_learner(self, *, needs_twin: bool) -> Model | None:
        """Makes adapters and optimizer, and shares the model out over the ranks; see `share_out`."""
        self.add_adapter(self.compute)
        twin = self.share_out(self.model, needs_twin=needs_twin)
        self.compute = self.shared_compute(self.compute)
        self.optimizer = make_optimizer(self.model, self.config.optimizer)
        return twin
