// Lists in brackets, whose commas separate numbers, and the marks of exercises: (1) and (2).
#include "numbers_marks.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "numbers_cursor.hpp"

namespace dupo {
namespace {

constexpr std::size_t most_blanks = 4;  // before a mark

void blanks(Forward& f) {
    for (;;) {
        if (f.one_of(U" ")) continue;
        Forward thin = f;
        if (!thin.one_of(U"\\") || !thin.one_of(U" ,;!")) return;
        f = thin;
    }
}

bool digits(Forward& f) {
    const bool found = is_digit(f.first());
    while (is_digit(f.first())) f.text.remove_prefix(1);
    return found;
}

bool letters(Forward& f) {
    const bool found = is_ascii_letter(f.first());
    while (is_ascii_letter(f.first())) f.text.remove_prefix(1);
    return found;
}

// Reads a number, a letter, a command or dots. A member such as 000 says that the comma is a thousands comma.
bool member(Forward& f) {
    f.one_of(U"+-");
    if (is_digit(f.first())) {
        if (f.first() == U'0' && f.text.size() > 1 && is_digit(f.text[1])) return false;
        digits(f);
        Forward places = f;
        if (places.one_of(U".") && digits(places)) f = places;
        return true;
    }
    if (f.literal("...") || f.one_of(U"…")) return true;
    if (f.one_of(U"\\")) return letters(f);
    if (!is_ascii_letter(f.first())) return false;
    f.text.remove_prefix(1);
    return true;
}

void size_of_bracket(Forward& f) {
    Forward next = f;
    if (!next.one_of(U"\\")) return;
    if (next.literal("right")) {
        f = next;
        return;
    }
    if (!next.literal("big") && !next.literal("Big")) return;
    next.one_of(U"g");
    next.one_of(U"r");
    f = next;
}

// A mark such as the 2 of (2): where its digits stand.
struct Mark {
    std::size_t start, end;
    std::size_t value;
};

// One or two digits at `at`; false where there is another number of digits.
bool read_mark(Text text, std::size_t at, Mark& mark) {
    mark = {at, at, 0};
    for (; mark.end < text.size() && is_digit(text[mark.end]); ++mark.end) {
        mark.value = mark.value * 10 + (text[mark.end] - U'0');
        if (mark.end - at > 1) return false;
    }
    return mark.end > at;
}

bool is_char(Text text, std::size_t at, Text set) { return at < text.size() && is_one_of(text[at], set); }

std::vector<Mark> marks_in_parentheses(Text text) {
    std::vector<Mark> marks;
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (!is_one_of(text[at], U"(（")) continue;
        if (at > 0 && (is_wordlike(text[at - 1]) || is_one_of(text[at - 1], U")]}\\^$"))) continue;
        const bool full = text[at] == U'（';
        Mark mark;
        if (!read_mark(text, at + 1, mark) || !is_char(text, mark.end, full ? U"）" : U")")) continue;
        if (full || (mark.end + 1 < text.size() && is_space(text[mark.end + 1]))) marks.push_back(mark);
    }
    return marks;
}

// Whether a text, a line or a sentence starts at `at`.
bool starts(Text text, std::size_t at) {
    for (std::size_t k = 0; k <= most_blanks; ++k, --at) {
        if (at == 0 || is_one_of(text[at - 1], U".?!:;。？！：；\n")) return true;
        if (!is_space(text[at - 1])) return false;
    }
    return false;
}

std::vector<Mark> marks_with_point(Text text) {
    std::vector<Mark> marks;
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (!is_digit(text[at]) || (at > 0 && is_wordlike(text[at - 1]))) continue;
        Mark mark;
        if (!read_mark(text, at, mark) || !is_char(text, mark.end, U".)")) continue;
        const bool apart = mark.end + 1 < text.size() && is_space(text[mark.end + 1]);
        if (apart && starts(text, at)) marks.push_back(mark);
    }
    return marks;
}

void add_mark(const Mark& mark, std::vector<Area>& areas) {
    areas.push_back({mark.start, mark.end, Reason::label});
}

// Adds the marks that count up from 1 to at least 2.
void add_runs(const std::vector<Mark>& marks, std::vector<Area>& areas) {
    std::vector<Mark> run;
    const auto finish = [&] {
        if (run.size() > 1) {
            for (const Mark& mark : run) add_mark(mark, areas);
        }
        run.clear();
    };
    for (const Mark& mark : marks) {
        if (mark.value == 1) finish();
        if (mark.value == run.size() + 1) run.push_back(mark);
    }
    finish();
}

}  // namespace

std::size_t bracketed_list_end(Text text, std::size_t at) {
    const char32_t before = at > 0 ? text[at - 1] : U'\0';
    if (is_one_of(text[at], U"([")) {
        if (is_digit(before) || before == U')') return 0;
    } else if (text[at] != U'{' || is_ascii_letter(before) || is_one_of(before, U"}^_")) {
        return 0;
    }
    Forward f{text.substr(at + 1)};
    std::size_t members = 0;
    do {
        blanks(f);
        if (!member(f)) return 0;
        blanks(f);
        ++members;
    } while (f.one_of(U","));
    size_of_bracket(f);
    f.one_of(U"\\");
    return members > 1 && f.one_of(U")]}") ? text.size() - f.text.size() : 0;
}

void add_list_marks(Text text, std::vector<Area>& areas) {
    add_runs(marks_in_parentheses(text), areas);
    const std::vector<Mark> marks = marks_with_point(text);
    const std::size_t before = areas.size();
    add_runs(marks, areas);
    if (marks.empty()) return;
    // "17. Ann has 5 pens."
    const Text lead = text.substr(0, marks[0].start);
    const bool leads =
        std::all_of(lead.begin(), lead.end(), [](char32_t c) { return c == U' ' || c == U'\n'; });
    const bool is_new = areas.size() == before || areas[before].start != marks[0].start;
    if (leads && is_new) add_mark(marks[0], areas);
}

}  // namespace dupo
