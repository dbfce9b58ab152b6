// Token ids of many texts that share pieces: every chunk is tokenised once, and copied from then on.
//
// Pure C++17. The twin in dupo/text/assembly.py defines every result.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "chunks.hpp"
#include "packing.hpp"

namespace dupo {

struct Counts {
    std::int64_t sequences = 0;  // assembled in all
    std::int64_t whole = 0;      // of them, tokenised whole: no local rule
    std::int64_t windows = 0;    // texts across a seam between pieces that were cut anew
    std::int64_t lookups = 0;    // chunks looked up
    std::int64_t learned = 0;    // chunks sent to the tokenizer
};

// One call after another: begin, learn, lengths, write. Every result is the same for any number of threads.
class Assembler {
  public:
    // `cuts` false: no text is cut, each is one chunk. Past `limit` bytes the cache is emptied by `begin`.
    Assembler(bool cuts, std::size_t limit) : cuts_(cuts), limit_(limit) {}

    // Piece p is text[bounds[p] .. bounds[p + 1]), and sequence s the pieces members[offsets[s] ..
    // offsets[s + 1]) one after another. Returns the chunks that the cache lacks: those inside of the pieces
    // in use, piece after piece, then those across seams, sequence after sequence, each once. Throws
    // std::invalid_argument for bounds that do not fit, and for a piece that is not UTF-8.
    const Chunks& begin(std::string_view text, Lengths bounds, Lengths members, Lengths offsets, int threads);

    // Takes the ids of what `begin` returned: chunk i has ids[bounds[i] .. bounds[i + 1]).
    void learn(Lengths ids, Lengths bounds);

    // Writes cu_seqlens, one more than there are sequences, each longer by `frame` than its text, and returns
    // the last of them. Throws std::invalid_argument where that does not fit int32.
    std::int64_t lengths(std::int64_t frame, std::int32_t* cu_seqlens, int threads);

    // Writes the ids of every sequence between `before` and `after`, where `lengths` has put it, and forgets
    // the sequences.
    void write(Lengths before, Lengths after, const std::int32_t* cu_seqlens, std::int64_t* ids, int threads);

    std::size_t sequences() const { return sequences_.ends.size(); }
    const Counts& counts() const { return counts_; }

  private:
    struct Piece {
        std::size_t head, tail;  // of its first cut and its last; tail 0: it has none
    };
    // A chunk is coded by its number (first those of the cache, then the unknown ones), the inside of piece
    // p, between its first cut and its last, by -1 - p. Item i has codes[ends[i - 1] .. ends[i]).
    struct Coded {
        std::vector<std::int64_t> codes;
        std::vector<std::size_t> ends;
    };
    struct Run : Coded {  // what one thread found
        Chunks fresh;
        Counts counts;
    };
    template <class Item>
    Coded coded(std::size_t n, int threads, Item item);
    void code_chunks(std::string_view text, bool first, std::size_t known, Run& run) const;
    void code_sequence(std::string_view text, Lengths bounds, Lengths members, std::size_t known,
                       Run& run) const;
    Lengths ids_of(std::int64_t code) const;

    bool cuts_;
    std::size_t limit_;
    Counts counts_;
    Chunks known_;                   // the cache
    std::vector<std::int64_t> ids_;  // of known_, end to end
    std::vector<std::size_t> ends_;

    bool learned_ = true;  // of the call that is under way: its chunks have their ids
    Chunks fresh_;
    std::vector<Piece> pieces_;
    Coded insides_, sequences_;
    std::vector<std::int64_t> inside_ids_;
    std::vector<std::size_t> inside_ends_;
};

}  // namespace dupo
