// Numbers that the words beside them keep from being hidden: bounds, divisors, years, definitions.
#include <algorithm>
#include <cstddef>
#include <vector>

#include "numbers_phrase_table.hpp"
#include "numbers_steps.hpp"

namespace dupo {
namespace {

// One place of a pattern: the words that may stand there, and whether there may be none.
struct Item {
    std::vector<Text> words;
    bool any_number = false;
    bool any_word = false;
    bool optional = false;

    bool accepts(Text token) const;
};

// A row of the table, ready to match. `before` and the words it meets are read backwards.
struct Row {
    Reason reason;
    std::vector<Item> before;
    std::vector<Item> after;
    std::vector<Text> values;
    Item near;
};

using Tokens = std::vector<Text>;

// Compares without regard to the case of ASCII letters. `word` is in lower case.
bool equal(Text token, Text word) {
    if (token.size() != word.size()) return false;
    for (std::size_t k = 0; k < word.size(); ++k) {
        if (lower(token[k]) != word[k]) return false;
    }
    return true;
}

bool is_among_words(Text token, const std::vector<Text>& words) {
    return std::any_of(words.begin(), words.end(), [&](Text word) { return equal(token, word); });
}

// 12, 1,250 or 3.5: a digit, then digits, points and commas.
bool is_number(Text token) {
    return is_digit(token.front()) && std::all_of(token.begin(), token.end(), [](char32_t c) {
               return is_digit(c) || is_one_of(c, U".,");
           });
}

bool Item::accepts(Text token) const {
    return is_among_words(token, words) || (any_number && is_number(token)) ||
           (any_word && is_letter(token.front()));
}

std::vector<Text> split(Text text, char32_t mark) {
    std::vector<Text> pieces;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find(mark), text.size());
        if (end > 0) pieces.push_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return pieces;
}

void add_words(Text alternatives, Item& item) {
    for (const Text name : split(alternatives, U'|')) {
        item.any_number = item.any_number || name == U"N";
        item.any_word = item.any_word || name == U"W";
        const Text wanted = name == U"N" ? Text(U"NUMBER") : name;
        const auto* const named = std::find_if(std::begin(phrases::classes), std::end(phrases::classes),
                                               [&](const phrases::Class& c) { return c.name == wanted; });
        if (named != std::end(phrases::classes)) {
            add_words(named->words, item);
        } else {
            item.words.push_back(name);
        }
    }
}

std::vector<Item> items_of(Text pattern) {
    std::vector<Item> items;
    for (Text place : split(pattern, U' ')) {
        Item item;
        item.optional = place.back() == U'?';
        if (item.optional) place.remove_suffix(1);
        add_words(place, item);
        items.push_back(std::move(item));
    }
    return items;
}

Row row_of(const phrases::Phrase& phrase) {
    Row row{phrase.reason, items_of(phrase.before), items_of(phrase.after), split(phrase.values, U' '), {}};
    std::reverse(row.before.begin(), row.before.end());
    add_words(phrase.near, row.near);
    return row;
}

Item item_of(Text alternatives, bool optional = false) {
    Item item;
    item.optional = optional;
    add_words(alternatives, item);
    return item;
}

std::vector<Row> make_rows() {
    std::vector<Row> rows;
    for (const phrases::Phrase& phrase : phrases::rows) rows.push_back(row_of(phrase));
    for (const phrases::Count& unit : phrases::units) {
        rows.push_back({Reason::definition, {}, {}, split(unit.values, U' '), {}});
        rows.back().after = {item_of(unit.what), item_of(U"PLACE"), item_of(U"A", true), item_of(unit.other)};
    }
    for (const phrases::Count& unit : phrases::units) {
        rows.push_back({Reason::definition, {}, {}, split(unit.values, U' '), {}});
        rows.back().before = {item_of(U"HAS"), item_of(unit.other)};
        rows.back().after = {item_of(unit.what)};
    }
    for (const phrases::Count& thing : phrases::things) {
        rows.push_back({Reason::definition, {}, {}, split(thing.values, U' '), item_of(thing.other)});
        rows.back().after = {item_of(U"W", true), item_of(thing.what)};
    }
    return rows;
}

bool match(const std::vector<Item>& items, const Tokens& tokens, std::size_t i = 0, std::size_t k = 0) {
    if (i == items.size()) return true;
    if (k < tokens.size() && items[i].accepts(tokens[k]) && match(items, tokens, i + 1, k + 1)) return true;
    return items[i].optional && match(items, tokens, i + 1, k);
}

bool has_value(Text surface, const Number& number, const std::vector<Text>& values) {
    if (values.front() == U"YEAR" || values.front() == U"ODDYEAR") {
        if (number.role != Role::count || !is_year(surface)) return false;
        return values.front() == U"YEAR" || number.numerator % 50 != 0;
    }
    return std::any_of(values.begin(), values.end(), [&](Text value) {
        if (value == surface) return true;
        std::int64_t whole = 0;
        for (const char32_t c : value) {
            if (!is_digit(c)) return false;
            whole = whole * 10 + (c - U'0');
        }
        return number.denominator == 1 && number.numerator == whole;
    });
}

bool any_near(const Item& near, const Tokens& tokens) {
    return std::any_of(tokens.begin(), tokens.end(), [&](Text t) { return is_among_words(t, near.words); });
}

// Whether a pattern matches somewhere. No pattern starts with an optional word.
bool stands(const std::vector<Item>& items, const Tokens& tokens) {
    if (items.empty()) return true;
    for (std::size_t k = 0; k < tokens.size(); ++k) {
        if (match(items, tokens, 0, k)) return true;
    }
    return false;
}

// A row of the table of roundings, ready to match.
struct RoundedRow {
    std::vector<Item> words;
    std::vector<Item> others;
    bool tells_money;
};

std::vector<RoundedRow> make_rounded_rows() {
    std::vector<RoundedRow> rows;
    for (const phrases::Rounded& row : phrases::rounded) {
        rows.push_back({items_of(row.words), items_of(row.others), row.role == U"money"});
    }
    return rows;
}

Reason reason_of(Text text, const Number& number) {
    static const std::vector<Row> rows = make_rows();
    const Text surface = text.substr(number.start, number.end - number.start);
    const std::size_t start = number.start - std::min(number.start, phrases::nearby);
    Tokens before = tokens_of(text.substr(start, number.start - start));
    std::reverse(before.begin(), before.end());
    const Tokens after = tokens_of(text.substr(number.end, phrases::nearby));
    for (const Row& row : rows) {
        if (!row.values.empty() && !has_value(surface, number, row.values)) continue;
        if (!match(row.before, before) || !match(row.after, after)) continue;
        if (!row.near.words.empty() && !any_near(row.near, before) && !any_near(row.near, after)) continue;
        return row.reason;
    }
    return Reason::none;
}

}  // namespace

std::vector<Text> tokens_of(Text text) {
    Tokens tokens;
    for (std::size_t at = 0; at < text.size();) {
        std::size_t end = at;
        for (;;) {
            while (end < text.size() && is_wordlike(text[end])) ++end;
            const bool goes_on = end > at && end + 1 < text.size() && is_one_of(text[end], U".,") &&
                                 is_digit(text[end - 1]) && is_digit(text[end + 1]);
            if (!goes_on) break;
            ++end;
        }
        const char32_t c = text[at];
        if (end > at) {
            tokens.push_back(text.substr(at, end - at));
        } else if (c == U'\\' && at + 1 < text.size() && is_one_of(text[at + 1], U"$()")) {
            end = at + 2;
        } else {
            end = at + 1;
            if (!is_space(c) && !is_one_of(c, U"$-")) tokens.push_back(text.substr(at, 1));
        }
        at = end;
    }
    return tokens;
}

void skip_by_rounding(Text text, std::vector<Number>& numbers) {
    static const std::vector<RoundedRow> rows = make_rounded_rows();
    const Tokens tokens = tokens_of(text);
    for (const RoundedRow& row : rows) {
        if (!stands(row.words, tokens) || !stands(row.others, tokens)) continue;
        for (Number& number : numbers) {
            const bool is_told = row.tells_money && number.role == Role::money;
            if (number.skip == Reason::none && !is_told) number.skip = Reason::rounded;
        }
    }
}

void skip_by_phrases(Text text, std::vector<Number>& numbers) {
    for (Number& number : numbers) {
        if (number.skip == Reason::none) number.skip = reason_of(text, number);
    }
}

}  // namespace dupo
