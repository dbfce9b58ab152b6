#include "batches_chunks.hpp"

#include <cstring>
#include <stdexcept>

namespace dupo {
namespace {

constexpr std::size_t npos = std::string_view::npos;

// Bytes of a character that starts with `lead`, 0 if no character does.
std::size_t width(unsigned char lead) {
    if (lead < 0x80) return 1;
    if (lead < 0xC2) return 0;
    if (lead < 0xE0) return 2;
    if (lead < 0xF0) return 3;
    return lead < 0xF5 ? 4 : 0;
}

bool continues(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

// The character at `at`. The text must be UTF-8.
std::uint32_t decoded(std::string_view text, std::size_t at) {
    const unsigned char lead = static_cast<unsigned char>(text[at]);
    const std::size_t size = width(lead);
    std::uint32_t value = size == 1 ? lead : lead & (0x7Fu >> size);
    for (std::size_t i = 1; i < size; ++i) {
        value = value << 6 | (static_cast<unsigned char>(text[at + i]) & 0x3Fu);
    }
    return value;
}

// White space and controls, what Unicode or a tokenizer may treat alike, and the space mark of SentencePiece.
// BLANK in dupo/text/assembly.py is the same set.
bool blank(std::uint32_t c) {
    if (c < 0x80) return c <= 0x20;
    return c == 0x85 || c == 0xA0 || c == 0x1680 || c == 0x180E || (c >= 0x2000 && c <= 0x200F) ||
           (c >= 0x2028 && c <= 0x202F) || (c >= 0x205F && c <= 0x2064) || c == 0x2581 || c == 0x3000 ||
           c == 0xFEFF;
}

std::uint64_t mixed(std::uint64_t value) {  // the finalizer of MurmurHash3
    value = (value ^ value >> 33) * 0xFF51AFD7ED558CCDu;
    value = (value ^ value >> 33) * 0xC4CEB9FE1A85EC53u;
    return value ^ value >> 33;
}

// Reads eight bytes at a time. Only equality of hashes matters: no result depends on their values.
std::uint64_t hashed(std::string_view text, bool opens_text) {
    std::uint64_t hash = text.size() * 2 + opens_text;
    std::size_t at = 0;
    for (std::uint64_t word; at + sizeof word <= text.size(); at += sizeof word) {
        std::memcpy(&word, text.data() + at, sizeof word);
        hash = mixed(hash ^ word) + 0x9E3779B97F4A7C15u;
    }
    std::uint64_t tail = 0;
    if (at < text.size()) std::memcpy(&tail, text.data() + at, text.size() - at);
    return mixed(hash ^ tail);
}

}  // namespace

void check_utf8(std::string_view text) {
    for (std::size_t at = 0; at < text.size();) {
        if (static_cast<unsigned char>(text[at]) < 0x80) {
            ++at;
            continue;
        }
        const std::size_t size = width(static_cast<unsigned char>(text[at]));
        bool good = size != 0 && at + size <= text.size();
        for (std::size_t i = 1; good && i < size; ++i) good = continues(text[at + i]);
        if (good && size > 2) {
            const std::uint32_t value = decoded(text, at);
            const bool surrogate = value >= 0xD800 && value < 0xE000;
            good = !surrogate && value >= (size == 3 ? 0x800u : 0x10000u) && value < 0x110000u;
        }
        if (!good) throw std::invalid_argument("text: expected UTF-8");
        at += size;
    }
}

std::size_t next_cut(std::string_view text, std::size_t from) {
    for (std::size_t at = text.find(' ', from ? from : 1); at != npos && at + 1 < text.size();
         at = text.find(' ', at + 1)) {
        std::size_t previous = at - 1;  // where the character before the space starts
        while (continues(text[previous])) --previous;
        if (!blank(decoded(text, previous)) && !blank(decoded(text, at + 1))) return at;
    }
    return npos;
}

Chunks::Key Chunks::key(std::string_view text, bool opens_text) {
    return {text, opens_text, hashed(text, opens_text)};
}

Chunks::Key Chunks::at(std::size_t index) const {
    const Entry& entry = entries_[index];
    return {std::string_view(arena_).substr(entry.start, entry.size), entry.opens_text, entry.hash};
}

std::int64_t Chunks::find(const Key& key) const {
    if (slots_.empty()) return none;
    for (std::size_t slot = key.hash & (slots_.size() - 1);; slot = (slot + 1) & (slots_.size() - 1)) {
        const std::int64_t index = slots_[slot];
        if (index == none) return none;
        const Entry& entry = entries_[static_cast<std::size_t>(index)];
        if (entry.hash == key.hash && entry.opens_text == key.opens_text && entry.size == key.text.size() &&
            std::memcmp(arena_.data() + entry.start, key.text.data(), entry.size) == 0) {
            return index;
        }
    }
}

std::int64_t Chunks::add(const Key& key) {
    if (entries_.size() * 2 >= slots_.size()) grow();
    entries_.push_back({arena_.size(), key.text.size(), key.hash, key.opens_text});
    arena_.append(key.text);
    std::size_t slot = key.hash & (slots_.size() - 1);
    while (slots_[slot] != none) slot = (slot + 1) & (slots_.size() - 1);
    slots_[slot] = static_cast<std::int64_t>(entries_.size() - 1);
    return slots_[slot];
}

void Chunks::grow() {
    slots_.assign(slots_.empty() ? 64 : slots_.size() * 2, none);
    for (std::size_t index = 0; index < entries_.size(); ++index) {
        std::size_t slot = entries_[index].hash & (slots_.size() - 1);
        while (slots_[slot] != none) slot = (slot + 1) & (slots_.size() - 1);
        slots_[slot] = static_cast<std::int64_t>(index);
    }
}

}  // namespace dupo
