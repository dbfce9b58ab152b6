// Whether a text ends on a question, and what the question only supposes: "if he buys 5 pens".
//
// Twin of dupo/text/numbers/questions.py.
#pragma once

#include <cstddef>

#include "utf8.hpp"

namespace dupo {

// What starts a question.
constexpr Text asking_words = U"how|what|find|calculate|compute|determine";

constexpr std::size_t near_characters = 200;  // of a sentence, on either side of a number, that are read

// Whether the last sentence of a text asks for something.
bool asks(Text sentence);
// Whether a word of Chinese, Japanese or Korean says that something is asked of a supposed case.
bool has_supposing_mark(Text sentence);
// Whether what stands before a number in a question makes the number a supposition.
bool supposes(Text clause);
// Whether a later sentence speaks of something else: another name, another day.
bool contrasts(Text sentence, Text later);

}  // namespace dupo
