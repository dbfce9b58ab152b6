"""The score of a reward model as a reward: `--reward model:FOLDER`.

The reward model reads the prompt that the policy was asked and the completion, in its own chat template and
by its own tokenizer, as a chat that is over. Its score has no bounds; a group takes the mean off.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from dupo.config.config import Config
from dupo.config.reward_names import MODEL, short_name
from dupo.duality.length_check import Lengths, TokenLimits, check_vocabulary
from dupo.errors import UserError
from dupo.learning.logprobs import Compute
from dupo.learning.packed_check import check_packed
from dupo.learning.scores import trajectory_scores
from dupo.models.fingerprints import model_fingerprints
from dupo.models.load import Model, load_model, scorer_config
from dupo.models.positions import position_limit
from dupo.models.tokenizers import load_tokenizer
from dupo.records import Trajectory
from dupo.rewards.base import RewardInputs
from dupo.tasks.base import primal_prompt

OPTION = "model_name_or_path: "  # opens what is said of any model


class ModelReward:
    """The score of a reward model.

    The constructor reads config and tokenizer, `load` the weights.

    Args:
        name: `model:` and a folder or Hub name.

    Raises:
        UserError: there is no reward model of that name.
    """

    def __init__(self, name: str, config: Config) -> None:
        self.name = short_name(name)
        self._model: Model | None = None
        self._options = config.model.for_model(name.removeprefix(MODEL))
        self._compute = Compute(1.0, config.model.compute_dtype, config.optimizer.token_budget)
        try:
            self._tokenizer = load_tokenizer(self._options, None, is_judge=True)
            self._shape = scorer_config(self._options, self._tokenizer, is_trained=True)
            check_vocabulary(self._tokenizer, self._shape)
            self._tokenizer.encode_answers([""])  # a template that shows no answer
        except UserError as problem:
            raise _named(problem) from None

    def limits(self, lengths: Lengths) -> TokenLimits:
        """How long prompts may be."""
        return TokenLimits.of(self._tokenizer, self._shape, lengths, f"the reward model {self.name}")

    def fingerprints(self) -> Mapping[str, str]:
        """Name -> fingerprint of everything that is read."""
        return model_fingerprints(f"reward model {self.name}", self._options, self._tokenizer, self._shape)

    def load(self, device: torch.device) -> None:
        """Reads the weights.

        Raises:
            UserError: they cannot be read, or packed sequences have other scores than alone.
        """
        try:
            # The seed draws nothing: all weights are read, as the model must have its score already.
            self._model = load_model(self._options, self._shape, device, 0, frozen=True, scores=True)
            check_packed(self._model, self._compute)
        except UserError as problem:
            raise _named(problem) from None

    def __call__(self, inputs: RewardInputs) -> Tensor:
        """Scores every completion; see `dupo.rewards.base.Reward`.

        Raises:
            UserError: a prompt with its completion has more tokens than the reward model reads.
        """
        task, rollout = inputs.task, inputs.rollout
        prompts = self._tokenizer.encode([primal_prompt(task, problem) for problem in rollout.problems])
        # Whole, with its thought: what of a completion counts is for the reward model to know.
        texts = [completion.text for group in rollout.completions for completion in group]
        answers = iter(self._tokenizer.encode_answers(texts))
        asked = [
            (prompt, next(answers))
            for prompt, group in zip(prompts, rollout.completions, strict=True)
            for _ in group
        ]
        self._check_lengths(asked)
        assert self._model is not None, "load comes first"
        # Equal completions are scored once.
        different = dict.fromkeys((tuple(prompt), tuple(answer)) for prompt, answer in asked)
        trajectories = [_trajectory(prompt, answer) for prompt, answer in different]
        scores = trajectory_scores(self._model, trajectories, self._fitting_compute(trajectories))
        by_ids = dict(zip(different, scores.tolist(), strict=True))
        rewards = [by_ids[tuple(prompt), tuple(answer)] for prompt, answer in asked]
        return torch.tensor(rewards).view(len(rollout.problems), -1)

    def _check_lengths(self, asked: list[tuple[list[int], list[int]]]) -> None:
        limit = position_limit(self._shape)
        longest = max(len(prompt) + len(answer) for prompt, answer in asked)
        # Its tokens are others than those that were counted when the completion was sampled.
        if limit is not None and longest > limit:
            raise UserError(f"reward: {self.name} reads {limit:,} tokens, got a chat of {longest:,}")

    def _fitting_compute(self, trajectories: list[Trajectory]) -> Compute:
        # The budget is that of the policy, whose tokenizer may count less.
        longest = max(len(t.prompt_ids) + len(t.completion_ids) for t in trajectories)
        return self._compute._replace(token_budget=max(longest, self._compute.token_budget))


def _trajectory(prompt: tuple[int, ...], answer: tuple[int, ...]) -> Trajectory:
    return Trajectory(list(prompt), torch.tensor(answer, dtype=torch.int32), torch.zeros(len(answer)), 0.0)


def _named(problem: UserError) -> UserError:
    """The error of any model, as that of the reward."""
    return UserError(f"reward: {str(problem).removeprefix(OPTION)}")
