// The words of phrases: those of a text, and those that a place of a pattern accepts.
#include "numbers_phrase_words.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <vector>

#include "numbers_phrase_table.hpp"
#include "numbers_steps.hpp"

namespace dupo {
namespace {

bool equal(Text token, Text word) {
    if (token.size() != word.size()) return false;
    for (std::size_t k = 0; k < word.size(); ++k) {
        if (lower(token[k]) != word[k]) return false;
    }
    return true;
}

// 12, 1,250 or 3.5: a digit, then digits, points and commas.
bool is_number(Text token) {
    return is_digit(token.front()) && std::all_of(token.begin(), token.end(), [](char32_t c) {
               return is_digit(c) || is_one_of(c, U".,");
           });
}

void add_words(Text alternatives, Vocabulary& vocabulary, Item& item) {
    for (const Text name : split(alternatives, U'|')) {
        item.any_number = item.any_number || name == U"N";
        item.any_word = item.any_word || name == U"W";
        const Text wanted = name == U"N" ? Text(U"NUMBER") : name;
        const auto* const named = std::find_if(std::begin(phrases::classes), std::end(phrases::classes),
                                               [&](const phrases::Class& c) { return c.name == wanted; });
        if (named != std::end(phrases::classes)) {
            add_words(named->words, vocabulary, item);
            continue;
        }
        const std::size_t word = vocabulary.add(name);
        if (item.words.size() <= word) item.words.resize(word + 1);
        item.words[word] = true;
    }
}

bool ends_in_command(Text text) { return text.size() > 1 && text[text.size() - 2] == U'\\'; }

// A point or comma between digits at `at` belongs to a number.
bool is_in_number(Text text, std::size_t at) {
    return at > 0 && at + 1 < text.size() && is_one_of(text[at], U".,") && is_digit(text[at - 1]) &&
           is_digit(text[at + 1]);
}

// Takes the first word or character from the text. Empty for what the phrases do not see.
Text take_first(Text& text) {
    std::size_t size = 0;
    while (size < text.size() && (is_wordlike(text[size]) || is_in_number(text, size))) ++size;
    bool is_seen = size > 0;
    if (!is_seen) {
        const bool is_mark = text[0] == U'\\' && text.size() > 1 && is_one_of(text[1], U"$()");
        is_seen = !is_mark && !is_space(text[0]) && !is_one_of(text[0], U"$-");
        size = is_mark ? 2 : 1;
    }
    const Text token = text.substr(0, size);
    text.remove_prefix(size);
    return is_seen ? token : Text();
}

// Takes the last word or character from the text.
Text take_last(Text& text) {
    std::size_t start = text.size();
    while (start > 0 && (is_wordlike(text[start - 1]) || is_in_number(text, start - 1))) --start;
    bool is_seen = start < text.size();
    if (!is_seen) {
        const bool is_mark = is_one_of(text.back(), U"$()") && ends_in_command(text);
        is_seen = !is_mark && !is_space(text.back()) && !is_one_of(text.back(), U"$-");
        start = text.size() - (is_mark ? 2 : 1);
    }
    const Text token = text.substr(start);
    text.remove_suffix(token.size());
    return is_seen ? token : Text();
}

}  // namespace

std::size_t Vocabulary::slot_of(Text token) const {
    std::uint32_t hash = 0;
    for (const char32_t c : token) hash = (hash ^ lower(c)) * 0x9E3779B1u;
    std::size_t slot = (hash ^ (hash >> 15)) % slots_.size();
    while (slots_[slot] != 0 && !equal(token, words_[slots_[slot]])) slot = (slot + 1) % slots_.size();
    return slot;
}

std::size_t Vocabulary::add(Text word) {
    std::uint16_t& number = slots_[slot_of(word)];
    if (number == 0) {
        number = static_cast<std::uint16_t>(words_.size());
        words_.push_back(word);
        longest_ = std::max(longest_, word.size());
    }
    return number;
}

std::size_t Vocabulary::word_of(Text token) const {
    return token.size() > longest_ ? 0 : slots_[slot_of(token)];
}

bool Tokens::read() {
    Text token;
    while (token.empty()) {
        if (rest_.empty()) return false;
        token = backward_ ? take_last(rest_) : take_first(rest_);
    }
    tokens_.push_back({token, vocabulary_.word_of(token)});
    return true;
}

bool Item::accepts(const Token& token) const {
    return has(token.word) || (any_number && is_number(token.text)) ||
           (any_word && is_letter(token.text.front()));
}

Item item_of(Text alternatives, Vocabulary& vocabulary, bool optional) {
    Item item;
    item.optional = optional;
    add_words(alternatives, vocabulary, item);
    return item;
}

std::vector<Item> items_of(Text pattern, Vocabulary& vocabulary) {
    std::vector<Item> items;
    for (Text place : split(pattern, U' ')) {
        const bool optional = place.back() == U'?';
        if (optional) place.remove_suffix(1);
        items.push_back(item_of(place, vocabulary, optional));
    }
    return items;
}

std::vector<Text> tokens_of(Text text) {
    std::vector<Text> tokens;
    while (!text.empty()) {
        const Text token = take_first(text);
        if (!token.empty()) tokens.push_back(token);
    }
    return tokens;
}

}  // namespace dupo
