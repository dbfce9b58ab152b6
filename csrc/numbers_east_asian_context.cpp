// What stands around a number of Korean, Chinese or Japanese text: years, times of day, ordinals, units.
#include <cstddef>

#include "numbers_east_asian.hpp"
#include "numbers_east_asian_words.hpp"
#include "numbers_steps.hpp"

namespace dupo {
namespace {

char32_t char_before(Text text, std::size_t at, std::size_t count) {
    return at >= count ? text[at - count] : U'\0';
}

bool is_at_most(const Number& number, std::int64_t most) {
    return number.numerator <= most * number.denominator;
}

bool has_at(Text text, std::size_t at, Text word) { return text.substr(at, word.size()) == word; }

Role role_by_unit(Text text, std::size_t unit) {
    if (starts_with_one_of(text, unit, han_money) || starts_with_one_of(text, unit, korean_money)) {
        return Role::money;
    }
    if (has_at(text, unit, U"퍼센트")) return Role::percent;
    return is_times(text, unit) ? Role::multiple : Role::count;
}

Reason reason_before(Text text, std::size_t start) {
    const char32_t before = char_before(text, start, 1);
    if (before == U'第') return Reason::label;
    if (is_one_of(before, pointing_chars)) return Reason::reference;
    // 제3장, 제 3장; 그 5명
    const std::size_t word = before == U' ' ? start - 1 : start;
    const char32_t syllable = char_before(text, word, 1);
    const char32_t second = char_before(text, word, 2);
    if (is_hangul(second) || is_letter(second) || is_digit(second)) return Reason::none;
    if (syllable == U'제') return Reason::label;
    return before == U' ' && is_one_of(syllable, pointing_words) ? Reason::reference : Reason::none;
}

// Why a number before a unit may not be hidden: a year, a time of day, an ordinal.
Reason reason_after(Text text, const Number& number, std::size_t unit) {
    if (starts_with_one_of(text, unit, half_after)) return Reason::part_of_longer;
    if (starts_with_one_of(text, unit, ordinal_after)) return Reason::ordinal;
    if (starts_with_one_of(text, unit, label_after)) return Reason::label;
    const char32_t following = text[unit];
    const char32_t second = char_at(text, unit + 1);
    const bool spaced = char_before(text, number.start, 1) == U' ';
    const char32_t before = char_before(text, number.start, spaced ? 2 : 1);
    const auto dated = [](bool is_date) { return is_date ? Reason::date : Reason::none; };
    const bool no_span = second != U'间' && second != U'間';
    if (following == U'년' && !starts_with_one_of(text, unit + 1, durations)) {
        const bool in_words = is_hangul(text[number.start]) && is_at_most(number, 2099) &&
                              number.numerator >= 1500 * number.denominator;
        return dated(in_words || is_year(text.substr(number.start, number.end - number.start)));
    }
    if (following == U'월' || following == U'月') return dated(is_at_most(number, 12));
    if (following == U'日' || (following == U'일' && (before == U'월' || before == U'月'))) {
        return dated(no_span);
    }
    if (following == U'号' || following == U'號') return Reason::label;
    if (following == U'시' && second != U'간' && is_at_most(number, 24)) return Reason::time;
    if (following == U'点' || following == U'點') return Reason::time;
    if ((following == U'时' || following == U'時') && no_span) return Reason::time;
    const bool is_minute =
        (following == U'분' && before == U'시') || (following == U'分' && is_one_of(before, U"点點时時"));
    return is_minute ? Reason::time : Reason::none;
}

}  // namespace

bool is_times(Text text, std::size_t at) {
    const char32_t c = char_at(text, at);
    if (c == U'倍') return true;
    return c == U'배' && (at + 1 >= text.size() || is_one_of(text[at + 1], after_times));
}

void read_context(Text text, Number& number) {
    const std::size_t end = number.end;
    const bool spaced = char_at(text, end) == U' ' && is_hangul(char_at(text, end + 1));
    const std::size_t unit = spaced ? end + 1 : end;
    const char32_t following = char_at(text, unit);
    if (!is_hangul(following) && !is_han(following) && !is_one_of(following, U"ドユヶかカつ")) {
        if (number.skip == Reason::none) number.skip = reason_before(text, number.start);
        return;
    }
    const bool is_days = has_at(text, end, U"日間") || has_at(text, end, U"日间");
    if (number.skip == Reason::date && is_days && char_before(text, number.start, 1) != U'月') {
        number.skip = Reason::none;
    }
    if (number.role == Role::count) number.role = role_by_unit(text, unit);
    if (number.skip == Reason::none) number.skip = reason_before(text, number.start);
    if (number.skip == Reason::none) number.skip = reason_after(text, number, unit);
}

}  // namespace dupo
