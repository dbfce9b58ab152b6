// Numbers in text: which of them may be hidden, and hiding them.
//
// Pure C++17. The twin in dupo/numbers states every rule and defines every result; the tests hold the two
// equal. Places are code points, as in Python.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "utf8.hpp"

namespace dupo {

enum class Role : std::uint8_t { count, money, percent, multiple };

// In the order of REASONS in dupo/numbers; `none`: the number may be hidden.
enum class Reason : std::uint8_t {
    subscript,
    power,
    argument,
    bound,
    label,
    date,
    time,
    code,
    ordinal,
    word,
    leading_zero,
    part_of_longer,
    name,
    pronoun,
    reference,
    idiom,
    repeated,
    none,
};

// text[start, end) is worth numerator / denominator, in lowest terms.
struct Number {
    std::size_t start;
    std::size_t end;
    std::int64_t numerator;
    std::int64_t denominator;
    Role role;
    Reason skip;
};

// One number, hidden wherever it stands: the text with `variable` in its place (UTF-8), and which of the
// text's numbers those are.
struct Hidden {
    std::string known;
    std::string variable;
    std::vector<std::size_t> numbers;
};

// From left to right, each with the reason why it may not be hidden.
std::vector<Number> find_numbers(Text text);

// The numbers that may be hidden, each hidden in turn. The seed decides the names, and which are hidden where
// there are more than `most`.
std::vector<Hidden> hide_numbers(Text text, const std::vector<Number>& numbers, std::uint64_t seed,
                                 std::size_t most);

// --- parts of find_numbers, in the files of their names ---

constexpr std::size_t near_characters = 40;  // before a number, that its rules look at

// A stretch in which no number may be hidden.
struct Area {
    std::size_t start;
    std::size_t end;
    Reason reason;
};

// Asked for places from left to right: the reason of the area around a place that starts last.
class Inside {
  public:
    explicit Inside(const std::vector<Area>& areas) : areas_(areas) {}
    Reason reason(std::size_t place);

  private:
    const std::vector<Area>& areas_;
    std::size_t taken_ = 0;
    std::vector<const Area*> open_;
};

// digits.cpp
std::vector<Area> find_areas(Text text);  // in the order of their starts
void find_digits(Text text, const std::vector<Area>& areas, const std::vector<std::size_t>& marks,
                 std::vector<Number>& found);

// words.cpp
void find_words(Text text, const std::vector<Area>& areas, const std::vector<std::size_t>& marks,
                std::vector<Number>& found);

// Whether what stands for a multiple needs "times": "half as many" becomes "Vqk times as many".
bool takes_times(Text text, const Number& number);

// rules.cpp; `before` and `after` are what stands there, as far as rules look
Reason reason_around(Text text, std::size_t start, std::size_t end);
bool follows_label(Text before);
Role role_of(Text text, const Number& number, const std::vector<std::size_t>& marks);

// dates.cpp
bool is_year(Text surface);
bool is_day(Text before, Text after);
bool is_year_date(Text before, Text after);
bool precedes_time(Text after);

// latex.cpp
bool follows_function(Text before);
void add_brackets(Text text, std::vector<Area>& areas);
std::vector<std::size_t> formula_marks(Text text);  // places of the $ that open and close formulas

inline Text before(Text text, std::size_t at) {
    const std::size_t start = at > near_characters ? at - near_characters : 0;
    return text.substr(start, at - start);
}

}  // namespace dupo
