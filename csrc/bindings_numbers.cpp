// Numbers in text for Python: lists of texts in, lists of tuples out, the interpreter lock released in
// between.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "numbers.hpp"
#include "parallel.hpp"
#include "utf8.hpp"

namespace py = pybind11;

namespace {

using UInt64Array = py::array_t<std::uint64_t, py::array::c_style>;

// Borrows the UTF-8 of each text, str or bytes. For ASCII that is the memory of the str itself. Valid as long
// as `texts` is.
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

// Finds the numbers of each text, and hides them unless `seeds` is null.
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
                          static_cast<int>(number.role), static_cast<int>(number.skip), number.quantity);
}

py::list find_numbers(const py::list& texts, int threads) {
    py::list all;
    for (const Reading& reading : read_all(texts, nullptr, 0, threads)) {
        py::list numbers;
        for (const dupo::Number& number : reading.numbers) numbers.append(as_tuple(number));
        all.append(numbers);
    }
    return all;
}

py::list hide_numbers(const py::list& texts, const UInt64Array& seeds, std::size_t most, int threads) {
    if (seeds.ndim() != 1 || seeds.size() != static_cast<py::ssize_t>(texts.size())) {
        throw std::invalid_argument("seeds: expected one for each text");
    }
    py::list all;
    for (const Reading& reading : read_all(texts, seeds.data(), most, threads)) {
        py::list hidden;
        for (const dupo::Hidden& masked : reading.hidden) {
            py::list numbers;
            for (const std::size_t k : masked.numbers) numbers.append(as_tuple(reading.numbers[k]));
            hidden.append(py::make_tuple(masked.known, masked.variable, numbers));
        }
        all.append(hidden);
    }
    return all;
}

}  // namespace

void bind_numbers(py::module_& m) {
    m.def("find_numbers", &find_numbers, py::arg("texts"), py::arg("threads"));
    m.def("hide_numbers", &hide_numbers, py::arg("texts"), py::arg("seeds").noconvert(), py::arg("most"),
          py::arg("threads"));
}
