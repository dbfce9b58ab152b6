"""What `--reward` can name beside the rewards of dupo: functions of the user, and reward models."""

from pathlib import PurePath

MODEL = "model:"  # opens the folder or Hub name of a reward model


def is_model(name: str) -> bool:
    """Whether a reward is the score of a reward model."""
    return name.startswith(MODEL)


def is_function(name: str) -> bool:
    """Whether a reward is a function of the user, at `package.module.function`."""
    # A folder may have dots in its name, too.
    return "." in name and not is_model(name)


def short_name(name: str) -> str:
    """The name under which a reward is logged: the last of a dotted path, or of the folder of a model."""
    if not is_model(name):
        return name.rpartition(".")[2]
    path = PurePath(name.removeprefix(MODEL))
    # All runs call their checkpoints alike.
    return f"{path.parent.name}-{path.name}" if path.name.startswith("checkpoint-") else path.name
