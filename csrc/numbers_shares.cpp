// Shares of one whole that tell each other: half of the pens and the other half.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "numbers_cursor.hpp"
#include "numbers_steps.hpp"

namespace dupo {
namespace {

constexpr std::size_t most_before = 8;    // numbers before "the other half" among which its shares stand
constexpr std::size_t most_summed = 3;    // shares that it completes together
constexpr std::size_t most_parts = 6;     // parts of a total that a text lists one by one
constexpr std::size_t longest_link = 24;  // characters of "half of the remaining"

// Which share of a whole a number is; 0 / 1 for a number that is no share.
struct Share {
    std::int64_t numerator = 0;
    std::int64_t denominator = 1;
};

Share share_of(const Number& number) {
    // Sums of four such shares fit 64 bits.
    if (number.denominator > 100 || number.numerator <= 0 || number.role == Role::money) return {};
    const std::int64_t whole = number.role == Role::percent ? 100 : 1;
    if (number.numerator / whole >= number.denominator) return {};
    return {number.numerator, number.denominator * whole};
}

Share sum_of(const Share& a, const Share& b) {
    return {a.numerator * b.denominator + b.numerator * a.denominator, a.denominator * b.denominator};
}

bool is_rest(Text before) {
    Backward b{before};
    return b.space() && b.word({"other", "remaining"}, true);
}

bool is_said_of_a_whole(Text text, const Number& number, const Number& rest) {
    if ((number.role == Role::percent) != (rest.role == Role::percent)) return false;
    // "1/2 a roll" is a quantity, "1/2 of the people" a share.
    if (number.role == Role::count && !is_letter(text[number.start])) return false;
    if (rest.start - number.end > longest_link) return true;
    // "half of the remaining half" is a share of the other share.
    const std::vector<Text> link = tokens_of(text.substr(number.end, rest.start - number.end));
    return link.empty() || !same(link[0], "of", true) || link.size() > 3;
}

// Which shares before share k are the rest of its whole: the nearest one, else the last few.
std::vector<std::size_t> parts_before(Text text, const std::vector<Number>& numbers, std::size_t k) {
    const Share rest = share_of(numbers[k]);
    const auto completes = [&](const Share& share) {
        const Share sum = sum_of(rest, share);
        return sum.numerator == sum.denominator;
    };
    std::vector<std::size_t> last;
    for (std::size_t j = k; j-- > k - std::min(k, most_before);) {
        const Share share = share_of(numbers[j]);
        if (share.numerator == 0 || !is_said_of_a_whole(text, numbers[j], numbers[k])) continue;
        if (completes(share)) return {j};
        if (last.size() < most_summed) last.push_back(j);
    }
    Share sum;
    for (std::size_t size = 1; size <= last.size(); ++size) {
        sum = sum_of(sum, share_of(numbers[last[size - 1]]));
        if (size > 1 && completes(sum)) {
            last.resize(size);
            return last;
        }
    }
    return {};
}

bool is_counted(const Number& number) {
    return number.role == Role::count && number.denominator == 1 && number.numerator <= 1000000000;
}

// A total and its counted part before a counted rest: "40 questions, 34 right, the other 6".
std::vector<std::size_t> total_before(const std::vector<Number>& numbers, std::size_t k) {
    if (!is_counted(numbers[k])) return {};
    for (std::size_t total = k - std::min(k, most_before); total < k; ++total) {
        if (!is_counted(numbers[total])) continue;
        for (std::size_t part = total + 1; part < k; ++part) {
            if (!is_counted(numbers[part])) continue;
            if (numbers[total].numerator == numbers[part].numerator + numbers[k].numerator) {
                return {total, part};
            }
        }
    }
    return {};
}

// "3 of them"
bool is_part(Text text, const std::vector<Number>& numbers, std::size_t k) {
    if (k >= numbers.size()) return false;
    Forward behind{text.substr(numbers[k].end)};
    return behind.literal(" of ") && behind.word({"them", "which", "whom", "these", "those", "the"}, false);
}

// The counted parts that are listed behind their total: "7 boys: 3 of them sing, 4 of them dance".
std::vector<std::size_t> parts_behind(Text text, const std::vector<Number>& numbers, std::size_t k) {
    if (!is_part(text, numbers, k + 1) || !is_counted(numbers[k])) return {};
    std::int64_t missing = numbers[k].numerator;
    std::size_t num_named = 0;
    std::vector<std::size_t> parts;
    for (std::size_t j = k + 1; missing > 0; ++j) {
        if (parts.size() == most_parts || j == numbers.size() || !is_counted(numbers[j])) return {};
        parts.push_back(j);
        missing -= numbers[j].numerator;
        num_named += is_part(text, numbers, j);
    }
    if (missing != 0 || parts.empty()) return {};
    if (num_named < 2 && !is_rest(text_before(text, numbers[parts.back()].start))) return {};
    return parts;
}

}  // namespace

void skip_by_shares(Text text, std::vector<Number>& numbers) {
    for (std::size_t k = 0; k < numbers.size(); ++k) {
        std::vector<std::size_t> parts = parts_behind(text, numbers, k);
        if (parts.empty() && is_rest(text_before(text, numbers[k].start))) {
            const bool is_share = share_of(numbers[k]).numerator != 0;
            parts = is_share ? parts_before(text, numbers, k) : total_before(numbers, k);
        }
        if (!parts.empty()) parts.push_back(k);
        for (const std::size_t j : parts) {
            Reason& skip = numbers[j].skip;
            if (skip == Reason::none || skip == Reason::reference || skip == Reason::share)
                skip = Reason::partition;
        }
    }
}

}  // namespace dupo
