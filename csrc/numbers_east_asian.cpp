// Numbers of Korean, Chinese and Japanese text: in words, and in digits with scales.
#include "numbers_east_asian.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "numbers_east_asian_words.hpp"
#include "numbers_steps.hpp"

namespace dupo {
namespace {

// A number, text[start, reading.end). role: none where the words around decide.
struct Candidate {
    std::size_t start;
    Reading reading;
    std::optional<Role> role;
    Reason skip = Reason::none;
};

bool is_east_asian(Text text) {
    return std::any_of(text.begin(), text.end(), [](char32_t c) {
        return c >= 0x3007 && (c == 0x3007 || (c >= 0x4e00 && c <= 0x9fff) || is_hangul(c));
    });
}

char32_t before_of(Text text, std::size_t at) { return at > 0 ? text[at - 1] : U'\0'; }

bool ends_with(Text text, Text ending) {
    return text.size() >= ending.size() && text.substr(text.size() - ending.size()) == ending;
}

// Where to look for a number next: not inside of a run of digits or numerals.
std::size_t next_place(Text text, std::size_t at) {
    std::size_t end = at + 1;
    if (is_digit(text[at])) {
        while (is_digit(char_at(text, end)) || char_at(text, end) == U'.' || char_at(text, end) == U',')
            ++end;
    } else if (is_han(text[at]) && starts_numeral(text[at])) {
        while (starts_numeral(char_at(text, end))) ++end;
    }
    return end;
}

// Reads 절반, 一半, and the 半 of 半小时.
std::optional<Reading> read_half(Text text, std::size_t at) {
    const Text two = text.substr(at, 2);
    if (two == U"절반" || two == U"一半") return Reading{at + 2, 1, 2, false};
    const char32_t before = before_of(text, at);
    if (text[at] != U'半' || is_one_of(before, no_half_before) || numeral_value(before) >= 0) {
        return std::nullopt;
    }
    if (!starts_with_one_of(text, at + 1, han_halved)) return std::nullopt;
    return Reading{at + 1, 1, 2, false};
}

// Reads 二〇二四 before 年.
std::optional<Reading> read_year(Text text, std::size_t at) {
    if (char_at(text, at + 4) != U'年') return std::nullopt;
    std::int64_t year = 0;
    for (std::size_t k = at; k < at + 4; ++k) {
        const int digit = numeral_value(text[k]);
        if (digit < 0) return std::nullopt;
        year = year * 10 + digit;
    }
    return Reading{at + 4, year, 1, false};
}

bool is_one(const Reading& reading) { return reading.numerator == 1 && reading.denominator == 1; }

// Whether a Korean syllable belongs to what stands before it: 7세, 12 세, 5cm이, A네.
bool follows_number(Text text, std::size_t at) {
    const char32_t before = before_of(text, at);
    if (before == U' ') return is_digit(before_of(text, at - 1));
    return is_digit(before) || is_letter(before) || is_one_of(before, no_word_after);
}

bool has_native_counter(Text text, std::size_t at, const Reading& native) {
    const bool spaced = char_at(text, native.end) == U' ';
    const std::size_t unit = spaced ? native.end + 1 : native.end;
    constexpr Text ordinals[] = {U"번 째", U"번째"};
    if (starts_with_one_of(text, unit, ordinals)) return true;
    // 열 수 있다: can open
    if (text.substr(at, native.end - at) == U"열" && char_at(text, unit) == U'수') return false;
    if (char_at(text, unit) == U'배') return is_times(text, unit);
    const bool few = !spaced && !is_hangul(before_of(text, native.end - 1));
    return few ? starts_with_one_of(text, unit, korean_attached)
               : starts_with_one_of(text, unit, native_counters);
}

bool has_sino_counter(Text text, std::size_t at, const Reading& sino) {
    const bool spaced = char_at(text, sino.end) == U' ';
    const std::size_t unit = spaced ? sino.end + 1 : sino.end;
    if (sino.end == at + 1) {
        return spaced && is_one_of(text[at], sino_singles) &&
               starts_with_one_of(text, unit, sino_single_counters);
    }
    // 만일 and 천만 are words: a number starts with a numeral, or is 만, 백만 and the like before a counter.
    if (is_one_of(text[at], U"만억조") || !sino.has_scale) return false;
    return char_at(text, unit) == U'배' ? is_times(text, unit)
                                        : starts_with_one_of(text, unit, sino_counters);
}

std::optional<Candidate> korean_at(Text text, std::size_t at) {
    if (const auto half = read_half(text, at)) {
        const Text before = text.substr(0, at);
        const bool other = ends_with(before, U"나머지 ") || ends_with(before, U"다른 ");
        return Candidate{at, *half, Role::multiple, other ? Reason::reference : Reason::none};
    }
    for (const bool spaced : {true, false}) {
        const auto native = read_native(text, at, spaced);
        if (!native || !has_native_counter(text, at, *native)) continue;
        return Candidate{at, *native, std::nullopt, is_one(*native) ? Reason::pronoun : Reason::none};
    }
    if (!starts_numeral(text[at])) return std::nullopt;
    if (const auto share = read_share(text, at)) return Candidate{at, *share, Role::multiple};
    const auto mixed = read_mixed(text, at);
    if (mixed && has_native_counter(text, at, *mixed)) return Candidate{at, *mixed, std::nullopt};
    const auto sino = read_scaled(text, at);
    if (sino && has_sino_counter(text, at, *sino)) return Candidate{at, *sino, std::nullopt};
    return std::nullopt;
}

std::optional<Candidate> han_at(Text text, std::size_t at) {
    const char32_t before = before_of(text, at);
    if (is_one_of(before, no_number_before)) return std::nullopt;
    if (const auto half = read_half(text, at)) {
        const bool whole = text[at] == U'一';
        const Text context = text.substr(0, at);
        const bool other = whole && (ends_with(context, U"另") || ends_with(context, U"另外") ||
                                     ends_with(context, U"其他"));
        return Candidate{at, *half, whole ? Role::multiple : Role::count,
                         other ? Reason::reference : Reason::none};
    }
    if (!starts_numeral(text[at])) return std::nullopt;
    if (text.substr(at, 3) == U"百分之") {
        auto percent = read_point(text, at + 3);
        if (!percent) percent = read_whole(text, at + 3);
        if (!percent || is_digit(text[at + 3])) return std::nullopt;
        return Candidate{at + 3, *percent, Role::percent};
    }
    if (const auto year = read_year(text, at)) return Candidate{at, *year, Role::count, Reason::date};
    if (const auto share = read_share(text, at)) return Candidate{at, *share, Role::multiple};
    const auto point = read_point(text, at);
    if (point && starts_with_one_of(text, point->end, han_counters) &&
        !is_one_of(text[point->end], no_point_before)) {
        return Candidate{at, *point, std::nullopt};
    }
    const auto reading = read_scaled(text, at);
    if (!reading || numeral_value(char_at(text, reading->end)) >= 0) return std::nullopt;
    // 千円; but 百年, 千家, 万一
    const bool starts_alone = numeral_value(text[at]) < 0 && !is_one_of(text[at], U"十廿卅");
    if (starts_alone && char_at(text, reading->end) != U'円') return std::nullopt;
    if (!starts_with_one_of(text, reading->end, han_counters)) return std::nullopt;
    // 四周: all around
    if (reading->numerator == 4 && is_one_of(char_at(text, reading->end), U"周週")) return std::nullopt;
    const Reason skip = before == U'第'                           ? Reason::ordinal
                        : is_one(*reading) && !reading->has_scale ? Reason::pronoun
                                                                  : Reason::none;
    return Candidate{at, *reading, std::nullopt, skip};
}

std::optional<Candidate> candidate_at(Text text, std::size_t at) {
    const char32_t c = text[at];
    const char32_t before = before_of(text, at);
    if (is_digit(c)) {
        if (is_one_of(before, U"./,_^\\")) return std::nullopt;
        if (const auto share = read_share(text, at)) return Candidate{at, *share, Role::multiple};
        const auto reading = read_scaled(text, at);
        if (!reading) return std::nullopt;
        return Candidate{at, *reading, std::nullopt};
    }
    if (is_hangul(c)) {
        return is_hangul(before) || follows_number(text, at) ? std::nullopt : korean_at(text, at);
    }
    return is_han(c) ? han_at(text, at) : std::nullopt;
}

}  // namespace

void add_east_asian(Text text, const std::vector<Area>& areas, const std::vector<std::size_t>& dollars,
                    std::vector<Number>& numbers) {
    if (!is_east_asian(text)) return;
    const std::vector<Number> digits = std::move(numbers);
    numbers.clear();
    AreaScanner scanner(areas);
    auto next_digits = digits.begin();
    for (std::size_t at = 0; at < text.size();) {
        while (next_digits != digits.end() && next_digits->end <= at) ++next_digits;
        // No number starts inside of 3/4.
        if (next_digits != digits.end() && next_digits->start < at) {
            at = next_digits->end;
            continue;
        }
        const auto candidate = candidate_at(text, at);
        if (!candidate) {
            at = next_place(text, at);
            continue;
        }
        const Reading& reading = candidate->reading;
        Number number{candidate->start,    reading.end, reading.numerator,
                      reading.denominator, Role::count, scanner.reason_at(candidate->start)};
        if (number.skip == Reason::none) number.skip = candidate->skip;
        if (number.skip == Reason::none && is_digit(text[number.start])) {
            number.skip = reason_around(text, number.start, number.end, dollars);
        }
        number.role = candidate->role ? *candidate->role : role_of(text, number, dollars);
        read_context(text, number);
        numbers.push_back(number);
        at = number.end;
    }
    std::size_t next = 0;
    const std::size_t count = numbers.size();
    for (Number number : digits) {
        while (next < count && numbers[next].end <= number.start) ++next;
        if (next < count && numbers[next].start <= number.start) continue;
        read_context(text, number);
        numbers.push_back(number);
    }
    std::sort(numbers.begin(), numbers.end(),
              [](const Number& a, const Number& b) { return a.start < b.start; });
    skip_by_east_asian_phrases(text, numbers);
}

}  // namespace dupo
