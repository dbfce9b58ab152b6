// Text as code points, and the classes of characters that the rules on numbers are made of.
//
// The classes are spelled out, so that no version of Unicode and no locale changes a result.
// dupo/text/numbers/base.py has equal classes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dupo {

using Text = std::u32string_view;

// Throws std::invalid_argument for an overlong form, a surrogate or an incomplete sequence.
std::u32string decode_utf8(std::string_view bytes);
void append_utf8(std::string& out, Text text);

inline bool is_digit(char32_t c) { return c >= U'0' && c <= U'9'; }
// Digits and the percent sign of East Asian text, １２％.
inline bool is_full_width(char32_t c) { return (c >= 0xff10 && c <= 0xff19) || c == 0xff05; }
inline bool is_ascii_letter(char32_t c) { return (c | 32) >= U'a' && (c | 32) <= U'z' && c < 128; }
inline char32_t lower(char32_t c) { return c >= U'A' && c <= U'Z' ? c + 32 : c; }

bool is_letter_beyond_ascii(char32_t c);
// A letter of a script that puts spaces between words.
inline bool is_letter(char32_t c) { return c < 128 ? is_ascii_letter(c) : is_letter_beyond_ascii(c); }
inline bool is_wordlike(char32_t c) { return is_digit(c) || c == U'_' || is_letter(c); }
inline bool is_space(char32_t c) {
    return c == U' ' || (c >= 9 && c <= 13) || c == 0xa0 || c == 0x2009 || c == 0x202f;
}
// May stand between groups of three digits.
inline bool is_group_space(char32_t c) { return c == U' ' || c == 0xa0 || c == 0x2009 || c == 0x202f; }
inline bool is_one_of(char32_t c, Text set) { return set.find(c) != Text::npos; }

// The pieces between marks; none is empty.
std::vector<Text> split(Text text, char32_t mark);

}  // namespace dupo
