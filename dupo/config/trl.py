"""TRL's names of options beside ours: which are taken as well, and what to say of the others.

The names are those of `trl grpo`: the fields of GRPOConfig, of transformers' TrainingArguments in it, and of
the script. `docs/trl.md` lists all of them; a test compares that list with TRL itself.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

from dupo.errors import UserError, did_you_mean

Value = TypeVar("Value")

# TRL's name -> our option of exactly the same meaning. Both names are taken.
ALIASES = {
    "dataset_name": "dataset",
    "activation_checkpointing": "gradient_checkpointing",  # the new name of transformers 5.24
    "vllm_importance_sampling_cap": "vllm_importance_sampling_clip_max",  # TRL's old name
}


def _each(names: str, text: str) -> dict[str, str]:
    """The same words on several of TRL's options, whose names stand between blanks."""
    return dict.fromkeys(names.split(), text)


_EVALUATION = "is not here: evaluation scores one greedy answer to every held-out problem"
_LAUNCH = (
    "is not here: torchrun or --num_processes starts several processes, and "
    "--data_parallel_shard_degree says how many of them share a copy of the weights out"
)
_TRACKIO = "is not here: Trackio writes to this machine, or where its own variables say"
_VLLM = "is not here yet: see --engine vllm for what there is"
_SERVER = "belongs to --engine server here:"
_ADAMW = "is not here: the optimizer is AdamW"
_ORDER = "is not here: the problems come in a new random order in every epoch"
_WHOLE_DISTRIBUTION = "is not here: completions are drawn from the whole distribution at --temperature"
_EPOCHS = (
    "is --max_steps here, optimizer steps: an epoch is problems x num_generations x num_iterations / "
    "train_batch_size of them"
)
_STEP = "is --train_batch_size here; --token_budget bounds the memory"

# TRL's option -> what a person does instead, behind the words "TRL's NAME".
INSTEAD: dict[str, str] = {
    # the script
    "reward_funcs": "is --reward here: names, or package.module.function, with commas between them",
    "reward_model_name_or_path": "is --reward here: model:FOLDER names a reward model",
    "dataset_config": "is a part of --dataset here: NAME:CONFIG",
    "dataset_train_split": "is a part of --dataset here: NAME:SPLIT or NAME:CONFIG:SPLIT",
    "dataset_test_split": "is a part of --eval_dataset here: NAME:SPLIT or NAME:CONFIG:SPLIT",
    "datasets": "is not here: --dataset names one data set, perhaps a folder of several files",
    "test_split_size": "is --eval_size here, a number of problems",
    **_each("dataset_streaming streaming", "is not here: a data set is read as a whole"),
    # the model
    "model_revision": "is not here yet: give --model_name_or_path the folder of that revision",
    "attn_implementation": "is not here: sequences are packed, with flash-attn where it is installed",
    "model_init_kwargs": "is not here: see --compute_dtype, --device and --trust_remote_code",
    "lora_target_parameters": "is not here yet: adapters are on the layers of --lora_target_modules",
    "lora_modules_to_save": "is not here: with --use_peft adapters alone are trained, so that the reference "
    "is the model without them",
    "lora_task_type": "is not here: models are causal language models",
    "use_dora": "is not here: DoRA scales whole weights by their norms in every pass, which nobody has tried "
    "with packing and sampling; --use_peft is LoRA",
    "load_in_8bit": "is not here: --load_in_4bit is, beneath adapters",
    "bnb_4bit_quant_storage": "is not here: codes of 4 bits are stored as bytes",
    "disable_dropout": "is not here: only supervised losses have dropout",
    "cast_lm_head_to_fp32": "is not here: logits are float32 with every --compute_dtype",
    "dtype": "is not here: weights that are trained are float32; --compute_dtype is what computes",
    "bf16": "is --compute_dtype bfloat16 here",
    **_each("bf16_full_eval fp16 fp16_full_eval tf32", "is not here: see --compute_dtype"),
    "use_cpu": "is --device cpu here",
    # the steps
    "per_device_train_batch_size": f"x gradient_accumulation_steps {_STEP}",
    "gradient_accumulation_steps": f"x per_device_train_batch_size {_STEP}",
    "num_train_epochs": _EPOCHS,
    "steps_per_generation": "is --generation_batch_size divided by --train_batch_size here",
    "auto_find_batch_size": "is not here: --token_budget bounds the memory",
    "torch_empty_cache_steps": "is not here: --token_budget bounds the memory",
    **_each("optim_args optim_target_modules", _ADAMW),
    "lr_scheduler_kwargs": "is not here: the schedules of --lr_scheduler_type have no arguments",
    **_each(
        "activation_checkpointing_kwargs gradient_checkpointing_kwargs",
        "is not here: --gradient_checkpointing has no arguments",
    ),
    **_each("use_liger_kernel liger_kernel_config", "is not here: the loss head is dupo_kernels"),
    **_each(
        "torch_compile torch_compile_backend torch_compile_mode", "is not here: nothing is compiled by torch"
    ),
    "use_cache": "is not here: sampling has a cache of its own, training has none",
    "neftune_noise_alpha": "is not here: embeddings get no noise",
    "label_smoothing_factor": "is --label_smoothing of --method dpo",
    # sampling
    **_each("top_p top_k min_p repetition_penalty generation_kwargs", _WHOLE_DISTRIBUTION),
    "use_vllm": "is --engine vllm here",
    "vllm_mode": "is --engine here: vllm is colocate, server is a vLLM server",
    **_each("vllm_model_impl vllm_structured_outputs_regex vllm_tensor_parallel_size", _VLLM),
    "vllm_group_port": "is not here: new weights go to a server by files, in --weight_folder",
    "vllm_server_base_url": f"{_SERVER} --base_url is the address",
    "vllm_server_timeout": f"{_SERVER} --request_timeout is the time limit",
    **_each("vllm_server_host vllm_server_port", f"{_SERVER} --base_url has both"),
    **_each("use_transformers_continuous_batching use_transformers_paged", "is --engine transformers here"),
    "transformers_continuous_batching_config": "is not here: --max_concurrent_sequences decides on the pages",
    "cache_implementation": "is not here: the built-in engine has a cache of its own",
    "max_tool_calling_iterations": "is not here: completions call no tools",
    "pad_to_multiple_of": "is not here: sequences are packed without padding",
    # the loss
    "multi_objective_aggregation": "is not here: rewards are summed, then normalised (sum_then_normalize)",
    **_each(
        "sync_ref_model ref_model_mixup_alpha ref_model_sync_steps",
        "is not here yet: the reference is the policy before training",
    ),
    **_each(
        "use_adaptive_entropy entropy_coef_min entropy_coef_max entropy_coef_delta entropy_target",
        "is not here yet: --entropy_coef does not change",
    ),
    # the data
    **_each("shuffle_dataset train_sampling_strategy length_column_name", _ORDER),
    "data_seed": "is not here: --seed fixes the order of the data as well",
    "remove_unused_columns": "is not here: reward functions get the columns, as with false",
    "label_names": "is not here: see --answer_column",
    **_each(
        "dataloader_drop_last dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers "
        "dataloader_prefetch_factor dataloader_multiprocessing_context dataloader_in_order",
        "is not here: a data set is read as a whole",
    ),
    # evaluation
    "eval_strategy": "is not here: evaluation is every --eval_steps steps; --eval_size 0: never",
    "eval_delay": "is not here: evaluation is every --eval_steps steps",
    "eval_on_start": "is not here: held-out problems are always measured before the first step",
    "per_device_eval_batch_size": "is not here: --max_concurrent_sequences bounds what is sampled at once",
    **_each(
        "num_generations_eval do_eval do_predict prediction_loss_only eval_do_concat_batches "
        "eval_use_gather_object eval_accumulation_steps include_for_metrics batch_eval_metrics",
        _EVALUATION,
    ),
    # what a run writes
    **_each(
        "logging_strategy logging_steps logging_first_step",
        "is not here: metrics.jsonl has a row for every optimizer step",
    ),
    "logging_nan_inf_filter": "is not here: a loss that is not finite stops the run",
    "include_num_input_tokens_seen": "is not here: metrics.jsonl has num_tokens in every row",
    "project": "is the variable WANDB_PROJECT or TRACKIO_PROJECT here; else runs stand in the project dupo",
    "trackio_space_id": "is the variable TRACKIO_SPACE_ID here, which Trackio reads itself",
    **_each("trackio_bucket_id trackio_static_space_id", _TRACKIO),
    "disable_tqdm": "is not here: a terminal has a bar, a file plain lines",
    **_each(
        "log_completions log_unique_prompts num_completions_to_print",
        "is not here: samples.jsonl has --num_exchanges_to_log exchanges of every rollout",
    ),
    "log_multimodal": "is not here: models read and write text alone",
    "save_strategy": "is not here: a checkpoint is written every --save_steps steps",
    "save_only_model": "is not here: a checkpoint has all that the next step needs",
    "enable_jit_checkpoint": "is not here: SIGTERM always saves a checkpoint",
    **_each(
        "load_best_model_at_end metric_for_best_model greater_is_better",
        "is not here yet: metrics.jsonl tells which checkpoint is best",
    ),
    **_each(
        "ignore_data_skip restore_callback_states_from_checkpoint",
        "is not here: a resumed run goes on where it stopped",
    ),
    **_each(
        "hub_strategy hub_always_push",
        "is not here: --push_to_hub uploads the model once, at the end of the run",
    ),
    "hub_token": "is not here: log in by `hf auth login`, or set HF_TOKEN",
    "hub_revision": "is not here yet: --push_to_hub uploads to main",
    "log_completions_hub_repo": "is not here: samples.jsonl stays on this machine",
    # the rest of transformers' Trainer
    "full_determinism": "is not here: every draw follows from --seed",
    "do_train": "is not here: python -m dupo.train trains",
    **_each("debug skip_memory_metrics", "is not here"),
    **_each(
        "accelerator_config parallelism_config fsdp fsdp_config deepspeed local_rank "
        "average_tokens_across_devices ds3_gather_for_generation ignore_bias_buffers log_on_each_node "
        "log_level_replica save_on_each_node ddp_find_unused_parameters ddp_bucket_cap_mb "
        "ddp_broadcast_buffers ddp_static_graph ddp_backend",
        _LAUNCH,
    ),
}

# What TRL had before, or has in Python or in other trainers, where people try it as an option.
EARLIER: dict[str, str] = {
    **_each("max_prompt_length max_length", "is not here: --overlong says what becomes of what is too long"),
    "use_liger_loss": INSTEAD["use_liger_kernel"],
    "warmup_ratio": "is --warmup_steps here, a number of steps",
    "evaluation_strategy": INSTEAD["eval_strategy"],
    "torch_dtype": INSTEAD["dtype"],
    "no_cuda": INSTEAD["use_cpu"],
    "group_by_length": _ORDER,
    "logging_dir": "is the folder --output_dir here",
    "train_dataset": "is --dataset here",
    "processing_class": "is --tokenizer_name here",
    "peft_config": "is --use_peft here, with --lora_r, --lora_alpha and --lora_target_modules",
    "quantization_config": "is --load_in_4bit here, with --bnb_4bit_quant_type and --use_bnb_nested_quant",
}
_KNOWN = INSTEAD | EARLIER


def own_names(values: Mapping[str, Value]) -> dict[str, Value]:
    """Options by our names, where they came by ours or by TRL's.

    Raises:
        UserError: an option came by both.
    """
    for alias in ALIASES.keys() & values.keys():
        if (name := ALIASES[alias]) in values:
            raise UserError(f"{alias}: expected {name} or {alias}, its name in TRL, got both")
    return {ALIASES.get(name, name): value for name, value in values.items()}


def about_unknown(name: str, names: Collection[str], here: str = "", prefix: str = "") -> str:
    """Ends a message about an unknown option: what TRL's option of that name is here, else a near spelling.

    Args:
        names: of the options that there are.
        here: what has these options; empty: an option is named whatever has it.
        prefix: what stands before a name.
    """
    word = name.lower().replace("-", "_")
    positive = word.removeprefix("no_")
    known = word if word in _KNOWN else positive
    if known not in _KNOWN:
        return did_you_mean(name, names, prefix)
    text = _KNOWN[known]
    missing = sorted(option for option in options_in(text) if option not in names)
    lacking = f" ({here} has no --{', --'.join(missing)})" if here and missing else ""
    return f": TRL's {known} {text}{lacking}"


def options_in(text: str) -> Iterable[str]:
    """The names of our options that a text of `INSTEAD` names."""
    return re.findall(r"--(\w+)", text)
