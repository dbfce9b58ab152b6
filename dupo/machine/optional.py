"""Packages that dupo does without, and what is then missing."""

# Package -> what dupo does without it.
OPTIONAL: dict[str, str] = {
    "math-verify": "right answers that are formulas are compared as texts, not by value",
    "peft": "adapters (LoRA) can be neither trained nor read",
    "py3langid": "the gates of translation cannot tell languages of one script apart",
    "pyarrow": "parquet and Arrow files, and cached data sets of the Hub, cannot be read",
    "shtab": "`dupo completion` cannot write its script",
}
# Packages that are only named, as there or not there.
OTHERS = ("flash-attn", "vllm", "datasets", "tensorboard", "wandb", "trackio")
