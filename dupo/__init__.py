"""DuPO: language models that learn from the consistency of their own answers, without labels."""

__version__ = "0.1.0"
