"""The units of answers: one row for each unit, with its dimension and all its spellings.

Two units of one dimension are two rows: 5 cents are no 5 dollars. A spelling of four letters or more has its
plural with "s" too, and a unit of two words is written without the blank. A new unit is a new row, and
everything that knows units is made from the rows.
"""

from collections.abc import Sequence
from fractions import Fraction

_ROWS = """
length       mm millimeter millimetre 밀리미터 毫米 ミリメートル
length       cm centimeter centimetre 센티미터 厘米 センチメートル
length       dm decimeter decimetre
length       m meter metre 미터 米 メートル
length       km kilometer kilometre 킬로미터 千米 公里 キロメートル
length       nm nanometer nanometre
length       micron micrometer micrometre
length       in inch inches 인치 英寸 インチ
length       ft foot feet 피트 英尺 フィート
length       yd yard 야드 码
length       mi mile 마일 英里 マイル
length       nmi nauticalmile
length       furlong
length       fathom
length       league
length       lightyear
length       里
length       丈
length       尺
length       寸
mass         mg milligram 毫克 밀리그램
mass         g gram 그램 克 グラム
mass         kg kilogram kilo 킬로그램 千克 公斤 キログラム
mass         ton tons tonne 톤 吨 噸 トン
mass         oz ounce 온스 盎司
mass         lb lbs pound 파운드 磅
mass         stone
mass         carat
mass         斤
mass         근
volume       ml milliliter millilitre 밀리리터 毫升 ミリリットル
volume       dl deciliter decilitre 데시리터
volume       l liter litre 리터 升 公升 リットル
volume       kl kiloliter kilolitre
volume       gallon 갤런 加仑
volume       fluidounce
volume       quart
volume       pint
volume       cup cups
volume       tablespoon
volume       teaspoon
volume       bushel
volume       barrel
time         microsecond
time         ms millisecond 毫秒
time         s sec secs second 초 秒
time         min mins minute 분 分钟 分鐘 分間
time         h hr hrs hour 시간 小时 小時 個小時 个小时 時間
time         day days 일 天 日間
time         week 주 周 週 星期 礼拜 週間
time         fortnight
time         month 개월 个月 個月 ヶ月 か月 カ月
time         year 년 年 年間
time         decade
time         century centuries 세기 世纪 世紀
clock        am
clock        pm
speed        mph
speed        kph kmh kmph
speed        knot
money        cent penny pennies pence 美分
money        nickel
money        dime
money        usd dollar buck 달러 美元 ドル
money        eur euro 유로 欧元 ユーロ
money        gbp quid sterling 英镑
money        shilling
money        rs inr rupee 루피 卢比
money        paise
money        ¥
money        yen jpy 엔 円 日元
money        yuan rmb cny renminbi 위안 元 块钱 塊錢 人民币
money        角
money        分
money        원 won krw
money        peso
money        franc
money        ruble
money        baht
money        krona kronor krone kroner
money        lira
money        zloty
money        dinar
angle        degree 도 度
angle        °
angle        rad radian
angle        arcminute
angle        arcsecond
temperature  celsius
temperature  fahrenheit
temperature  kelvin
data         bit bits
data         byte
data         kb kilobyte
data         mb megabyte
data         gb gigabyte
data         tb terabyte
data         kilobit
data         megabit
data         gigabit
frequency    hz hertz
frequency    khz kilohertz
frequency    mhz megahertz
frequency    ghz gigahertz
frequency    rpm
area         acre 英亩 에이커
area         hectare 公顷 헥타르
area         평
power        watt
power        kilowatt
power        horsepower
voltage      volt
current      ampere
resistance   ohm ohms
force        newton
pressure     pascal
pressure     atm atmosphere
energy       joule
energy       calorie kcal kilocalorie
energy       kwh
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

EAST_ASIAN_NAMES = frozenset(word for word in ROW_OF if word.isalpha() and not word.isascii())
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
length       nm 1e-9 micron 1e-6 mm 0.001 cm 0.01 dm 0.1 m 1 km 1000 in 0.0254 ft 0.3048 yd 0.9144 mi 1609.344
length       nmi 1852 furlong 201.168 fathom 1.8288 里 500
mass         mg 0.001 carat 0.2 g 1 kg 1000 斤 500 oz 28.349523125 lb 453.59237 stone 6350.29318
volume       ml 0.001 dl 0.1 l 1 kl 1000
us_volume    teaspoon 1 tablespoon 3 fluidounce 6 cup 48 pint 96 quart 192 gallon 768
time         microsecond 1e-6 ms 0.001 s 1 min 60 h 3600 day 86400 week 604800 fortnight 1209600
calendar     month 1 year 12 decade 120 century 1200
money        cent 1 nickel 5 dime 10 dollar 100
yuan         分 1 角 10 元 100
rupees       paise 1 rupee 100
data         bit 1 byte 8
"""
# Row -> the measure, and the size in that measure.
SIZE_OF: dict[int, tuple[str, Fraction]] = {}
for _line in _SIZES.strip().splitlines():
    _measure, *_pairs = _line.split()
    for _word, _size in zip(_pairs[::2], _pairs[1::2], strict=True):
        SIZE_OF[ROW_OF[_word]] = _measure, Fraction(_size)
