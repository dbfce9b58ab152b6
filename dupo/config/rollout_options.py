"""Options of rollouts: how many completions, how long, and which groups of them are worth a step."""

from dataclasses import dataclass

from dupo.config.values import Options, option

# Largest sizes that a run can be meant to have; a slip of the keyboard beyond them would eat all memory.
MOST_SEQUENCES, MOST_SAMPLES, LONGEST_COMPLETION = 2**20, 2**16, 2**20
# Below LOWEST, softmax is a step function and gradients grow a thousandfold. Above HIGHEST, all tokens are
# equally likely.
LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 1e-3, 100.0


@dataclass(frozen=True)
class RolloutOptions(Options):
    """How completions are sampled."""

    num_generations: int = option(
        8, "completions of each prompt, compared with one another", at_least=2, at_most=MOST_SAMPLES
    )
    num_trained_generations: int | None = option(
        None,
        "completions of each prompt that are trained on, the first ones; the others count in rewards that "
        "compare answers (TTRL: 32 of 64 votes); none: all",
        at_least=2,
        at_most=MOST_SAMPLES,
    )
    generation_batch_size: int = option(
        64, "completions of each rollout, a multiple of num_generations", at_least=1, at_most=MOST_SEQUENCES
    )
    max_completion_length: int = option(
        256, "most tokens of a completion", at_least=1, at_most=LONGEST_COMPLETION
    )
    temperature: float = option(
        1.0, "sampling temperature", at_least=LOWEST_TEMPERATURE, at_most=HIGHEST_TEMPERATURE
    )
    max_concurrent_sequences: int = option(
        1024, "most sequences that are generated at once", at_least=1, at_most=MOST_SEQUENCES
    )
    thinking_token_budget: int | None = option(
        None,
        "most tokens of a thought; a longer one is closed by force, and the model goes on to answer within "
        "max_completion_length. The words that close it are not trained on; none: no limit",
        at_least=1,
        at_most=LONGEST_COMPLETION,
    )
    mask_truncated_completions: bool = option(False, "leave completions without an end token out of the loss")
    dynamic_sampling: bool = option(
        False,
        "replace groups whose rewards are all equal, which teach nothing, by those of other problems (DAPO)",
    )
    max_num_gen_batches: int = option(
        10,
        "most times that dynamic_sampling samples for one rollout, the first time included",
        at_least=1,
        at_most=1000,
    )
    skip_equal_answers: bool = option(
        False,
        "ask no duals of a prompt whose completions all give one answer: equal rewards teach nothing",
    )

    @property
    def trained_of_group(self) -> int:
        """Completions of each prompt that are trained on."""
        return self.num_trained_generations or self.num_generations

    @property
    def trained_of_rollout(self) -> int:
        """Completions of each rollout that are trained on."""
        return self.generation_batch_size // self.num_generations * self.trained_of_group
