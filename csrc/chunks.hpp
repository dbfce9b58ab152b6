// Where a text may be cut without changing its tokens, and a table of such chunks.
//
// Pure C++17. The twins in dupo/text/assembly.py define every result.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dupo {

// Throws std::invalid_argument unless the text is UTF-8 of Unicode scalar values.
void check_utf8(std::string_view text);

// The first cut at `from` or after it, std::string_view::npos if there is none. A cut stands before a space
// (0x20) between two characters that are not blank. The text has been through check_utf8.
std::size_t next_cut(std::string_view text, std::size_t from);

// Numbers chunks 0, 1, 2, ... in the order in which they are added. `first`: the chunk opens its text, which
// can give it other tokens.
class Chunks {
  public:
    static constexpr std::int64_t none = -1;

    struct Key {
        std::string_view text;
        bool first;
        std::uint64_t hash;
    };
    static Key key(std::string_view text, bool first);

    std::int64_t find(const Key& key) const;
    std::int64_t add(const Key& key);  // not there yet
    Key at(std::size_t index) const;
    std::size_t size() const { return entries_.size(); }
    std::size_t bytes() const { return arena_.size(); }

  private:
    struct Entry {
        std::size_t start, size;
        std::uint64_t hash;
        bool first;
    };
    void grow();

    std::string arena_;
    std::vector<Entry> entries_;
    std::vector<std::int64_t> slots_;  // a power of two of them, `none` where free; open addressing
};

}  // namespace dupo
