"""Texts that numbers are searched in, and what must hold for every hidden number."""

import re
from collections.abc import Sequence

from hypothesis import strategies as st

from dupo.tasks.answer_numbers import parse_number
from dupo.text.numbers import Hidden
from dupo.text.numbers.hide import NAME_LETTERS, stand_in


def pieces_of(listed: str) -> list[str]:
    """Returns what stands between blanks and ends of lines."""
    return [piece for line in listed.splitlines() for piece in line.split(" ") if piece]


MARKS = pieces_of("""
0 1 2 3 5 7 12 20 48 100 007 123 1234 1999 2020 2100 1,250 1,250,000 1{,}250 10,\\!000 12,34 .5 0.5 12.50
1.2.3 3/4 24/7 1/0 2,345.6 5e3 1e+5 123456789012345678 1234567890123456789 \\frac \\dfrac \\tfrac12
\\frac{3}{4} \\frac{ -3 }{ .5 } { } ( ) [ ] _ ^ ** \\sqrt \\sqrt[3] \\left( \\right) \\log \\sin \\times
\\le \\leqslant \\left ^\\circ ^{\\circ} < <= ≥ = + - * & @ # \\ $ £ € % \\% Problem problems Room grades
step no. Fig. 第 号 年 月 日 day week on by in January May Sept. of and or to until from between since the
early mid- year is was class end st nd th ths percent dollars cent one two three nine ten nineteen twenty
ninety all other twenty-one hundred thousand million a half dozen dozens twice thrice times third thirds
quarter hundredth as
that each every other both these any One Two HALF A one's one-way another ratio : 8:30 12:05:59 1:2
2021-07-04 12/25/2020 [asy] [/asy] http://x.y/3 \\begin{3} \\ref{a5} ' ’ “ . , ! ? f o'clock a.m.
pm \\overline{ \\binom{8}{ \\log_{10} \\max\\{ 240,5 $3 3$ \\$ 5' -dollar per cent
{ \\{ \\} ; 0, 1, 2, 3, 4, 5, 1,2,3 8 11 90 360 1974 20230428 5-12-13 4-7-21 555-123-4567 (555)
... , … \\ldots \\dots \\cdots \\cdot nor + less more than greater at least most up no not between inclusive
through integers numbers digits numbered rows divisible divided multiple of both remainder when mod nearest
decimal places base election cube edges faces vertices sides right degrees ° week hours minutes deck
cards die sided pi π ≈ \\pi \\approx sqrt i = -1 leading coefficient legs dog chessboard circles later year
toed ! zeros = 0 bus leaves contest , say , (With would so that thus f(3) = 4+8=12. 3*5=15 are such numbers
nearest percent packs pack only sells come each ≡ \\bmod \\equiv answer rounded bills remaining (e.g. e.g.
such as, for example, for instance one such ). The a iPhone Widgeteer Area his Mom to until
size other 400 four hundred 2x 3y 117i 5ab 7abc 36π weekend summer PM
x_1 V é ß ſ K İ 你好 个 ค
\\frac5{12} \\frac{270}7 \\frac9 \\cdot \\neq 2x xy 7(x+1) $PV $V$ $x^2-6x+8$ $(3,4)$ $15$ A= 1000 2400
١ ² ⁴ ½ ๕ 🙂 km apples
""")
# Korean, Chinese and Japanese numbers, and what stands beside them.
EAST_ASIAN = pieces_of("""
1만 2천 12만 3,456 3억 5천만 5조 원 달러 년 월 일 시 분 시간 동안 번째 학년 제 세 다섯 열두 스무 한 두
배 배추 배로 개 명 마리 절반 나머지 삼십 이백오십 만 천 오 십 이 그 사과 분의 일요일 만약 십이만삼천 퍼센트
一百二十 三十五 两 十二 一半 另 半 小时 三 第三 二〇二四 年 千万 万一 十分 钟 百分之 分之 倍 元 円 块钱
廿五 卅 点五 又 分之二 분의 이를 백 스물 두 살 만큼 보다 작은 이하 이상 이상한 미만 초과 최대 부터 까지
사이 으로 나누어 떨어지는 나눈 나머지 의 배수 와 공약수 정육면체 모서리는 삼각형 세 각 하루는 시간 1년은
365일 학년 2반 번 버스 제 인당 예를 들어 예컨대 반 전화 010-1234-5678 02)555-1234 +82-10- 12345678
13812345678 010 1588-1234 자연수 위 위안 '24년 2020~2024년 被 整除 除以 余 的 倍数 小于 不超过 至少 以上
之间 到 整数 正方体 条 棱 有 三角形 180 度 例如 比如 年级 班 路 公交车 １２ ０ ％ ． 5cm 5kg 5mL $5m 4K
3D 2½ ½ ¾ cm kg 圆周率 3.14 은 는 腿 蜘蛛 8
点 時間 日間 这 几 星期 三千零五 两千五 千克 千米 3億5000万 1.5万 十 百 只 个 本书 。 ？ 3 5 12 $5$ 3/4
\\frac12 個半 号 世纪 월 月 日 兆 亿 3,00 억 영 零 륙 서른 여덟 수 번 째 ， 사람 친구 대
""")
# Equal numbers with and without a noun.
COUNTED = pieces_of("""
5 5 5 five five 1000 2.5 $5 $5$ 5% 5 half twice another the these all her remaining books shelves shelf
red wooden children child per hour miles long ago ounces of them more apples. pens? half other half third
remaining third 50% 2/3 and 5-mile by dollars
boxes box berry berries percent 5/hour $x+5$ $y=x+5$ x if when after before until how many what , ; then
Ann Ben On Monday There are old ago square dozen-pack 5? 1000. $1000 어요. 사면 如果 再 He next
""")
# Ages, times and amounts that set a scene, shares, and lists of things.
SCENES = pieces_of("""
$5 $5 8 2 3 two three half 1/2 0.25 twice of a an it the them her years year old later ago days hours after
that this age per each every first daily ages How how many much When old? pens pens? left? cost costs spend
dollars quarters pays earns for friends, friends cats named called colors: Ben Leo, Ann, Ann and and red,
light blue, Kit letters to mail mails noon at in morning s . ,
""")
# Lists, thousands, telephone numbers and the marks of exercises.
LISTED = pieces_of("""
100,200 3,148 90,85,100 1,200 1{,}000 1\\,000 2,000 ( ) [ ] { } \\{ \\} \\left( \\right) \\bigl( \\bigr)
, , 1 2 3 12 000
010-1234-5678 02-555-1234 +82-10-1234-5678 1-800-555-1234 (555) 555-1234 +1-22-3333 - + (1) (2) （1） （2）
1. 2. 3) 1) : . ? A( B(1,2) f(1,2) P_1( \\frac{ -1 x \\infty ... … ~ \\ 7-Eleven 50/50 Team Agent ZIP
code Code over has within from Spring 2019 2020 season base to $ $ . \\, \\! \\; 0 05 1.5 苹果 7
""")
PIECES = [
    *MARKS,
    *EAST_ASIAN,
    *COUNTED,
    *LISTED,
    "\u0301",
    "\u200d",
    "\ufe0f",
    "\u00a0",
    "\u2009",
    "\u202f",
    "\x00",
]
GAPS = st.sampled_from(["", " ", " ", " ", "-", ", ", "\n", "\t"])
PROBLEMS = st.lists(st.tuples(st.sampled_from(PIECES), GAPS), max_size=14).map(
    lambda parts: "".join(piece + gap for piece, gap in parts)
)
TIGHT = st.lists(st.tuples(st.sampled_from(EAST_ASIAN), st.sampled_from(["", "", " "])), max_size=10).map(
    lambda parts: "".join(piece + gap for piece, gap in parts)
)
AGAIN = st.lists(
    st.tuples(st.sampled_from(COUNTED), st.sampled_from([" ", " ", ". ", "\n"])), max_size=16
).map(lambda parts: "".join(piece + gap for piece, gap in parts))
SET = st.lists(st.sampled_from(SCENES), max_size=24).map(" ".join)
TOGETHER = st.lists(
    st.tuples(st.sampled_from(LISTED), st.sampled_from(["", "", "", " ", ",", "\n"])), max_size=12
).map(lambda parts: "".join(piece + gap for piece, gap in parts))
PADDED = st.tuples(st.integers(30, 45), PROBLEMS).map(
    lambda pair: "x" * pair[0] + pair[1]
)  # longer than LOOKBEHIND
TEXTS = st.text() | PROBLEMS | PADDED | TIGHT | AGAIN | SET | TOGETHER
SEEDS = st.integers(0, 2**64 - 1)


def put_back(hidden: Hidden, problem: str) -> str:
    """Replaces every stand-in of `known` by its number, at its place."""
    known, moved = hidden.known, 0
    for number in hidden.numbers:
        name = stand_in(problem, number, hidden.variable)
        at = number.start + moved
        assert known[at : at + len(name)] == name
        moved += len(name) - len(number.surface)
    for number in reversed(hidden.numbers):
        name = stand_in(problem, number, hidden.variable)
        moved -= len(name) - len(number.surface)
        at = number.start + moved
        known = known[:at] + number.surface + known[at + len(name) :]
    return known


def check_hidden(problem: str, hidden: Sequence[Hidden]) -> None:
    """Asserts that the problem can be put together again, and that no name occurs in the problem."""
    assert len({h.variable for h in hidden}) == len(hidden)
    for h in hidden:
        assert put_back(h, problem) == problem
        assert h.variable[0] in "VWZQ" and len(h.variable) >= 3 and set(h.variable[1:]) <= set(NAME_LETTERS)
        assert h.variable.lower() not in problem.lower()
        assert h.known.count(h.variable) == len(h.numbers)
        assert len({(n.value, n.role, n.quantity) for n in h.numbers}) == 1
        assert h.numbers[0].quantity == h.numbers[0].start
        assert not re.search(rf"[A-Za-z0-9]{h.variable}|{h.variable}[A-Za-z0-9]", h.known)
        assert parse_number(h.numbers[0].surface) == h.numbers[0].value
