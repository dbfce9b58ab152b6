// Dates and times of day around a number.
#include <string_view>

#include "numbers_cursor.hpp"
#include "numbers_steps.hpp"

namespace dupo {
namespace {

using std::string_view;

constexpr string_view months[] = {
    "January",   "February", "March",    "April",    "May", "June", "July", "August",
    "September", "October",  "November", "December", "Jan", "Feb",  "Mar",  "Apr",
    "Jun",       "Jul",      "Aug",      "Sept",     "Sep", "Oct",  "Nov",  "Dec",
};
constexpr string_view day_endings[] = {"st", "nd", "rd", "th"};
constexpr string_view halves_of_day[] = {"am", "pm", "a.m.", "p.m."};
constexpr string_view to_words[] = {"to", "and", "until", "through"};

bool follows_month(Backward b) {
    if (!b.space()) return false;
    Backward month = b;
    month.one_of(U".");
    if (month.word(months, false)) return true;
    b.one_of(U",");
    for (const string_view ending : day_endings) {
        if (b.literal(ending)) break;
    }
    const std::size_t digits = b.run(is_digit).size();
    if (digits < 1 || digits > 2) return false;
    b.text.remove_suffix(digits);
    if (!b.space()) return false;
    b.one_of(U".");
    return b.word(months, false);
}

bool precedes_month(Forward f) {
    if (is_one_of(f.first(), U"月日")) return true;
    if (!f.space()) return false;
    Forward of = f;
    if (of.literal("of") && of.space() && of.word(months, false)) return true;
    return f.word(months, false);
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
        Forward next = f;
        if (!next.literal(word, true) || !next.space() || !is_year(next.text.substr(0, 4))) continue;
        next.text.remove_prefix(4);
        if (next.ends_word()) return true;
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

}  // namespace

bool is_year(Text text) {
    if (text.size() != 4) return false;
    for (const char32_t c : text) {
        if (!is_digit(c)) return false;
    }
    return (text[0] == U'1' && text[1] >= U'5') || (text[0] == U'2' && text[1] == U'0');
}

bool is_day(Text before, Text after) { return follows_month({before}) || precedes_month({after}); }

bool is_year_date(Text before, Text after) {
    const Backward b{before};
    Forward f{after};
    if (follows_from(b) && precedes_to_year(f)) return true;
    if (f.ends_word() && follows_from_year_to(b)) return true;
    Backward open = b;
    open.spaces();
    if (open.one_of(U"(") && precedes_dash_year(f)) return true;
    Forward close = f;
    close.spaces();
    if (close.one_of(U")") && follows_year_dash(b)) return true;
    return f.one_of(U"年");
}

bool is_compact_date(Text text) {
    if (text.size() != 8 || !is_year(text.substr(0, 4))) return false;
    for (const char32_t c : text) {
        if (!is_digit(c)) return false;
    }
    const char32_t month = (text[4] - U'0') * 10 + (text[5] - U'0');
    const char32_t day = (text[6] - U'0') * 10 + (text[7] - U'0');
    return month >= 1 && month <= 12 && day >= 1 && day <= 31;
}

// "from 1 to 4 PM".
bool is_length_of_time(Text text) {
    Backward b{text};
    if (!b.space() || !b.word({"to", "until", "through"}, false) || !b.space()) return false;
    const std::size_t digits = b.run(is_digit).size();
    return digits >= 1 && digits <= 2 && b.run(is_wordlike).size() == digits;
}

bool precedes_time(Text text) {
    Forward f{text};
    f.space();
    Forward clock = f;
    if (clock.literal("o", true) && clock.one_of(U"'’") && clock.literal("clock", true) &&
        clock.ends_word()) {
        return true;
    }
    for (const string_view name : halves_of_day) {
        Forward next = f;
        if (next.literal(name, true) && next.ends_word()) return true;
    }
    return false;
}

}  // namespace dupo
