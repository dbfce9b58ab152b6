// The only file that knows Python: arrays in, arrays out, the interpreter lock released in between.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <stdexcept>
#include <vector>

#include "packing.hpp"

namespace py = pybind11;

namespace {

// Read in place: together with noconvert() below, an array of another dtype or stride is refused, not copied.
using Int64Array = py::array_t<std::int64_t, py::array::c_style>;
using Int32Array = py::array_t<std::int32_t>;

dupo::Lengths view(const Int64Array& array) {
    if (array.ndim() != 1) throw std::invalid_argument("lengths: expected one dimension");
    return {array.data(), static_cast<std::size_t>(array.size())};
}

py::tuple pack(const Int64Array& lengths, std::int64_t token_budget) {
    const dupo::Lengths values = view(lengths);
    Int64Array indices(lengths.size());
    std::int64_t* const out = indices.mutable_data();
    std::vector<std::int64_t> offsets;
    {
        py::gil_scoped_release release;
        offsets = dupo::pack(values, token_budget, out);
    }
    return py::make_tuple(indices, Int64Array(static_cast<py::ssize_t>(offsets.size()), offsets.data()));
}

py::tuple layout(const Int64Array& lengths) {
    const dupo::Lengths values = view(lengths);
    const std::int64_t tokens = dupo::total_tokens(values);
    Int64Array position_ids(tokens);
    Int32Array cu_seqlens(lengths.size() + 1);
    Int32Array owner(tokens);
    std::int64_t* const positions_out = position_ids.mutable_data();
    std::int32_t* const bounds_out = cu_seqlens.mutable_data();
    std::int32_t* const owner_out = owner.mutable_data();
    {
        py::gil_scoped_release release;
        dupo::layout(values, positions_out, bounds_out, owner_out);
    }
    return py::make_tuple(position_ids, cu_seqlens, owner);
}

py::tuple loss_rows(const Int64Array& prompts, const Int64Array& completions) {
    const dupo::Lengths before = view(prompts);
    const dupo::Lengths sampled = view(completions);
    if (before.size != sampled.size) {
        throw std::invalid_argument("completions: expected as many as there are prompts");
    }
    dupo::total_tokens(before);
    Int64Array rows(dupo::total_tokens(sampled));
    Int32Array cu_seqlens(completions.size() + 1);
    std::int64_t* const rows_out = rows.mutable_data();
    std::int32_t* const bounds_out = cu_seqlens.mutable_data();
    {
        py::gil_scoped_release release;
        dupo::loss_rows(before, sampled, rows_out, bounds_out);
    }
    return py::make_tuple(rows, cu_seqlens);
}

}  // namespace

PYBIND11_MODULE(_C, m) {
    m.doc() = "Compiled twins of the plain Python functions in dupo/text.py; call them through it.";
    m.def("pack", &pack, py::arg("lengths").noconvert(), py::arg("token_budget"));
    m.def("layout", &layout, py::arg("lengths").noconvert());
    m.def("loss_rows", &loss_rows, py::arg("prompts").noconvert(), py::arg("completions").noconvert());
}
