// Numbers of East Asian text that the words beside them keep from being hidden.
#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "numbers_east_asian.hpp"
#include "numbers_east_asian_phrase_table.hpp"
#include "numbers_east_asian_words.hpp"
#include "numbers_phrase_table.hpp"
#include "numbers_steps.hpp"

namespace dupo {
namespace {

using phrases::nearby;

constexpr Text cues[] = {U"예를 들어", U"예를 들면", U"예컨대", U"이를테면", U"例如",
                         U"比如",      U"譬如",      U"举例",   U"舉例",     U"例えば"};
constexpr std::size_t most_gap = 2;  // blanks and dollars between two words of a phrase

// One place of a pattern: the words that may stand there, or may not.
struct Item {
    std::vector<std::u32string> words;
    bool any_number = false;
    bool optional = false;
    bool negated = false;
};

// A row of the table, ready to match. `before` and its words are read backwards.
struct Row {
    Reason reason;
    std::vector<Item> before;
    std::vector<Item> after;
    std::vector<Text> values;
    std::vector<std::u32string> near;
};

void add_words(Text alternatives, Item& item) {
    for (const Text name : split(alternatives, U'|')) {
        const auto* const named = std::find_if(std::begin(east_asian::classes), std::end(east_asian::classes),
                                               [&](const phrases::Class& c) { return c.name == name; });
        if (named != std::end(east_asian::classes)) {
            add_words(named->words, item);
        } else if (name == U"N") {
            item.any_number = true;
        } else {
            item.words.emplace_back(name);
        }
    }
}

std::vector<Item> items_of(Text pattern) {
    std::vector<Item> items;
    for (Text place : split(pattern, U' ')) {
        Item item;
        item.optional = place.back() == U'?';
        item.negated = place.front() == U'!';
        if (item.optional) place.remove_suffix(1);
        if (item.negated) place.remove_prefix(1);
        add_words(place, item);
        items.push_back(std::move(item));
    }
    return items;
}

std::vector<Item> backwards(std::vector<Item> items) {
    std::reverse(items.begin(), items.end());
    for (Item& item : items) {
        for (std::u32string& word : item.words) std::reverse(word.begin(), word.end());
    }
    return items;
}

Item item_of(Text alternatives, bool optional = false) {
    Item item;
    item.optional = optional;
    add_words(alternatives, item);
    return item;
}

std::vector<Item> joined(std::vector<Item> items, std::vector<Item> more) {
    for (Item& item : more) items.push_back(std::move(item));
    return items;
}

std::vector<Row> make_rows() {
    std::vector<Row> rows;
    for (const phrases::Phrase& p : east_asian::rows) {
        rows.push_back({p.reason, backwards(items_of(p.before)), items_of(p.after), split(p.values, U' '),
                        item_of(p.near).words});
    }
    const auto define = [&](const phrases::Count& c, std::vector<Item> before, std::vector<Item> after,
                            Text near) {
        rows.push_back({Reason::definition, backwards(std::move(before)), std::move(after),
                        split(c.values, U' '), item_of(near).words});
    };
    for (const phrases::Count& c : east_asian::units) {
        define(c, joined(items_of(c.other), items_of(U"TOPIC|IS")), items_of(c.what), {});
    }
    for (const phrases::Count& c : east_asian::things) {
        define(c, joined(items_of(c.what), items_of(east_asian::has)), items_of(U"PIECES"), c.other);
    }
    for (const phrases::Count& c : east_asian::things) {
        define(c, joined(items_of(c.what), items_of(east_asian::count)), {}, c.other);
    }
    for (const phrases::Count& c : east_asian::things) {
        define(c, {}, joined(items_of(U"의?"), items_of(c.what)), c.other);
    }
    return rows;
}

bool starts_with(Text text, std::size_t at, Text word) { return text.substr(at, word.size()) == word; }

// Whether text[at:] starts with what items[i:] ask for.
bool match(const std::vector<Item>& items, Text text, std::size_t at, std::size_t i = 0) {
    if (i == items.size()) return true;
    const Item& item = items[i];
    std::size_t place = at;
    while (place < std::min(text.size(), at + most_gap) && is_one_of(text[place], U" $")) ++place;
    for (const std::u32string& word : item.words) {
        if (!starts_with(text, place, word)) continue;
        if (item.negated) return false;
        if (match(items, text, place + word.size(), i + 1)) return true;
    }
    if (item.negated) return match(items, text, place, i + 1);
    if (item.any_number) {
        std::size_t end = place;
        while (end < text.size() && (is_digit(text[end]) || is_one_of(text[end], U".,"))) ++end;
        if (end > place && match(items, text, end, i + 1)) return true;
    }
    return item.optional && match(items, text, at, i + 1);
}

template <typename Units>
std::size_t longest(Text text, std::size_t at, const Units& units, std::size_t length) {
    for (const Text unit : units) {
        if (unit.size() > length && starts_with(text, at, unit)) length = unit.size();
    }
    return length;
}

// Where the unit behind a number ends; `end` where no unit stands there.
std::size_t unit_end(Text text, std::size_t end) {
    std::size_t place = end;
    while (place < std::min(text.size(), end + most_gap) && is_one_of(text[place], U" $")) ++place;
    std::size_t length = longest(text, place, han_counters, 0);
    length = longest(text, place, native_counters, length);
    length = longest(text, place, sino_counters, length);
    length = longest(text, place, measures, length);
    return length > 0 ? place + length : end;
}

bool has_value(Text surface, const Number& number, const std::vector<Text>& values) {
    return std::any_of(values.begin(), values.end(), [&](Text value) {
        if (value == surface) return true;
        return value == U"YEAR" ? is_year(surface) : is_whole(number, value);
    });
}

Reason reason_of(Text text, const Number& number) {
    static const std::vector<Row> rows = make_rows();
    std::u32string before(text_before(text, number.start));
    std::reverse(before.begin(), before.end());
    const Text seen = text.substr(0, number.end + nearby);
    const std::size_t first = number.start - std::min(number.start, nearby);
    const std::size_t unit = unit_end(text, number.end);
    const Text surface = text.substr(number.start, number.end - number.start);
    for (const Row& row : rows) {
        if (!row.values.empty() && !has_value(surface, number, row.values)) continue;
        if (!match(row.before, before, 0)) continue;
        if (!match(row.after, seen, number.end) && !match(row.after, seen, std::min(unit, seen.size()))) {
            continue;
        }
        const bool is_near = row.near.empty() ||
                             std::any_of(row.near.begin(), row.near.end(), [&](const std::u32string& word) {
                                 return seen.find(word, first) != Text::npos;
                             });
        if (is_near) return row.reason;
    }
    return Reason::none;
}

// --- areas

// Reads a whole run of digits, of which there are `least` to `most`.
bool digits(Text text, std::size_t& at, std::size_t least, std::size_t most) {
    std::size_t end = at;
    while (is_digit(char_at(text, end))) ++end;
    if (end - at < least || end - at > most) return false;
    at = end;
    return true;
}

bool one_of(Text text, std::size_t& at, Text set) {
    if (at >= text.size() || !is_one_of(text[at], set)) return false;
    ++at;
    return true;
}

// Reads the rest of 010-1234-5678 or 02) 555-1234 behind its first digits.
bool telephone_rest(Text text, std::size_t& at) {
    std::size_t next = at;
    if (one_of(text, next, U")")) {
        one_of(text, next, U" ");
    } else if (!one_of(text, next, U"-.")) {
        return false;
    }
    if (!digits(text, next, 3, 4) || !one_of(text, next, U"-.") || !digits(text, next, 4, 4)) return false;
    at = next;
    return true;
}

bool telephone(Text text, std::size_t& at) {
    std::size_t next = at;
    if (one_of(text, next, U"+")) {
        std::size_t code = next;
        std::size_t joined = next;
        if (digits(text, code, 1, 3) && one_of(text, code, U"- ") && digits(text, code, 2, 4) &&
            telephone_rest(text, code)) {
            at = code;
            return true;
        }
        if (!digits(text, joined, 3, 7) || !telephone_rest(text, joined)) return false;
        at = joined;
        return true;
    }
    one_of(text, next, U"(");
    if (digits(text, next, 2, 4) && telephone_rest(text, next)) {
        at = next;
        return true;
    }
    next = at;
    std::size_t end = at;
    if (char_at(text, at) == U'0' && char_at(text, at + 1) == U'1' && digits(text, next, 3, 3) &&
        one_of(text, next, U" ") && digits(text, next, 3, 4) && one_of(text, next, U" ") &&
        digits(text, next, 4, 4)) {
        at = next;
        return true;
    }
    next = at;
    if (char_at(text, at) == U'0' && digits(text, next, 2, 4) && one_of(text, next, U"-") &&
        digits(text, next, 7, 8)) {
        at = next;
        return true;
    }
    if (char_at(text, at) != U'1' || !is_one_of(char_at(text, at + 1), U"3456789")) return false;
    if (!digits(text, end, 11, 11) || text.substr(end - 3, 3) == U"000") return false;
    at = end;
    return true;
}

// The end of a telephone number that starts at a place; 0 for none.
std::size_t telephone_end(Text text, std::size_t at) {
    if (!is_digit(text[at]) && !is_one_of(text[at], U"+(")) return 0;
    if (at > 0 && (is_digit(text[at - 1]) || is_one_of(text[at - 1], U".-"))) return 0;
    std::size_t end = at;
    if (!telephone(text, end)) return 0;
    return is_one_of(char_at(text, end), U".-") && is_digit(char_at(text, end + 1)) ? 0 : end;
}

// The end of the sentence, or the parenthesis, of an example that starts at a place; 0 for none.
std::size_t example_end(Text text, std::size_t at) {
    if (text[at] < 0x3000 || !starts_with_one_of(text, at, cues)) return 0;
    std::size_t end = at;
    for (; end < text.size() && !is_one_of(text[end], U"?!。？！\n)）"); ++end) {
        if (text[end] == U'.' && (end + 1 == text.size() || is_one_of(text[end + 1], U" \n"))) break;
    }
    return end;
}

std::vector<Area> areas_of(Text text) {
    std::vector<Area> areas;
    for (std::size_t at = 0, until = 0; at < text.size(); ++at) {
        if (at < until) continue;
        const std::size_t end = example_end(text, at);
        if (end > 0) areas.push_back({at, until = end, Reason::example});
    }
    for (std::size_t at = 0, until = 0; at < text.size(); ++at) {
        if (at < until) continue;
        const std::size_t end = telephone_end(text, at);
        if (end > 0) areas.push_back({at, until = end, Reason::label});
    }
    std::sort(areas.begin(), areas.end(), [](const Area& a, const Area& b) { return a.start < b.start; });
    return areas;
}

}  // namespace

void skip_by_east_asian_phrases(Text text, std::vector<Number>& numbers) {
    const std::vector<Area> areas = areas_of(text);
    AreaScanner scanner(areas);
    for (Number& number : numbers) {
        const Reason reason = scanner.reason_at(number.start);
        if (number.skip == Reason::none) number.skip = reason;
        if (number.skip == Reason::none) number.skip = reason_of(text, number);
    }
}

}  // namespace dupo
