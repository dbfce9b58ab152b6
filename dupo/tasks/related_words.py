"""Words that tell Indonesian from Malay, of which py3langid knows too little.

What the two standards spell or say otherwise (karena and kerana, kualitas and kualiti, polisi and polis),
written from knowledge of both. `python -m bench.text.related_words shared/data/flores_dev` names the words
that FLORES-200 dev, lines 1, 3, 5, ..., contradicts; these were taken out.
"""

from collections.abc import Iterable

from dupo.tasks.languages import language_of
from dupo.tasks.words import words_of

_ID = """
agen aktivitas aktor alasan apel area arkeolog badai bagian bahwa bandara bensin beragam berarti berbeda
berbicara berkunjung berpikir berwenang besok biaya bisa bisnis bus butuh coba danau dekade delapan
departemen desain dibandingkan dibangun dibutuhkan dicoba didukung dingin dinosaurus dirayakan direktur
dokter domba dukungan ekspor energi es fasilitas film gedung gratis grup hewan hukum identitas ilmuwan
impor informasi intensitas internasional investasi izin jembatan jumat kabupaten kamar kandidat kanker
kantor kapasitas karena kartu kasus keamanan kebutuhan kecamatan kecelakaan kecepatan kejuaraan
kemampuan kemarin kendaraan kepolisian kesehatan kesulitan keuangan klub komunitas kondisi konstruksi
kontrol koran korban kualitas kuantitas kursi lainnya laki lantai layanan layar ledakan lewat liburan
listrik lokal mahasiswa manajemen manajer maskapai maupun mayoritas medali medis meledak memakai
membutuhkan memulai mencoba mendukung meneliti mengamati mengontrol menit merayakan merek meskipun mil
miliar militer minoritas mobil modern musik musisi nol nomor obat obatan olahraga otoritas pabrik pajak
paket pariwisata partai pasien pelatih pembicaraan pemesanan pendukung peneliti penelitian pengadilan
perawat perbedaan percobaan pernyataan persen persyaratan perusahaan pikir polusi popularitas populer
posisi pria prioritas produktivitas provinsi proyek publik realitas resmi rute saat saja salju sapi
sebagian sehat sekretaris selanjutnya selebritas senin sepatu sepeda seperempat setidaknya sinyal siswa
situs solusi stabilitas stadion stasiun sulit sutradara taksi tanggal televisi teman tentara terbatas
terinfeksi tetangga tim toko ton transportasi triliun truk tubuh turis turnamen uang universitas usai
wisata wisatawan yaitu
"""
_MS = """
ais akhbar aktiviti amat antarabangsa badan bahagian baharu bahawa bandar bas basikal beliau berbanding
berbeza bercakap bererti berfikir berkenaan berkuasa bilik bilion binaan boleh cuba cuti dekad dibina
dicuba dijangkiti dijumpai dikenali dilawati dinosaur dipanggil diraikan disokong doktor ejen eksport
elektrik epal esok fasiliti fikir filem haiwan iaitu ialah identiti import intensiti isnin isyarat
jabatan jambatan jangkitan jenama jiran jumaat jurucakap jurulatih jururawat kajian kanak kanser
kapasiti kasut kawalan kedai kedudukan kejohanan kekal kelab kelajuan kemahiran kemalangan kenderaan
keperluan kerana kerusi kes kesan kesihatan kestabilan kesukaran ketenteraan keupayaan kewangan kilang
komuniti kos kualiti kuantiti kuasa kumpulan laluan laman lapan lawatan lelaki lembu lepas letupan
mahupun majoriti maklumat mangsa melawat meletup memandu membina membolehkan mencuba menempah mengawal
mengkaji menjumpai menyertai menyokong meraikan mesti minit minoriti moden motosikal muzik nombor pakar
pakej parti pegawai pelabur pelaburan pelakon pelancong pelancongan pelawat pelbagai pemandu pembinaan
pemuzik pengarah pengembara pengurus pengurusan penyelesaian penyelidik penyokong peperiksaan peratus
perbezaan percakapan percubaan percuma percutian perkara perkataan perkhidmatan perniagaan perubatan
perundangan pesakit petrol pingat pokok popular prioriti produktiviti projek pusingan rakan rangkaian
rasmi realiti reka ribut sahaja saintis salji sebahagian sebarang sejuk sekiranya selebriti selepas
semalam semasa semula setiausaha sifar sihat skrin sokongan stadium stesen sukan sukar syarikat talian
tan tapak tarikh tasik teksi televisyen tempahan tempatan tempoh tentera terdapat terhad terutamanya
tiada tingkap trak trilion ubat ubatan universiti wang
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
