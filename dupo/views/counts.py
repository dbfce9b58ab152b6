"""Numbers of things in words."""


def counted(count: int, noun: str) -> str:
    """Returns a number with what it counts: "1 dual", "1,200 pairs"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
