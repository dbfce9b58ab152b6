// The words beside a Korean, Chinese or Japanese number. Twin of dupo/text/numbers/east_asian_words.py.
#pragma once

#include <cstddef>

#include "utf8.hpp"

namespace dupo {

// Behind a number in Chinese or Japanese words.
constexpr Text han_counters[] = {
    U"个",   U"個",   U"箇",   U"只",   U"隻",   U"人",   U"名",   U"位",   U"本",   U"冊",   U"册",
    U"张",   U"張",   U"支",   U"枝",   U"条",   U"條",   U"辆",   U"輛",   U"台",   U"臺",   U"块",
    U"塊",   U"元",   U"圆",   U"圓",   U"円",   U"岁",   U"歲",   U"歳",   U"才",   U"天",   U"年",
    U"周",   U"週",   U"秒",   U"米",   U"斤",   U"克",   U"吨",   U"噸",   U"升",   U"次",   U"回",
    U"件",   U"双",   U"雙",   U"对",   U"對",   U"瓶",   U"杯",   U"盒",   U"箱",   U"包",   U"袋",
    U"盘",   U"盤",   U"碗",   U"朵",   U"棵",   U"头",   U"頭",   U"匹",   U"家",   U"间",   U"間",
    U"层",   U"層",   U"页",   U"頁",   U"题",   U"題",   U"道",   U"种",   U"種",   U"组",   U"組",
    U"排",   U"行",   U"列",   U"班",   U"把",   U"颗",   U"顆",   U"粒",   U"枚",   U"艘",   U"架",
    U"根",   U"份",   U"堆",   U"群",   U"串",   U"节",   U"節",   U"句",   U"篇",   U"首",   U"幅",
    U"座",   U"栋",   U"棟",   U"羽",   U"足",   U"着",   U"通",   U"步",   U"歩",   U"倍",   U"小时",
    U"小時", U"分钟", U"分鐘", U"分間", U"時間", U"公里", U"千米", U"千克", U"厘米", U"毫米", U"平方",
    U"立方", U"毫升", U"公斤", U"公升", U"英里", U"美元", U"欧元", U"日元", U"星期", U"礼拜", U"ヶ月",
    U"か月", U"カ月", U"つ",   U"日間", U"日间", U"月",   U"日",   U"号",   U"號",   U"点",   U"點",
    U"時",   U"世纪", U"世紀", U"届",   U"番"};
// Behind a half: 半小时.
constexpr Text han_halved[] = {U"小时", U"小時", U"個", U"个", U"天", U"年", U"斤",   U"公斤",
                               U"杯",   U"瓶",   U"碗", U"块", U"塊", U"圈", U"時間", U"日"};
// Units of money.
constexpr Text han_money[] = {U"元",   U"圆",   U"圓",   U"円",     U"块钱", U"塊錢",
                              U"美元", U"欧元", U"日元", U"人民币", U"ドル", U"ユーロ"};
constexpr Text korean_money[] = {U"원", U"달러", U"엔", U"위안", U"유로"};
// 几十个, 星期三, 周三: the numeral behind is no number. 大半年, 上半年: no half.
constexpr Text no_number_before = U"几幾数數期周週曜礼禮拜初";
constexpr Text no_half_before = U"大多小过過前后後上下另月个個天年时時斤杯瓶碗块塊点點";
// Behind a number in Korean words of the native kind: 세 개, 열두 마리.
constexpr Text native_counters[] = {
    U"개",   U"명",   U"살",     U"권",     U"장",     U"대",   U"병",   U"잔",   U"컵",     U"채",
    U"벌",   U"번",   U"배",     U"달",     U"쌍",     U"판",   U"줄",   U"쪽",   U"곳",     U"칸",
    U"척",   U"통",   U"팀",     U"주",     U"수",     U"변",   U"각",   U"점",   U"층",     U"끼",
    U"분",   U"시",   U"마리",   U"자루",   U"켤레",   U"송이", U"그루", U"사람", U"가지",   U"상자",
    U"봉지", U"조각", U"접시",   U"그릇",   U"다발",   U"박스", U"모둠", U"묶음", U"친구",   U"형제",
    U"자매", U"학생", U"아이",   U"자리",   U"도시",   U"학교", U"과목", U"종류", U"바구니", U"꾸러미",
    U"포기", U"방울", U"숟가락", U"스푼",   U"바퀴",   U"걸음", U"아들", U"딸",   U"여자",   U"남자",
    U"동생", U"회사", U"가게",   U"양동이", U"주머니", U"그룹", U"세트", U"팩",   U"캔"};
// Without a blank between, one syllable asks for more: 세대 is a generation.
constexpr Text korean_attached[] = {U"개",   U"명", U"마리", U"살",   U"권",   U"병",
                                    U"시간", U"배", U"번",   U"사람", U"가지", U"자루"};
// Behind a number in Korean words of the Chinese kind: 이백오십 원.
constexpr Text sino_counters[] = {
    U"원", U"명",   U"개", U"분",     U"초",   U"년",   U"킬로", U"미터", U"센티", U"밀리", U"퍼센트",
    U"층", U"번",   U"쪽", U"페이지", U"점",   U"도",   U"달러", U"그램", U"리터", U"인분", U"시간",
    U"주", U"마리", U"권", U"장",     U"대",   U"그루", U"살",   U"세",   U"인",   U"톤",   U"평",
    U"회", U"쌍",   U"배", U"가구",   U"상자", U"송이", U"병",   U"자루", U"사람"};
// A single numeral is a syllable of many words; 이 and 일 are left out.
constexpr Text sino_singles = U"삼사오육칠팔구십백천만";
constexpr Text sino_single_counters[] = {
    U"원",   U"명",   U"개",   U"분",   U"초",   U"년",   U"킬로", U"미터", U"센티", U"퍼센트", U"층",
    U"달러", U"그램", U"리터", U"인분", U"시간", U"마리", U"권",   U"장",   U"도",   U"점",     U"주"};
// What may follow 배, times: 세 배로, but not 배추.
constexpr Text after_times = U"로의가는만이인보나큼였입다를와도 .,?!)";
// 3분의 2, 三分之二.
constexpr Text share_marks[] = {U"분의", U"分之", U"分の"};
// What may follow 삼분의 이, two thirds: 이를, but not 이상.
constexpr Text after_share = U"은는이가을를의로와과도만에다입였인씩보배";
constexpr Text points = U"点點";
// A point in words stands before a measure: 一点五米, but 八点三人 is an hour and three people.
constexpr Text no_point_before = U"人名位只隻本张張家";
// Marks behind a number: 세 of $7$세 is "years old".
constexpr Text no_word_after = U"$%°℃㎝㎞㎏㎡)]}";
// Units that no number in words stands before.
constexpr Text measures[] = {U"개월", U"세", U"살",   U"°",    U"°C",   U"%",    U"cm",   U"mm",
                             U"km",   U"m",  U"kg",   U"mg",   U"g",    U"mL",   U"ml",   U"L",
                             U"ℓ",    U"t",  U"㎝",   U"㎞",   U"㎏",   U"㎡",   U"cm²",  U"m²",
                             U"km²",  U"度", U"厘米", U"千米", U"公斤", U"分钟", U"小时", U"个月"};
// "these five": characters and words before a number that only points back.
constexpr Text pointing_chars = U"这這那该該";
constexpr Text pointing_words = U"이그저";
// 5년 동안, five years.
constexpr Text durations[] = {U" 동안", U"동안", U"간", U" 간", U"째"};
// Behind a number that is no quantity.
constexpr Text half_after[] = {U"个半",   U"個半",   U"年半", U"天半", U"小时半",
                               U"小時半", U"時間半", U"点半", U"點半"};
constexpr Text ordinal_after[] = {U"번째", U"번 째", U"째", U"등", U"세기", U"世纪", U"世紀", U"届", U"番目"};
constexpr Text label_after[] = {U"학년", U"호", U"年级", U"年級", U"年生"};

template <typename Words>
bool starts_with_one_of(Text text, std::size_t at, const Words& words) {
    if (at > text.size()) return false;
    for (const Text word : words) {
        if (text.substr(at, word.size()) == word) return true;
    }
    return false;
}

}  // namespace dupo
