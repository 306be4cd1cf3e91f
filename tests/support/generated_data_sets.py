"""Strategies for data sets with every VR, and with values that fit it or do not."""

from hypothesis import strategies as st

from support.elements import element, sequence

TEXT = {
    "ISO_IR 100": "Müller^J".encode("latin-1"),
    "ISO_IR 192": "Müller^J".encode("latin-1"),
    "ISO 2022 IR 87": "山田^太郎".encode("shift_jis"),
    "\\ISO 2022 IR 58": b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
    "GB18030": "王^小东".encode("gb18030"),
}
KINDS = {
    0x00081030: "LO", 0x00081040: "LO", 0x00100010: "PN", 0x00104000: "LT", 0x00180050: "DS",
    0x00181151: "IS", 0x00280009: "AT", 0x00280103: "US", 0x00280106: "US", 0x00189087: "FD",
    0x00720066: "LO", 0x0072006C: "LT", 0x00720074: "DS", 0x00186020: "SL", 0x00186024: "UL",
    0x00182010: "OB", 0x00089215: "SQ", 0x00081140: "SQ", 0x00400275: "SQ", 0x00660016: "OF",
    0x7FE00009: "OD", 0x00720082: "SV", 0x00720083: "UV", 0x00080119: "UC", 0x00080120: "UR",
    0x0009FF01: "UN", 0x00290010: "LO", 0x00291010: "UN",
}  # fmt: skip
"""VRs by tag, as PS3.6 has them."""
VALUES = st.one_of(
    st.binary(max_size=24),
    st.sampled_from(sorted(TEXT.values())),
    st.sampled_from([b"", b"A  \0", b"   A", b"1.50 ", b" 007", b"\xff\xfe\x00\xe0", b"\1\0\0"]),
)


def data_sets(depth=2):
    """Return a strategy for lists of (tag, value or items), in ascending order."""
    tags = st.sets(st.sampled_from(sorted(KINDS)), min_size=1, max_size=8).map(sorted)

    def filled(chosen):
        inner = st.lists(data_sets(depth - 1), max_size=3) if depth else st.just([])
        return st.tuples(
            *(
                st.tuples(st.just(tag), st.tuples(inner, st.booleans()))
                if KINDS[tag] == "SQ"
                else st.tuples(st.just(tag), VALUES)
                for tag in chosen
            )
        )

    return tags.flatmap(filled)


def encoded(content, syntax):
    """Return such a data set in a transfer syntax, without deflation."""
    parts = []
    for tag, value in content:
        if KINDS[tag] == "SQ":
            items, delimited = value
            parts.append(
                sequence(tag, [encoded(one, syntax) for one in items], syntax, delimited=delimited)
            )
        else:
            parts.append(element(tag, KINDS[tag], value, syntax))
    return b"".join(parts)
