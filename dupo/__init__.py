"""DuPO: language models that learn from the consistency of their own answers, without labels.

    dupo --help            the programs: train, plan, audit, select, rerank, duals, report, export,
                           merge, push, doctor, completion
    dupo.api               the same from Python: train, rerank, audit, select
    dupo.text              prompts and batches; `find_numbers` and `hide_numbers` of a problem
    dupo_kernels           the loss head, which needs nothing of dupo

`python -m dupo.NAME` is the program `dupo NAME`. ARCHITECTURE.md of the repository shows every room.
"""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Looked up when it is asked for: reading the records of installed packages takes longer than a help page.
    return import_module("dupo_kernels").__version__
