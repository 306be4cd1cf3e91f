"""A-ASSOCIATE-RQ and -AC as values, decoded within bounds (PS3.8 9.3.2, PS3.7 D.3)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from struct import Struct, error, pack
from typing import Final

from draw_shared.dicom.network.pdu import HEADER, AbortReason, PduType, ProtocolViolation
from draw_shared.wording import message

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
PROTOCOL_VERSION: Final = 1
FIXED: Final = Struct(">HH16s16s32x")
ITEM: Final = Struct(">BxH")
MAX_CONTEXTS: Final = 128
"""Contexts of one association: their ids are the odd numbers of a byte (PS3.8 9.3.2.2)."""

APPLICATION_CONTEXT_ITEM: Final = 0x10
CONTEXT_RQ_ITEM: Final = 0x20
CONTEXT_AC_ITEM: Final = 0x21
ABSTRACT_SYNTAX_ITEM: Final = 0x30
TRANSFER_SYNTAX_ITEM: Final = 0x40
USER_INFORMATION_ITEM: Final = 0x50
MAXIMUM_LENGTH_ITEM: Final = 0x51
IMPLEMENTATION_UID_ITEM: Final = 0x52
ASYNCHRONOUS_ITEM: Final = 0x53
ROLE_ITEM: Final = 0x54
IMPLEMENTATION_VERSION_ITEM: Final = 0x55
EXTENDED_ITEM: Final = 0x56
IDENTITY_RQ_ITEM: Final = 0x58
IDENTITY_AC_ITEM: Final = 0x59


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context as the requestor proposes it."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContextResult:
    """The acceptor's answer to one proposed context; result 0 is acceptance (PS3.8 9.3.3.2)."""

    context_id: int
    result: int
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Roles:
    """Which roles the requestor may take for a SOP class (PS3.7 D.3.3.4)."""

    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True)
class UserIdentity:
    """Who the requestor claims to be (PS3.7 D.3.3.7); kept only until the decision."""

    kind: int
    positive_response: bool
    primary: bytes = field(repr=False, default=b"")


@dataclass(frozen=True, slots=True)
class UserInformation:
    """The negotiated user information that requests and answers have in common."""

    max_pdu: int = 0
    implementation_class_uid: str = ""
    implementation_version: str = ""
    asynchronous: tuple[int, int] | None = None
    roles: dict[str, Roles] = field(default_factory=dict)
    extended: dict[str, bytes] = field(default_factory=dict)
    identity: UserIdentity | None = None
    identity_response: bytes | None = None


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """A-ASSOCIATE-RQ."""

    calling_ae: str
    called_ae: str
    contexts: tuple[ProposedContext, ...]
    user: UserInformation
    protocol_version: int = PROTOCOL_VERSION
    application_context: str = APPLICATION_CONTEXT

    def encode(self) -> bytes:
        """Return the PDU."""
        contexts = b"".join(_encode_proposed(context) for context in self.contexts)
        return _encode(PduType.ASSOCIATE_RQ, self.called_ae, self.calling_ae, contexts, self.user)


@dataclass(frozen=True, slots=True)
class AssociateAccept:
    """A-ASSOCIATE-AC."""

    calling_ae: str
    called_ae: str
    results: tuple[ContextResult, ...]
    user: UserInformation

    def encode(self) -> bytes:
        """Return the PDU."""
        contexts = b"".join(_encode_result(result) for result in self.results)
        return _encode(PduType.ASSOCIATE_AC, self.called_ae, self.calling_ae, contexts, self.user)


def decode_request(body: bytes) -> AssociateRequest:
    """Return the request in the body of an A-ASSOCIATE-RQ.

    Raises:
        ProtocolViolation: it is malformed or exceeds a bound.
    """
    version, called, calling, items = _decode_fixed(body)
    contexts: list[ProposedContext] = []
    user = UserInformation()
    application_context = ""
    for kind, value in items:
        if kind == CONTEXT_RQ_ITEM:
            contexts.append(_decode_proposed(value))
        elif kind == USER_INFORMATION_ITEM:
            user = _decode_user(value)
        elif kind == APPLICATION_CONTEXT_ITEM:
            application_context = _uid(value)
    if not contexts or len(contexts) > MAX_CONTEXTS:
        raise ProtocolViolation(message("an association proposes 1 to 128 presentation contexts"))
    ids = {context.context_id for context in contexts}
    if len(ids) != len(contexts) or any(i % 2 == 0 for i in ids):
        raise ProtocolViolation(message("presentation context ids are odd and different"))
    return AssociateRequest(calling, called, tuple(contexts), user, version, application_context)


def decode_accept(body: bytes) -> AssociateAccept:
    """Return the acceptance in the body of an A-ASSOCIATE-AC.

    Raises:
        ProtocolViolation: it is malformed or exceeds a bound.
    """
    _, called, calling, items = _decode_fixed(body)
    results: list[ContextResult] = []
    user = UserInformation()
    for kind, value in items:
        if kind == CONTEXT_AC_ITEM:
            results.append(_decode_result(value))
        elif kind == USER_INFORMATION_ITEM:
            user = _decode_user(value)
    return AssociateAccept(calling, called, tuple(results), user)


def _item(kind: int, value: bytes) -> bytes:
    return ITEM.pack(kind, len(value)) + value


def _encode(kind: int, called: str, calling: str, contexts: bytes, user: UserInformation) -> bytes:
    body = (
        FIXED.pack(
            PROTOCOL_VERSION,
            0,
            called.encode("ascii", "replace").ljust(16)[:16],
            calling.encode("ascii", "replace").ljust(16)[:16],
        )
        + _item(APPLICATION_CONTEXT_ITEM, APPLICATION_CONTEXT.encode())
        + contexts
        + _item(USER_INFORMATION_ITEM, _encode_user(user))
    )
    return HEADER.pack(kind, len(body)) + body


def _encode_proposed(context: ProposedContext) -> bytes:
    value = bytes((context.context_id, 0, 0, 0))
    value += _item(ABSTRACT_SYNTAX_ITEM, context.abstract_syntax.encode())
    for syntax in context.transfer_syntaxes:
        value += _item(TRANSFER_SYNTAX_ITEM, syntax.encode())
    return _item(CONTEXT_RQ_ITEM, value)


def _encode_result(result: ContextResult) -> bytes:
    value = bytes((result.context_id, 0, result.result, 0))
    return _item(
        CONTEXT_AC_ITEM, value + _item(TRANSFER_SYNTAX_ITEM, result.transfer_syntax.encode())
    )


def _encode_user(user: UserInformation) -> bytes:
    out = _item(MAXIMUM_LENGTH_ITEM, pack(">I", user.max_pdu))
    out += _item(IMPLEMENTATION_UID_ITEM, user.implementation_class_uid.encode())
    if user.asynchronous is not None:
        out += _item(ASYNCHRONOUS_ITEM, pack(">HH", *user.asynchronous))
    for sop_class, roles in user.roles.items():
        name = sop_class.encode()
        out += _item(
            ROLE_ITEM, pack(">H", len(name)) + name + bytes((int(roles.scu), int(roles.scp)))
        )
    if user.implementation_version:
        out += _item(IMPLEMENTATION_VERSION_ITEM, user.implementation_version.encode()[:16])
    for sop_class, information in user.extended.items():
        name = sop_class.encode()
        out += _item(EXTENDED_ITEM, pack(">H", len(name)) + name + information)
    if user.identity_response is not None:
        response = user.identity_response
        out += _item(IDENTITY_AC_ITEM, pack(">H", len(response)) + response)
    return out


def _decode_fixed(body: bytes) -> tuple[int, str, str, Iterator[tuple[int, bytes]]]:
    if len(body) < FIXED.size:
        raise ProtocolViolation(message("an A-ASSOCIATE PDU is cut short"))
    version, _, called, calling = FIXED.unpack_from(body)
    return version, _ae(called), _ae(calling), _items(body, FIXED.size)


def _ae(raw: bytes) -> str:
    return _printable(raw).strip()


def _printable(raw: bytes) -> str:
    """Return text from a peer without control characters, which no title or name may contain."""
    return "".join(
        character if character.isprintable() else "?"
        for character in raw.decode("ascii", "replace").strip(" \0")
    )


def _uid(raw: bytes) -> str:
    """Return the UID of an item; some peers pad it with a NUL although PS3.8 F forbids that."""
    if len(raw) > 65:  # noqa: PLR2004 - 64 characters and a pad byte
        raise ProtocolViolation(message("a UID is longer than 64 characters"))
    return raw.rstrip(b"\0 ").decode("ascii", "replace")


def _items(raw: bytes, at: int = 0) -> Iterator[tuple[int, bytes]]:
    end = len(raw)
    while at < end:
        if at + ITEM.size > end:
            raise ProtocolViolation(message("an item is cut short"))
        kind, length = ITEM.unpack_from(raw, at)
        at += ITEM.size
        if at + length > end:
            raise ProtocolViolation(message("an item overruns what contains it"))
        yield kind, raw[at : at + length]
        at += length


def _decode_proposed(value: bytes) -> ProposedContext:
    if len(value) < 4:  # noqa: PLR2004 - id and three reserved bytes
        raise ProtocolViolation(message("a presentation context is cut short"))
    abstract, transfer = "", []
    for kind, part in _items(value, 4):
        if kind == ABSTRACT_SYNTAX_ITEM:
            abstract = _uid(part)
        elif kind == TRANSFER_SYNTAX_ITEM:
            transfer.append(_uid(part))
    if not abstract or not transfer:
        raise ProtocolViolation(
            message("a presentation context needs abstract and transfer syntax")
        )
    return ProposedContext(value[0], abstract, tuple(transfer))


def _decode_result(value: bytes) -> ContextResult:
    if len(value) < 4:  # noqa: PLR2004 - id, reserved, result, reserved
        raise ProtocolViolation(message("a presentation context is cut short"))
    syntax = next((_uid(v) for k, v in _items(value, 4) if k == TRANSFER_SYNTAX_ITEM), "")
    return ContextResult(value[0], value[2], syntax)


def _split_named(value: bytes) -> tuple[str, bytes]:
    """Split a sub-item that begins with the length of a UID and the UID."""
    length = int.from_bytes(value[:2], "big")
    return _uid(value[2 : 2 + length]), value[2 + length :]


def _read_roles(found: dict[str, object], value: bytes) -> None:
    sop_class, flags = _split_named(value)
    roles = found.setdefault("roles", {})
    roles[sop_class] = Roles(bool(flags[0]), bool(flags[1]))  # type: ignore[index]  # the dict made above


def _read_extended(found: dict[str, object], value: bytes) -> None:
    sop_class, information = _split_named(value)
    found.setdefault("extended", {})[sop_class] = information  # type: ignore[index]  # the dict made above


def _read_identity(found: dict[str, object], value: bytes) -> None:
    length = int.from_bytes(value[2:4], "big")
    found["identity"] = UserIdentity(value[0], bool(value[1]), value[4 : 4 + length])


_USER_ITEMS: Final[dict[int, Callable[[dict[str, object], bytes], None]]] = {
    MAXIMUM_LENGTH_ITEM: lambda f, v: f.update(max_pdu=int.from_bytes(v[:4], "big")),
    IMPLEMENTATION_UID_ITEM: lambda f, v: f.update(implementation_class_uid=_uid(v)),
    IMPLEMENTATION_VERSION_ITEM: lambda f, v: f.update(implementation_version=_printable(v[:16])),
    ASYNCHRONOUS_ITEM: lambda f, v: f.update(asynchronous=Struct(">HH").unpack(v)),
    ROLE_ITEM: _read_roles,
    EXTENDED_ITEM: _read_extended,
    IDENTITY_RQ_ITEM: _read_identity,
    IDENTITY_AC_ITEM: lambda f, v: f.update(identity_response=v[2:]),
}


def _decode_user(value: bytes) -> UserInformation:
    """Return the user information; unknown sub-items are ignored (PS3.8 9.3.1)."""
    found: dict[str, object] = {}
    try:
        for kind, part in _items(value):
            if kind in _USER_ITEMS:
                _USER_ITEMS[kind](found, part)
    except (IndexError, error) as broken:
        raise ProtocolViolation(
            message("a user information sub-item is cut short"), AbortReason.INVALID_PARAMETER_VALUE
        ) from broken
    return UserInformation(**found)  # type: ignore[arg-type]  # each reader writes its field's type
