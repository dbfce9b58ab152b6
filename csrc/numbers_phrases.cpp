// Numbers that the words beside them keep from being hidden: bounds, divisors, years, definitions.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <vector>

#include "numbers_phrase_table.hpp"
#include "numbers_phrase_words.hpp"
#include "numbers_questions.hpp"
#include "numbers_steps.hpp"

namespace dupo {
namespace {

// A row of the table, ready to match. `before` and the words it meets are read backwards.
struct Row {
    Reason reason;
    std::vector<Item> before;
    std::vector<Item> after;
    std::vector<Text> values;
    Item near;
};

// A row of the table of roundings, ready to match.
struct RoundedRow {
    std::vector<Item> words;
    std::vector<Item> others;
    bool tells_money;
};

constexpr std::size_t scene_reach = 30;  // characters behind a number in which the words of a scene stand

constexpr std::size_t num_rows =
    std::size(phrases::rows) + 2 * std::size(phrases::units) + std::size(phrases::things);

// Some rows of the table.
class RowSet {
  public:
    void add(std::size_t row) { bits_[row / 64] |= std::uint64_t{1} << row % 64; }
    void add(const RowSet& other) {
        for (std::size_t k = 0; k < bits_.size(); ++k) bits_[k] |= other.bits_[k];
    }
    void keep(const RowSet& other) {
        for (std::size_t k = 0; k < bits_.size(); ++k) bits_[k] &= other.bits_[k];
    }
    // The first row of the set for which `holds` is true; num_rows for none.
    template <typename Predicate>
    std::size_t first(Predicate holds) const {
        for (std::size_t k = 0; k < bits_.size(); ++k) {
            std::size_t row = 64 * k;
            for (std::uint64_t bits = bits_[k]; bits != 0; bits >>= 1, ++row) {
                if ((bits & 1) != 0 && holds(row)) return row;
            }
        }
        return num_rows;
    }

  private:
    std::array<std::uint64_t, (num_rows + 63) / 64> bits_{};
};

// Which rows a pattern can match in, by the word that stands next to the number. Most rows fall out here, so
// that few patterns are tried.
class NextWord {
  public:
    // patterns: those of one side, one of each row.
    NextWord(const std::vector<const std::vector<Item>*>& patterns, std::size_t num_words)
        : by_word_(num_words) {
        for (std::size_t row = 0; row < patterns.size(); ++row) {
            bool is_needed = false;  // whether the pattern needs a word
            for (const Item& item : *patterns[row]) {
                for (std::size_t word = 0; word < num_words; ++word) {
                    if (item.has(word)) by_word_[word].add(row);
                }
                if (item.any_number) number_.add(row);
                if (item.any_word) letter_.add(row);
                is_needed = !item.optional;
                if (is_needed) break;
            }
            if (!is_needed) always_.add(row);
        }
    }
    RowSet rows_of(const Token* token) const {
        RowSet rows = always_;
        if (token == nullptr) return rows;
        rows.add(by_word_[token->word]);
        if (is_digit(token->text.front())) {
            rows.add(number_);
        } else if (is_letter(token->text.front())) {
            rows.add(letter_);
        }
        return rows;
    }

  private:
    std::vector<RowSet> by_word_;
    RowSet number_, letter_, always_;
};

template <std::size_t N>
std::vector<Row> rows_of(const phrases::Phrase (&table)[N], Vocabulary& v) {
    std::vector<Row> rows;
    for (const phrases::Phrase& phrase : table) {
        rows.push_back({phrase.reason, items_of(phrase.before, v), items_of(phrase.after, v),
                        split(phrase.values, U' '), item_of(phrase.near, v)});
        std::reverse(rows.back().before.begin(), rows.back().before.end());
    }
    return rows;
}

std::vector<Row> make_rows(Vocabulary& v) {
    std::vector<Row> rows = rows_of(phrases::rows, v);
    for (const phrases::Count& unit : phrases::units) {
        rows.push_back({Reason::definition, {}, {}, split(unit.values, U' '), {}});
        rows.back().after = {item_of(unit.what, v), item_of(U"PLACE", v), item_of(U"A", v, true),
                             item_of(unit.other, v)};
    }
    for (const phrases::Count& unit : phrases::units) {
        rows.push_back({Reason::definition, {}, {}, split(unit.values, U' '), {}});
        rows.back().before = {item_of(U"HAS", v), item_of(unit.other, v)};
        rows.back().after = {item_of(unit.what, v)};
    }
    for (const phrases::Count& thing : phrases::things) {
        rows.push_back({Reason::definition, {}, {}, split(thing.values, U' '), item_of(thing.other, v)});
        rows.back().after = {item_of(U"W", v, true), item_of(thing.what, v)};
    }
    return rows;
}

std::vector<RoundedRow> make_rounded_rows(Vocabulary& v) {
    std::vector<RoundedRow> rows;
    for (const phrases::Rounded& row : phrases::rounded) {
        rows.push_back({items_of(row.words, v), items_of(row.others, v), row.role == U"money"});
    }
    return rows;
}

// The words that start a row. No row starts with a number or with any word.
Item starts_of(const std::vector<RoundedRow>& rows) {
    Item starts;
    for (const RoundedRow& row : rows) {
        const std::vector<bool>& words = row.words.front().words;
        starts.words.resize(std::max(starts.words.size(), words.size()));
        for (std::size_t k = 0; k < words.size(); ++k) {
            if (words[k]) starts.words[k] = true;
        }
    }
    return starts;
}

template <std::size_t N>
std::vector<std::vector<Item>> patterns_of(const Text (&patterns)[N], Vocabulary& v) {
    std::vector<std::vector<Item>> all;
    for (const Text pattern : patterns) all.push_back(items_of(pattern, v));
    return all;
}

// All rows, and which of them to try.
class Table {
  public:
    static const Table& get() {
        static const Table table;
        return table;
    }

    Vocabulary vocabulary;
    std::vector<Row> rows = make_rows(vocabulary);
    std::vector<Row> doubts = rows_of(phrases::doubts, vocabulary);
    std::vector<RoundedRow> rounded = make_rounded_rows(vocabulary);
    Item starts_rounded = starts_of(rounded);
    std::vector<std::vector<Item>> choices = patterns_of(phrases::choices, vocabulary);
    std::vector<std::vector<Item>> deals = patterns_of(phrases::deals, vocabulary);
    std::vector<std::vector<Item>> scenes = patterns_of(phrases::scenes, vocabulary);
    std::vector<std::vector<Item>> tells_time = patterns_of(phrases::tells_time, vocabulary);
    std::vector<std::vector<Item>> asks_when = patterns_of(phrases::asks_when, vocabulary);
    std::vector<std::vector<Item>> tells_money = patterns_of(phrases::tells_money, vocabulary);
    std::vector<Item> how_many = items_of(U"how many", vocabulary);
    Item asking = item_of(asking_words, vocabulary);
    Item asks_time = item_of(phrases::asks_time, vocabulary);
    Item asks_money = item_of(phrases::asks_money, vocabulary);
    Item money_units = item_of(U"dollar|dollars|cent|cents|euro|euros", vocabulary);
    Item time = item_of(U"TIME", vocabulary);
    NextWord before = next_word(&Row::before);
    NextWord after = next_word(&Row::after);

  private:
    NextWord next_word(std::vector<Item> Row::* side) const {
        std::vector<const std::vector<Item>*> patterns;
        for (const Row& row : rows) patterns.push_back(&(row.*side));
        return {patterns, vocabulary.size()};
    }
};

bool match(const std::vector<Item>& items, Tokens& tokens, std::size_t i = 0, std::size_t k = 0) {
    if (i == items.size()) return true;
    const Token* const token = tokens.at(k);
    if (token != nullptr && items[i].accepts(*token) && match(items, tokens, i + 1, k + 1)) return true;
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
    return std::any_of(values.begin(), values.end(),
                       [&](Text value) { return value == surface || is_whole(number, value); });
}

bool any_near(const Item& near, Tokens& tokens, std::size_t first = 0) {
    for (std::size_t k = first; const Token* const token = tokens.at(k); ++k) {
        if (near.has(token->word)) return true;
    }
    return false;
}

// Whether a pattern matches at word `first` or behind. No pattern starts with an optional word.
bool stands(const std::vector<Item>& items, Tokens& tokens, std::size_t first = 0) {
    if (items.empty()) return true;
    for (std::size_t k = first; tokens.at(k) != nullptr; ++k) {
        if (match(items, tokens, 0, k)) return true;
    }
    return false;
}

bool any_stands(const std::vector<std::vector<Item>>& patterns, Tokens& tokens, std::size_t first = 0) {
    return std::any_of(patterns.begin(), patterns.end(),
                       [&](const auto& p) { return stands(p, tokens, first); });
}

// Where the question may start: the first word that asks, or the end of the text.
std::size_t question_of(Tokens& tokens) {
    const Item& asking = Table::get().asking;
    std::size_t k = 0;
    while (tokens.at(k) != nullptr && !asking.accepts(*tokens.at(k))) ++k;
    return k;
}

bool depends_on_time(Text text) {
    const Table& table = Table::get();
    Tokens tokens(text, table.vocabulary, false);
    const std::size_t question = question_of(tokens);
    return tokens.at(question) == nullptr || any_near(table.asks_time, tokens, question) ||
           any_stands(table.tells_time, tokens);
}

// Whether an amount is all the money of a text that asks how many things there are.
bool is_lone(Text text, const Number& amount) {
    const Table& table = Table::get();
    const Text left = text.substr(0, amount.start);
    Text right = text.substr(amount.end);
    Tokens before(left, table.vocabulary, false), after(right, table.vocabulary, false);
    const Token* const unit = after.at(0);
    if (unit != nullptr && table.money_units.accepts(*unit)) {
        right = right.substr(unit->text.data() + unit->text.size() - right.data());
    }
    const std::u32string rest = std::u32string(left) + U' ' + std::u32string(right);
    Tokens all(rest, table.vocabulary, false), behind(right, table.vocabulary, false);
    const std::size_t question = question_of(all);
    if (!match(table.how_many, all, 0, question) || any_near(table.asks_money, all, question)) return false;
    return !any_stands(table.tells_money, before) && !any_stands(table.tells_money, behind);
}

// The numbers that only set a scene: "when she was 6 years old", "two days later".
std::vector<std::size_t> scenes_of(Text text, const std::vector<Number>& numbers) {
    const Table& table = Table::get();
    std::vector<std::size_t> scenes;
    bool counts_time = false;
    for (std::size_t k = 0; k < numbers.size(); ++k) {
        Tokens after(text.substr(numbers[k].end, scene_reach), table.vocabulary, false);
        const auto sets_scene = [&](const auto& pattern) { return match(pattern, after); };
        if (std::any_of(table.scenes.begin(), table.scenes.end(), sets_scene)) {
            scenes.push_back(k);
        } else {
            // "20 years of experience" counts years.
            for (const std::size_t next : {0, 1}) {
                const Token* const token = after.at(next);
                counts_time = counts_time || (token != nullptr && table.time.has(token->word));
            }
        }
    }
    if (scenes.empty() || counts_time || depends_on_time(text)) return {};
    return scenes;
}

// What stands around a number.
struct Surroundings {
    Surroundings(Text text, const Number& number)
        : surface(text.substr(number.start, number.end - number.start)),
          before(nearby_before(text, number.start), Table::get().vocabulary, true),
          after(text.substr(number.end, phrases::nearby), Table::get().vocabulary, false) {}
    static Text nearby_before(Text text, std::size_t place) {
        const std::size_t start = place - std::min(place, phrases::nearby);
        return text.substr(start, place - start);
    }

    Text surface;
    Tokens before, after;
};

bool fits(const Row& row, const Number& number, Surroundings& around) {
    if (!row.values.empty() && !has_value(around.surface, number, row.values)) return false;
    if (!match(row.before, around.before) || !match(row.after, around.after)) return false;
    return row.near.is_empty() || any_near(row.near, around.before) || any_near(row.near, around.after);
}

Reason reason_of(Text text, const Number& number) {
    const Table& table = Table::get();
    Surroundings around(text, number);
    RowSet rows = table.before.rows_of(around.before.at(0));
    rows.keep(table.after.rows_of(around.after.at(0)));
    const std::size_t found = rows.first([&](std::size_t k) { return fits(table.rows[k], number, around); });
    return found < num_rows ? table.rows[found].reason : Reason::none;
}

}  // namespace

bool is_whole(const Number& number, Text digits) {
    std::int64_t whole = 0;
    for (const char32_t c : digits) {
        if (!is_digit(c)) return false;
        whole = whole * 10 + (c - U'0');
    }
    return number.denominator == 1 && number.numerator == whole;
}

void skip_by_rounding(Text text, std::vector<Number>& numbers) {
    const auto is_free = [](const Number& number) { return number.skip == Reason::none; };
    if (std::none_of(numbers.begin(), numbers.end(), is_free)) return;
    const Table& table = Table::get();
    Tokens tokens(text, table.vocabulary, false);
    std::vector<bool> is_said(table.rounded.size());
    for (std::size_t k = 0; const Token* const token = tokens.at(k); ++k) {
        if (!table.starts_rounded.has(token->word)) continue;
        for (std::size_t row = 0; row < is_said.size(); ++row) {
            is_said[row] = is_said[row] || match(table.rounded[row].words, tokens, 0, k);
        }
    }
    for (std::size_t k = 0; k < is_said.size(); ++k) {
        const RoundedRow& row = table.rounded[k];
        if (!is_said[k] || !stands(row.others, tokens)) continue;
        for (Number& number : numbers) {
            const bool is_told = row.tells_money && number.role == Role::money;
            if (number.skip == Reason::none && !is_told) number.skip = Reason::rounded;
        }
    }
    const bool is_choice = any_stands(table.choices, tokens, question_of(tokens));
    if (!is_choice && !any_stands(table.deals, tokens)) return;
    for (Number& number : numbers) {
        if (number.skip == Reason::none) number.skip = Reason::choice;
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

Reason doubt_by_phrases(Text text, const Number& number) {
    const Table& table = Table::get();
    Surroundings around(text, number);
    const auto row = std::find_if(table.doubts.begin(), table.doubts.end(),
                                  [&](const Row& doubt) { return fits(doubt, number, around); });
    if (row == table.doubts.end()) return Reason::none;
    if (row->reason != Reason::scene) return row->reason;
    Tokens tokens(text, table.vocabulary, false);
    const bool tells = any_stands(table.tells_time, tokens) || any_stands(table.asks_when, tokens);
    return tells ? Reason::none : row->reason;
}

}  // namespace dupo
