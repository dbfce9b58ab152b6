#include "assembly.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "parallel.hpp"

namespace dupo {
namespace {

constexpr std::size_t npos = std::string_view::npos;
constexpr std::size_t entry_bytes = 64;  // of a chunk in the cache, beside its text and its ids

std::size_t at(Lengths values, std::size_t i) { return static_cast<std::size_t>(values[i]); }

// n + 1 bounds of n runs that cover `size` items.
void check_bounds(Lengths bounds, std::size_t size, const char* message) {
    bool good = bounds.size > 0 && bounds[0] == 0 && at(bounds, bounds.size - 1) == size;
    for (std::size_t i = 1; good && i < bounds.size; ++i) good = bounds[i - 1] <= bounds[i];
    if (!good) throw std::invalid_argument(message);
}

std::string_view piece_of(std::string_view text, Lengths bounds, std::size_t p) {
    return text.substr(at(bounds, p), at(bounds, p + 1) - at(bounds, p));
}

void copy(Lengths from, std::int64_t*& to) { to = std::copy_n(from.data, from.size, to); }

}  // namespace

// Runs item(i, known, run) for i in 0 .. n, where `known` chunks have a number that is final.
template <class Item>
Assembler::Coded Assembler::coded(std::size_t n, int threads, Item item) {
    const std::size_t known = known_.size() + fresh_.size();
    std::vector<Run> runs(runs_for(n, threads));
    parallel(n, runs.size(), [&](std::size_t r, std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            item(i, known, runs[r]);
            runs[r].ends.push_back(runs[r].codes.size());
        }
    });
    Coded all;
    all.ends.reserve(n);
    for (Run& run : runs) {
        std::vector<std::int64_t> number;  // of a chunk that this run found unknown, among all
        for (std::size_t i = 0; i < run.fresh.size(); ++i) {
            const Chunks::Key key = run.fresh.at(i);
            const std::int64_t found = fresh_.find(key);
            number.push_back((found == Chunks::none ? fresh_.add(key) : found) +
                             static_cast<std::int64_t>(known_.size()));
        }
        const std::size_t start = all.codes.size();
        for (const std::int64_t code : run.codes) {
            const bool patched = code >= static_cast<std::int64_t>(known);
            all.codes.push_back(patched ? number[static_cast<std::size_t>(code) - known] : code);
        }
        for (const std::size_t end : run.ends) all.ends.push_back(start + end);
        counts_.windows += run.counts.windows;
        counts_.lookups += run.counts.lookups;
        run = Run();
    }
    return all;
}

void Assembler::code_chunks(std::string_view text, bool first, std::size_t known, Run& run) const {
    for (std::size_t start = 0, end = 0; end != npos; start = end, first = false) {
        end = cuts_ ? next_cut(text, start + 1) : npos;
        const Chunks::Key key = Chunks::key(text.substr(start, end == npos ? npos : end - start), first);
        std::int64_t code = known_.find(key);
        if (code == Chunks::none) {
            code = fresh_.find(key);
            if (code != Chunks::none) {
                code += static_cast<std::int64_t>(known_.size());
            } else {
                code = run.fresh.find(key);
                if (code == Chunks::none) code = run.fresh.add(key);
                code += static_cast<std::int64_t>(known);
            }
        }
        run.codes.push_back(code);
        ++run.counts.lookups;
    }
}

void Assembler::code_sequence(std::string_view text, Lengths bounds, Lengths members, std::size_t known,
                              Run& run) const {
    std::string joined;
    std::string_view window = "";  // not null, so that its bytes may be compared
    bool first = true;
    int parts = 0;
    const auto join = [&](std::string_view part) {
        if (part.empty()) return;
        if (parts == 0) {
            window = part;
        } else {
            if (parts == 1) joined.assign(window);
            window = joined.append(part);
        }
        parts = std::min(parts + 1, 2);
    };
    const auto close = [&] {
        run.counts.windows += cuts_ && parts == 2;
        code_chunks(window, first, known, run);
    };
    for (std::size_t m = 0; m < members.size; ++m) {
        const std::size_t p = at(members, m);
        const std::string_view piece = piece_of(text, bounds, p);
        const Piece cut = pieces_[p];
        if (cut.tail == 0) {
            join(piece);
            continue;
        }
        join(piece.substr(0, cut.head));
        close();
        if (cut.head < cut.tail) run.codes.push_back(-1 - members[m]);
        first = false;
        parts = 0;
        join(piece.substr(cut.tail));
    }
    close();
}

const Chunks& Assembler::begin(std::string_view text, Lengths bounds, Lengths members, Lengths offsets,
                               int threads) {
    check_bounds(bounds, text.size(), "bounds: expected 0, ascending, up to the size of the text");
    check_bounds(offsets, members.size, "offsets: expected 0, ascending, up to the number of members");
    const std::size_t n = bounds.size - 1;
    std::vector<char> used(n, 0);
    for (std::size_t m = 0; m < members.size; ++m) {
        if (at(members, m) >= n) {  // a negative one is huge
            throw std::invalid_argument("members: expected numbers of pieces");
        }
        used[at(members, m)] = 1;
    }
    learned_ = false;
    fresh_ = Chunks();
    if (known_.bytes() + ids_.size() * sizeof(std::int64_t) + known_.size() * entry_bytes > limit_) {
        known_ = Chunks();
        ids_.clear();
        ends_.clear();
    }
    pieces_.assign(n, {0, 0});
    insides_ = coded(n, threads, [&](std::size_t p, std::size_t known, Run& run) {
        const std::string_view piece = piece_of(text, bounds, p);
        check_utf8(piece);
        const std::size_t head = cuts_ && used[p] ? next_cut(piece, 0) : npos;
        if (head == npos) return;
        std::size_t tail = head;
        for (std::size_t cut = head; cut != npos; cut = next_cut(piece, cut + 1)) tail = cut;
        pieces_[p] = {head, tail};
        if (head < tail) code_chunks(piece.substr(head, tail - head), false, known, run);
    });
    const std::size_t sequences = offsets.size - 1;
    sequences_ = coded(sequences, threads, [&](std::size_t s, std::size_t known, Run& run) {
        const std::size_t start = at(offsets, s);
        code_sequence(text, bounds, {members.data + start, at(offsets, s + 1) - start}, known, run);
    });
    counts_.sequences += static_cast<std::int64_t>(sequences);
    counts_.whole += cuts_ ? 0 : static_cast<std::int64_t>(sequences);
    return fresh_;
}

void Assembler::learn(Lengths ids, Lengths bounds) {
    if (learned_) throw std::invalid_argument("learn: expected after begin, once");
    check_bounds(bounds, ids.size, "bounds: expected 0, ascending, up to the number of ids");
    if (bounds.size != fresh_.size() + 1) throw std::invalid_argument("bounds: expected one for every chunk");
    const std::size_t start = ids_.size();
    ids_.insert(ids_.end(), ids.data, ids.data + ids.size);
    for (std::size_t i = 0; i < fresh_.size(); ++i) {
        known_.add(fresh_.at(i));
        ends_.push_back(start + at(bounds, i + 1));
    }
    counts_.learned += static_cast<std::int64_t>(fresh_.size());
    fresh_ = Chunks();
    learned_ = true;
}

Lengths Assembler::ids_of(std::int64_t code) const {
    const std::size_t i = static_cast<std::size_t>(code < 0 ? -1 - code : code);
    const std::vector<std::size_t>& ends = code < 0 ? inside_ends_ : ends_;
    const std::size_t start = i == 0 ? 0 : ends[i - 1];
    return {(code < 0 ? inside_ids_ : ids_).data() + start, ends[i] - start};
}

std::int64_t Assembler::lengths(std::int64_t frame, std::int32_t* cu_seqlens, int threads) {
    if (!learned_) throw std::invalid_argument("lengths: expected after learn");
    const auto each = [](const Coded& coded, std::size_t i, auto&& use) {
        for (std::size_t c = i == 0 ? 0 : coded.ends[i - 1]; c < coded.ends[i]; ++c) use(coded.codes[c]);
    };
    // The inside of a piece stands in one run, so that a sequence takes it with one copy.
    const std::size_t n = insides_.ends.size();
    inside_ends_.assign(n, 0);
    std::size_t total = 0;
    for (std::size_t p = 0; p < n; ++p) {
        each(insides_, p, [&](std::int64_t code) { total += ids_of(code).size; });
        inside_ends_[p] = total;
    }
    inside_ids_.resize(total);
    parallel(n, runs_for(n, threads), [&](std::size_t, std::size_t begin, std::size_t end) {
        std::int64_t* to = inside_ids_.data() + (begin == 0 ? 0 : inside_ends_[begin - 1]);
        for (std::size_t p = begin; p < end; ++p) {
            each(insides_, p, [&](std::int64_t code) { copy(ids_of(code), to); });
        }
    });
    constexpr std::int64_t limit = std::numeric_limits<std::int32_t>::max();
    std::int64_t tokens = 0;
    cu_seqlens[0] = 0;
    for (std::size_t s = 0; s < sequences_.ends.size(); ++s) {
        tokens += frame;
        each(sequences_, s,
             [&](std::int64_t code) { tokens += static_cast<std::int64_t>(ids_of(code).size); });
        if (tokens > limit) throw std::invalid_argument("sequences: expected tokens whose sum fits int32");
        cu_seqlens[s + 1] = static_cast<std::int32_t>(tokens);
    }
    return tokens;
}

void Assembler::write(Lengths before, Lengths after, const std::int32_t* cu_seqlens, std::int64_t* ids,
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
