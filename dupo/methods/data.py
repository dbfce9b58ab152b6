"""What the methods read, checked whole before torch is imported: a wrong column must not wait for torch."""

from collections.abc import Callable
from itertools import chain

from dupo.config.config import Config
from dupo.config.lora_options import check_peft
from dupo.config.options import RewardOptions
from dupo.config.reward_names import is_function
from dupo.data.asked_columns import check_columns
from dupo.data.examples import Example, Examples, Item, read_examples
from dupo.data.labels import Labelled, read_labelled
from dupo.data.preferences import Pair, read_pairs_of_answers
from dupo.data.rankings import Ranking, read_rankings
from dupo.data.templates import check_histories, check_template_options
from dupo.errors import UserError
from dupo.plugins import load_function
from dupo.tasks import make_task
from dupo.tasks.base import Task


def read_task(config: Config) -> Task:
    """The task, with problems to train on and all the labels that the rewards read.

    Raises:
        UserError: the data cannot be used.
    """
    _check_options(config)
    task = make_task(config.task, config.run.seed)
    if not task.train:
        reasons = "; ".join(task.notes)
        raise UserError(f"dataset: expected problems to train on, got none: {reasons}")
    check_labels(task, config.reward)
    _check_asked_columns(task, config.reward)
    if config.task.dataset is not None:
        check_histories(config.model, chain(task.train, task.held_out))
    return task


def _check_options(config: Config) -> None:
    """Raises UserError where options ask for what this machine lacks."""
    check_template_options(config.model)
    if config.lora.use_peft:
        check_peft("use_peft: expected adapters to be made")


def check_labels(task: Task, options: RewardOptions) -> None:
    """Raises UserError where the reward `gold` is asked for and a training problem has no right answer."""
    missing = [problem.id for problem in task.train if problem.gold is None]
    if options.needs("gold") and missing:
        raise UserError(f"reward: gold needs the answer of every training problem, {missing[0]} has none")


def _check_asked_columns(task: Task, options: RewardOptions) -> None:
    """Raises UserError where a reward function asks for a column that no training problem has."""
    columns = dict.fromkeys(name for problem in task.train for name in problem.columns)
    for path, _ in options.terms:
        if is_function(path):
            check_columns(path, load_function("reward", path), columns)


def read_pairs(config: Config) -> Examples[Example] | Task:
    """The examples of `dataset`; without one the built-in task, whose lessons are the examples.

    Raises:
        UserError: the data cannot be used.
    """
    options = config.task
    _check_options(config)
    if options.dataset is None:
        return make_task(options, config.run.seed)
    # A file of pairs is all there is: no task asks, reads answers or evaluates them.
    examples = read_examples(options.dataset, options.eval_dataset, options.eval_size)
    check_histories(config.model, chain(examples.train, examples.held_out))
    return examples


def read_preferences(config: Config) -> Examples[Pair]:
    """The pairs of a better and a worse answer of `dataset`.

    Raises:
        UserError: the data cannot be used.
    """
    return _checked(config, read_pairs_of_answers, lambda pair: pair.chosen)


def read_labels(config: Config) -> Examples[Labelled]:
    """The answers of `dataset` that are good, and those that are bad.

    Raises:
        UserError: the data cannot be used.
    """
    return _checked(config, read_labelled, lambda labelled: labelled.example)


def read_ranked(config: Config) -> Examples[Ranking]:
    """The answers of `dataset` from the best to the worst, two or more to a prompt.

    Raises:
        UserError: the data cannot be used.
    """
    return _checked(config, read_rankings, lambda ranking: ranking.answers[0])


def _checked(
    config: Config,
    read: Callable[[str, str | None, int | None], Examples[Item]],
    example_of: Callable[[Item], Example],
) -> Examples[Item]:
    """What a file of answers holds, whose prompts the model takes."""
    options = config.task
    _check_options(config)
    assert options.dataset is not None, "Config refuses the method without a data set"
    items = read(options.dataset, options.eval_dataset, options.eval_size)
    check_histories(config.model, map(example_of, chain(items.train, items.held_out)))
    return items
