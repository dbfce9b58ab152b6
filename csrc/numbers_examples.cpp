// Worked examples: stretches of a text whose numbers only show what is meant.
#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <string_view>
#include <vector>

#include "numbers_cursor.hpp"
#include "numbers_steps.hpp"

namespace dupo {
namespace {

constexpr std::size_t longest_clause = 100;  // characters of the clause before the words that are read
constexpr std::size_t longest_imagined = 200;
constexpr std::size_t most_digits = 18;
constexpr int most_operations = 8;
constexpr Text first_letters = U"aefhost";  // of the words that start an example
constexpr std::string_view conclusions[] = {"thus", "hence", "so", "so that"};
constexpr std::string_view operators[] = {"cdot", "times"};

// Whether the sentence ends at `at`.
bool ends_sentence(Text text, std::size_t at) {
    const Forward next{text.substr(at + 1)};
    if (text[at] == U'\n') {
        for (const char32_t c : next.text) {
            if (c == U'\n') return true;
            if (!is_space(c)) return false;
        }
        return false;
    }
    if (!is_one_of(text[at], U".!?") || (at > 0 && text[at - 1] == U'.')) return false;
    return next.text.empty() || next.first() == U'$' || is_space(next.first()) ||
           Forward{next}.literal("\\)");
}

// Whether the sentence after the mark goes on with an example.
bool example_goes_on(Forward f) {
    if (!f.one_of(U".!?")) return false;
    while (f.space() || f.one_of(U"$") || f.literal("\\)")) {
    }
    return f.word({"Similarly", "Likewise", "Also", "Here", "Its", "Since", "But", "Thus"}, false);
}

// Reads "thus" where a value of a function follows: "thus f(3) = 9".
bool thus(Forward& f) {
    for (const std::string_view word : conclusions) {
        Forward next = f;
        if (!next.word({word}, true)) continue;
        Forward value = next;
        value.one_of(U",");
        if (!value.space()) continue;
        value.one_of(U"$");
        if (value.text.size() < 3 || !is_ascii_letter(value.text[0])) continue;
        if (value.text[1] != U'(' || !is_digit(value.text[2])) continue;
        f = next;
        return true;
    }
    return false;
}

// Where the clause before ", for example," starts; `place` where no clause belongs to the example.
std::size_t clause_start(Text text, std::size_t place) {
    if (place < 2 || text[place - 2] != U',' || text[place - 1] != U' ') return place;
    const std::size_t first = place - std::min(place, longest_clause);
    const Text before = text.substr(first, place - 2 - first);
    // "so that, for instance, 3*5 = 11": the clause before the words is none of the example.
    if (Backward{before}.word({"that", "so", "thus", "hence", "and", "or", "but", "where", "then", "as",
                               "with", "since", "because", "while", "when", "if"},
                              true)) {
        return place;
    }
    for (std::size_t k = before.size(); k-- > 0;) {
        const bool after_mark = k > 0 && is_space(before[k]) && is_one_of(before[k - 1], U",;:.!?");
        if (after_mark || is_one_of(before[k], U"(\n")) return first + k + 1;
    }
    return first;
}

// Where the sentence or the parenthesis of an example ends. at: behind the words that say so.
std::size_t example_end(Text text, std::size_t at) {
    int depth = 0;
    for (; at < text.size(); ++at) {
        if (text[at] == U'(') ++depth;
        if (text[at] == U')' && --depth < 0) return at;
        if (ends_sentence(text, at) && !example_goes_on({text.substr(at)})) return at;
    }
    return text.size();
}

// Reads the word of "the number 12, say, is even".
bool say(Text text, std::size_t at, Forward& f) {
    Forward next = f;
    if (at < 2 || text[at - 2] != U',' || text[at - 1] != U' ') return false;
    if (!next.word({"say"}, true) || next.first() != U',') return false;
    f = next;
    return true;
}

// "for example, 21 is odd-looking" and "the reversal of 173, for example, is 371"
void add_said(Text text, std::vector<Area>& areas) {
    for (std::size_t at = 0; at < text.size();) {
        Forward f{text.substr(at)};
        const bool starts =
            is_one_of(lower(text[at]), first_letters) && (at == 0 || !is_wordlike(text[at - 1]));
        const bool middle = starts && (f.word({"for example", "for instance"}, true) || say(text, at, f));
        if (!middle && !(starts && (f.word({"e.g.", "such as", "as an example", "an example of",
                                            "an example is", "one example", "one such"},
                                           true) ||
                                    thus(f)))) {
            ++at;
            continue;
        }
        const bool in_clause = middle && (f.text.empty() || is_one_of(f.first(), U",.;?!"));
        const std::size_t end = example_end(text, text.size() - f.text.size());
        areas.push_back({in_clause ? clause_start(text, at) : at, end, Reason::example});
        at = end;
    }
}

// "(With 4 people there would be 6 handshakes.)"
void add_imagined(Text text, std::vector<Area>& areas) {
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (text[at] != U'(') continue;
        Forward f{text.substr(at + 1)};
        if (!f.word({"with", "if", "when", "for", "had"}, true) || !f.space()) continue;
        const std::size_t start = text.size() - f.text.size();
        const std::size_t end = text.find_first_of(U"()", start);
        if (end == Text::npos || text[end] != U')' || end - start > longest_imagined) continue;
        for (std::size_t k = start - 1; k < end; ++k) {
            if (is_wordlike(text[k - 1]) || !Forward{text.substr(k, end - k)}.word({"would"}, true)) continue;
            areas.push_back({at, end + 1, Reason::example});
            break;
        }
    }
}

bool digits(Forward& f) {
    std::size_t count = 0;
    while (count < f.text.size() && is_digit(f.text[count])) ++count;
    if (count == 0 || count > most_digits) return false;
    f.text.remove_prefix(count);
    return true;
}

bool operation(Forward& f) {
    f.space();
    if (f.one_of(U"-+*·×/")) return true;
    if (!f.one_of(U"\\")) return false;
    for (const std::string_view name : operators) {
        Forward next = f;
        if (!next.literal(name) || is_ascii_letter(next.first())) continue;
        f = next;
        return true;
    }
    return false;
}

// Whether an equation without an unknown starts at `at`: 4+8+2=14. `text` ends with the sentence.
bool starts_equation(Text text, std::size_t at) {
    if (!is_digit(text[at])) return false;
    if (at > 0) {
        const char32_t c = text[at - 1];
        if (is_digit(c) || is_ascii_letter(c) || is_one_of(c, U".,+*·×/^)}\\-")) return false;
        if (c == U' ' && at > 1 && is_one_of(text[at - 2], U"-+*·×/^")) return false;
    }
    Forward f{text.substr(at)};
    if (!digits(f)) return false;
    int operations = 0;
    for (;;) {
        Forward next = f;
        if (operations == most_operations || !operation(next)) break;
        next.space();
        if (!digits(next)) break;
        f = next;
        ++operations;
    }
    if (operations == 0) return false;
    f.space();
    if (!f.one_of(U"=")) return false;
    f.space();
    f.one_of(U"-");
    if (!digits(f)) return false;
    if (is_ascii_letter(f.first()) || is_one_of(f.first(), U"^(\\")) return false;
    f.space();
    return f.text.empty() || !is_one_of(f.first(), U"-+*·×/=");
}

// Sentences before the last one that show an equation without an unknown.
void add_equations(Text text, std::vector<Area>& areas) {
    std::size_t size = text.size();
    while (size > 0 && is_space(text[size - 1])) --size;
    std::size_t start = 0;
    for (std::size_t at = 0; at + 1 < size; ++at) {
        if (!ends_sentence(text, at)) continue;
        const Text sentence = text.substr(0, at);
        for (std::size_t k = start; k < at; ++k) {
            if (!starts_equation(sentence, k)) continue;
            areas.push_back({start, at, Reason::example});
            break;
        }
        start = at + 1;
    }
}

}  // namespace

void add_example_areas(Text text, std::vector<Area>& areas) {
    add_said(text, areas);
    add_imagined(text, areas);
    add_equations(text, areas);
}

}  // namespace dupo
