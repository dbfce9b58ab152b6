// The phrases beside a number of East Asian text that tell why the number may not be hidden.
//
// The rows and classes are those of dupo/text/numbers/east_asian_phrase_table.py, which explains them; a test
// compares the two files.
#pragma once

#include "numbers_phrase_table.hpp"

namespace dupo::east_asian {

using phrases::Class;
using phrases::Count;
using phrases::Phrase;

constexpr Class classes[] = {
    {U"TOPIC", U"은|는|이|가|을|를|에는|에|=|:"},
    {U"PIECES", U"개|쌍|条|條|个|個|只|隻|双|对"},
    {U"INTEGER",
     U"자연수|정수|홀수|짝수|소수|배수|약수|번호|숫자|카드|整数|整數|自然数|自然數|质数|質數|素数|奇数|偶数|"
     U"奇數|偶數|倍数|倍數|因数|卡片|编号|号码|数字"},
    {U"PHONE", U"전화|연락|핸드폰|휴대폰|휴대전화|팩스|문의|电话|電話|手机|手機|拨打|热线|传真|联系"},
    {U"LESS", U"작|적|크|큰|커|많|낮|높|길|긴|짧|무거|무겁|가벼|가볍|늦|빠르|빠른|이르|이른"},
    {U"IS", U"共|有|是|为|為|=|等于|等於|就是|共有"},
    {U"TO", U"到|至|~|～|—|－"},
    {U"MULTIPLE", U"배수|약수|공배수|공약수|최소공배수|최대공약수|인수|소인수|소인수분해"},
    {U"HAN_MULTIPLE",
     U"倍数|倍數|因数|因數|约数|約數|公倍数|公倍數|公因数|公因數|公约数|公約數|最大公因数|最大公約數|"
     U"最大公约数|"
     U"最小公倍数|最小公倍數|整数倍|質因数|质因数|因子"},
    {U"CUBE", U"정육면체|직육면체|육면체|正方体|正方體|长方体|長方體|立方体|立方體|直方体"},
    {U"TRIANGLE", U"삼각형|三角形"},
    {U"SQUARE",
     U"사각형|정사각형|직사각형|마름모|평행사변형|사다리꼴|正方形|长方形|長方形|四边形|四邊形|菱形|梯形"},
};

// The smaller unit, how many, the larger unit.
constexpr Count units[] = {
    {U"시간|小时|小時|時間|个小时|個小時", U"24", U"하루|1일|天|日"},
    {U"분|分钟|分鐘|分", U"60", U"1|한|일|一|每 个|個? 시간|小时|小時|時間"},
    {U"초|秒", U"60", U"1|한|일|一|每 분|分|分钟|分鐘"},
    {U"일|天|日", U"7", U"1|한|일|一|每 个|個? 주|주일|周|星期|礼拜"},
    {U"개월|달|个月|個月", U"12", U"1|한|일|一 년|해|年"},
    {U"일|天|日", U"365 366", U"1|한|일|一 년|해|年"},
    {U"개|자루|个|個|支", U"12", U"1|한|一 다스|打"},
    {U"m|미터|米", U"1000", U"1|一 km|킬로미터|千米|公里"},
    {U"cm|센티미터|厘米", U"100", U"1|一 m|미터|米"},
    {U"mm|밀리미터|毫米", U"10", U"1|一 cm|센티미터|厘米"},
    {U"g|그램|克", U"1000", U"1|一 kg|킬로그램|千克|公斤"},
    {U"mL|ml|밀리리터|毫升", U"1000", U"1|一 L|리터|升"},
    {U"kg|킬로그램|千克|公斤", U"1000", U"1|一 t|톤|吨"},
};

// The thing, how many, whose.
constexpr Count things[] = {
    {U"모서리|棱|条棱|辺", U"12", U"CUBE"},
    {U"면|面|个面", U"6", U"CUBE|주사위|骰子"},
    {U"꼭짓점|꼭지점|顶点|頂點|頂点", U"8", U"CUBE"},
    {U"모서리|棱", U"6", U"사면체|四面体"},
    {U"면|面|꼭짓점|顶点", U"4", U"사면체|四面体"},
    {U"변|각|내각|꼭짓점|边|邊|角|顶点|内角", U"3", U"TRIANGLE"},
    {U"변|각|내각|꼭짓점|边|邊|角|顶点|内角", U"4", U"SQUARE"},
    {U"변|각|내각|꼭짓점|边|邊|角|顶点", U"5", U"오각형|五边形|五邊形"},
    {U"변|각|내각|꼭짓점|边|邊|角|顶点", U"6", U"육각형|六边形|六邊形"},
    {U"변|각|내각|꼭짓점|边|邊|角|顶点", U"8", U"팔각형|八边形|八邊形"},
    {U"다리|발|腿|脚|腳", U"2", U"닭|오리|鸡|雞|鸭|鸟"},
    {U"다리|발|腿|脚|腳", U"4",
     U"강아지|고양이|토끼|돼지|염소|소와|소는|말은|책상|의자|狗|猫|牛|马|羊|猪|兔"},
    {U"다리|腿|脚", U"6", U"곤충|개미|나비|昆虫|蚂蚁|蜜蜂|甲虫"},
    {U"다리|腿|脚", U"8", U"거미|문어|蜘蛛|章鱼|螃蟹"},
    {U"바퀴|轮|轮子|车轮", U"2", U"자전거|오토바이|自行车|摩托车"},
    {U"바퀴|轮|轮子|车轮", U"3", U"세발자전거|三轮车"},
    {U"바퀴|轮|轮子|车轮", U"4", U"자동차|승용차|汽车|轿车"},
    {U"손가락|발가락|手指|脚趾", U"5 10", U"사람|손|발|手|脚|人"},
};

// Between a thing and how many there are.
constexpr Text has = U"TOPIC|IS|의|수|모두|총|한 TOPIC|모두|총|한? 모두|총|한?";
constexpr Text count = U"의|的? 수|개수|갯수|数|數|数量|个数 TOPIC|IS";

constexpr Phrase rows[] = {
    {Reason::part_of_longer, U"", U"시간 반 !지|찬|대|드|복|응|납|려", U"", U""},
    {Reason::part_of_longer, U"", U"년|달|배 반 !지|찬|대|드|복|응|납|려", U"", U""},
    {Reason::part_of_longer, U"", U"과|와|又 N 분의|分之", U"", U""},
    {Reason::part_of_longer, U"N 과|와", U"", U"", U"분의"},
    {Reason::part_of_longer, U"", U"又 N", U"", U""},
    {Reason::part_of_longer, U"", U"块|塊|米 二|三|四|五|六|七|八|九|半 !个|個|斤|本|只|块|张|支|人|袋|盒|瓶",
     U"", U""},
    {Reason::part_of_longer, U"N 又", U"", U"", U""},
    {Reason::label, U"학년|年级|年級", U"반|班", U"", U""},
    {Reason::label, U"", U"반 !지|찬|대|드|복|응|납|려|값", U"", U""},
    {Reason::none, U"", U"班 飞机|飛機|车|船|火车|地铁|公交|航班", U"", U""},
    {Reason::label, U"", U"班", U"", U"年级|年級|学生|同学"},
    {Reason::label, U"",
     U"번 버스|문제|마을버스|출구|선수|타자|트랙|게이트|레인|자리|칸|국도|도로|채널|학생|사물함|창구", U"",
     U""},
    {Reason::label, U"문제|출구|보기|버스|문항|좌석", U"번", U"", U""},
    {Reason::label, U"", U"동 N 호", U"", U""},
    {Reason::label, U"", U"단원|교시|차시|호선|번지|번가", U"", U""},
    {Reason::label, U"", U"路 公交|汽车|车|巴士|电车", U"", U""},
    {Reason::label, U"", U"号线|号楼|号房|号院|单元|室|楼", U"", U""},
    {Reason::label, U"单元|楼|座", U"室|单元|号", U"", U""},
    {Reason::ordinal, U"", U"위 !안|원|험|치|해|에", U"", U""},
    {Reason::label, U"拨打|拨|电话|电话是|电话为|号码是|号码为|手机号是|전화번호는|번호는|전화는", U"", U"",
     U"PHONE"},
    {Reason::label, U"", U"번으로|으로|로|번에|에 전화|연락|문의|신고", U"", U""},
    {Reason::date, U"'|’|‘", U"년|年", U"", U""},
    {Reason::date, U"", U"TO|-|–|에서|부터 N 년|年", U"YEAR", U""},
    {Reason::date, U"", U"년도|학년도|년대|年代|年度|学年", U"", U""},
    {Reason::divisor, U"", U"으로|로 각각? 나누어|나눠 각각? 떨어|진|지", U"", U""},
    {Reason::divisor, U"", U"으로|로 각각? 나누어떨어|나눠떨어", U"", U""},
    {Reason::divisor, U"", U"으로|로 각각? 나누|나눈|나눌|나눴|나눠", U"", U"나머지"},
    {Reason::divisor, U"", U"을|를 N 으로|로 나누|나눈|나눌|나눴|나눠", U"", U"나머지"},
    {Reason::divisor, U"", U"와|과|, N 으로|로 각각? 나누|나눈|나눌|나눠", U"", U"나머지|떨어"},
    {Reason::divisor, U"", U"의 MULTIPLE", U"", U""},
    {Reason::divisor, U"", U"와|과|, N 와|과? N? 의 MULTIPLE", U"", U""},
    {Reason::divisor, U"", U"와|과 서로소", U"", U""},
    {Reason::divisor, U"", U"的|の HAN_MULTIPLE", U"", U""},
    {Reason::divisor, U"", U"和|与|與|、|，|と N 和|与|與|、|，? N? 的|の HAN_MULTIPLE", U"", U""},
    {Reason::divisor, U"被", U"整除|除", U"", U""},
    {Reason::divisor, U"被", U"和|与|、 N 整除|除", U"", U""},
    {Reason::divisor, U"被 N 和|与|、", U"整除|除", U"", U""},
    {Reason::divisor, U"整除|模", U"", U"", U""},
    {Reason::divisor, U"除以", U"", U"", U"余|餘"},
    {Reason::divisor, U"", U"除以 N", U"", U"余|餘"},
    {Reason::divisor, U"", U"和|与|與 N 互质|互質|互素", U"", U""},
    {Reason::divisor, U"和|与|與", U"互质|互質|互素", U"", U""},
    {Reason::divisor, U"", U"で割った|で割ると 余|あまり", U"", U""},
    {Reason::divisor, U"", U"で割り切れる|で割り切れ", U"", U""},
    {Reason::bound, U"", U"보다 더? LESS", U"", U""},
    {Reason::bound, U"", U"이하|미만|초과|이내|未満|未满", U"", U""},
    {Reason::bound, U"", U"이상 !한|하|해|형|적", U"", U""},
    {Reason::bound, U"", U"을|를|이|가 넘|초과", U"", U""},
    {Reason::bound, U"", U"이|가|도 안 되|돼|된", U"", U""},
    {Reason::bound, U"", U"도? 채? 안|되지 되|않", U"", U""},
    {Reason::bound, U"", U"에 못 미치|미쳐", U"", U""},
    {Reason::bound, U"최대|최소|최소한|적어도|많아야|기껏해야|적게는|많게는", U"", U"", U""},
    {Reason::bound, U"", U"부터|에서 N 번|쪽|개|명? 까지", U"0 1", U""},
    {Reason::bound, U"0|1 번|쪽|개|명? 부터|에서", U"까지|사이", U"", U""},
    {Reason::bound, U"", U"부터|에서|보다|와|과 N 번? 까지|사이|이하|미만", U"", U"INTEGER"},
    {Reason::bound, U"N 번? 부터|에서|와|과", U"까지|사이", U"", U"INTEGER"},
    {Reason::bound,
     U"小于|大于|小於|大於|少于|多于|少於|多於|低于|高于|超过|超過|至少|至多|最多|最少|不足|不到|不满|不滿",
     U"", U"", U""},
    {Reason::bound, U"小于|大于|小於|大於|少于|多于 或|等于|或等于", U"", U"", U""},
    {Reason::bound, U"", U"及|或? 以上|以下|以内|以內|之内|之內|を超える|を超え|より大きい|より小さい", U"",
     U""},
    {Reason::bound, U"", U"TO N", U"0 1", U"INTEGER|之间|之間|中"},
    {Reason::bound, U"0|1 TO", U"", U"", U"INTEGER|之间|之間|中"},
    {Reason::bound, U"", U"TO|和|与|與 N 之间|之間", U"", U"INTEGER"},
    {Reason::bound, U"N TO|和|与|與", U"之间|之間", U"", U"INTEGER"},
    {Reason::definition, U"원주율|圆周率|圓周率|円周率|π TOPIC|取|IS|约|按|用?", U"",
     U"3 3.1 3.14 3.142 3.1416 22/7", U""},
    {Reason::definition, U"", U"도|°|度|°C", U"180", U"각의 합|각의 크기의 합|내각|平角|内角和|角之和"},
    {Reason::definition, U"", U"도|°|度", U"90", U"직각|直角"},
    {Reason::definition, U"", U"도|°|度", U"360", U""},
    {Reason::definition, U"", U"년|시간|분|주일|주|다스|일 TOPIC N 시간|분|초|일|개월|달|자루|개", U"1", U""},
    {Reason::definition, U"", U"年|天|小时|个小时|分钟|周|个星期|打|日 IS N 天|小时|分|秒|个月|个", U"1",
     U""},
    {Reason::definition, U"", U"km|m|cm|kg|L|t|ℓ TOPIC|IS N m|cm|mm|g|kg|mL|ml", U"1", U""},
    {Reason::pronoun, U"", U"인|명|개|시간|분|일|쪽|권|장|마리|kg|km|L|g|m 당 !근|나귀", U"1", U""},
    {Reason::pronoun, U"", U"인당 !근|나귀", U"1", U""},
};

}  // namespace dupo::east_asian
