"""What a method is: one way to train.

A method is a file of this folder and a line in `METHODS` of `dupo/config/catalogue.py`. The loop in
`dupo/train.py` and everything around the loop in `dupo/run/` know a method by these members only. A method
knows no folder and no display: what it must remember comes and goes as `state`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch

from dupo.config.config import Config
from dupo.distributed.ranks import ALONE, Ranks, share_tensors
from dupo.engines.base import Engine
from dupo.engines.first_rank import FirstRankEngine, is_of_server
from dupo.engines.kept import Groups
from dupo.engines.ranked import RankedEngine
from dupo.learning.adapter_check import check_reached
from dupo.learning.logprobs import Compute
from dupo.learning.optimizer import check_optimizer
from dupo.models.adapter import Adapter, AdapterPlan, plan_adapter
from dupo.models.devices import compute_dtype, pick_device
from dupo.models.fingerprints import weights_fingerprint
from dupo.models.four_bits import check_four_bits
from dupo.models.load import Model
from dupo.models.sharding import shard, whole_twin
from dupo.phases import Phases
from dupo.records import Exchange, StepBatch
from dupo.text.tokenizer import PromptTokenizer


class Stage(Protocol):
    """Training that comes before a method, such as teaching the built-in model.

    Attributes:
        name: what the stage is called in notes.
        steps: optimizer steps done.
        most_steps: optimizer steps after which the stage ends, whatever it has reached.
    """

    name: str
    steps: int
    most_steps: int

    def step(self) -> str | None:
        """Makes one optimizer step. Returns now and then, in words, how near the goal is; else None."""
        ...

    def finished(self) -> bool:
        """Whether the stage has reached its goal, after which `step` is not called again."""
        ...

    def finish(self) -> str:
        """Copies the result into the policy. Returns a line for the user."""
        ...

    def facts(self) -> dict[str, Any]:
        """What summary.json tells of the stage, once it is finished."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Continues from `state`, as if never stopped."""
        ...


class Rollouts(Protocol):
    """Where a method that samples leaves its rollouts; `storage/rollouts.py` is the one of a run."""

    def save(self, step: int, seconds: float, state: Callable[[], dict[str, Any]]) -> None:
        """Saves what the method remembers after the rollout that optimizer step `step` begins with."""
        ...

    def load(self, step: int) -> Mapping[str, Any] | None:
        """What was saved; None where the rollout must be sampled."""
        ...

    def groups(self, step: int) -> Groups:
        """Where the groups of the rollout are kept while it is sampled."""
        ...


class Method(ABC):
    """One way to train.

    The constructor checks options and data; it loads no weights. Then come, in this order: `load`,
    the stage if there is one, `start`, and for every step `next_batch` and `update`.

    Args:
        config: every option of the run.
        data: what the function `data` of the entry in `METHODS` gave; None: the method calls the function.
        ranks: the processes that train together.

    Attributes:
        model: the policy, which the optimizer changes.
        adapter: what is trained of the model, with `use_peft`; made by `start`, after the stage.
        ema: moving average of the weights, where the method keeps one.
        name: what is trained, in a few words joined by dashes: for the folder and the title of the run.
        has_stage: whether training comes before the method; `make_stage` then gives the stage.
        headline: the held-out metric of the progress line ("accuracy" for eval/accuracy).
        shape: the config of the model; None: not known before `load`.
        num_held_out: number of held-out problems; 0: nothing is evaluated.
        to_tell: lines that `warnings` has not given yet.
        rollouts: where rollouts are left for a run that is killed; None: nowhere.
        phases: the clocks of the run, which timings.jsonl gets.

    Raises:
        UserError: the options, the data or the model cannot be used.
    """

    tokenizer: PromptTokenizer
    # A method that knows the config of its model before it loads the weights has a plan of its memory.
    shape: Any = None
    engine: Engine
    model: Model
    optimizer: torch.optim.Optimizer
    # Most methods keep no average, run no stage and hold nothing out.
    ema: Model | None = None
    adapter: Adapter | None = None
    adapter_plan: AdapterPlan | None = None
    rollouts: Rollouts | None = None
    has_stage: bool = False
    name: str
    headline: str = "loss"
    num_held_out: int = 0

    def __init__(self, config: Config, data: Any = None, ranks: Ranks = ALONE) -> None:
        # The device is chosen here, so that a GPU that is not there is told before weights are read.
        self.config, self.seed = config, config.run.seed
        self.ranks = ranks
        self.to_tell: list[str] = []
        self.phases = Phases()
        self.device = pick_device(config.model.device)
        check_optimizer(config.optimizer)
        check_four_bits(config.lora, self.device, ranks.size)
        # Machines of other sizes would each lay the ranks out in another grid, and wait for ever.
        if config.ranks.data_parallel_shard_degree is None:
            what = "number of processes on its machine (else give --data_parallel_shard_degree)"
            ranks.check_same(ranks.per_node, what)

    @abstractmethod
    def describe(self) -> list[tuple[str, str]]:
        """(name, text) rows of the start-up table."""

    def plan_adapter(self, shape: Any) -> None:
        """Checks the options of adapters, before the weights are loaded.

        Args:
            shape: what `model_config` gave.
        """
        config = self.config
        self.adapter_plan = plan_adapter(config.lora, config.model, shape, scores=config.learns_scores)

    def add_adapter(self, compute: Compute) -> None:
        """Puts adapters on the model as it is now, if the options want any; to be called by `start`."""
        if self.config.lora.use_peft:
            self.adapter = Adapter(self.model, self.config.lora, self.seed)
            check_reached(self.model, compute)

    def share_out(self, model: Model, *, needs_twin: bool = True) -> Model | None:
        """Shares a model out over the ranks, once everything is in it that is trained.

        Args:
            needs_twin: whether ranks sample from the model themselves.

        Returns:
            A twin that is whole on every rank, to sample from; None where none is needed, or where one
            process has all of the model.
        """
        if self.ranks.size == 1:
            return None
        # Weights are drawn, read or taught on every rank alike; another machine may round otherwise.
        share_tensors(self.ranks, list(model.parameters()))
        twin = whole_twin(model, half=self._is_half) if needs_twin else None
        options = self.config.ranks
        shard(
            model,
            self.ranks,
            # Asked of the model that learns: in its average, no weight is trained.
            stay_whole={name for name, weight in self.model.named_parameters() if not weight.requires_grad},
            ranks_per_node=options.data_parallel_shard_degree or self.ranks.per_node,
            half=self._casts,
            offload=options.cpu_offload,
        )
        return twin.requires_grad_(False) if twin is not None else None

    def shared_engine(self, engine: Engine, twin: Model | None = None) -> Engine:
        """An engine as all ranks ask it together; see `dupo.engines.ranked` and `dupo.engines.first_rank`."""
        if self.ranks.size == 1:
            return engine
        kind = FirstRankEngine if is_of_server(engine) else RankedEngine
        return kind(engine, self.ranks, twin)

    def shared_compute(self, compute: Compute) -> Compute:
        """How passes are made through a model that is shared out."""
        return compute._replace(ranks=self.ranks, dtype="float32" if self._casts else compute.dtype)

    @property
    def _is_half(self) -> bool:
        return compute_dtype(self.device, self.config.model.compute_dtype) is torch.bfloat16

    @property
    def _casts(self) -> bool:
        """Whether FSDP casts the weights that it gathers; those beneath adapters are not gathered."""
        return self._is_half and self.adapter is None and self.ranks.size > 1

    def adapter_rows(self) -> list[tuple[str, str]]:
        """The row of the start-up table on what is trained of the model; none without adapters."""
        return [self.adapter_plan.row(self.config.lora)] if self.adapter_plan else []

    def evaluation_row(self, what: str) -> tuple[str, str]:
        """The row of the start-up table on evaluation.

        Args:
            what: is measured, and on what: "loss on 64 held-out examples".
        """
        text = f"{what}, every {self.config.run.eval_steps} steps"
        if not self.num_held_out:
            is_asked = self.config.task.eval_size == 0
            reason = "--eval_size 0" if is_asked else "nothing is held out, the row of the data says why"
            text = f"none: {reason}"
        return "evaluation", text

    def inputs(self) -> Mapping[str, str]:
        """Name -> fingerprint of everything that is read: a run goes on with the same contents only.

        Called before `load`. A method that reads data, a tokenizer or another model adds these.
        """
        return weights_fingerprint("model", self.config.model)

    @abstractmethod
    def load(self) -> None:
        """Loads the weights; makes `model` and `engine`."""

    def make_stage(self) -> Stage:
        """The training before the method, where `has_stage`. A resumed run does not call this."""
        raise NotImplementedError("this method has no stage")

    @abstractmethod
    def start(self) -> None:
        """Makes what depends on the weights that training starts from: optimizer, reference, judge."""

    @abstractmethod
    def next_batch(self, step: int) -> StepBatch:
        """What optimizer step `step`, counted from 0, learns from: samples and judges, or reads."""

    @abstractmethod
    def update(self, batch: StepBatch, step: int) -> dict[str, float]:
        """Makes the optimizer step; returns its metrics.

        Raises:
            FloatingPointError: a loss or gradient is not finite; the weights are then unchanged.
        """

    @abstractmethod
    def evaluate(self) -> dict[str, float]:
        """Held-out metrics of the model as it is; empty where nothing is held out."""

    def current_batch(self, step: int) -> StepBatch | None:
        """The batch of the step that failed, for the report of the failure; None where there is none."""
        return None

    def warnings(self) -> list[str]:
        """What the user should know of what was done since the last call, a line each."""
        lines, self.to_tell = self.to_tell, []
        return lines

    def facts(self) -> dict[str, Any]:
        """What summary.json tells beside the metrics, measured before the first step."""
        return {}

    def exchanges(self, count: int) -> list[Exchange]:
        """`count` held-out exchanges to read; none where the method has none."""
        return []

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold beside weights and optimizer."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continues from what `state` gave."""
        assert not state, "a method that gives a state must load the state"
