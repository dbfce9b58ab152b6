// Numbers in digits and their exact values.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "numbers_cursor.hpp"
#include "numbers_marks.hpp"
#include "numbers_steps.hpp"

namespace dupo {
namespace {

constexpr int max_digits = 18;
constexpr std::string_view fractions[] = {"\\frac", "\\dfrac", "\\tfrac", "\\cfrac"};
// Products of two 18-digit numbers do not fit 64 bits.
__extension__ using Wide = __int128;

constexpr Wide ten_to(int power) {
    Wide value = 1;
    for (int k = 0; k < power; ++k) value *= 10;
    return value;
}

Wide gcd(Wide a, Wide b) {
    while (b != 0) {
        const Wide remainder = a % b;
        a = b;
        b = remainder;
    }
    return a < 0 ? -a : a;
}

// The number value / 10^places. `digits` counts the digits as written, with leading zeros.
struct Decimal {
    Wide value = 0;
    int places = 0;
    int digits = 0;
};

// Reads towards the end from `at`, and moves `at` past what was read.
class Reader {
  public:
    // in_list: whether commas separate numbers.
    Reader(Text text, std::size_t at, bool in_list = false) : text_(text), at_(at), in_list_(in_list) {}
    std::size_t at() const { return at_; }
    char32_t peek(std::size_t ahead = 0) const {
        return at_ + ahead < text_.size() ? text_[at_ + ahead] : U'\0';
    }
    std::size_t digits_ahead() const {
        std::size_t end = at_;
        while (end < text_.size() && is_digit(text_[end])) ++end;
        return end - at_;
    }
    bool eat(std::string_view literal) {
        Forward forward{text_.substr(at_)};
        if (!forward.literal(literal)) return false;
        at_ += literal.size();
        return true;
    }
    void skip(std::size_t count) { at_ += count; }

    // Reads 12, 1,234,567 or, after a currency sign, 250 000.
    bool whole(Decimal& into) {
        const std::size_t run = digits_ahead();
        if (run == 0) return false;
        if (run <= 3 && at_ > 0 && is_one_of(text_[at_ - 1], U"$£€¥₹") && spaced(run, into)) return true;
        if (run <= 3 && (grouped(run, false, into) || grouped(run, true, into))) return true;
        take(run, into);
        return true;
    }
    // Reads 12, 1,234.5 or .5.
    bool decimal(Decimal& into) {
        if (peek() == U'.') {
            const bool alone = at_ == 0 || (!is_wordlike(text_[at_ - 1]) && text_[at_ - 1] != U'.');
            if (!alone || !is_digit(peek(1))) return false;
        } else if (!whole(into)) {
            return false;
        }
        if (peek() == U'.' && is_digit(peek(1))) {
            skip(1);
            const int before = into.digits;
            take(digits_ahead(), into);
            into.places = into.digits - before;
        }
        return true;
    }
    // Reads {3}{4}, 34, 3{4} or {3}4, after \frac.
    bool operands(Decimal& numerator, Decimal& denominator) {
        Reader next = *this;
        next.eat(" ");
        if (!next.operand(numerator)) return false;
        next.eat(" ");
        if (!next.operand(denominator)) return false;
        *this = next;
        return true;
    }
    bool fraction_command() {
        for (const std::string_view name : fractions) {
            if (eat(name)) return true;
        }
        return false;
    }

  private:
    void take(std::size_t count, Decimal& into) {
        for (std::size_t k = 0; k < count; ++k, ++at_, ++into.digits) {
            if (into.digits < max_digits) into.value = into.value * 10 + (text_[at_] - U'0');
        }
    }
    // Reads 1{,}250, or 1,250 with `commas`, which starts with a group of `run` digits. The commas of
    // 90,85,100 separate.
    bool grouped(std::size_t run, bool commas, Decimal& into) {
        if (commas && (in_list_ || (at_ > 1 && text_[at_ - 1] == U',' && is_digit(text_[at_ - 2]))))
            return false;
        Reader next = *this;
        Decimal longer = into;
        next.take(run, longer);
        Reader end = next;
        Decimal value = longer;
        while (next.separator(commas) && next.digits_ahead() == 3) {
            next.take(3, longer);
            end = next;
            value = longer;
        }
        if (end.at_ == at_ + run || (commas && end.peek() == U',' && is_digit(end.peek(1)))) return false;
        *this = end;
        into = value;
        return true;
    }
    // Reads 1 250 000 or 250 000, which starts with a group of `run` digits.
    bool spaced(std::size_t run, Decimal& into) {
        Reader next = *this;
        next.take(run, into);
        std::size_t groups = 0;
        bool zeros = false;
        for (Reader ahead = next; ahead.eat(" ") && ahead.digits_ahead() == 3; ++groups) {
            zeros = groups == 0 && Reader(ahead).eat("000");
            ahead.take(3, into);
            next = ahead;
        }
        if (groups > 1 || zeros) {
            *this = next;
            return true;
        }
        into = {};
        return false;
    }
    bool separator(bool commas) { return eat(",\\!") || eat("\\,") || eat("{,}") || (commas && eat(",")); }
    bool operand(Decimal& into) {
        into = {};
        if (is_digit(peek())) {
            take(1, into);
            return true;
        }
        return argument(into);
    }
    bool argument(Decimal& into) {
        if (!eat("{")) return false;
        eat(" ");
        const bool negative = eat("-");
        if (!decimal(into)) return false;
        if (negative) into.value = -into.value;
        eat(" ");
        return eat("}");
    }

    Text text_;
    std::size_t at_;
    bool in_list_;
};

// A number as it was read: whole + numerator / denominator.
struct Match {
    std::size_t end = 0;
    Decimal whole;
    Decimal numerator;
    Decimal denominator{1, 0, 0};
    bool is_fraction = false;
};

bool match_ratio(Reader& reader, Match& match) {
    Reader next = reader;
    if (!next.decimal(match.numerator) || !next.eat("/")) return false;
    match.denominator = {};
    if (!next.whole(match.denominator)) return false;
    Reader after = next;
    after.skip(after.digits_ahead());
    if ((after.peek() == U'/' || after.peek() == U'.') && is_digit(after.peek(1))) return false;
    reader = next;
    return true;
}

bool match_fraction(Reader reader, Match& match) {
    match.numerator = match.denominator = {};
    Reader command = reader;
    if (!match_ratio(reader, match)) {
        match.numerator = match.denominator = {};
        if (!command.fraction_command()) return false;
        if (!command.operands(match.numerator, match.denominator)) return false;
        reader = command;
    }
    match.is_fraction = true;
    match.end = reader.at();
    return true;
}

// Reads 2½ or ½. No fraction of one character stands behind a longer number.
bool match_vulgar(Text text, std::size_t at, Match& match) {
    constexpr Text vulgar = U"¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞";
    constexpr int tops[] = {1, 1, 3, 1, 1, 1, 1, 2, 1, 2, 3, 4, 1, 5, 1, 3, 5, 7};
    constexpr int bottoms[] = {4, 2, 4, 7, 9, 10, 3, 3, 5, 5, 5, 5, 6, 6, 8, 8, 8, 8};
    if (at > 0 && is_digit(text[at - 1])) return false;
    if (is_vulgar(text[at]) && at > 1 && text[at - 1] == U' ' && is_digit(text[at - 2])) return false;
    std::size_t end = at;
    while (end < text.size() && is_digit(text[end])) ++end;
    if (end > at) {
        const bool is_part = at > 1 && is_one_of(text[at - 1], U".,") && is_digit(text[at - 2]);
        if (end - at > 3 || is_part) return false;
        for (std::size_t k = at; k < end; ++k) match.whole.value = match.whole.value * 10 + (text[k] - U'0');
        if (end < text.size() && text[end] == U' ') ++end;
    }
    const std::size_t kind = end < text.size() ? vulgar.find(text[end]) : Text::npos;
    if (kind == Text::npos) return false;
    match.numerator.value = tops[kind];
    match.denominator.value = bottoms[kind];
    match.is_fraction = true;
    match.end = end + 1;
    return true;
}

std::optional<Match> match_number(Text text, std::size_t at, bool in_list) {
    Match match;
    if (match_vulgar(text, at, match)) return match;
    match = {};
    Reader reader(text, at, in_list);
    const std::size_t run = reader.digits_ahead();
    if (run >= 1 && run <= 3) {
        Reader next = reader;
        next.skip(run);
        Reader command = next;
        command.eat(" ");
        Reader ratio = next;
        bool mixed = false;
        if (ratio.eat(" ")) {
            const std::size_t digits = ratio.digits_ahead();
            mixed = digits >= 1 && digits <= 3 && ratio.peek(digits) == U'/' && match_fraction(ratio, match);
        }
        if (!mixed && Reader(command).fraction_command()) mixed = match_fraction(command, match);
        if (mixed) {
            match.whole = {};
            for (std::size_t k = 0; k < run; ++k) {
                match.whole.value = match.whole.value * 10 + (text[at + k] - U'0');
            }
            return match;
        }
    }
    match = {};
    if (match_fraction(reader, match)) return match;
    match = {};
    if (!reader.decimal(match.numerator)) return std::nullopt;
    match.end = reader.at();
    return match;
}

// Returns false for a zero denominator and for too many digits.
bool evaluate(const Match& match, Number& number) {
    const Decimal& numerator = match.numerator;
    const Decimal& denominator = match.denominator;
    if (numerator.digits > max_digits || denominator.digits > max_digits) return false;
    if (denominator.value == 0) return false;
    Wide top = numerator.value * ten_to(match.is_fraction ? denominator.places : 0);
    Wide bottom = match.is_fraction ? denominator.value * ten_to(numerator.places) : ten_to(numerator.places);
    if (bottom < 0) {
        top = -top;
        bottom = -bottom;
    }
    const Wide common = gcd(top, bottom);
    top /= common;
    bottom /= common;
    if (match.is_fraction) {
        if (bottom >= ten_to(max_digits)) return false;
        top += match.whole.value * bottom;
        if (top >= ten_to(max_digits) || -top >= ten_to(max_digits)) return false;
    }
    number.numerator = static_cast<std::int64_t>(top);
    number.denominator = static_cast<std::int64_t>(bottom);
    return true;
}

}  // namespace

bool is_vulgar(char32_t c) { return (c >= 0xbc && c <= 0xbe) || (c >= 0x2150 && c <= 0x215e); }

void read_decimal(Text text, std::size_t& at, std::int64_t& value, int& places, int& digits) {
    Reader reader(text, at);
    Decimal decimal;
    reader.decimal(decimal);
    at = reader.at();
    value = static_cast<std::int64_t>(decimal.value);
    places = decimal.places;
    digits = decimal.digits;
}

void find_digits(Text text, const std::vector<Area>& areas, const std::vector<std::size_t>& dollars,
                 std::vector<Number>& numbers) {
    AreaScanner scanner(areas);
    std::size_t list_end = 0;  // of the list in brackets that was read last
    for (std::size_t at = 0; at < text.size();) {
        const char32_t c = text[at];
        if (at >= list_end && is_one_of(c, U"([{")) list_end = bracketed_list_end(text, at);
        const bool starts = is_digit(c) || c == U'\\' || is_vulgar(c) ||
                            (c == U'.' && at + 1 < text.size() && is_digit(text[at + 1]));
        const auto match = starts ? match_number(text, at, at < list_end) : std::nullopt;
        if (!match) {
            ++at;
            continue;
        }
        Number number{at, match->end, 0, 1, Role::count, Reason::none};
        if (evaluate(*match, number)) {
            number.skip = scanner.reason_at(at);
            if (number.skip == Reason::none) number.skip = reason_around(text, at, match->end, dollars);
            number.role = role_of(text, number, dollars);
            numbers.push_back(number);
        }
        at = match->end;
    }
}

}  // namespace dupo
