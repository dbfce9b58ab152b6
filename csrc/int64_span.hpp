// A run of int64 that somebody else owns.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dupo {

// Borrowed, so that the caller's array is read without a copy. Holds ids, lengths, bounds or indices.
struct Int64Span {
    const std::int64_t* data;
    std::size_t size;

    std::int64_t operator[](std::size_t i) const { return data[i]; }
};

}  // namespace dupo
