// Batches for Python: arrays in, arrays out, the interpreter lock released in between.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "batches_assembly.hpp"
#include "batches_packing.hpp"
#include "int64_span.hpp"

namespace py = pybind11;

namespace {

// Arrays are read in place. Together with noconvert() below, an array of another dtype or stride is refused
// and not copied.
using Int64Array = py::array_t<std::int64_t, py::array::c_style>;
using Int32Array = py::array_t<std::int32_t, py::array::c_style>;
using BoolArray = py::array_t<bool>;

dupo::Int64Span span(const Int64Array& array) {
    if (array.ndim() != 1) throw std::invalid_argument("array: expected one dimension");
    return {array.data(), static_cast<std::size_t>(array.size())};
}

py::tuple pack(const Int64Array& lengths, std::int64_t token_budget) {
    const dupo::Int64Span values = span(lengths);
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
    const dupo::Int64Span values = span(ids);
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
    Int32Array cu_seqlens(prompt_bounds.size());
    BoolArray loss_mask(size.tokens);
    const dupo::PackedOut out{input_ids.mutable_data(), position_ids.mutable_data(),
                              cu_seqlens.mutable_data(), loss_mask.mutable_data()};
    {
        py::gil_scoped_release release;
        dupo::packed(pairs, out, threads);
    }
    return py::make_tuple(input_ids, position_ids, cu_seqlens, size.longest, loss_mask);
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
    const dupo::Int64Span piece_bounds = span(bounds), pieces = span(members), sequences = span(offsets);
    const dupo::Chunks* chunks = nullptr;
    {
        py::gil_scoped_release release;
        chunks = &assembler.begin(bytes, piece_bounds, pieces, sequences, threads);
    }
    py::list texts;
    py::list opens_text;
    for (std::size_t i = 0; i < chunks->size(); ++i) {
        const dupo::Chunks::Key key = chunks->at(i);
        texts.append(py::str(key.text.data(), key.text.size()));
        opens_text.append(key.opens_text);
    }
    return py::make_tuple(texts, opens_text);
}

py::tuple finish(dupo::Assembler& assembler, const Int64Array& ids, const Int64Array& bounds,
                 const Int64Array& before, const Int64Array& after, int threads) {
    const dupo::Int64Span chunk_ids = span(ids), chunk_bounds = span(bounds);
    const dupo::Int64Span opening = span(before), closing = span(after);
    const std::int64_t frame = before.size() + after.size();
    Int32Array cu_seqlens(static_cast<py::ssize_t>(assembler.sequences() + 1));
    std::int32_t* const cu_seqlens_out = cu_seqlens.mutable_data();
    std::int64_t tokens = 0;
    {
        py::gil_scoped_release release;
        assembler.add_ids(chunk_ids, chunk_bounds);
        tokens = assembler.measure(frame, cu_seqlens_out, threads);
    }
    // Only now is the size of the result known. Making an array needs the interpreter lock.
    Int64Array out(tokens);
    std::int64_t* const ids_out = out.mutable_data();
    {
        py::gil_scoped_release release;
        assembler.write(opening, closing, cu_seqlens_out, ids_out, threads);
    }
    return py::make_tuple(out, cu_seqlens);
}

py::tuple counts(const dupo::Assembler& assembler) {
    const dupo::Counts& counts = assembler.counts();
    return py::make_tuple(counts.sequences, counts.uncut, counts.seams, counts.lookups, counts.tokenized);
}

}  // namespace

void bind_batches(py::module_& m) {
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
}
