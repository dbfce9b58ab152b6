"""The plan of a run: workload, memory, rows at once, seconds and disk, of one config on one machine."""

import math
from dataclasses import dataclass, replace

from dupo.config.config import Config
from dupo.config.engine_options import BUILTIN, SERVER
from dupo.config.plan_options import PlanOptions
from dupo.engines.slot_cache import most_slots
from dupo.models.outline import Outline
from dupo.planning import memory, pace
from dupo.planning.machines import Machine
from dupo.planning.memory import Item

TIGHT = 0.9  # share of the memory above which a plan that fits may fail: allocators waste some


@dataclass(frozen=True)
class Workload:
    """Tokens of a rollout and of its steps, over all GPUs.

    Attributes:
        answers, answer_tokens: completions of a rollout and their tokens.
        duals, dual_tokens: answers to duals, and their tokens.
        steps: optimizer steps of a rollout.
        trained: completions of an optimizer step.
        step_tokens: of these, prompts among them.
        step_rows: sampled tokens among them.
        micro_tokens: of the largest micro-batch.
    """

    answers: int
    answer_tokens: float
    duals: int
    dual_tokens: float
    steps: int
    trained: int
    step_tokens: float
    step_rows: float
    micro_tokens: int


@dataclass(frozen=True)
class Plan:
    """What a run will need and take.

    Attributes:
        items: memory of one GPU, or of the machine.
        cache: bytes that the cache of the built-in engine takes; in `items` as well.
        rows: completions at once on one GPU; None: another machine decides.
        seconds: phase, as timings.jsonl names it -> seconds; of a rollout, or of one step for `update`.
        checkpoint: bytes of a checkpoint.
    """

    config: Config
    machine: Machine
    model: Outline
    workload: Workload
    items: list[Item]
    rows: int | None
    seconds: dict[str, float]
    checkpoint: float

    @property
    def start(self) -> float:
        """Bytes of each GPU before the weights are shared out; 0 where they are not."""
        return sum(item.start for item in self.items)

    @property
    def sampling(self) -> float:
        """Bytes while answers are sampled."""
        return sum(item.sampling for item in self.items)

    @property
    def update(self) -> float:
        """Bytes while a step is made."""
        return sum(item.update for item in self.items)

    @property
    def peak(self) -> float:
        """Bytes at the most."""
        return max(self.start, self.sampling, self.update)

    @property
    def least(self) -> float:
        """Bytes that are needed at the least: nothing in it is an assumption."""
        certain = [item for item in self.items if item.is_certain]
        phases = zip(*((item.start, item.sampling, item.update) for item in certain), strict=True)
        return max(map(sum, phases))

    @property
    def step_seconds(self) -> float:
        """Seconds of an optimizer step with its share of the rollout."""
        of_rollout = sum(seconds for phase, seconds in self.seconds.items() if phase != "update")
        return self.seconds["update"] + of_rollout / self.workload.steps

    @property
    def fits(self) -> bool:
        """Whether the memory is enough, by the plan."""
        return self.peak <= self.machine.memory


def workload_of(config: Config, expected: PlanOptions) -> Workload:
    """How many completions and tokens there are."""
    rollout, optimizer, duals = config.rollout, config.optimizer, config.duals
    longest, prompt = rollout.max_completion_length, expected.mean_prompt_length
    length = min(expected.mean_completion_length or math.ceil(longest / 2), longest)
    if not config.samples:
        answers, num_duals, steps = 0, 0, 1
        # A pair is two sequences.
        trained = (optimizer.train_batch_size or 8) * config.group_size
        dual_length = 0
    else:
        answers, of_rollout = rollout.generation_batch_size, rollout.trained_of_rollout
        trained = (optimizer.train_batch_size or 0) * config.group_size or of_rollout
        # How many completions are learned, or compared, is known with the rewards: at most all, once each.
        steps = max(1, of_rollout // trained) * optimizer.num_iterations
        # 0 asks for all duals of a problem, and how many there are is not known without the data.
        of_problem = (config.task.duals_per_prompt or 1) * duals.dual_samples
        asked = config.reward.needs("duals") and answers * expected.different_answers * of_problem
        num_duals = round(asked)
        limit = duals.dual_max_completion_length or longest
        dual_length = min(expected.mean_dual_length or math.ceil(limit / 2), limit)
    step_tokens = trained * (prompt + length)
    return Workload(
        answers=answers,
        answer_tokens=float(answers * length),
        duals=num_duals,
        dual_tokens=float(num_duals * dual_length),
        steps=steps,
        trained=trained,
        step_tokens=float(step_tokens),
        step_rows=float(trained * length),
        micro_tokens=min(optimizer.token_budget, trained * (prompt + longest)),
    )


def least_budget(config: Config, expected: PlanOptions) -> int:
    """Tokens that a micro-batch must hold at least: prompts with their longest completions."""
    # What is not sampled stands in the data, and no option says how long that is.
    longest = config.rollout.max_completion_length if config.samples else 0
    # A micro-batch holds both answers of a pair.
    return config.group_size * (expected.mean_prompt_length + longest)


def make_plan(
    config: Config, expected: PlanOptions, machine: Machine, model: Outline, judge: Outline | None
) -> Plan:
    """The plan of a run.

    Args:
        judge: the model that `dual_model` names, where it is another one that is loaded here.
    """
    work = workload_of(config, expected)
    # Sequences are packed whole, so a micro-batch has about the share of prompts that the step has.
    share = work.step_rows / work.step_tokens
    items = memory.held(config, model, judge, machine)
    items += memory.engine_items(config, model, machine)
    items += memory.update_items(config, model, machine, work.micro_tokens, int(share * work.micro_tokens))
    checkpoint = memory.checkpoint_bytes(config, model, machine.ranks)
    plan = Plan(config, machine, model, work, items, None, {}, checkpoint)
    rows, cache = _rows(plan, expected)
    if cache:
        items = [*items, Item(f"keys and values of {rows:,} rows", cache, 0, is_certain=False)]
    plan = replace(plan, items=items, rows=rows)
    return replace(plan, seconds=_seconds(plan, expected))


def _rows(plan: Plan, expected: PlanOptions) -> tuple[int | None, float]:
    """Completions at once on a GPU; and the bytes of their cache, where it is not counted yet."""
    config, machine, model = plan.config, plan.machine, plan.model
    most = -(-plan.workload.answers // machine.ranks)
    if config.engine.engine == SERVER or not plan.workload.answers or model.costs is None:
        return None, 0.0
    longest = expected.mean_prompt_length + config.rollout.max_completion_length
    token = memory.cache_bytes(config, model, machine)
    if memory.num_vllms(config):
        room = plan.config.vllm.vllm_gpu_memory_utilization * machine.memory - 2 * model.parameters
        # Pages: a row takes what it has, half of its answer on average.
        mean = expected.mean_prompt_length + plan.workload.answer_tokens / plan.workload.answers / 2
        return max(0, min(most, int(room / (token * mean)))), 0.0
    most = min(most, config.rollout.max_concurrent_sequences)
    # Without a GPU nothing looks at the memory: a batch has as many rows as the options say.
    if not machine.gpus:
        return most, most * longest * token
    free = machine.memory - plan.sampling
    if free <= 0:
        return 0, 0.0
    # Pages grow with a row; a slot has room for the longest row from the start.
    if config.engine.engine != BUILTIN:
        mean = expected.mean_prompt_length + plan.workload.answer_tokens / plan.workload.answers / 2
        rows = min(most, int(TIGHT * free / (token * mean)))
        return rows, rows * mean * token
    rows = min(most, most_slots(int(free), longest, int(token), model.vocabulary))
    return rows, rows * longest * token


def _seconds(plan: Plan, expected: PlanOptions) -> dict[str, float]:
    config, machine, model, work = plan.config, plan.machine, plan.model, plan.workload
    seconds: dict[str, float] = {}
    if plan.rows and work.answers:
        prompt = expected.mean_prompt_length
        for phase, count, tokens in (
            ("answers", work.answers, work.answer_tokens),
            ("duals", work.duals, work.dual_tokens),
        ):
            if count:
                length = prompt + tokens / count / 2
                # Problems are shared out over the GPUs, whole groups to each.
                rows = min(plan.rows, math.ceil(count / machine.ranks))
                seconds[phase] = pace.decode_seconds(
                    config, model, machine, tokens=tokens / machine.ranks, rows=rows, length=length
                )
    passes = dict(tokens=work.step_tokens, rows=work.step_rows, length=work.step_tokens / work.trained)
    # Log-probs of a rollout are measured once, however often the rollout is trained on.
    times = work.steps / config.optimizer.num_iterations
    of_rollout = {**passes, "tokens": times * work.step_tokens, "rows": times * work.step_rows}
    if work.answers and config.engine.engine != BUILTIN:
        seconds["old_logprobs"] = pace.forward_seconds(model, machine, **of_rollout)
    if work.answers and config.needs_reference:
        seconds["ref_logprobs"] = pace.forward_seconds(model, machine, **of_rollout)
    seconds["update"] = pace.update_seconds(config, model, machine, **passes)
    return seconds
