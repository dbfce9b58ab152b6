// Reads a text backwards or forwards from a place. The rules on numbers are written with these two cursors.
//
// A function that reads something returns whether the text has it, and moves the cursor only if so.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <string_view>

#include "utf8.hpp"

namespace dupo {

// Whether `text` is the ASCII word `word`. With `any_case`, `word` must be in lower case, and case is
// ignored.
inline bool same(Text text, std::string_view word, bool any_case) {
    if (text.size() != word.size()) return false;
    for (std::size_t k = 0; k < word.size(); ++k) {
        const char32_t c = any_case ? lower(text[k]) : text[k];
        if (c != static_cast<char32_t>(word[k])) return false;
    }
    return true;
}

template <typename Words>
bool is_among(Text text, const Words& words, bool any_case) {
    for (const std::string_view word : words) {
        if (same(text, word, any_case)) return true;
    }
    return false;
}

// Reads towards the start; `text` is what is still to be read.
struct Backward {
    Text text;

    char32_t last() const { return text.empty() ? U'\0' : text.back(); }
    bool at_start() const { return text.empty(); }

    bool one_of(Text set) {
        if (text.empty() || !is_one_of(text.back(), set)) return false;
        text.remove_suffix(1);
        return true;
    }
    bool space() {
        if (text.empty() || !is_space(text.back())) return false;
        text.remove_suffix(1);
        return true;
    }
    void spaces() {
        while (space()) {
        }
    }
    bool literal(std::string_view word, bool any_case = false) {
        if (text.size() < word.size() || !same(text.substr(text.size() - word.size()), word, any_case)) {
            return false;
        }
        text.remove_suffix(word.size());
        return true;
    }
    // The longest run of characters before the place for which `holds` is true.
    template <typename Predicate>
    Text run(Predicate holds) const {
        std::size_t start = text.size();
        while (start > 0 && holds(text[start - 1])) --start;
        return text.substr(start);
    }
    // Reads one of `words`, with no letter, digit or underscore before it.
    template <typename Words>
    bool word(const Words& words, bool any_case) {
        const Text last_word = run(is_wordlike);
        if (!is_among(last_word, words, any_case)) return false;
        text.remove_suffix(last_word.size());
        return true;
    }
    bool word(std::initializer_list<std::string_view> words, bool any_case) {
        return word<std::initializer_list<std::string_view>>(words, any_case);
    }
    // Reads a LaTeX command, \name.
    template <typename Words>
    bool command(const Words& names) {
        const Text name = run(is_ascii_letter);
        if (name.size() == text.size() || text[text.size() - name.size() - 1] != U'\\') return false;
        if (!is_among(name, names, false)) return false;
        text.remove_suffix(name.size() + 1);
        return true;
    }
};

// Reads towards the end; `text` is what is still to be read.
struct Forward {
    Text text;

    char32_t first() const { return text.empty() ? U'\0' : text.front(); }
    bool ends_word() const { return text.empty() || !is_wordlike(text.front()); }

    bool one_of(Text set) {
        if (text.empty() || !is_one_of(text.front(), set)) return false;
        text.remove_prefix(1);
        return true;
    }
    bool space() {
        if (text.empty() || !is_space(text.front())) return false;
        text.remove_prefix(1);
        return true;
    }
    void spaces() {
        while (space()) {
        }
    }
    bool literal(std::string_view word, bool any_case = false) {
        if (text.size() < word.size() || !same(text.substr(0, word.size()), word, any_case)) return false;
        text.remove_prefix(word.size());
        return true;
    }
    // Reads one of `words`, with no letter, digit or underscore after it.
    template <typename Words>
    bool word(const Words& words, bool any_case) {
        for (const std::string_view word : words) {
            Forward next = *this;
            if (next.literal(word, any_case) && next.ends_word()) {
                *this = next;
                return true;
            }
        }
        return false;
    }
    bool word(std::initializer_list<std::string_view> words, bool any_case) {
        return word<std::initializer_list<std::string_view>>(words, any_case);
    }
};

}  // namespace dupo
