"""Korean and Chinese text: what the words beside a number say of it.

A number is marked as `python -m dupo.duals` marks it: [[5]] may be hidden, 5{reason} may not.
"""

import re

import pytest

from dupo.text.numbers.east_asian_phrase_table import CLASSES, COUNT, HAS, PHRASES, THINGS, UNITS
from tests.helpers.project import ROOT
from tests.text.test_number_phrases import REASON, literals_of, marks_of

KOREAN = [
    # counters and particles that look like numbers
    "[[7]]세 아이와 만 [[12]]세 학생 [[7]]명, [[65]] 세 사람",
    "[[2]]년 동안 [[3]]층과 제2{label}, $[[7]]$세 아이, A네 학교의 [[5]]이 크다",
    "[[5]]만큼 크다, [[5만]] 원이다",
    # numbers of several words
    "[[스물 두]] 살, [[서른 다섯]] 개, [[열 두]] 명, [[백 이십]] 명, [[백 오]] 명",
    "[[백 스물두]] 명, [[이백다섯]] 개, 만 [[두]] 살, 열 두부, 스물 세대",
    "[[삼 분의 이]]를 먹고 [[3분의 2]]를 남겼다. 삼분의 이상, 1{part of a longer number}과 "
    "3분의 2{part of a longer number}",
    "3{part of a longer number}시간 반, [[3]]시간 반찬을 만든다",
    # bounds, and comparisons of two quantities
    "100{bound}보다 작은 수, 3{bound}보다 크고 9{bound}보다 작거나 같은 수, [[12]]보다 [[5]] 큰 수",
    "10{bound} 이하, 20{bound} 미만, 30{bound} 초과, 다섯{bound} 명 이상, [[6]]명이 이상한 말",
    "최대 5{bound}명, 적어도 세{bound} 개, 30{bound}분 이내, 40{bound}개를 넘는, 최대공약수 [[6]]",
    "1{bound}부터 50{bound}까지의 자연수, [[3]]쪽부터 [[9]]쪽까지 읽었다",
    # divisors, and quantities that are divided
    "3{divisor}으로 나누어떨어지는 수, 5{divisor}로 나누어 떨어지는 수, 7{divisor}의 배수",
    "1234{divisor}를 11{divisor}로 나눈 나머지, 4{divisor}와 6{divisor}의 최소공배수, 9{divisor}와 서로소",
    "세{definition} 수 12{divisor}, 18{divisor}, 24{divisor}의 최대공약수, [[12]]와 [[18]]의 합",
    "[[48]]을 [[6]]으로 나눈 몫, 사과 [[48]]개를 [[6]]명에게 나누어 준다",
    # definitions
    "정육면체의 모서리는 12{definition}개, 면의 수는 6{definition}개, 한 모서리는 [[12]] cm",
    "삼각형의 세{definition} 각의 합은 180{definition}도, 한{pronoun} 각은 [[50]]도",
    "하루는 24{definition}시간, 1{definition}년은 365{definition}일, 한{pronoun} 시간은 60{definition}분, "
    "하루 [[8]]시간",
    "원주율은 3.14{definition}, 개미의 다리는 6{definition}개, 의자의 높이는 [[6]] cm",
    # labels
    "3{label}학년 2{label}반 학생 [[20]]명, 5{label}번 버스를 [[5]]번 탔다",
    "제3{label}장, 문제 4{label}번, 101{label}동 502{label}호, 2{label}호선, 3{ordinal}위, [[5]]위안",
    "1{pronoun}인당 [[5]]개, 1{pronoun}명당 [[3]]개",
    # worked examples
    "예를 들어, 21{example}은 좋은 수이다. [[4]]는 아니다.",
    "어떤 수(예컨대 15{example})에 [[3]]을 더한다. 예를 들면 3.5{example}와 7{example}이다.",
    # years and telephone numbers
    "2024{date}년, '24{date}년, 2020{date}~2023{date}년, [[3]]년 동안 [[2000]]명",
    "전화 010{label}-1234{label}-5678{label}, 02{leading zero})555{label}-1234{label}",
    "119{label}에 전화했다, [[100]]-[[20]]은 얼마인가",
    "팩스 +82{label}-10{label}-1234{label}-5678{label}, 010{leading zero} 1234{label} 5678{label}",
    # units without a blank
    "한{pronoun} 변의 길이가 [[5]]cm인 정사각형, 가로 [[12]]m, 세로 [[8]]m, 넓이 [[20]]cm², 5{bound}kg 이상",
    "MP3{word}, 3{word}D, 4{word}K, A4{word}",
    # digits of full width
    "사과 [[１２]]개, 제３{label}장, ２０２４{date}년, [[１．５]]배, [[２０]]％",
]
CHINESE = [
    # numbers in words
    "[[一点五]]倍，[[零点五]]米，[[十二点七五]]元，[[一点二万]]元，三{time}点五十分，八{time}点[[三]]人到",
    "[[廿五]]人，[[三分之二]]，[[三又二分之一]]倍，百分之[[十二点五]]，花园四周",
    "二十五{part of a longer number}块五，两{part of a longer number}米三，[[五]]块[[三]]个",
    # bounds
    "小于60{bound}的质数，大于等于3{bound}，超过8{bound}个，不超过9{bound}个，比[[12]]多[[5]]",
    "至少10{bound}人，最多五{bound}个，60{bound}以上，3{bound}个以下，7{bound}天以内",
    "在1{bound}到100{bound}之间的整数，从[[5]]米到[[9]]米",
    # divisors
    "能被7{divisor}整除，除以9{divisor}的余数，11{divisor}的倍数，12{divisor}和18{divisor}的最大公因数",
    "100{divisor}除以7{divisor}余[[2]]",
    "[[48]]除以[[6]]得多少",
    # definitions
    "正方体有12{definition}条棱，6{definition}个面，棱长[[12]]厘米",
    "一{pronoun}天有24{definition}小时，1{definition}小时=60{definition}分钟，一{pronoun}周有7{definition}天，"
    "每天[[8]]小时",
    "圆周率取3.14{definition}，三角形内角和是180{definition}度，一{pronoun}只蜘蛛有8{definition}条腿，[[8]]米",
    # labels
    "三{label}年级二{label}班有[[30]]人，3{label}年级2{label}班，第5{label}章，5{label}号，第二{ordinal}个",
    "5{label}路公交车，3{label}班学生，[[5]]路人，2{label}单元",
    # worked examples
    "例如，121{example}是回文数。他有[[4]]个。",
    "比如21{example}，22{example}。还有[[5]]个（譬如9{example}）和[[6]]个",
    # years and telephone numbers
    "2024{date}年，'24{date}年，1999{date}至2005{date}年，[[5]]年",
    "电话13812345678{label}，拨打110{label}，010{leading zero}-12345678{label}，[[15000000000]]元",
    # units without a blank
    "买了[[3]]kg苹果，走了[[5]]km，绳长[[20]]cm，4{word}K电视",
    # digits of full width
    "全长[[１２]]米，第１{label}章，[[３]]个",
]
ENGLISH = [
    "a [[20]]cm rope, [[5]]kg flour, [[3]]L milk at [[60]]mph in [[2]]hrs",
    "an iPhone12{word}, A4{word}, MP3{word}, 3{word}D, 4{word}K, H2{word}O, $5{word}m, 3{word}x faster",
    "[[½]] of it, [[2½]] cups, [[3 ¾]] miles, ½{word}cup, 1,250{part of a longer number}½",
    "$[[5]]cm$ and $[[20]]mph$",
]


@pytest.mark.usefixtures("served_by")
@pytest.mark.parametrize("marked", [*KOREAN, *CHINESE, *ENGLISH])
def test_words_beside_a_number_decide_whether_the_number_may_be_hidden(marked: str) -> None:
    problem = REASON.sub("", marked).replace("[[", "").replace("]]", "")
    assert marks_of(problem) == marked


def test_both_cores_have_one_table_of_east_asian_phrases() -> None:
    header = (ROOT / "csrc/numbers_east_asian_phrase_table.hpp").read_text(encoding="utf-8")
    rows = PHRASES[: len(PHRASES) - len(UNITS) - 3 * len(THINGS)]
    expected = [word for pair in CLASSES.items() for word in pair]
    expected += [word for row in [*UNITS, *THINGS] for word in row]
    expected += [HAS, COUNT]
    expected += [word for row in rows for word in row[1:]]
    assert literals_of(header, "U") == expected
    reasons = [
        reason.replace("_of_longer", " of a longer number") for reason in re.findall(r"Reason::(\w+)", header)
    ]
    assert reasons == [row.reason or "none" for row in rows]
