// The steps of find_numbers, each in the file that the heading names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "numbers.hpp"
#include "utf8.hpp"

namespace dupo {

constexpr std::size_t lookbehind = 40;  // characters before a number that the rules see

// The text before `place`, as far as the rules see it.
inline Text text_before(Text text, std::size_t place) {
    const std::size_t start = place > lookbehind ? place - lookbehind : 0;
    return text.substr(start, place - start);
}

// A stretch of a text, text[start, end), in which no number may be hidden.
struct Area {
    std::size_t start;
    std::size_t end;
    Reason reason;
};

// --- numbers_areas.cpp ---

std::vector<Area> find_areas(Text text);  // ordered by start

// --- numbers_examples.cpp ---

void add_example_areas(Text text, std::vector<Area>& areas);

// Tells for one place after another which area the place lies in.
class AreaScanner {
  public:
    explicit AreaScanner(const std::vector<Area>& areas) : areas_(areas) {}
    // The reason of the area that covers `place`; of several areas, the area with the latest start counts.
    // Places must ascend from call to call.
    Reason reason_at(std::size_t place);

  private:
    const std::vector<Area>& areas_;
    std::size_t next_ = 0;
    std::vector<const Area*> open_;
};

// --- numbers_digits.cpp ---

// Appends the numbers in digits from left to right. dollars: formula_dollars of the text.
void find_digits(Text text, const std::vector<Area>& areas, const std::vector<std::size_t>& dollars,
                 std::vector<Number>& numbers);

bool is_vulgar(char32_t c);  // ½, ¾ and other fractions of one character

// Reads 12, 1,234.5 at a digit and moves `at` past the number: value / 10^places. `digits` counts the digits
// as written.
void read_decimal(Text text, std::size_t& at, std::int64_t& value, int& places, int& digits);

// --- numbers_east_asian.cpp ---

// Adds what Korean, Chinese and Japanese text has beside plain digits. numbers: those in plain digits.
void add_east_asian(Text text, const std::vector<Area>& areas, const std::vector<std::size_t>& dollars,
                    std::vector<Number>& numbers);

// --- numbers_quantities.cpp ---

// Whether a number that may not be hidden for `reason` stays readable: hiding an equal one is pointless.
bool is_readable(Reason reason);
// Sets `quantity`, and `skip` where the quantity stays readable elsewhere.
// numbers: those that may be hidden, those that only refer to others, and those that stay readable. Equal
// numbers of one role stand side by side, from left to right. dollars: formula_dollars of the text.
void join_same_quantities(Text text, const std::vector<Number*>& numbers,
                          const std::vector<std::size_t>& dollars);

// --- numbers_words.cpp ---

// Appends the numbers in words from left to right. dollars: formula_dollars of the text.
void find_words(Text text, const std::vector<Area>& areas, const std::vector<std::size_t>& dollars,
                std::vector<Number>& numbers);

// Whether the stand-in of a multiple needs "times": "half as many" becomes "Vqk times as many".
bool needs_times(Text text, const Number& number);

// --- numbers_phrases.cpp ---

// Whether a number is the whole number that `digits` writes; false where `digits` are none.
bool is_whole(const Number& number, Text digits);
// The words of a text and its single characters, without blanks, hyphens and the marks of formulas.
std::vector<Text> tokens_of(Text text);
// Gives the numbers that may be hidden so far the reason of the first phrase that matches, if any.
void skip_by_phrases(Text text, std::vector<Number>& numbers);
// The reason of the first phrase that puts a number in doubt; none for no phrase.
Reason doubt_by_phrases(Text text, const Number& number);

// Skips what a rounded answer does not tell, and what the best of several things does not tell.
void skip_by_rounding(Text text, std::vector<Number>& numbers);

// Skips what only sets a scene: "when she was 6 years old", "two days later", a lone amount of money.
void skip_by_scenes(Text text, std::vector<Number>& numbers);

// --- numbers_lists.cpp ---

// Gives members of enumerations and of lists of divisors their reason.
void skip_by_lists(Text text, std::vector<Number>& numbers);
// Skips the numbers of "a 5 by 5 grid of 25 squares": two of them tell the third.
void skip_by_products(Text text, std::vector<Number>& numbers);

// Skips a number whose things are all listed behind it: "two friends, Ben and Leo".
void skip_by_members(Text text, std::vector<Number>& numbers);

// --- numbers_shares.cpp ---

// Skips shares that add up to one whole, the last of which is "the other half" or "the remaining 10%".
void skip_by_shares(Text text, std::vector<Number>& numbers);

// --- numbers_doubts.cpp ---

// Skips the quantities in doubt where a text has others that may be hidden. Asks for `quantity`.
void skip_by_doubts(Text text, std::vector<Number>& numbers);

// --- numbers_rules.cpp ---
// `before` and `after` are the text before and after a number.

// Why the number in digits at text[start, end) may not be hidden. dollars: formula_dollars of the text.
Reason reason_around(Text text, std::size_t start, std::size_t end, const std::vector<std::size_t>& dollars);
bool follows_label(Text before);
Role role_of(Text text, const Number& number, const std::vector<std::size_t>& dollars);

// --- numbers_dates.cpp ---

bool is_year(Text surface);
bool is_day(Text before, Text after);
bool is_year_date(Text before, Text after);
bool is_compact_date(Text surface);
bool precedes_time(Text after);
bool is_length_of_time(Text before);

// --- numbers_latex.cpp ---

bool follows_function(Text before);
void add_bracket_areas(Text text, std::vector<Area>& areas);
std::vector<std::size_t> formula_dollars(Text text);  // places of the $ that open and close formulas

}  // namespace dupo
