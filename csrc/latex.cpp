// Formulas: functions and their arguments, brackets, and the $ around.
#include <cstddef>
#include <string_view>
#include <vector>

#include "cursor.hpp"
#include "numbers.hpp"

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

// Past {...}, with no brace in it.
bool braced(Backward& b) {
    Backward rest = b;
    if (!rest.one_of(U"}")) return false;
    rest.text.remove_suffix(rest.run([](char32_t c) { return c != U'{' && c != U'}'; }).size());
    if (!rest.one_of(U"{")) return false;
    b = rest;
    return true;
}

// \log, \log_2, \log_{10}.
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

// What a bracket after `b` makes of the numbers in it.
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

}  // namespace

bool follows_function(Text before) {
    Backward b{before};
    blanks(b);
    return follows_name(b, false);
}

void add_brackets(Text text, std::vector<Area>& areas) {
    constexpr Text opening = U"({[";
    constexpr Text closing = U")}]";
    std::vector<std::size_t> open[3];
    for (std::size_t at = 0; at < text.size(); ++at) {
        const std::size_t opens = opening.find(text[at]);
        const std::size_t closes = closing.find(text[at]);
        if (opens != Text::npos) open[opens].push_back(at);
        if (closes == Text::npos || open[closes].empty()) continue;
        const std::size_t start = open[closes].back();
        open[closes].pop_back();
        const Reason reason = reason_inside({before(text, start)}, text[start]);
        if (reason != Reason::none) areas.push_back({start, at + 1, reason});
    }
}

std::vector<std::size_t> formula_marks(Text text) {
    std::vector<std::size_t> places;
    std::vector<std::size_t> marks;
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (text[at] == U'$' && (at == 0 || text[at - 1] != U'\\')) places.push_back(at);
    }
    for (std::size_t k = 0; k + 1 < places.size(); ++k) {
        const std::size_t start = places[k];
        const std::size_t end = places[k + 1];
        const bool blank = end == start + 1 || is_space(text[start + 1]) || is_space(text[end - 1]);
        if (blank || (end + 1 < text.size() && is_digit(text[end + 1]))) continue;
        marks.push_back(start);
        marks.push_back(end);
        ++k;
    }
    return marks;
}

}  // namespace dupo
