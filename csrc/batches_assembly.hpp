// Token ids of many texts that share pieces: every chunk is tokenised once and copied from then on.
//
// Pure C++17. The twin in dupo/text/assembly.py defines every result and explains piece, cut, chunk, inside,
// seam.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "batches_chunks.hpp"
#include "int64_span.hpp"

namespace dupo {

// The fields of dupo.text.Counts.
struct Counts {
    std::int64_t sequences = 0;
    std::int64_t uncut = 0;
    std::int64_t seams = 0;
    std::int64_t lookups = 0;
    std::int64_t tokenized = 0;
};

// One call after another: begin, add_ids, measure, write. Every result is the same for any number of threads.
class Assembler {
  public:
    // `cuts` false: no text is cut, and every text is one chunk. `begin` empties a cache of more than `limit`
    // bytes.
    Assembler(bool cuts, std::size_t limit) : cuts_(cuts), limit_(limit) {}

    // Piece p is text[bounds[p] .. bounds[p + 1]). Sequence s consists of the pieces members[offsets[s] ..
    // offsets[s + 1]). Returns the chunks that the cache lacks, each once: first the chunks inside the pieces
    // in use, piece after piece, then the chunks of seams, sequence after sequence. Throws
    // std::invalid_argument for bounds that do not fit and for a piece that is not UTF-8.
    const Chunks& begin(std::string_view text, Int64Span bounds, Int64Span members, Int64Span offsets,
                        int threads);

    // Takes the ids of the chunks that `begin` returned: chunk i has ids[bounds[i] .. bounds[i + 1]).
    void add_ids(Int64Span ids, Int64Span bounds);

    // Writes cu_seqlens, one entry more than there are sequences, and returns the last entry. `frame` is the
    // number of ids around every text. Throws std::invalid_argument where the sum does not fit int32.
    std::int64_t measure(std::int64_t frame, std::int32_t* cu_seqlens, int threads);

    // Writes the ids of every sequence between `before` and `after`, at the places that `measure` found, and
    // forgets the sequences.
    void write(Int64Span before, Int64Span after, const std::int32_t* cu_seqlens, std::int64_t* ids,
               int threads);

    std::size_t sequences() const { return sequences_.ends.size(); }
    const Counts& counts() const { return counts_; }

  private:
    // The first and the last cut of a piece; last 0: no cut.
    struct Piece {
        std::size_t first, last;
    };
    // Item i has codes[ends[i - 1] .. ends[i]). A code >= 0 is the number of a chunk: first the chunks of the
    // cache, then the unknown chunks. The code -1 - p is the inside of piece p.
    struct Coded {
        std::vector<std::int64_t> codes;
        std::vector<std::size_t> ends;
    };
    // What one thread writes.
    struct Run : Coded {
        Chunks unknown;
        Counts counts;
    };
    template <class Item>
    Coded code_all(std::size_t n, int threads, Item item);
    void code_chunks(std::string_view text, bool opens_text, std::size_t settled, Run& run) const;
    void code_sequence(std::string_view text, Int64Span bounds, Int64Span members, std::size_t settled,
                       Run& run) const;
    Int64Span ids_of(std::int64_t code) const;

    bool cuts_;
    std::size_t limit_;
    Counts counts_;
    Chunks cache_;
    std::vector<std::int64_t> ids_;  // of the chunks of cache_, end to end
    std::vector<std::size_t> ends_;

    // The call under way.
    bool has_ids_ = true;  // no chunk of the call waits for its ids
    Chunks unknown_;
    std::vector<Piece> pieces_;
    Coded insides_, sequences_;
    std::vector<std::int64_t> inside_ids_;
    std::vector<std::size_t> inside_ends_;
};

}  // namespace dupo
