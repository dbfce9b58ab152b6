// Which equal numbers of a text are the same quantity: 15 shelves and the 15 shelves, but not 15 books.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "numbers_mentions.hpp"
#include "numbers_questions.hpp"
#include "numbers_steps.hpp"

namespace dupo {
namespace {

constexpr std::size_t most_places = 32;   // equal numbers of one text; a text with more is a table
constexpr std::int64_t by_chance = 1000;  // bare numbers from here on are hardly equal by chance
constexpr std::size_t same_side = 3;      // equal characters beside two numbers of formulas
constexpr std::size_t same_around = 4;    // and around the numbers

enum class Relation : std::uint8_t { different, same, unknown };

struct Place {
    std::size_t index;  // among the equal numbers
    const Number* number;
    Mention mention;
    bool in_formula;
    std::size_t formula_start, formula_end;  // without dollars
    std::size_t sentence;                    // how many sentences stand before
    bool is_asked;                           // the question at the end of the text takes up the number
    bool is_supposed;                        // the question only supposes the number: "if he buys 5 pens"
    Text around;                             // the sentence, up to `near_characters` on either side
};

using Group = std::vector<std::size_t>;  // indices of places

// Where the formulas and the sentences of a text are.
struct Layout {
    const std::vector<std::size_t>& dollars;  // that open and close formulas, in turn
    std::vector<std::size_t> ends;            // of all sentences but the last
    bool asks = false;                        // the last sentence asks for something
    bool supposes = false;                    // of a supposed case, in Chinese, Japanese or Korean
};

Layout layout_of(Text text, const std::vector<std::size_t>& dollars) {
    Layout layout{dollars, {}, false, false};
    std::size_t size = text.size();
    while (size > 0 && (text[size - 1] == U' ' || text[size - 1] == U'\n')) --size;
    for (std::size_t at = 0; at + 1 < size; ++at) {
        const bool ends = is_one_of(text[at], U"。？！") ||
                          (is_one_of(text[at], U".?!") && (text[at + 1] == U' ' || text[at + 1] == U'\n'));
        if (ends) layout.ends.push_back(at);
    }
    const Text question = text.substr(layout.ends.empty() ? 0 : layout.ends.back() + 1);
    layout.asks = asks(question);
    layout.supposes = has_supposing_mark(question);
    return layout;
}

Place place_of(Text text, const Number& number, const Layout& layout, std::size_t index) {
    const auto after = std::upper_bound(layout.ends.begin(), layout.ends.end(), number.start);
    const auto sentence = static_cast<std::size_t>(after - layout.ends.begin());
    Place place{index, &number, {}, false, 0, 0, sentence, false, false, {}};
    const bool is_last = after == layout.ends.end();
    const std::size_t first = std::max(sentence == 0 ? 0 : *(after - 1) + 1,
                                       number.start - std::min(number.start, near_characters));
    const std::size_t last = std::min(is_last ? text.size() : *after, number.start + near_characters);
    place.around = text.substr(first, last - first);
    if (layout.asks && is_last) {
        place.is_supposed = layout.supposes || supposes(text.substr(first, number.start - first));
        place.is_asked = !place.is_supposed;
    }
    std::size_t end = number.end;
    const auto& dollars = layout.dollars;
    const auto next = std::lower_bound(dollars.begin(), dollars.end(), number.start);
    const auto before = static_cast<std::size_t>(next - dollars.begin());
    if (before % 2 == 1) {
        place.formula_start = dollars[before - 1] + 1;
        place.formula_end = dollars[before];
        // $15$ shelves: the noun stands behind the formula.
        const bool alone = place.formula_start == number.start && place.formula_end == number.end;
        place.in_formula = !alone;
        if (alone) ++end;
    }
    place.mention = mention_of(text, number, end);
    return place;
}

// The first characters of a side of a number, without blanks.
std::u32string without_blanks(Text side, bool backward) {
    std::u32string kept;
    const std::size_t most = std::min<std::size_t>(side.size(), 4 * same_side);
    for (std::size_t k = 0; k < most && kept.size() < 2 * same_side; ++k) {
        const char32_t c = side[backward ? side.size() - 1 - k : k];
        if (!is_space(c)) kept.push_back(c);
    }
    return kept;
}

// Counts equal characters; none where the two differ before `same_side` characters.
std::optional<std::size_t> common(const std::u32string& one, const std::u32string& two) {
    const std::size_t shorter = std::min(one.size(), two.size());
    std::size_t equal = 0;
    while (equal < shorter && one[equal] == two[equal]) ++equal;
    if (equal < shorter && equal < same_side) return std::nullopt;
    return equal;
}

// Whether two numbers of formulas stand in the same phrase: (3,4) and A = (3,4).
bool same_phrase(Text text, const Place& a, const Place& b) {
    if (!a.in_formula || !b.in_formula) return false;
    const auto side = [&](const Place& place, bool backward) {
        const std::size_t start = backward ? place.formula_start : place.number->end;
        const std::size_t end = backward ? place.number->start : place.formula_end;
        return without_blanks(start < end ? text.substr(start, end - start) : Text(), backward);
    };
    const auto left = common(side(a, true), side(b, true));
    const auto right = common(side(a, false), side(b, false));
    return left && right && *left + *right >= same_around;
}

bool differ(const std::u32string& one, const std::u32string& two) {
    return !one.empty() && !two.empty() && one != two;
}

bool ends_with(Text word, Text ending) {
    return word.size() >= ending.size() && word.substr(word.size() - ending.size()) == ending;
}

// Whether two numbers count the same noun in the same sense.
bool same_noun(const Mention& one, const Mention& two) {
    if (one.noun.empty() || two.noun.empty() || one.rate != two.rate) return false;
    // Lights are stoplights.
    if (!ends_with(one.noun, two.noun) && !ends_with(two.noun, one.noun)) return false;
    // "10 feet by 10 feet"
    if (one.before[1] == U"by" || two.before[1] == U"by") return false;
    if (!one.modifiers.empty() && !two.modifiers.empty()) {
        const bool share =
            std::any_of(one.modifiers.begin(), one.modifiers.end(), [&](const std::u32string& modifier) {
                return std::find(two.modifiers.begin(), two.modifiers.end(), modifier) != two.modifiers.end();
            });
        if (!share) return false;
    }
    if (!same_scales(one, two)) return false;
    const bool compared = is_compared(one.dimension) || is_compared(two.dimension);
    if (one.dimension != two.dimension && compared && !two.is_definite) return false;
    return !differ(one.complement, two.complement) && !differ(one.dimension, two.dimension);
}

bool is_by_chance(const Number& number) { return number.numerator / number.denominator >= by_chance; }

// Whether two equal numbers are one quantity. `a` stands before `b`.
Relation relation(Text text, const Place& a, const Place& b) {
    if (a.number->start > b.number->start) return relation(text, b, a);
    const Mention& one = a.mention;
    const Mention& two = b.mention;
    const auto decided = [](bool is_same) { return is_same ? Relation::same : Relation::different; };
    if (a.number->role == Role::multiple) return Relation::different;
    if (a.in_formula || b.in_formula) {
        return same_phrase(text, a, b) ? Relation::same : Relation::unknown;
    }
    const bool said_alike = !one.before[0].empty() && !one.before[1].empty() &&
                            one.before[0] == two.before[0] && one.before[1] == two.before[1] &&
                            !is_stop(one.before[1]) &&
                            // "On Monday he ran 5 miles. On Friday he ran 5 miles."
                            (a.sentence == b.sentence || !contrasts(a.around, b.around));
    if (one.is_other || two.is_other) {
        // "the remaining 5 pens ... the remaining 5 pens"
        return decided(said_alike && is_definite_word(one.before[0]) && same_noun(one, two));
    }
    // The question takes up what the problem says: "How long do 5 pens last?"
    const bool is_asked = b.is_asked && a.sentence < b.sentence;
    if (!one.noun.empty() && !two.noun.empty()) {
        const bool readable = is_readable(a.number->skip) || is_readable(b.number->skip);
        // "4 letters to mail ... mails 4 letters"
        const bool is_done =
            !one.purpose.empty() && Text(two.before[1]).substr(0, one.purpose.size()) == one.purpose;
        const bool is_named = two.is_definite || said_alike || is_done;
        return decided(same_noun(one, two) && (is_named || is_asked || readable));
    }
    if (!one.noun.empty() || !two.noun.empty()) return Relation::unknown;
    const bool is_large = is_by_chance(*a.number) && (is_asked || two.is_definite);
    return said_alike || is_large ? Relation::same : Relation::unknown;
}

// Whether a place may speak of the same quantity as a place before.
bool may_be_one(const Place& a, const Place& b) {
    if (a.number->start > b.number->start) return false;
    const Mention& one = a.mention;
    const Mention& two = b.mention;
    if (a.number->role == Role::multiple || a.in_formula || b.in_formula) return false;
    if (one.noun.empty() && two.noun.empty()) return is_by_chance(*a.number);
    if (one.is_other || two.is_other || !same_noun(one, two)) return false;
    // "He has 5 pens. Ann has 5 pens." are two.
    return b.is_supposed || !contrasts(a.around, b.around);
}

class Quantities {
  public:
    Quantities(Text text, std::vector<Place> places) : text_(text), places_(std::move(places)) {}

    // The quantity that a number belongs to; null for a new quantity.
    Group* group_of(const Place& place) {
        for (Group& group : groups_) {
            for (const std::size_t k : group) {
                if (relation(text_, places_[k], place) == Relation::same) return &group;
            }
        }
        const Role role = place.number->role;
        const Mention& mention = place.mention;
        if (role == Role::multiple || mention.is_other || place.in_formula || !mention.is_definite) {
            return nullptr;
        }
        if (mention.noun.empty()) return antecedent();
        // "the $4 bags"
        const bool is_price = role == Role::money || role == Role::percent;
        return is_price && groups_.size() == 1 ? &groups_[0] : nullptr;
    }
    // The quantity that "the other 2 people" refers to; null for none.
    Group* referred(const Place& place) {
        if (place.number->role == Role::multiple) {
            // "the other half": of the half that was named last
            Group* last = nullptr;
            for (Group& group : groups_) {
                if (places_[group[0]].number->start < place.number->start) last = &group;
            }
            return last;
        }
        if (place.mention.noun.empty()) return antecedent();
        for (Group& group : groups_) {
            for (const std::size_t k : group) {
                if (same_noun(places_[k].mention, place.mention)) return &group;
            }
        }
        return nullptr;
    }
    void build(const std::vector<Number*>& numbers) {
        for (const bool free : {true, false}) {
            for (const Place& place : places_) {
                if (place.number->skip != (free ? Reason::none : Reason::reference)) continue;
                Group* const group = free ? group_of(place) : referred(place);
                if (group != nullptr) {
                    group->push_back(place.index);
                } else if (free) {
                    groups_.push_back({place.index});
                }
            }
        }
        std::vector<bool> readable;
        for (const Group& group : groups_) readable.push_back(stays_readable(group) || may_be_another(group));
        for (std::size_t g = 0; g < groups_.size(); ++g) {
            std::size_t first = numbers[groups_[g][0]]->start;
            for (const std::size_t k : groups_[g]) first = std::min(first, numbers[k]->start);
            for (const std::size_t k : groups_[g]) assign(*numbers[k], first, readable[g]);
        }
    }
    static void assign(Number& number, std::size_t first, bool is_readable) {
        number.skip = is_readable ? Reason::repeated : Reason::none;
        if (!is_readable) number.quantity = static_cast<std::int64_t>(first);
    }

  private:
    // What "all 4" speaks of: what the text counts first, seconds and miles aside.
    Group* antecedent() {
        for (Group& group : groups_) {
            if (!is_unit(places_[group[0]].mention.noun)) return &group;
        }
        return nullptr;
    }
    bool stays_readable(const Group& group) const {
        for (const Place& place : places_) {
            if (!is_readable(place.number->skip)) continue;
            for (const std::size_t k : group) {
                if (relation(text_, places_[k], place) != Relation::different) return true;
            }
        }
        return false;
    }

    bool may_be_another(const Group& group) const {
        return std::any_of(groups_.begin(), groups_.end(), [&](const Group& other) {
            return &other != &group && (in_doubt(group, other) || in_doubt(other, group));
        });
    }
    // Whether a place of another quantity may yet speak of this one, so that neither is hidden.
    bool in_doubt(const Group& group, const Group& other) const {
        for (const std::size_t j : other) {
            // A sentence that names both says that they are two. A question may ask for what it supposes.
            const bool names_both =
                !places_[j].is_supposed && std::any_of(group.begin(), group.end(), [&](std::size_t k) {
                    return places_[k].sentence == places_[j].sentence;
                });
            if (names_both) continue;
            for (const std::size_t k : group) {
                if (may_be_one(places_[k], places_[j])) return true;
            }
        }
        return false;
    }

    Text text_;
    std::vector<Place> places_;
    std::vector<Group> groups_;
};

bool are_equal(const Number& one, const Number& two) {
    return one.numerator == two.numerator && one.denominator == two.denominator && one.role == two.role;
}

// The numbers of one value and role.
using Equal = std::vector<Number*>;

// Joins numbers where no word has to be read; false where that is needed.
bool join_without_words(const Equal& numbers) {
    std::size_t free = 0;
    const Number* first = nullptr;
    bool readable = false;
    for (const Number* number : numbers) {
        if (number->skip == Reason::none && ++free == 1) first = number;
        readable = readable || is_readable(number->skip);
    }
    if (free == 0) return true;
    // Several ones are seldom the same quantity: "1 cup and 1 spoon".
    const bool ones = first->numerator == 1 && first->denominator == 1 && free > 1;
    if (ones || numbers.size() > most_places) {
        const std::size_t start = first->start;
        for (Number* number : numbers) {
            if (!is_readable(number->skip)) Quantities::assign(*number, start, ones || readable);
        }
        return true;
    }
    if (numbers.size() == 1) Quantities::assign(*numbers[0], numbers[0]->start, false);
    return numbers.size() == 1;
}

}  // namespace

bool is_readable(Reason reason) {
    return reason == Reason::word || reason == Reason::bound || reason == Reason::repeated;
}

void join_same_quantities(Text text, const std::vector<Number*>& numbers,
                          const std::vector<std::size_t>& dollars) {
    std::optional<Layout> layout;  // few texts need it
    Equal equal;
    for (std::size_t k = 0; k < numbers.size(); ++k) {
        equal.push_back(numbers[k]);
        if (k + 1 < numbers.size() && are_equal(*numbers[k], *numbers[k + 1])) continue;
        if (!join_without_words(equal)) {
            if (!layout) layout.emplace(layout_of(text, dollars));
            std::vector<Place> places;
            for (std::size_t i = 0; i < equal.size(); ++i) {
                places.push_back(place_of(text, *equal[i], *layout, i));
            }
            Quantities(text, std::move(places)).build(equal);
        }
        equal.clear();
    }
}

}  // namespace dupo
