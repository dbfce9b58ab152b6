// Numbers in digits, and the stretches of a text in which no number may be hidden.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "cursor.hpp"
#include "numbers.hpp"

namespace dupo {
namespace {

constexpr int max_digits = 18;
__extension__ using Wide = __int128;

constexpr Wide ten_to(int power) {
    Wide value = 1;
    for (int k = 0; k < power; ++k) value *= 10;
    return value;
}

Wide gcd(Wide a, Wide b) {
    while (b != 0) {
        const Wide rest = a % b;
        a = b;
        b = rest;
    }
    return a < 0 ? -a : a;
}

// digits / 10^places, negative or not; `digits` counts all of them, zeros too.
struct Decimal {
    Wide value = 0;
    int places = 0;
    int digits = 0;
};

// Reads forwards from `at`, which moves past what was read.
class Reader {
  public:
    Reader(Text text, std::size_t at) : text_(text), at_(at) {}
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

    // 12 or 1,234,567.
    bool whole(Decimal& into) {
        const std::size_t run = digits_ahead();
        if (run == 0) return false;
        take(run, into);
        if (run > 3) return true;
        for (Reader next = *this; next.separator() && next.digits_ahead() >= 3;) {
            Decimal more = into;
            next.take(3, more);
            if (next.digits_ahead() > 0) {
                // A longer run of digits ends the number before this group.
                break;
            }
            *this = next;
            into = more;
        }
        return true;
    }
    // 12, 1,234.5 or .5.
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
    // {3}{4} or 34, after \frac.
    bool braced(Decimal& up, Decimal& down) {
        Reader rest = *this;
        rest.eat(" ");
        Reader open = rest;
        if (open.argument(up)) {
            open.eat(" ");
            if (open.argument(down)) {
                *this = open;
                return true;
            }
        }
        up = down = {};
        if (!is_digit(rest.peek())) return false;
        rest.take(1, up);
        rest.eat(" ");
        if (!is_digit(rest.peek())) return false;
        rest.take(1, down);
        *this = rest;
        return true;
    }
    bool fraction_command() {
        for (const std::string_view name : {"\\frac", "\\dfrac", "\\tfrac", "\\cfrac"}) {
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
    bool separator() { return eat(",\\!") || eat(",") || eat("{,}"); }
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
};

// A number in digits that starts at a place, as it was read: whole + up / down.
struct Match {
    std::size_t end = 0;
    Decimal whole;
    Decimal up;
    Decimal down{1, 0, 0};
    bool is_fraction = false;
};

bool match_ratio(Reader& reader, Match& match) {
    Reader rest = reader;
    if (!rest.decimal(match.up) || !rest.eat("/")) return false;
    match.down = {};
    if (!rest.whole(match.down)) return false;
    Reader after = rest;
    after.skip(after.digits_ahead());
    if ((after.peek() == U'/' || after.peek() == U'.') && is_digit(after.peek(1))) return false;
    reader = rest;
    return true;
}

bool match_fraction(Reader reader, Match& match) {
    match.up = match.down = {};
    Reader command = reader;
    if (!match_ratio(reader, match)) {
        match.up = match.down = {};
        if (!command.fraction_command() || !command.braced(match.up, match.down)) return false;
        reader = command;
    }
    match.is_fraction = true;
    match.end = reader.at();
    return true;
}

std::optional<Match> match_number(Text text, std::size_t at) {
    Match match;
    Reader reader(text, at);
    const std::size_t run = reader.digits_ahead();
    if (run >= 1 && run <= 3) {
        Reader rest = reader;
        rest.skip(run);
        Reader command = rest;
        command.eat(" ");
        Reader ratio = rest;
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
    if (!reader.decimal(match.up)) return std::nullopt;
    match.end = reader.at();
    return match;
}

// False where the number is no quantity: a zero below, or too many digits.
bool evaluate(const Match& match, Number& number) {
    const Decimal& up = match.up;
    const Decimal& down = match.down;
    if (up.digits > max_digits || down.digits > max_digits || down.value == 0) return false;
    Wide above = up.value * ten_to(match.is_fraction ? down.places : 0);
    Wide below = match.is_fraction ? down.value * ten_to(up.places) : ten_to(up.places);
    if (below < 0) {
        above = -above;
        below = -below;
    }
    const Wide common = gcd(above, below);
    above /= common;
    below /= common;
    if (match.is_fraction) {
        if (below >= ten_to(max_digits)) return false;
        above += match.whole.value * below;
        if (above >= ten_to(max_digits) || -above >= ten_to(max_digits)) return false;
    }
    number.numerator = static_cast<std::int64_t>(above);
    number.denominator = static_cast<std::int64_t>(below);
    return true;
}

// --- stretches ---

// As many digits as stand there, from `least` to `most`; 0 otherwise.
std::size_t digits_at(Text text, std::size_t at, std::size_t least, std::size_t most) {
    const std::size_t count = Reader(text, at).digits_ahead();
    return count >= least && count <= most ? count : 0;
}

// 2021-07-04 (`year_first`) or 4/7/2021: where it ends; 0 if there is none.
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

// 8:30 or 8:30:15.
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

std::size_t drawing_end(Text text, std::size_t at) {
    Reader reader(text, at);
    if (!reader.eat("[asy]")) return 0;
    const std::size_t close = text.find(U"[/asy]", reader.at());
    return close == Text::npos ? text.size() : close + 6;
}

std::size_t address_end(Text text, std::size_t at) {
    Reader reader(text, at);
    if (!reader.eat("https://") && !reader.eat("http://")) return 0;
    std::size_t end = reader.at();
    while (end < text.size() && !is_space(text[end])) ++end;
    return end > reader.at() ? end : 0;
}

std::size_t latex_end(Text text, std::size_t at) {
    Reader reader(text, at);
    for (const std::string_view name : {"\\begin{", "\\end{", "\\label{", "\\ref{", "\\cite{", "\\hspace{",
                                        "\\vspace{", "\\color{", "\\textcolor{"}) {
        if (!reader.eat(name)) continue;
        const std::size_t end = text.find_first_of(U"{}", reader.at());
        return end != Text::npos && text[end] == U'}' ? end + 1 : 0;
    }
    return 0;
}

template <typename End>
void add_areas(Text text, Reason reason, std::vector<Area>& areas, End end_of) {
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = end_of(text, at);
        if (end > 0) areas.push_back({at, end, reason});
        at = end > 0 ? end : at + 1;
    }
}

bool in_ratio(Text text, std::size_t at) {
    const Text near = before(text, at);
    for (std::size_t k = 0; k + 5 <= near.size(); ++k) {
        if (same(near.substr(k, 5), "ratio", true)) return true;
    }
    return false;
}

}  // namespace

void find_digits(Text text, const std::vector<Area>& areas, const std::vector<std::size_t>& marks,
                 std::vector<Number>& found) {
    Inside inside(areas);
    for (std::size_t at = 0; at < text.size();) {
        const char32_t c = text[at];
        const auto match = is_digit(c) || c == U'.' || c == U'\\' ? match_number(text, at) : std::nullopt;
        if (!match) {
            ++at;
            continue;
        }
        Number number{at, match->end, 0, 1, Role::count, Reason::none};
        if (evaluate(*match, number)) {
            number.skip = inside.reason(at);
            if (number.skip == Reason::none) number.skip = reason_around(text, at, match->end);
            number.role = role_of(text, number, marks);
            found.push_back(number);
        }
        at = match->end;
    }
}

std::vector<Area> find_areas(Text text) {
    std::vector<Area> areas;
    add_areas(text, Reason::date, areas, [](Text t, std::size_t at) { return date_end(t, at, true); });
    add_areas(text, Reason::date, areas, [](Text t, std::size_t at) { return date_end(t, at, false); });
    std::vector<Area> times;
    add_areas(text, Reason::time, times, time_end);
    for (const Area& area : times) {
        if (!in_ratio(text, area.start)) areas.push_back(area);
    }
    for (const auto end_of : {drawing_end, address_end, latex_end}) {
        add_areas(text, Reason::code, areas, end_of);
    }
    add_brackets(text, areas);
    std::stable_sort(areas.begin(), areas.end(), [](const Area& a, const Area& b) {
        return a.start != b.start ? a.start < b.start : a.end < b.end;
    });
    return areas;
}

}  // namespace dupo
