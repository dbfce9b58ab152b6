// The words of phrases: those of a text, and those that a place of a pattern accepts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "utf8.hpp"

namespace dupo {

// The words of all patterns, in lower case. Word 0 is every other word.
class Vocabulary {
  public:
    std::size_t add(Text word);
    // Without regard to the case of ASCII letters.
    std::size_t word_of(Text token) const;
    std::size_t size() const { return words_.size(); }

  private:
    std::size_t slot_of(Text token) const;  // where the word is, or the free place for the word

    std::vector<Text> words_ = {Text()};
    std::vector<std::uint16_t> slots_ = std::vector<std::uint16_t>(4096);
    std::size_t longest_ = 0;
};

// A word or a character of a text.
struct Token {
    Text text;
    std::size_t word;  // of the vocabulary
};

// The words of a text, read one by one as they are asked for.
class Tokens {
  public:
    // backward: from the end to the start.
    Tokens(Text text, const Vocabulary& vocabulary, bool backward)
        : rest_(text), vocabulary_(vocabulary), backward_(backward) {}
    // Word k, valid until the next call; null behind the last word.
    const Token* at(std::size_t k) {
        while (k >= tokens_.size()) {
            if (!read()) return nullptr;
        }
        return &tokens_[k];
    }

  private:
    bool read();

    Text rest_;
    const Vocabulary& vocabulary_;
    bool backward_;
    std::vector<Token> tokens_;
};

// One place of a pattern: the words that may stand there, and whether there may be none.
struct Item {
    std::vector<bool> words;  // of the vocabulary
    bool any_number = false;
    bool any_word = false;
    bool optional = false;

    bool is_empty() const { return words.empty(); }
    bool has(std::size_t word) const { return word < words.size() && words[word]; }
    bool accepts(const Token& token) const;
};

// alternatives: words and names of classes, with a bar between them.
Item item_of(Text alternatives, Vocabulary& vocabulary, bool optional = false);
// pattern: places with a blank between them; a question mark ends an optional one.
std::vector<Item> items_of(Text pattern, Vocabulary& vocabulary);

}  // namespace dupo
