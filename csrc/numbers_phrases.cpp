// Numbers that the words beside them keep from being hidden: bounds, divisors, years, definitions.
#include <algorithm>
#include <cstddef>
#include <iterator>
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
    if (values.front() == U"SHARE") {
        const bool is_share = number.role == Role::count || number.role == Role::multiple;
        return is_share && number.numerator > 0 && number.numerator < number.denominator;
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

constexpr std::size_t scene_reach = 30;  // characters behind a number in which the words of a scene stand

std::vector<std::vector<Item>> patterns_of(const Text* first, const Text* last) {
    std::vector<std::vector<Item>> patterns;
    std::transform(first, last, std::back_inserter(patterns), items_of);
    return patterns;
}

bool any_stands(const std::vector<std::vector<Item>>& patterns, const Tokens& tokens) {
    return std::any_of(patterns.begin(), patterns.end(), [&](const auto& p) { return stands(p, tokens); });
}

// The words of a text from the first that may start a question.
Tokens question_of(const Tokens& tokens) {
    static const Item asking = item_of(U"how|what|find|calculate|compute|determine");
    const auto first = std::find_if(tokens.begin(), tokens.end(), [](Text t) { return asking.accepts(t); });
    return {first, tokens.end()};
}

bool depends_on_time(const Tokens& tokens) {
    static const Item asks = item_of(phrases::asks_time);
    static const auto tells = patterns_of(std::begin(phrases::tells_time), std::end(phrases::tells_time));
    const Tokens question = question_of(tokens);
    return question.empty() || any_near(asks, question) || any_stands(tells, tokens);
}

// Whether an amount is all the money of a text that asks how many things there are.
bool is_lone(Text text, const Number& amount) {
    static const Item units = item_of(U"dollar|dollars|cent|cents|euro|euros");
    static const Item asks = item_of(phrases::asks_money);
    static const auto tells = patterns_of(std::begin(phrases::tells_money), std::end(phrases::tells_money));
    const Tokens before = tokens_of(text.substr(0, amount.start));
    Tokens after = tokens_of(text.substr(amount.end));
    if (!after.empty() && units.accepts(after[0])) after.erase(after.begin());
    Tokens all = before;
    all.insert(all.end(), after.begin(), after.end());
    const Tokens question = question_of(all);
    if (question.size() < 2 || !equal(question[0], U"how") || !equal(question[1], U"many")) return false;
    return !any_near(asks, question) && !any_stands(tells, before) && !any_stands(tells, after);
}

// The numbers that only set a scene: "when she was 6 years old", "two days later".
std::vector<std::size_t> scenes_of(Text text, const std::vector<Number>& numbers) {
    static const auto patterns = patterns_of(std::begin(phrases::scenes), std::end(phrases::scenes));
    static const Item time = item_of(U"TIME");
    std::vector<std::size_t> scenes;
    bool counts_time = false;
    for (std::size_t k = 0; k < numbers.size(); ++k) {
        const Tokens after = tokens_of(text.substr(numbers[k].end, scene_reach));
        if (std::any_of(patterns.begin(), patterns.end(), [&](const auto& p) { return match(p, after); })) {
            scenes.push_back(k);
        } else {
            // "20 years of experience" counts years.
            const Tokens next(after.begin(), after.begin() + std::min<std::ptrdiff_t>(2, after.size()));
            counts_time = counts_time || any_near(time, next);
        }
    }
    if (scenes.empty() || counts_time || depends_on_time(tokens_of(text))) return {};
    return scenes;
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

void skip_by_scenes(Text text, std::vector<Number>& numbers) {
    std::vector<std::size_t> scenes = scenes_of(text, numbers);
    const auto is_money = [](const Number& number) { return number.role == Role::money; };
    const auto amount = std::find_if(numbers.begin(), numbers.end(), is_money);
    if (std::count_if(numbers.begin(), numbers.end(), is_money) == 1 && amount->skip == Reason::none &&
        is_lone(text, *amount)) {
        scenes.push_back(static_cast<std::size_t>(amount - numbers.begin()));
    }
    for (const std::size_t k : scenes) {
        if (numbers[k].skip == Reason::none) numbers[k].skip = Reason::scene;
    }
}

void skip_by_phrases(Text text, std::vector<Number>& numbers) {
    for (Number& number : numbers) {
        if (number.skip == Reason::none) number.skip = reason_of(text, number);
    }
}

}  // namespace dupo
