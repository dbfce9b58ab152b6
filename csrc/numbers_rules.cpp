// What stands around a number in digits: why the number may not be hidden, and what the number counts. The
// rules have the order of RULES in dupo/text/numbers/rules.py.
#include <algorithm>
#include <cstddef>
#include <string_view>
#include <vector>

#include "numbers_cursor.hpp"
#include "numbers_steps.hpp"

namespace dupo {
namespace {

using std::string_view;

constexpr string_view labels[] = {
    "problem",  "question", "example",  "figure",     "table",  "chapter", "section", "part",
    "equation", "theorem",  "lemma",    "step",       "case",   "room",    "gate",    "apartment",
    "suite",    "locker",   "grade",    "district",   "level",  "route",   "highway", "interstate",
    "flight",   "channel",  "platform", "option",     "choice", "version", "page",    "phase",
    "round",    "stage",    "zone",     "ward",       "house",  "lane",    "model",   "pier",
    "sector",   "period",   "athlete",  "contestant", "runner",
};
constexpr string_view owners[] = {
    "a",    "an",  "the",   "this", "that", "his", "her",   "my",    "their", "our",
    "your", "two", "three", "four", "five", "six", "seven", "eight", "nine",  "ten",
};
constexpr string_view machine_verbs[] = {"costs", "weighs", "sells", "produces", "prints", "cleans"};
constexpr string_view brands[] = {"Boeing", "Airbus", "Apollo", "Windows", "Xbox", "Nokia"};
constexpr string_view family[] = {
    "Mom",     "Mum",     "Mother",      "Dad",         "Father", "Uncle",  "Aunt",
    "Grandma", "Grandpa", "Grandmother", "Grandfather", "Friend", "Sister", "Brother",
};
constexpr string_view named[] = {
    "Agent", "Team", "Player", "Formula", "Item", "Unit", "Station", "Machine", "Exhibit", "ZIP",
};
constexpr string_view short_labels[] = {"fig", "eq", "apt", "no"};
constexpr string_view bounds[] = {"leqslant", "geqslant", "leq", "geq", "le", "ge", "lt", "gt"};
constexpr string_view spans[] = {" day ", " week ", " month ", " year "};
constexpr string_view ordinal_endings[] = {"st", "nd", "rd", "ths", "th", "rds"};
// 5cm, but not 4K, 3D and $5m.
constexpr string_view glued_units[] = {
    "m", "m2", "m3",  "km",  "km2", "km3", "cm",  "cm2",  "cm3", "mm", "mm2", "mm3",
    "g", "kg", "mg",  "mL",  "ml",  "L",   "lb",  "lbs",  "oz",  "ft", "in",  "yd",
    "h", "hr", "hrs", "min", "mph", "kph", "kWh", "kcal", "GB",  "MB",
};
constexpr Text less_or_more = U"<>≤≥⩽⩾≦≧";
constexpr Text signs = U"$£€¥";
constexpr Text list_before = U".,([{$";  // before a number of a list, beside digits
constexpr Text list_after = U",)]}$";    // after a number of a list, beside digits

// --- before a number ---

bool follows_subscript(Backward b) {
    b.spaces();
    return b.one_of(U"_");
}

bool follows_power(Backward b) {
    b.one_of(U"+-");
    b.spaces();
    return b.one_of(U"^") || b.literal("**");
}

bool follows_bound(Backward b) {
    b.spaces();
    b.one_of(signs);
    b.spaces();
    b.one_of(U"+-");
    b.spaces();
    if (b.command(bounds)) return true;
    b.one_of(U"=");
    return b.one_of(less_or_more);
}

// Reads "4, " or "4 and ", as in "grades 4, 5 and 6".
bool list_item(Backward& b) {
    Backward next = b;
    if (!next.space()) return false;
    if (!next.one_of(U",")) {
        if (!next.word({"and", "or", "to", "through"}, true) || !next.space()) return false;
        next.one_of(U",");
    }
    const std::size_t digits = next.run(is_digit).size();
    if (digits < 1 || digits > 3) return false;
    next.text.remove_suffix(digits);
    b = next;
    return true;
}

bool follows_named_label(Backward b) {
    b.one_of(U"(");
    b.space();
    b.one_of(U"#");
    b.space();
    if (b.one_of(U".")) return b.word(short_labels, true);
    return b.word(labels, true);
}

// "a group of size 18" is a quantity.
bool follows_size(Backward b) {
    b.one_of(U"(");
    b.space();
    b.one_of(U"#");
    b.space();
    return b.word({"size"}, true) && (!b.space() || !b.literal("of", true));
}

// "Team 7", but not "each team 7 points".
bool follows_named(Backward b) {
    if (!b.space()) return false;
    Backward code = b;
    if (code.word({"Code", "code"}, false) && code.space() && code.word(named, false)) return true;
    return b.word(named, false);
}

bool precedes_unit(Forward f) {
    return f.space() && f.word({"square", "cubic", "acres", "gigabytes", "gb", "mb", "inches", "feet",
                                "meters", "metres", "cm", "by"},
                               true);
}

// "grades ", "grades 4, 5 and ".
bool follows_labels(Backward b) {
    while (list_item(b)) {
    }
    if (!b.space()) return false;
    const Text word = b.run(is_wordlike);
    if (word.empty() || lower(word.back()) != U's') return false;
    const Text label = word.substr(0, word.size() - 1);
    return is_among(label, labels, true) || same(label, "size", true);
}

bool follows_word(Backward b) {
    if (b.at_start()) return false;
    const char32_t last = b.last();
    if (is_one_of(last, U"@&\\")) return true;
    if (last == U'-') return b.text.size() > 1 && is_letter(b.text[b.text.size() - 2]);
    if (last == U'+') {
        b.one_of(U"+");
        return b.one_of(U"eE") && is_digit(b.last());
    }
    const std::size_t letters = b.run(is_letter).size();
    if (letters == 0) return false;
    b.text.remove_suffix(letters);
    return b.last() != U'\\';
}

// "the Widgeteer 3000", "an iPhone 12", "near Area 51".
bool follows_product(Backward b, Forward f) {
    if (!b.space()) return false;
    const Text word = b.run(is_wordlike);
    std::size_t capitals = 0;
    for (const char32_t c : word) {
        if (!is_ascii_letter(c)) return false;
        capitals += c < U'a';
    }
    if (word.size() < 2 || capitals == 0) return false;
    const bool starts_low = word[0] >= U'a';
    if (starts_low) return true;
    if (capitals > 1) return word[1] >= U'a';
    if (is_among(word, brands, false) || (f.space() && f.word(machine_verbs, false))) return true;
    b.text.remove_suffix(word.size());
    if (!b.space()) return false;
    if (same(word, "Area", false) && b.last() >= U'a' && b.last() <= U'z') return true;
    const std::size_t digits = b.run(is_digit).size();
    const bool counted = digits >= 1 && digits <= 3 && b.run(is_wordlike).size() == digits;
    return (counted || b.word(owners, true)) && !is_among(word, family, false);
}

// --- after a number ---

bool follows_currency(Backward b) {
    b.space();
    return is_one_of(b.last(), U"$£€¥₹");
}

// The 2 of 2x and the 117 of 117i in a formula; outside only where the letter goes on as a formula.
bool precedes_factor(Forward f, bool in_formula) {
    if (f.first() == U'π') return true;
    if (!in_formula) {
        if (!f.one_of(U"abcnpqrtuvwxyz")) return false;
        f.spaces();
        return is_one_of(f.first(), U"-+=<>≤≥^");
    }
    std::size_t letters = 0;
    while (letters < f.text.size() && is_ascii_letter(f.text[letters])) ++letters;
    return (letters == 1 || letters == 2) && (letters == f.text.size() || !is_digit(f.text[letters]));
}

bool precedes_power(Forward f) {
    if (is_one_of(f.first(), U"²³¹⁰⁴⁵⁶⁷⁸⁹")) return true;
    f.spaces();
    if (f.literal("**")) return true;
    if (!f.one_of(U"^")) return false;
    f.one_of(U"{");
    return !f.literal("\\circ");
}

// An exclamation mark that a formula goes on behind.
bool precedes_factorial(Forward f) { return f.one_of(U"!") && is_one_of(f.first(), U"-+*/·×=^$}\\"); }

bool precedes_bound(Forward f) {
    f.spaces();
    f.one_of(signs);
    if (is_one_of(f.first(), less_or_more)) return true;
    for (const string_view name : bounds) {
        Forward next = f;
        if (next.one_of(U"\\") && next.literal(name) && !is_ascii_letter(next.first())) return true;
    }
    return false;
}

// A group of three digits that nothing joined to the number.
bool precedes_group(Forward f) {
    Forward comma = f;
    if (comma.one_of(U",") && comma.first() == U'0') {
        f = comma;
    } else if (!f.one_of(U"~") && !(f.one_of(U"\\") && f.one_of(U" :;"))) {
        return false;
    }
    std::size_t digits = 0;
    while (digits < f.text.size() && is_digit(f.text[digits])) ++digits;
    return digits == 3;
}

bool precedes_part(Forward f) {
    if (precedes_group(f)) return true;
    Forward vulgar = f;
    vulgar.one_of(U" ");
    if (is_vulgar(vulgar.first())) return true;
    if (Forward{f}.literal(".\\overline")) return true;
    Forward half = f;
    if (half.literal(" and a half") && half.ends_word()) return true;
    return f.one_of(U"./'’′") && is_digit(f.first());
}

// 240,5 has a decimal comma, unless the numbers are a list: (240,5) or 240,5,6.
bool in_decimal_comma(Text text, std::size_t start, std::size_t end) {
    const auto ends_alone = [&](std::size_t at) {
        return at >= text.size() || (!is_digit(text[at]) && !is_one_of(text[at], list_after));
    };
    const auto begins_alone = [](const Backward& b) {
        return b.at_start() || (!is_digit(b.last()) && !is_one_of(b.last(), list_before));
    };
    Backward b{text_before(text, start)};
    Forward f{text.substr(end)};
    if (begins_alone(b) && f.one_of(U",")) {
        std::size_t digits = 0;
        while (digits < f.text.size() && is_digit(f.text[digits])) ++digits;
        if ((digits == 1 || digits == 2) && ends_alone(end + 1 + digits)) return true;
    }
    const bool one_digit = end >= 2 && is_digit(text[end - 1]) && text[end - 2] == U',';
    const bool two_digits =
        end >= 3 && is_digit(text[end - 1]) && is_digit(text[end - 2]) && text[end - 3] == U',';
    if (!(one_digit || two_digits) || !ends_alone(end) || !b.one_of(U",")) return false;
    const Text run = b.run([](char32_t c) { return is_digit(c) || c == U'.'; });
    if (run.empty() || !is_digit(run.front())) return false;
    b.text.remove_suffix(run.size());
    return begins_alone(b);
}

// 450 000: groups of three digits with a space between them.
bool in_spaced_groups(Text surface, Backward b, Forward f) {
    if (surface.size() > 3) return false;
    for (const char32_t c : surface) {
        if (!is_digit(c)) return false;
    }
    if (!f.text.empty() && is_group_space(f.first()) && f.text.size() > 3 && is_digit(f.text[1]) &&
        is_digit(f.text[2]) && is_digit(f.text[3])) {
        Forward next{f.text.substr(4)};
        const bool longer = is_digit(next.first());
        const bool goes_on = next.one_of(U",") && next.text.size() > 2 && is_digit(next.text[0]) &&
                             is_digit(next.text[1]) && is_digit(next.text[2]);
        if (!longer && !goes_on) return true;
    }
    if (surface.size() != 3 || b.at_start() || !is_group_space(b.last())) return false;
    b.text.remove_suffix(1);
    const std::size_t digits = b.run(is_digit).size();
    return digits >= 1 && digits <= 3;
}

}  // namespace

bool follows_label(Text text) {
    Backward b{text};
    b.one_of(U"(");
    if (is_one_of(b.last(), U"#第")) return true;
    if (b.space() && is_one_of(b.last(), U"#第")) return true;
    if (follows_named_label({text}) || follows_labels({text}) || follows_size({text})) return true;
    b = {text};
    if (follows_named(b)) return true;
    for (const string_view unit : spans) {
        Backward next = b;
        if (next.literal(unit, true) &&
            next.word({"on", "by", "of", "from", "for", "to", "in", "after"}, true)) {
            return true;
        }
    }
    return false;
}

Reason reason_around(Text text, std::size_t start, std::size_t end, const std::vector<std::size_t>& dollars) {
    const Text surface = text.substr(start, end - start);
    const Backward b{text_before(text, start)};
    const Forward f{text.substr(end)};
    if (surface.size() > 1 && surface[0] == U'0' && is_digit(surface[1])) return Reason::leading_zero;
    if (surface == U"24/7" || surface == U"50/50") return Reason::word;
    if (is_compact_date(surface)) return Reason::date;
    if (follows_subscript(b)) return Reason::subscript;
    if (follows_power(b) || precedes_power(f)) return Reason::power;
    if (follows_bound(b) || precedes_bound(f)) return Reason::bound;
    const bool measured = follows_size(b) && precedes_unit(f);
    if ((follows_label(b.text) && !measured) || is_one_of(f.first(), U"号號")) return Reason::label;
    if (is_day(b.text, f.text)) return Reason::date;
    if (Forward{f}.word(ordinal_endings, false)) return Reason::ordinal;
    if (precedes_time(f.text) && !is_length_of_time(b.text)) return Reason::time;
    if (follows_function(b.text) || precedes_factorial(f)) return Reason::argument;
    const auto before = std::upper_bound(dollars.begin(), dollars.end(), start) - dollars.begin();
    const bool in_formula = before % 2 == 1;
    // x-3 is a difference in a formula; COVID-19 is a word.
    if (follows_word(b) && !(in_formula && b.last() == U'-')) return Reason::word;
    if (f.first() == U'_') return Reason::word;
    if (is_letter(f.first()) && !precedes_factor(f, in_formula)) {
        const bool is_money = !in_formula && follows_currency(b);
        if (is_money || !Forward{f}.word(glued_units, false)) return Reason::word;
    }
    Backward point = b;
    if ((point.one_of(U"./'’′") && is_digit(point.last())) || precedes_part(f) ||
        in_decimal_comma(text, start, end)) {
        return Reason::part_of_longer;
    }
    if (follows_product(b, f)) return Reason::name;
    Backward refers = b;
    const bool apart = refers.space();
    if (apart && refers.word({"these", "those"}, true)) return Reason::reference;
    // Nobody counts to a hundred to point back: "the other 400 people" is a quantity.
    const auto digits = std::count_if(surface.begin(), surface.end(), is_digit);
    if (apart && digits < 3 && refers.word({"other"}, true)) return Reason::reference;
    if (is_year(surface) && is_year_date(b.text, f.text)) return Reason::date;
    return in_spaced_groups(surface, b, f) ? Reason::part_of_longer : Reason::none;
}

Role role_of(Text text, const Number& number, const std::vector<std::size_t>& dollars) {
    const Forward f{text.substr(number.end)};
    Forward joined = f;
    if (!joined.space()) joined.one_of(U"-");
    Forward sign = joined;
    sign.one_of(U"\\");
    if (sign.one_of(U"%")) return Role::percent;
    Forward per = joined;
    if (per.literal("per")) {
        per.one_of(U" ");
        if (per.word({"cent"}, false)) return Role::percent;
    }
    Forward times = f;
    if (times.space() && times.word({"times"}, false)) return Role::multiple;
    if (number.denominator > 1 && Forward{f}.literal(" of")) return Role::multiple;
    Backward b{text_before(text, number.start)};
    std::size_t at = number.start;
    if (b.space()) --at;
    if (b.one_of(U"$£€¥₹") && !std::binary_search(dollars.begin(), dollars.end(), at - 1)) return Role::money;
    const bool coins = is_one_of(joined.first(), U"€£¥₹") ||
                       joined.word({"dollars", "dollar", "cents", "cent", "euros", "euro"}, false);
    return coins ? Role::money : Role::count;
}

}  // namespace dupo
