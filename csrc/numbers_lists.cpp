// Lists of numbers: members that the other members tell, and lists that share a reason.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "numbers_cursor.hpp"
#include "numbers_phrase_table.hpp"
#include "numbers_steps.hpp"

namespace dupo {
namespace {

using std::string_view;

constexpr std::size_t longest_gap = 40;  // characters between two members
constexpr string_view dots[] = {"ldots", "cdots", "dots", "dotsc", "dotsb"};
constexpr string_view times[] = {"times"};
constexpr string_view operators[] = {"cdot", "times"};
// "the digits 1, 3 and 7": words before a list whose members are names, not quantities.
constexpr string_view numbered[] = {"numbered", "labeled", "labelled", "marked", "digits", "rows", "columns"};
constexpr string_view counted[] = {"numbers", "integers"};

// What stands between two members of a list.
struct Gap {
    bool comma = false;
    bool dots = false;
    bool word = false;  // and, or, nor
};

void blanks(Forward& f) {
    for (;;) {
        if (f.space() || f.one_of(U"$")) continue;
        Forward thin = f;
        if (!thin.one_of(U"\\") || !thin.one_of(U",;!")) return;
        f = thin;
    }
}

void blanks(Backward& b) {
    for (;;) {
        if (b.space() || b.one_of(U"$")) continue;
        Backward thin = b;
        if (!thin.one_of(U",;!") || !thin.one_of(U"\\")) return;
        b = thin;
    }
}

// Reads a LaTeX command, \name.
template <typename Names>
bool command(Forward& f, const Names& names) {
    Forward next = f;
    if (!next.one_of(U"\\")) return false;
    std::size_t letters = 0;
    while (letters < next.text.size() && is_ascii_letter(next.text[letters])) ++letters;
    if (!is_among(next.text.substr(0, letters), names, false)) return false;
    next.text.remove_prefix(letters);
    f = next;
    return true;
}

bool operation(Forward& f) { return f.one_of(U"+*·×") || command(f, operators); }
bool three_dots(Forward& f) { return f.literal("...") || f.one_of(U"…") || command(f, dots); }

// Whether `between` may stand between two members.
bool read_gap(Text between, Gap& gap) {
    if (between.size() > longest_gap) return false;
    Forward f{between};
    blanks(f);
    gap.comma = f.one_of(U",;");
    const bool sign = !gap.comma && operation(f);
    blanks(f);
    gap.dots = three_dots(f);
    if (gap.dots) {
        blanks(f);
        if (!f.one_of(U",;")) operation(f);
        blanks(f);
    }
    gap.word = f.word({"and", "or", "nor"}, false);
    if (gap.word) blanks(f);
    f.one_of(U"-");
    return f.text.empty() && (gap.comma || sign || gap.dots || gap.word);
}

bool is_member(const Number& number) { return number.denominator == 1 && number.role == Role::count; }

// The gaps of the list that starts with number `first`; no gap: a number by itself.
std::vector<Gap> gaps_of(Text text, const std::vector<Number>& numbers, std::size_t first) {
    std::vector<Gap> gaps;
    for (std::size_t k = first; k + 1 < numbers.size(); ++k) {
        Gap gap;
        const std::size_t start = numbers[k].end;
        if (!is_member(numbers[k]) || !is_member(numbers[k + 1])) break;
        if (!read_gap(text.substr(start, numbers[k + 1].start - start), gap)) break;
        gaps.push_back(gap);
        if (gap.word) break;  // "and" ends a list
    }
    return gaps;
}

// Whether the number says how many numbers are listed after it.
bool counts(const Number& number, const Number& first, std::size_t members) {
    return first.start - number.end <= longest_gap && is_member(number) &&
           number.numerator == static_cast<std::int64_t>(members);
}

bool precedes_dots(Text after) {
    Forward f{after};
    blanks(f);
    if (!f.one_of(U",;")) operation(f);
    blanks(f);
    return three_dots(f);
}

bool in_braces(Text before, Text after) {
    Backward b{before};
    b.one_of(U"-");
    blanks(b);
    Forward f{after};
    blanks(f);
    f.one_of(U"\\");
    return b.one_of(U"{") && f.one_of(U"}");
}

bool enumerates(Text text, const std::vector<Number>& numbers, std::size_t first, std::size_t last) {
    bool equal_steps = true;
    const std::int64_t step = numbers[first + 1].numerator - numbers[first].numerator;
    for (std::size_t k = first; k < last; ++k)
        equal_steps = equal_steps && numbers[k + 1].numerator - numbers[k].numerator == step;
    if (equal_steps && step == 1 && (numbers[first].numerator <= 1 || last - first > 3)) return true;
    const std::size_t start = numbers[first].start;
    const std::size_t seen = start - std::min(start, phrases::nearby);
    const Text context = text.substr(seen, start - seen);
    if (in_braces(context, text.substr(numbers[last].end))) return true;
    const std::vector<Text> tokens = tokens_of(context);
    const Text word = tokens.empty() ? Text() : tokens.back();
    return is_among(word, numbered, true) || (equal_steps && is_among(word, counted, true));
}

// Numbers first to last are a list.
void skip_members(Text text, std::vector<Number>& numbers, std::size_t first, std::size_t last,
                  const std::vector<Gap>& gaps) {
    if (gaps.empty()) return;
    const auto skip = [&](std::size_t to, Reason reason) {
        for (std::size_t k = first; k <= to; ++k) {
            if (numbers[k].skip == Reason::none) numbers[k].skip = reason;
        }
    };
    // What is said of a whole list: "divisible by 3 and 5".
    const Reason shared = numbers[first].skip;
    if (shared == Reason::divisor || shared == Reason::example) return skip(last, shared);
    // "12 and 21 are such integers"
    if (numbers[last].skip == Reason::example) return skip(last, Reason::example);
    const bool open_end = precedes_dots(text.substr(numbers[last].end));
    if (open_end || std::any_of(gaps.begin(), gaps.end(), [](const Gap& gap) { return gap.dots; })) {
        // {1, 2, ..., 40}: no other member tells the 40.
        return skip(!open_end && gaps.back().dots ? last - 1 : last, Reason::enumeration);
    }
    const bool listed = gaps.size() > 1 && (gaps.back().comma || gaps.back().word) &&
                        std::all_of(gaps.begin(), gaps.end() - 1, [](const Gap& gap) { return gap.comma; });
    if (listed && enumerates(text, numbers, first, last)) skip(last, Reason::enumeration);
}

// A longer number is no side, and three sides fit 64 bits.
bool is_side(const Number& number) {
    return is_member(number) && number.numerator > 1 && number.numerator <= 1000000;
}

// "by" or a times sign.
bool is_times(Text between) {
    if (between.size() > longest_gap) return false;
    Forward f{between};
    blanks(f);
    if (!f.literal("by") && !f.one_of(U"x×") && !command(f, times)) return false;
    blanks(f);
    return f.text.empty();
}

// Whether two numbers are sides of one grid or box: "5 by 7".
bool are_sides(Text text, const Number& a, const Number& b) {
    return is_side(a) && is_side(b) && is_times(text.substr(a.end, b.start - a.end));
}

// Skips the sides first to last and their product, where it stands close by.
void skip_product(std::vector<Number>& numbers, std::size_t first, std::size_t last) {
    std::int64_t product = 1;
    for (std::size_t k = first; k <= last; ++k) product *= numbers[k].numerator;
    const auto skip = [](Number& number) {
        if (number.skip == Reason::none) number.skip = Reason::definition;
    };
    bool stands = false;
    const std::size_t end = std::min(last + 4, numbers.size());
    for (std::size_t j = first - std::min<std::size_t>(first, 2); j < end; ++j) {
        if ((j >= first && j <= last) || !is_member(numbers[j]) || numbers[j].numerator != product) continue;
        skip(numbers[j]);
        stands = true;
    }
    for (std::size_t k = first; stands && k <= last; ++k) skip(numbers[k]);
}

constexpr std::size_t longest_head = 5;  // words of "two old friends named"

bool is_small(char32_t c) { return c >= U'a' && c <= U'z'; }

bool is_capital(char32_t c) { return c >= U'A' && c <= U'Z'; }

// Reads a word of a list that is not "and".
bool listed_word(Forward& f) {
    std::size_t size = 0;
    while (size < f.text.size() && is_ascii_letter(f.text[size])) ++size;
    if (size == 0 || same(f.text.substr(0, size), "and", false)) return false;
    f.text.remove_prefix(size);
    return true;
}

// Reads "Ben" of a list of names, else "red" or "light red".
bool listed(Forward& f, bool names) {
    if (names) {
        std::size_t size = 1;
        while (size < f.text.size() && is_small(f.text[size])) ++size;
        if (size < 2 || !is_capital(f.first())) return false;
        f.text.remove_prefix(size);
        return true;
    }
    if (!listed_word(f)) return false;
    Forward next = f;
    if (next.one_of(U" ") && listed_word(next)) f = next;
    return true;
}

// Counts the things or names of the list behind a noun; 0 for no list.
std::int64_t listed_behind(Text after) {
    Forward f{after};
    Text word;
    for (std::size_t k = 0; k < longest_head && f.text.size() > 1; ++k) {
        if (!is_one_of(f.first(), U" -") || !is_small(f.text[1])) break;
        std::size_t end = 1;
        while (end < f.text.size() && is_small(f.text[end])) ++end;
        word = f.text.substr(0, end);
        f.text.remove_prefix(end);
    }
    if (word.empty()) return 0;
    const bool comma = f.one_of(U",");
    const bool names = comma || word == U" named" || word == U" called";
    if ((!names && !f.one_of(U":")) || !f.one_of(U" ") || !listed(f, names)) return 0;
    for (std::int64_t count = 2;; ++count) {
        const bool more = f.one_of(U",");
        if (!f.one_of(U" ")) return 0;
        Forward last = f;
        if (last.literal("and ")) {
            const bool name = is_capital(last.first()) && last.text.size() > 1 && is_small(last.text[1]);
            return (names ? name : is_ascii_letter(last.first())) ? count : 0;
        }
        if (!more || !listed(f, names)) return 0;
    }
}

}  // namespace

void skip_by_members(Text text, std::vector<Number>& numbers) {
    for (Number& number : numbers) {
        if (number.skip != Reason::none || !is_member(number) || number.numerator < 2) continue;
        if (listed_behind(text.substr(number.end)) == number.numerator) number.skip = Reason::definition;
    }
}

void skip_by_products(Text text, std::vector<Number>& numbers) {
    for (std::size_t first = 0; first < numbers.size();) {
        std::size_t last = first;
        while (last + 1 < numbers.size() && are_sides(text, numbers[last], numbers[last + 1])) ++last;
        if (last - first == 1 || last - first == 2) skip_product(numbers, first, last);
        first = last + 1;
    }
}

void skip_by_lists(Text text, std::vector<Number>& numbers) {
    for (std::size_t first = 0; first < numbers.size();) {
        const std::vector<Gap> gaps = gaps_of(text, numbers, first);
        // "the four numbers 2, 5, 8 and 12": the list tells how many.
        if (gaps.size() > 1 && first > 0 && counts(numbers[first - 1], numbers[first], gaps.size() + 1) &&
            numbers[first - 1].skip == Reason::none) {
            numbers[first - 1].skip = Reason::definition;
        }
        skip_members(text, numbers, first, first + gaps.size(), gaps);
        first += gaps.size() + 1;
    }
}

}  // namespace dupo
