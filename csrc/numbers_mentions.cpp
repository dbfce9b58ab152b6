// What a number counts: the noun behind the number, and the words that tell two equal numbers apart.
#include "numbers_mentions.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "numbers_cursor.hpp"
#include "numbers_east_asian.hpp"

namespace dupo {
namespace {

using std::string_view;
using Words = std::vector<std::u32string>;

constexpr std::size_t most_words = 8;  // words behind a number that are read
constexpr std::size_t most_nouns = 4;  // words among which the noun stands: "5 large red wooden shelves"

constexpr string_view stops[] = {
    "a",     "about", "after",   "also",    "among",    "an",    "and",     "are",    "as",    "at",
    "ate",   "be",    "because", "been",    "before",   "being", "between", "bought", "but",   "buy",
    "buys",  "by",    "can",     "contain", "contains", "cost",  "costs",   "could",  "did",   "do",
    "does",  "down",  "during",  "each",    "earn",     "earns", "eat",     "eats",   "every", "for",
    "from",  "gave",  "get",     "gets",    "give",     "gives", "go",      "goes",   "got",   "had",
    "has",   "have",  "he",      "here",    "hold",     "holds", "how",     "i",      "if",    "in",
    "into",  "is",    "it",      "made",    "make",     "makes", "may",     "might",  "must",  "need",
    "needs", "nor",   "not",     "off",     "on",       "only",  "onto",    "or",     "out",   "over",
    "per",   "sell",  "sells",   "shall",   "share",    "she",   "should",  "since",  "so",    "sold",
    "take",  "takes", "than",    "that",    "then",     "there", "they",    "this",   "to",    "took",
    "under", "until", "up",      "was",     "we",       "weigh", "weighs",  "went",   "were",  "what",
    "when",  "where", "which",   "while",   "who",      "whom",  "whose",   "will",   "with",  "without",
    "would", "you",
};
constexpr string_view fillers[] = {
    "different", "her", "his",   "its",   "my",    "of",    "our",   "same",
    "such",      "the", "their", "these", "those", "total", "whole", "your",
};
constexpr string_view others[] = {
    "additional", "another", "extra", "fewer", "less", "more", "next", "other", "others", "remaining",
};
constexpr string_view pronouns[] = {
    "them", "us", "which", "whom", "you",
};
constexpr string_view definite[] = {
    "all", "both", "her", "his", "its", "my", "our", "same", "the", "their", "these", "those", "your",
};
constexpr string_view currencies[] = {
    "cent", "cents", "dollar", "dollars", "euro", "euros",
};
constexpr string_view dimensions[] = {
    "ago",    "apart",   "away",   "deep",   "deeper", "earlier", "early",   "east",
    "faster", "heavier", "high",   "higher", "late",   "later",   "left",    "lighter",
    "long",   "longer",  "north",  "old",    "older",  "right",   "shorter", "slower",
    "south",  "tall",    "taller", "thick",  "west",   "wide",    "wider",   "younger",
};
// Of these, "2 years older" is another quantity than "2 years".
constexpr string_view compared[] = {
    "ago",    "apart", "deeper", "earlier", "faster", "heavier", "higher", "later",   "lighter",
    "longer", "old",   "older",  "shorter", "slower", "taller",  "wider",  "younger",
};
// Stems of words that make another unit: "2 square feet" are not 2 feet.
constexpr string_view scales[] = {"dozen", "squar", "cubic"};
constexpr string_view comparing[] = {
    "fewer",
    "less",
    "more",
};
constexpr string_view units[] = {
    "cent",  "cm",   "dai",      "degr",    "dollar", "foot", "ft",   "gallon", "gram", "hour",
    "inch",  "kg",   "kilogram", "kilomet", "km",     "lit",  "m",    "met",    "mil",  "minut",
    "month", "ounc", "point",    "pound",   "second", "week", "yard", "year",
};
constexpr string_view unchanged[] = {
    "deer",
    "dice",
    "fish",
    "sheep",
};
constexpr string_view rates[] = {
    "/", "a", "an", "every", "per",
};

struct Irregular {
    string_view plural;
    string_view singular;
};
constexpr Irregular irregular[] = {
    {"children", "child"}, {"people", "person"}, {"men", "man"},     {"women", "woman"},
    {"feet", "foot"},      {"mice", "mouse"},    {"teeth", "tooth"}, {"geese", "goose"},
};

template <typename Table>
bool has(const Table& table, Text word) {
    return !word.empty() && is_among(word, table, false);
}

const Irregular* irregular_of(Text word) {
    for (const Irregular& entry : irregular) {
        if (same(word, entry.plural, false)) return &entry;
    }
    return nullptr;
}

bool ends_with(Text word, Text ending) {
    return word.size() >= ending.size() && word.substr(word.size() - ending.size()) == ending;
}

// Whether a word in lower case looks like the plural of a noun.
bool is_plural(Text word) {
    if (irregular_of(word) != nullptr || has(unchanged, word)) return true;
    return word.size() > 3 && ends_with(word, U"s") && !ends_with(word, U"ss") && !ends_with(word, U"us") &&
           !ends_with(word, U"is");
}

// One string for singular and plural: shelf and shelves, berry and berries, box and boxes.
std::u32string stem(std::u32string word) {
    if (const Irregular* entry = irregular_of(word)) {
        word.assign(entry->singular.begin(), entry->singular.end());
    } else if (is_plural(word) && !has(unchanged, word)) {
        word.pop_back();
    }
    if (ends_with(word, U"ie")) {
        word.pop_back();
        return word;
    }
    if (ends_with(word, U"y")) {
        word.back() = U'i';
        return word;
    }
    if (ends_with(word, U"e")) word.pop_back();
    if (ends_with(word, U"f")) word.back() = U'v';
    return word;
}

std::u32string lowered(Text word) {
    std::u32string result(word);
    for (char32_t& c : result) c = lower(c);
    return result;
}

// Reads the words behind a number, up to a mark. A slash is a word of its own.
Words words_after(Text text, std::size_t at) {
    while (at < text.size() && is_one_of(text[at], U"\\%")) ++at;
    Words words;
    while (words.size() < most_words && at < text.size()) {
        if (!words.empty() && text[at] == U'/') {
            words.emplace_back(U"/");
            ++at;
        } else if (is_space(text[at])) {
            ++at;
            if (at < text.size() && is_space(text[at])) ++at;
        } else if (text[at] == U'-') {
            ++at;
        }
        const std::size_t start = at;
        while (at < text.size() && is_letter(text[at])) ++at;
        if (at == start) break;
        words.push_back(lowered(text.substr(start, at - start)));
    }
    return words;
}

// Reads the two words before a number, past the sign of a currency or a formula.
void read_words_before(Text text, std::size_t at, std::u32string (&words)[2]) {
    for (std::size_t k = 2; k-- > 0;) {
        while (at > 0 && (is_space(text[at - 1]) || is_one_of(text[at - 1], U"$£€¥₹\\"))) --at;
        const std::size_t end = at;
        while (at > 0 && is_letter(text[at - 1])) --at;
        words[k] = lowered(text.substr(at, end - at));
        if (at == end) break;
    }
}

// The number of words that only repeat the role: "dollars", "percent".
std::size_t unit_words(const Words& words, Role role) {
    if (words.empty()) return 0;
    if (role == Role::money) return has(currencies, words[0]) ? 1 : 0;
    if (role != Role::percent) return 0;
    if (words[0] == U"percent") return 1;
    return words.size() > 1 && words[0] == U"per" && words[1] == U"cent" ? 2 : 0;
}

// What a number of East Asian text counts: 사과 before 5개 with the counter, 个苹 behind 5.
std::u32string counted(Text text, std::size_t start, std::size_t end) {
    if (char_at(text, end) == U' ') ++end;
    if (is_hangul(char_at(text, end))) {
        const std::size_t last = start > 0 && text[start - 1] == U' ' ? start - 1 : start;
        std::size_t first = last;
        while (first > 0 && is_hangul(text[first - 1])) --first;
        return std::u32string(text.substr(first, last - first)) + text[end];
    }
    if (!is_han(char_at(text, end))) return {};
    return std::u32string(text.substr(end, is_han(char_at(text, end + 1)) ? 2 : 1));
}

bool ends_phrase(Text word) { return has(stops, word) || word == U"of"; }

// The stem of the noun behind "of".
std::u32string complement_at(const Words& words, std::size_t k) {
    while (k < words.size() && has(fillers, words[k])) ++k;
    std::size_t last = k;
    while (last < words.size() && !ends_phrase(words[last])) ++last;
    for (std::size_t i = k; i < last; ++i) {
        if (is_plural(words[i])) return stem(words[i]);
    }
    return k < last ? stem(words[k]) : std::u32string();
}

}  // namespace

std::u32string stem_of(Text word) { return stem(lowered(word)); }
bool is_definite_word(Text word) { return has(definite, word); }
bool is_stop(Text word) { return has(stops, word); }
bool is_unit(Text stem) { return has(units, stem); }
bool is_compared(Text dimension) { return has(compared, dimension); }

bool same_scales(const Mention& one, const Mention& two) {
    const auto scaled = [](const Mention& mention, string_view scale) {
        return std::any_of(mention.modifiers.begin(), mention.modifiers.end(),
                           [&](const std::u32string& modifier) { return same(modifier, scale, false); });
    };
    return std::all_of(std::begin(scales), std::end(scales),
                       [&](string_view scale) { return scaled(one, scale) == scaled(two, scale); });
}

Mention mention_of(Text text, const Number& number, std::size_t end) {
    Mention mention;
    read_words_before(text, number.start, mention.before);
    const Words words = words_after(text, end);
    std::size_t k = unit_words(words, number.role);
    mention.is_other = has(others, mention.before[1]);
    for (std::size_t i = 0; i < std::min<std::size_t>(words.size(), 5); ++i) {
        mention.is_other = mention.is_other || has(comparing, words[i]);
    }
    mention.is_definite = has(definite, mention.before[1]);
    for (; k < words.size() && (has(fillers, words[k]) || has(others, words[k])); ++k) {
        mention.is_other = mention.is_other || has(others, words[k]);
    }
    // "the three of them get": no noun
    if (k > 0 && k < words.size() && words[k - 1] == U"of" && has(pronouns, words[k])) {
        mention.is_definite = true;
        return mention;
    }
    std::size_t last = k;
    while (last < words.size() && last - k < most_nouns && !ends_phrase(words[last])) ++last;
    if (words.empty()) mention.noun = counted(text, number.start, end);
    if (last == k) return mention;
    // The noun is the first word that looks like a plural: "5 red pens hold".
    std::size_t head = k;
    while (head < last && !is_plural(words[head])) ++head;
    if (head == last) head = k;
    mention.noun = stem(words[head]);
    for (std::size_t i = k; i < head; ++i) mention.modifiers.push_back(stem(words[i]));
    const std::size_t behind = head + 1;
    const Text next = behind < words.size() ? Text(words[behind]) : Text();
    if (has(rates, next) && behind + 1 < words.size()) mention.rate = stem(words[behind + 1]);
    if (next == U"of") mention.complement = complement_at(words, behind + 1);
    if (behind == 1 && end < text.size() && text[end] == U'-' && !is_stop(next)) {
        mention.complement = stem(std::u32string(next));
    }
    if (has(dimensions, next)) mention.dimension = next;
    if (next == U"to" && behind + 1 < words.size()) {
        mention.purpose = words[behind + 1];
        if (mention.purpose.back() == U'e') mention.purpose.pop_back();
    }
    return mention;
}

}  // namespace dupo
