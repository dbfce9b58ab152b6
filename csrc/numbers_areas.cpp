// Stretches of a text in which no number may be hidden: dates, times, code, brackets of formulas.
#include <algorithm>
#include <cstddef>
#include <string_view>
#include <vector>

#include "numbers_cursor.hpp"
#include "numbers_marks.hpp"
#include "numbers_steps.hpp"

namespace dupo {
namespace {

constexpr std::string_view commands[] = {
    "\\begin{",  "\\end{",    "\\label{", "\\ref{",       "\\cite{",
    "\\hspace{", "\\vspace{", "\\color{", "\\textcolor{",
};

bool starts_with(Text text, std::size_t at, std::string_view literal) {
    return Forward{text.substr(at)}.literal(literal);
}

// The number of digits at `at` if it is from `least` to `most`, else 0.
std::size_t digits_at(Text text, std::size_t at, std::size_t least, std::size_t most) {
    std::size_t end = at;
    while (end < text.size() && is_digit(text[end])) ++end;
    const std::size_t count = end - at;
    return count >= least && count <= most ? count : 0;
}

// The end of the date at `at`, 2021-07-04 (`year_first`) or 4/7/2021; 0 if there is no date.
std::size_t date_end(Text text, std::size_t at, bool year_first) {
    if (at > 0 && is_wordlike(text[at - 1])) return 0;
    std::size_t size = year_first ? digits_at(text, at, 4, 4) : digits_at(text, at, 1, 2);
    if (size == 0) return 0;
    at += size;
    const char32_t mark = at < text.size() ? text[at] : U'\0';
    if (!is_one_of(mark, year_first ? U"-" : U"/.-")) return 0;
    size = digits_at(text, at + 1, 1, 2);
    if (size == 0) return 0;
    at += 1 + size;
    if (at >= text.size() || text[at] != mark) return 0;
    size = year_first ? digits_at(text, at + 1, 1, 2) : digits_at(text, at + 1, 2, 4);
    if (size == 0 || size == 3) return 0;
    at += 1 + size;
    return at == text.size() || !is_wordlike(text[at]) ? at : 0;
}

// The end of the time at `at`, 8:30 or 8:30:15; 0 if there is no time.
std::size_t time_end(Text text, std::size_t at) {
    if (at > 0 && (is_digit(text[at - 1]) || text[at - 1] == U':')) return 0;
    const std::size_t hours = digits_at(text, at, 1, 2);
    if (hours == 0) return 0;
    at += hours;
    int parts = 0;
    while (parts < 2 && at + 2 < text.size() && text[at] == U':' && text[at + 1] >= U'0' &&
           text[at + 1] <= U'5' && is_digit(text[at + 2])) {
        at += 3;
        ++parts;
    }
    if (parts == 0) return 0;
    return at < text.size() && (is_digit(text[at]) || text[at] == U':') ? 0 : at;
}

// The end of [asy] ... [/asy], a drawing in the language Asymptote.
std::size_t drawing_end(Text text, std::size_t at) {
    if (!starts_with(text, at, "[asy]")) return 0;
    const std::size_t close = text.find(U"[/asy]", at + 5);
    return close == Text::npos ? text.size() : close + 6;
}

// The end of a web address.
std::size_t address_end(Text text, std::size_t at) {
    const std::size_t scheme = starts_with(text, at, "https://")  ? 8
                               : starts_with(text, at, "http://") ? 7
                                                                  : 0;
    if (scheme == 0) return 0;
    std::size_t end = at + scheme;
    while (end < text.size() && !is_space(text[end])) ++end;
    return end > at + scheme ? end : 0;
}

// The end of a LaTeX command whose argument is no quantity.
std::size_t latex_end(Text text, std::size_t at) {
    for (const std::string_view name : commands) {
        if (!starts_with(text, at, name)) continue;
        const std::size_t end = text.find_first_of(U"{}", at + name.size());
        return end != Text::npos && text[end] == U'}' ? end + 1 : 0;
    }
    return 0;
}

// Whether what looks like a date names the sides of a triangle: 5-12-13.
bool names_sides(Text text, const Area& date) {
    int values[3] = {0, 0, 0};
    int k = 0;
    for (std::size_t at = date.start; at < date.end; ++at) {
        if (is_digit(text[at])) {
            values[k] = values[k] * 10 + static_cast<int>(text[at] - U'0');
        } else if (text[at] != U'-' || ++k > 2) {
            return false;
        }
    }
    const auto [a, b, c] = values;
    return a * a + b * b == c * c || std::min(a, b) > 12 || std::max(a, b) > 31;
}

// Reads `least` to `most` digits and a hyphen at `at`.
bool digits_and_hyphen(Text text, std::size_t& at, std::size_t least, std::size_t most) {
    const std::size_t size = digits_at(text, at, least, most);
    if (size == 0 || at + size >= text.size() || text[at + size] != U'-') return false;
    at += size + 1;
    return true;
}

// Reads what stands before the last four digits of a telephone number.
bool start_of_telephone(Text text, std::size_t& at) {
    const char32_t before = at > 0 ? text[at - 1] : U'\0';
    if (text[at] == U'(') {
        if (digits_at(text, at + 1, 3, 3) == 0 || at + 4 >= text.size() || text[at + 4] != U')') return false;
        at += 5;
        if (at < text.size() && text[at] == U' ') ++at;
        return digits_and_hyphen(text, at, 3, 3);
    }
    if (text[at] == U'+') {
        if (is_digit(before) || is_ascii_letter(before) || is_one_of(before, U")}")) return false;
        ++at;
        if (!digits_and_hyphen(text, at, 1, 3)) return false;
        std::size_t groups = 0;
        while (digits_and_hyphen(text, at, 1, 4)) ++groups;
        return groups >= 1 && groups <= 3;
    }
    if (is_digit(before) || before == U'-') return false;
    std::size_t other = at;
    if (text[at] == U'0' && digits_and_hyphen(text, other, 2, 4) && digits_and_hyphen(text, other, 3, 4) &&
        digits_at(text, other, 4, 4) > 0) {
        at = other;
        return true;
    }
    if (text[at] == U'1' && at + 1 < text.size() && text[at + 1] == U'-') at += 2;
    return digits_and_hyphen(text, at, 3, 3) && digits_and_hyphen(text, at, 3, 3);
}

// The end of a telephone number, 555-123-4567, (555) 123-4567 or +82-10-1234-5678; 0 if there is none.
std::size_t telephone_end(Text text, std::size_t at) {
    if (!start_of_telephone(text, at) || digits_at(text, at, 4, 4) == 0) return 0;
    return at + 4 < text.size() && text[at + 4] == U'-' ? 0 : at + 4;
}

// The end of a name that starts with a number: 7-Eleven.
std::size_t shop_end(Text text, std::size_t at) {
    if (at > 0 && is_wordlike(text[at - 1])) return 0;
    Forward f{text.substr(at)};
    if (!f.literal("7-") || !f.word({"Eleven", "Up"}, false)) return 0;
    return text.size() - f.text.size();
}

// Adds the areas that `end_of` finds, from left to right and without overlap. starts: whether an area may
// start with a character.
template <typename Starts, typename End>
void add_areas(Text text, Reason reason, std::vector<Area>& areas, Starts starts, End end_of) {
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = starts(text[at]) ? end_of(text, at) : 0;
        if (end > 0) areas.push_back({at, end, reason});
        at = end > 0 ? end : at + 1;
    }
}

// Whether "ratio" stands before: 3:10 is then no time of day.
bool in_ratio(Text text, std::size_t at) {
    const Text context = text_before(text, at);
    for (std::size_t k = 0; k + 5 <= context.size(); ++k) {
        if (same(context.substr(k, 5), "ratio", true)) return true;
    }
    return false;
}

}  // namespace

Reason AreaScanner::reason_at(std::size_t place) {
    for (; next_ < areas_.size() && areas_[next_].start <= place; ++next_) open_.push_back(&areas_[next_]);
    while (!open_.empty() && open_.back()->end <= place) open_.pop_back();
    return open_.empty() ? Reason::none : open_.back()->reason;
}

std::vector<Area> find_areas(Text text) {
    std::vector<Area> areas;
    add_areas(text, Reason::date, areas, is_digit,
              [](Text t, std::size_t at) { return date_end(t, at, true); });
    const std::size_t years = areas.size();
    add_areas(text, Reason::date, areas, is_digit,
              [](Text t, std::size_t at) { return date_end(t, at, false); });
    areas.erase(std::remove_if(areas.begin() + static_cast<std::ptrdiff_t>(years), areas.end(),
                               [&](const Area& date) { return names_sides(text, date); }),
                areas.end());
    const auto starts_telephone = [](char32_t c) { return is_digit(c) || is_one_of(c, U"(+"); };
    add_areas(text, Reason::label, areas, starts_telephone, telephone_end);
    add_areas(text, Reason::word, areas, [](char32_t c) { return c == U'7'; }, shop_end);
    add_list_marks(text, areas);
    std::vector<Area> times;
    add_areas(text, Reason::time, times, is_digit, time_end);
    for (const Area& area : times) {
        if (!in_ratio(text, area.start)) areas.push_back(area);
    }
    add_areas(text, Reason::code, areas, [](char32_t c) { return c == U'['; }, drawing_end);
    add_areas(text, Reason::code, areas, [](char32_t c) { return c == U'h'; }, address_end);
    add_areas(text, Reason::code, areas, [](char32_t c) { return c == U'\\'; }, latex_end);
    add_example_areas(text, areas);
    add_bracket_areas(text, areas);
    std::stable_sort(areas.begin(), areas.end(), [](const Area& a, const Area& b) {
        return a.start != b.start ? a.start < b.start : a.end < b.end;
    });
    return areas;
}

}  // namespace dupo
