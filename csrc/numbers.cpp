#include "numbers.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "numbers_steps.hpp"

namespace dupo {
namespace {

// One step of SplitMix64 (Steele et al., 2014).
std::uint64_t split_mix(std::uint64_t x) {
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

// The first letter of all names: a letter that the text does not use as a variable. A letter that stands
// alone is a variable, and so are capitals side by side in a formula: $PV = nRT$.
char32_t first_letter(Text text) {
    constexpr Text choices = U"VWZQ";
    const std::vector<std::size_t> dollars = formula_dollars(text);
    std::u32string used;
    std::size_t k = 0;  // dollars before the place
    for (std::size_t at = 0; at < text.size();) {
        if (k < dollars.size() && dollars[k] == at) ++k;
        std::size_t end = at;
        while (end < text.size() && is_ascii_letter(text[end])) ++end;
        const Text run = text.substr(at, end - at);
        if (!run.empty() && (at == 0 || text[at - 1] != U'\\')) {
            const bool capitals = k % 2 == 1 && run.size() <= 4 &&
                                  std::all_of(run.begin(), run.end(), [](char32_t c) { return c < U'a'; });
            if (run.size() == 1 || capitals) {
                for (const char32_t c : run) used.push_back(lower(c));
            }
        }
        at = std::max(at + 1, end);
    }
    for (const char32_t letter : choices) {
        if (used.find(lower(letter)) == std::u32string::npos) return letter;
    }
    return choices[0];
}

// The text with ASCII digits for １２ and １．５, character by character.
std::u32string with_plain_digits(Text text) {
    std::u32string plain(text);
    for (char32_t& c : plain) {
        if (is_full_width(c)) c -= 0xfee0;
    }
    for (std::size_t k = 1; k + 1 < plain.size(); ++k) {
        if (plain[k] == U'．' && is_digit(plain[k - 1]) && is_digit(plain[k + 1])) plain[k] = U'.';
    }
    return plain;
}

// Draws a name that `taken`, in lower case, does not have. Every 20 tries ask for one letter more.
std::u32string unused_name(const std::u32string& taken, char32_t first, std::uint64_t state) {
    constexpr Text letters = U"bcdfghjkmnpqrstvwxz";
    for (std::size_t tries = 0;; ++tries) {
        state = split_mix(state);
        std::u32string name(1, lower(first));
        std::uint64_t bits = state;
        for (std::size_t k = 0; k < 2 + tries / 20; ++k, bits /= letters.size()) {
            name.push_back(letters[bits % letters.size()]);
        }
        if (taken.find(name) != std::u32string::npos) continue;
        const Text ending = Text(name).substr(1);
        // VHS, VCR, VPN and QTR are words.
        if (ending == U"hs" || ending == U"cr" || ending == U"pn" || ending == U"ww" || ending == U"zz" ||
            ending == U"tr") {
            continue;
        }
        name[0] = first;
        return name;
    }
}

Hidden hide(Text text, const std::vector<Number>& numbers, Text name, std::vector<std::size_t> group) {
    Hidden hidden{{}, {}, std::move(group)};
    append_utf8(hidden.variable, name);
    std::size_t at = 0;
    for (const std::size_t index : hidden.numbers) {
        const Number& number = numbers[index];
        append_utf8(hidden.known, text.substr(at, number.start - at));
        // A name touches no command and no letter.
        if (number.start > 0 && is_wordlike(text[number.start - 1])) hidden.known += ' ';
        hidden.known += hidden.variable;
        if (number.role == Role::multiple && needs_times(text, number)) {
            hidden.known += " times";
        } else if (number.end < text.size() && is_wordlike(text[number.end])) {
            hidden.known += ' ';
        }
        at = number.end;
    }
    append_utf8(hidden.known, text.substr(at));
    return hidden;
}

}  // namespace

std::vector<Number> find_numbers(Text text) {
    std::u32string plain;
    if (std::any_of(text.begin(), text.end(), [](char32_t c) { return c == U'．' || is_full_width(c); })) {
        plain = with_plain_digits(text);
        text = plain;
    }
    const std::vector<Area> areas = find_areas(text);
    const std::vector<std::size_t> dollars = formula_dollars(text);
    std::vector<Number> numbers;
    find_digits(text, areas, dollars, numbers);
    add_east_asian(text, areas, dollars, numbers);
    find_words(text, areas, dollars, numbers);
    std::sort(numbers.begin(), numbers.end(),
              [](const Number& a, const Number& b) { return a.start < b.start; });

    skip_by_phrases(text, numbers);
    skip_by_lists(text, numbers);
    skip_by_products(text, numbers);
    skip_by_members(text, numbers);
    skip_by_shares(text, numbers);
    skip_by_rounding(text, numbers);
    skip_by_scenes(text, numbers);

    std::set<std::pair<std::int64_t, std::int64_t>> years;
    for (const Number& number : numbers) {
        if (number.skip == Reason::date) years.insert({number.numerator, number.denominator});
    }
    std::vector<Number*> joined;
    for (Number& number : numbers) {
        if (number.skip == Reason::none && years.count({number.numerator, number.denominator}) > 0 &&
            is_year(text.substr(number.start, number.end - number.start))) {
            number.skip = Reason::date;
        } else if (number.skip == Reason::none || number.skip == Reason::reference ||
                   is_readable(number.skip)) {
            joined.push_back(&number);
        }
    }
    std::stable_sort(joined.begin(), joined.end(), [](const Number* a, const Number* b) {
        return std::tie(a->numerator, a->denominator, a->role) <
               std::tie(b->numerator, b->denominator, b->role);
    });
    join_same_quantities(text, joined, dollars);
    skip_by_doubts(text, numbers);
    return numbers;
}

std::vector<Hidden> hide_numbers(Text text, const std::vector<Number>& numbers, std::uint64_t seed,
                                 std::size_t most) {
    std::map<std::int64_t, std::size_t> places;
    std::vector<std::vector<std::size_t>> groups;
    for (std::size_t k = 0; k < numbers.size(); ++k) {
        if (numbers[k].skip != Reason::none) continue;
        const auto place = places.emplace(numbers[k].quantity, groups.size());
        if (place.second) groups.emplace_back();
        groups[place.first->second].push_back(k);
    }
    // The seed draws which groups are hidden; the groups stay in the order of first appearance.
    std::vector<std::pair<std::uint64_t, std::size_t>> drawn;
    for (std::size_t k = 0; k < groups.size(); ++k)
        drawn.emplace_back(split_mix(seed ^ split_mix(~std::uint64_t{k})), k);
    if (drawn.size() > most) {
        std::sort(drawn.begin(), drawn.end());
        drawn.resize(most);
        std::sort(drawn.begin(), drawn.end(),
                  [](const auto& a, const auto& b) { return a.second < b.second; });
    }
    std::u32string taken(text);
    for (char32_t& c : taken) c = lower(c);
    std::vector<Hidden> hidden;
    const char32_t first = first_letter(text);
    for (const auto& [draw, k] : drawn) {
        const std::u32string name = unused_name(taken, first, split_mix(seed ^ split_mix(k)));
        taken.push_back(U'\n');
        taken.push_back(lower(first));
        taken += name.substr(1);
        hidden.push_back(hide(text, numbers, name, std::move(groups[k])));
    }
    return hidden;
}

}  // namespace dupo
