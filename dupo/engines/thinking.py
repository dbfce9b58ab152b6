"""A hard budget for thoughts, around any engine that takes ids.

    first call     the first N tokens of every completion, N being the budget
    closed         a completion that is still in its thought gets the ids that end one, which nobody samples
    second call    prompt and completion so far are the prompt of the rest; ended completions are left out

N counts the tokens behind `<think>`, whether the chat template or the model wrote the mark. vLLM means the
same by the name; where ours differs is in docs/howto/long_answers.md.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from dupo.config.config import Config
from dupo.engines.base import Engine, EngineFeatures, Sampling, check_room, ids_of
from dupo.engines.wrapped import WrappedEngine
from dupo.errors import UserError
from dupo.progress import counted_as
from dupo.records import Completion, Prompt
from dupo.seeds import derive
from dupo.text.thoughts import closing_of_thoughts, end_in_thought, is_in_thought, opening_of_thoughts
from dupo.text.tokenizer import CLOSED_THOUGHT, OPEN_THOUGHT, PromptTokenizer

OPTION = "thinking_token_budget"
SWITCH = "enable_thinking"  # of chat templates, in Qwen3 and others


class ThinkingEngine(WrappedEngine):
    """Samples from another engine, and ends thoughts that are too long; see `dupo.engines.base.Engine`.

    Args:
        budget: most tokens of a thought, N.
        closing: ids that end a thought; see `dupo.text.thoughts.closing_of_thoughts`.
    """

    def __init__(self, engine: Engine, budget: int, closing: Sequence[int]) -> None:
        super().__init__(engine)
        self.budget, self.closing = budget, list(closing)
        self.num_opening = len(opening_of_thoughts(engine.tokenizer))

    @property
    def features(self) -> EngineFeatures:
        """What the engine can do; prompts cannot follow, as a completion may need two calls."""
        return self.engine.features._replace(follow_ups=False)

    def sample(
        self, prompts: Sequence[Prompt] | Sequence[list[int]], n: int, sampling: Sampling, seed: int
    ) -> list[list[Completion]]:
        """Draws `n` completions of each prompt; see `Engine.sample`.

        Raises:
            UserError: a prompt leaves no room for `max_tokens`.
            ValueError: `max_tokens` leaves no room for an answer behind the thought.
        """
        prompt_ids = ids_of(self.tokenizer, prompts)
        # The first call asks for less: what it lets pass would fail in the second.
        check_room(prompt_ids, sampling.max_tokens, self.max_positions, "the engine")
        are_opened = end_in_thought(self.tokenizer, prompt_ids)
        groups: dict[int, list[Completion]] = {}
        for is_opened in (True, False):
            places = [place for place, opened in enumerate(are_opened) if opened is is_opened]
            if places:
                asked = [prompt_ids[place] for place in places]
                sampled = self._sample(asked, is_opened, n, sampling, seed)
                groups |= dict(zip(places, sampled, strict=True))
        return [groups[place] for place in range(len(prompt_ids))]

    def _sample(
        self, prompt_ids: list[list[int]], is_opened: bool, n: int, sampling: Sampling, seed: int
    ) -> list[list[Completion]]:
        """The completions of prompts that all open a thought, or none of them."""
        # A mark that the model writes itself is no thought yet.
        most = self.budget + (0 if is_opened else self.num_opening)
        if most + len(self.closing) >= sampling.max_tokens:
            raise ValueError(f"max_tokens: {sampling.max_tokens} for a thought of {most} and an answer")
        groups = self.engine.sample(prompt_ids, n, replace(sampling, max_tokens=most), seed)
        mark = OPEN_THOUGHT if is_opened else ""
        # By (prompt, sample), in this order: equal prompts of the second call are told apart by it.
        cut, others = dict[tuple[int, int], list[int]](), dict[tuple[int, int], list[int]]()
        for p, group in enumerate(groups):
            for k, started in enumerate(group):
                if started.truncated:
                    rows = cut if is_in_thought(mark + started.text) else others
                    rows[p, k] = prompt_ids[p] + started.ids.tolist()
        for rows, forced, purpose in (
            (cut, self.closing, "behind a thought that was cut"),
            (others, [], "behind the first tokens"),
        ):
            if not rows:
                continue
            so_far = [ids + forced for ids in rows.values()]
            rest = replace(sampling, max_tokens=sampling.max_tokens - most - len(forced))
            # Two samples with equal thoughts are two equal prompts here, which have draws of their own
            # (`seeds.prompt_keys`). The seed is another one, so that no draw of the first call comes again.
            with counted_as("continued samples"):
                continued = self.engine.sample(so_far, 1, rest, derive(seed, purpose))
            for (p, k), (completion,) in zip(rows, continued, strict=True):
                groups[p][k] = _joined(groups[p][k], forced, completion)
        return self._with_texts(groups)

    def _with_texts(self, groups: list[list[Completion]]) -> list[list[Completion]]:
        """The completions with the text of all their ids."""
        texts = iter(self.tokenizer.decode([c.ids.tolist() for group in groups for c in group]))
        return [[replace(completion, text=next(texts)) for completion in group] for group in groups]


def _joined(first: Completion, forced: Sequence[int], second: Completion) -> Completion:
    """Both parts of a completion with the forced ids between them; the text is that of the first."""
    between = torch.tensor(forced, dtype=torch.int32)
    is_forced = [torch.zeros(len(c.ids), dtype=torch.bool) for c in (first, second)]
    is_forced.insert(1, torch.ones(len(forced), dtype=torch.bool))

    def mean(name: str) -> float | None:
        """The mean over the sampled tokens of both."""
        values = [(getattr(c, name), len(c.ids)) for c in (first, second)]
        if any(value is None for value, _ in values):
            return None
        return sum(value * count for value, count in values) / sum(count for _, count in values)

    return replace(
        first,
        ids=torch.cat([first.ids, between, second.ids]),
        logprobs=torch.cat([first.logprobs, torch.zeros(len(forced)), second.logprobs]),
        truncated=second.truncated,
        entropy=mean("entropy"),
        self_certainty=mean("self_certainty"),
        forced=torch.cat(is_forced) if forced else None,
    )


def with_thinking_budget(config: Config, engine: Engine) -> Engine:
    """The engine with `thinking_token_budget`; the engine itself without the option, or without thoughts.

    Who answers problems must have thoughts (`check_thinking`); a judge need not.
    """
    budget = config.rollout.thinking_token_budget
    closing = None if budget is None else closing_of_thoughts(engine.tokenizer)
    if budget is None or closing is None:
        return engine
    return ThinkingEngine(engine, budget, closing)


def check_thinking(config: Config, name: str, tokenizer: PromptTokenizer | None) -> None:
    """Checks that `thinking_token_budget` can hold for a model that gives answers.

    Args:
        name: of the model.
        tokenizer: None where a server frames the prompts.

    Raises:
        UserError: the model has no thoughts whose end is known, or answers have no room behind them.
    """
    budget = config.rollout.thinking_token_budget
    if budget is None:
        return
    if tokenizer is None or closing_of_thoughts(tokenizer) is None:
        expected = f"none with {name}, whose chat template and tokenizer know no {CLOSED_THOUGHT}"
        raise UserError(f"{OPTION}: expected {expected}, got {budget}")
    check_answer_room(config, tokenizer, config.rollout.max_completion_length, "max_completion_length")


def check_judge_thinking(config: Config, tokenizer: PromptTokenizer | None) -> None:
    """Checks that the answers to duals have room behind a thought, where the judge is one that thinks.

    Args:
        tokenizer: of the judge; None where a server frames the prompts, and no budget holds.

    Raises:
        UserError: they have not.
    """
    longest = config.duals.dual_max_completion_length or config.rollout.max_completion_length
    if tokenizer is not None:
        check_answer_room(config, tokenizer, longest, "dual_max_completion_length")


def check_answer_room(config: Config, tokenizer: PromptTokenizer, longest: int, option: str) -> None:
    """Checks that `longest` tokens hold a thought, its end and a token of an answer.

    Raises:
        UserError: they do not; names the option that sets them.
    """
    budget, closing = config.rollout.thinking_token_budget, closing_of_thoughts(tokenizer)
    if budget is None or closing is None:
        return
    needed = budget + len(opening_of_thoughts(tokenizer)) + len(closing) + 1
    if longest < needed:
        parts = f"a thought of {budget}, its marks and an answer"
        raise UserError(f"{option}: expected at least {needed}, for {parts} ({OPTION}), got {longest}")


def thoughts_row(config: Config, tokenizer: PromptTokenizer | None) -> list[tuple[str, str]]:
    """The row of the start-up table on thoughts: how they end; none for a model that cannot be told to think.

    Args:
        tokenizer: None where a server frames the prompts.
    """
    if tokenizer is None:
        return []
    budget, closing = config.rollout.thinking_token_budget, closing_of_thoughts(tokenizer)
    if budget is not None and closing is not None:
        (words,) = tokenizer.hf.batch_decode([closing], skip_special_tokens=False)
        return [
            ("thoughts", f"of at most {budget} tokens, then {words!r} is written, which is not trained on")
        ]
    template = tokenizer.frames.template
    if template is None or SWITCH not in template.source or SWITCH in template.arguments:
        return []
    # A default of this package is too short for thoughts, and a thought that is cut has no answer.
    longest = config.rollout.max_completion_length
    length = f"as the chat template has them, within the {longest} tokens of an answer"
    off = f"--chat_template_kwargs '{{\"{SWITCH}\": false}}' turns them off"
    return [("thoughts", f"{length}; {off}, --{OPTION} ends them")]
