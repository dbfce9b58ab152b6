"""The phrases beside a number of Korean, Chinese or Japanese text that tell why the number may not be hidden.

csrc/numbers_east_asian_phrase_table.hpp holds the same rows and classes; a test compares the two files.
"""

from typing import NamedTuple


class Phrase(NamedTuple):
    """Skips a number for `reason` where all fields match. The first row that matches decides.

    `before` and `after` are read as in phrase_table.py, but by characters: the words of East Asian text touch
    each other, and two blanks or dollars may stand between. `!a|b` asks that neither word stands there.

    Attributes:
        reason: one of `REASONS`; "" for a number that no later row may skip.
        before: the words before the number.
        after: the words behind the number, or behind the unit of the number.
        values: values that the number may have, YEAR for any year; "" for all.
        near: one of these stands up to `NEARBY` characters from the number; "" asks for none.
    """

    reason: str
    before: str = ""
    after: str = ""
    values: str = ""
    near: str = ""


CLASSES = {
    "TOPIC": "은|는|이|가|을|를|에는|에|=|:",
    "PIECES": "개|쌍|条|條|个|個|只|隻|双|对",
    "INTEGER": "자연수|정수|홀수|짝수|소수|배수|약수|번호|숫자|카드|整数|整數|自然数|自然數|质数|質數|素数"
    "|奇数|偶数|奇數|偶數|倍数|倍數|因数|卡片|编号|号码|数字",
    "PHONE": "전화|연락|핸드폰|휴대폰|휴대전화|팩스|문의|电话|電話|手机|手機|拨打|热线|传真|联系",
    "LESS": "작|적|크|큰|커|많|낮|높|길|긴|짧|무거|무겁|가벼|가볍|늦|빠르|빠른|이르|이른",
    "IS": "共|有|是|为|為|=|等于|等於|就是|共有",
    "TO": "到|至|~|～|—|－",
    "MULTIPLE": "배수|약수|공배수|공약수|최소공배수|최대공약수|인수|소인수|소인수분해",
    "HAN_MULTIPLE": "倍数|倍數|因数|因數|约数|約數|公倍数|公倍數|公因数|公因數|公约数|公約數"
    "|最大公因数|最大公約數|最大公约数|最小公倍数|最小公倍數|整数倍|質因数|质因数|因子",
    "CUBE": "정육면체|직육면체|육면체|正方体|正方體|长方体|長方體|立方体|立方體|直方体",
    "TRIANGLE": "삼각형|三角形",
    "SQUARE": "사각형|정사각형|직사각형|마름모|평행사변형|사다리꼴|正方形|长方形|長方形"
    "|四边形|四邊形|菱形|梯形",
}

# Units of a larger unit. Each row: the smaller unit, how many, the larger unit.
UNITS = [
    ("시간|小时|小時|時間|个小时|個小時", "24", "하루|1일|天|日"),
    ("분|分钟|分鐘|分", "60", "1|한|일|一|每 个|個? 시간|小时|小時|時間"),
    ("초|秒", "60", "1|한|일|一|每 분|分|分钟|分鐘"),
    ("일|天|日", "7", "1|한|일|一|每 个|個? 주|주일|周|星期|礼拜"),
    ("개월|달|个月|個月", "12", "1|한|일|一 년|해|年"),
    ("일|天|日", "365 366", "1|한|일|一 년|해|年"),
    ("개|자루|个|個|支", "12", "1|한|一 다스|打"),
    ("m|미터|米", "1000", "1|一 km|킬로미터|千米|公里"),
    ("cm|센티미터|厘米", "100", "1|一 m|미터|米"),
    ("mm|밀리미터|毫米", "10", "1|一 cm|센티미터|厘米"),
    ("g|그램|克", "1000", "1|一 kg|킬로그램|千克|公斤"),
    ("mL|ml|밀리리터|毫升", "1000", "1|一 L|리터|升"),
    ("kg|킬로그램|千克|公斤", "1000", "1|一 t|톤|吨"),
]

# Things of which everybody knows how many a shape or an animal has. Each row: the thing, how many, whose.
THINGS = [
    ("모서리|棱|条棱|辺", "12", "CUBE"),
    ("면|面|个面", "6", "CUBE|주사위|骰子"),
    ("꼭짓점|꼭지점|顶点|頂點|頂点", "8", "CUBE"),
    ("모서리|棱", "6", "사면체|四面体"),
    ("면|面|꼭짓점|顶点", "4", "사면체|四面体"),
    ("변|각|내각|꼭짓점|边|邊|角|顶点|内角", "3", "TRIANGLE"),
    ("변|각|내각|꼭짓점|边|邊|角|顶点|内角", "4", "SQUARE"),
    ("변|각|내각|꼭짓점|边|邊|角|顶点", "5", "오각형|五边形|五邊形"),
    ("변|각|내각|꼭짓점|边|邊|角|顶点", "6", "육각형|六边形|六邊形"),
    ("변|각|내각|꼭짓점|边|邊|角|顶点", "8", "팔각형|八边形|八邊形"),
    ("다리|발|腿|脚|腳", "2", "닭|오리|鸡|雞|鸭|鸟"),
    ("다리|발|腿|脚|腳", "4", "강아지|고양이|토끼|돼지|염소|소와|소는|말은|책상|의자|狗|猫|牛|马|羊|猪|兔"),
    ("다리|腿|脚", "6", "곤충|개미|나비|昆虫|蚂蚁|蜜蜂|甲虫"),
    ("다리|腿|脚", "8", "거미|문어|蜘蛛|章鱼|螃蟹"),
    ("바퀴|轮|轮子|车轮", "2", "자전거|오토바이|自行车|摩托车"),
    ("바퀴|轮|轮子|车轮", "3", "세발자전거|三轮车"),
    ("바퀴|轮|轮子|车轮", "4", "자동차|승용차|汽车|轿车"),
    ("손가락|발가락|手指|脚趾", "5 10", "사람|손|발|手|脚|人"),
]

HAS = "TOPIC|IS|의|수|모두|총|한 TOPIC|모두|총|한? 모두|총|한?"
COUNT = "의|的? 수|개수|갯수|数|數|数量|个数 TOPIC|IS"

PHRASES = [
    # --- parts of one number: 3시간 반, 1과 3분의 2, 3又1/2
    Phrase("part of a longer number", "", "시간 반 !지|찬|대|드|복|응|납|려"),
    Phrase("part of a longer number", "", "년|달|배 반 !지|찬|대|드|복|응|납|려"),
    Phrase("part of a longer number", "", "과|와|又 N 분의|分之"),
    Phrase("part of a longer number", "N 과|와", "", "", "분의"),
    Phrase("part of a longer number", "", "又 N"),
    Phrase(
        "part of a longer number",
        "",
        "块|塊|米 二|三|四|五|六|七|八|九|半 !个|個|斤|本|只|块|张|支|人|袋|盒|瓶",
    ),
    Phrase("part of a longer number", "N 又"),
    # --- labels
    Phrase("label", "학년|年级|年級", "반|班"),
    Phrase("label", "", "반 !지|찬|대|드|복|응|납|려|값"),
    Phrase("", "", "班 飞机|飛機|车|船|火车|地铁|公交|航班"),
    Phrase("label", "", "班", "", "年级|年級|学生|同学"),
    Phrase(
        "label",
        "",
        "번 버스|문제|마을버스|출구|선수|타자|트랙|게이트|레인|자리|칸|국도|도로|채널|학생|사물함|창구",
    ),
    Phrase("label", "문제|출구|보기|버스|문항|좌석", "번"),
    Phrase("label", "", "동 N 호"),
    Phrase("label", "", "단원|교시|차시|호선|번지|번가"),
    Phrase("label", "", "路 公交|汽车|车|巴士|电车"),
    Phrase("label", "", "号线|号楼|号房|号院|单元|室|楼"),
    Phrase("label", "单元|楼|座", "室|单元|号"),
    Phrase("ordinal", "", "위 !안|원|험|치|해|에"),
    # --- telephone numbers that the areas do not have
    Phrase(
        "label", "拨打|拨|电话|电话是|电话为|号码是|号码为|手机号是|전화번호는|번호는|전화는", "", "", "PHONE"
    ),
    Phrase("label", "", "번으로|으로|로|번에|에 전화|연락|문의|신고"),
    # --- years
    Phrase("date", "'|’|‘", "년|年"),
    Phrase("date", "", "TO|-|–|에서|부터 N 년|年", "YEAR"),
    Phrase("date", "", "년도|학년도|년대|年代|年度|学年"),
    # --- divisors and dividends
    Phrase("divisor", "", "으로|로 각각? 나누어|나눠 각각? 떨어|진|지"),
    Phrase("divisor", "", "으로|로 각각? 나누어떨어|나눠떨어"),
    Phrase("divisor", "", "으로|로 각각? 나누|나눈|나눌|나눴|나눠", "", "나머지"),
    Phrase("divisor", "", "을|를 N 으로|로 나누|나눈|나눌|나눴|나눠", "", "나머지"),
    Phrase("divisor", "", "와|과|, N 으로|로 각각? 나누|나눈|나눌|나눠", "", "나머지|떨어"),
    Phrase("divisor", "", "의 MULTIPLE"),
    Phrase("divisor", "", "와|과|, N 와|과? N? 의 MULTIPLE"),
    Phrase("divisor", "", "와|과 서로소"),
    Phrase("divisor", "", "的|の HAN_MULTIPLE"),
    Phrase("divisor", "", "和|与|與|、|，|と N 和|与|與|、|，? N? 的|の HAN_MULTIPLE"),
    Phrase("divisor", "被", "整除|除"),
    Phrase("divisor", "被", "和|与|、 N 整除|除"),
    Phrase("divisor", "被 N 和|与|、", "整除|除"),
    Phrase("divisor", "整除|模"),
    Phrase("divisor", "除以", "", "", "余|餘"),
    Phrase("divisor", "", "除以 N", "", "余|餘"),
    Phrase("divisor", "", "和|与|與 N 互质|互質|互素"),
    Phrase("divisor", "和|与|與", "互质|互質|互素"),
    Phrase("divisor", "", "で割った|で割ると 余|あまり"),
    Phrase("divisor", "", "で割り切れる|で割り切れ"),
    # --- bounds
    Phrase("bound", "", "보다 더? LESS"),
    Phrase("bound", "", "이하|미만|초과|이내|未満|未满"),
    Phrase("bound", "", "이상 !한|하|해|형|적"),
    Phrase("bound", "", "을|를|이|가 넘|초과"),
    Phrase("bound", "", "이|가|도 안 되|돼|된"),
    Phrase("bound", "", "도? 채? 안|되지 되|않"),
    Phrase("bound", "", "에 못 미치|미쳐"),
    Phrase("bound", "최대|최소|최소한|적어도|많아야|기껏해야|적게는|많게는"),
    Phrase("bound", "", "부터|에서 N 번|쪽|개|명? 까지", "0 1"),
    Phrase("bound", "0|1 번|쪽|개|명? 부터|에서", "까지|사이"),
    Phrase("bound", "", "부터|에서|보다|와|과 N 번? 까지|사이|이하|미만", "", "INTEGER"),
    Phrase("bound", "N 번? 부터|에서|와|과", "까지|사이", "", "INTEGER"),
    Phrase(
        "bound",
        "小于|大于|小於|大於|少于|多于|少於|多於|低于|高于|超过|超過|至少|至多|最多|最少|不足|不到|不满|不滿",
    ),
    Phrase("bound", "小于|大于|小於|大於|少于|多于 或|等于|或等于"),
    Phrase("bound", "", "及|或? 以上|以下|以内|以內|之内|之內|を超える|を超え|より大きい|より小さい"),
    Phrase("bound", "", "TO N", "0 1", "INTEGER|之间|之間|中"),
    Phrase("bound", "0|1 TO", "", "", "INTEGER|之间|之間|中"),
    Phrase("bound", "", "TO|和|与|與 N 之间|之間", "", "INTEGER"),
    Phrase("bound", "N TO|和|与|與", "之间|之間", "", "INTEGER"),
    # --- definitions
    Phrase(
        "definition",
        "원주율|圆周率|圓周率|円周率|π TOPIC|取|IS|约|按|用?",
        "",
        "3 3.1 3.14 3.142 3.1416 22/7",
    ),
    Phrase("definition", "", "도|°|度|°C", "180", "각의 합|각의 크기의 합|내각|平角|内角和|角之和"),
    Phrase("definition", "", "도|°|度", "90", "직각|直角"),
    Phrase("definition", "", "도|°|度", "360"),
    Phrase("definition", "", "년|시간|분|주일|주|다스|일 TOPIC N 시간|분|초|일|개월|달|자루|개", "1"),
    Phrase("definition", "", "年|天|小时|个小时|分钟|周|个星期|打|日 IS N 天|小时|分|秒|个月|个", "1"),
    Phrase("definition", "", "km|m|cm|kg|L|t|ℓ TOPIC|IS N m|cm|mm|g|kg|mL|ml", "1"),
    Phrase("pronoun", "", "인|명|개|시간|분|일|쪽|권|장|마리|kg|km|L|g|m 당 !근|나귀", "1"),
    Phrase("pronoun", "", "인당 !근|나귀", "1"),
]
PHRASES += [Phrase("definition", f"{large} TOPIC|IS", small, count) for small, count, large in UNITS]
# "the edges are 12 cm" says no count
PHRASES += [Phrase("definition", f"{thing} {HAS}", "PIECES", count, whose) for thing, count, whose in THINGS]
PHRASES += [Phrase("definition", f"{thing} {COUNT}", "", count, whose) for thing, count, whose in THINGS]
PHRASES += [Phrase("definition", "", f"의? {thing}", count, whose) for thing, count, whose in THINGS]
