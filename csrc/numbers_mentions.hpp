// What a number counts: the noun behind the number, and the words that tell two equal numbers apart.
//
// Twin of dupo/text/numbers/mentions.py.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "numbers.hpp"
#include "utf8.hpp"

namespace dupo {

// What a number in plain text counts. Words are in lower case; "" where there is none.
struct Mention {
    std::u32string noun;                    // its stem
    std::vector<std::u32string> modifiers;  // stems of the words between number and noun
    std::u32string rate;                    // the stem of the word behind "per", "a" or "every"
    std::u32string complement;              // the stem of the noun behind "of" or a hyphen
    std::u32string dimension;               // "wide", "ago"
    std::u32string before[2];               // the two words before the number
    bool is_other = false;                  // other things than those named so far: "5 more"
    bool is_definite = false;               // things named before: "the 5 pens"
    std::u32string purpose;                 // how the verb behind "to" starts: "5 letters to mail"
};

// Reads the words around a number. `end`: where the words behind the number start.
Mention mention_of(Text text, const Number& number, std::size_t end);

bool is_definite_word(Text word);   // "the", "these", "her"
bool is_stop(Text word);            // a word that ends the phrase of a noun
std::u32string stem_of(Text word);  // one string for singular and plural: shelf and shelves
bool is_unit(Text stem);            // the stem of a unit: "mil", "hour"
bool is_compared(Text dimension);   // "older": "2 years older" is another quantity than "2 years"
bool same_scales(const Mention& one, const Mention& two);  // not 2 feet and 2 square feet

}  // namespace dupo
