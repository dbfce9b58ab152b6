"""What methods share that train a policy on its own samples: engine, judge, rewards, loss, evaluation."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from dupo.config.config import Config
from dupo.config.engine_options import TRANSFORMERS, VLLM
from dupo.config.options import DUAL_MODELS, RewardOptions
from dupo.distributed.ranks import ALONE, Ranks
from dupo.duality.judge import Judge
from dupo.duality.length_check import TokenLimits, check_vocabulary, lengths_of
from dupo.duality.model_parts import ModelParts, read_parts
from dupo.duality.overlong import fit_task
from dupo.duality.reconstruct import Reconstructions, reconstruct
from dupo.engines.base import Engine, EngineFeatures, Sampling, require
from dupo.engines.load import (
    check_builtin,
    load_judge_engine,
    make_copy_engine,
    make_policy_engine,
)
from dupo.engines.server import ServerEngine
from dupo.engines.thinking import check_judge_thinking, check_thinking, thoughts_row
from dupo.engines.training_probe import probe_for_training
from dupo.engines.wrapped import unwrapped
from dupo.errors import ServerError, UserError
from dupo.evaluation.held_out import held_out_metrics, reward_order
from dupo.evaluation.samples import exchanges_of, held_out_exchanges
from dupo.learning.logprobs import Compute
from dupo.learning.on_policy import OnPolicyCheck
from dupo.learning.optimizer import make_optimizer
from dupo.learning.order import EpochOrder
from dupo.learning.packed_check import check_packed
from dupo.methods.base import Method, Stage
from dupo.methods.data import check_labels, read_task
from dupo.methods.dynamic_sampling import RewardedRollout
from dupo.methods.taught_start import comes_taught, taught_note
from dupo.methods.teaching import TEACHING_NOTE, Teaching, teaching_stage
from dupo.models.agreement import has_experts
from dupo.models.balancing import balancing_coefficient
from dupo.models.fingerprints import model_fingerprints
from dupo.models.load import Model, load_model, model_config, share_end_tokens
from dupo.models.saving import check_saving
from dupo.models.tokenizers import load_tokenizer
from dupo.models.weights import frozen_copy, half_copy
from dupo.plugins import without_given
from dupo.records import Exchange, Problem, Rollout
from dupo.rewards import all_rewards, load_models, load_rewards, reward_models
from dupo.rewards.base import RewardInputs, TrainerState
from dupo.rewards.refusals import refusal_metrics
from dupo.seeds import derive
from dupo.tasks.base import Task
from dupo.tasks.fingerprints import task_fingerprints

WEIGHED = "the loss weighs completions by learner / engine (vllm_importance_sampling_*)"
MERGED = "whole weights, adapters merged,"
SAMPLERS = {VLLM: "vLLM", TRANSFORMERS: "continuous batching of transformers"}
AUC_PROBLEMS = 512  # held-out problems that the reward is judged on before training


class PolicyMethod(Method):
    """Prepares a policy, its task and its judge; see `dupo.methods.base.Method`.

    Attributes:
        problems: the training problems, without labels unless a reward reads labels.
        judge: answers the duals; None where no reward needs duals.
        reference: the policy before training; None where nothing needs it.
        num_rollouts: rollouts done, those that dynamic sampling joins counted one by one; with the seed the
            number fixes every draw, so no generator needs saving.
        on_policy: compares sampler and learner at the first step of each rollout.
        of_engines: what the loss does where sampler and learner differ, for the start-up table.
    """

    judge: Judge | None = None
    reference: Model | None = None
    num_rollouts: int = 0
    of_engines: str = ""

    def __init__(self, config: Config, data: Task | None = None, ranks: Ranks = ALONE) -> None:
        super().__init__(config, data, ranks)
        self.name = f"{config.task.task}-{without_given(config.reward.shown)}"
        self.reward_functions = load_rewards(config)
        task = data or read_task(config)
        lessons = task.lessons
        self.tokenizer = load_tokenizer(config.model, lessons.vocabulary if lessons else None)
        self.shape = model_config(config.model, self.tokenizer)
        check_vocabulary(self.tokenizer, self.shape)
        check_thinking(config, config.model.model_name_or_path, self.tokenizer)
        self.plan_adapter(self.shape)
        self.asks_duals = config.reward.needs("duals")
        # Before any weight is loaded: the longest problem may be the last of an hour.
        lengths = lengths_of(config)
        limits = [TokenLimits.of(self.tokenizer, self.shape, lengths)]
        self.server = None
        if config.engine.is_server:
            self.server = probe_for_training(config, self.tokenizer, self.shape, ranks)
            limits.append(TokenLimits(self.tokenizer, lengths, self.server.server.max_positions))
        self.judge_parts = self._judge_parts()
        if self.asks_duals:
            judge = self.judge_parts.tokenizer if self.judge_parts else self.tokenizer
            check_judge_thinking(config, judge)
        judge_limits = [self.judge_parts.limits(lengths)] if self.judge_parts else limits
        scorers = [scorer.limits(lengths) for scorer in reward_models(self.reward_functions)]
        self.task = fit_task(
            task, limits + scorers, config.task.overlong, judge_limits, needs_duals=self.asks_duals
        )
        self.problems = training_problems(self.task, config.reward)
        # Problems, not completions, are visited once per epoch.
        self.order = EpochOrder(self.seed, len(self.problems))
        self.headline, self.num_held_out = self.task.headline, len(self.task.held_out)
        self.has_stage = Teaching.is_needed(config, self.task)
        # After the problems were framed: a history decides what is said of the chat frame.
        self.judge_inputs = self.judge_parts.fingerprints("judge") if self.judge_parts else {}
        options = config.rollout
        self.sampling = Sampling(options.temperature, options.max_completion_length)
        self.compute = Compute(options.temperature, config.model.compute_dtype, config.optimizer.token_budget)
        self.on_policy = OnPolicyCheck(options.temperature, strict=config.run.strict)

    @abstractmethod
    def learning(self) -> str:
        """What a step learns from and by which loss, for the start-up table."""

    def set_compute(self, compute: Compute) -> None:
        """Makes passes through the model so from now on."""
        self.compute = compute

    def _judge_parts(self) -> ModelParts | None:
        """What is read of another model that answers the duals; None where there is none.

        Read before the teaching: a wrong name must not wait for its end.

        Raises:
            UserError: that model cannot be read.
            ServerError: the server that holds it does not answer.
        """
        name = self.config.duals.dual_model
        if not self.asks_duals or name in DUAL_MODELS:
            return None
        try:
            return read_parts(self.config, name, None, self.ranks)
        except ServerError:
            raise
        except UserError as problem:
            raise UserError(f"dual_model: expected a model that can be loaded; {problem}") from None

    def inputs(self) -> Mapping[str, str]:
        """Fingerprints of problems, duals, model, judge and reward models."""
        model = model_fingerprints("model", self.config.model, self.tokenizer, self.shape)
        inputs = {**task_fingerprints(self.task, self.problems), **model, **self.judge_inputs}
        for scorer in reward_models(self.reward_functions):
            inputs |= scorer.fingerprints()
        return inputs

    def seed_for(self, purpose: str, index: int = 0) -> int:
        """The seed of one purpose; see `dupo.seeds`."""
        return derive(self.seed, purpose, index)

    def describe(self) -> list[tuple[str, str]]:
        """Rows of the start-up table."""
        c, rollout = self.config, self.config.rollout
        judge = f"; the {c.duals.dual_model} model answers the duals" if self.asks_duals else ""
        num_prompts = rollout.generation_batch_size // rollout.num_generations
        length = f"of at most {rollout.max_completion_length} tokens, temperature {rollout.temperature:g}"
        # Where completions only vote, the row says how many are trained on.
        trained, sampled = rollout.trained_of_group, rollout.num_generations
        length += f", the first {trained} of each prompt trained on" if trained < sampled else ""
        most = f"; at most {rollout.max_num_gen_batches} times, until as many groups have spread"
        length += most if rollout.dynamic_sampling else ""
        steps = f"{c.optimizer.max_steps} optimizer steps of {self.learning()}"
        engine, sent = c.engine.engine, ""
        if engine == VLLM and c.lora.use_peft:
            sent = f", which gets {'adapters alone' if c.sends_adapters else MERGED} after every update"
        name, reward = c.model.model_name_or_path, without_given(c.reward.shown)
        shared = f" by {self.ranks.size} ranks" if self.ranks.size > 1 else ""
        teaching = []
        if self.has_stage:
            note = taught_note(c.task.task) if comes_taught(c) else TEACHING_NOTE
            teaching.append(("teaching", note))
        return [
            ("model", f"{name} on {self.device}{shared}, {len(self.tokenizer):,} tokens of vocabulary"),
            *self.adapter_rows(),
            ("data", "; ".join(self.task.notes)),
            *teaching,
            *self._server_rows(),
            ("reward", f"{reward}, training reads {c.reward.labels_read}{judge}"),
            ("rollout", f"{num_prompts} prompts x {rollout.num_generations} completions {length}"),
            *thoughts_row(c, self.tokenizer),
            *([("engine", f"{SAMPLERS[engine]}{sent}{self.of_engines}")] if engine in SAMPLERS else []),
            ("steps", f"{steps}, learning rate {c.optimizer.learning_rate:g}"),
            self.evaluation_row(f"greedy answers to {self.num_held_out:,} held-out problems"),
        ]

    def _server_rows(self) -> list[tuple[str, str]]:
        """What servers can do: the one that is trained through, and the one that answers the duals."""
        judge = self.judge_parts.server if self.judge_parts else None
        rows = [(f"server {judge.address}", judge.describe())] if judge else []
        if self.server:
            sent = f"; gets {MERGED} after every update" if self.config.lora.use_peft else ""
            can = f"{self.server.describe()}{sent}{self.of_engines}"
            rows.append((f"server {self.server.server.address}", can))
        return rows

    def load(self) -> None:
        """Loads the policy and its engine, and the reward models."""
        lora = self.config.lora
        self.model = load_model(self.config.model, self.shape, self.device, self.seed, lora=lora)
        self.to_tell += check_saving(self.model, self.tokenizer.hf)
        coefficient = balancing_coefficient(self.model, self.config.optimizer.router_aux_loss_coef)
        self.set_compute(self.compute._replace(router_aux_loss_coef=coefficient))
        # Every model and every start: an attention that leaks learns without an error.
        self.on_policy.noise = check_packed(self.model, self.compute)
        self.on_policy.has_experts = has_experts(self.model)
        check_builtin(self.config, self.model)
        share_end_tokens(self.model, self.tokenizer)
        self.engine = make_policy_engine(
            self.config, self.model, self.tokenizer, self.adapter_plan, self.server, self.ranks
        )
        needs_distributions = self.config.reward.needs("distributions")
        needed = EngineFeatures(logprobs=True, distributions=needs_distributions, new_weights=True)
        require(self.engine.features, needed, f"--method {self.config.method}")
        # Rewards are computed by the first rank, for all.
        self.ranks.on_first(lambda: load_models(self.reward_functions, self.device))

    def warnings(self) -> list[str]:
        """As of any method; and once for a run: sampler and learner are not one policy."""
        judge = unwrapped(self.judge.engine) if self.judge else None
        notes = judge.take_notes() if isinstance(judge, ServerEngine) else []
        return super().warnings() + self.on_policy.take_warnings() + notes

    def make_stage(self) -> Stage:
        """Teaches the built-in model, which has random weights, or takes the weights that are taught."""
        stage = teaching_stage(self.config, self.task, self.model)
        assert stage is not None
        return stage

    def start(self) -> None:
        """Keeps the policy as it is for judge and reference, and makes adapters and optimizer."""
        self.add_adapter(self.compute)
        name = self.config.duals.dual_model
        # A copy of the weights only where somebody reads it, and none where adapters leave the weights alone.
        is_judge = self.asks_duals and name == "frozen"
        if is_judge or self.config.needs_reference:
            self.reference = self.adapter.base if self.adapter else self.frozen_copy()
        self.ema = frozen_copy(self.model) if name == "ema" else None
        # A server samples from its own copy; adapters are merged into weights that are whole anyway.
        needs_twin = self.server is None or self.adapter is not None
        self.engine = self.shared_engine(self.engine, self.share_out(self.model, needs_twin=needs_twin))
        self.set_compute(self.shared_compute(self.compute))
        if self.asks_duals:
            self.judge = Judge.of(self._judge_engine(), self.config.duals, self.sampling.max_tokens)
        elif self.ema is not None:
            self.share_out(
                self.ema, needs_twin=False
            )  # a checkpoint has the average, though nobody samples from it
        self.optimizer = make_optimizer(self.model, self.config.optimizer)
        self.tell_engines()  # a stage may have changed the weights

    def frozen_copy(self) -> Model:
        """The model as it is now. Whole on every rank, so on a GPU a rank has it in bfloat16."""
        return half_copy(self.model, trained=True) if self._casts else frozen_copy(self.model)

    def tell_engines(self) -> None:
        """Tells the engines that weights have changed."""
        self.engine.load_weights(self.model)
        if self.judge and self.ema is not None:
            self.judge.engine.load_weights(self.ema)

    def release_memory(self) -> None:
        """Has the engines give up their memory, as an optimizer step follows."""
        for engine in (self.engine, *([self.judge.engine] if self.judge else [])):
            engine.release_memory()

    def _judge_engine(self) -> Engine:
        """The engine that answers duals."""
        # The live policy forgets the dual while it learns the primal, so `frozen` is the default.
        name = self.config.duals.dual_model
        if name == "policy":
            return self.engine
        if self.judge_parts is not None and self.judge_parts.server is not None:
            engine = ServerEngine(self.judge_parts.server, self.judge_parts.tokenizer)
            return self.shared_engine(engine)
        copy = {"frozen": self.reference, "ema": self.ema}.get(name)
        if copy is None:
            return self.shared_engine(load_judge_engine(self.config, self.device))
        engine = make_copy_engine(self.config, copy, self.engine)
        return self.shared_engine(engine, self.share_out(copy) if copy is self.ema else None)

    def reward(self, rollout: Rollout) -> Tensor:
        """rewards_PG of a rollout that is not trained on, with the draws of rollout 0."""
        reconstructions = []
        if self.judge:
            ask_judge = self.judge.asking(self.seed_for("dual"))
            reconstructions = reconstruct(self.task, rollout.problems, rollout.answers, ask_judge)
        seed = self.seed_for("reward")
        state = TrainerState(0, self.config.optimizer.max_steps)
        inputs = self.reward_inputs(rollout, reconstructions, seed, state)
        # Once: a function of the user may cost money, and may not give every rank the same.
        return self.ranks.on_first(lambda: all_rewards(self.reward_functions, inputs)).total_PG

    def reward_inputs(
        self, rollout: Rollout, reconstructions: Reconstructions, seed: int, state: TrainerState
    ) -> RewardInputs:
        """What the rewards of a rollout read."""
        length, options = self.sampling.max_tokens, self.config.reward
        return RewardInputs(
            self.task, rollout, reconstructions, options, seed, state, max_completion_length=length
        )

    def evaluate(self) -> dict[str, float]:
        """Metrics of greedy answers to the held-out problems."""
        return held_out_metrics(self.engine, self.task, self.task.held_out, self.sampling.max_tokens)

    def facts(self) -> dict[str, Any]:
        """How well the reward tells right from wrong, before training."""
        n, seed = self.config.rollout.num_generations, self.seed_for("auc")
        # A problem without duals has no reward to judge.
        problems = [problem for problem in self.task.held_out if self.task.duals(problem)][:AUC_PROBLEMS]
        order = reward_order(self.engine, self.task, problems, self.reward, n, self.sampling, seed)
        return {"task": self.config.task.task, "reward": self.config.reward.shown, **order.facts()}

    def first_exchanges(
        self, rewarded: RewardedRollout, rewards_PG: Tensor, advantages_PG: Tensor | None = None
    ) -> list[Exchange]:
        """The first completion of the first few problems, with reward and advantage, for samples.jsonl."""
        (rollout, reconstructions, rewards), size = rewarded, self.config.rollout.num_generations
        shown = range(min(self.config.run.num_exchanges_to_log, len(rollout.problems)))
        recovered = [reconstructions[i] for i in shown] if reconstructions else []
        judged_PG = rewards.values.get("dual", rewards_PG)
        unknown_P = judged_PG.isnan().any(-1).tolist()
        exchanges = exchanges_of(self.task, rollout.take(shown), recovered, self.engine, self.config.reward)
        return [
            replace(
                exchange,
                # Nobody knows the reward of a group whose duals were not asked.
                reward=None if unknown_P[i] else rewards_PG[i, 0].item(),
                advantage=None if advantages_PG is None else advantages_PG[i, 0].item(),
                logged={name: values[i * size] for name, values in rewards.log.columns.items()},
            )
            for i, exchange in zip(shown, exchanges, strict=True)
        ]

    def exchanges(self, count: int) -> list[Exchange]:
        """`count` held-out exchanges."""
        ask = self.judge.asking(self.seed_for("dual", self.num_rollouts)) if self.judge else None
        max_tokens = self.sampling.max_tokens
        return held_out_exchanges(self.engine, ask, self.task, self.config.reward, max_tokens, count)


def training_problems(task: Task, options: RewardOptions) -> list[Problem]:
    """The training problems with as much of their labels as the rewards may read.

    Labels are taken off before the loop can ask for a problem. So only the reward `gold` can read a label,
    and a function of the user, which gets the columns of the data set, as in TRL.

    Raises:
        UserError: `gold` is asked for and a problem has no right answer.
    """
    # The columns of a data set may hold the label, so they are dropped like the label.
    check_labels(task, options)
    keeps_gold, keeps_columns = options.needs("gold"), options.has_user_function
    return [
        replace(p, gold=p.gold if keeps_gold else None, columns=p.columns if keeps_columns else {})
        for p in task.train
    ]


def rollout_metrics(task: Task, rollout: Rollout, *, has_budget: bool = False) -> dict[str, float]:
    """Metrics of the completions of a rollout, by TRL's names.

    Args:
        has_budget: thoughts have one, so the share of those that were cut is told.
    """
    completions = [completion for group in rollout.completions for completion in group]
    lengths = [len(completion.ids) for completion in completions]
    num_cut = sum(c.forced is not None for c in completions)
    return {
        **refusal_metrics(task, rollout),
        "completions/mean_length": sum(lengths) / len(lengths),
        "completions/min_length": float(min(lengths)),
        "completions/max_length": float(max(lengths)),
        "completions/clipped_ratio": sum(c.truncated for c in completions) / len(completions),
        **({"completions/clipped_thought_ratio": num_cut / len(completions)} if has_budget else {}),
    }
