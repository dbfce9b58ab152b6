"""What the words and the metrics of a page mean, in one sentence each."""

from collections.abc import Iterable
from typing import NamedTuple


class MetricWords(NamedTuple):
    """A metric of metrics.jsonl as a page names it.

    Attributes:
        meaning: what the number is.
        least: by how much the metric must move to mean anything: smaller moves are drawn flat.
    """

    name: str
    meaning: str
    least: float = 0.0


WORDS = {
    "held out": "of problems that training never sees, whose right answers only evaluation reads.",
    "accuracy": "share of the problems that are answered right.",
    "hidden": "of the part of a problem that is taken away, so that a dual must recover it.",
    "dual": "the question back: given the answer and the rest of the problem, what was hidden?",
    "distance": "how far what came back is from what was hidden: 0 the same, 1 nothing of it.",
    "reward": "the number that training raises, one for each completion. The reward dual is the mean, over "
    "the duals of a problem, of how well the hidden part came back.",
    "advantage": "the reward of a completion less the mean of its group, in standard deviations of the group "
    "unless scale_rewards says otherwise.",
    "group": "the completions that were sampled for one problem.",
    "gold": "the right answer, a label. As a reward it shows what the same loop learns with labels.",
    "random": "random rewards (coins). They show what the same loop does when rewards say nothing.",
    "reward AUC": "of all pairs of a better and a worse answer, the share in which the better one has the "
    "higher reward. 0.5 is a coin, 1 is perfect.",
    "readable": "with a final answer that can be read from the completion.",
    "quality": "how good an answer is against gold, from 0 to 1; for exact answers 0 or 1.",
    "agreement within problems": "the same share of pairs as reward AUC, of two answers to one problem.",
    "signal": "how far following the rewards leads towards the right answers, as a share of what gold gives.",
    "control": "a dual tried with no answer, or with a decoy. What it solves leaks the hidden part.",
    "recovered": "how well the duals of a problem give back what was hidden: 0 nothing, 1 all of it.",
    "score": "how good the answers are against gold, of 100: for exact answers the share that is right.",
    "votes": "how many of the samples gave the same answer.",
    "majority": "the answer with the most votes.",
    "greedy": "the likeliest answer, without sampling.",
    "mean@n": "what one sample scores, on average over n samples.",
    "pass@n": "what a perfect choice among n samples would score: an upper bound.",
    "interval": "of 100 intervals that are made so, 95 hold the mean over all problems of the kind.",
    "tokens": "how much was generated, samples and duals together.",
}

_OF_TOKENS = "mean over the sampled tokens of a step"
METRICS = {
    "reward": MetricWords("reward", "mean over the completions of a step"),
    "dual/reconstruct_rate": MetricWords("recovered by duals", "mean of 1 - distance over the completions"),
    "loss": MetricWords("loss", "what the optimizer lowers", 0.1),
    "grad_norm": MetricWords("gradient norm", "length of the gradient before it is clipped"),
    "completions/mean_length": MetricWords("length", "tokens, mean over the completions"),
    "completions/min_length": MetricWords("shortest completion", "tokens"),
    "completions/max_length": MetricWords("longest completion", "tokens"),
    "frac_reward_zero_std": MetricWords("groups of equal rewards", "share of the groups"),
    "dynamic_sampling/gen_batches": MetricWords("batches of problems", "sampled for a rollout"),
    "dynamic_sampling/drawn_groups": MetricWords("groups sampled", "number a rollout"),
    "dynamic_sampling/kept_groups": MetricWords("groups with spread", "number that is trained on, a rollout"),
    "dynamic_sampling/limit_reached": MetricWords(
        "too few groups with spread", "1 where groups of equal rewards fill the rollout up"
    ),
    "completions/clipped_ratio": MetricWords("cut at the limit", "share of the completions", 0.1),
    "completions/clipped_thought_ratio": MetricWords(
        "thought cut at its budget", "share of the completions", 0.1
    ),
    "completions/none_rate": MetricWords("no readable answer", "share of the completions", 0.1),
    "dual/none_rate": MetricWords("duals not readable", "share of the samples of duals", 0.1),
    "dual/skipped_groups": MetricWords("groups of one answer, not judged", "share of the groups"),
    "dual/prompts": MetricWords("duals asked", "number a step"),
    "dual/cache_hit_rate": MetricWords(
        "duals asked before", "share of readable answers that another one equals"
    ),
    "dual/too_long_rate": MetricWords(
        "duals too long", "share of the duals that no model could be asked", 0.1
    ),
    "rewards/chosen": MetricWords("reward of chosen answers", "beta x log-ratio to the reference, mean"),
    "rewards/rejected": MetricWords("reward of rejected answers", "beta x log-ratio to the reference, mean"),
    "rewards/margins": MetricWords("margin", "reward of the chosen answer less that of the rejected, mean"),
    "rewards/accuracies": MetricWords("pairs in order", "share whose chosen answer has the larger reward"),
    "logps/chosen": MetricWords("log-prob of chosen answers", "nats, sum of the tokens, mean over pairs"),
    "logps/rejected": MetricWords("log-prob of rejected answers", "nats, sum of the tokens, mean over pairs"),
    "accuracy": MetricWords("pairs in order", "share whose better answer has the higher score"),
    "margin": MetricWords("margin", "score of the better answer less that of the worse, mean over pairs"),
    "mean_reward": MetricWords("mean score", "of the answers of a step"),
    "min_reward": MetricWords("lowest score", "of the answers of a step"),
    "max_reward": MetricWords("highest score", "of the answers of a step"),
    "entropy": MetricWords("entropy", f"how undecided the policy is: nats, {_OF_TOKENS}"),
    "kl": MetricWords("KL", f"how far the policy is from its start: nats, {_OF_TOKENS}", 0.01),
    "reward_std": MetricWords("spread of rewards", "standard deviation within a group, mean over the groups"),
    "num_tokens": MetricWords("tokens so far", "prompts and completions of all rollouts"),
    "learning_rate": MetricWords("learning rate", "of the step"),
    "ratio/mean": MetricWords(
        "probability ratio, mean", "new over old probability of the sampled tokens", 0.1
    ),
    "ratio/max": MetricWords(
        "probability ratio, largest", "new over old probability of a sampled token", 0.1
    ),
    "approx_kl": MetricWords("KL to the sampling policy", f"nats, {_OF_TOKENS}", 0.01),
    "top1_agreement": MetricWords("sampled the likeliest token", "share of the sampled tokens"),
}


def words_of(names: Iterable[str]) -> dict[str, str]:
    """The words of a page with their meanings, in the order of the names."""
    return {name: WORDS[name] for name in names}


def metric_words(name: str) -> MetricWords:
    """Name and meaning of a metric; a metric that this file does not know has its own name and no meaning."""
    return METRICS.get(name, MetricWords(name, ""))
