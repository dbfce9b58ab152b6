"""One sentence in several languages and scripts, and text that mixes two of them."""

EN = "On Monday, scientists from Stanford announced the invention of a new diagnostic tool."
DE = "Am Montag haben Wissenschaftler aus Stanford die Erfindung eines neuen Diagnosetools bekanntgegeben."
ZH = "周一，斯坦福大学的科学家宣布发明了一种新型诊断工具。"
JA = "月曜日に、スタンフォード大学の科学者たちは新しい診断ツールの発明を発表しました。"
TH = "เมื่อวันจันทร์ นักวิทยาศาสตร์จากสแตนฟอร์ดได้ประกาศการประดิษฐ์เครื่องมือวินิจฉัยใหม่"
AR = "أعلن علماء من جامعة ستانفورد يوم الاثنين عن اختراع أداة تشخيصية جديدة."
RU = "В понедельник учёные из Стэнфорда объявили об изобретении нового диагностического инструмента."
UK = "У понеділок вчені зі Стенфорда оголосили про винахід нового діагностичного інструменту."


def halves(source: str, target: str) -> str:
    """The first half of the source, then the second of its translation."""
    begin, end = source.split(), target.split()
    return " ".join([*begin[: len(begin) // 2], *end[len(end) // 2 :]])
