"""The DICOM conformance statement of a configuration, in the layout of PS3.2."""

from collections.abc import Iterable, Iterator
from typing import Final

from draw_api.services.sent_syntaxes import SENT
from draw_api.services.status_tables import FIND_STATUSES, RETRIEVE_STATUSES, STORE_STATUSES
from draw_shared.contracts.association_rules import storage_classes, storage_syntaxes
from draw_shared.contracts.server_config import ClientCertificates, NetworkConfig, ServerConfig
from draw_shared.dicom.encoding import uids
from draw_shared.dicom.encoding.dictionary import registered_uids
from draw_shared.dicom.encoding.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from draw_shared.dicom.query.keys import ATTRIBUTES, REQUEST_ATTRIBUTES, UNIQUE_KEYS, Level

NAMES: Final = {
    uids.IMPLICIT_LITTLE: "Implicit VR Little Endian",
    uids.EXPLICIT_LITTLE: "Explicit VR Little Endian",
    uids.EXPLICIT_BIG: "Explicit VR Big Endian",
}
LEVELS: Final = {
    Level.PATIENT: "Patient",
    Level.STUDY: "Study",
    Level.SERIES: "Series",
    Level.IMAGE: "Composite object instance",
}


def statement(config: ServerConfig, version: str) -> str:
    """Return the statement as Markdown; it describes exactly this configuration."""
    parts = (
        _overview(config, version),
        _introduction(),
        _implementation_model(config),
        _receiver(config),
        _retriever(config),
        _network(config),
        _configuration(config),
        _security(config),
        _annexes(),
    )
    return "\n".join(line for part in parts for line in part) + "\n"


def _overview(config: ServerConfig, version: str) -> Iterator[str]:
    services = config.services
    yield "# DICOM conformance statement"
    yield ""
    yield f"DRAW DICOM, version {version}. Layout after PS3.2 annex N."
    yield ""
    yield "## 1 Conformance statement overview"
    yield ""
    yield (
        "DRAW DICOM receives composite objects, keeps them as they came, answers queries and"
        " retrieves about them, and retrieves objects from remote application entities."
    )
    yield ""
    yield from _table(
        ("Network service", "User (SCU)", "Provider (SCP)"),
        (
            ("Verification", "yes", _yes(services.c_echo)),
            ("Storage", "yes (C-MOVE, C-GET, forwarding)", _yes(services.c_store)),
            ("Query (C-FIND), three information models", "yes", _yes(services.c_find)),
            ("Retrieve by C-MOVE", "yes", _yes(services.c_move)),
            ("Retrieve by C-GET", "yes", _yes(services.c_get)),
        ),
    )
    yield "Media storage is not supported."
    yield ""


def _introduction() -> Iterator[str]:
    yield "## 2 Introduction"
    yield ""
    yield (
        "This statement is generated from the configuration in force (`draw-admin conformance`)."
        " It does not replace testing with the peers to be connected."
    )
    yield ""


def _implementation_model(config: ServerConfig) -> Iterator[str]:
    yield "## 3 Implementation model"
    yield ""
    yield "### 3.1 Application entities"
    yield ""
    yield from _table(
        ("Application entity", "AE title", "does"),
        (
            ("Receiver", f"`{config.network.ae_title}`", "accepts all services as provider"),
            (
                "Retriever",
                f"`{config.network.ae_title}`, or as set for a remote node",
                "C-ECHO, C-FIND, C-MOVE, C-GET and C-STORE to remote nodes, for operators' jobs",
            ),
        ),
    )
    yield "### 3.2 Sequencing"
    yield ""
    yield (
        "A C-STORE is answered with success only after the object is on stable storage. Queries"
        " find it as soon as it is indexed, usually within a second. An object that arrives"
        " again with the same bytes is stored once; with other bytes under the same SOP Instance"
        f" UID both are kept, and the current one follows `{config.storage.duplicates}`."
    )
    yield ""


def _associations(network: NetworkConfig) -> str:
    return (
        f"{network.max_associations} for each receiver, all of which one peer may have, and"
        f" {network.reserved_associations} more for peers that have few or none"
    )


def _receiver(config: ServerConfig) -> Iterator[str]:
    network = config.network
    yield "## 4 AE specification: receiver"
    yield ""
    yield "### 4.1 Association policies"
    yield ""
    yield from _table(
        ("Property", "Value"),
        (
            ("Application context name", "1.2.840.10008.3.1.1.1"),
            ("Associations at the same time", _associations(network)),
            ("Maximum PDU received", f"{network.max_pdu_bytes} bytes"),
            ("Asynchronous operations window", "granted as proposed, answered in order"),
            ("Implementation class UID", IMPLEMENTATION_CLASS_UID),
            ("Implementation version name", IMPLEMENTATION_VERSION),
            ("User identity negotiation", _identity(config)),
            ("SCP/SCU role selection", "for storage classes, as C-GET needs it"),
            (
                "SOP class extended negotiation",
                "relational queries and combined date-time matching are granted",
            ),
            ("Timeouts", _timeouts(config)),
        ),
    )
    yield "### 4.2 Whose associations are accepted"
    yield ""
    yield from _acceptance(config)
    yield "### 4.3 Presentation contexts"
    yield ""
    yield from _contexts(config)
    yield "### 4.4 Statuses of C-STORE"
    yield ""
    yield from _table(("Status", "Meaning", "When"), STORE_STATUSES)
    yield (
        "An object above the largest size ends the association with A-ABORT. Operations that are"
        " not offered at all are answered 0x0211. Data sets that break rules of PS3.5 are stored as"
        " they are when SOP class and instance, study and series can be read; of two elements with"
        " the same tag the first counts. The index holds what can be read, and what is wrong."
        " Groups 0000 and 0002 in a data set are stored and ignored."
    )
    yield ""
    if config.services.c_find:
        yield from _find()
    if config.services.c_move or config.services.c_get:
        yield "### 4.6 Statuses of C-MOVE and C-GET"
        yield ""
        yield from _table(("Status", "Meaning", "When"), RETRIEVE_STATUSES)
    yield from SENT


def _acceptance(config: ServerConfig) -> Iterator[str]:
    security = config.security
    called = "must be ours" if security.check_called_ae else "is not checked"
    calling = "must be on the list" if security.validate_calling_ae else "is not checked"
    networks = ", ".join(security.allowed_ips) or "all"
    yield f"The called AE title {called}; the calling AE title {calling}; addresses: {networks}."
    yield ""
    may = " and ".join(
        service
        for service, granted in (
            ("C-ECHO", security.unknown_may_echo),
            ("C-STORE", security.unknown_may_store),
        )
        if granted and not security.validate_calling_ae
    )
    yield (
        "Calling AE titles on the list have rights: echo, store, query (C-FIND), retrieve (C-GET)"
        " and move (C-MOVE, perhaps to some destinations only). Others may use"
        f" {may or 'no service'}; they never query and retrieve, unless the receiver is told so"
        " for peers of its own machine. An AE title may be bound to certificates, by name or"
        " SHA-256 fingerprint, and is rejected without one of them (1/1/3)."
    )
    yield ""
    yield from _table(
        ("A peer without the right", "is answered"),
        (
            (
                "is not on the list, and proposes nothing else",
                "A-ASSOCIATE-RJ, calling AE title not recognized (1/1/3)",
            ),
            (
                "proposes presentation contexts that it may use as well, or is on the list",
                "user-rejection (result 1) for the others",
            ),
            (
                "has lost the right since, or names a move destination that it may not use",
                "0x0124, not authorized, with an error comment",
            ),
        ),
    )


def _contexts(config: ServerConfig) -> Iterator[str]:
    services = config.services
    plain = _join_names(uids.MESSAGE_SYNTAXES)
    rows: list[tuple[str, ...]] = []
    if services.c_echo:
        rows.append((_name(uids.VERIFICATION), uids.VERIFICATION, plain))
    for wanted, models in (
        (services.c_find, uids.FIND_MODELS),
        (services.c_move, uids.MOVE_MODELS),
        (services.c_get, uids.GET_MODELS),
    ):
        if wanted:
            rows += [(_name(model), model, plain) for model in models]
    if services.c_store or services.c_get:
        classes = storage_classes(config.sop_classes)
        rows += [(name, uid, "see below") for name, uid in sorted((_name(u), u) for u in classes)]
    yield from _table(("Abstract syntax", "UID", "Transfer syntaxes"), rows)
    if services.c_store or services.c_get:
        if config.sop_classes.promiscuous:
            yield (
                "Any other SOP class that is proposed is accepted for storage as well, unknown and"
                " private ones too, except those that the standard defines for other services."
            )
            yield ""
        yield (
            "Objects need a Study and a Series Instance UID. Those that have none, as is usual for"
            " hanging protocols, color palettes, implant templates, defined procedure protocols,"
            " protocol approvals and inventories, are answered 0xC000 and not kept."
        )
        yield ""
        yield "Transfer syntaxes of storage SOP classes:"
        yield ""
        syntaxes = storage_syntaxes(config.transfer_syntaxes)
        yield from _table(("Transfer syntax", "UID"), sorted((_name(uid), uid) for uid in syntaxes))
        yield "Of several proposed ones, the first that is accepted is chosen."
        yield ""


def _find() -> Iterator[str]:
    yield "### 4.5 C-FIND"
    yield ""
    yield (
        "Single value, list of UID, wildcard, range and universal matching, and sequence matching"
        f" in {REQUEST_ATTRIBUTES}. Person names (PN) match without regard to case and accents,"
        " a key of one component group in any group of the name. All other text matches exactly,"
        " letter by letter and in its case; `*` and `?` are wildcards. Unique keys are marked."
        " A key that is no value of its attribute, as a date or a number, matches nothing: the"
        " query ends with success, and with a warning in the log (PS3.4 C.2.2.2)."
    )
    yield ""
    yield (
        "When objects name two people under one PatientID and issuer, name, birth date and sex of"
        " a study are matched and returned as its own objects say; level PATIENT has one answer,"
        " with the person who matches. Another name with the same birth date is a correction."
    )
    yield ""
    yield from _table(
        ("Level", "Attribute", "Tag", "VR", "Key"),
        (
            (
                LEVELS[attribute.level],
                attribute.keyword,
                f"({attribute.tag >> 16:04X},{attribute.tag & 0xFFFF:04X})",
                attribute.vr,
                "unique" if UNIQUE_KEYS[attribute.level] == attribute.keyword else "optional",
            )
            for attribute in ATTRIBUTES
        ),
    )
    yield from _table(("Status", "Meaning", "When"), FIND_STATUSES)


def _retriever(config: ServerConfig) -> Iterator[str]:
    yield "## 5 AE specification: retriever"
    yield ""
    yield (
        "Initiates associations for operators' jobs, at most as many to a node at a time as set"
        " for it, and for a while fewer after it rejected one for congestion (PS3.8 9.3.4);"
        " proposes:"
    )
    yield ""
    models = (*uids.FIND_MODELS, *uids.MOVE_MODELS, *uids.GET_MODELS)
    plain = _join_names(uids.MESSAGE_SYNTAXES[:2])
    yield from _table(
        ("Abstract syntax", "UID", "Transfer syntaxes"),
        [(_name(uid), uid, plain) for uid in (uids.VERIFICATION, *models)],
    )
    yield (
        "For C-GET it proposes the storage SOP classes to be expected, with the SCP role; for"
        " C-STORE the classes of the objects in the transfer syntax in which they are stored, and"
        " in Explicit and Implicit VR Little Endian for what the node takes only uncompressed"
        " (4.7)."
        f" Objects retrieved by C-MOVE are received by `{config.network.ae_title}`."
    )
    yield ""
    yield (
        "A node is asked in one information model; Study Root C-FIND is proposed beside the"
        " others, to find out the Patient ID that every request below the level PATIENT holds"
        " there (PS3.4 C.4.1.2.1, C.4.2.2.1). Level PATIENT is not used in Study Root, levels"
        " SERIES and IMAGE not in Patient/Study Only, which is retired. A C-FIND that ends with"
        " 0xA700, 0xB001 or 0xFE00 after matches, or with a round number of them, is repeated in"
        " parts. A match counts only when every key that was asked for is returned and matches."
    )
    yield ""
    yield (
        "Before a retrieve, C-FIND at STUDY, SERIES and IMAGE says what is expected; each level is"
        " compared with the numbers of the level above (0020,1200 to 0020,1209), and the larger"
        " counts. A retrieve is `complete` when everything expected has arrived and nothing"
        " leaves a doubt, `unproved` when nothing proves that what arrived is everything, also"
        " when the node answers no C-FIND and its C-MOVE counts only what it sent."
    )
    yield ""


def _network(config: ServerConfig) -> Iterator[str]:
    network = config.network
    yield "## 6 Network interfaces"
    yield ""
    ports = " and ".join(
        f"port {one.port} {'with' if one.tls else 'without'} TLS" for one in network.ports
    )
    yield f"TCP/IP, IPv4 and IPv6, {ports}. Nagle's algorithm is off."
    yield ""


def _configuration(config: ServerConfig) -> Iterator[str]:
    storage = config.storage
    yield "## 7 Configuration"
    yield ""
    yield from _table(
        ("Parameter", "Value"),
        (
            ("Quota", f"{storage.max_storage_gb} GB" if storage.max_storage_gb else "none"),
            ("Free space that is kept", f"{storage.min_free_percent} % of the disk"),
            ("Largest object", f"{storage.max_object_bytes} bytes"),
            (
                "Clean-up",
                f"studies older than {storage.retention_days} days"
                if storage.clean_up
                else "off: objects stay",
            ),
        ),
    )


def _security(config: ServerConfig) -> Iterator[str]:
    tls = config.network.tls
    yield "## 8 Security"
    yield ""
    if tls.enabled:
        certificate = {
            ClientCertificates.NONE: "not asked for",
            ClientCertificates.OPTIONAL: "checked when shown",
            ClientCertificates.REQUIRED: "required",
        }[tls.client_certificates]
        yield (
            "Secure transport after the BCP 195 TLS profile (PS3.15 B.9): TLS 1.2 and 1.3."
            f" Certificates of peers are {certificate}."
        )
    else:
        yield "Secure transport is off."
    yield ""
    yield (
        "Every association, operation, rejection and management action is a line of a"
        " transaction log that is linked by hashes."
    )
    yield ""


def _annexes() -> Iterator[str]:
    yield "## 9 Annexes"
    yield ""
    yield "### 9.1 Character sets"
    yield ""
    yield (
        "Data sets are kept in the character set in which they came. All defined terms of PS3.3"
        " C.12.1.1.2 are understood, single-byte with and without code extensions, multi-byte, and"
        " ISO_IR 192, GB18030 and GBK; misspelt terms are read as those that they resemble. An"
        " answer to a query is in ASCII if that holds all of it, else in the character set of the"
        " query if that does, else in ISO_IR 192 (UTF-8)."
    )
    yield ""
    yield (
        "Text is read alike in objects, queries and answers of other nodes. A set that is declared"
        " is believed. Without one, bytes beyond ASCII that form UTF-8 are read as UTF-8. An escape"
        " sequence that is not declared means what it says. What is no text in its set is read"
        " as UTF-8, or as what systems write that declare this set (Shift JIS, Windows code"
        " pages), or, where UTF-8 or nothing is declared, as Latin 1, if it can be that; else each"
        " unreadable part becomes U+FFFD, and the rest can be found. Identifiers of which a part"
        " is unreadable end in `~` and a hash, so that two that differ stay different. A key that"
        " is no text in its set asks for what it could mean; the log says so."
    )
    yield ""
    yield "### 9.2 Extensions and private attributes"
    yield ""
    yield (
        "Objects are stored and sent with all their attributes, standard extended and private"
        " ones too, at level 2 (full). Nothing in a data set is changed. The file meta group"
        " carries private information (0002,0102) on the reception."
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _name(uid: str) -> str:
    registered = registered_uids().get(uid)
    name = NAMES.get(uid) or (registered and registered.name) or uid
    return f"{name} (retired)" if registered and registered.retired else name


def _join_names(syntaxes: Iterable[str]) -> str:
    return ", ".join(_name(uid) for uid in syntaxes)


def _yes(offered: bool) -> str:  # noqa: FBT001 - one word for one setting
    return "yes" if offered else "no"


def _identity(config: ServerConfig) -> str:
    return "ignored" if config.security.accept_user_identity else "refuses the association"


def _timeouts(config: ServerConfig) -> str:
    network = config.network
    return (
        f"network {network.network_timeout_seconds} s, ACSE {network.acse_timeout_seconds} s,"
        f" DIMSE {network.dimse_timeout_seconds} s"
    )
