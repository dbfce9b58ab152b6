// The classes of words that the phrases beside a number name in capitals.
//
// Those of dupo/text/numbers/phrase_table.py; a test compares the two files.
#pragma once

#include "utf8.hpp"

namespace dupo::phrases {

struct Class {
    Text name;
    Text words;
};

constexpr Class classes[] = {
    {U"NUMBER",
     U"one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|"
     U"seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|"
     U"million|billion|dozen"},
    {U"AMOUNT",
     U"N|half|third|thirds|quarter|quarters|fourth|fourths|fifth|fifths|twice|times|much|many|few|couple|%|"
     U"percent|a|an"},
    {U"MORE",
     U"more|less|fewer|greater|larger|bigger|smaller|higher|lower|longer|shorter|taller|older|younger|later|"
     U"earlier"},
    {U"INTEGER",
     U"integer|integers|number|numbers|prime|primes|digit|digits|value|values|term|terms|multiple|multiples|"
     U"divisor|divisors|factor|factors|squares|cubes|powers|palindrome|palindromes|fraction|fractions|root|"
     U"roots|solution|solutions|faces|numbered|labeled|labelled"},
    {U"OLDER",
     U"people|children|kids|anyone|everyone|those|adults|items|aged|age|ages|orders|bills|purchases"},
    {U"COPULA", U"is|are|was|were|be|being|not|no|and|or|if|that|which|strictly|either"},
    {U"PAIR",
     U"difference|ratio|sum|distance|gap|split|divided|shared|equally|evenly|choose|chooses|choosing"},
    {U"PLACE", U"in|of"},
    {U"MONTH", U"january|february|march|april|may|june|july|august|september|october|november|december"},
    {U"A", U"a|an|the|each|every|one|1"},
    {U"REMAINDER", U"remainder|remainders|leaves|leftover"},
    {U"HAS", U"has|have|is|are|equals|=|contains"},
    {U"CUBE", U"cube|cubes|cubical|cuboid|parallelepiped|box"},
    {U"DEGREE", U"degree|degrees|°|^"},
    {U"DIE", U"die|dice|cube|cubes"},
    {U"PHONE", U"phone|telephone|dial|dialed|dials|call|calls|called|hotline"},
    {U"CHESS", U"chessboard|chessboards|checkerboard|checkerboards|chess"},
    {U"MEASURE",
     U"meter|meters|metre|metres|mile|miles|foot|feet|yard|yards|pound|pounds|gallon|gallons|liter|liters|"
     U"acre|acres|square|cubic|calorie|calories|watt|watts|dollar|dollars|ton|tons|gram|grams|kilometer|"
     U"kilometers|km|kg|seat|seats|person|people|piece|pieces|page|pages|word|words|step|steps|seconds|"
     U"minutes|hours|days|years|point|points|pixel|pixels|rpm|volt|volts"},
    {U"PACK",
     U"pack|packs|package|packages|box|boxes|bag|bags|case|cases|bundle|bundles|carton|cartons|set|sets"},
    {U"ROUND",
     U"N|whole|integer|integral|percent|percentage|tenth|tenths|hundredth|hundredths|thousandth|thousandths|"
     U"unit|cent|penny|dollar|second|minute|hour|day|degree|number|multiple"},
    {U"VEHICLE", U"bus|train|tram|truck|ferry|van|taxi"},
    {U"TIME",
     U"second|seconds|minute|minutes|hour|hours|night|nights|day|days|week|weeks|weekend|weekends|month|"
     U"months|year|years|decade|decades|century|centuries"},
    {U"COIN",
     U"money|dollar|dollars|cent|cents|penny|pennies|nickel|nickels|dime|dimes|quarter|quarters|coin|coins|"
     U"bill|bills|buck|bucks|euro|euros"},
    {U"PAY",
     U"cost|costs|charge|charges|charged|pay|pays|paid|paying|worth|earn|earns|earned|earning|spend|spends|"
     U"spent|spending|save|saves|saved|price|priced"},
    {U"DAY", U"day|days|night|nights|week|weeks|weekend|weekends|month|months"},
    {U"VOLUME",
     U"teaspoon|teaspoons|tablespoon|tablespoons|ounce|ounces|oz|cup|cups|pint|pints|quart|quarts|gallon|"
     U"gallons|ml|milliliter|milliliters|liter|liters|litre|litres"},
    {U"WEIGHT",
     U"ounce|ounces|oz|pound|pounds|lb|lbs|ton|tons|gram|grams|g|kilogram|kilograms|kilo|kilos|kg"},
    {U"LENGTH",
     U"inch|inches|foot|feet|yard|yards|mile|miles|mm|millimeter|millimeters|cm|centimeter|centimeters|meter|"
     U"meters|metre|metres|km|kilometer|kilometers|kilometre|kilometres"},
    {U"EQUALS", U"is|are|has|have|=|equal|equals|contains|make|makes"},
    {U"INTO", U"in|to|is|equal|equals|make|makes|="},
    {U"BEYOND", U"under|below|above|over|beyond"},
    {U"SCORES",
     U"score|scores|scored|scoring|average|averages|averaged|averaging|go|goes|drop|drops|fall|falls|rise|"
     U"rises|gets|anything|everything|shipping"},
    {U"FACTORIAL",
     U"zero|zeros|zeroes|trailing|factorial|factorials|divides|divisible|divisors|factors|digits"},
    {U"SHAPE",
     U"circle|circles|sphere|spheres|vertex|vertices|side|sides|point|points|line|lines|edge|edges|face|"
     U"faces|angle|angles|diagonal|diagonals|corner|corners|root|roots|chord|chords"},
};

}  // namespace dupo::phrases
