"""The one version of `dupo_kernels` and of `dupo`, which is in kernels/VERSION."""

from importlib import metadata
from pathlib import Path


def version() -> str:
    """The version of this checkout; elsewhere the version that was installed."""
    source = Path(__file__).parents[1]
    # The file first: the records of an editable install are those of the day on which it was installed.
    if (source / "VERSION").is_file() and (source / "pyproject.toml").is_file():
        return (source / "VERSION").read_text(encoding="utf-8").strip()
    # Two distributions bring this package: one alone, one within dupo.
    try:
        return metadata.version("dupo-kernels")
    except metadata.PackageNotFoundError:
        return metadata.version("dupo")
