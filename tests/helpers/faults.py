"""What a fault of one line is, for test_mutants.py, and those of products, memory and copies by device."""

from typing import NamedTuple


class Fault(NamedTuple):
    """`text`, which occurs once in the package, becomes `change`; `test` (FILE::NAME) fails."""

    text: str
    change: str
    test: str
    interpreted: bool = False


GEMM, DEVICES = "kernels/hidden/test_gemm.py", "kernels/hidden/test_devices.py"

DEVICE_FAULTS = {
    "a CPU multiplies halves that it has no instructions for": Fault(
        "(is_half and not multiplies_halves(device_type, dtype))",
        "False",
        f"{GEMM}::test_halves_meet_in_float32_unless_the_cpu_multiplies_them[objective-whole-torch.bfloat16-emulated]",
    ),
    "every CPU with AVX512 has instructions for bf16": Fault(
        '(not is_x86 or any(_cpu_has(f"{unit}_{name}") for unit in ("avx512", "amx")))',
        "True",
        f"{GEMM}::test_a_cpu_multiplies_halves_if_onednn_and_the_cpu_say_so[bf16]",
    ),
    "tiles forget the sum before": Fault(
        "if add or terms.start:",
        "if add:",
        f"{GEMM}::test_tiles_make_the_product[60-torch.float32-False-rows]",
    ),
    "dhidden on CUDA is a sum of parts in bf16": Fault(
        "self.dhidden_MH[rows], long_sums=True)",
        "self.dhidden_MH[rows])",
        f"{GEMM}::test_dhidden_is_rounded_once_where_sums_are_cut[objective]",
    ),
    "a buffer for each length": Fault(
        "shape = choose_buffer_rows(num_rows),",
        "shape = num_rows,",
        "kernels/hidden/test_memory.py::test_a_buffer_has_the_size_of_its_class[token]",
    ),
    "rows come from memory that is not pinned": Fault(
        "index = index.pin_memory()",
        "pass",
        f"{DEVICES}::test_rows_of_the_host_are_pinned[all-dtype0]",
    ),
}
