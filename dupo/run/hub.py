"""Uploads the model of a run to the Hub of Hugging Face, with a model card.

The Hub gets what transformers reads of the last checkpoint, and README.md. Optimizer, rows, samples and
settings stay on this machine. huggingface_hub finds the token itself, in its login or in HF_TOKEN: no token
passes through here, and none is an option, because options are written into config.yaml.
"""

import shlex
from pathlib import Path
from typing import Any, Protocol

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError
from huggingface_hub.utils import disable_progress_bars, validate_repo_id

from dupo.config.options import RunOptions
from dupo.errors import UserError, in_one_line
from dupo.run.model_card import model_card
from dupo.storage.checkpoint import ADAPTER_FILES, EMA, STATE, latest, step_of
from dupo.storage.checksums import SUMS, broken_sums
from dupo.storage.commands import command, merge_command
from dupo.storage.files import read_mapping
from dupo.storage.names import MERGED, SUMMARY
from dupo.storage.shards import SHARDS

KEPT_HERE = {STATE, EMA, SUMS, SHARDS}  # what only a run that goes on reads: files, and a folder of ranks


class PushError(UserError):
    """The upload failed. The run is done and whole on this machine, and can be pushed at any time."""

    # Nothing that the user typed is wrong: the same command may work a minute later.
    exit_code = 1


class Hub(Protocol):
    """What is called of `huggingface_hub.HfApi`."""

    def whoami(self) -> dict[str, Any]:
        """The account of the token; raises without a token, or with a wrong one."""
        ...

    def create_repo(self, repo_id: str, *, private: bool | None, exist_ok: bool) -> Any:
        """Makes a repository; what it returns has the whole name as `repo_id`."""
        ...

    def create_commit(self, repo_id: str, operations: list[Any], *, commit_message: str) -> Any:
        """Uploads files, all or none; what it returns has the address as `commit_url`."""
        ...


def hub() -> Hub:
    """The Hub that HF_ENDPOINT names, else huggingface.co."""
    disable_progress_bars()  # its bars go to stderr, which is for what is wrong
    return HfApi(library_name="dupo")


def open_repo(options: RunOptions, run: Path, hub: Hub) -> str:
    """Makes the repository, or finds it: what cannot work at the end is told before the first step.

    Args:
        run: the folder of the run, whose name is that of the model unless the options name one.

    Returns:
        The name of the repository, OWNER/NAME.

    Raises:
        UserError: the name cannot be one, nobody is logged in, or the Hub refuses.
    """
    name = options.hub_model_id or run.resolve().name
    try:
        validate_repo_id(name)
    except HFValidationError:
        expected = "OWNER/NAME or NAME, each of letters, digits, `-`, `_` and `.`"
        raise UserError(f"hub_model_id: expected {expected}, got {name}") from None
    try:
        hub.whoami()
        return hub.create_repo(name, private=options.hub_private_repo, exist_ok=True).repo_id
    except LocalTokenNotFoundError:
        raise UserError(
            "push_to_hub: expected a login, got none: type `hf auth login`, or set HF_TOKEN"
        ) from None
    # httpx raises its own errors, huggingface_hub others: a wrong token, no network, a name of others.
    except Exception as problem:
        reason = in_one_line(problem, kind=True)
        raise UserError(f"push_to_hub: {name} cannot be written on the Hub: {reason}") from None


def push(run: Path, repo: str, hub: Hub) -> str:
    """Uploads the last checkpoint of a run and its card, and returns the address.

    Args:
        repo: what `open_repo` gave.

    Raises:
        UserError: the run is not finished, or its last checkpoint is damaged.
        PushError: the upload failed.
    """
    return upload(finished_checkpoint(run), run, repo, hub)


def upload(checkpoint: Path, run: Path, repo: str, hub: Hub) -> str:
    """Uploads a checkpoint that `finished_checkpoint` gave, and the card of its run; see `push`."""
    files = [file for file in sorted(checkpoint.rglob("*")) if file.is_file()]
    names = {file: file.relative_to(checkpoint) for file in files}
    contents: dict[str, Path | bytes] = {
        name.as_posix(): file for file, name in names.items() if name.parts[0] not in KEPT_HERE
    }
    contents["README.md"] = model_card(run, repo).encode()
    operations = [CommitOperationAdd(name, content) for name, content in contents.items()]
    try:
        # One commit: nobody ever sees new weights beside an old card.
        message = f"{checkpoint.name} of a run of dupo"
        return str(hub.create_commit(repo, operations, commit_message=message).commit_url)
    except Exception as problem:  # as in `open_repo`; the disk is only read here
        again = f"{command('push')} {shlex.quote(str(run))} --hub_model_id {repo}"
        reason = in_one_line(problem, kind=True)
        raise PushError(
            f"push_to_hub: the upload to {repo} failed ({reason}); the run is whole in {run}; later: {again}"
        ) from None


def finished_checkpoint(run: Path) -> Path:
    """The last checkpoint of a finished run, compared with its checksums; of adapters the merged model.

    Raises:
        UserError: there is none.
    """
    checkpoint = latest(run) if (run / SUMMARY).is_file() else None
    # A summary of other steps is from before the run was made longer.
    if checkpoint is None or read_mapping(run / SUMMARY).get("steps") != step_of(checkpoint):
        raise UserError(f"expected the folder of a finished run of dupo.train, got {run}")
    if (checkpoint / ADAPTER_FILES[0]).is_file():
        checkpoint = run / MERGED
        if not checkpoint.is_dir():
            raise UserError(f"expected {checkpoint}, as adapters are pushed merged: {merge_command(run)}")
    if complaint := broken_sums(checkpoint):
        raise UserError(f"{checkpoint} cannot be pushed ({complaint})")
    return checkpoint
