"""Korean, Chinese and Japanese text: which numbers stand there, what they are worth, which may be hidden.

A case is a text and its numbers: surface, value, role, and the reason of those that may not be hidden.
"""

from fractions import Fraction

import pytest

from dupo import text
from dupo.tasks.answer_numbers import parse_number
from dupo.text.numbers.east_asian import number_in_east_asian
from tests.helpers.number_texts import check_hidden

KOREAN = {
    "책은 1만 2천 원이다": ["1만 2천 = 12000 money"],
    "12만 3,456명이 왔다": ["12만 3,456 = 123456 count"],
    "3억 5천만 원": ["3억 5천만 = 350000000 money"],
    "3.5억 달러": ["3.5억 = 350000000 money"],
    "2백만 명": ["2백만 = 2000000 count"],
    "예산은 5조 원": ["5조 = 5000000000000 money"],
    "5조 학생들": ["5 = 5 count"],
    "2024년에 시작했다": ["2024 = 2024 count date"],
    "5년 동안 저축했다": ["5 = 5 count"],
    "이천이십사년 봄": ["이천이십사 = 2024 count date"],
    "5월 3일에 만났다": ["5 = 5 count date", "3 = 3 count date"],
    "5일 동안 걸었다": ["5 = 5 count"],
    "3시 30분부터 2시간 동안": ["3 = 3 count time", "30 = 30 count time", "2 = 2 count"],
    "오후 세 시": ["세 = 3 count time"],
    "사과 세 개": ["세 = 3 count"],
    "학생 다섯 명": ["다섯 = 5 count"],
    "고양이 열두 마리": ["열두 = 12 count"],
    "스무 살이다": ["스무 = 20 count"],
    "서른여덟 권": ["서른여덟 = 38 count"],
    "사과 세개": ["세 = 3 count"],
    "두 친구가 나눈다": ["두 = 2 count"],
    "삼십 명": ["삼십 = 30 count"],
    "이백오십 원": ["이백오십 = 250 money"],
    "만 원": ["만 = 10000 money"],
    "십 분을 기다렸다": ["십 = 10 count"],
    "한 개": ["한 = 1 count pronoun"],
    "세 번째 집": ["세 = 3 count ordinal"],
    "3번째 집": ["3 = 3 count ordinal"],
    "첫 번째 집": [],
    "제3장": ["3 = 3 count label"],
    "3학년 학생 20명": ["3 = 3 count label", "20 = 20 count"],
    "두 배로": ["두 = 2 multiple"],
    "3배가 된다": ["3 = 3 multiple"],
    "두 배추": [],
    "절반을 먹고 나머지 절반을 준다": ["절반 = 1/2 multiple", "절반 = 1/2 multiple"],
    "3분의 2를 먹었다": ["3분의 2 = 2/3 multiple"],
    "10퍼센트": ["10 = 10 percent"],
    "이 5명은 학생이다": ["5 = 5 count reference"],
    "오늘은 일요일이다": [],
    "이것은 만약의 일이다": [],
    "사람이 오이를 먹고 구름을 본다": [],
    "문을 열 수 있다": [],
    "세대 차이와 네 생각": [],
    "천만에요, 만일의 경우": [],
}
CHINESE = {
    "一百二十个苹果": ["一百二十 = 120 count"],
    "三十五个": ["三十五 = 35 count"],
    "两个苹果": ["两 = 2 count"],
    "十二只猫": ["十二 = 12 count"],
    "三千零五人": ["三千零五 = 3005 count"],
    "一亿三千万元": ["一亿三千万 = 130000000 money"],
    "1万2千元": ["1万2千 = 12000 money"],
    "1.5万人": ["1.5万 = 15000 count"],
    "3亿5000万": ["3亿5000万 = 350000000 count"],
    "三萬五千元": ["三萬五千 = 35000 money"],
    "三千克糖": ["三 = 3 count"],
    "5千克糖": ["5 = 5 count"],
    "5千米": ["5 = 5 count"],
    "五块钱": ["五 = 5 money"],
    "十美元": ["十 = 10 money"],
    "五年": ["五 = 5 count"],
    "2024年有5年": ["2024 = 2024 count date", "5 = 5 count"],
    "二〇二四年": ["二〇二四 = 2024 count date"],
    "3月5日": ["3 = 3 count date", "5 = 5 count date"],
    "三月五日": ["三 = 3 count date", "五 = 5 count date"],
    "3点30分": ["3 = 3 count time", "30 = 30 count time"],
    "三点出发": ["三 = 3 count time"],
    "3小时": ["3 = 3 count"],
    "十分钟": ["十 = 10 count"],
    "三个半小时": ["三 = 3 count part of a longer number"],
    "半小时": ["半 = 1/2 count"],
    "一半": ["一半 = 1/2 multiple"],
    "一半走,另一半跑": ["一半 = 1/2 multiple", "一半 = 1/2 multiple"],
    "两倍": ["两 = 2 multiple"],
    "3倍": ["3 = 3 multiple"],
    "三分之二": ["三分之二 = 2/3 multiple"],
    "百分之二十": ["二十 = 20 percent"],
    "10%": ["10 = 10 percent"],
    "第三个": ["三 = 3 count ordinal"],
    "第3题": ["3 = 3 count label"],
    "3年级": ["3 = 3 count label"],
    "二十一世纪": ["二十一 = 21 count ordinal"],
    "这三个人": ["三 = 3 count reference"],
    "一个人": ["一 = 1 count pronoun"],
    "几十个": [],
    "我们一起去,万一下雨": [],
    "千万不要": [],
    "十分高兴": [],
    "三角形和四川": [],
    "星期三和周五": [],
    "两千五个": [],
}
JAPANESE = {
    "九百円": ["九百 = 900 money"],
    "千円札": ["千 = 1000 money"],
    "3億5000万円": ["3億5000万 = 350000000 money"],
    "三十人": ["三十 = 30 count"],
    "りんごが三つ": ["三 = 3 count"],
    "5日間": ["5 = 5 count"],
    "3時に3時間": ["3 = 3 count time", "3 = 3 count"],
    "12月": ["12 = 12 count date"],
}
CASES = KOREAN | CHINESE | JAPANESE


@pytest.mark.usefixtures("served_by")
def test_numbers_of_east_asian_text() -> None:
    assert len(KOREAN) >= 40 and len(CHINESE) >= 40
    for (problem, expected), numbers in zip(CASES.items(), text.find_numbers(list(CASES)), strict=True):
        shown = [f"{n.surface} = {n.value} {n.role}" + (f" {n.skip}" if n.skip else "") for n in numbers]
        assert shown == expected, problem


@pytest.mark.usefixtures("served_by")
def test_hidden_numbers_of_east_asian_text_are_put_back() -> None:
    for problem, hidden in zip(CASES, text.hide_numbers(list(CASES), range(len(CASES))), strict=True):
        check_hidden(problem, hidden)


@pytest.mark.usefixtures("served_by")
@pytest.mark.parametrize(
    ("problem", "known"),
    [
        ("책은 1만 2천 원이다", "책은 V 원이다"),
        ("사과 세 개와 배 세 개", "사과 V 개와 배 세 개"),
        ("有3个苹果和3个梨。这3个苹果很贵。", "有V个苹果和3个梨。这V个苹果很贵。"),
        ("사과 5개와 배 5개가 있다. 배 5개는 얼마인가?", "사과 V개와 배 5개가 있다. 배 5개는 얼마인가?"),
    ],
)
def test_what_stands_for_an_east_asian_number(problem: str, known: str) -> None:
    (hidden,) = text.hide_numbers([problem], [0])
    assert hidden[0].known.replace(hidden[0].variable, "V") == known


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("1만 2천 원", 12000),
        ("12만 3,456", 123456),
        ("열두 마리", 12),
        ("세 개", 3),
        ("三十五个", 35),
        ("一半", Fraction(1, 2)),
        ("3분의 2", Fraction(2, 3)),
        ("三分之二", Fraction(2, 3)),
        ("3만 개와 2만 개", None),
        ("三个和五个", None),
        ("스물 두 살", 22),
        ("백 스물두 명", 122),
        ("3 분의 2", Fraction(2, 3)),
        ("삼분의 이상", None),
        ("一点五", Fraction(3, 2)),
        ("十二点七五米", Fraction(51, 4)),
        ("廿五", 25),
        ("三又二分之一", Fraction(7, 2)),
        ("일요일", None),
        ("3만 이상", None),
        ("3만 원 이하", None),
        ("三千以上", None),
        ("3만 아니다", None),
        ("두 배", None),
        ("三倍", None),
        ("세 번째", None),
        ("苹果", None),
        ("", None),
    ],
)
def test_answers_in_east_asian_words(answer: str, value: object) -> None:
    assert number_in_east_asian(answer) == value
    assert value is None or parse_number(answer) == value
