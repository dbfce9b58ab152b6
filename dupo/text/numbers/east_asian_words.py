"""The words beside a Korean, Chinese or Japanese number. Twin of csrc/numbers_east_asian_words.hpp."""


def _words_of(words: str) -> tuple[str, ...]:
    return tuple(words.split())


# Behind a number in Chinese or Japanese words.
HAN_COUNTERS = _words_of(
    "个 個 箇 只 隻 人 名 位 本 冊 册 张 張 支 枝 条 條 辆 輛 台 臺 块 塊 元 圆 圓 円 岁 歲 歳 才 天"
    " 年 周 週 秒 米 斤 克 吨 噸 升 次 回 件 双 雙 对 對 瓶 杯 盒 箱 包 袋 盘 盤 碗 朵 棵 头 頭 匹 家"
    " 间 間 层 層 页 頁 题 題 道 种 種 组 組 排 行 列 班 把 颗 顆 粒 枚 艘 架 根 份 堆 群 串 节 節 句"
    " 篇 首 幅 座 栋 棟 羽 足 着 通 步 歩 倍 小时 小時 分钟 分鐘 分間 時間 公里 千米 千克 厘米 毫米"
    " 平方 立方 毫升 公斤 公升 英里 美元 欧元 日元 星期 礼拜 ヶ月 か月 カ月 つ 日間 日间 月 日 号 號"
    " 点 點 時 世纪 世紀 届 番"
)
# Behind a half: 半小时.
HAN_HALVED = _words_of("小时 小時 個 个 天 年 斤 公斤 杯 瓶 碗 块 塊 圈 時間 日")
HAN_MONEY = _words_of("元 圆 圓 円 块钱 塊錢 美元 欧元 日元 人民币 ドル ユーロ")
# 几十个, 星期三, 周三: the numeral behind is no number. 大半年, 上半年: no half.
NO_NUMBER_BEFORE = "几幾数數期周週曜礼禮拜初"
NO_HALF_BEFORE = "大多小过過前后後上下另月个個天年时時斤杯瓶碗块塊点點"
# Behind a number in Korean words of the native kind: 세 개, 열두 마리.
NATIVE_COUNTERS = _words_of(
    "개 명 살 권 장 대 병 잔 컵 채 벌 번 배 달 쌍 판 줄 쪽 곳 칸 척 통 팀 주 수 변 각 점 층 끼 분 시"
    " 마리 자루 켤레 송이 그루 사람 가지 상자 봉지 조각 접시 그릇 다발 박스 모둠 묶음 친구 형제 자매"
    " 학생 아이 자리 도시 학교 과목 종류 바구니 꾸러미 포기 방울 숟가락 스푼 바퀴 걸음 아들 딸 여자"
    " 남자 동생 회사 가게 양동이 주머니 그룹 세트 팩 캔"
)
# Without a blank between, one syllable asks for more: 세대 is a generation.
KOREAN_ATTACHED = _words_of("개 명 마리 살 권 병 시간 배 번 사람 가지 자루")
# Behind a number in Korean words of the Chinese kind: 이백오십 원.
SINO_COUNTERS = _words_of(
    "원 명 개 분 초 년 킬로 미터 센티 밀리 퍼센트 층 번 쪽 페이지 점 도 달러 그램 리터 인분 시간 주"
    " 마리 권 장 대 그루 살 세 인 톤 평 회 쌍 배 가구 상자 송이 병 자루 사람"
)
# Behind digits or a number with scales in an answer: units whose numerals are no words of their own.
_UNITS_OF_ANSWERS = (
    "초 일 개월 월 년 세 회 엔 위안 유로 센티미터 킬로미터 밀리미터 킬로그램 밀리리터 分 月間 年間 度 円 ドル"
    " 块钱 塊錢 人民币 平方米 立方米 平方厘米 立方厘米 个月 個月 个小时 個小時 个人 個人 匙"
)
# A single numeral is a syllable of many words; 이 and 일 are left out.
SINO_SINGLES = "삼사오육칠팔구십백천만"
SINO_SINGLE_COUNTERS = _words_of(
    "원 명 개 분 초 년 킬로 미터 센티 퍼센트 층 달러 그램 리터 인분 시간 마리 권 장 도 점 주"
)
# What may follow the number of an answer without another meaning. Three times (배, 倍) is no three.
COUNTERS = frozenset(_UNITS_OF_ANSWERS.split()).union(HAN_COUNTERS, NATIVE_COUNTERS, SINO_COUNTERS)
COUNTERS -= {"배", "倍"}
# Units that no number in words stands before.
MEASURES = _words_of(
    "개월 세 살 ° °C % cm mm km m kg mg g mL ml L ℓ t ㎝ ㎞ ㎏ ㎡ cm² m² km² 度 厘米 千米 公斤 分钟 小时 个月"
)
KOREAN_MONEY = _words_of("원 달러 엔 위안 유로")
# What may follow 배, times: 세 배로, but not 배추.
AFTER_TIMES = "로의가는만이인보나큼였입다를와도 .,?!)"
SHARE_MARKS = ("분의", "分之", "分の")
# What may follow 삼분의 이, two thirds: 이를, but not 이상.
AFTER_SHARE = "은는이가을를의로와과도만에다입였인씩보배"
POINTS = "点點"
# A point in words stands before a measure: 一点五米, but 八点三人 is an hour and three people.
NO_POINT_BEFORE = "人名位只隻本张張家"
# "these five": words and characters before a number that only points back.
POINTING_CHARS = "这這那该該"
POINTING_WORDS = ("이", "그", "저")
# Marks behind a number: 세 of $7$세 is "years old".
NO_WORD_AFTER = "$%°℃㎝㎞㎏㎡)]}"
DURATIONS = (" 동안", "동안", "간", " 간", "째")
