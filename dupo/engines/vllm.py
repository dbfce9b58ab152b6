"""vLLM in the process that trains: a second copy of the weights, paged, and fed again after every update.

    load_weights     notes which weights are sampled from next
    sample           hands vLLM those weights if they are new, drops its cached prefixes, and samples
    release_memory   vLLM sleeps while the learner needs the memory (CUDA, `vllm_enable_sleep_mode`)

vLLM computes with kernels of its own, so its log-probs are near those of the learner and not equal
(`EngineFeatures.exact`). The weights that vLLM has are compared with those of the learner by what they say:
at the start, and after the first update.
"""

import math
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from dupo.config.vllm_options import VllmOptions
from dupo.engines.base import EngineFeatures, Followed, FollowUps, Sampling, check_room, ids_of, in_groups
from dupo.engines.following import Following
from dupo.engines.weight_handover import WeightHandover
from dupo.errors import UserError
from dupo.models.adapter_files import whole_weights
from dupo.models.agreement import has_experts
from dupo.models.devices import compute_dtype
from dupo.models.load import Model
from dupo.models.positions import position_limit
from dupo.progress import tell_progress
from dupo.records import Completion, Prompt
from dupo.seeds import prompt_keys
from dupo.text.tokenizer import PromptTokenizer

# Before vLLM is imported. The engine must run in this process, or it could not be handed weights.
VARIABLES = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
QUIET = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
REQUESTS_AT_ONCE = 4096  # between two reports of the progress
UNLIMITED = 1 << 20  # tokens, of a model without a limit of positions
SEEDS = 2**63  # vLLM takes seeds of 64 bits with a sign


class VllmEngine:
    """Samples from a copy of a model that vLLM holds; see `dupo.engines.base.Engine`.

    Args:
        model: sampled from as it is when `load_weights` is called, and as it is now until then.
        dtype: `--compute_dtype`.

    Raises:
        UserError: vLLM is not installed, cannot run the model, or computes other log-probs than the model.
    """

    def __init__(
        self, model: Model, tokenizer: PromptTokenizer, options: VllmOptions, *, dtype: str, seed: int
    ) -> None:
        self.tokenizer = tokenizer
        if has_experts(model):
            # transformers fuses experts in memory, and vLLM reads them one by one.
            raise UserError(f"engine: vllm takes no mixture of experts yet, got {type(model).__name__}")
        limit = position_limit(model.config)
        lengths = [most for most in (limit, options.vllm_max_model_length) if most is not None]
        self.max_length = min(lengths, default=UNLIMITED)
        self.vllm = _import_vllm()
        self.sleeps = options.vllm_enable_sleep_mode and model.device.type == "cuda"
        self.llm = self._start(model, dtype, options, seed)
        self.is_asleep = False
        self.handover = WeightHandover(model, dtype, "vllm", self.max_length)

    def _start(self, model: Model, dtype: str, options: VllmOptions, seed: int) -> Any:
        """An engine with weights of no meaning; `sample` hands it those of the model."""
        settings: dict[str, Any] = {"gpu_memory_utilization": options.vllm_gpu_memory_utilization}
        if model.device.type == "cpu":
            # Without CUDA there are no graphs to capture, and compiling takes longer than a tiny run.
            settings = {"enforce_eager": True}
        weight_dtype = str(compute_dtype(model.device, dtype)).removeprefix("torch.")
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
                raise UserError(f"engine: vllm cannot run {type(model).__name__}: {error}") from error

    @property
    def features(self) -> EngineFeatures:
        """What the engine can do."""
        return EngineFeatures(logprobs=True, distributions=False, new_weights=True, follow_ups=True)

    @property
    def max_positions(self) -> int | None:
        """Most tokens of a prompt and its completion."""
        return self.max_length

    def load_weights(self, model: Model) -> None:
        """Samples from `model` as it is now, from the next call on."""
        self.handover.note(model)

    def release_memory(self) -> None:
        """Gives weights and cache up until the next call of `sample`."""
        if self.sleeps and not self.is_asleep:
            self.llm.sleep(level=2)  # the learner has the weights
            self.is_asleep = self.handover.is_due = True

    @torch.no_grad()
    def sample(
        self, prompts: Sequence[Prompt] | Sequence[list[int]], n: int, sampling: Sampling, seed: int
    ) -> list[list[Completion]]:
        """Draws `n` completions of each prompt; see `Engine.sample`.

        Raises:
            UserError: a prompt leaves no room for `max_tokens` within `max_positions`; or the weights in
                vLLM are found to be others than those of the learner.
            RuntimeError: the weights of the model have changed, and `load_weights` was not called.
        """
        self._hand_weights_over()
        return self._sample(self._encode(prompts, sampling.max_tokens), n, sampling, seed)

    @torch.no_grad()
    def sample_and_follow(
        self,
        prompts: Sequence[Prompt] | Sequence[list[int]],
        n: int,
        sampling: Sampling,
        seed: int,
        follow: FollowUps,
    ) -> Followed:
        """As `sample`, with prompts that follow; see `FollowingEngine.sample_and_follow`.

        Raises:
            UserError, RuntimeError: as `sample`.
        """
        self._hand_weights_over()
        prompt_ids = self._encode(prompts, sampling.max_tokens)
        following = Following[Any](len(prompt_ids), n, follow, self._completions)
        engine, times, num_asked = self.llm.llm_engine, Counter[tuple[int, ...]](), 0
        numbers = dict[str, int]()  # of the prompts that are under way, by the name that vLLM has for each

        def add(prompt_ids: list[list[int]], keys: list[int], n: int, sampling: Sampling) -> None:
            nonlocal num_asked
            requests = [{"prompt_token_ids": ids} for ids in prompt_ids]
            parameters = [self._parameters(n, sampling, key) for key in keys]
            for name in self.llm.enqueue(requests, parameters, use_tqdm=False):
                numbers[name.partition("-")[0]] = num_asked  # behind it stand random digits
                num_asked += 1

        add(prompt_ids, prompt_keys(seed, prompt_ids), n, sampling)
        try:
            while numbers:
                for output in engine.step():
                    if not output.finished:
                        continue
                    # Its number is gone before anything follows: what has ended cannot be taken back.
                    rows = sorted(output.outputs, key=lambda row: row.index)
                    if further := following.take_all(numbers.pop(output.request_id), rows):
                        further_ids = self._encode(further, follow.sampling.max_tokens)
                        keys = prompt_keys(follow.seed, further_ids, times)
                        add(further_ids, keys, follow.n, follow.sampling)
        finally:
            # After a fault: the next call would get what is still under way.
            engine.abort_request([*numbers])
        return following.result()

    def _encode(self, prompts: Sequence[Prompt] | Sequence[list[int]], max_tokens: int) -> list[list[int]]:
        prompt_ids = ids_of(self.tokenizer, prompts)
        check_room(prompt_ids, max_tokens, self.max_length, "vllm (--vllm_max_model_length)")
        return prompt_ids

    def _hand_weights_over(self) -> None:
        self.handover.check_noted()
        if not self.handover.is_due:
            return
        # Weights first and the cache after them: both and a copy of a layer would not fit.
        if self.is_asleep:
            self.llm.wake_up(tags=["weights"])
        # A head that is tied to the embedding comes under both names: on a CPU vLLM has a copy of it.
        weights = whole_weights(self.handover.model)
        self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
        if self.is_asleep:
            self.llm.wake_up(tags=["kv_cache"])
        # Prefixes that were computed with the weights before.
        if not self.llm.reset_prefix_cache():
            raise RuntimeError("vLLM cannot drop its cached prefixes: requests of before are still under way")
        self.is_asleep = False
        self.handover.done(self._sample)

    def _sample(
        self, prompt_ids: list[list[int]], n: int, sampling: Sampling, seed: int
    ) -> list[list[Completion]]:
        # A key for each prompt: the draws do not depend on what else is asked.
        keys = prompt_keys(seed, prompt_ids)
        groups: list[list[Completion]] = []
        for start in range(0, len(prompt_ids), REQUESTS_AT_ONCE):
            at_once = slice(start, start + REQUESTS_AT_ONCE)
            requests = [{"prompt_token_ids": ids} for ids in prompt_ids[at_once]]
            parameters = [self._parameters(n, sampling, key) for key in keys[at_once]]
            outputs = self.llm.generate(requests, parameters, use_tqdm=False)
            rows = [row for output in outputs for row in sorted(output.outputs, key=lambda row: row.index)]
            # The rows of a prompt stand together, in the order of their draws.
            groups += in_groups(self._completions(rows), n)
            tell_progress("samples", len(groups) * n, len(prompt_ids) * n)
        return groups

    def _parameters(self, n: int, sampling: Sampling, key: int) -> Any:
        return self.vllm.SamplingParams(
            n=n,
            temperature=sampling.temperature,
            max_tokens=sampling.max_tokens,
            seed=key % SEEDS,
            logprobs=0,  # of the sampled token alone
            stop_token_ids=sorted(self.tokenizer.eos_ids),
            ignore_eos=True,  # the tokenizer knows every end token, the config of a model may not
            detokenize=False,
        )

    def _completions(self, rows: Sequence[Any]) -> list[Completion]:
        texts = self.tokenizer.decode([list(row.token_ids) for row in rows])
        return [
            Completion(
                torch.tensor(list(row.token_ids)), _logprobs(row), content, row.finish_reason == "length"
            )
            for row, content in zip(rows, texts, strict=True)
        ]


def _logprobs(row: Any) -> Tensor:
    """Log-probs (T,) fp32 of the sampled tokens of one completion, nats."""
    steps = zip(row.logprobs, row.token_ids, strict=True)
    logprobs = [of_tokens[token].logprob for of_tokens, token in steps]
    if not all(map(math.isfinite, logprobs)):
        raise FloatingPointError("the model's logits are not finite")
    return torch.tensor(logprobs, dtype=torch.float32)


def _import_vllm() -> ModuleType:
    os.environ.update(VARIABLES)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if find_spec("vllm") is None:
        raise UserError("engine: expected vLLM for --engine vllm, got none (pip install vllm)")
    import vllm

    return vllm
