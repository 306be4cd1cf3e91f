"""Text in DICOM's character sets, against the bytes that PS3.5 annexes H to K print.

Not covered: right-to-left display. Of single-byte sets the standard prints no example; a
word of a language that needs the set stands for each.
"""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from draw_shared.dicom.encoding.characters import (
    TEXT_VRS,
    UNICODE,
    UndecodableText,
    character_set,
    distinct,
)

NAMES = {
    "GB18030 (J.3)": (
        b"GB18030",
        "Wang^XiaoDong=王^小东",
        b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab",
    ),
    "GBK (J.5)": (b"GBK", "Wang^XiaoDong=王^小东", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab"),
    "UTF-8 (J.1)": (
        b"ISO_IR 192",
        "Wang^XiaoDong=王^小東",
        b"Wang^XiaoDong=\xe7\x8e\x8b^\xe5\xb0\x8f\xe6\x9d\xb1",
    ),
    "Japanese (H.3.1)": (
        b"\\ISO 2022 IR 87",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
    ),
    "Japanese (H.3.2)": (
        b"ISO 2022 IR 13\\ISO 2022 IR 87",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
        (
            b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J"
            b"=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J"
        ),
    ),
    "supplementary kanji": (b"\\ISO 2022 IR 159", "丂", b"\x1b$(D0!\x1b(B"),
    "Korean (I.2)": (
        b"\\ISO 2022 IR 149",
        "Hong^Gildong=洪^吉洞=홍^길동",
        (
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7"
            b"=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"
        ),
    ),
    "simplified Chinese (K.2)": (
        b"\\ISO 2022 IR 58",
        "Zhang^XiaoDong=张^小东",
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab",
    ),
    "Latin and Cyrillic in one name": (
        b"ISO 2022 IR 6\\ISO 2022 IR 100\\ISO 2022 IR 144",
        "Buc^Jérôme=Люк",
        b"Buc^J\x1b-A\xe9r\xf4me=\x1b-L\xbb\xee\xda",
    ),
}


@pytest.mark.parametrize(("terms", "text", "raw"), NAMES.values(), ids=NAMES)
def test_the_standards_examples_are_read_and_written(terms, text, raw):
    characters = character_set(terms)
    assert characters.known
    assert characters.decode(raw, "PN") == text
    assert characters.encode(text, "PN") == raw


SINGLE_BYTE = {
    13: (b")I", "ﾔﾏﾀﾞ^ﾀﾛｳ", b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3"),
    100: (b"-A", "Buc^Jérôme", b"Buc^J\xe9r\xf4me"),
    101: (b"-B", "Wałęsa", b"Wa\xb3\xeasa"),
    109: (b"-C", "Ĉapek^Ĝoja", b"\xc6apek^\xd8oja"),
    110: (b"-D", "Bērziņš", b"B\xbarzi\xf1\xb9"),
    126: (b"-F", "Διονυσιος", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2"),
    127: (b"-G", "قباني^لنزار", b"\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1"),
    138: (b"-H", "שרון^דבורה", b"\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4"),
    144: (b"-L", "Люксембург", b"\xbb\xee\xda\xe1\xd5\xdc\xd1\xe3\xe0\xd3"),
    148: (b"-M", "Çağla^Şirin", b"\xc7a\xf0la^\xdeirin"),
    166: (b"-T", "นามสกุล", b"\xb9\xd2\xc1\xca\xa1\xd8\xc5"),
    203: (b"-b", "Œuvre^€", b"\xbcuvre^\xa4"),
}


@pytest.mark.parametrize("number", SINGLE_BYTE)
def test_a_set_of_one_byte_alone_and_by_its_escape_sequence(number):
    escape, text, raw = SINGLE_BYTE[number]
    # A delimiter ends it, so that the next component begins it again.
    escaped = b"^".join(
        re.sub(rb"[\x80-\xff]", lambda high: b"\x1b" + escape + high[0], component, count=1)
        for component in raw.split(b"^")
    )
    for terms in (f"ISO_IR {number}", f"ISO 2022 IR {number}"):
        alone = character_set(terms.encode())
        assert alone.known
        assert (alone.decode(raw, "PN"), alone.encode(text, "PN")) == (text, raw)
    extension = character_set(f"\\ISO 2022 IR {number}".encode())
    assert (extension.decode(escaped, "PN"), extension.encode(text, "PN")) == (text, escaped)
    assert extension.read(raw, "PN") == text, "a sender that forgets the escape sequence"


LINES = {
    "Korean (I.3)": (
        b"\\ISO 2022 IR 149",
        (
            b"\x1b$)CThe 1st line includes \xb1\xe6\xb5\xbf.\r\n"
            b"\x1b$)CThe 2nd line includes \xb1\xe6\xb5\xbf, too.\r\nThe 3rd line."
        ),
        "The 1st line includes 길동.\r\nThe 2nd line includes 길동, too.\r\nThe 3rd line.",
    ),
    "simplified Chinese (K.3)": (
        b"\\ISO 2022 IR 58",
        b"1. \x1b$)A\xb5\xda\xd2\xbb\xd0\xd0\xce\xc4\xd7\xd6\xa1\xa3\r\n2. \x1b$)A\xd6\xd0\xce\xc4",
        "1. 第一行文字。\r\n2. 中文",
    ),
    "Japanese": (
        b"\\ISO 2022 IR 87",
        b"\x1b$B;3ED\x1b(B\\1\r\n\x1b$BB@O:\x1b(B",
        "山田\\1\r\n太郎",
    ),
}


@pytest.mark.parametrize("vr", ["LT", "ST", "UT"])
@pytest.mark.parametrize(("terms", "raw", "text"), LINES.values(), ids=LINES)
def test_a_line_ends_what_was_designated(terms, raw, text, vr):
    characters = character_set(terms)
    assert characters.decode(raw, vr) == text
    assert characters.decode(characters.encode(text, vr), vr) == text


@pytest.mark.parametrize(
    ("vr", "raw", "text"),
    [
        ("PN", b"\x1b-L\xbb^\xe9=\x1b-L\xbb\\\xe9", "Л^é=Л\\é"),
        ("LO", b"\x1b-L\xbb^\xbb=\xbb\\\xe9", "Л^Л=Л\\é"),
        ("UC", b"\x1b-L\xbb\t\xe9", "Л\té"),
        ("LT", b"\x1b-L\xbb\\\xbb\f\xe9", "Л\\Л\fé"),
    ],
)
def test_delimiters_bring_back_the_first_set_where_they_are_delimiters(vr, raw, text):
    assert character_set(b"ISO 2022 IR 100\\ISO 2022 IR 144").decode(raw, vr) == text


def test_a_byte_of_a_character_separates_nothing():
    characters = character_set(b"GB18030")
    raw = b"\x81\x5c\\\x81\x5c"
    assert characters.decode(raw, "LO") == "乗\\乗"
    assert characters.encode("乗\\乗", "LO") == raw
    kanji = character_set(b"\\ISO 2022 IR 87")
    designated = b"\x1b$B=P^<\\<\x1b(B"
    assert kanji.decode(designated, "PN") == designated.decode("iso2022_jp")


@pytest.mark.parametrize(
    "terms", [b"", b"ISO_IR 6", b"ISO_IR 100", b"\\ISO 2022 IR 87", b"GB18030"]
)
def test_ascii_is_itself_in_every_set(terms):
    assert character_set(terms).encode("Doe^Jane", "PN") == b"Doe^Jane"
    assert character_set(terms).decode(b"Doe^Jane", "PN") == "Doe^Jane"


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        (b"", "é"),
        (b"ISO_IR 6", "é"),
        (b"ISO_IR 100", "山"),
        (b"ISO_IR 100", "Ж"),
        (b"ISO_IR 100", "€"),
        (b"ISO_IR 144", "é"),
        (b"ISO_IR 126", "é"),
        (b"ISO_IR 13", "山"),
        (b"\\ISO 2022 IR 87", "홍"),
        (b"\\ISO 2022 IR 149", "é"),
        (b"\\ISO 2022 IR 58", "홍"),
        (b"ISO_IR 100", "M\N{REPLACEMENT CHARACTER}"),
        (b"NO SUCH SET", "é"),
    ],
)
def test_what_a_set_cannot_hold_is_said_and_not_replaced(terms, text):
    assert character_set(terms).encode(text, "LO") is None


@pytest.mark.parametrize("text", ["é", "Ж", "Δ", "山", "홍", "😀", "a\\é"])
def test_unicode_holds_everything(text):
    assert UNICODE.decode(UNICODE.encode(text, "LO"), "LO") == text


EXTENSIONS = (
    b"ISO 2022 IR 100\\ISO 2022 IR 144\\ISO 2022 IR 87",
    b"ISO 2022 IR 13\\ISO 2022 IR 87\\ISO 2022 IR 159",
    b"\\ISO 2022 IR 149\\ISO 2022 IR 58\\ISO 2022 IR 126",
)


@given(
    terms=st.sampled_from(EXTENSIONS),
    vr=st.sampled_from(sorted(TEXT_VRS)),
    text=st.text(st.sampled_from("aZ ^=\\\r\n\téЖΩ山丂ﾀ길东")),
)
def test_what_is_written_in_a_set_is_read_again(terms, vr, text):
    characters = character_set(terms)
    raw = characters.encode(text, vr)
    assert raw is None or characters.decode(raw, vr) == text


@pytest.mark.parametrize(
    ("terms", "raw"),
    [
        (b"", b"\xe9"),
        (b"ISO_IR 192", b"\xff\xfe"),
        (b"ISO_IR 192", b"caf\xe9"),
        (b"ISO_IR 100", b"\x92"),
        (b"ISO_IR 100", b"\x1b%/Z"),
        (b"GB18030", b"\x81"),
        (b"NO SUCH SET", b"\xe9"),
        (b"\\ISO 2022 IR 58", b"\x1b$)A\xff"),
        (b"\\ISO 2022 IR 100", b"caf\xe9"),
    ],
)
def test_bytes_of_another_set_are_no_text(terms, raw):
    with pytest.raises(UndecodableText):
        character_set(terms).decode(raw, "LO")


UTF_8 = "Müller^Jürgen=王^小东".encode()


@pytest.mark.parametrize("terms", [b"", b"ISO_IR 6", b"\0 "])
def test_utf_8_that_nobody_declared_is_read_as_what_it_is(terms):
    assert character_set(terms).decode(UTF_8, "PN") == UTF_8.decode()
    assert character_set(terms).read(UTF_8, "PN") == UTF_8.decode()


def test_a_declared_set_is_believed_though_the_bytes_could_be_utf_8():
    assert character_set(b"ISO_IR 100").read("Müller".encode(), "PN") == "MÃ¼ller"
    katakana = "ﾃｽﾄ".encode("shift_jis")
    assert character_set(b"ISO_IR 13").read(katakana, "PN") == "ﾃｽﾄ"


MEANT = {
    "Latin 1 under UTF-8": (b"ISO_IR 192", b"M\xfcller^H", "Müller^H"),
    "Latin 1 without a set": (b"", b"M\xfcller", "Müller"),
    "Latin 1 in an unknown set": (b"NO SUCH SET", b"M\xfcller", "Müller"),
    "UTF-8 in an unknown set": (b"ISO_IR 999", "Müller".encode(), "Müller"),
    "what Windows takes for Latin 1": (b"ISO_IR 100", b"d\x92Arc \x80", "d\u2019Arc €"),
    "UTF-8 that cannot be Latin 1": (b"ISO_IR 100", "Österreich".encode(), "Österreich"),
    "UTF-8 cut in its last character": (b"", "Müller^Jö".encode()[:-1] + b" ", "Müller^J� "),
    "Shift JIS": (b"ISO 2022 IR 87", "山田^太郎".encode("shift_jis"), "山田^太郎"),
    "Shift JIS beside katakana": (b"ISO_IR 13", "ﾔﾏﾀﾞ=山田".encode("shift_jis"), "ﾔﾏﾀﾞ=山田"),
    "Korean without escape sequence": (b"\\ISO 2022 IR 149", "홍^길동".encode("euc_kr"), "홍^길동"),
    "Korean beyond its set": (b"\\ISO 2022 IR 149", "똠".encode("cp949"), "똠"),
    "Chinese without escape sequence": (b"ISO 2022 IR 58", "张^小东".encode("gbk"), "张^小东"),
    "Chinese beyond its set": (b"\\ISO 2022 IR 58", "張".encode("gbk"), "張"),
    "designated once": (
        b"\\ISO 2022 IR 149",
        b"=\x1b$)C\xfb\xf3^\xd1\xce\xd4\xd7=\xc8\xab^\xb1\xe6",
        "=洪^吉洞=홍^길",
    ),
    "an undeclared escape sequence": (b"ISO_IR 100", b"X\x1b$B;3ED\x1b(B", "X山田"),
    "one in UTF-8": (b"ISO_IR 192", "é".encode() + b"\x1b$B;3ED\x1b(B", "é山田"),
    "katakana in the place of ASCII": (b"\\ISO 2022 IR 87", b"\x1b(ITO\x1b(B", "ﾔﾏ"),
    "kanji of NEC and IBM": (b"\\ISO 2022 IR 87", b"\x1b$B|b;3yu\x1b(B", "髙山﨑"),
}


@pytest.mark.parametrize(
    ("terms", "raw", "text"),
    MEANT.values(),
    ids=MEANT,
)
def test_what_is_no_text_in_its_set_is_read_as_what_it_could_mean(terms, raw, text):
    assert character_set(terms).read(raw, "PN") == text


UNREADABLE = {
    "no western text": (b"", "Люксембург^Anna".encode("iso8859_5"), "�" * 10 + "^Anna"),
    "nor where UTF-8 is declared": (b"ISO_IR 192", b"A\xc8\xe2\xe0\xed\xee\xe2", "A��" + "�" * 4),
    "a control character": (b"ISO_IR 144", b"\xbb\x81\xee", "Л�ю"),
    "an unknown escape sequence": (b"ISO_IR 100", b"a\x1b%/Zb", "a�%/Zb"),
    "half a character": (b"GB18030", b"ab\xff^\xcd\xf5", "ab�^王"),
    "a lonely byte": (b"\\ISO 2022 IR 58", b"x\x1b$)A\xd5\xc5\xff^y", "x张�^y"),
}


@pytest.mark.parametrize(("terms", "raw", "text"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_means_nothing_is_replaced_and_the_rest_stays(terms, raw, text):
    assert character_set(terms).read(raw, "PN") == text


@given(
    terms=st.sampled_from(
        [b"", b"ISO_IR 192", b"GB18030", b"ISO_IR 999", b"ISO_IR 13", *EXTENSIONS]
    ),
    vr=st.sampled_from(sorted(TEXT_VRS)),
    raw=st.binary(max_size=60).map(lambda raw: raw.replace(b"\0", b"\x1b$B")),
)
def test_any_bytes_are_read_without_escape_sequences(terms, vr, raw):
    text = character_set(terms).read(raw, vr)
    assert "\x1b" not in text
    text.encode()


def test_unreadable_identifiers_stay_different():
    characters = character_set(b"ISO_IR 144")
    raws = (b"AB\x81", b"AB\x82")
    texts = [characters.read(raw, "LO") for raw in raws]
    assert texts[0] == texts[1] == "AB�"
    one, other = (distinct(*pair) for pair in zip(texts, raws, strict=True))
    assert one != other
    assert one.startswith("AB�~")
    assert one == distinct(texts[0], raws[0] + b" "), "padding is no part of a value"
    assert distinct("AB1", b"AB1") == "AB1"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (b"ISO_IR 100", b"ISO_IR 100"),
        (b"ISO IR 100", b"ISO_IR 100"),
        (b"iso_ir_100 ", b"ISO_IR 100"),
        (b"ISO-IR 100", b"ISO_IR 100"),
        (b"ISO8859-1", b"ISO_IR 100"),
        (b"ISO_IR_192", b"ISO_IR 192"),
        (b"iso_ir 192", b"ISO_IR 192"),
        (b"UTF-8", b"ISO_IR 192"),
        (b"utf8", b"ISO_IR 192"),
        (b"\\ISO_IR 192", b"ISO_IR 192"),
        (b"ISO_IR 192\\ISO 2022 IR 87", b"ISO_IR 192"),
        (b"ISO 2022 IR 100\\GB18030", b"GB18030"),
        (b"ISO_2022_IR_144", b"ISO 2022 IR 144"),
        (b"\\ISO_IR 87", b"\\ISO 2022 IR 87"),
        (b"\\ISO 2022 58", b"\\ISO 2022 IR 58"),
        (b"ISO 2022 GBK", b"GBK"),
        (b"GB 18030", b"GB18030"),
        (b"ISO_IR 6", b""),
        (b"ISO 2022 IR 6", b""),
    ],
)
def test_a_terms_spelling_is_mended(written, meant):
    assert "\\".join(character_set(written).terms).encode() == meant


def test_what_nobody_defined_is_not_known():
    assert not character_set(b"NO SUCH SET").known
    assert character_set(b"\\" * 100_000 + b"ISO_IR 100").known
