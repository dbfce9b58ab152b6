#include "packing.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <set>
#include <stdexcept>
#include <utility>

namespace dupo {
namespace {

// Longest first; equal lengths in the order in which they came.
std::vector<std::int64_t> longest_first(Lengths lengths) {
    std::vector<std::int64_t> order(lengths.size);
    std::iota(order.begin(), order.end(), std::int64_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
        return lengths[static_cast<std::size_t>(a)] > lengths[static_cast<std::size_t>(b)];
    });
    return order;
}

}  // namespace

std::int64_t total_tokens(Lengths lengths) {
    constexpr std::int64_t limit = std::numeric_limits<std::int32_t>::max();
    std::int64_t total = 0;
    for (std::size_t i = 0; i < lengths.size; ++i) {
        if (lengths[i] < 0 || lengths[i] > limit - total) {
            throw std::invalid_argument("lengths: expected values >= 0 with a sum that fits int32");
        }
        total += lengths[i];
    }
    return total;
}

std::vector<std::int64_t> pack(Lengths lengths, std::int64_t token_budget, std::int64_t* indices) {
    std::vector<std::int64_t> bin_of(lengths.size);
    std::set<std::pair<std::int64_t, std::int64_t>> open;  // (room left, bin)
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

    // Bins are renumbered in the order in which an ascending walk over the sequences meets them.
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

void layout(Lengths lengths, std::int64_t* position_ids, std::int32_t* cu_seqlens, std::int32_t* owner) {
    std::int64_t end = 0;
    cu_seqlens[0] = 0;
    for (std::size_t i = 0; i < lengths.size; ++i) {
        std::iota(position_ids + end, position_ids + end + lengths[i], std::int64_t{0});
        std::fill_n(owner + end, lengths[i], static_cast<std::int32_t>(i));
        end += lengths[i];
        cu_seqlens[i + 1] = static_cast<std::int32_t>(end);
    }
}

void loss_rows(Lengths prompts, Lengths completions, std::int64_t* rows, std::int32_t* cu_seqlens) {
    std::int64_t start = 0;
    std::int64_t sampled = 0;
    cu_seqlens[0] = 0;
    for (std::size_t i = 0; i < prompts.size; ++i) {
        std::iota(rows + sampled, rows + sampled + completions[i], start + prompts[i] - 1);
        start += prompts[i] + completions[i];
        sampled += completions[i];
        cu_seqlens[i + 1] = static_cast<std::int32_t>(sampled);
    }
}

}  // namespace dupo
