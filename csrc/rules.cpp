// What stands around a number in digits, and what it therefore is. The order of the rules is that of RULES in
// dupo/numbers.py.
#include <cstddef>
#include <string_view>
#include <vector>

#include "cursor.hpp"
#include "numbers.hpp"

namespace dupo {
namespace {

using std::string_view;

constexpr string_view months[] = {
    "January",   "February", "March",    "April",    "May", "June", "July", "August",
    "September", "October",  "November", "December", "Jan", "Feb",  "Mar",  "Apr",
    "Jun",       "Jul",      "Aug",      "Sept",     "Sep", "Oct",  "Nov",  "Dec",
};
constexpr string_view labels[] = {
    "problem",  "question", "example",  "figure",   "table",  "chapter", "section", "part",
    "equation", "theorem",  "lemma",    "step",     "case",   "room",    "gate",    "apartment",
    "suite",    "locker",   "grade",    "district", "level",  "route",   "highway", "interstate",
    "flight",   "channel",  "platform", "option",   "choice", "version", "page",    "phase",
    "round",    "stage",    "zone",     "ward",     "house",  "lane",
};
constexpr string_view short_labels[] = {"fig", "eq", "apt", "no"};
constexpr string_view functions[] = {
    "log", "ln",     "lg",     "exp",    "sin", "cos", "tan", "cot", "sec",
    "csc", "arcsin", "arccos", "arctan", "gcd", "lcm", "min", "max", "det",
};
constexpr string_view bounds[] = {"leqslant", "geqslant", "leq", "geq", "le", "ge", "lt", "gt"};
constexpr string_view year_words[] = {
    "in", "since", "until", "till", "by", "during", "year", "before", "after",
};
constexpr string_view year_parts[] = {
    "end", "start", "beginning", "spring", "summer", "fall", "autumn", "winter", "class",
};
constexpr string_view to_words[] = {"to", "and", "until", "through"};
constexpr Text less_or_more = U"<>≤≥⩽⩾≦≧";
constexpr Text signs = U"$£€¥";

bool is_year(Text text) {
    if (text.size() != 4) return false;
    for (const char32_t c : text) {
        if (!is_digit(c)) return false;
    }
    return (text[0] == U'1' && text[1] >= U'5') || (text[0] == U'2' && text[1] == U'0');
}

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

// "4, " and "4 and ", as in "grades 4, 5 and 6".
bool listed(Backward& b) {
    Backward rest = b;
    if (!rest.space()) return false;
    if (!rest.one_of(U",")) {
        if (!rest.word({"and", "or", "to", "through"}, true) || !rest.space()) return false;
        rest.one_of(U",");
    }
    const std::size_t digits = rest.run(is_digit).size();
    if (digits < 1 || digits > 3) return false;
    rest.text.remove_suffix(digits);
    b = rest;
    return true;
}

bool follows_named_label(Backward b) {
    b.one_of(U"(");
    b.space();
    b.one_of(U"#");
    b.space();
    return b.one_of(U".") ? b.word(short_labels, true) : b.word(labels, true);
}

// "grades ", "grades 4, 5 and ".
bool follows_labels(Backward b) {
    while (listed(b)) {
    }
    if (!b.space()) return false;
    const Text word = b.run(is_wordlike);
    return !word.empty() && lower(word.back()) == U's' &&
           is_among(word.substr(0, word.size() - 1), labels, true);
}

bool follows_month(Backward b) {
    if (!b.space()) return false;
    Backward month = b;
    month.one_of(U".");
    if (month.word(months, false)) return true;
    b.one_of(U",");
    for (const string_view ending : {"st", "nd", "rd", "th"}) {
        if (b.literal(ending)) break;
    }
    const std::size_t digits = b.run(is_digit).size();
    if (digits < 1 || digits > 2) return false;
    b.text.remove_suffix(digits);
    if (!b.space()) return false;
    b.one_of(U".");
    return b.word(months, false);
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

// --- after a number ---

bool precedes_power(Forward f) {
    if (is_one_of(f.first(), U"²³¹⁰⁴⁵⁶⁷⁸⁹")) return true;
    f.spaces();
    if (f.literal("**")) return true;
    if (!f.one_of(U"^")) return false;
    f.one_of(U"{");
    return !f.literal("\\circ");
}

bool precedes_bound(Forward f) {
    f.spaces();
    f.one_of(signs);
    if (is_one_of(f.first(), less_or_more)) return true;
    for (const string_view name : bounds) {
        Forward rest = f;
        if (rest.one_of(U"\\") && rest.literal(name) && !is_ascii_letter(rest.first())) return true;
    }
    return false;
}

bool precedes_month(Forward f) {
    if (is_one_of(f.first(), U"月日")) return true;
    if (!f.space()) return false;
    Forward of = f;
    if (of.literal("of") && of.space() && of.word(months, false)) return true;
    return f.word(months, false);
}

bool precedes_part(Forward f) {
    const char32_t c = f.first();
    if ((c >= 0xbc && c <= 0xbe) || (c >= 0x2150 && c <= 0x215e)) return true;
    return f.one_of(U"./") && is_digit(f.first());
}

// --- years ---

// "in ", "the end of ", "since early ".
bool follows_year_word(Backward b) {
    const auto word_before = [](Backward rest) {
        if (!rest.space()) return false;
        Backward part = rest;
        if (part.word({"of"}, true)) return part.space() && part.word(year_parts, true);
        return rest.word(year_words, true);
    };
    if (word_before(b)) return true;
    Backward rest = b;
    if (rest.literal("mid-", true) && word_before(rest)) return true;
    if (!b.space()) return false;
    for (const string_view word : {"early", "late"}) {
        rest = b;
        if (rest.literal(word, true) && word_before(rest)) return true;
    }
    return b.literal("year", true) && b.space() && b.literal("the", true) && word_before(b);
}

bool precedes_dash_year(Forward f) {
    f.spaces();
    if (!f.one_of(U"-–")) return false;
    f.spaces();
    if (!is_year(f.text.substr(0, 4))) return false;
    f.text.remove_prefix(4);
    f.spaces();
    return f.one_of(U")");
}

bool follows_year_dash(Backward b) {
    b.spaces();
    if (!b.one_of(U"-–")) return false;
    b.spaces();
    if (b.text.size() < 4 || !is_year(b.text.substr(b.text.size() - 4))) return false;
    b.text.remove_suffix(4);
    b.spaces();
    return b.one_of(U"(");
}

bool precedes_to_year(Forward f) {
    if (!f.space()) return false;
    for (const string_view word : to_words) {
        Forward rest = f;
        if (!rest.literal(word, true) || !rest.space() || !is_year(rest.text.substr(0, 4))) continue;
        rest.text.remove_prefix(4);
        if (rest.ends_word()) return true;
    }
    return false;
}

bool follows_from(Backward b) { return b.space() && b.word({"from", "between"}, true); }

bool follows_from_year_to(Backward b) {
    if (!b.space() || !b.word(to_words, true) || !b.space()) return false;
    const Text year = b.run(is_wordlike);
    if (!is_year(year)) return false;
    b.text.remove_suffix(4);
    return follows_from(b);
}

bool is_date(Backward b, Forward f) {
    Forward rest = f;
    const bool point = rest.one_of(U".,") && is_digit(rest.first());
    if (f.ends_word() && f.first() != U'%' && !point && follows_year_word(b)) return true;
    if (follows_from(b) && precedes_to_year(f)) return true;
    if (f.ends_word() && follows_from_year_to(b)) return true;
    Backward is = b;
    if (f.ends_word() && is.space() && (is.one_of(U"=") || is.word({"is", "was"}, true)) && is.space() &&
        is.word({"year"}, true)) {
        return true;
    }
    Backward open = b;
    open.spaces();
    if (open.one_of(U"(") && precedes_dash_year(f)) return true;
    Forward close = f;
    close.spaces();
    if (close.one_of(U")") && follows_year_dash(b)) return true;
    return f.one_of(U"年");
}

// 450 000: groups of three digits with thin spaces between them.
bool in_spaced_groups(Text surface, Backward b, Forward f) {
    if (surface.size() > 3) return false;
    for (const char32_t c : surface) {
        if (!is_digit(c)) return false;
    }
    if (!f.text.empty() && is_thin_space(f.first()) && f.text.size() > 3 && is_digit(f.text[1]) &&
        is_digit(f.text[2]) && is_digit(f.text[3])) {
        Forward rest{f.text.substr(4)};
        const bool digit = is_digit(rest.first()) || (rest.one_of(U",") && is_digit(rest.first()));
        if (!digit) return true;
    }
    if (surface.size() != 3 || b.at_start() || !is_thin_space(b.last())) return false;
    b.text.remove_suffix(1);
    const std::size_t digits = b.run(is_digit).size();
    return digits >= 1 && digits <= 3;
}

// --- brackets ---

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
    if (bracket == U'[') return b.literal("\\sqrt") ? Reason::power : Reason::none;
    while (b.one_of(U" ")) {
    }
    return b.last() == U'_' ? Reason::subscript : b.last() == U'^' ? Reason::power : Reason::none;
}

}  // namespace

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

bool follows_label(Text text) {
    Backward b{text};
    b.one_of(U"(");
    if (is_one_of(b.last(), U"#第")) return true;
    if (b.space() && is_one_of(b.last(), U"#第")) return true;
    if (follows_named_label({text}) || follows_labels({text})) return true;
    b = {text};
    for (const string_view unit : {" day ", " week ", " month ", " year "}) {
        Backward rest = b;
        if (rest.literal(unit, true) &&
            rest.word({"on", "by", "of", "from", "for", "to", "in", "after"}, true)) {
            return true;
        }
    }
    return false;
}

Reason reason_around(Text text, std::size_t start, std::size_t end) {
    const Text surface = text.substr(start, end - start);
    const Backward b{before(text, start)};
    const Forward f{text.substr(end)};
    if (surface.size() > 1 && surface[0] == U'0' && is_digit(surface[1])) return Reason::leading_zero;
    if (surface == U"24/7") return Reason::word;
    if (follows_subscript(b)) return Reason::subscript;
    if (follows_power(b) || precedes_power(f)) return Reason::power;
    if (follows_bound(b) || precedes_bound(f)) return Reason::bound;
    if (follows_label(b.text) || is_one_of(f.first(), U"号號")) return Reason::label;
    if (follows_month(b) || precedes_month(f)) return Reason::date;
    for (const string_view ending : {"st", "nd", "rd", "ths", "th", "rds"}) {
        if (Forward{f}.word({ending}, false)) return Reason::ordinal;
    }
    if (Backward{b}.command(functions)) return Reason::argument;
    if (follows_word(b) || is_letter(f.first()) || f.first() == U'_') return Reason::word;
    Backward point = b;
    if ((point.one_of(U"./") && is_digit(point.last())) || precedes_part(f)) return Reason::part_of_longer;
    Backward refers = b;
    if (refers.space() && refers.word({"these", "those", "other"}, true)) {
        return Reason::reference;
    }
    if (is_year(surface) && is_date(b, f)) return Reason::date;
    return in_spaced_groups(surface, b, f) ? Reason::part_of_longer : Reason::none;
}

Role role_of(Text text, std::size_t start, std::size_t end) {
    Forward f{text.substr(end)};
    const Forward rest = f;
    f.space();
    Forward sign = f;
    sign.one_of(U"\\");
    if (sign.one_of(U"%") || Forward{f}.word({"percent"}, false)) return Role::percent;
    Forward formula = rest;
    formula.spaces();
    Backward b{before(text, start)};
    b.space();
    if (b.one_of(U"$£€¥₹") && !formula.one_of(U"-+*/=^\\$}")) return Role::money;
    const bool coins = is_one_of(f.first(), U"€£¥₹") ||
                       f.word({"dollars", "dollar", "cents", "cent", "euros", "euro"}, false);
    return coins ? Role::money : Role::count;
}

}  // namespace dupo
