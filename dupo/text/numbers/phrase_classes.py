"""The classes of words that the phrases beside a number name in capitals.

csrc/numbers_phrase_classes.hpp holds the same classes; a test compares the two files.
"""

CLASSES = {
    "NUMBER": "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen"
    "|sixteen|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
    "|hundred|thousand|million|billion|dozen",
    "AMOUNT": "N|half|third|thirds|quarter|quarters|fourth|fourths|fifth|fifths|twice|times|much|many|few"
    "|couple|%|percent|a|an",
    "MORE": "more|less|fewer|greater|larger|bigger|smaller|higher|lower|longer|shorter|taller|older|younger"
    "|later|earlier",
    "INTEGER": "integer|integers|number|numbers|prime|primes|digit|digits|value|values|term|terms|multiple"
    "|multiples|divisor|divisors|factor|factors|squares|cubes|powers|palindrome|palindromes|fraction"
    "|fractions|root|roots|solution|solutions|faces|numbered|labeled|labelled",
    "OLDER": "people|children|kids|anyone|everyone|those|adults|items|aged|age|ages|orders|bills|purchases",
    "COPULA": "is|are|was|were|be|being|not|no|and|or|if|that|which|strictly|either",
    "PAIR": "difference|ratio|sum|distance|gap|split|divided|shared|equally|evenly|choose|chooses|choosing",
    "PLACE": "in|of",
    "MONTH": "january|february|march|april|may|june|july|august|september|october|november|december",
    "A": "a|an|the|each|every|one|1",
    "REMAINDER": "remainder|remainders|leaves|leftover",
    "HAS": "has|have|is|are|equals|=|contains",
    "CUBE": "cube|cubes|cubical|cuboid|parallelepiped|box",
    "DEGREE": "degree|degrees|°|^",
    "DIE": "die|dice|cube|cubes",
    "PHONE": "phone|telephone|dial|dialed|dials|call|calls|called|hotline",
    "CHESS": "chessboard|chessboards|checkerboard|checkerboards|chess",
    "MEASURE": "meter|meters|metre|metres|mile|miles|foot|feet|yard|yards|pound|pounds|gallon|gallons|liter"
    "|liters|acre|acres|square|cubic|calorie|calories|watt|watts|dollar|dollars|ton|tons|gram|grams|kilometer"
    "|kilometers|km|kg|seat|seats|person|people|piece|pieces|page|pages|word|words|step|steps|seconds|minutes"
    "|hours|days|years|point|points|pixel|pixels|rpm|volt|volts",
    "PACK": "pack|packs|package|packages|box|boxes|bag|bags|case|cases|bundle|bundles|carton|cartons"
    "|set|sets",
    "ROUND": "N|whole|integer|integral|percent|percentage|tenth|tenths|hundredth|hundredths|thousandth"
    "|thousandths|unit|cent|penny|dollar|second|minute|hour|day|degree|number|multiple",
    "VEHICLE": "bus|train|tram|truck|ferry|van|taxi",
    "TIME": "second|seconds|minute|minutes|hour|hours|night|nights|day|days|week|weeks|weekend|weekends|month"
    "|months|year|years|decade|decades|century|centuries",
    "COIN": "money|dollar|dollars|cent|cents|penny|pennies|nickel|nickels|dime|dimes|quarter|quarters|coin"
    "|coins|bill|bills|buck|bucks|euro|euros",
    "PAY": "cost|costs|charge|charges|charged|pay|pays|paid|paying|worth|earn|earns|earned|earning|spend"
    "|spends|spent|spending|save|saves|saved|price|priced",
    "DAY": "day|days|night|nights|week|weeks|weekend|weekends|month|months",
    "VOLUME": "teaspoon|teaspoons|tablespoon|tablespoons|ounce|ounces|oz|cup|cups|pint|pints|quart|quarts"
    "|gallon|gallons|ml|milliliter|milliliters|liter|liters|litre|litres",
    "WEIGHT": "ounce|ounces|oz|pound|pounds|lb|lbs|ton|tons|gram|grams|g|kilogram|kilograms|kilo|kilos|kg",
    "LENGTH": "inch|inches|foot|feet|yard|yards|mile|miles|mm|millimeter|millimeters|cm|centimeter"
    "|centimeters|meter|meters|metre|metres|km|kilometer|kilometers|kilometre|kilometres",
    "EQUALS": "is|are|has|have|=|equal|equals|contains|make|makes",
    "INTO": "in|to|is|equal|equals|make|makes|=",
    "BEYOND": "under|below|above|over|beyond",
    "SCORES": "score|scores|scored|scoring|average|averages|averaged|averaging|go|goes|drop|drops|fall|falls"
    "|rise|rises|gets|anything|everything|shipping",
    "FACTORIAL": "zero|zeros|zeroes|trailing|factorial|factorials|divides|divisible|divisors|factors|digits",
    "SHAPE": "circle|circles|sphere|spheres|vertex|vertices|side|sides|point|points|line|lines|edge|edges"
    "|face|faces|angle|angles|diagonal|diagonals|corner|corners|root|roots|chord|chords",
}
