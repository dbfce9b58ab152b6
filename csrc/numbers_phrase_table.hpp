// The phrases beside a number that tell why the number may not be hidden.
//
// The rows and classes are those of dupo/text/numbers/phrase_table.py, which explains them; a test compares
// the two files.
#pragma once

#include "numbers.hpp"
#include "numbers_phrase_classes.hpp"
#include "utf8.hpp"

namespace dupo::phrases {

constexpr std::size_t nearby = 100;  // characters on either side of a number whose words the phrases see

// `reason` is none for a number that no later row may skip.
struct Phrase {
    Reason reason;
    Text before;
    Text after;
    Text values;
    Text near;
};

// The smaller unit, how many, the larger unit. Or: the thing, how many, what stands nearby.
struct Count {
    Text what;
    Text values;
    Text other;
};

constexpr Count units[] = {
    {U"days", U"7", U"week|weeks"},
    {U"hours", U"24", U"day|days"},
    {U"minutes", U"60", U"hour|hours"},
    {U"seconds", U"60", U"minute|minutes"},
    {U"months", U"12", U"year|years"},
    {U"weeks", U"52", U"year|years"},
    {U"days", U"365 366", U"year|years"},
    {U"years", U"10", U"decade"},
    {U"years", U"100", U"century"},
    {U"cents|pennies", U"100", U"dollar"},
    {U"inches", U"12", U"foot|feet"},
    {U"feet", U"3", U"yard|yards"},
    {U"feet", U"5280", U"mile|miles"},
    {U"ounces", U"16", U"pound|pounds"},
    {U"grams", U"1000", U"kilogram|kg"},
    {U"meters|metres|m", U"1000", U"kilometer|kilometre|km"},
    {U"centimeters|centimetres|cm", U"100", U"meter|metre|m"},
    {U"millimeters|mm", U"10", U"centimeter|cm"},
    {U"quarts", U"4", U"gallon|gallons"},
    {U"cups", U"16", U"gallon|gallons"},
    {U"cups", U"4", U"quart|quarts"},
    {U"cups", U"2", U"pint|pints"},
    {U"pints", U"2", U"quart|quarts"},
    {U"pints", U"8", U"gallon|gallons"},
    {U"tablespoons", U"16", U"cup|cups"},
    {U"teaspoons", U"3", U"tablespoon|tablespoons"},
    {U"pounds", U"2000", U"ton|tons"},
    {U"letter|letters", U"26", U"alphabet"},
};

constexpr Count things[] = {
    {U"edges", U"12", U"CUBE|octahedron"},
    {U"faces|sides", U"6", U"CUBE|DIE"},
    {U"vertices|corners", U"8", U"CUBE"},
    {U"faces", U"4", U"tetrahedron|tetrahedra"},
    {U"edges", U"6", U"tetrahedron|tetrahedra"},
    {U"vertices", U"4", U"tetrahedron|tetrahedra"},
    {U"faces|vertices", U"5", U"pyramid"},
    {U"edges", U"8", U"pyramid"},
    {U"faces", U"8", U"octahedron"},
    {U"vertices", U"6", U"octahedron"},
    {U"faces", U"12", U"dodecahedron"},
    {U"vertices", U"20", U"dodecahedron"},
    {U"edges", U"30", U"dodecahedron|icosahedron"},
    {U"faces|triangles", U"20", U"icosahedron"},
    {U"vertices", U"12", U"icosahedron|dodecagon"},
    {U"sides|vertices|angles|corners", U"3", U"triangle|triangles|triangular"},
    {U"sides|vertices|angles|corners", U"4",
     U"square|squares|rectangle|rectangles|quadrilateral|parallelogram"},
    {U"sides|vertices|angles|corners", U"4", U"rectangular|rhombus|trapezoid|kite"},
    {U"sides|vertices|angles|corners", U"5", U"pentagon|pentagons|pentagonal"},
    {U"sides|vertices|angles|corners|triangles", U"6", U"hexagon|hexagons|hexagonal"},
    {U"sides|vertices|angles|corners", U"7", U"heptagon|heptagons"},
    {U"sides|vertices|angles|corners", U"8", U"octagon|octagons|octagonal"},
    {U"sides|vertices|angles|corners", U"9", U"nonagon|nonagons"},
    {U"sides|vertices|angles|corners", U"10", U"decagon|decagons"},
    {U"sides|angles|corners", U"12", U"dodecagon|dodecagons"},
    {U"sides|faces", U"2", U"coin|coins"},
    {U"sided|faced", U"6", U"DIE"},
    {U"card|cards|playing", U"52", U"deck|decks|pack|standard"},
    {U"suits", U"4", U"deck|cards"},
    {U"ranks|values", U"13", U"deck|suit|suits"},
    {U"cards", U"13", U"suit|suits"},
    {U"vowels", U"5", U"alphabet|english"},
    {U"letter|letters", U"26", U"alphabet|english"},
    {U"hour|hours|numbers|numerals", U"12 24", U"clock"},
    {U"squares", U"64", U"CHESS"},
    {U"by|x|×|\\", U"8", U"CHESS"},
    {U"DEGREE", U"90", U"right"},
    {U"DEGREE", U"180", U"triangle|straight"},
    {U"legs", U"4", U"dog|dogs|cat|cats|cow|cows|horse|horses|pig|pigs|sheep|goat|goats|rabbit|rabbits"},
    {U"legs", U"2", U"chicken|chickens|bird|birds|duck|ducks|turkey|turkeys|human|humans"},
    {U"legs", U"8", U"spider|spiders|octopus|octopuses|scorpion|scorpions"},
    {U"legs", U"6", U"insect|insects|ant|ants|bee|bees|beetle|beetles"},
    {U"wheels", U"2", U"bicycle|bicycles|bike|bikes|motorcycle|motorcycles"},
    {U"wheels", U"3", U"tricycle|tricycles"},
    {U"wheels|tires", U"4", U"car|cars"},
    {U"walls", U"4", U"room|bedroom|kitchen"},
    {U"by|x|×|\\", U"3", U"tic"},
    {U"arms", U"8", U"octopus|octopuses"},
    {U"fingers", U"5 10", U"hand|hands|human|person"},
    {U"toes", U"5 10", U"foot|feet|human|person"},
    {U"keys", U"88", U"piano|pianos"},
    {U"strings", U"6", U"guitar|guitars"},
    {U"strings", U"4", U"violin|violins"},
    {U"planets", U"8", U"solar"},
    {U"states", U"50", U"us|u|united|usa|america"},
    {U"players", U"11", U"soccer|football|cricket"},
    {U"innings", U"9", U"baseball"},
    {U"colors|colours", U"7", U"rainbow"},
    {U"DEGREE", U"32 212", U"fahrenheit|water|freezing|boiling"},
};

constexpr Phrase rows[] = {
    {Reason::none, U"", U"of a|an|it", U"SHARE", U""},
    {Reason::share, U"", U"of", U"SHARE", U""},
    {Reason::form, U"nearest", U"", U"", U""},
    {Reason::form, U"", U"decimal|significant place|places|figure|figures|digit|digits", U"", U""},
    {Reason::form, U"last|final|rightmost", U"digits", U"", U""},
    {Reason::form, U"base", U"", U"10", U""},
    {Reason::form, U"to|into|in base", U"", U"", U""},
    {Reason::form, U"=", U"", U"0", U""},
    {Reason::divisor, U"divisible by both|either|neither|any|none|all? of?", U"", U"", U""},
    {Reason::divisor, U"not of|by", U"", U"",
     U"multiple|multiples|divisible|divisor|divisors|factor|factors"},
    {Reason::divisor, U"divisor|divisors|factor|factors does|do", U"", U"", U""},
    {Reason::none, U"by a|the factor of", U"", U"", U""},
    {Reason::none, U"scale factor of", U"", U"", U""},
    {Reason::divisor, U"multiple|multiples|divisor|divisors|factor|factors of both|either|neither?", U"", U"",
     U""},
    {Reason::divisor, U"modulo|mod", U"", U"", U""},
    {Reason::none, U"≡|equiv|congruent to?", U"modulo|mod", U"", U""},
    {Reason::divisor, U"", U"\\? modulo|mod|bmod", U"", U""},
    {Reason::divisor, U"", U"is|are? divided by", U"", U"REMAINDER"},
    {Reason::divisor, U"divided|division|dividing|divides|divide W? by each? of?", U"", U"", U"REMAINDER"},
    {Reason::divisor, U"divides|divide", U"", U"", U"integer|integers|remainder|prime|primes"},
    {Reason::divisor, U"prime|coprime to|with", U"", U"", U""},
    {Reason::bound, U"INTEGER|COPULA MORE than", U"", U"", U""},
    {Reason::none, U"AMOUNT W? MORE than", U"", U"", U""},
    {Reason::bound, U"MORE than", U"", U"", U""},
    {Reason::bound, U"MORE than or equal to", U"", U"", U""},
    {Reason::bound, U"at least|most", U"", U"", U""},
    {Reason::bound, U"at or above|below", U"", U"", U""},
    {Reason::none, U"AMOUNT as many|much|few|little as", U"", U"", U""},
    {Reason::bound, U"as many|much|few|little|low|high as", U"", U"", U""},
    {Reason::bound, U"OLDER|COPULA under|over|below|above", U"", U"", U""},
    {Reason::bound, U"in excess of", U"", U"", U""},
    {Reason::bound, U"has|have|had|owns|weighs|holds|contains over", U"", U"", U""},
    {Reason::bound, U"not to exceed", U"", U"", U""},
    {Reason::bound, U"many of the first", U"positive|natural|whole|odd|even|prime|INTEGER", U"", U""},
    {Reason::bound, U"INTEGER under|below|above|over", U"", U"", U""},
    {Reason::bound, U"any|every W under|below|above|over", U"", U"", U""},
    {Reason::bound, U"exceed|exceeds|exceeding|exceeded", U"", U"", U""},
    {Reason::bound, U"minimum|maximum of", U"", U"", U""},
    {Reason::none, U"add|adds|added|adding|sum|sums|total|totals|rang|come|comes|came up to", U"", U"", U""},
    {Reason::bound, U"up to", U"", U"", U""},
    {Reason::bound, U"up to and including", U"", U"", U""},
    {Reason::bound, U"", U"W? or MORE|above|below|over", U"", U""},
    {Reason::none, U"PAIR between", U"", U"", U""},
    {Reason::none, U"PAIR between N W? and", U"", U"", U""},
    {Reason::bound, U"between", U"W? and|to N|W", U"", U""},
    {Reason::bound, U"between N|W W? and|to", U"", U"", U""},
    {Reason::none, U"from", U"to|until N am|pm|a|p", U"", U""},
    {Reason::none, U"from N to|until", U"am|pm|a|p", U"", U""},
    {Reason::bound, U"INTEGER from?", U"to|through|– N|W", U"", U""},
    {Reason::bound, U"INTEGER from? N to|through|–", U"", U"", U""},
    {Reason::bound, U"numbered|labeled|labelled from?", U"N", U"", U""},
    {Reason::bound, U"numbered|labeled|labelled from? N", U"", U"", U""},
    {Reason::bound, U"from", U"to|through N|W", U"0 1", U""},
    {Reason::bound, U"from 0|1|zero|one to|through", U"", U"", U""},
    {Reason::bound, U"from", U"to|through N ,|(? inclusive", U"", U""},
    {Reason::bound, U"to|through", U",|(? inclusive", U"", U""},
    {Reason::time, U"", U"noon|midnight", U"", U""},
    {Reason::time, U"at|from|until|till|by|before|after about?", U"in the morning|afternoon|evening", U"",
     U""},
    {Reason::none, U"divided|multiplied|increased|decreased|reduced|grows|grew|rose|fell by", U"", U"YEAR",
     U""},
    {Reason::none, U"in|by|during|after|before|a|an", U"MEASURE", U"YEAR", U""},
    {Reason::date, U"in|since|until|till|by|during|year|years|before|after early|late|mid?", U"", U"YEAR",
     U""},
    {Reason::date, U"end|start|beginning|spring|summer|fall|autumn|winter|class of early|late|mid?", U"",
     U"YEAR", U""},
    {Reason::date, U"spring|summer|fall|autumn|winter|season", U"", U"ODDYEAR", U""},
    {Reason::date, U"N", U"season|edition", U"YEAR", U""},
    {Reason::date, U"", U"N season|edition", U"YEAR", U""},
    {Reason::date, U"from", U".|,|?|is|was|are|were|costs|cost|that|which|and", U"ODDYEAR", U""},
    {Reason::date, U"years N to|through|and", U"", U"YEAR", U""},
    {Reason::date, U"year is|was|=", U"", U"YEAR", U""},
    {Reason::date, U"", U"ad|bc|ce|bce|calendar|census|leap", U"YEAR", U""},
    {Reason::date, U"", U"'|’ s", U"YEAR", U""},
    {Reason::date, U"", U"", U"YEAR", U"leap"},
    {Reason::date, U"MONTH|day|days|month|months|half|quarter of", U"", U"YEAR", U""},
    {Reason::date, U"the", U"election|season|census|olympics|edition|championship|amc|aime", U"YEAR", U""},
    {Reason::date, U"amc|aime|contest|competition|olympiad|olympics|exam|election|census of", U"", U"YEAR",
     U""},
    {Reason::date, U"a|an", U"W", U"ODDYEAR", U""},
    {Reason::none, U"", U"MEASURE|m|cm|in|inch|ft sides|faces|edges", U"", U""},
    {Reason::definition, U"\\ sqrt {", U"}", U"1", U""},
    {Reason::definition, U"sqrt|√ (?", U")?", U"1", U""},
    {Reason::definition, U"i ^ {? 2 }? =", U"", U"1", U""},
    {Reason::definition, U"leading coefficient is|of|=|equal? to?", U"", U"1", U""},
    {Reason::definition, U"pi|π is|be|as|=|≈|to|\\ approx|be?", U"",
     U"3 3.14 3.1416 3.14159 3.142 \\frac{22}{7} 22/7", U""},
    {Reason::definition, U"", U"for|as \\? pi|π", U"3 3.14 3.1416 3.14159 3.142 \\frac{22}{7} 22/7", U""},
    {Reason::definition, U"", U"DEGREE", U"360", U""},
    {Reason::definition, U"", U"60 90", U"30", U""},
    {Reason::definition, U"30", U"90", U"60", U""},
    {Reason::definition, U"30 60", U"", U"90", U""},
    {Reason::definition, U"", U"45 90", U"45", U""},
    {Reason::definition, U"45", U"90", U"45", U""},
    {Reason::definition, U"45 45", U"", U"90", U""},
    {Reason::definition, U"deck of", U"", U"52", U""},
    {Reason::definition, U"", U"in|of|per A? suit|suits", U"13", U""},
    {Reason::definition, U"by|x|×|times", U"", U"8", U"CHESS"},
    {Reason::definition, U"dozen (", U"", U"12", U""},
    {Reason::definition, U"dozen HAS", U"", U"12", U""},
    {Reason::definition, U"", U"W PLACE a? dozen", U"12", U""},
    {Reason::definition, U"12 W PLACE", U"", U"12", U""},
    {Reason::definition, U"decade (", U"", U"10", U""},
    {Reason::definition, U"century (", U"", U"100", U""},
    {Reason::definition, U"by|x|×|times", U"", U"3", U"tic"},
    {Reason::definition, U"", U"day week", U"7", U""},
    {Reason::definition, U"", U"hour day", U"24", U""},
    {Reason::definition, U"", U"day year", U"365", U""},
    {Reason::definition, U"quarter|quarters HAS|(? worth?", U"cents", U"25", U""},
    {Reason::definition, U"dime|dimes HAS|(? worth?", U"cents", U"10", U""},
    {Reason::definition, U"nickel|nickels HAS|(? worth?", U"cents", U"5", U""},
    {Reason::argument, U"", U"!", U"", U"FACTORIAL"},
    {Reason::example, U"INTEGER like", U"", U"", U""},
    {Reason::example, U"", U"is one such|example", U"", U""},
    {Reason::example, U"", U"is an example", U"", U""},
    {Reason::example, U"", U"is|are such a|an|INTEGER", U"", U""},
    {Reason::example, U",|( say ,?", U"", U"", U""},
    {Reason::label, U"VEHICLE", U"leaves|arrives|departs|runs|comes|carries|stops|has|is|and|or|,|.", U"",
     U""},
    {Reason::label, U"", U"star hotel|hotels|restaurant|restaurants|resort|resorts|rating|review", U"", U""},
    {Reason::label, U"", U"N", U"", U"PHONE"},
    {Reason::label, U"N", U"", U"", U"PHONE"},
    {Reason::reference, U"", U"of the|these|those|its|their N? SHAPE", U"2 3", U""},
    {Reason::reference, U"no", U"", U"2", U""},
    {Reason::pronoun, U"", U"year|month|week|hour|minute later", U"1", U""},
    {Reason::word, U"", U"toed|eyed|winged|horned|petaled|petalled|leafed|leaved|ply|wheeler|wheelers", U"",
     U""},
};

// Phrases beside numbers that few answers depend on, hidden only where a text has no others.
constexpr Phrase doubts[] = {
    {Reason::scene, U"", U"DAY ago|earlier|later|prior", U"", U""},
    {Reason::scene, U"", U"DAY before|after that|this", U"", U""},
    {Reason::bound, U"BEYOND|to|past the? age of?", U"", U"", U""},
    {Reason::bound, U"SCORES|but|or BEYOND", U"", U"", U""},
    {Reason::bound, U"BEYOND", U"but|or BEYOND", U"", U""},
    {Reason::bound, U"", U"year|years|month|months W? W? and|or MORE|up|BEYOND", U"", U""},
    {Reason::bound, U"", U"and older|younger|above|below", U"", U""},
    {Reason::bound, U"", U"and up .|,|)|are|have|pay|get", U"", U""},
    {Reason::bound, U"", U"% W? or MORE|BEYOND", U"", U""},
    {Reason::bound, U"age|ages|aged from?", U"to|N", U"", U""},
    {Reason::bound, U"age|ages|aged from? N to?", U"", U"", U""},
    {Reason::bound, U"age|ages|aged|BEYOND", U"+", U"", U""},
    {Reason::definition, U"", U"VOLUME of? W? INTO to? A? VOLUME", U"", U""},
    {Reason::definition, U"", U"VOLUME per VOLUME", U"", U""},
    {Reason::definition, U"", U"WEIGHT of? W? INTO to? A? WEIGHT", U"", U""},
    {Reason::definition, U"", U"WEIGHT per WEIGHT", U"", U""},
    {Reason::definition, U"", U"LENGTH INTO|per to? A? LENGTH", U"", U""},
    {Reason::definition, U"A VOLUME EQUALS to?", U"VOLUME", U"", U""},
    {Reason::definition, U"A WEIGHT EQUALS to?", U"WEIGHT", U"", U""},
    {Reason::definition, U"A LENGTH EQUALS to?", U"LENGTH", U"", U""},
    {Reason::definition, U"are|assume|assuming|that", U"TIME in|per|to A? TIME", U"", U""},
    {Reason::definition, U"month|months|year EQUALS", U"day|days|week|weeks", U"", U""},
    {Reason::listed, U"", U"times? a|per|each|every day", U"2 3", U"morning|afternoon|evening"},
};
// The text asks for a time.
constexpr Text asks_when[] = {
    U"how long|soon|old",
    U"how many W? TIME",
    U"what time|day|date|month|year",
    U"when did|will|does|do|is|was",
};

// What a text says where its answer is rounded: words that stand somewhere, words that stand too, the role of
// the numbers that the answer still tells.
struct Rounded {
    Text words;
    Text others;
    Text role;
};

constexpr Rounded rounded[] = {
    {U"to the nearest ROUND", U"", U""},
    {U"round|rounded|rounding the|your|an|any final? answer|answers|result", U"", U""},
    {U"answer|answers|result is|should|must? be? rounded", U"", U""},
    {U"only has|have|had N dollar? bills", U"", U""},
    {U"only sell|sells|sold|come|comes|available W|N? W|N? W|N? PACK", U"", U"money"},
    {U"in PACK of N", U"how many PACK", U"money"},
    {U"buy|buys as many N? W W? W? W? as he|she|they can|could", U"", U""},
    {U"at least how many", U"", U""},
};

// What a question says that asks for the best of several.
constexpr Text choices[] = {
    U"the cheaper|cheapest|better|slower|faster",
    U"maximum|greatest|largest|smallest|fewest W? number",
    U"the most|least|fewest W",
    U"lowest price",
};
// The same, anywhere in a text.
constexpr Text deals[] = {U"the best|better deal|offer|value|bargain|buy"};

// What a scene is made of: the words behind a number.
constexpr Text scenes[] = {
    U"TIME later|ago|earlier",
    U"TIME after that|this",
    U"TIME old",
    U"that age",
};
// The question asks for an age or a time; the text tells what happens in some time.
constexpr Text asks_time =
    U"TIME|when|time|long|old|older|oldest|young|younger|youngest|age|ages|aged|birthday";
constexpr Text tells_time[] = {
    U"a|an|one W? TIME",
    U"each|every|per|/ W|N? TIME",
    U"daily|hourly|nightly|weekly|monthly|yearly|annual|annually|interest|mph|speed",
    U"older|younger|oldest|youngest|ages|aged",
    U"s|the|his|her|their|same|total|combined|average|of age",
    U"first|third|fourth|fifth|sixth TIME",
};
// The question asks for money; the text has other money than a lone amount.
constexpr Text asks_money = U"COIN|PAY|percent|percentage";
constexpr Text tells_money[] = {U"COIN", U"PAY W? N", U"for N each|apiece"};

}  // namespace dupo::phrases
