"""Text in DICOM's character sets, against the bytes that PS3.5 annexes H to K print.

Not covered: right-to-left display, and sets of which the standard prints no example beyond
one word each.
"""

import pytest
from pydicom.charset import python_encoding

from draw_shared.dicom.characters import UNICODE, UndecodableText, character_set

NAMES = {
    "Latin 1": (b"ISO_IR 100", "Buc^Jérôme", b"Buc^J\xe9r\xf4me"),
    "Latin 2": (b"ISO_IR 101", "Wałęsa", b"Wa\xb3\xeasa"),
    "Cyrillic": (b"ISO_IR 144", "Люксембург", b"\xbb\xee\xda\xe1\xd5\xdc\xd1\xe3\xe0\xd3"),
    "Greek": (b"ISO_IR 126", "Διονυσιος", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2"),
    "Arabic": (b"ISO_IR 127", "قباني^لنزار", b"\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1"),
    "Hebrew": (b"ISO_IR 138", "שרון^דבורה", b"\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4"),
    "half-width katakana": (b"ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ", b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3"),
    "GB18030": (b"GB18030", "Wang^XiaoDong=王^小东", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab"),
    "UTF-8": (
        b"ISO_IR 192",
        "Wang^XiaoDong=王^小東",
        b"Wang^XiaoDong=\xe7\x8e\x8b^\xe5\xb0\x8f\xe6\x9d\xb1",
    ),
    "Japanese (H.3.1)": (
        b"\\ISO 2022 IR 87",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
    ),
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
}
KATAKANA_AND_KANJI = (
    b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J"
    b"=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J"
)
"""PS3.5 H.3.2: the first set is JIS X 0201, to which each component returns."""


@pytest.mark.parametrize(("terms", "text", "raw"), NAMES.values(), ids=NAMES)
def test_the_standards_examples_are_read_and_written(terms, text, raw):
    characters = character_set(terms)
    assert characters.decode(raw, "PN") == text
    assert characters.encode(text, "PN") == raw


def test_two_japanese_sets_in_one_name():
    characters = character_set(b"ISO 2022 IR 13\\ISO 2022 IR 87")
    text = "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"
    assert characters.decode(KATAKANA_AND_KANJI, "PN") == text
    assert characters.decode(characters.encode(text, "PN"), "PN") == text


def test_every_component_enters_its_set_anew():
    raw = character_set(b"\\ISO 2022 IR 149").encode("길동^길동", "PN")
    assert raw.count(b"\x1b$)C") == 2


def test_a_backslash_byte_inside_a_character_separates_nothing():
    characters = character_set(b"GB18030")
    raw = b"\x81\x5c\\\x81\x5c"
    assert characters.decode(raw, "LO") == "乗\\乗"
    assert characters.encode("乗\\乗", "LO") == raw


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
        (b"ISO_IR 144", "é"),
        (b"ISO_IR 126", "é"),
        (b"ISO_IR 13", "山"),
        (b"\\ISO 2022 IR 87", "홍"),
        (b"\\ISO 2022 IR 149", "é"),
        (b"\\ISO 2022 IR 58", "홍"),
        (b"NO SUCH SET", "é"),
    ],
)
def test_what_a_set_cannot_hold_is_said_and_not_replaced(terms, text):
    assert character_set(terms).encode(text, "LO") is None


@pytest.mark.parametrize("text", ["é", "Ж", "Δ", "山", "홍", "😀", "a\\é"])
def test_unicode_holds_everything(text):
    assert UNICODE.decode(UNICODE.encode(text, "LO"), "LO") == text


@pytest.mark.parametrize(
    ("terms", "raw"),
    [
        (b"", b"\xe9"),
        (b"ISO_IR 192", b"\xff\xfe"),
        (b"ISO_IR 192", b"caf\xe9"),
        (b"GB18030", b"\x81"),
        (b"NO SUCH SET", b"\xe9"),
        (b"\\ISO 2022 IR 58", b"\x1b$)A\xff"),
    ],
)
def test_bytes_of_another_set_are_refused_and_not_guessed(terms, raw):
    with pytest.raises(UndecodableText):
        character_set(terms).decode(raw, "LO")


UTF_8 = "Müller^Jürgen=王^小東".encode()


@pytest.mark.parametrize("terms", [b"", b"ISO_IR 6", b"\0 "])
def test_utf_8_that_nobody_declared_is_read_as_what_it_is(terms):
    assert character_set(terms).decode(UTF_8, "PN") == UTF_8.decode()
    assert character_set(terms).read(UTF_8, "PN") == UTF_8.decode()


def test_a_declared_set_is_believed_though_the_bytes_could_be_utf_8():
    assert character_set(b"ISO_IR 100").read("Müller".encode(), "PN") == "MÃ¼ller"
    katakana = "ﾃｽﾄ".encode("shift_jis")
    assert character_set(b"ISO_IR 13").read(katakana, "PN") == "ﾃｽﾄ"


@pytest.mark.parametrize("terms", [b"", b"ISO_IR 192", b"NO SUCH SET"])
def test_what_is_no_text_in_its_set_stays_readable(terms):
    assert character_set(terms).read(b"M\xfcller", "PN") == "Müller"


@pytest.mark.parametrize("written", [b"ISO_IR 100", b"ISO IR 100", b"iso_ir_100 ", b"ISO-IR 100"])
def test_a_terms_spelling_is_mended(written):
    assert character_set(written).terms == ("ISO_IR 100",)


def test_every_term_of_the_standard_is_known():
    assert all(character_set(term.encode()).known for term in python_encoding if term)
    assert not character_set(b"NO SUCH SET").known
