"""The programs of dupo: one row each. `dupo NAME` and `python -m dupo.NAME` are the same program.

To add a program: write its module in `dupo/` with `main(argv)`, then add a row here. A program whose options
are not those of `Config` also has `parser()`, which `dupo completion` reads.
"""

# Name -> what `dupo --help` says of the program. The order is that of the help.
DOORS: dict[str, str] = {
    "train": "trains a model: on its own consistency, without labels, or on given completions",
    "plan": "what a training run needs and takes, before it starts: memory, seconds, disk",
    "audit": "is the reward of this model on this data one to train on?",
    "select": "which duals of a data set can be trusted?",
    "rerank": "better answers without training",
    "duals": "which numbers of word problems may be hidden, and which not and why",
    "report": "writes the page of a run: curves and exchanges; compares several runs on one page",
    "export": "writes a checkpoint as a model folder of transformers; merges adapters",
    "merge": "makes one model of several: mean, moving average, slerp, WARP; also of adapters",
    "push": "uploads the model of a run to the Hub of Hugging Face, with a model card",
    "doctor": "what this machine has, what is slow and why, and what to type",
    "completion": "writes the script by which a shell completes these commands",
}
