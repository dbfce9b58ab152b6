"""What is said of machines that are not this one."""

import json
from dataclasses import replace
from typing import Any

import pytest

from dupo.machine.advice import KINDS, Advice, advise, can_train
from dupo.machine.description import as_json, describe
from dupo.machine.facts import Facts, Gpu, Kernels, Torch
from dupo.machine.optional import OPTIONAL, OTHERS

HOPPER = Gpu("NVIDIA H200", (9, 0), 139 * 2**30)
REQUIRES = {"torch": ">=2.10", "triton": ">=3.6", "transformers": "<5.25,>=5.5", "rich": ""}
VERSIONS: dict[str, str | None] = {
    "torch": "2.13.0",
    "triton": "3.9.0",
    "transformers": "5.24.0",
    "rich": "15.0.0",
}
VERSIONS |= {name: "1.0" for name in (*OPTIONAL, *OTHERS)}
CUDA = Torch("2.13.0+cu130", "CUDA 13.0", threads=8, instructions="AVX512", gpus=(HOPPER,))
CPU = replace(CUDA, version="2.13.0+cpu", built_for="the CPU alone", gpus=())
# All that dupo can use is there.
BEST = Facts(
    cores=16,
    memory=128 * 2**30,
    has_driver=True,
    has_compiler=True,
    has_extension=True,
    requires=REQUIRES,
    versions=VERSIONS,
    torch=CUDA,
    kernels=Kernels(compile=True, tuned=(90,)),
)
NO_GPU = replace(BEST, torch=CPU, has_driver=False)
Changes = dict[str, Any]


def without(*packages: str) -> dict[str, str | None]:
    return VERSIONS | dict.fromkeys(packages)


# Facts -> (kind, words of what is said, words of the mend) of the one line of advice.
CASES: list[tuple[Facts, str, str, str]] = [
    (NO_GPU, "slow", "no GPU", "a machine with"),
    (
        replace(BEST, torch=None, kernels=None, versions=without("torch")),
        "stops",
        "torch is not installed",
        "pip install 'torch>=2.10'",
    ),
    (
        replace(BEST, torch=None, kernels=None, versions=without("torch"), has_driver=False),
        "stops",
        "torch is not installed",
        "pip install 'torch>=2.10' --index-url https://download.pytorch.org/whl/cpu",
    ),
    (
        replace(
            BEST, torch=None, kernels=None, problems={"torch": "libcudart: no", "training": "libcudart: no"}
        ),
        "stops",
        "torch does not load: libcudart: no",
        "pip install --force-reinstall 'torch>=2.10'",
    ),
    (replace(BEST, versions=without("rich")), "stops", "rich is not installed", "pip install 'rich'"),
    (
        replace(BEST, versions=VERSIONS | {"transformers": "5.30.0"}),
        "untested",
        "transformers 5.30.0 is not among",
        "pip install 'transformers<5.25,>=5.5'",
    ),
    (replace(BEST, problems={"training": "no Qwen3"}), "stops", "dupo does not load: no Qwen3", "reinstall"),
    (replace(BEST, torch=CPU), "slow", "torch is built for the CPU alone", "--force-reinstall 'torch>=2.10'"),
    (
        replace(BEST, torch=replace(CUDA, gpus=(), gpu_warning="driver too old")),
        "slow",
        "(CUDA 13.0) sees no GPU: driver too old",
        "nvidia-smi",
    ),
    (replace(BEST, torch=replace(CUDA, gpus=())), "slow", "torch gives no reason", "nvidia-smi"),
    (
        replace(BEST, problems={"torch": "no kernel image", "kernels": "no kernel image"}),
        "stops",
        "cannot compute on the GPU: no kernel image",
        "--device cpu",
    ),
    (
        replace(BEST, torch=replace(CUDA, gpus=(HOPPER, HOPPER))),
        "slow",
        "2 GPUs, and a run takes one",
        "torchrun --nproc-per-node 2 -m dupo.train",
    ),
    (
        replace(
            BEST, torch=replace(CUDA, gpus=(Gpu("T4", (7, 5), 2**34),)), kernels=Kernels(True, tuned=(75,))
        ),
        "untested",
        "T4 has compute capability 7.5",
        "--device cpu",
    ),
    (
        replace(BEST, kernels=None, problems={"kernels": "ImportError: libtriton"}),
        "stops",
        "the kernels do not load: ImportError: libtriton",
        "--force-reinstall 'triton>=3.6'",
    ),
    (
        replace(BEST, problems={"kernels": "Failed to find C compiler"}, has_compiler=False),
        "stops",
        "a kernel does not run on the GPU: Failed to find C compiler",
        "g++",
    ),
    (replace(BEST, problems={"kernels": "PTX"}), "stops", "a kernel does not run", "'triton>=3.6'"),
    (
        replace(BEST, kernels=Kernels(compile=False), versions=without("triton")),
        "slow",
        "Triton is not there for this GPU",
        "pip install 'triton>=3.6'",
    ),
    (replace(BEST, kernels=Kernels(compile=True)), "slow", "capability 9.0: defaults serve", "gpu_run.sh"),
    (
        replace(BEST, kernels=replace(BEST.kernels or Kernels(True), are_interpreted=True)),
        "slow",
        "TRITON_INTERPRET is set",
        "unset TRITON_INTERPRET",
    ),
    (
        replace(BEST, problems={"flash-attn": "undefined symbol"}),
        "stops",
        "flash-attn is installed and does not load: undefined symbol",
        "pip uninstall flash-attn",
    ),
    (
        replace(BEST, torch=replace(CUDA, has_varlen=False), versions=without("flash-attn")),
        "slow",
        "packed sequences are padded",
        "pip install flash-attn",
    ),
    (replace(BEST, cores=4), "slow", "8 threads on 4 cores", "--num_threads 4"),
    (
        replace(BEST, omp_threads="8"),
        "slow",
        "OMP_NUM_THREADS=8 leaves torch 8 of 16",
        "unset OMP_NUM_THREADS",
    ),
    (replace(BEST, has_extension=False), "slow", "C++ extension is not built", "pip install -e ."),
    (
        replace(BEST, has_extension=False, has_compiler=False),
        "slow",
        "C++ extension is not built",
        "a C++17 compiler",
    ),
    (
        replace(BEST, problems={"extension": "undefined symbol"}),
        "stops",
        "C++ extension does not load: undefined symbol",
        "pip install -e .",
    ),
    *(
        (replace(BEST, versions=without(name)), "optional", f"{name} is not installed: {lack}", name)
        for name, lack in OPTIONAL.items()
    ),
]


def test_where_all_is_there_nothing_is_said() -> None:
    assert advise(BEST) == [] and can_train([])


@pytest.mark.parametrize(("facts", "kind", "what", "mend"), CASES)
def test_one_fact_is_one_line_with_its_mend(facts: Facts, kind: str, what: str, mend: str) -> None:
    (line,) = advise(facts)
    assert line.kind == kind and what in line.what and mend in line.mend
    assert can_train([line]) == (kind != "stops")
    assert "\n" not in line.what + line.mend
    assert all(text for _, text in describe(facts))


# What dupo does without, or knows nothing of: no reason to say anything.
@pytest.mark.parametrize(
    "facts",
    [
        replace(BEST, versions=without("flash-attn", "vllm", "wandb", "datasets")),
        replace(BEST, requires={k: v for k, v in REQUIRES.items() if k != "triton"}),
        replace(BEST, torch=replace(CUDA, threads=8), cores=16),  # a core of two threads counts once
        replace(BEST, memory=None),
    ],
)
def test_nothing_is_said_without_need(facts: Facts) -> None:
    assert advise(facts) == []


def test_a_cpu_needs_neither_triton_nor_flash_attention() -> None:
    facts = replace(NO_GPU, versions=without("triton", "flash-attn"), kernels=Kernels(compile=False))
    assert [line.kind for line in advise(facts)] == ["slow"]


def test_what_stops_stands_first() -> None:
    facts = replace(NO_GPU, versions=without("rich", "pyarrow"), has_extension=False)
    kinds = [line.kind for line in advise(facts)]
    assert kinds == sorted(kinds, key=KINDS.index) and kinds[0] == "stops" and len(kinds) == 4


def test_json_holds_facts_advice_and_verdict() -> None:
    answer = json.loads(as_json(NO_GPU, [Advice("stops", "a", "b")]))
    assert answer["can_train"] is False and answer["advice"] == [{"kind": "stops", "what": "a", "mend": "b"}]
    assert answer["facts"]["torch"]["built_for"] == "the CPU alone" and answer["facts"]["cores"] == 16


def test_the_table_shows_every_gpu() -> None:
    rows = dict(describe(replace(BEST, torch=replace(CUDA, gpus=(HOPPER, HOPPER)))))
    assert rows["GPU"] == "\n".join(["NVIDIA H200, compute capability 9.0, 139.0 GiB"] * 2)
    assert rows["kernels"] == "tried on the GPU; Triton 3.9.0" and rows["attention"] == "flash-attn 1.0"
