"""The phrases beside a number that tell why the number may not be hidden.

csrc/numbers_phrase_table.hpp holds the same rows; a test compares the two files.
"""

from typing import NamedTuple


class Phrase(NamedTuple):
    r"""Skips a number for `reason` where all fields match. The first row that matches decides.

    The words of `before` and `after` stand next to the number. `a|b` is one of several words, `a?` may be
    missing. A name in capitals is a class of words: one of `CLASSES` in
    phrase_classes.py, or N (a number), or W (any word).
    Blanks, hyphens, dollars and the marks \( and \) between words are ignored, and so is case.

    Attributes:
        reason: one of `REASONS`; "" for a number that no later row may skip.
        before: the words before the number.
        after: the words after the number.
        values: values that the number may have, or how the number is written; "" for all. YEAR is a count
            that may be a year, ODDYEAR such a count that is no round number, SHARE is below one.
        near: one of these words stands up to `NEARBY` characters from the number; "" asks for none.
    """

    reason: str
    before: str = ""
    after: str = ""
    values: str = ""
    near: str = ""


NEARBY = 100  # characters on either side of a number whose words the phrases see

# Units of a larger unit. Each row: the smaller unit, how many, the larger unit.
UNITS = [
    ("days", "7", "week|weeks"),
    ("hours", "24", "day|days"),
    ("minutes", "60", "hour|hours"),
    ("seconds", "60", "minute|minutes"),
    ("months", "12", "year|years"),
    ("weeks", "52", "year|years"),
    ("days", "365 366", "year|years"),
    ("years", "10", "decade"),
    ("years", "100", "century"),
    ("cents|pennies", "100", "dollar"),
    ("inches", "12", "foot|feet"),
    ("feet", "3", "yard|yards"),
    ("feet", "5280", "mile|miles"),
    ("ounces", "16", "pound|pounds"),
    ("grams", "1000", "kilogram|kg"),
    ("meters|metres|m", "1000", "kilometer|kilometre|km"),
    ("centimeters|centimetres|cm", "100", "meter|metre|m"),
    ("millimeters|mm", "10", "centimeter|cm"),
    ("quarts", "4", "gallon|gallons"),
    ("cups", "16", "gallon|gallons"),
    ("cups", "4", "quart|quarts"),
    ("cups", "2", "pint|pints"),
    ("pints", "2", "quart|quarts"),
    ("pints", "8", "gallon|gallons"),
    ("tablespoons", "16", "cup|cups"),
    ("teaspoons", "3", "tablespoon|tablespoons"),
    ("pounds", "2000", "ton|tons"),
    ("letter|letters", "26", "alphabet"),
]

# Things of which everybody knows how many a shape, an animal or a game has.
THINGS = [
    ("edges", "12", "CUBE|octahedron"),
    ("faces|sides", "6", "CUBE|DIE"),
    ("vertices|corners", "8", "CUBE"),
    ("faces", "4", "tetrahedron|tetrahedra"),
    ("edges", "6", "tetrahedron|tetrahedra"),
    ("vertices", "4", "tetrahedron|tetrahedra"),
    ("faces|vertices", "5", "pyramid"),
    ("edges", "8", "pyramid"),
    ("faces", "8", "octahedron"),
    ("vertices", "6", "octahedron"),
    ("faces", "12", "dodecahedron"),
    ("vertices", "20", "dodecahedron"),
    ("edges", "30", "dodecahedron|icosahedron"),
    ("faces|triangles", "20", "icosahedron"),
    ("vertices", "12", "icosahedron|dodecagon"),
    ("sides|vertices|angles|corners", "3", "triangle|triangles|triangular"),
    ("sides|vertices|angles|corners", "4", "square|squares|rectangle|rectangles|quadrilateral|parallelogram"),
    ("sides|vertices|angles|corners", "4", "rectangular|rhombus|trapezoid|kite"),
    ("sides|vertices|angles|corners", "5", "pentagon|pentagons|pentagonal"),
    ("sides|vertices|angles|corners|triangles", "6", "hexagon|hexagons|hexagonal"),
    ("sides|vertices|angles|corners", "7", "heptagon|heptagons"),
    ("sides|vertices|angles|corners", "8", "octagon|octagons|octagonal"),
    ("sides|vertices|angles|corners", "9", "nonagon|nonagons"),
    ("sides|vertices|angles|corners", "10", "decagon|decagons"),
    ("sides|angles|corners", "12", "dodecagon|dodecagons"),
    ("sides|faces", "2", "coin|coins"),
    ("sided|faced", "6", "DIE"),
    ("card|cards|playing", "52", "deck|decks|pack|standard"),
    ("suits", "4", "deck|cards"),
    ("ranks|values", "13", "deck|suit|suits"),
    ("cards", "13", "suit|suits"),
    ("vowels", "5", "alphabet|english"),
    ("letter|letters", "26", "alphabet|english"),
    ("hour|hours|numbers|numerals", "12 24", "clock"),
    ("squares", "64", "CHESS"),
    ("by|x|×|\\", "8", "CHESS"),
    ("DEGREE", "90", "right"),
    ("DEGREE", "180", "triangle|straight"),
    ("legs", "4", "dog|dogs|cat|cats|cow|cows|horse|horses|pig|pigs|sheep|goat|goats|rabbit|rabbits"),
    ("legs", "2", "chicken|chickens|bird|birds|duck|ducks|turkey|turkeys|human|humans"),
    ("legs", "8", "spider|spiders|octopus|octopuses|scorpion|scorpions"),
    ("legs", "6", "insect|insects|ant|ants|bee|bees|beetle|beetles"),
    ("wheels", "2", "bicycle|bicycles|bike|bikes|motorcycle|motorcycles"),
    ("wheels", "3", "tricycle|tricycles"),
    ("wheels|tires", "4", "car|cars"),
    ("walls", "4", "room|bedroom|kitchen"),
    ("by|x|×|\\", "3", "tic"),
    ("arms", "8", "octopus|octopuses"),
    ("fingers", "5 10", "hand|hands|human|person"),
    ("toes", "5 10", "foot|feet|human|person"),
    ("keys", "88", "piano|pianos"),
    ("strings", "6", "guitar|guitars"),
    ("strings", "4", "violin|violins"),
    ("planets", "8", "solar"),
    ("states", "50", "us|u|united|usa|america"),
    ("players", "11", "soccer|football|cricket"),
    ("innings", "9", "baseball"),
    ("colors|colours", "7", "rainbow"),
    ("DEGREE", "32 212", "fahrenheit|water|freezing|boiling"),
]

PHRASES = [
    # --- a share of several things: hidden, the share reads as a count of them
    Phrase("", "", "of a|an|it", "SHARE"),
    Phrase("share", "", "of", "SHARE"),
    # --- how the answer is to be written
    Phrase("form", "nearest"),
    Phrase("form", "", "decimal|significant place|places|figure|figures|digit|digits"),
    Phrase("form", "last|final|rightmost", "digits"),
    Phrase("form", "base", "", "10"),
    Phrase("form", "to|into|in base"),
    Phrase("form", "=", "", "0"),
    # --- divisors
    Phrase("divisor", "divisible by both|either|neither|any|none|all? of?"),
    Phrase("divisor", "not of|by", "", "", "multiple|multiples|divisible|divisor|divisors|factor|factors"),
    Phrase("divisor", "divisor|divisors|factor|factors does|do"),
    Phrase("", "by a|the factor of"),
    Phrase("", "scale factor of"),
    Phrase("divisor", "multiple|multiples|divisor|divisors|factor|factors of both|either|neither?"),
    Phrase("divisor", "modulo|mod"),
    Phrase("", "≡|equiv|congruent to?", "modulo|mod"),
    Phrase("divisor", "", "\\? modulo|mod|bmod"),
    Phrase("divisor", "", "is|are? divided by", "", "REMAINDER"),
    Phrase("divisor", "divided|division|dividing|divides|divide W? by each? of?", "", "", "REMAINDER"),
    Phrase("divisor", "divides|divide", "", "", "integer|integers|remainder|prime|primes"),
    Phrase("divisor", "prime|coprime to|with"),
    # --- bounds in words; "5 more than 12" compares two quantities
    Phrase("bound", "INTEGER|COPULA MORE than"),
    Phrase("", "AMOUNT W? MORE than"),
    Phrase("bound", "MORE than"),
    Phrase("bound", "MORE than or equal to"),
    Phrase("bound", "at least|most"),
    Phrase("bound", "at or above|below"),
    Phrase("", "AMOUNT as many|much|few|little as"),
    Phrase("bound", "as many|much|few|little|low|high as"),
    Phrase("bound", "OLDER|COPULA under|over|below|above"),
    Phrase("bound", "in excess of"),
    Phrase("bound", "has|have|had|owns|weighs|holds|contains over"),
    Phrase("bound", "not to exceed"),
    Phrase("bound", "many of the first", "positive|natural|whole|odd|even|prime|INTEGER"),
    Phrase("bound", "INTEGER under|below|above|over"),
    Phrase("bound", "any|every W under|below|above|over"),
    Phrase("bound", "exceed|exceeds|exceeding|exceeded"),
    Phrase("bound", "minimum|maximum of"),
    Phrase("", "add|adds|added|adding|sum|sums|total|totals|rang|come|comes|came up to"),
    Phrase("bound", "up to"),
    Phrase("bound", "up to and including"),
    Phrase("bound", "", "W? or MORE|above|below|over"),
    Phrase("", "PAIR between"),
    Phrase("", "PAIR between N W? and"),
    Phrase("bound", "between", "W? and|to N|W"),
    Phrase("bound", "between N|W W? and|to"),
    # --- ranges of whole numbers; "from 1 to 4 PM" is a length of time
    Phrase("", "from", "to|until N am|pm|a|p"),
    Phrase("", "from N to|until", "am|pm|a|p"),
    Phrase("bound", "INTEGER from?", "to|through|– N|W"),
    Phrase("bound", "INTEGER from? N to|through|–"),
    Phrase("bound", "numbered|labeled|labelled from?", "N"),
    Phrase("bound", "numbered|labeled|labelled from? N"),
    Phrase("bound", "from", "to|through N|W", "0 1"),
    Phrase("bound", "from 0|1|zero|one to|through"),
    Phrase("bound", "from", "to|through N ,|(? inclusive"),
    Phrase("bound", "to|through", ",|(? inclusive"),
    # --- times of the day
    Phrase("time", "", "noon|midnight"),
    Phrase("time", "at|from|until|till|by|before|after about?", "in the morning|afternoon|evening"),
    # --- years
    Phrase("", "divided|multiplied|increased|decreased|reduced|grows|grew|rose|fell by", "", "YEAR"),
    Phrase("", "in|by|during|after|before|a|an", "MEASURE", "YEAR"),
    Phrase("date", "in|since|until|till|by|during|year|years|before|after early|late|mid?", "", "YEAR"),
    Phrase(
        "date",
        "end|start|beginning|spring|summer|fall|autumn|winter|class of early|late|mid?",
        "",
        "YEAR",
    ),
    Phrase("date", "spring|summer|fall|autumn|winter|season", "", "ODDYEAR"),
    Phrase("date", "N", "season|edition", "YEAR"),
    Phrase("date", "", "N season|edition", "YEAR"),
    Phrase("date", "from", ".|,|?|is|was|are|were|costs|cost|that|which|and", "ODDYEAR"),
    Phrase("date", "years N to|through|and", "", "YEAR"),
    Phrase("date", "year is|was|=", "", "YEAR"),
    Phrase("date", "", "ad|bc|ce|bce|calendar|census|leap", "YEAR"),
    Phrase("date", "", "'|’ s", "YEAR"),
    Phrase("date", "", "", "YEAR", "leap"),
    Phrase("date", "MONTH|day|days|month|months|half|quarter of", "", "YEAR"),
    Phrase("date", "the", "election|season|census|olympics|edition|championship|amc|aime", "YEAR"),
    Phrase("date", "amc|aime|contest|competition|olympiad|olympics|exam|election|census of", "", "YEAR"),
    Phrase("date", "a|an", "W", "ODDYEAR"),
    # --- definitions
    Phrase("", "", "MEASURE|m|cm|in|inch|ft sides|faces|edges"),
    Phrase("definition", "\\ sqrt {", "}", "1"),
    Phrase("definition", "sqrt|√ (?", ")?", "1"),
    Phrase("definition", "i ^ {? 2 }? =", "", "1"),
    Phrase("definition", "leading coefficient is|of|=|equal? to?", "", "1"),
    Phrase(
        "definition",
        "pi|π is|be|as|=|≈|to|\\ approx|be?",
        "",
        "3 3.14 3.1416 3.14159 3.142 \\frac{22}{7} 22/7",
    ),
    Phrase("definition", "", "for|as \\? pi|π", "3 3.14 3.1416 3.14159 3.142 \\frac{22}{7} 22/7"),
    Phrase("definition", "", "DEGREE", "360"),
    Phrase("definition", "", "60 90", "30"),
    Phrase("definition", "30", "90", "60"),
    Phrase("definition", "30 60", "", "90"),
    Phrase("definition", "", "45 90", "45"),
    Phrase("definition", "45", "90", "45"),
    Phrase("definition", "45 45", "", "90"),
    Phrase("definition", "deck of", "", "52"),
    Phrase("definition", "", "in|of|per A? suit|suits", "13"),
    Phrase("definition", "by|x|×|times", "", "8", "CHESS"),
    Phrase("definition", "dozen (", "", "12"),
    Phrase("definition", "dozen HAS", "", "12"),
    Phrase("definition", "", "W PLACE a? dozen", "12"),
    Phrase("definition", "12 W PLACE", "", "12"),
    Phrase("definition", "decade (", "", "10"),
    Phrase("definition", "century (", "", "100"),
    Phrase("definition", "by|x|×|times", "", "3", "tic"),
    Phrase("definition", "", "day week", "7"),
    Phrase("definition", "", "hour day", "24"),
    Phrase("definition", "", "day year", "365"),
    Phrase("definition", "quarter|quarters HAS|(? worth?", "cents", "25"),
    Phrase("definition", "dime|dimes HAS|(? worth?", "cents", "10"),
    Phrase("definition", "nickel|nickels HAS|(? worth?", "cents", "5"),
    # --- examples and telephone numbers
    Phrase("argument", "", "!", "", "FACTORIAL"),
    Phrase("example", "INTEGER like"),
    Phrase("example", "", "is one such|example"),
    Phrase("example", "", "is an example"),
    Phrase("example", "", "is|are such a|an|INTEGER"),
    Phrase("example", ",|( say ,?"),
    Phrase("label", "VEHICLE", "leaves|arrives|departs|runs|comes|carries|stops|has|is|and|or|,|."),
    Phrase("label", "", "star hotel|hotels|restaurant|restaurants|resort|resorts|rating|review"),
    Phrase("label", "", "N", "", "PHONE"),
    Phrase("label", "N", "", "", "PHONE"),
    # --- a choice among things of the problem, and words that hold a number
    Phrase("reference", "", "of the|these|those|its|their N? SHAPE", "2 3"),
    Phrase("reference", "no", "", "2"),
    Phrase("pronoun", "", "year|month|week|hour|minute later", "1"),
    Phrase("word", "", "toed|eyed|winged|horned|petaled|petalled|leafed|leaved|ply|wheeler|wheelers"),
]
PHRASES += [Phrase("definition", "", f"{small} PLACE A? {large}", count) for small, count, large in UNITS]
PHRASES += [Phrase("definition", f"{large} HAS", small, count) for small, count, large in UNITS]
PHRASES += [Phrase("definition", "", f"W? {thing}", count, near) for thing, count, near in THINGS]

# Phrases beside numbers that few answers depend on, or that everybody knows. Such a number is hidden only
# where a text has no others. `scene` asks that the text tells of no time elsewhere (TELLS_TIME, ASKS_WHEN).
DOUBTS = [
    # --- labels of when something was
    Phrase("scene", "", "DAY ago|earlier|later|prior"),
    Phrase("scene", "", "DAY before|after that|this"),
    # --- bounds that name a class: "children under 12", "13 years and above"
    Phrase("bound", "BEYOND|to|past the? age of?"),
    Phrase("bound", "SCORES|but|or BEYOND"),
    Phrase("bound", "BEYOND", "but|or BEYOND"),
    Phrase("bound", "", "year|years|month|months W? W? and|or MORE|up|BEYOND"),
    Phrase("bound", "", "and older|younger|above|below"),
    Phrase("bound", "", "and up .|,|)|are|have|pay|get"),
    Phrase("bound", "", "% W? or MORE|BEYOND"),
    Phrase("bound", "age|ages|aged from?", "to|N"),
    Phrase("bound", "age|ages|aged from? N to?"),
    Phrase("bound", "age|ages|aged|BEYOND", "+"),
    # --- between two units of one measure: "8 ounces of water in a cup", "1 foot is equal to 12 inches"
    Phrase("definition", "", "VOLUME of? W? INTO to? A? VOLUME"),
    Phrase("definition", "", "VOLUME per VOLUME"),
    Phrase("definition", "", "WEIGHT of? W? INTO to? A? WEIGHT"),
    Phrase("definition", "", "WEIGHT per WEIGHT"),
    Phrase("definition", "", "LENGTH INTO|per to? A? LENGTH"),
    Phrase("definition", "A VOLUME EQUALS to?", "VOLUME"),
    Phrase("definition", "A WEIGHT EQUALS to?", "WEIGHT"),
    Phrase("definition", "A LENGTH EQUALS to?", "LENGTH"),
    Phrase("definition", "are|assume|assuming|that", "TIME in|per|to A? TIME"),
    Phrase("definition", "month|months|year EQUALS", "day|days|week|weeks"),
    # --- "milks her cows twice a day. This morning ... This evening"
    Phrase("listed", "", "times? a|per|each|every day", "2 3", "morning|afternoon|evening"),
]
ASKS_WHEN = [
    "how long|soon|old",
    "how many W? TIME",
    "what time|day|date|month|year",
    "when did|will|does|do|is|was",
]

# What a text says where its answer is rounded. Each row: words that stand somewhere, words that stand too,
# the role of the numbers that the answer still tells.
ROUNDED = [
    ("to the nearest ROUND", "", ""),
    ("round|rounded|rounding the|your|an|any final? answer|answers|result", "", ""),
    ("answer|answers|result is|should|must? be? rounded", "", ""),
    ("only has|have|had N dollar? bills", "", ""),
    ("only sell|sells|sold|come|comes|available W|N? W|N? W|N? PACK", "", "money"),
    ("in PACK of N", "how many PACK", "money"),
    ("buy|buys as many N? W W? W? W? as he|she|they can|could", "", ""),
    ("at least how many", "", ""),
]

# What a question says that asks for the best of several: the numbers of the others leave the answer as it is.
CHOICES = [
    "the cheaper|cheapest|better|slower|faster",
    "maximum|greatest|largest|smallest|fewest W? number",
    "the most|least|fewest W",
    "lowest price",
]
DEALS = ["the best|better deal|offer|value|bargain|buy"]  # says so anywhere in a text

# What a scene is made of: the words behind a number. No answer depends on the number, unless the question
# asks for an age or a time, or the text tells what happens in some time.
SCENES = ["TIME later|ago|earlier", "TIME after that|this", "TIME old", "that age"]
ASKS_TIME = "TIME|when|time|long|old|older|oldest|young|younger|youngest|age|ages|aged|birthday"
TELLS_TIME = [
    "a|an|one W? TIME",
    "each|every|per|/ W|N? TIME",
    "daily|hourly|nightly|weekly|monthly|yearly|annual|annually|interest|mph|speed",
    "older|younger|oldest|youngest|ages|aged",
    "s|the|his|her|their|same|total|combined|average|of age",
    "first|third|fourth|fifth|sixth TIME",
]
# A lone amount of money is a scene too, where the question asks "how many" of other things, unless the text
# has other money: these words in the question, or in the text.
ASKS_MONEY = "COIN|PAY|percent|percentage"
TELLS_MONEY = ["COIN", "PAY W? N", "for N each|apiece"]
