// Sequences of unequal length, laid end to end without padding.
//
// Pure C++17: no Python, no NumPy. The twins in dupo/text/__init__.py define every result; the tests hold the two
// equal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace dupo {

// A borrowed run of int64, so that the caller's array is read where it lies.
struct Lengths {
    const std::int64_t* data;
    std::size_t size;

    std::int64_t operator[](std::size_t i) const { return data[i]; }
};

// Best-fit decreasing in O(n log n). Writes one index per sequence, bin after bin, and returns where each bin
// starts and the last one ends: bin b holds indices[offsets[b] .. offsets[b + 1]), ascending, and bins are in
// order of their first index. Throws std::invalid_argument for a length outside [1, token_budget].
std::vector<std::int64_t> pack(Lengths lengths, std::int64_t token_budget, std::int64_t* indices);

// Borrowed token ids of `size` sequences: sequence i has ids[bounds[i] .. bounds[i + 1]).
struct Sequences {
    const std::int64_t* ids;
    const std::int32_t* bounds;
    std::size_t size;

    std::int64_t length(std::size_t i) const { return bounds[i + 1] - bounds[i]; }
};

// One sequence for each prompt: the prompt and its completion, one after the other.
struct Pairs {
    Sequences prompts, completions;

    std::int64_t length(std::size_t i) const { return prompts.length(i) + completions.length(i); }
};

// Throws std::invalid_argument unless the bounds start at 0, ascend and end at `ids`.
void check(Sequences sequences, std::size_t ids);

// The sum and the largest of the lengths. Throws std::invalid_argument for unequal sizes, and where
// cu_seqlens of the sequences would not fit int32. They are the sizes of the arrays that the functions below
// write.
struct Size {
    std::int64_t tokens, longest;
};
Size size_of(Pairs pairs);

// One entry a token, and cu_seqlens, one more than there are sequences.
struct PackedOut {
    std::int64_t *input_ids, *position_ids;
    std::int32_t* cu_seqlens;
    bool* loss_mask;
    std::int32_t* owner;
};
void packed(Pairs pairs, PackedOut out, int threads);

// Rows of `width` tokens, filled up with `pad_id` on the left or on the right.
struct PaddedOut {
    std::int64_t *input_ids, *attention_mask, *position_ids;
    bool* loss_mask;
};
void padded(Pairs pairs, std::int64_t width, std::int64_t pad_id, bool left, PaddedOut out, int threads);

}  // namespace dupo
