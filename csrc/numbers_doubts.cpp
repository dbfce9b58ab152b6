// Numbers that few answers depend on, hidden only where a text has no others: "1 pen", "3 colors".
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "numbers_cursor.hpp"
#include "numbers_mentions.hpp"
#include "numbers_steps.hpp"

namespace dupo {
namespace {

using std::string_view;

constexpr std::int64_t most_listed = 10;  // things that a text lists one by one
// Characters on either side of a number in which the text may list what the number counts.
constexpr std::size_t reach = 500;

// "3 gardens ... the first garden": the text lists what the number counts.
constexpr string_view ordering[] = {
    "first", "second", "third", "fourth", "fifth", "sixth", "last", "final", "another", "other", "both",
};
// "another 3 gardens" counts anew.
constexpr string_view numerals[] = {"two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"};
constexpr string_view goes_on[] = {"another", "other", "second"};  // behind "one garden"
// Stems of nouns that announce a list: "3 kinds of pens".
constexpr string_view kinds[] = {
    "type",    "kind",    "sort",     "color",   "colour", "flavor", "flavour",
    "section", "segment", "categori", "varieti", "choic",  "option",
};

// The word, or the other character, at `at`; blanks are passed over. Empty at the end.
Text take_word(Text text, std::size_t& at) {
    while (at < text.size() && text[at] == U' ') ++at;
    const std::size_t start = at;
    while (at < text.size() && is_ascii_letter(text[at])) ++at;
    if (at == start && at < text.size()) ++at;
    return text.substr(start, at - start);
}

// Whether a text ends on a question that `at` stands in.
bool ends_question(Text text, std::size_t at) {
    if (at >= text.size() || text.size() - at > reach || text.back() != U'?') return false;
    for (std::size_t k = at; k + 1 < text.size(); ++k) {
        if (text[k] == U'?') return false;
        if (is_one_of(text[k], U".!") && is_one_of(text[k + 1], U" \n")) return false;
    }
    return true;
}

// Whether one of the next two words is what a number counts.
bool precedes_counted(Text text, std::size_t at, const Mention& mention) {
    for (int k = 0; k < 2; ++k) {
        const Text word = take_word(text, at);
        if (word.empty()) return false;
        if (k == 0 && (!is_ascii_letter(word[0]) || is_among(word, numerals, true))) return false;
        const std::u32string stem = stem_of(word);
        if (!stem.empty() && (stem == mention.noun || stem == mention.complement)) return true;
    }
    return false;
}

// Whether the text before or behind a number lists what the number counts.
bool is_listed(Text text, const Mention& mention) {
    // "the first 3 gardens"
    if (is_among(mention.before[1], ordering, false)) return false;
    bool has_one = false;
    for (std::size_t at = 0; at < text.size();) {
        const Text word = take_word(text, at);
        // Most words are none of the lists'.
        if (word.empty() || !is_one_of(lower(word[0]), U"abflost")) continue;
        if (has_one && is_among(word, goes_on, true)) return true;
        const bool is_one = same(word, "one", true);
        if (!(is_one || is_among(word, ordering, true)) || !precedes_counted(text, at, mention)) continue;
        if (!is_one) return true;
        has_one = true;
    }
    return false;
}

bool is_pointed_at(Text text, const Number& number) {
    Backward b{text_before(text, number.start)};
    return b.space() && b.word({"the", "all", "these", "those"}, true);
}

// The stems of the words behind "every other".
std::vector<std::u32string> every_other(Text text) {
    std::vector<std::u32string> stems;
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (!is_one_of(text[at], U"eE") || (at > 0 && is_wordlike(text[at - 1]))) continue;
        Forward rest{text.substr(at)};
        if (!rest.literal("every other ", true) || !is_ascii_letter(rest.first())) continue;
        std::size_t start = 0;
        stems.push_back(stem_of(take_word(rest.text, start)));
    }
    return stems;
}

// Which words a text has, so that most numbers need no reading.
struct Hints {
    bool lists = false;      // a word that may list things
    bool announces = false;  // a word that may announce a list
};

Hints hints_of(Text text) {
    // The stem of "category" ends on i.
    const auto starts_kind = [](Text word) {
        return std::any_of(std::begin(kinds), std::end(kinds), [&](string_view kind) {
            return Forward{word}.literal(kind.substr(0, kind.size() - (kind.back() == 'i')), true);
        });
    };
    Hints hints;
    hints.lists = text.size() > reach;  // what is read may end within a word
    for (std::size_t at = 0; at < text.size();) {
        const Text word = take_word(text, at);
        if (word.size() < 3) continue;
        hints.lists = hints.lists || same(word, "one", true) || is_among(word, ordering, true);
        hints.announces = hints.announces || starts_kind(word) || same(word, "different", false);
    }
    return hints;
}

// Why hardly any answer depends on a number; none for a number that may matter. size: of the text without
// the blanks at its end.
Reason doubt_of(Text text, std::size_t size, const Hints& hints, const Number& number) {
    const bool is_small = number.denominator == 1 && number.numerator >= 1 && number.numerator <= most_listed;
    if (number.role != Role::count || !is_small) return Reason::none;
    const Text behind = text.substr(number.end, reach);
    if (behind.size() < 2 || !is_one_of(behind[0], U" -") || !is_ascii_letter(behind[1])) return Reason::none;
    const bool may_matter = !hints.lists && !hints.announces && !is_pointed_at(text, number);
    if (number.numerator > 1 && may_matter) return Reason::none;
    const Mention mention = mention_of(text, number, number.end);
    // "1 more pen", "1 inch taller"
    if (mention.noun.empty() || mention.is_other || is_compared(mention.dimension)) return Reason::none;
    if (number.numerator == 1) return Reason::unit;
    bool is_known = is_among(mention.noun, kinds, false) || Forward{behind}.literal(" different ");
    if (!is_known && ends_question(text.substr(0, size), number.end)) {
        const std::size_t start = number.start - std::min(number.start, reach);
        // "How many do the 3 boys have?"
        is_known =
            is_pointed_at(text, number) || is_listed(text.substr(start, number.start - start), mention);
    }
    return is_known || is_listed(behind, mention) ? Reason::listed : Reason::none;
}

// Whether every other of the things that a number counts matters: with 21 lessons as many may as with 20.
bool is_halved(Text text, const Number& number, const std::vector<std::u32string>& stems) {
    if (stems.empty() || number.role != Role::count) return false;
    const Mention mention = mention_of(text, number, number.end);
    return std::find(stems.begin(), stems.end(), mention.noun) != stems.end();
}

// Whether a number may be the equal quantity that starts at `earlier`. text: without the blanks at its end.
bool may_be_one(Text text, std::int64_t earlier, const Number& number) {
    // "3 cans of tea ... the price of the 3 drinks"
    if (number.role == Role::count) return is_pointed_at(text, number);
    // "Pens cost $5. How much are 3 pens at $5?"
    return number.role == Role::money && ends_question(text, number.end) &&
           !ends_question(text, static_cast<std::size_t>(earlier));
}

}  // namespace

void skip_by_doubts(Text text, std::vector<Number>& numbers) {
    std::size_t size = text.size();
    while (size > 0 && is_one_of(text[size - 1], U" \n")) --size;
    const Hints hints = hints_of(text);
    std::map<std::int64_t, Reason> doubts;
    const Text trimmed = text.substr(0, size);
    const std::vector<std::u32string> halved = every_other(text);
    const auto key = [](const Number& n) { return std::tuple{n.numerator, n.denominator, n.role}; };
    using Key = std::tuple<std::int64_t, std::int64_t, Role>;
    std::map<Key, std::int64_t> first;                // the first quantity of each value and role
    std::set<std::pair<Key, std::u32string>> bounds;  // with the noun
    const auto counted = [&](const Number& n) { return std::pair{key(n), mention_of(text, n, n.end).noun}; };
    for (const Number& number : numbers) {
        if (number.skip == Reason::bound) bounds.insert(counted(number));
    }
    for (const Number& number : numbers) {
        if (number.skip != Reason::none) continue;
        Reason reason = doubt_of(text, size, hints, number);
        if (reason == Reason::none) reason = doubt_by_phrases(text, number);
        if (reason == Reason::none && is_halved(text, number, halved)) reason = Reason::rounded;
        if (reason != Reason::none) doubts.emplace(number.quantity, reason);
        if (reason == Reason::bound) bounds.insert(counted(number));
        const std::int64_t equal = first.emplace(key(number), number.quantity).first->second;
        if (equal != number.quantity && may_be_one(trimmed, equal, number)) {
            doubts.emplace(equal, Reason::repeated);
            doubts.emplace(number.quantity, Reason::repeated);
        }
    }
    for (const Number& number : numbers) {
        // "works over 40 hours ... the first 40 hours"
        if (bounds.empty() || number.skip != Reason::none) continue;
        const auto what = counted(number);
        if (!what.second.empty() && bounds.count(what) > 0) {
            doubts.emplace(number.quantity, Reason::repeated);
        }
    }
    const auto is_certain = [&](const Number& number) {
        return number.skip == Reason::none && doubts.count(number.quantity) == 0;
    };
    if (std::none_of(numbers.begin(), numbers.end(), is_certain)) return;
    for (Number& number : numbers) {
        if (number.skip != Reason::none || is_certain(number)) continue;
        number.skip = doubts[number.quantity];
        number.quantity = -1;
    }
}

}  // namespace dupo
