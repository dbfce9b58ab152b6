// Lists in brackets, whose commas separate numbers, and the marks of exercises: (1) and (2).
//
// Twin of dupo/text/numbers/marks.py.
#pragma once

#include <cstddef>
#include <vector>

#include "numbers_steps.hpp"
#include "utf8.hpp"

namespace dupo {

// The end of the list in brackets that starts at `at`, (100,200) or \{3,148\}; 0 if there is none.
std::size_t bracketed_list_end(Text text, std::size_t at);
void add_list_marks(Text text, std::vector<Area>& areas);

}  // namespace dupo
