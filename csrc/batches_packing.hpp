// Sequences of unequal length: micro-batches, sequences end to end, sequences as padded rows.
//
// Pure C++17: no Python, no NumPy. The twin in dupo/text/packing.py defines every result; the tests hold the
// two equal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "int64_span.hpp"

namespace dupo {

// Best-fit decreasing in O(n log n). Writes one index per sequence, bin after bin, and returns the offsets of
// the bins: bin b holds indices[offsets[b] .. offsets[b + 1]), ascending. Bins are ordered by first index.
// Throws std::invalid_argument for a length outside [1, token_budget].
std::vector<std::int64_t> pack(Int64Span lengths, std::int64_t token_budget, std::int64_t* indices);

// Borrowed token ids of `size` sequences: sequence i has ids[bounds[i] .. bounds[i + 1]).
struct Sequences {
    const std::int64_t* ids;
    const std::int32_t* bounds;
    std::size_t size;

    std::int64_t length(std::size_t i) const { return bounds[i + 1] - bounds[i]; }
};

// One sequence per prompt: the prompt followed by its completion.
struct Pairs {
    Sequences prompts, completions;

    std::int64_t length(std::size_t i) const { return prompts.length(i) + completions.length(i); }
};

// Throws std::invalid_argument unless the bounds start at 0, ascend and end at `ids`.
void check(Sequences sequences, std::size_t ids);

// The sum of the lengths and the largest length: the sizes of the arrays that the functions below write.
// Throws std::invalid_argument for unequal numbers of prompts and completions, and where cu_seqlens would not
// fit int32.
struct Size {
    std::int64_t tokens, longest;
};
Size size_of(Pairs pairs);

// One entry per token. cu_seqlens has one entry more than there are sequences.
struct PackedOut {
    std::int64_t *input_ids, *position_ids;
    std::int32_t* cu_seqlens;
    bool* loss_mask;
};
void packed(Pairs pairs, PackedOut out, int threads);

// Rows of `width` tokens, filled with `pad_id` on the left or on the right.
struct PaddedOut {
    std::int64_t *input_ids, *attention_mask, *position_ids;
    bool* loss_mask;
};
void padded(Pairs pairs, std::int64_t width, std::int64_t pad_id, bool left, PaddedOut out, int threads);

}  // namespace dupo
