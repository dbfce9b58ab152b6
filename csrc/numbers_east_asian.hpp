// Values of Korean, Chinese and Japanese numbers, and what stands around such a number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "numbers.hpp"
#include "utf8.hpp"

namespace dupo {

inline bool is_hangul(char32_t c) { return c >= 0xac00 && c <= 0xd7a3; }
inline bool is_han(char32_t c) { return (c >= 0x4e00 && c <= 0x9fff) || c == U'〇'; }
inline char32_t char_at(Text text, std::size_t at) { return at < text.size() ? text[at] : U'\0'; }

// --- numbers_east_asian_values.cpp ---

// A number that was read up to `end`. has_scale: with 십, 만, 千 or the like in it.
struct Reading {
    std::size_t end;
    std::int64_t numerator;
    std::int64_t denominator;
    bool has_scale;
};

int numeral_value(char32_t c);                                  // -1 for a character that is no numeral
bool starts_numeral(char32_t c);                                // a numeral or a scale
std::optional<Reading> read_scaled(Text text, std::size_t at);  // 1만 2천, 이백오십, 三千零五
std::optional<Reading> read_whole(Text text, std::size_t at);   // a side of 3분의 2
std::optional<Reading> read_mixed(Text text, std::size_t at);   // 백 스물두, 이백다섯
std::optional<Reading> read_point(Text text, std::size_t at);   // 一点五, 一点二万
std::optional<Reading> read_share(Text text, std::size_t at);   // 3분의 2, 三分之二, 三又二分之一
// 한, 다섯, 열두, 스무. spaced: with a blank between tens and units, as in 스물 두.
std::optional<Reading> read_native(Text text, std::size_t at, bool spaced = false);

// --- numbers_east_asian_context.cpp ---

bool is_times(Text text, std::size_t at);  // 배 or 倍
// Sets the role and the reason that the characters around a number give.
void read_context(Text text, Number& number);

// --- numbers_east_asian_phrases.cpp ---

// Gives the numbers that may be hidden so far the reason of their area or of the first phrase that fits.
// numbers: ordered by start.
void skip_by_east_asian_phrases(Text text, std::vector<Number>& numbers);

}  // namespace dupo
