"""One vLLM of this process: the weights that it holds, the memory that it gives up, and its requests.

    load     puts weights in: whole ones, or a base once and an adapter after every update
    sleep    gives weights and cache up
    renew    wakes, and drops the prefixes that were computed with the weights before

Several engines may share an instance, where their models differ in adapters alone.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from dupo.config.engine_options import check_vllm
from dupo.config.vllm_options import VllmOptions
from dupo.engines.vllm_adapters import check_layers, lora_settings, send_adapter
from dupo.engines.weight_files import makes_head, without_head
from dupo.errors import UserError
from dupo.models.adapter import AdapterPlan
from dupo.models.adapter_files import base_weights, has_adapters, whole_weights
from dupo.models.agreement import has_experts
from dupo.models.devices import compute_dtype
from dupo.models.load import Model
from dupo.models.positions import position_limit

# Before vLLM is imported. The engine must run in this process, or it could not be handed weights.
VARIABLES = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
QUIET = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
UNLIMITED = 1 << 20  # tokens, of a model without a limit of positions
SEEDS = 2**63  # vLLM takes seeds of 64 bits with a sign


class VllmInstance:
    """Starts vLLM with weights of no meaning.

    Args:
        model: gives the class and the shape.
        dtype: `--compute_dtype`.
        adapter: the adapters that go over alone; None: whole weights go over, adapters merged.

    Attributes:
        llm: `vllm.LLM`.
        sleeps: whether the memory can be given up.
        is_asleep: whether the memory is given up.
        is_tried: whether an adapter was seen to arrive.

    Raises:
        UserError: vLLM is not installed, cannot run the model, or takes no such adapters on the model.
    """

    def __init__(
        self, model: Model, options: VllmOptions, *, dtype: str, seed: int, adapter: AdapterPlan | None = None
    ) -> None:
        if has_experts(model):
            # transformers fuses experts in memory, and vLLM reads them one by one.
            raise UserError(f"engine: vllm takes no mixture of experts yet, got {type(model).__name__}")
        limit = position_limit(model.config)
        lengths = [most for most in (limit, options.vllm_max_model_length) if most is not None]
        self.max_length, self.dtype, self.adapter = min(lengths, default=UNLIMITED), dtype, adapter
        self.vllm = _import_vllm()
        self.sleeps = options.vllm_enable_sleep_mode and model.device.type == "cuda"
        self.llm = self._start(model, options, seed)
        if adapter:
            check_layers(self.llm, adapter, type(model).__name__)
        (self.has_head,) = self.llm.apply_model(makes_head)
        self.is_asleep = self.is_tried = False
        self._base: list[tuple[Tensor, int]] = []
        self._num_adapters = 0

    def _start(self, model: Model, options: VllmOptions, seed: int) -> Any:
        settings: dict[str, Any] = {"gpu_memory_utilization": options.vllm_gpu_memory_utilization}
        if model.device.type == "cpu":
            # Without CUDA there are no graphs to capture, and compiling takes longer than a tiny run.
            settings = {"enforce_eager": True}
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # Each rank has a vLLM of its own, which must not take the other ranks for its workers.
            settings |= {"distributed_executor_backend": "external_launcher"}
        if self.adapter:
            settings |= lora_settings(self.adapter)
        weight_dtype = str(compute_dtype(model.device, self.dtype)).removeprefix("torch.")
        config = deepcopy(model.config)
        config.architectures = [type(model).__name__]  # a model that no folder holds names no class
        with tempfile.TemporaryDirectory() as folder:
            config.save_pretrained(folder)
            try:
                return self.vllm.LLM(
                    model=folder,
                    runner="generate",
                    load_format="dummy",
                    dtype=weight_dtype,
                    max_model_len=self.max_length,
                    skip_tokenizer_init=True,
                    # After temperature: the distribution that tokens are drawn from.
                    logprobs_mode="processed_logprobs",
                    # A model's own settings may cut the distribution (top_k, top_p) in silence.
                    generation_config="vllm",
                    enable_sleep_mode=self.sleeps,
                    seed=seed % SEEDS,
                    disable_log_stats=True,
                    **settings,
                )
            except Exception as error:
                advice = "; --vllm_merge_adapters asks for no adapters in vLLM" if self.adapter else ""
                name = type(model).__name__
                raise UserError(f"engine: vllm cannot run {name}: {error}{advice}") from error

    def load(self, model: Model, request: Any) -> Any:
        """Puts the weights of a model in; to be called inside `renew`.

        Args:
            request: what the last call gave for the model; its adapter is removed.

        Returns:
            What stands for the adapter of the model in `generate`; None where whole weights went over.
        """
        if self.adapter is None:
            self._reload(whole_weights(model))
            return None
        base = _written(model)
        if not _same(base, self._base):
            self._reload(base_weights(model))
            # The tensors are held: none that is made later can be taken for one of them.
            self._base = base
        if not has_adapters(model):
            return None
        # A number of its own for every adapter: no prefix of another one is taken for its own.
        self._num_adapters += 1
        return send_adapter(self.llm, model, self._num_adapters, request)

    def _reload(self, weights: Iterator[tuple[str, Tensor]]) -> None:
        known = without_head(weights, self.has_head)
        self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": known})

    @contextmanager
    def renew(self) -> Iterator[None]:
        """Wakes vLLM for weights that are put in inside the block, and drops its prefixes after the block."""
        # Weights first and the cache after them: both and a copy of a layer would not fit.
        if self.is_asleep:
            self.llm.wake_up(tags=["weights"])
        yield
        if self.is_asleep:
            self.llm.wake_up(tags=["kv_cache"])
        # Prefixes that were computed with the weights before.
        if not self.llm.reset_prefix_cache():
            raise RuntimeError("vLLM cannot drop its cached prefixes: requests of before are still under way")
        self.is_asleep = False

    def sleep(self) -> None:
        """Gives weights and cache up until the next `renew`."""
        if self.sleeps and not self.is_asleep:
            # The learner has whole weights. Level 1 keeps a copy in host memory: beside adapters vLLM has
            # tensors that it fills only when the adapter of a batch changes, and level 2 would lose them.
            self.llm.sleep(level=1 if self.adapter else 2)
            self.is_asleep = True

    def generate(self, prompt_ids: Sequence[list[int]], parameters: Sequence[Any], request: Any) -> list[Any]:
        """The outputs of vLLM for each prompt.

        Args:
            request: what `load` gave.
        """
        return self.llm.generate(_prompts(prompt_ids), parameters, use_tqdm=False, lora_request=request)

    def enqueue(self, prompt_ids: Sequence[list[int]], parameters: Sequence[Any], request: Any) -> list[str]:
        """Asks vLLM for the same without waiting; returns the names that vLLM has for the prompts."""
        return self.llm.enqueue(_prompts(prompt_ids), parameters, use_tqdm=False, lora_request=request)


def _prompts(prompt_ids: Sequence[list[int]]) -> list[dict[str, list[int]]]:
    """Token ids as vLLM takes them."""
    return [{"prompt_token_ids": ids} for ids in prompt_ids]


def _written(model: Model) -> list[tuple[Tensor, int]]:
    """The weights beneath adapters, each with the number of times that it was written."""
    weights = [weight for name, weight in model.named_parameters() if ".lora_" not in name]
    return [(weight, weight._version) for weight in weights]


def _same(new: list[tuple[Tensor, int]], old: list[tuple[Tensor, int]]) -> bool:
    """Whether the weights are the same tensors, and none was written in between."""
    if len(new) != len(old):
        return False
    return all(a is b and of_a == of_b for (a, of_a), (b, of_b) in zip(new, old, strict=True))


def _import_vllm() -> ModuleType:
    os.environ.update(VARIABLES)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    check_vllm()
    import vllm

    return vllm
