// Numbers in English words: cardinals, halves and other parts, twice, a dozen.
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include "numbers_cursor.hpp"
#include "numbers_steps.hpp"

namespace dupo {
namespace {

using std::string_view;

struct Named {
    string_view name;
    std::int64_t value;
};

constexpr Named small[] = {
    {"one", 1},      {"two", 2},        {"three", 3},     {"four", 4},      {"five", 5},
    {"six", 6},      {"seven", 7},      {"eight", 8},     {"nine", 9},      {"ten", 10},
    {"eleven", 11},  {"twelve", 12},    {"thirteen", 13}, {"fourteen", 14}, {"fifteen", 15},
    {"sixteen", 16}, {"seventeen", 17}, {"eighteen", 18}, {"nineteen", 19},
};
constexpr Named tens[] = {
    {"twenty", 20}, {"thirty", 30},  {"forty", 40},  {"fifty", 50},
    {"sixty", 60},  {"seventy", 70}, {"eighty", 80}, {"ninety", 90},
};
constexpr Named powers_of_1000[] = {{"thousand", 1000}, {"million", 1000000}, {"billion", 1000000000}};
constexpr Named shares[] = {
    {"half", 2},     {"third", 3},      {"quarter", 4},     {"fourth", 4}, {"fifth", 5},
    {"sixth", 6},    {"seventh", 7},    {"eighth", 8},      {"ninth", 9},  {"tenth", 10},
    {"twelfth", 12}, {"twentieth", 20}, {"hundredth", 100},
};
// half a ...
constexpr Named collectives[] = {
    {"dozen", 12}, {"hundred", 100}, {"thousand", 1000}, {"million", 1000000}, {"billion", 1000000000},
};
constexpr string_view ordinals[] = {
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth",
};
constexpr Named multiples[] = {{"twice", 2}, {"thrice", 3}};

constexpr string_view determiners[] = {
    "the", "this",    "that",  "these", "those", "each",  "every", "any", "no",   "which", "a",
    "an",  "another", "other", "his",   "her",   "their", "its",   "my",  "your", "our",
};
constexpr string_view referring[] = {"the", "these", "those", "all", "both", "other", "any", "either"};
constexpr string_view after_pronoun[] = {
    "time",    "monday",    "tuesday", "wednesday", "thursday", "friday",  "saturday", "sunday",  "season",
    "holiday", "semester",  "of",      "and",       "or",       "another", "day",      "morning", "night",
    "evening", "afternoon", "side",    "weekend",   "summer",   "winter",  "spring",   "autumn",  "fall",
    "that",    "who",       "which",   "is",        "was",      "are",     "were",     "has",     "had",
    "will",    "would",     "can",     "could",     "did",      "does",    "in",       "on",      "at",
    "to",      "for",       "from",    "with",      "by",       "as",      "but",      "because", "if",
    "when",    "where",     "while",   "than",      "every",    "each",    "after",    "before",  "so",
    "then",    "he",        "she",     "it",        "they",     "we",      "i",        "you",     "this",
    "these",   "those",     "the",     "a",         "an",
};
constexpr string_view words_after_half[] = {
    "as",  "of",  "off",   "price", "the",  "that", "this", "what", "his",
    "her", "its", "their", "my",    "your", "our",  "an",   "a",
};
constexpr string_view words_before_no_share[] = {
    "the", "first", "second", "third", "other", "another", "last", "next", "each", "every", "this", "that",
};

template <typename Table>
std::int64_t value_of(const Table& table, string_view name) {
    for (const Named& entry : table) {
        if (entry.name == name) return entry.value;
    }
    return 0;
}

template <typename Table>
bool has(const Table& table, string_view name) {
    for (const string_view entry : table) {
        if (entry == name) return true;
    }
    return false;
}

// The denominator that "third" or "thirds" names, 0 for other words.
std::int64_t share_of(string_view name) {
    const std::int64_t value = value_of(shares, name);
    if (value != 0 || name.empty() || name.back() != 's') return value;
    name.remove_suffix(1);
    return name == "half" ? 0 : value_of(shares, name);
}

struct Word {
    std::size_t start;
    std::size_t end;
    string_view lower;
};

// Whether a word may start a number, by its length and first letters. Few words may.
class Starts {
  public:
    Starts() {
        add("half");
        for (const Named& entry : small) add(entry.name);
        for (const Named& entry : tens) add(entry.name);
        for (const Named& entry : multiples) add(entry.name);
    }
    bool operator()(string_view word) const {
        if (word == "a") return true;
        return word.size() > 1 && word.size() < 32 &&
               (first_[word[0] - 'a'] & second_[word[1] - 'a'] & bit(word)) != 0;
    }

  private:
    static std::uint32_t bit(string_view word) { return std::uint32_t{1} << word.size(); }
    void add(string_view word) {
        first_[word[0] - 'a'] |= bit(word);
        second_[word[1] - 'a'] |= bit(word);
    }

    std::uint32_t first_[26]{};  // lengths, as bits, by the first letter
    std::uint32_t second_[26]{};
};

// A whole number in words, and how many words it takes; 0 words: no number.
struct Cardinal {
    std::int64_t value = 0;
    std::size_t words = 0;
};

enum class Kind : std::uint8_t { cardinal, dozen, share, times };

// A number in words that ends before word `end`.
struct Phrase {
    Kind kind;
    std::size_t end;
    std::int64_t numerator;
    std::int64_t denominator;
};

class Words {
  public:
    Words(const Words&) = delete;  // views of `lower_`
    Words& operator=(const Words&) = delete;
    explicit Words(Text text) : text_(text), lower_(text.size(), ' ') {
        words_.reserve(text.size() / 4);
        for (std::size_t at = 0; at < text.size();) {
            if (!is_wordlike(text[at])) {
                ++at;
                continue;
            }
            std::size_t end = at;
            bool is_english = true;
            for (; end < text.size() && is_wordlike(text[end]); ++end)
                is_english = is_english && is_ascii_letter(text[end]);
            if (is_english) {
                for (std::size_t k = at; k < end; ++k) lower_[k] = static_cast<char>(lower(text[k]));
                words_.push_back({at, end, string_view(lower_).substr(at, end - at)});
            }
            at = end;
        }
    }

    void append_numbers(const std::vector<Area>& areas, const std::vector<std::size_t>& dollars,
                        std::vector<Number>& numbers) const {
        static const Starts starts;
        std::size_t dozens = 0;
        for (const Word& word : words_) dozens += word.lower == "dozen" || word.lower == "dozens";
        AreaScanner scanner(areas);
        for (std::size_t k = 0; k < words_.size();) {
            Phrase phrase{};
            if (!starts(words_[k].lower) || !read(k, phrase)) {
                ++k;
                continue;
            }
            const std::size_t start = words_[k].start;
            const std::size_t end = words_[phrase.end - 1].end;
            Reason skip = scanner.reason_at(start);
            if (skip == Reason::none) skip = reason(k, phrase, start, end);
            // With several dozens in the text, the others would give the hidden dozen away.
            if (skip == Reason::none && phrase.kind == Kind::dozen && dozens > 1) skip = Reason::repeated;
            const bool multiple = phrase.kind == Kind::share || phrase.kind == Kind::times;
            const std::int64_t common = std::gcd(phrase.numerator, phrase.denominator);
            Number number{start,          end, phrase.numerator / common, phrase.denominator / common,
                          Role::multiple, skip};
            if (!multiple) number.role = role_of(text_, number, dollars);
            numbers.push_back(number);
            k = phrase.end;
        }
    }

  private:
    // Word k if a single space, or with `hyphen` a single hyphen, separates it from word k - 1, else "".
    string_view adjoining(std::size_t k, bool hyphen = true) const {
        if (k < 1 || k >= words_.size() || words_[k].start != words_[k - 1].end + 1) return "";
        const char32_t gap = text_[words_[k - 1].end];
        return gap == U' ' || (hyphen && gap == U'-') ? words_[k].lower : "";
    }
    // Word k in lower case, "" where there is no word k.
    string_view word(std::size_t k) const { return k < words_.size() ? words_[k].lower : ""; }
    // Word k - 1 if a single space separates it from word k, else "".
    string_view previous(std::size_t k) const {
        return k >= 1 && k < words_.size() && !adjoining(k, false).empty() ? word(k - 1) : "";
    }

    Cardinal below_100(std::size_t k) const {
        if (const std::int64_t ten = value_of(tens, word(k))) {
            const std::int64_t unit = value_of(small, adjoining(k + 1));
            if (unit > 0 && unit < 10) return {ten + unit, 2};
            return {ten, 1};
        }
        const std::int64_t value = value_of(small, word(k));
        return {value, value > 0 ? std::size_t{1} : 0};
    }
    Cardinal below_1000(std::size_t k) const {
        Cardinal number = below_100(k);
        if (number.words == 0 && word(k) == "a" && adjoining(k + 1) == "hundred") number = {1, 1};
        if (number.words == 0 || adjoining(k + number.words) != "hundred") return number;
        const Cardinal remainder =
            read_remainder(k + number.words + 1, [&](std::size_t next) { return below_100(next); });
        return {number.value * 100 + remainder.value, number.words + 1 + remainder.words};
    }
    // Reads the whole number below `limit` that starts with word k.
    Cardinal cardinal(std::size_t k, std::int64_t limit = 1000000000000) const {
        Cardinal number = below_1000(k);
        if (number.words == 0 && word(k) == "a" && value_of(powers_of_1000, adjoining(k + 1)) > 0)
            number = {1, 1};
        const std::int64_t power =
            number.words > 0 ? value_of(powers_of_1000, adjoining(k + number.words)) : 0;
        if (power == 0 || power >= limit) return number;
        const Cardinal remainder =
            read_remainder(k + number.words + 1, [&](std::size_t next) { return cardinal(next, power); });
        return {number.value * power + remainder.value, number.words + 1 + remainder.words};
    }
    // Reads what follows "hundred" or "thousand": "[and] forty-four".
    template <typename Read>
    Cardinal read_remainder(std::size_t k, Read read) const {
        const std::size_t skip = adjoining(k, false) == "and" ? 1 : 0;
        const string_view first = adjoining(k + skip, false);
        if (first.empty() || first == "a") return {};
        const Cardinal number = read(k + skip);
        return {number.value, number.words > 0 ? number.words + skip : 0};
    }

    bool read(std::size_t k, Phrase& phrase) const {
        const string_view first = word(k);
        const string_view second = adjoining(k + 1);
        if (first == "half") {
            const std::size_t last = second == "a" ? k + 2 : k + 1;
            const std::int64_t units = value_of(collectives, adjoining(last));
            phrase = {Kind::share, k + 1, 1, 2};
            if (units > 0) phrase = {units == 12 ? Kind::dozen : Kind::cardinal, last + 1, units / 2, 1};
            return true;
        }
        if (const std::int64_t value = value_of(multiples, first)) {
            phrase = {Kind::times, k + 1, value, 1};
            return true;
        }
        if (first == "a" && second == "dozen") {
            phrase = {Kind::dozen, k + 2, 12, 1};
            return true;
        }
        Cardinal number = cardinal(k);
        if (number.words == 0 && first == "a" && share_of(second) > 0) number = {1, 1};
        const std::int64_t share = number.words == 1 && number.value < 10 ? share_of(adjoining(k + 1)) : 0;
        if (share > 0) {
            phrase = {Kind::share, k + 2, number.value, share};
        } else {
            phrase = {Kind::cardinal, k + number.words, number.value, 1};
            if (adjoining(phrase.end, false) == "and" && adjoining(phrase.end + 1, false) == "a" &&
                adjoining(phrase.end + 2, false) == "half") {
                phrase = {Kind::cardinal, phrase.end + 3, 2 * number.value + 1, 2};
            }
        }
        return number.words > 0;
    }

    Reason reason(std::size_t k, const Phrase& phrase, std::size_t start, std::size_t end) const {
        const string_view word_before = previous(k);
        const string_view next = adjoining(phrase.end, false);
        const Text context = text_before(text_, start);
        Backward b{context};
        const Forward f{text_.substr(end)};
        if (b.one_of(U"@&\\#")) return Reason::word;
        if (b.one_of(U"-'’") && !b.at_start() && is_wordlike(b.last())) return Reason::word;
        Forward letter = f;
        if (letter.one_of(U"'’") && is_letter(letter.first())) return Reason::word;
        if (follows_label(context)) return Reason::label;
        if (!is_ascii_lower(text_[start]) && !starts_sentence({context})) return Reason::name;
        if (precedes_time(f.text)) return Reason::time;
        const std::size_t next_word = phrase.end + (next == "and" ? 1 : 0);
        if (phrase.kind == Kind::cardinal && has(ordinals, adjoining(next_word))) return Reason::ordinal;
        letter = f;
        const bool hyphen = letter.one_of(U"-") && is_letter(letter.first());
        if (phrase.kind == Kind::share) {
            if (word_before == "other" || word_before == "another") return Reason::reference;
            return has(words_after_half, next) && !has(words_before_no_share, word_before) && !hyphen
                       ? Reason::none
                       : Reason::idiom;
        }
        if (phrase.kind == Kind::times) return next == "times" || hyphen ? Reason::idiom : Reason::none;
        if (phrase.kind == Kind::cardinal && phrase.numerator == phrase.denominator) {
            // "one" is a number only before a noun, and only where no determiner makes it a pronoun.
            const bool alone = hyphen || next.empty() || has(after_pronoun, next);
            const bool determined = has(determiners, word_before) || has(determiners, previous(k - 1)) ||
                                    (k >= 1 && has(determiners, previous(k - 2)));
            return alone || determined ? Reason::pronoun : Reason::none;
        }
        // "the other four hundred people": nobody counts to a hundred to point back.
        const bool large = word_before == "other" && phrase.numerator >= 100 * phrase.denominator;
        return has(referring, word_before) && !large ? Reason::reference : Reason::none;
    }

    static bool is_ascii_lower(char32_t c) { return c >= U'a' && c <= U'z'; }
    static bool starts_sentence(Backward b) {
        for (; !b.at_start(); b.text.remove_suffix(1)) {
            const char32_t c = b.last();
            if (is_one_of(c, U".!?:;\n")) return true;
            if (!is_space(c) && !is_one_of(c, U"\"'“”‘’(*")) return false;
        }
        return true;
    }

    Text text_;
    std::string lower_;  // the letters of words in lower case, blanks elsewhere
    std::vector<Word> words_;
};

}  // namespace

void find_words(Text text, const std::vector<Area>& areas, const std::vector<std::size_t>& dollars,
                std::vector<Number>& numbers) {
    Words(text).append_numbers(areas, dollars, numbers);
}

bool needs_times(Text text, const Number& number) {
    for (const Named& entry : multiples) {
        if (same(text.substr(number.start, number.end - number.start), entry.name, true)) return true;
    }
    Forward f{text.substr(number.end)};
    return f.one_of(U" ") && !Forward{f}.word({"of", "off"}, true) && f.word(words_after_half, true);
}

}  // namespace dupo
