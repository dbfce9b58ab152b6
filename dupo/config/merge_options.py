"""The options of `dupo merge`, and which of them go together. Imports no torch."""

import math
from argparse import Namespace
from typing import Any

from dupo.config.parsers import OneLineParser, path_text
from dupo.errors import UserError
from dupo.storage.commands import command

MEAN, EMA, SLERP, WARP = "mean", "ema", "slerp", "warp"
DECAY, T, TOWARDS_START = 0.5, 0.5, 0.3
# Option -> the methods that read it.
READ_BY: dict[str, tuple[str, ...]] = {
    "weights": (MEAN,),
    "decay": (EMA,),
    "t": (SLERP,),
    "start": (SLERP, WARP),
    "towards_start": (WARP,),
}
SHARES = ("decay", "t", "towards_start")  # numbers from 0 to 1


def parser() -> OneLineParser:
    """The options of the program."""
    about = (
        "Merges models of one shape, such as checkpoints of runs from one start, into one model folder. One "
        "tensor at a time is in memory. Adapters (LoRA) of one model become one adapter. mergekit has more "
        "methods (TIES, DARE, layers of other models)."
    )
    options = OneLineParser(prog=command("merge"), description=about)
    options.add_argument(
        "models", type=path_text, nargs="+", metavar="MODEL", help="two folders of models or more"
    )
    options.add_argument("--output_dir", type=path_text, required=True, help="the new folder to write")
    methods = "mean; ema: moving average, in this order; slerp: along the arc; warp: slerp, then back"
    options.add_argument("--merge_method", choices=(MEAN, EMA, SLERP, WARP), default=MEAN, help=methods)
    options.add_argument("--weights", metavar="W,W,...", help="mean: of each model (default: all alike)")
    options.add_argument(
        "--decay", type=float, help=f"ema: the share that stays at each model (default: {DECAY})"
    )
    options.add_argument("--t", type=float, help=f"slerp of two: 0 is the first, 1 the second (default: {T})")
    start = "slerp, warp: the model that all began from; the arc is between the ways from there"
    options.add_argument("--start", type=path_text, metavar="MODEL", help=start)
    back = f"warp: the share of the way back to --start (default: {TOWARDS_START})"
    options.add_argument("--towards_start", type=float, help=back)
    kind = "of the weights (default: float32)"
    options.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help=kind)
    size = "of a file of weights, such as 500MB (default: 5GB)"
    options.add_argument("--max_shard_size", default="5GB", metavar="SIZE", help=size)
    return options


def read_merging(values: Namespace) -> dict[str, Any]:
    """The fields of `dupo.models.merging.Merging`, checked.

    Raises:
        UserError: too few models, an option that the method does not read or needs, a number out of range.
    """
    method, count = values.merge_method, len(values.models)
    if count < 2:
        raise UserError(f"expected two models or more, got {count}")
    # An effect that was asked for and cannot happen is an error, never ignored in silence.
    for name, methods in READ_BY.items():
        if getattr(values, name) is not None and method not in methods:
            raise UserError(f"{name}: expected none for --merge_method {method}, which does not read it")
    if method == WARP and values.start is None:
        raise UserError("start: expected the model that all began from for --merge_method warp, got none")
    if values.t is not None and count > 2:
        raise UserError(f"t: expected none for {count} models, which weigh alike, got {values.t:g}")
    settings = {name: getattr(values, name) for name in SHARES if getattr(values, name) is not None}
    for name, share in settings.items():
        if not 0 <= share <= 1:
            raise UserError(f"{name}: expected a number from 0 to 1, got {share:g}")
    if values.weights is not None:
        settings["weights"] = _weights(values.weights, count)
    return {"method": method, **settings}


def _weights(text: str, count: int) -> tuple[float, ...]:
    try:
        weights = tuple(map(float, text.split(",")))
    # A text that is no list of numbers has the wrong number of them.
    except ValueError:
        weights = ()
    is_sound = (
        len(weights) == count and all(math.isfinite(w) and w >= 0 for w in weights) and sum(weights) > 0
    )
    if not is_sound:
        raise UserError(f"weights: expected {count} numbers of at least 0, not all 0, got {text}")
    return weights
