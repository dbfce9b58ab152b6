#include "utf8.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>
#include <stdexcept>
#include <utility>

namespace dupo {
namespace {

constexpr std::array<std::pair<char32_t, char32_t>, 26> letter_ranges = {{
    {U'A', U'Z'},       {U'a', U'z'},     {0xaa, 0xaa},     {0xb5, 0xb5},     {0xba, 0xba},
    {0xc0, 0xd6},       {0xd8, 0xf6},     {0xf8, 0x37d},    {0x37f, 0x386},   {0x388, 0x588},
    {0x58a, 0x60b},     {0x60d, 0x61a},   {0x61c, 0x61e},   {0x620, 0x669},   {0x66b, 0x6d3},
    {0x6d5, 0x963},     {0x966, 0xdff},   {0x10a0, 0x10ff}, {0x1200, 0x177f}, {0x1800, 0x1fff},
    {0x20d0, 0x20ff},   {0xfb00, 0xfdff}, {0xfe00, 0xfe0f}, {0xff21, 0xff3a}, {0xff41, 0xff5a},
    {0x1d400, 0x1d7cb},
}};

[[noreturn]] void refuse(std::size_t at) {
    throw std::invalid_argument("text: expected UTF-8, got an invalid sequence at byte " +
                                std::to_string(at));
}

}  // namespace

bool is_letter_beyond_ascii(char32_t c) {
    const auto* after =
        std::upper_bound(letter_ranges.begin(), letter_ranges.end(), c,
                         [](char32_t value, const auto& range) { return value < range.first; });
    return after != letter_ranges.begin() && c <= std::prev(after)->second;
}

std::u32string decode_utf8(std::string_view bytes) {
    std::u32string text;
    text.reserve(bytes.size());
    for (std::size_t i = 0; i < bytes.size();) {
        const auto first = static_cast<unsigned char>(bytes[i]);
        if (first < 0x80) {
            text.push_back(first);
            ++i;
            continue;
        }
        const std::size_t size = first < 0xc2   ? 0
                                 : first < 0xe0 ? 2
                                 : first < 0xf0 ? 3
                                 : first < 0xf5 ? 4
                                                : 0;
        if (size == 0 || bytes.size() - i < size) refuse(i);
        char32_t c = first & (0xffu >> (size + 1));
        for (std::size_t k = 1; k < size; ++k) {
            const auto next = static_cast<unsigned char>(bytes[i + k]);
            if ((next & 0xc0u) != 0x80) refuse(i);
            c = (c << 6) | (next & 0x3fu);
        }
        const bool overlong = (size == 3 && c < 0x800) || (size == 4 && c < 0x10000);
        if (overlong || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff) refuse(i);
        text.push_back(c);
        i += size;
    }
    return text;
}

void append_utf8(std::string& out, Text text) {
    for (const char32_t c : text) {
        if (c < 0x80) {
            out.push_back(static_cast<char>(c));
            continue;
        }
        if (c < 0x800) {
            out.push_back(static_cast<char>(0xc0 | (c >> 6)));
        } else {
            if (c < 0x10000) {
                out.push_back(static_cast<char>(0xe0 | (c >> 12)));
            } else {
                out.push_back(static_cast<char>(0xf0 | (c >> 18)));
                out.push_back(static_cast<char>(0x80 | ((c >> 12) & 0x3f)));
            }
            out.push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3f)));
        }
        out.push_back(static_cast<char>(0x80 | (c & 0x3f)));
    }
}

std::vector<Text> split(Text text, char32_t mark) {
    std::vector<Text> pieces;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find(mark), text.size());
        if (end > 0) pieces.push_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return pieces;
}

}  // namespace dupo
