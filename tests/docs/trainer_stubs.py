"""What the code of docs/other_trainers.md needs of its trainers: their signatures, and nothing else.

`SOURCES` says where the source of each signature stands in the trainer's own package; test_other_trainers.py
compares them where `.ci/peers` has fetched the package.
"""

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import Enum
from operator import attrgetter
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor


class CharTokenizer:
    """One id a character; a chat is `<user>TEXT<assistant>`. The id 0 ends a text, and is special."""

    def apply_chat_template(
        self,
        messages: list[dict[str, str]],
        tokenize: bool = True,
        add_generation_prompt: bool = False,
        return_dict: bool = True,
    ) -> Any:
        text = "".join(f"<{message['role']}>{message['content']}" for message in messages)
        text += "<assistant>" * add_generation_prompt
        if not tokenize:
            return text
        return {"input_ids": self.encode(text)} if return_dict else self.encode(text)

    def encode(self, text: str) -> list[int]:
        return list(map(ord, text))

    def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str:
        return "".join(chr(i) for i in ids if i or not skip_special_tokens)


# --- AReaL ---


@dataclass
class GenerationHyperparameters:
    n_samples: int = 4
    stop_token_ids: list[int] = field(default_factory=list)

    def new(self, **kwargs: Any) -> "GenerationHyperparameters":
        return GenerationHyperparameters(**{"stop_token_ids": self.stop_token_ids, **kwargs})

    def new_with_stop_and_pad_token_ids(self, tokenizer: Any) -> "GenerationHyperparameters":
        return GenerationHyperparameters(self.n_samples, [0])


@dataclass
class ModelRequest:
    input_ids: list[int]
    gconfig: GenerationHyperparameters
    tokenizer: Any


@dataclass
class ModelResponse:
    input_tokens: list[int]
    output_tokens: list[int]
    output_logprobs: list[float]
    output_versions: list[int]

    @property
    def input_len(self) -> int:
        return len(self.input_tokens)

    @property
    def output_len(self) -> int:
        return len(self.output_tokens)


class RolloutWorkflow:
    async def arun_episode(self, engine: Any, data: dict[str, Any]) -> Any:
        raise NotImplementedError


class InferenceEngine:
    """Answers with `say(prompt)`."""

    def __init__(self, say: Callable[[str], str]) -> None:
        self.say = say

    async def agenerate(self, req: ModelRequest) -> ModelResponse:
        assert req.gconfig == GenerationHyperparameters(1, [0])
        prompt = req.tokenizer.decode(req.input_ids)
        output = [*req.tokenizer.encode(self.say(prompt)), 0]
        count = len(output)
        return ModelResponse(req.input_ids, output, [-0.5] * count, [3] * count)


# --- prime-rl ---


@dataclass
class LossInputs:
    trainer_logprobs: Tensor
    inference_logprobs: Tensor
    ref_logprobs: Tensor | None
    advantages: Tensor
    loss_mask: Tensor
    loss_weights: Tensor | None = None


@dataclass
class LossOutputs:
    loss: Tensor
    metrics: dict[str, Tensor]


class FusedOutputLinear(torch.nn.Linear):
    def forward(self, hidden_states: Tensor, labels: Any = None, temperature: Any = None) -> Any:  # type: ignore[override]
        raise NotImplementedError


# --- SkyRL ---

POLICY_LOSSES: dict[str, Callable[..., Any]] = {}


def register_policy_loss(name: str) -> Callable[..., Any]:
    def decorator(func: Callable[..., Any]) -> Callable[..., Any]:
        POLICY_LOSSES[name] = func
        return func

    return decorator


def ppo_policy_loss(
    log_probs: Any,
    old_log_probs: Any,
    advantages: Any,
    config: Any,
    loss_mask: Any = None,
    rollout_logprobs: Any = None,
) -> Any:
    """The signature of a registered loss."""
    raise NotImplementedError


# --- slime ---


@dataclass
class Sample:
    class Status(Enum):
        PENDING = "pending"
        COMPLETED = "completed"
        ABORTED = "aborted"

    prompt: str = ""
    tokens: list[int] = field(default_factory=list)
    response_length: int = 0
    reward: float | None = None
    status: Status = Status.PENDING
    metadata: dict[str, Any] = field(default_factory=dict)


class GenerateState:
    """Holds the tokenizer, and what the router says to a prompt; None: the request is aborted."""

    say: Callable[[str], str | None]

    def __init__(self, args: Any) -> None:
        self.tokenizer = CharTokenizer()


async def generate(args: Any, sample: Sample, sampling_params: dict[str, Any]) -> Sample:
    # As slime does: the parameters are spent, so a second use of the same dict would get less.
    sampling_params["max_new_tokens"] -= 10
    assert sampling_params["max_new_tokens"] >= 0
    state = GenerateState(args)
    said = GenerateState.say(sample.prompt)
    sample.tokens = state.tokenizer.encode(sample.prompt)
    output = state.tokenizer.encode(said or "")
    sample.tokens += output
    sample.response_length = len(output)
    sample.status = Sample.Status.ABORTED if said is None else Sample.Status.COMPLETED
    return sample


# --- OpenRLHF ---


class SingleTurnAgentExecutor:
    async def execute(
        self,
        prompt: Any,
        label: Any,
        sampling_params: Any,
        max_length: int,
        hf_tokenizer: Any,
        llm_engine: Any,
        images: Any = None,
    ) -> dict[str, Any]:
        ids = hf_tokenizer.encode(prompt)
        output = [*hf_tokenizer.encode(llm_engine(prompt)), 0]
        ranges = [(len(ids), len(ids) + len(output))]
        row = {"prompt": prompt, "label": label, "observation_tokens": ids + output, "action_ranges": ranges}
        return row | {"reward": None, "scores": None, "extra_logs": {}}


# --- NeMo RL ---


class LossType(Enum):
    TOKEN_LEVEL = "token_level"
    SEQUENCE_LEVEL = "sequence_level"


class LossInputType(Enum):
    LOGPROB = "logprob"


class LossFunction:
    loss_type: LossType
    input_type: LossInputType


# --- torchtitan ---


class ChunkedLossWrapper:
    @dataclass(kw_only=True, slots=True)
    class Config:
        num_chunks: int = 8

    def __init__(self, config: Any, *, compile_config: Any = None) -> None:
        raise NotImplementedError

    def set_lm_head(self, lm_head: Any) -> None:
        raise NotImplementedError


class DAPOLoss:
    """The signature of a loss of torchtitan's RL trainer."""

    def __call__(
        self,
        logits: Any,
        labels: Any,
        global_valid_tokens: Any = None,
        *,
        generator_logprobs: Any,
        advantages: Any,
        loss_mask: Any,
    ) -> Any:
        raise NotImplementedError


# --- axolotl, ms-swift ---


class BasePlugin:
    def pre_model_load(self, cfg: Any) -> None:
        """Called before the model is loaded."""


class ORM:
    def __init__(self, args: Any = None, **kwargs: Any) -> None:
        self.args = args

    def __call__(self, **kwargs: Any) -> list[float]:
        raise NotImplementedError


MODULES: dict[str, dict[str, Any]] = {
    "areal.api.io_struct": {"ModelRequest": ModelRequest},
    "areal.api.workflow_api": {"RolloutWorkflow": RolloutWorkflow},
    "prime_rl.trainer.rl.loss": {"LossInputs": LossInputs, "LossOutputs": LossOutputs},
    "prime_rl.trainer.models.layers.lm_head": {"FusedOutputLinear": FusedOutputLinear, "PrimeLmOutput": dict},
    "skyrl.backends.skyrl_train.utils.ppo_utils": {"register_policy_loss": register_policy_loss},
    "slime.rollout.sglang_rollout": {"GenerateState": GenerateState, "generate": generate},
    "slime.utils.types": {"Sample": Sample},
    "openrlhf.utils.agent": {"SingleTurnAgentExecutor": SingleTurnAgentExecutor},
    "nemo_rl.algorithms.loss.interfaces": {
        "LossFunction": LossFunction,
        "LossInputType": LossInputType,
        "LossType": LossType,
    },
    "torchtitan.components.loss": {"ChunkedLossWrapper": ChunkedLossWrapper},
    "axolotl.integrations.base": {"BasePlugin": BasePlugin},
    "swift.rewards": {"ORM": ORM, "orms": {}},
}


def modules() -> dict[str, ModuleType]:
    """The modules of all stubs by name, with the packages around them."""
    stubs: dict[str, ModuleType] = {}
    for name, members in MODULES.items():
        pieces = name.split(".")
        for end in range(1, len(pieces) + 1):
            stubs.setdefault(".".join(pieces[:end]), ModuleType(".".join(pieces[:end])))
        vars(stubs[name]).update(members)
    return stubs


class Source(NamedTuple):
    """Where a trainer defines what a stub copies.

    Attributes:
        peer: the name at `.ci/peers`.
        file: in the package of the trainer.
        name: of the stub and of what it copies: a class with fields, a function, or CLASS.FUNCTION.
    """

    peer: str
    file: str
    name: str

    @property
    def is_record(self) -> bool:
        """Whether the stub is a class with those fields that are used."""
        return isinstance(attrgetter(self.name)(sys.modules[__name__]), type)

    @property
    def parameters(self) -> list[str]:
        """Of the stub, in order."""
        stub = attrgetter(self.name)(sys.modules[__name__])
        return [f.name for f in fields(stub)] if self.is_record else list(inspect.signature(stub).parameters)


SOURCES = [
    Source("areal", "areal/api/workflow_api.py", "RolloutWorkflow.arun_episode"),
    Source("areal", "areal/api/engine_api.py", "InferenceEngine.agenerate"),
    Source("areal", "areal/api/io_struct.py", "ModelRequest"),
    Source("areal", "areal/api/io_struct.py", "ModelResponse"),
    Source("areal", "areal/api/cli_args.py", "GenerationHyperparameters"),
    Source("areal", "areal/api/cli_args.py", "GenerationHyperparameters.new"),
    Source("areal", "areal/api/cli_args.py", "GenerationHyperparameters.new_with_stop_and_pad_token_ids"),
    Source("skyrl", "skyrl/backends/skyrl_train/utils/ppo_utils.py", "register_policy_loss"),
    Source("skyrl", "skyrl/backends/skyrl_train/utils/ppo_utils.py", "ppo_policy_loss"),
    Source("openrlhf", "openrlhf/utils/agent.py", "SingleTurnAgentExecutor.execute"),
    Source("torchtitan", "torchtitan/components/loss.py", "ChunkedLossWrapper.__init__"),
    Source("torchtitan", "torchtitan/components/loss.py", "ChunkedLossWrapper.set_lm_head"),
    Source("torchtitan", "torchtitan/experiments/rl/losses/dapo.py", "DAPOLoss.__call__"),
    Source("axolotl", "axolotl/integrations/base.py", "BasePlugin.pre_model_load"),
    Source("swift", "swift/rewards/orm.py", "ORM.__init__"),
    Source("swift", "swift/rewards/orm.py", "ORM.__call__"),
]
