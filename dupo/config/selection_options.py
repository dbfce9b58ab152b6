"""Options of what is learnt from a rollout: its best completions, or pairs of a better and a worse one."""

from dataclasses import dataclass

from dupo.config.options import LARGEST_REWARD
from dupo.config.rollout_options import MOST_SAMPLES
from dupo.config.values import Options, option
from dupo.errors import UserError

BEST_WORST, ALL, MARGIN = "best_worst", "all", "margin"


@dataclass(frozen=True)
class RejectionOptions(Options):
    """Which completions of a rollout are learned."""

    kept_per_prompt: int = option(
        1, "most completions of a prompt that are learned, the best ones", at_least=1, at_most=MOST_SAMPLES
    )
    min_reward: float = option(
        0.0,
        "completions with a reward of at most this are never learned, be they the best of their prompt",
        at_least=-LARGEST_REWARD,
        at_most=LARGEST_REWARD,
    )


@dataclass(frozen=True)
class LabellingOptions(Options):
    """Which completions of a rollout are good."""

    label_threshold: float = option(
        0.5,
        "completions with a reward above this are good answers, all others bad ones",
        at_least=-LARGEST_REWARD,
        at_most=LARGEST_REWARD,
    )


@dataclass(frozen=True)
class PairingOptions(Options):
    """Which completions of a prompt are compared."""

    pairs: str = option(
        BEST_WORST,
        "which completions of a prompt are compared: the best with the worst; all whose rewards differ; or "
        "all whose rewards are pair_margin apart",
        f"{BEST_WORST}|{ALL}|{MARGIN}",
    )
    pair_margin: float | None = option(
        None, "least difference of two rewards, with --pairs margin", above=0.0, at_most=LARGEST_REWARD
    )

    def check_together(self) -> None:
        """Checks that there is a margin where one is read, and only there."""
        # A margin that nothing reads would be a wish that is ignored.
        if self.pairs == MARGIN and self.pair_margin is None:
            raise UserError("pair_margin: expected a difference of rewards with pairs margin, got none")
        if self.pairs != MARGIN and self.pair_margin is not None:
            raise UserError(f"pair_margin: expected none with pairs {self.pairs}, got {self.pair_margin:g}")
