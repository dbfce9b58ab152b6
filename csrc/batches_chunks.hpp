// Where a text may be cut without changing its tokens, and a table of the chunks between cuts.
//
// Pure C++17. The twin in dupo/text/assembly.py defines every result.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dupo {

// Throws std::invalid_argument unless the text is UTF-8 of Unicode scalar values.
void check_utf8(std::string_view text);

// The first cut at `from` or later, std::string_view::npos if there is none. A cut stands before a space
// (0x20) between two characters that are not blank. The text must have passed check_utf8.
std::size_t next_cut(std::string_view text, std::size_t from);

// A hash table that numbers chunks 0, 1, 2, ... in the order of their addition. A chunk that opens its text
// has a number of its own, because a tokenizer may give it other tokens.
class Chunks {
  public:
    static constexpr std::int64_t none = -1;

    struct Key {
        std::string_view text;
        bool opens_text;
        std::uint64_t hash;
    };
    static Key key(std::string_view text, bool opens_text);

    std::int64_t find(const Key& key) const;
    std::int64_t add(const Key& key);  // a key that `find` does not find
    Key at(std::size_t index) const;
    std::size_t size() const { return entries_.size(); }
    std::size_t bytes() const { return arena_.size(); }

  private:
    struct Entry {
        std::size_t start, size;
        std::uint64_t hash;
        bool opens_text;
    };
    void grow();

    std::string arena_;  // the texts of all chunks, end to end
    std::vector<Entry> entries_;
    std::vector<std::int64_t> slots_;  // open addressing; a power of two slots, `none` where free
};

}  // namespace dupo
