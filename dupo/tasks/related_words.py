"""Words that tell Indonesian from Malay, of which py3langid knows too little.

Written by `python -m bench.text.related_words shared/data/flores_dev`: fitted on the lines 1, 3, 5, ... of
FLORES-200 dev.
"""

from collections.abc import Iterable

from dupo.tasks.languages import language_of
from dupo.tasks.words import words_of

_ID = """
agen alasan area badai bagian bahwa berarti berbeda berwenang biaya bisa dekade dingin elemen energi es
hal hewan hukum ilmuwan informasi internasional izin karena kartu kecelakaan kecepatan kemampuan
kendaraan kondisi korban lainnya layanan lewat lokal maskapai maupun memakai memulai mencoba mengamati
meskipun mil misalnya mobil modern pajak pasar per pernyataan persyaratan perusahaan populer publik
resmi saat saja sebagian selanjutnya situs stasiun sulit tanggal terbatas tubuh turis warga wisata
wisatawan yaitu â
"""
_MS = """
ais amat antarabangsa asas badan bahagian baharu bahawa bandar beliau berbanding berbeza berkenaan
berkuasa bermaksud boleh cuba dibina dicapai dikenali ejen haiwan iaitu ialah kajian kanak kawalan kekal
kelajuan kemahiran kemalangan kenderaan keperluan kerana kes kesan keupayaan kuasa kumpulan laluan laman
lelaki lepas maklumat memandu membolehkan mempunyai menyertai mesti moden pakar pasaran pegawai
pelancong pelancongan pelbagai pembinaan pengembara perkara perkataan perkhidmatan permit perubatan
perundangan pusingan rakan rakyat rasmi ribut sahaja saintis sebahagian sebarang sejuk sekiranya selepas
semasa semula sokongan stesen sukar syarikat talian tapak tarikan tempahan tempatan tempoh tentera
terdapat terhad terutamanya tiada
"""
TELLING_WORDS = {"id": frozenset(_ID.split()), "ms": frozenset(_MS.split())}
WORD_LOG_ODDS = 4.0  # nats of one word, beside those of py3langid


def told_apart(words: Iterable[str], code: str, other: str) -> int:
    """Returns by how many the words of one language outnumber those of the other; 0 for other languages."""
    first, second = (TELLING_WORDS.get(language_of(language)) for language in (code, other))
    # A language alone tells nothing: its words may stand in any third language.
    if first is None or second is None:
        return 0
    return sum((word in first) - (word in second) for word in words)


def telling_log_odds(text: str, code: str, other: str) -> float:
    """Returns the log-odds of telling words, for one language against the other, in nats."""
    if code not in TELLING_WORDS or other not in TELLING_WORDS:
        return 0.0
    return WORD_LOG_ODDS * told_apart((word.key for word in words_of(text)), code, other)
