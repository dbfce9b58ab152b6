#include "batches_assembly.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "parallel.hpp"

namespace dupo {
namespace {

constexpr std::size_t npos = std::string_view::npos;
constexpr std::size_t entry_bytes = 64;  // cost of a cached chunk beside its text and its ids

std::size_t at(Int64Span values, std::size_t i) { return static_cast<std::size_t>(values[i]); }

// Throws unless the bounds start at 0, ascend and end at `size`.
void check_bounds(Int64Span bounds, std::size_t size, const char* message) {
    bool good = bounds.size > 0 && bounds[0] == 0 && at(bounds, bounds.size - 1) == size;
    for (std::size_t i = 1; good && i < bounds.size; ++i) good = bounds[i - 1] <= bounds[i];
    if (!good) throw std::invalid_argument(message);
}

std::string_view piece_of(std::string_view text, Int64Span bounds, std::size_t p) {
    return text.substr(at(bounds, p), at(bounds, p + 1) - at(bounds, p));
}

// Moves `to` past the copy.
void copy(Int64Span from, std::int64_t*& to) { to = std::copy_n(from.data, from.size, to); }

}  // namespace

// Runs item(i, settled, run) for i in 0 .. n in threads, and joins what the threads wrote. Chunks below
// `settled` have their final numbers before the threads start. A thread numbers the other chunks by itself,
// from `settled` on; the join gives these chunks their final numbers, in the order of the items.
template <class Item>
Assembler::Coded Assembler::code_all(std::size_t n, int threads, Item item) {
    const std::size_t settled = cache_.size() + unknown_.size();
    std::vector<Run> runs(runs_for(n, threads));
    parallel(n, runs.size(), [&](std::size_t r, std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            item(i, settled, runs[r]);
            runs[r].ends.push_back(runs[r].codes.size());
        }
    });
    Coded all;
    all.ends.reserve(n);
    for (Run& run : runs) {
        std::vector<std::int64_t> final_codes;  // of the chunks that are unknown to this run
        for (std::size_t i = 0; i < run.unknown.size(); ++i) {
            const Chunks::Key key = run.unknown.at(i);
            const std::int64_t index = unknown_.find(key);
            final_codes.push_back((index == Chunks::none ? unknown_.add(key) : index) +
                                  static_cast<std::int64_t>(cache_.size()));
        }
        const std::size_t start = all.codes.size();
        for (const std::int64_t code : run.codes) {
            const bool is_final = code < static_cast<std::int64_t>(settled);
            all.codes.push_back(is_final ? code : final_codes[static_cast<std::size_t>(code) - settled]);
        }
        for (const std::size_t end : run.ends) all.ends.push_back(start + end);
        counts_.seams += run.counts.seams;
        counts_.lookups += run.counts.lookups;
        run = Run();
    }
    return all;
}

void Assembler::code_chunks(std::string_view text, bool opens_text, std::size_t settled, Run& run) const {
    for (std::size_t start = 0, end = 0; end != npos; start = end, opens_text = false) {
        end = cuts_ ? next_cut(text, start + 1) : npos;
        const Chunks::Key key = Chunks::key(text.substr(start, end == npos ? npos : end - start), opens_text);
        // First the tables that all threads share and nobody changes now, then the table of this thread.
        std::int64_t code = cache_.find(key);
        if (code == Chunks::none) {
            code = unknown_.find(key);
            if (code != Chunks::none) {
                code += static_cast<std::int64_t>(cache_.size());
            } else {
                code = run.unknown.find(key);
                if (code == Chunks::none) code = run.unknown.add(key);
                code += static_cast<std::int64_t>(settled);
            }
        }
        run.codes.push_back(code);
        ++run.counts.lookups;
    }
}

void Assembler::code_sequence(std::string_view text, Int64Span bounds, Int64Span members, std::size_t settled,
                              Run& run) const {
    // A seam of one text is read where the text lies; only a seam of several texts is copied.
    std::string joined;
    std::string_view seam = "";  // not null, so that its bytes may be compared
    bool opens_text = true;
    int texts = 0;  // of the seam; 2: two or more
    const auto join = [&](std::string_view next) {
        if (next.empty()) return;
        if (texts == 0) {
            seam = next;
        } else {
            if (texts == 1) joined.assign(seam);
            seam = joined.append(next);
        }
        texts = std::min(texts + 1, 2);
    };
    const auto close = [&] {
        run.counts.seams += cuts_ && texts == 2;
        code_chunks(seam, opens_text, settled, run);
    };
    for (std::size_t m = 0; m < members.size; ++m) {
        const std::size_t p = at(members, m);
        const std::string_view piece = piece_of(text, bounds, p);
        const Piece cut = pieces_[p];
        if (cut.last == 0) {
            join(piece);
            continue;
        }
        join(piece.substr(0, cut.first));
        close();
        if (cut.first < cut.last) run.codes.push_back(-1 - members[m]);
        opens_text = false;
        texts = 0;
        join(piece.substr(cut.last));
    }
    close();
}

const Chunks& Assembler::begin(std::string_view text, Int64Span bounds, Int64Span members, Int64Span offsets,
                               int threads) {
    check_bounds(bounds, text.size(), "bounds: expected 0, ascending, up to the size of the text");
    check_bounds(offsets, members.size, "offsets: expected 0, ascending, up to the number of members");
    const std::size_t n = bounds.size - 1;
    std::vector<char> used(n, 0);
    for (std::size_t m = 0; m < members.size; ++m) {
        if (at(members, m) >= n) {  // as std::size_t, a negative member is huge
            throw std::invalid_argument("members: expected numbers of pieces");
        }
        used[at(members, m)] = 1;
    }
    has_ids_ = false;
    unknown_ = Chunks();
    if (cache_.bytes() + ids_.size() * sizeof(std::int64_t) + cache_.size() * entry_bytes > limit_) {
        cache_ = Chunks();
        ids_.clear();
        ends_.clear();
    }
    pieces_.assign(n, {0, 0});
    insides_ = code_all(n, threads, [&](std::size_t p, std::size_t settled, Run& run) {
        const std::string_view piece = piece_of(text, bounds, p);
        check_utf8(piece);
        const std::size_t first = cuts_ && used[p] ? next_cut(piece, 0) : npos;
        if (first == npos) return;
        std::size_t last = first;
        for (std::size_t cut = first; cut != npos; cut = next_cut(piece, cut + 1)) last = cut;
        pieces_[p] = {first, last};
        if (first < last) code_chunks(piece.substr(first, last - first), false, settled, run);
    });
    const std::size_t sequences = offsets.size - 1;
    sequences_ = code_all(sequences, threads, [&](std::size_t s, std::size_t settled, Run& run) {
        const std::size_t start = at(offsets, s);
        code_sequence(text, bounds, {members.data + start, at(offsets, s + 1) - start}, settled, run);
    });
    counts_.sequences += static_cast<std::int64_t>(sequences);
    counts_.uncut += cuts_ ? 0 : static_cast<std::int64_t>(sequences);
    return unknown_;
}

void Assembler::add_ids(Int64Span ids, Int64Span bounds) {
    if (has_ids_) throw std::invalid_argument("finish: expected after begin, once");
    check_bounds(bounds, ids.size, "bounds: expected 0, ascending, up to the number of ids");
    if (bounds.size != unknown_.size() + 1)
        throw std::invalid_argument("bounds: expected one for every chunk");
    const std::size_t start = ids_.size();
    ids_.insert(ids_.end(), ids.data, ids.data + ids.size);
    for (std::size_t i = 0; i < unknown_.size(); ++i) {
        cache_.add(unknown_.at(i));
        ends_.push_back(start + at(bounds, i + 1));
    }
    counts_.tokenized += static_cast<std::int64_t>(unknown_.size());
    unknown_ = Chunks();
    has_ids_ = true;
}

Int64Span Assembler::ids_of(std::int64_t code) const {
    const std::size_t i = static_cast<std::size_t>(code < 0 ? -1 - code : code);
    const std::vector<std::size_t>& ends = code < 0 ? inside_ends_ : ends_;
    const std::size_t start = i == 0 ? 0 : ends[i - 1];
    return {(code < 0 ? inside_ids_ : ids_).data() + start, ends[i] - start};
}

std::int64_t Assembler::measure(std::int64_t frame, std::int32_t* cu_seqlens, int threads) {
    if (!has_ids_) throw std::invalid_argument("measure: expected after add_ids");
    const auto for_each_code = [](const Coded& coded, std::size_t i, auto&& use) {
        for (std::size_t c = i == 0 ? 0 : coded.ends[i - 1]; c < coded.ends[i]; ++c) use(coded.codes[c]);
    };
    // The ids of an inside are laid end to end once, so that every sequence takes them with one copy.
    const std::size_t n = insides_.ends.size();
    inside_ends_.assign(n, 0);
    std::size_t total = 0;
    for (std::size_t p = 0; p < n; ++p) {
        for_each_code(insides_, p, [&](std::int64_t code) { total += ids_of(code).size; });
        inside_ends_[p] = total;
    }
    inside_ids_.resize(total);
    parallel(n, runs_for(n, threads), [&](std::size_t, std::size_t begin, std::size_t end) {
        std::int64_t* to = inside_ids_.data() + (begin == 0 ? 0 : inside_ends_[begin - 1]);
        for (std::size_t p = begin; p < end; ++p) {
            for_each_code(insides_, p, [&](std::int64_t code) { copy(ids_of(code), to); });
        }
    });
    constexpr std::int64_t limit = std::numeric_limits<std::int32_t>::max();
    std::int64_t tokens = 0;
    cu_seqlens[0] = 0;
    for (std::size_t s = 0; s < sequences_.ends.size(); ++s) {
        tokens += frame;
        for_each_code(sequences_, s,
                      [&](std::int64_t code) { tokens += static_cast<std::int64_t>(ids_of(code).size); });
        if (tokens > limit) throw std::invalid_argument("sequences: expected tokens whose sum fits int32");
        cu_seqlens[s + 1] = static_cast<std::int32_t>(tokens);
    }
    return tokens;
}

void Assembler::write(Int64Span before, Int64Span after, const std::int32_t* cu_seqlens, std::int64_t* ids,
                      int threads) {
    const std::size_t n = sequences_.ends.size();
    parallel(n, runs_for(n, threads), [&](std::size_t, std::size_t begin, std::size_t end) {
        std::int64_t* to = ids + cu_seqlens[begin];
        std::size_t c = begin == 0 ? 0 : sequences_.ends[begin - 1];
        for (std::size_t s = begin; s < end; ++s) {
            copy(before, to);
            for (; c < sequences_.ends[s]; ++c) copy(ids_of(sequences_.codes[c]), to);
            copy(after, to);
        }
    });
    pieces_ = {};
    insides_ = sequences_ = {};
    inside_ids_ = {};
    inside_ends_ = {};
}

}  // namespace dupo
