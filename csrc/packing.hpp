// Sequences of unequal length, laid end to end without padding.
//
// Pure C++17: no Python, no NumPy. The twins in dupo/text.py define every result; the tests hold the two
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

// The sum. Throws std::invalid_argument for a negative length, and where a cu_seqlens made from these lengths
// would not fit int32. What comes out is the size of the arrays that the functions below write.
std::int64_t total_tokens(Lengths lengths);

// Best-fit decreasing in O(n log n). Writes one index per sequence, bin after bin, and returns where each bin
// starts and the last one ends: bin b holds indices[offsets[b] .. offsets[b + 1]), ascending, and bins are in
// order of their first index. Throws std::invalid_argument for a length outside [1, token_budget].
std::vector<std::int64_t> pack(Lengths lengths, std::int64_t token_budget, std::int64_t* indices);

// Writes position_ids and owner, one entry a token, and cu_seqlens, one more than there are sequences.
// The lengths have been through total_tokens.
void layout(Lengths lengths, std::int64_t* position_ids, std::int32_t* cu_seqlens, std::int32_t* owner);

// Writes the rows of the packed input whose next token is a sampled one, one entry a completion token, and
// the bounds of each sequence among them. As many prompts as completions, each through total_tokens.
void loss_rows(Lengths prompts, Lengths completions, std::int64_t* rows, std::int32_t* cu_seqlens);

}  // namespace dupo
