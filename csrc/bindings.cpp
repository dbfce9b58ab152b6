// The only file that knows Python: arrays in, arrays out, the interpreter lock released in between.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "assembly.hpp"
#include "numbers.hpp"
#include "packing.hpp"
#include "parallel.hpp"
#include "utf8.hpp"

namespace py = pybind11;

namespace {

// Read in place: together with noconvert() below, an array of another dtype or stride is refused, not copied.
using Int64Array = py::array_t<std::int64_t, py::array::c_style>;
using Int32Array = py::array_t<std::int32_t, py::array::c_style>;
using BoolArray = py::array_t<bool>;
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

dupo::Sequences sequences_of(const Int64Array& ids, const Int32Array& cu_seqlens) {
    if (cu_seqlens.ndim() != 1 || cu_seqlens.size() < 1) {
        throw std::invalid_argument("cu_seqlens: expected one dimension and at least a 0");
    }
    const dupo::Lengths values = view(ids);
    const dupo::Sequences sequences{values.data, cu_seqlens.data(),
                                    static_cast<std::size_t>(cu_seqlens.size() - 1)};
    dupo::check(sequences, values.size);
    return sequences;
}

py::tuple packed(const Int64Array& prompt_ids, const Int32Array& prompt_bounds,
                 const Int64Array& completion_ids, const Int32Array& completion_bounds, int threads) {
    const dupo::Pairs pairs{sequences_of(prompt_ids, prompt_bounds),
                            sequences_of(completion_ids, completion_bounds)};
    const dupo::Size size = dupo::size_of(pairs);
    Int64Array input_ids(size.tokens), position_ids(size.tokens);
    Int32Array cu_seqlens(prompt_bounds.size()), owner(size.tokens);
    BoolArray loss_mask(size.tokens);
    const dupo::PackedOut out{input_ids.mutable_data(), position_ids.mutable_data(),
                              cu_seqlens.mutable_data(), loss_mask.mutable_data(), owner.mutable_data()};
    {
        py::gil_scoped_release release;
        dupo::packed(pairs, out, threads);
    }
    return py::make_tuple(input_ids, position_ids, cu_seqlens, size.longest, loss_mask, owner);
}

py::tuple padded(const Int64Array& prompt_ids, const Int32Array& prompt_bounds,
                 const Int64Array& completion_ids, const Int32Array& completion_bounds, std::int64_t pad_id,
                 bool left, int threads) {
    const dupo::Pairs pairs{sequences_of(prompt_ids, prompt_bounds),
                            sequences_of(completion_ids, completion_bounds)};
    const py::ssize_t rows = prompt_bounds.size() - 1, width = dupo::size_of(pairs).longest;
    Int64Array input_ids({rows, width}), attention_mask({rows, width}), position_ids({rows, width});
    BoolArray loss_mask({rows, width});
    const dupo::PaddedOut out{input_ids.mutable_data(), attention_mask.mutable_data(),
                              position_ids.mutable_data(), loss_mask.mutable_data()};
    {
        py::gil_scoped_release release;
        dupo::padded(pairs, width, pad_id, left, out, threads);
    }
    return py::make_tuple(input_ids, attention_mask, position_ids, loss_mask);
}

py::tuple begin(dupo::Assembler& assembler, const py::bytes& text, const Int64Array& bounds,
                const Int64Array& members, const Int64Array& offsets, int threads) {
    const std::string_view bytes(text);
    const dupo::Lengths of_pieces = view(bounds), of_sequences = view(members), ends = view(offsets);
    const dupo::Chunks* chunks = nullptr;
    {
        py::gil_scoped_release release;
        chunks = &assembler.begin(bytes, of_pieces, of_sequences, ends, threads);
    }
    py::list texts;
    py::list first;
    for (std::size_t i = 0; i < chunks->size(); ++i) {
        const dupo::Chunks::Key key = chunks->at(i);
        texts.append(py::str(key.text.data(), key.text.size()));
        first.append(key.first);
    }
    return py::make_tuple(texts, first);
}

py::tuple finish(dupo::Assembler& assembler, const Int64Array& ids, const Int64Array& bounds,
                 const Int64Array& before, const Int64Array& after, int threads) {
    const dupo::Lengths learned = view(ids), ends = view(bounds);
    const dupo::Lengths opening = view(before), closing = view(after);
    const std::int64_t frame = before.size() + after.size();
    Int32Array cu_seqlens(static_cast<py::ssize_t>(assembler.sequences() + 1));
    std::int32_t* const bounds_out = cu_seqlens.mutable_data();
    std::int64_t tokens = 0;
    {
        py::gil_scoped_release release;
        assembler.learn(learned, ends);
        tokens = assembler.lengths(frame, bounds_out, threads);
    }
    Int64Array out(tokens);
    std::int64_t* const ids_out = out.mutable_data();
    {
        py::gil_scoped_release release;
        assembler.write(opening, closing, bounds_out, ids_out, threads);
    }
    return py::make_tuple(out, cu_seqlens);
}

py::tuple counts(const dupo::Assembler& assembler) {
    const dupo::Counts& all = assembler.counts();
    return py::make_tuple(all.sequences, all.whole, all.windows, all.lookups, all.learned);
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
    m.doc() = "Compiled twins of the plain Python functions in dupo/text/__init__.py; call them through it.";
    m.def("pack", &pack, py::arg("lengths").noconvert(), py::arg("token_budget"));
    m.def("packed", &packed, py::arg("prompt_ids").noconvert(), py::arg("prompt_bounds").noconvert(),
          py::arg("completion_ids").noconvert(), py::arg("completion_bounds").noconvert(),
          py::arg("threads"));
    m.def("padded", &padded, py::arg("prompt_ids").noconvert(), py::arg("prompt_bounds").noconvert(),
          py::arg("completion_ids").noconvert(), py::arg("completion_bounds").noconvert(), py::arg("pad_id"),
          py::arg("left"), py::arg("threads"));
    py::class_<dupo::Assembler>(m, "Assembler")
        .def(py::init<bool, std::size_t>(), py::arg("cuts"), py::arg("limit"))
        .def("begin", &begin, py::arg("text"), py::arg("bounds").noconvert(), py::arg("members").noconvert(),
             py::arg("offsets").noconvert(), py::arg("threads"))
        .def("finish", &finish, py::arg("ids").noconvert(), py::arg("bounds").noconvert(),
             py::arg("before").noconvert(), py::arg("after").noconvert(), py::arg("threads"))
        .def("counts", &counts);
    m.def("find_numbers", &find_numbers, py::arg("texts"), py::arg("threads"));
    m.def("hide_numbers", &hide_numbers, py::arg("texts"), py::arg("seeds").noconvert(), py::arg("most"),
          py::arg("threads"));
}
