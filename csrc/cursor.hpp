// Reading a text backwards from a place, or forwards: what the rules on numbers are written with. A function
// that reads something returns whether it was there, and moves only if it was.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <string_view>

#include "utf8.hpp"

namespace dupo {

// ASCII `word`, in lower case, as `text` has it; in any case if `any_case`.
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

// `text` ends where it stands.
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
    template <typename Predicate>
    Text run(Predicate holds) const {
        std::size_t start = text.size();
        while (start > 0 && holds(text[start - 1])) --start;
        return text.substr(start);
    }
    // A whole word: letters, digits and underscores with none of these before them.
    template <typename Words>
    bool word(const Words& words, bool any_case) {
        const Text found = run(is_wordlike);
        if (!is_among(found, words, any_case)) return false;
        text.remove_suffix(found.size());
        return true;
    }
    bool word(std::initializer_list<std::string_view> words, bool any_case) {
        return word<std::initializer_list<std::string_view>>(words, any_case);
    }
    // A LaTeX command, \name.
    template <typename Words>
    bool command(const Words& names) {
        const Text name = run(is_ascii_letter);
        if (name.size() == text.size() || text[text.size() - name.size() - 1] != U'\\') return false;
        if (!is_among(name, names, false)) return false;
        text.remove_suffix(name.size() + 1);
        return true;
    }
};

// `text` starts where it stands.
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
    // One of `words`, with no letter, digit or underscore after it.
    template <typename Words>
    bool word(const Words& words, bool any_case) {
        for (const std::string_view word : words) {
            Forward rest = *this;
            if (rest.literal(word, any_case) && rest.ends_word()) {
                *this = rest;
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
