// Values of Korean, Chinese and Japanese numbers.
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>

#include "numbers_east_asian.hpp"
#include "numbers_east_asian_words.hpp"
#include "numbers_steps.hpp"

namespace dupo {
namespace {

__extension__ using Wide = __int128;

constexpr int most_digits = 9;             // of a coefficient: 123456789만
constexpr int least_digits = 3;            // of what follows a scale and a space: 12만 3,456
constexpr std::int64_t unit = 1000000000;  // fixed point: a coefficient has 9 places at most
constexpr Wide most_value = Wide{unit} * unit * unit;

struct Coefficient {
    std::size_t end;
    Wide value;  // times `unit`
    int digits;  // 0 for a number in words
};

struct Named {
    Text name;
    int value;
};
constexpr Named native_units[] = {
    {U"한", 1},   {U"두", 2},   {U"세", 3},   {U"네", 4},   {U"다섯", 5},
    {U"여섯", 6}, {U"일곱", 7}, {U"여덟", 8}, {U"아홉", 9},
};
constexpr Named native_tens[] = {
    {U"열", 10},   {U"스물", 20}, {U"서른", 30}, {U"마흔", 40}, {U"쉰", 50},
    {U"예순", 60}, {U"일흔", 70}, {U"여든", 80}, {U"아흔", 90},
};

std::int64_t small_scale(char32_t c) {
    if (c == U'十' || c == U'십') return 10;
    if (c == U'百' || c == U'백') return 100;
    return c == U'千' || c == U'천' ? 1000 : 0;
}

std::int64_t big_scale(char32_t c) {
    if (is_one_of(c, U"万萬만")) return 10000;
    if (is_one_of(c, U"亿億억")) return 100000000;
    return c == U'兆' || c == U'조' ? 1000000000000 : 0;
}

// 廿五 is 25.
int old_tens(char32_t c) { return c == U'廿' ? 20 : c == U'卅' ? 30 : 0; }

std::optional<Coefficient> coefficient(Text text, std::size_t at) {
    const char32_t c = char_at(text, at);
    const int numeral = numeral_value(c);
    if (numeral >= 0) return Coefficient{at + 1, Wide{numeral} * unit, 0};
    if (!is_digit(c)) return std::nullopt;
    std::int64_t value = 0;
    int places = 0;
    int digits = 0;
    read_decimal(text, at, value, places, digits);
    if (digits > most_digits) return std::nullopt;
    Wide fixed = Wide{value} * unit;
    for (int k = 0; k < places; ++k) fixed /= 10;
    return Coefficient{at, fixed, digits};
}

// Whether the character at a place multiplies: 3천, but not 3千克 and no team 5조.
bool is_scale(Text text, std::size_t at, const std::optional<Coefficient>& number) {
    const char32_t c = text[at];
    char32_t after = char_at(text, at + 1);
    const bool in_digits = number && number->digits > 0;
    if (c == U'千') return after != U'克' && !(after == U'米' && in_digits);
    if (c == U'조') {
        const std::size_t next = after == U' ' ? at + 2 : at + 1;
        if (next >= text.size()) return true;
        after = text[next];
        return after == U'원' || after == U'달' || is_digit(after);
    }
    if (c == U'만' && after == U'큼') return false;  // 5만큼: by five
    return c != U'十' || !in_digits;
}

// Whether a coefficient without a scale is the end of the number: 12만 3,456, 백 오 명.
bool ends_number(Text text, const Coefficient& number, bool is_spaced, std::int64_t limit) {
    if (number.value == 0 || number.value >= Wide{limit} * unit) return false;
    if (!is_spaced || number.digits >= least_digits) return true;
    return number.digits == 0 && is_one_of(text[number.end - 1], sino_singles) &&
           char_at(text, number.end) == U' ' &&
           starts_with_one_of(text, number.end + 1, sino_single_counters);
}

// Whether Korean syllables that look like a number go on as a word: 이상, 일정.
bool starts_word(Text text, std::size_t at, std::size_t end) {
    const char32_t following = char_at(text, end);
    return is_hangul(text[at]) && is_hangul(following) && !is_one_of(following, after_share);
}

std::optional<Reading> reading_of(std::size_t end, Wide fixed, bool has_scale) {
    if (fixed >= most_value) return std::nullopt;
    std::int64_t denominator = unit;
    while (denominator > 1 && fixed % 2 == 0 && denominator % 2 == 0) {
        fixed /= 2;
        denominator /= 2;
    }
    while (denominator > 1 && fixed % 5 == 0 && denominator % 5 == 0) {
        fixed /= 5;
        denominator /= 5;
    }
    return Reading{end, static_cast<std::int64_t>(fixed), denominator, has_scale};
}

template <typename Table>
int entry(Text text, std::size_t& at, const Table& table) {
    for (const Named& word : table) {
        if (at <= text.size() && text.substr(at, word.name.size()) == word.name) {
            at += word.name.size();
            return word.value;
        }
    }
    return 0;
}

}  // namespace

int numeral_value(char32_t c) {
    constexpr Text han = U"零一二三四五六七八九";
    constexpr Text sino = U"영일이삼사오육칠팔구";
    if (c < 0x3000) return -1;
    const std::size_t in_han = han.find(c);
    if (in_han != Text::npos) return static_cast<int>(in_han);
    const std::size_t in_sino = sino.find(c);
    if (in_sino != Text::npos) return static_cast<int>(in_sino);
    if (c == U'〇') return 0;
    if (c == U'两' || c == U'兩') return 2;
    return c == U'륙' ? 6 : -1;
}

bool starts_numeral(char32_t c) {
    return c >= 0x3000 &&
           (numeral_value(c) >= 0 || small_scale(c) > 0 || big_scale(c) > 0 || old_tens(c) > 0);
}

std::optional<Reading> read_scaled(Text text, std::size_t at) {
    if (const int tens = old_tens(char_at(text, at))) {
        const int ones = numeral_value(char_at(text, at + 1));
        return Reading{ones > 0 ? at + 2 : at + 1, tens + (ones > 0 ? ones : 0), 1, true};
    }
    Wide total = 0;
    Wide section = 0;
    std::int64_t last_small = 10000;
    std::int64_t last_big = 10000000000000000;
    std::int64_t last_scale = 0;
    std::size_t end = at;
    std::optional<Coefficient> number;
    bool spaced = false;
    bool has_zero = false;
    for (;;) {
        std::size_t place = end;
        // Korean leaves a space behind a scale.
        spaced = last_scale > 0 && char_at(text, place) == U' ' && is_hangul(text[place - 1]);
        if (spaced) ++place;
        has_zero = last_scale > 0 && is_one_of(char_at(text, place), U"零〇영");
        number = coefficient(text, has_zero ? place + 1 : place);
        const std::size_t after = number ? number->end : end;
        const std::int64_t small = small_scale(char_at(text, after));
        const std::int64_t big = big_scale(char_at(text, after));
        if (small > 0 && small < last_small && is_scale(text, after, number)) {
            last_small = last_scale = small;
            section += (number ? number->value : Wide{unit}) * small;
        } else if (big > 0 && big < last_big && (number || section != 0 || last_scale == 0) &&
                   is_scale(text, after, number)) {
            last_big = last_scale = big;
            if (number) section += number->value;
            total += (section != 0 ? section : Wide{unit}) * big;
            section = 0;
            last_small = 10000;
        } else {
            break;
        }
        end = after + 1;
    }
    if (last_scale == 0) {
        if (!number || number->digits > 0) return std::nullopt;
        return reading_of(number->end, number->value, false);
    }
    if (number && ends_number(text, *number, spaced, section != 0 ? last_small : last_big)) {
        // 两千五 is 2500 in Chinese, and 2005 in Japanese.
        if (number->digits == 0 && !has_zero && last_scale >= 100 && is_han(text[number->end - 1])) {
            return std::nullopt;
        }
        section += number->value;
        end = number->end;
    }
    return reading_of(end, total + section, true);
}

std::optional<Reading> read_native(Text text, std::size_t at, bool spaced) {
    if (at < text.size() && text.substr(at, 2) == U"스무") return Reading{at + 2, 20, 1, false};
    std::size_t end = at;
    const int tens = entry(text, end, native_tens);
    if (spaced && (tens == 0 || char_at(text, end) != U' ')) return std::nullopt;
    if (spaced) ++end;
    const int units = entry(text, end, native_units);
    if (end == at || (spaced && units == 0)) return std::nullopt;
    return Reading{end, tens + units, 1, false};
}

std::optional<Reading> read_mixed(Text text, std::size_t at) {
    // 만 두 살 is two full years.
    if (big_scale(char_at(text, at)) > 0 || !is_hangul(char_at(text, at))) return std::nullopt;
    const auto hundreds = read_scaled(text, at);
    if (!hundreds || !hundreds->has_scale || hundreds->denominator != 1 || hundreds->numerator % 100 != 0) {
        return std::nullopt;
    }
    const std::size_t place = char_at(text, hundreds->end) == U' ' ? hundreds->end + 1 : hundreds->end;
    auto ones = read_native(text, place, true);
    if (!ones) ones = read_native(text, place);
    if (!ones) return std::nullopt;
    return Reading{ones->end, hundreds->numerator + ones->numerator, 1, true};
}

std::optional<Reading> read_point(Text text, std::size_t at) {
    const auto whole = is_han(char_at(text, at)) ? read_whole(text, at) : std::nullopt;
    if (!whole || !is_one_of(char_at(text, whole->end), points)) return std::nullopt;
    const std::size_t first = whole->end + 1;
    std::size_t end = first;
    Wide value = whole->numerator;
    std::int64_t denominator = 1;
    for (; is_han(char_at(text, end)) && numeral_value(text[end]) >= 0; ++end) {
        if (end - first >= most_digits) return std::nullopt;
        value = value * 10 + numeral_value(text[end]);
        denominator *= 10;
    }
    // 三点五十: fifty minutes past three
    if (end == first || small_scale(char_at(text, end)) > 0) return std::nullopt;
    if (const std::int64_t scale = big_scale(char_at(text, end))) {
        value *= scale;
        ++end;
    }
    for (const int prime : {2, 5}) {
        while (denominator % prime == 0 && value % prime == 0) {
            denominator /= prime;
            value /= prime;
        }
    }
    if (value >= most_value / unit) return std::nullopt;
    return Reading{end, static_cast<std::int64_t>(value), denominator, true};
}

std::optional<Reading> fraction(Text text, std::size_t at) {
    const auto down = read_whole(text, at);
    if (!down) return std::nullopt;
    const bool spaced = char_at(text, down->end) == U' ' && is_hangul(char_at(text, down->end + 1));
    const std::size_t mark = spaced ? down->end + 1 : down->end;
    if (!starts_with_one_of(text, mark, share_marks) || down->numerator == 0) return std::nullopt;
    const std::size_t place = char_at(text, mark + 2) == U' ' ? mark + 3 : mark + 2;
    const auto up = read_whole(text, place);
    if (!up || starts_word(text, place, up->end)) return std::nullopt;
    const std::int64_t common = std::gcd(up->numerator, down->numerator);
    return Reading{up->end, up->numerator / common, down->numerator / common, false};
}

std::optional<Reading> read_share(Text text, std::size_t at) {
    const auto whole = read_whole(text, at);
    if (!whole || char_at(text, whole->end) != U'又') return fraction(text, at);
    const auto rest = fraction(text, whole->end + 1);
    if (!rest || rest->numerator >= rest->denominator) return std::nullopt;
    return Reading{rest->end, whole->numerator * rest->denominator + rest->numerator, rest->denominator,
                   false};
}

std::optional<Reading> read_whole(Text text, std::size_t at) {
    std::size_t end = at;
    std::int64_t value = 0;
    while (is_digit(char_at(text, end))) {
        if (end - at < most_digits) value = value * 10 + static_cast<std::int64_t>(text[end] - U'0');
        ++end;
    }
    if (end == at) {
        const auto words = read_scaled(text, at);
        const bool is_whole = words && words->denominator == 1 && words->numerator < unit;
        return is_whole ? words : std::nullopt;
    }
    if (end - at > most_digits) return std::nullopt;
    return Reading{end, value, 1, false};
}

}  // namespace dupo
