// The only file that knows Python: arrays in, arrays out, the interpreter lock released in between.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "numbers.hpp"
#include "packing.hpp"
#include "parallel.hpp"
#include "utf8.hpp"

namespace py = pybind11;

namespace {

// Read in place: together with noconvert() below, an array of another dtype or stride is refused, not copied.
using Int64Array = py::array_t<std::int64_t, py::array::c_style>;
using Int32Array = py::array_t<std::int32_t>;
using UInt64Array = py::array_t<std::uint64_t, py::array::c_style>;

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

// The UTF-8 of each text, str or bytes, where it lies: for ASCII that is the str itself. Valid while `texts`
// is.
std::vector<std::string_view> utf8_of(const py::list& texts) {
    std::vector<std::string_view> views;
    views.reserve(texts.size());
    for (const py::handle text : texts) {
        Py_ssize_t size = 0;
        char* bytes = nullptr;
        if (PyBytes_Check(text.ptr())) {
            if (PyBytes_AsStringAndSize(text.ptr(), &bytes, &size) < 0) throw py::error_already_set();
            views.emplace_back(bytes, static_cast<std::size_t>(size));
        } else {
            const char* const utf8 = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
            if (utf8 == nullptr) throw py::error_already_set();
            views.emplace_back(utf8, static_cast<std::size_t>(size));
        }
    }
    return views;
}

struct Reading {
    std::vector<dupo::Number> numbers;
    std::vector<dupo::Hidden> hidden;
};

// What each text has; with no seeds nothing is hidden.
std::vector<Reading> read_all(const py::list& texts, const std::uint64_t* seeds, std::size_t most,
                              int threads) {
    const std::vector<std::string_view> views = utf8_of(texts);
    std::vector<Reading> readings(views.size());
    py::gil_scoped_release release;
    dupo::parallel(views.size(), dupo::runs_for(views.size(), threads),
                   [&](std::size_t, std::size_t begin, std::size_t end) {
                       for (std::size_t i = begin; i < end; ++i) {
                           const std::u32string text = dupo::decode_utf8(views[i]);
                           readings[i].numbers = dupo::find_numbers(text);
                           if (seeds == nullptr) continue;
                           readings[i].hidden = dupo::hide_numbers(text, readings[i].numbers, seeds[i], most);
                       }
                   });
    return readings;
}

py::tuple as_tuple(const dupo::Number& number) {
    return py::make_tuple(number.start, number.end, number.numerator, number.denominator,
                          static_cast<int>(number.role), static_cast<int>(number.skip));
}

py::list find_numbers(const py::list& texts, int threads) {
    py::list found;
    for (const Reading& reading : read_all(texts, nullptr, 0, threads)) {
        py::list numbers;
        for (const dupo::Number& number : reading.numbers) numbers.append(as_tuple(number));
        found.append(numbers);
    }
    return found;
}

py::list hide_numbers(const py::list& texts, const UInt64Array& seeds, std::size_t most, int threads) {
    if (seeds.ndim() != 1 || seeds.size() != static_cast<py::ssize_t>(texts.size())) {
        throw std::invalid_argument("seeds: expected one for each text");
    }
    py::list found;
    for (const Reading& reading : read_all(texts, seeds.data(), most, threads)) {
        py::list duals;
        for (const dupo::Hidden& hidden : reading.hidden) {
            py::list numbers;
            for (const std::size_t k : hidden.numbers) numbers.append(as_tuple(reading.numbers[k]));
            duals.append(py::make_tuple(hidden.known, hidden.variable, numbers));
        }
        found.append(duals);
    }
    return found;
}

}  // namespace

PYBIND11_MODULE(_C, m) {
    m.doc() = "Compiled twins of the plain Python functions in dupo/text.py; call them through it.";
    m.def("pack", &pack, py::arg("lengths").noconvert(), py::arg("token_budget"));
    m.def("layout", &layout, py::arg("lengths").noconvert());
    m.def("loss_rows", &loss_rows, py::arg("prompts").noconvert(), py::arg("completions").noconvert());
    m.def("find_numbers", &find_numbers, py::arg("texts"), py::arg("threads"));
    m.def("hide_numbers", &hide_numbers, py::arg("texts"), py::arg("seeds").noconvert(), py::arg("most"),
          py::arg("threads"));
}
