// Whether a text ends on a question, and what the question only supposes: "if he buys 5 pens".
#include "numbers_questions.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "numbers_cursor.hpp"
#include "numbers_mentions.hpp"

namespace dupo {
namespace {

using std::string_view;

constexpr string_view supposing[] = {
    "if",        "when",   "whenever", "while", "unless",   "suppose",
    "supposing", "assume", "assuming", "given", "provided",
};
// "after he buys 5 pens" supposes; "after 5 years" does not.
constexpr string_view temporal[] = {"after", "before", "until"};
// These ask too, or go on: "Ann, who has 5 pens".
constexpr string_view relative[] = {"which", "who", "whom", "whose", "where"};
// Behind a comma, a supposition goes on with these words.
constexpr string_view joining[] = {"and", "or", "but", "then"};
// Words of a sentence that speaks of something else than the sentences before.
constexpr string_view turns[] = {
    "first",     "second",   "third",   "fourth",    "fifth",     "sixth", "seventh", "eighth",
    "ninth",     "tenth",    "last",    "next",      "following", "final", "then",    "later",
    "finally",   "also",     "too",     "again",     "another",   "other", "others",  "today",
    "yesterday", "tomorrow", "morning", "afternoon", "evening",   "night", "monday",  "tuesday",
    "wednesday", "thursday", "friday",  "saturday",  "sunday",
};
constexpr Text supposing_marks[] = {U"면 ", U"면,",  U"如果", U"假如", U"要是",
                                    U"再",  U"もし", U"れば", U"たら"};

// The words of a text, its commas and its semicolons.
std::vector<Text> words_of(Text text) {
    std::vector<Text> words;
    for (std::size_t at = 0; at < text.size();) {
        std::size_t end = at;
        while (end < text.size() && is_ascii_letter(text[end])) ++end;
        if (end > at || is_one_of(text[at], U",;"))
            words.push_back(text.substr(at, std::max<std::size_t>(end - at, 1)));
        at = std::max(end, at + 1);
    }
    return words;
}

bool asks_or_goes_on(Text word) {
    static const std::vector<Text> asking = split(asking_words, U'|');
    const auto equals = [&](Text asked) {
        return std::equal(asked.begin(), asked.end(), word.begin(), word.end(),
                          [](char32_t a, char32_t b) { return a == lower(b); });
    };
    return std::any_of(asking.begin(), asking.end(), equals) || is_among(word, relative, true);
}

bool is_comma(Text word) { return is_one_of(word.front(), U",;"); }

// Whether a word starts with a capital and is no small word.
bool is_name(Text word) {
    if (word.front() >= U'a' || is_comma(word)) return false;
    std::u32string small(word);
    for (char32_t& c : small) c = lower(c);
    return !is_stop(small) && !is_definite_word(small);
}

}  // namespace

bool asks(Text sentence) {
    Backward end{sentence};
    while (end.one_of(U" \n")) {
    }
    if (is_one_of(end.last(), U"?？")) return true;
    const std::vector<Text> words = words_of(sentence);
    return std::any_of(words.begin(), words.end(), asks_or_goes_on);
}

bool has_supposing_mark(Text sentence) {
    return std::any_of(std::begin(supposing_marks), std::end(supposing_marks),
                       [&](Text mark) { return sentence.find(mark) != Text::npos; });
}

bool supposes(Text clause) {
    const std::vector<Text> words = words_of(clause);
    bool supposed = false;
    bool comma = false;
    for (std::size_t k = 0; k < words.size(); ++k) {
        if (is_comma(words[k])) {
            comma = true;
            continue;
        }
        if (asks_or_goes_on(words[k]) || (comma && !is_among(words[k], joining, true))) supposed = false;
        const bool starts = is_among(words[k], temporal, true) && k + 1 < words.size();
        if (starts || is_among(words[k], supposing, true)) supposed = true;
        comma = false;
    }
    return supposed;
}

bool contrasts(Text sentence, Text later) {
    const std::vector<Text> words = words_of(sentence);
    const std::vector<Text> later_words = words_of(later);
    return std::any_of(later_words.begin(), later_words.end(), [&](Text word) {
        return (is_name(word) || is_among(word, turns, false)) &&
               std::find(words.begin(), words.end(), word) == words.end();
    });
}

}  // namespace dupo
