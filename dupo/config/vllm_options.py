"""Options of `--engine vllm`, by TRL's names."""

from dataclasses import dataclass

from dupo.config.values import Options, option

LONGEST = 1 << 30  # tokens; far beyond any model
LEAST_TEMPERATURE = 0.01  # vLLM takes what lies between 0 and this for this


@dataclass(frozen=True)
class VllmOptions(Options):
    """How vLLM runs beside the learner."""

    vllm_gpu_memory_utilization: float = option(
        0.3,
        "share of a GPU's memory that vLLM takes for its weights and its cache; a judge in a vLLM of its own "
        "takes that share again",
        above=0.0,
        at_most=1.0,
    )
    vllm_max_model_length: int | None = option(
        None,
        "most tokens of a prompt and its completion in vLLM; none: as many as the model has positions",
        at_least=1,
        at_most=LONGEST,
    )
    vllm_enable_sleep_mode: bool = option(
        False, "let vLLM give up its memory while an optimizer step is made (CUDA only)"
    )
    vllm_merge_adapters: bool = option(
        False,
        "with --use_peft: send whole weights, with the adapters merged, after every update, instead of the "
        "adapters alone; for models that vLLM takes no adapters on",
    )
