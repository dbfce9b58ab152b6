"""What the facts of a machine mean: what stops training, what is slow and why, and what mends each."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from packaging.specifiers import SpecifierSet

from dupo.machine.facts import Facts, Gpu
from dupo.machine.optional import OPTIONAL

# In the order in which advice is shown.
KINDS = ("stops", "untested", "slow", "optional")
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
# The kernels are compiled for this capability and newer ones by the tests.
LEAST_CAPABILITY = (8, 0)


class Advice(NamedTuple):
    """One line of advice.

    Attributes:
        kind: "stops" training with the default options, "untested", "slow", or "optional".
        what: what is so, and what follows.
        mend: what to type, or to get.
    """

    kind: str
    what: str
    mend: str


def advise(facts: Facts) -> list[Advice]:
    """All advice for a machine, what stops training first."""
    advice = [*_packages(facts), *_gpus(facts), *_kernels(facts), *_attention(facts), *_processor(facts)]
    advice += [*_extension(facts), *_optional(facts)]
    # What stops a library stops the import of the training loop as well, and says more of it.
    if "training" in facts.problems and can_train(advice):
        what = f"dupo does not load: {facts.problems['training']}"
        mend = "python -c 'import dupo.run.training' shows which library fails: reinstall that one"
        advice.append(Advice("stops", what, mend))
    return sorted(advice, key=lambda line: KINDS.index(line.kind))


def can_train(advice: Sequence[Advice]) -> bool:
    """Whether training can run with the default options."""
    return all(line.kind != "stops" for line in advice)


def _packages(facts: Facts) -> Iterator[Advice]:
    for name, allowed in facts.requires.items():
        version, wanted = facts.versions.get(name), f"'{name}{allowed}'"
        # pip fetches gigabytes of CUDA libraries unless it is told where the CPU builds are.
        index = f" --index-url {CPU_BUILDS}" if name == "torch" and not facts.has_driver else ""
        if version is None and name == "triton":
            continue  # `_kernels` says where it is missed
        if version is None:
            yield Advice("stops", f"{name} is not installed", f"pip install {wanted}{index}")
        elif not SpecifierSet(allowed).contains(version, prereleases=True):
            what = f"{name} {version} is not among the versions that dupo is tested with ({allowed})"
            yield Advice("untested", what, f"pip install {wanted}{index}")
    if facts.versions.get("torch") and facts.torch is None:
        what = f"torch does not load: {facts.problems.get('torch', 'no reason was given')}"
        yield Advice("stops", what, _reinstall("torch", facts))


def _gpus(facts: Facts) -> Iterator[Advice]:
    torch = facts.torch
    if torch is None:
        return
    if torch.gpus and "torch" in facts.problems:
        what = f"torch cannot compute on the GPU: {facts.problems['torch']}"
        yield Advice("stops", what, f"{_reinstall('torch', facts)}; or train with --device cpu")
    elif torch.gpus:
        yield from (_old_gpu(gpu) for gpu in torch.gpus if gpu.capability < LEAST_CAPABILITY)
        if len(torch.gpus) > 1:
            # Training alone is shared out; all other programs take one GPU.
            what = f"{len(torch.gpus)} GPUs, and a run takes one, unless several processes share it"
            start = f"dupo plan, then torchrun --nproc-per-node {len(torch.gpus)} -m dupo.train takes all"
            yield Advice("slow", what, f"{start}; CUDA_VISIBLE_DEVICES=1 gives a command the second")
    elif facts.has_driver and torch.built_for == "the CPU alone":
        what = "the machine has an NVIDIA driver, but torch is built for the CPU alone"
        yield Advice("slow", what, _reinstall("torch", facts))
    elif facts.has_driver:
        reason = torch.gpu_warning or "torch gives no reason"
        what = f"the machine has an NVIDIA driver, but torch ({torch.built_for}) sees no GPU: {reason}"
        yield Advice("slow", what, "nvidia-smi shows the GPUs and the newest CUDA that the driver serves")
    else:
        what = "no GPU: the built-in tasks are made for a CPU, a model of billions of weights is not"
        yield Advice("slow", what, "a machine with an NVIDIA GPU")


def _old_gpu(gpu: Gpu) -> Advice:
    what = f"{gpu.name} has compute capability {_dotted(gpu.capability)}, the kernels are made for 8.0 on"
    return Advice("untested", what, "--device cpu, or a newer GPU")


def _kernels(facts: Facts) -> Iterator[Advice]:
    kernels, problem = facts.kernels, facts.problems.get("kernels")
    if facts.torch is None or (facts.torch.gpus and "torch" in facts.problems):
        return
    if kernels is None and problem:
        yield Advice("stops", f"the kernels do not load: {problem}", _reinstall("triton", facts))
    if kernels and kernels.are_interpreted:
        what = "TRITON_INTERPRET is set: Python carries out the kernels, line by line"
        yield Advice("slow", what, "unset TRITON_INTERPRET")
    if kernels is None or not facts.torch.gpus:
        return
    if problem:
        # Triton builds the code that launches a kernel with a compiler of the machine.
        mend = _reinstall("triton", facts) if facts.has_compiler else "apt-get install g++ python3-dev"
        yield Advice("stops", f"a kernel does not run on the GPU: {problem}", mend)
    elif not kernels.compile:
        what = "Triton is not there for this GPU: torch computes the loss, in many passes over the logits"
        yield Advice("slow", what, f"pip install 'triton{facts.requires.get('triton', '')}'")
    else:
        untuned = {gpu.capability for gpu in facts.torch.gpus} - {divmod(a, 10) for a in kernels.tuned}
        for capability in sorted(untuned):
            what = f"no launch settings were measured for capability {_dotted(capability)}: defaults serve"
            yield Advice("slow", what, "in the repository: bash bench/gpu_run.sh OUT 1")


def _attention(facts: Facts) -> Iterator[Advice]:
    if facts.torch is None or not facts.torch.gpus:
        return
    if "flash-attn" in facts.problems:
        what = f"flash-attn is installed and does not load: {facts.problems['flash-attn']}"
        yield Advice("stops", what, "pip uninstall flash-attn")
    elif facts.versions.get("flash-attn") is None and not facts.torch.has_varlen:
        what = "neither flash-attn nor the varlen attention of torch: packed sequences are padded"
        yield Advice("slow", what, "pip install flash-attn --no-build-isolation")


def _processor(facts: Facts) -> Iterator[Advice]:
    if facts.torch is None:
        return
    threads, cores = facts.torch.threads, facts.cores
    if threads > cores:
        what = f"torch computes with {threads} threads on {cores} cores: they wait for each other"
        yield Advice("slow", what, f"--num_threads {cores}")
    elif threads < cores and facts.omp_threads:
        what = f"OMP_NUM_THREADS={facts.omp_threads} leaves torch {threads} of {cores} cores"
        yield Advice("slow", what, "unset OMP_NUM_THREADS")


def _extension(facts: Facts) -> Iterator[Advice]:
    build = "in the repository: pip install -e ."
    if "extension" in facts.problems:
        yield Advice("stops", f"the C++ extension does not load: {facts.problems['extension']}", build)
    elif not facts.has_extension:
        what = "the C++ extension is not built: plain Python puts batches together, with the same results"
        yield Advice("slow", what, build if facts.has_compiler else f"a C++17 compiler (g++), then {build}")


def _optional(facts: Facts) -> Iterator[Advice]:
    for name, lack in OPTIONAL.items():
        if facts.versions.get(name) is None:
            yield Advice("optional", f"{name} is not installed: {lack}", f"pip install {name}")


def _reinstall(package: str, facts: Facts) -> str:
    index = f" --index-url {CPU_BUILDS}" if package == "torch" and not facts.has_driver else ""
    return f"pip install --force-reinstall '{package}{facts.requires.get(package, '')}'{index}"


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"
