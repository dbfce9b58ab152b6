// Numbers in text: which numbers may be hidden, and hiding them.
//
// Pure C++17. The twin in dupo/text/numbers states every rule and defines every result; the tests hold the
// two equal. Places are code points, as in Python.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "utf8.hpp"

namespace dupo {

// In the order of ROLES in dupo/text/numbers/base.py.
enum class Role : std::uint8_t { count, money, percent, multiple };

// In the order of REASONS in dupo/text/numbers/base.py. `none`: the number may be hidden.
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
    enumeration,
    example,
    divisor,
    definition,
    form,
    partition,
    rounded,
    share,
    scene,
    choice,
    unit,
    listed,
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
    std::int64_t quantity = -1;  // where the first number of the same quantity starts; -1: not to be hidden
};

// A text with one number hidden wherever the number stands.
struct Hidden {
    std::string known;                 // the text with `variable` in place of the number, UTF-8
    std::string variable;              // UTF-8
    std::vector<std::size_t> numbers;  // indices of the hidden numbers among the numbers of the text
};

// Finds the numbers of a text from left to right. `skip` says why a number may not be hidden.
std::vector<Number> find_numbers(Text text);

// Hides each number that may be hidden, in turn. The seed decides the names, and which numbers are hidden
// where the text has more than `most`.
std::vector<Hidden> hide_numbers(Text text, const std::vector<Number>& numbers, std::uint64_t seed,
                                 std::size_t most);

}  // namespace dupo
