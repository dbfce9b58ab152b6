// LaTeX formulas: functions and arguments, brackets, and the $ around a formula.
#include <cstddef>
#include <string_view>
#include <vector>

#include "numbers_cursor.hpp"
#include "numbers_marks.hpp"
#include "numbers_steps.hpp"

namespace dupo {
namespace {

using std::string_view;

constexpr string_view functions[] = {
    "log",    "ln",     "lg",     "exp", "sin", "cos", "tan", "cot", "sec",  "csc",
    "arcsin", "arccos", "arctan", "gcd", "lcm", "min", "max", "det", "pmod", "bmod",
};
constexpr string_view binomials[] = {"binom", "dbinom", "tbinom"};

void blanks(Backward& b) {
    while (b.one_of(U" ")) {
    }
}

// Reads {...} with no brace inside.
bool braced(Backward& b) {
    Backward next = b;
    if (!next.one_of(U"}")) return false;
    next.text.remove_suffix(next.run([](char32_t c) { return c != U'{' && c != U'}'; }).size());
    if (!next.one_of(U"{")) return false;
    b = next;
    return true;
}

// Whether \log, \log_2 or \log_{10} stands before.
bool follows_name(Backward b, bool or_binomial) {
    const auto name = [&](Backward& at) {
        return at.command(functions) || (or_binomial && at.command(binomials));
    };
    if (name(b)) return true;
    if (!braced(b)) {
        if (!is_ascii_letter(b.last()) && !is_digit(b.last())) return false;
        b.text.remove_suffix(1);
    }
    return b.one_of(U"_") && name(b);
}

bool names_function(Backward b) {
    if (b.last() == U'}' || Backward{b}.command(functions)) return true;
    const std::size_t letters = b.run(is_letter).size();
    if (letters > 0) {
        b.text.remove_suffix(letters);
        return b.last() != U'\\';
    }
    if (b.one_of(U"'’")) return is_ascii_letter(b.last());
    if (!is_digit(b.last())) return false;
    b.text.remove_suffix(1);
    return b.one_of(U"_") && is_ascii_letter(b.last());
}

// Why numbers inside a bracket that follows `b` may not be hidden.
Reason reason_inside(Backward b, char32_t bracket) {
    if (bracket == U'(') {
        const bool argument =
            names_function(b) || ((b.literal("\\left") || b.literal("\\big")) && names_function(b));
        return argument ? Reason::argument : Reason::none;
    }
    if (bracket == U'{') {
        if (Backward{b}.literal("\\overline")) return Reason::part_of_longer;
        Backward name = b;
        name.one_of(U"\\");
        Backward second = name;
        blanks(name);
        if (follows_name(name, true)) return Reason::argument;
        if (braced(second)) {
            blanks(second);
            if (follows_name(second, true)) return Reason::argument;
        }
    }
    if (bracket == U'[') return b.literal("\\sqrt") ? Reason::power : Reason::none;
    blanks(b);
    return b.last() == U'_' ? Reason::subscript : b.last() == U'^' ? Reason::power : Reason::none;
}

// Whether a bracket shows the coordinates of a point: A(1,2).
bool is_point(Text text, std::size_t start) {
    if (start == 0 || text[start - 1] < U'A' || text[start - 1] > U'Z') return false;
    if (start > 1 && (is_wordlike(text[start - 2]) || is_one_of(text[start - 2], U"\\_"))) return false;
    return bracketed_list_end(text, start) > 0;
}

}  // namespace

bool follows_function(Text before) {
    Backward b{before};
    blanks(b);
    return follows_name(b, false);
}

void add_bracket_areas(Text text, std::vector<Area>& areas) {
    constexpr Text opening = U"({[";
    constexpr Text closing = U")}]";
    std::vector<std::size_t> open[3];
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (is_ascii_letter(text[at]) || text[at] == U' ') continue;  // most characters are
        const std::size_t opens = opening.find(text[at]);
        const std::size_t closes = closing.find(text[at]);
        if (opens != Text::npos) open[opens].push_back(at);
        if (closes == Text::npos || open[closes].empty()) continue;
        const std::size_t start = open[closes].back();
        open[closes].pop_back();
        const Reason reason = reason_inside({text_before(text, start)}, text[start]);
        if (reason != Reason::none && !is_point(text, start)) areas.push_back({start, at + 1, reason});
    }
}

std::vector<std::size_t> formula_dollars(Text text) {
    std::vector<std::size_t> places;
    std::vector<std::size_t> dollars;
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (text[at] == U'$' && (at == 0 || text[at - 1] != U'\\')) places.push_back(at);
    }
    for (std::size_t k = 0; k + 1 < places.size(); ++k) {
        const std::size_t start = places[k];
        const std::size_t end = places[k + 1];
        const bool blank = end == start + 1 || is_space(text[start + 1]) || is_space(text[end - 1]);
        if (blank || (end + 1 < text.size() && is_digit(text[end + 1]))) continue;
        dollars.push_back(start);
        dollars.push_back(end);
        ++k;
    }
    return dollars;
}

}  // namespace dupo
