"""The conformance statement about the transfer syntaxes of sent objects (PS3.2)."""

from typing import Final

_WORDS: Final = (
    "Objects are sent by C-GET, C-MOVE and forwarding as they are stored if the peer has"
    " accepted that. Otherwise, and if the peer answers such an object with 0x0110, 0x0122,"
    " 0xA9xx or 0xCxxx, they are sent in the uncompressed transfer syntaxes that it has"
    " accepted, one after the other: Explicit, then Implicit VR Little Endian, Explicit VR Big"
    " Endian, Deflated Explicit VR Little Endian. Only VRs, lengths, the byte order of numbers"
    " and the encapsulation of pixel data change (PS3.5 A): texts are bytes, whatever the"
    " character set says. Sequences that change in size are delimited, group lengths are left"
    " out, decoded pixel data have Photometric Interpretation, Planar Configuration and Number"
    " of Frames as they are then. From implicit VR, the VR is that of PS3.6, for private"
    " elements that of their creator where it is known, else UN; US or SS is decided by Pixel"
    " Representation (US where there is none), OB or OW as DCMTK does; a value longer than"
    " 65,534 bytes in a short VR becomes UN (PS3.5 6.2.2). What cannot be had is a failed"
    " sub-operation, with its reason in Error Comment. A frame that turns out to be damaged"
    " after a part of its object was sent ends the association by A-ABORT, so that the peer"
    " never has a whole message of a broken object; the object is refused at once the next"
    " time, and C-MOVE and forwarding go on with the others on another association."
)
SENT: Final = ("### 4.7 Transfer syntaxes of sent objects", "", _WORDS, "")
"""Lines of the statement."""
