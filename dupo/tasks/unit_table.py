"""The units of answers: one row for each unit, with its dimension and all its spellings.

Two units of one dimension are two rows: 5 cents are no 5 dollars. A spelling of four letters or more has its
plural with "s" too. A new unit is a new row, and everything that knows units is made from the rows.
"""

from collections.abc import Sequence
from fractions import Fraction

_ROWS = """
length       mm millimeter millimetre 밀리미터 毫米
length       cm centimeter centimetre 센티미터 厘米
length       dm decimeter decimetre
length       m meter metre 미터 米
length       km kilometer kilometre 킬로미터 千米 公里
length       nm nanometer nanometre
length       in inch inches
length       ft foot feet
length       yd yard
length       mi mile 英里
mass         mg milligram
mass         g gram 그램 克
mass         kg kilogram 킬로그램 千克 公斤
mass         ton tons tonne 톤 吨 噸
mass         oz ounce
mass         lb lbs pound
volume       ml milliliter millilitre 밀리리터 毫升
volume       dl deciliter decilitre
volume       l liter litre 리터 升 公升
volume       kl kiloliter kilolitre
volume       gallon
volume       quart
volume       pint
volume       cup cups
volume       tablespoon
volume       teaspoon
time         ms millisecond
time         s sec secs second 초 秒
time         min mins minute 분 分钟 分鐘 分間
time         h hr hrs hour 시간 小时 小時 個小時 个小时 時間
time         day days 일 天 日間
time         week 주 周 週 星期 礼拜
time         month 개월 个月 個月 ヶ月 か月 カ月
time         year 년 年 年間
time         decade
time         century centuries
clock        am
clock        pm
speed        mph
speed        kph
money        cent penny pennies pence
money        nickel
money        dime
money        usd dollar 달러 美元 ドル
money        eur euro 유로 欧元 ユーロ
money        gbp
money        rs rupee
money        yen 엔 円 日元
money        yuan 위안 元 块钱 塊錢 人民币
money        원
money        peso
money        franc
money        ruble
angle        degree 도 度
angle        rad radian
temperature  celsius
temperature  fahrenheit
temperature  kelvin
data         kb kilobyte
data         mb megabyte
data         gb gigabyte
data         tb terabyte
frequency    hz hertz
area         acre
area         hectare
power        watt
voltage      volt
current      ampere
force        joule newton
pressure     pascal
energy       calorie
"""
MIN_PLURAL = 4  # letters of a spelling that takes an "s"


def _spellings_of(words: Sequence[str]) -> list[str]:
    regular = [
        w for w in words if w.isascii() and len(w) >= MIN_PLURAL and not w.endswith(("s", "feet", "nies"))
    ]
    return [*words, *(f"{word}s" for word in regular)]


# Spelling -> the row of the unit, and its dimension.
ROW_OF: dict[str, int] = {}
DIMENSION_OF: dict[str, str] = {}
for _row, _line in enumerate(_ROWS.strip().splitlines()):
    _dimension, *_words = _line.split()
    ROW_OF |= dict.fromkeys(_spellings_of(_words), _row)
    DIMENSION_OF |= dict.fromkeys(_spellings_of(_words), _dimension)

MAX_SHORT = 2  # letters of a spelling that a variable or a product of variables may be
SHORT_UNITS = frozenset(word for word in ROW_OF if len(word) <= MAX_SHORT and word.isascii())
# Units that are glued to a number, as in 12kg. A single letter may be a variable: 5m.
GLUED_UNITS = frozenset(
    word for word in ROW_OF if 2 <= len(word) <= 4 and word.isascii() and word not in ("in", "rs")
)
LENGTHS = frozenset(
    word for word, dimension in DIMENSION_OF.items() if dimension == "length" and word.isascii()
)
# Units that end a formula. "2\\pi hr" is a product, and so may other short words be; sec, min: functions.
ENDING_UNITS = frozenset(
    word
    for word in ROW_OF
    if word in ("km", "cm", "mm", "kg", "ft", "day") or (len(word) > 3 and word.isascii())
)

# What units are worth, exactly: all of a line in one measure. A ton, a kilobyte and a month in days have
# several sizes, so they have none here.
_SIZES = """
length       nm 1e-9 mm 0.001 cm 0.01 dm 0.1 m 1 km 1000 in 0.0254 ft 0.3048 yd 0.9144 mi 1609.344
mass         mg 0.001 g 1 kg 1000 oz 28.349523125 lb 453.59237
volume       ml 0.001 dl 0.1 l 1 kl 1000
us_volume    teaspoon 1 tablespoon 3 cup 48 pint 96 quart 192 gallon 768
time         ms 0.001 s 1 min 60 h 3600 day 86400 week 604800
calendar     month 1 year 12 decade 120 century 1200
money        cent 1 nickel 5 dime 10 dollar 100
"""
# Row -> the measure, and the size in that measure.
SIZE_OF: dict[int, tuple[str, Fraction]] = {}
for _line in _SIZES.strip().splitlines():
    _measure, *_pairs = _line.split()
    for _word, _size in zip(_pairs[::2], _pairs[1::2], strict=True):
        SIZE_OF[ROW_OF[_word]] = _measure, Fraction(_size)
