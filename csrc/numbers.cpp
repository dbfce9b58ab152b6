#include "numbers.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "numbers_steps.hpp"

namespace dupo {
namespace {

using Key = std::tuple<std::int64_t, std::int64_t, Role>;

Key key_of(const Number& number) { return {number.numerator, number.denominator, number.role}; }

// One step of SplitMix64 (Steele et al., 2014).
std::uint64_t split_mix(std::uint64_t x) {
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

// Draws a name that `taken`, in lower case, does not have. Every 20 tries ask for one letter more.
std::u32string unused_name(const std::u32string& taken, std::uint64_t state) {
    constexpr Text letters = U"bcdfghjkmnpqrstvwxz";
    for (std::size_t tries = 0;; ++tries) {
        state = split_mix(state);
        std::u32string name = U"v";
        std::uint64_t bits = state;
        for (std::size_t k = 0; k < 2 + tries / 20; ++k, bits /= letters.size()) {
            name.push_back(letters[bits % letters.size()]);
        }
        if (taken.find(name) != std::u32string::npos) continue;
        if (name == U"vhs" || name == U"vcr" || name == U"vpn") continue;  // these are words
        name[0] = U'V';
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
        hidden.known += hidden.variable;
        if (number.role == Role::multiple && needs_times(text, number)) {
            hidden.known += " times";
        } else if (number.end < text.size() && is_letter(text[number.end])) {
            hidden.known += " ";  // the 2 of 2x: a name and a letter would read as one name
        }
        at = number.end;
    }
    append_utf8(hidden.known, text.substr(at));
    return hidden;
}

}  // namespace

std::vector<Number> find_numbers(Text text) {
    const std::vector<Area> areas = find_areas(text);
    const std::vector<std::size_t> dollars = formula_dollars(text);
    std::vector<Number> numbers;
    find_digits(text, areas, dollars, numbers);
    find_words(text, areas, dollars, numbers);
    std::sort(numbers.begin(), numbers.end(),
              [](const Number& a, const Number& b) { return a.start < b.start; });

    skip_by_phrases(text, numbers);
    skip_by_lists(text, numbers);
    skip_by_products(text, numbers);

    std::map<Key, std::size_t> free;
    std::set<Key> readable;  // what stays readable: hiding an equal number would be pointless
    std::set<std::pair<std::int64_t, std::int64_t>> years;
    for (const Number& number : numbers) {
        if (number.skip == Reason::none) ++free[key_of(number)];
        const bool is_readable = number.skip == Reason::word || number.skip == Reason::bound ||
                                 number.skip == Reason::repeated;  // dozens
        if (is_readable) readable.insert(key_of(number));
        if (number.skip == Reason::date) years.insert({number.numerator, number.denominator});
    }
    for (Number& number : numbers) {
        if (number.skip != Reason::none && number.skip != Reason::reference) continue;
        if (number.skip == Reason::none && years.count({number.numerator, number.denominator}) > 0 &&
            is_year(text.substr(number.start, number.end - number.start))) {
            number.skip = Reason::date;
            continue;
        }
        const auto group = free.find(key_of(number));
        if (group == free.end()) continue;
        // Several ones are seldom the same quantity: "1 cup and 1 spoon".
        const bool is_one = number.numerator == 1 && number.denominator == 1 && group->second > 1;
        number.skip = is_one || readable.count(group->first) > 0 ? Reason::repeated : Reason::none;
    }
    return numbers;
}

std::vector<Hidden> hide_numbers(Text text, const std::vector<Number>& numbers, std::uint64_t seed,
                                 std::size_t most) {
    std::map<Key, std::size_t> places;
    std::vector<std::vector<std::size_t>> groups;
    for (std::size_t k = 0; k < numbers.size(); ++k) {
        if (numbers[k].skip != Reason::none) continue;
        const auto place = places.emplace(key_of(numbers[k]), groups.size());
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
    for (const auto& [draw, k] : drawn) {
        const std::u32string name = unused_name(taken, split_mix(seed ^ split_mix(k)));
        taken += U"\nv";
        taken += name.substr(1);
        hidden.push_back(hide(text, numbers, name, std::move(groups[k])));
    }
    return hidden;
}

}  // namespace dupo
