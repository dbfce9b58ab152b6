#include "batches_packing.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <set>
#include <stdexcept>
#include <utility>

#include "parallel.hpp"

namespace dupo {
namespace {

// Indices of the sequences, longest first; equal lengths keep their order.
std::vector<std::int64_t> longest_first(Int64Span lengths) {
    std::vector<std::int64_t> order(lengths.size);
    std::iota(order.begin(), order.end(), std::int64_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
        return lengths[static_cast<std::size_t>(a)] > lengths[static_cast<std::size_t>(b)];
    });
    return order;
}

}  // namespace

std::vector<std::int64_t> pack(Int64Span lengths, std::int64_t token_budget, std::int64_t* indices) {
    std::vector<std::int64_t> bin_of(lengths.size);
    std::set<std::pair<std::int64_t, std::int64_t>> open;  // (room, bin): lower_bound finds the best fit
    std::int64_t bins = 0;
    for (const std::int64_t index : longest_first(lengths)) {
        const std::int64_t length = lengths[static_cast<std::size_t>(index)];
        if (length < 1 || length > token_budget) {
            throw std::invalid_argument("lengths: expected values in [1, token_budget]");
        }
        const auto best = open.lower_bound({length, 0});
        std::pair<std::int64_t, std::int64_t> bin;
        if (best == open.end()) {
            bin = {token_budget - length, bins++};
        } else {
            bin = {best->first - length, best->second};
            open.erase(best);
        }
        bin_of[static_cast<std::size_t>(index)] = bin.second;
        if (bin.first > 0) open.insert(bin);
    }

    // An ascending walk over the sequences renumbers the bins: the result is ordered by first index.
    std::vector<std::int64_t> rank(static_cast<std::size_t>(bins), -1);
    std::vector<std::int64_t> counts;
    for (std::int64_t& bin : bin_of) {
        std::int64_t& place = rank[static_cast<std::size_t>(bin)];
        if (place < 0) {
            place = static_cast<std::int64_t>(counts.size());
            counts.push_back(0);
        }
        ++counts[static_cast<std::size_t>(place)];
        bin = place;
    }

    std::vector<std::int64_t> offsets(counts.size() + 1, 0);
    std::partial_sum(counts.begin(), counts.end(), offsets.begin() + 1);
    std::vector<std::int64_t> next(offsets.begin(), offsets.end() - 1);
    for (std::size_t i = 0; i < lengths.size; ++i) {
        indices[next[static_cast<std::size_t>(bin_of[i])]++] = static_cast<std::int64_t>(i);
    }
    return offsets;
}

void check(Sequences sequences, std::size_t ids) {
    const std::int32_t* const bounds = sequences.bounds;
    bool good = bounds[0] == 0 && static_cast<std::size_t>(bounds[sequences.size]) == ids;
    for (std::size_t i = 0; good && i < sequences.size; ++i) good = bounds[i] <= bounds[i + 1];
    if (!good) throw std::invalid_argument("cu_seqlens: expected 0, ascending, up to the number of ids");
}

Size size_of(Pairs pairs) {
    if (pairs.prompts.size != pairs.completions.size) {
        throw std::invalid_argument("completions: expected as many as there are prompts");
    }
    Size size{0, 0};
    for (std::size_t i = 0; i < pairs.prompts.size; ++i) {
        size.tokens += pairs.length(i);
        size.longest = std::max(size.longest, pairs.length(i));
    }
    if (size.tokens > std::numeric_limits<std::int32_t>::max()) {
        throw std::invalid_argument("cu_seqlens: expected a sum that fits int32");
    }
    return size;
}

namespace {

// Writes the ids of one sequence, and which tokens were sampled.
void join(Pairs pairs, std::size_t i, std::int64_t* ids, bool* loss_mask) {
    const auto [prompts, completions] = pairs;
    ids = std::copy_n(prompts.ids + prompts.bounds[i], prompts.length(i), ids);
    std::copy_n(completions.ids + completions.bounds[i], completions.length(i), ids);
    std::fill_n(std::fill_n(loss_mask, prompts.length(i), false), completions.length(i), true);
}

}  // namespace

void packed(Pairs pairs, PackedOut out, int threads) {
    const auto [prompts, completions] = pairs;
    const std::size_t n = prompts.size;
    const auto start = [&](std::size_t i) { return prompts.bounds[i] + completions.bounds[i]; };
    out.cu_seqlens[n] = start(n);
    parallel(n, runs_for(n, threads), [&](std::size_t, std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            const std::int32_t at = start(i);
            out.cu_seqlens[i] = at;
            join(pairs, i, out.input_ids + at, out.loss_mask + at);
            std::iota(out.position_ids + at, out.position_ids + start(i + 1), std::int64_t{0});
        }
    });
}

void padded(Pairs pairs, std::int64_t width, std::int64_t pad_id, bool left, PaddedOut out, int threads) {
    const std::size_t n = pairs.prompts.size;
    std::fill_n(out.input_ids, static_cast<std::int64_t>(n) * width, pad_id);
    parallel(n, runs_for(n, threads), [&](std::size_t, std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            const std::int64_t row = static_cast<std::int64_t>(i) * width, length = pairs.length(i);
            const std::int64_t at = row + (left ? width - length : 0);
            std::fill_n(out.attention_mask + row, width, 0);
            std::fill_n(out.attention_mask + at, length, 1);
            std::fill_n(out.loss_mask + row, width, false);
            std::fill_n(out.position_ids + row, width, left ? 0 : std::max<std::int64_t>(length - 1, 0));
            std::iota(out.position_ids + at, out.position_ids + at + length, std::int64_t{0});
            join(pairs, i, out.input_ids + at, out.loss_mask + at);
        }
    });
}

}  // namespace dupo
