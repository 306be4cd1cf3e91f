"""What is accepted of a request: contexts, roles, windows, extended negotiation, identity."""

import socket
from contextlib import contextmanager

import pytest

from draw_shared.contracts.association_rules import capabilities
from draw_shared.contracts.server_config import EVERYTHING, REFERENCE, SecurityConfig
from draw_shared.dicom.encoding import uids
from draw_shared.dicom.network import message
from draw_shared.dicom.network.associate import (
    AssociateRequest,
    ProposedContext,
    Roles,
    UserIdentity,
    UserInformation,
    decode_accept,
)
from draw_shared.dicom.network.limits import AcceptorLimits, AssociationLimits
from draw_shared.dicom.network.message import CommandElement, Operation
from draw_shared.dicom.network.negotiation import negotiate
from draw_shared.dicom.network.pdu import COMMAND, fragments
from draw_shared.dicom.network.wire import Wire
from support.engine import RecordingProvider, listening

CT = "1.2.840.10008.5.1.4.1.1.2"
PDF = "1.2.840.10008.5.1.4.1.1.104.1"
BIG, JPEG_2000 = uids.EXPLICIT_BIG, "1.2.840.10008.1.2.4.90"
ACCEPTED, NO_CLASS, NO_SYNTAX = 0, 3, 4
ACCEPT, REJECT, ABORT = 2, 3, 7


def config(base=REFERENCE, **services):
    chosen = base.services.model_copy(update=services)
    return base.model_copy(update={"services": chosen})


def proposed(*contexts, **user):
    numbered = tuple(
        ProposedContext(2 * n + 1, sop_class, tuple(syntaxes))
        for n, (sop_class, *syntaxes) in enumerate(contexts)
    )
    return AssociateRequest("A", "DRAW", numbered, UserInformation(16384, "1.2.3", **user))


def results(request, offered):
    return [
        (r.result, r.transfer_syntax) for r in negotiate(request, capabilities(offered)).results
    ]


def test_the_reference_takes_its_classes_and_syntaxes_and_no_others():
    request = proposed(
        (uids.VERIFICATION, uids.IMPLICIT_LITTLE),
        (CT, JPEG_2000, uids.EXPLICIT_LITTLE, uids.IMPLICIT_LITTLE),
        (CT, BIG, JPEG_2000),
        (PDF, uids.EXPLICIT_LITTLE),
        (uids.STUDY_ROOT_FIND, uids.IMPLICIT_LITTLE),
    )
    assert results(request, REFERENCE) == [
        (ACCEPTED, uids.IMPLICIT_LITTLE),
        (ACCEPTED, uids.EXPLICIT_LITTLE),
        (NO_SYNTAX, BIG),
        (NO_CLASS, uids.EXPLICIT_LITTLE),
        (NO_CLASS, uids.IMPLICIT_LITTLE),
    ]
    assert [result for result, _ in results(request, EVERYTHING)] == [ACCEPTED] * 5


def test_further_classes_and_syntaxes_are_taken_by_their_uids():
    further = REFERENCE.model_copy(
        update={
            "sop_classes": REFERENCE.sop_classes.model_copy(update={"further": ("1.2.3.4",)}),
            "transfer_syntaxes": REFERENCE.transfer_syntaxes.model_copy(
                update={"further": (JPEG_2000,)}
            ),
        }
    )
    assert results(proposed(("1.2.3.4", JPEG_2000)), further) == [(ACCEPTED, JPEG_2000)]


RETIRED = (
    "1.2.840.10008.5.1.1.27",
    "1.2.840.10008.5.1.1.29",
    "1.2.840.10008.5.1.1.30",
    "1.2.840.10008.5.1.4.1.1.3",
    "1.2.840.10008.5.1.4.1.1.5",
    "1.2.840.10008.5.1.4.1.1.6",
    "1.2.840.10008.5.1.4.1.1.8",
    "1.2.840.10008.5.1.4.1.1.9",
    "1.2.840.10008.5.1.4.1.1.9.1",
    "1.2.840.10008.5.1.4.1.1.10",
    "1.2.840.10008.5.1.4.1.1.11",
    "1.2.840.10008.5.1.4.1.1.12.3",
    "1.2.840.10008.5.1.4.1.1.12.77",
    "1.2.840.10008.5.1.4.1.1.40",
    "1.2.840.10008.5.1.4.1.1.77.1",
    "1.2.840.10008.5.1.4.1.1.77.2",
    "1.2.840.10008.5.1.4.1.1.88.1",
    "1.2.840.10008.5.1.4.1.1.88.2",
    "1.2.840.10008.5.1.4.1.1.88.3",
    "1.2.840.10008.5.1.4.1.1.88.4",
    "1.2.840.10008.5.1.4.1.1.129",
    "1.2.840.10008.5.1.4.34.1",
)
WITHOUT_PATIENT = (
    "1.2.840.10008.5.1.4.38.1",
    "1.2.840.10008.5.1.4.39.1",
    "1.2.840.10008.5.1.4.43.1",
    "1.2.840.10008.5.1.4.44.1",
    "1.2.840.10008.5.1.4.45.1",
    "1.2.840.10008.5.1.4.1.1.200.1",
    "1.2.840.10008.5.1.4.1.1.200.3",
    "1.2.840.10008.5.1.4.1.1.200.7",
    "1.2.840.10008.5.1.4.1.1.201.1",
)
INDUSTRIAL = (
    "1.2.840.10008.5.1.4.1.1.501.1",
    "1.2.840.10008.5.1.4.1.1.501.2.1",
    "1.2.840.10008.5.1.4.1.1.501.6",
    "1.2.840.10008.5.1.4.1.1.601.1",
    "1.2.840.10008.5.1.4.1.1.601.5",
)
PRIVATE = ("1.2.840.113619.4.26", "1.3.12.2.1107.5.9.1", "1.3.46.670589.2.3.1.1")
OTHER_SERVICES = (
    "1.2.840.10008.1.3.10",
    "1.2.840.10008.1.20.1",
    "1.2.840.10008.3.1.2.3.3",
    "1.2.840.10008.5.1.4.31",
    "1.2.840.10008.5.1.1.9",
    "1.2.840.10008.5.1.4.38.2",
    "1.2.840.10008.5.1.4.1.1.200.4",
    "1.2.840.10008.5.1.4.1.1.201.5",
    "1.2.840.10008.5.1.4.34.6.1",
)


def switched_on(**classes):
    chosen = REFERENCE.sop_classes.model_copy(update=classes)
    return REFERENCE.model_copy(update={"sop_classes": chosen})


@pytest.mark.parametrize(
    ("classes", "all_storage", "promiscuous"),
    [
        ((*RETIRED, *WITHOUT_PATIENT, *INDUSTRIAL, PDF), True, True),
        ((*PRIVATE, "1.2.840.10008.5.1.4.1.1.999"), False, True),
        (OTHER_SERVICES, False, False),
        ((uids.STUDY_ROOT_FIND, uids.PATIENT_ROOT_GET), False, False),
    ],
)
def test_all_storage_classes_of_the_standard_or_any_that_is_proposed(
    classes, all_storage, promiscuous
):
    request = proposed(*((sop_class, uids.EXPLICIT_LITTLE) for sop_class in classes))
    for offered, taken in (
        (REFERENCE, False),
        (switched_on(all_storage_classes=True), all_storage),
        (switched_on(promiscuous=True), promiscuous),
    ):
        result = ACCEPTED if taken else NO_CLASS
        assert results(request, offered) == [(result, uids.EXPLICIT_LITTLE)] * len(classes)


@pytest.mark.parametrize(
    ("service", "sop_class"),
    [
        ("c_echo", uids.VERIFICATION),
        ("c_store", CT),
        ("c_find", uids.PATIENT_ROOT_FIND),
        ("c_move", uids.STUDY_ROOT_MOVE),
        ("c_get", uids.PATIENT_STUDY_ONLY_GET),
    ],
)
def test_each_service_has_its_switch(service, sop_class):
    request = proposed((sop_class, uids.IMPLICIT_LITTLE))
    off = dict.fromkeys(("c_echo", "c_store", "c_find", "c_move", "c_get"), False)
    assert results(request, config(**off)) == [(NO_CLASS, uids.IMPLICIT_LITTLE)]
    assert results(request, config(**{**off, service: True}))[0][0] == ACCEPTED


def test_storage_classes_serve_c_get_alone_only_in_reversed_roles():
    offered = config(c_store=False, c_get=True)
    context = (CT, uids.EXPLICIT_LITTLE)
    assert results(proposed(context), offered)[0][0] == NO_CLASS
    request = proposed(context, roles={CT: Roles(scu=True, scp=True)})
    accepted = negotiate(request, capabilities(offered))
    assert accepted.results[0].result == ACCEPTED
    assert accepted.roles == {CT: Roles(scu=False, scp=True)}


def test_roles_are_granted_for_storage_while_c_get_is_on():
    request = proposed(
        (CT, uids.EXPLICIT_LITTLE), roles={CT: Roles(True, True), PDF: Roles(True, True)}
    )
    assert negotiate(request, capabilities(config(c_get=True))).roles == {CT: Roles(True, True)}
    assert negotiate(request, capabilities(REFERENCE)).roles == {CT: Roles(True, False)}
    private = proposed((PRIVATE[0], uids.EXPLICIT_LITTLE), roles={PRIVATE[0]: Roles(True, True)})
    assert negotiate(private, capabilities(EVERYTHING)).roles == {PRIVATE[0]: Roles(True, True)}


def test_extended_negotiation_is_answered_for_what_is_offered():
    asked = {uids.STUDY_ROOT_FIND: b"\1\1\1\0\0", CT: bytes(6), "1.2.3.4": b"\1"}
    request = proposed((CT, uids.EXPLICIT_LITTLE), extended=asked)
    answered = negotiate(request, capabilities(config(c_find=True))).extended
    assert answered == {uids.STUDY_ROOT_FIND: b"\1\1\0\0\0", CT: b"\2\0\3\0\0\0"}


@contextmanager
def wired(acceptor, raw):
    """Send an association request and yield the connection and the answer's type and body."""
    with socket.create_connection(("127.0.0.1", acceptor.port), 5) as made:
        wire = Wire(made)
        wire.send([raw], 5)
        kind, body = wire.read_pdu(5)
        yield wire, kind, bytes(body)


def accepted_user(acceptor, **user):
    """Associate and return what the acceptance says."""
    request = proposed((uids.VERIFICATION, uids.IMPLICIT_LITTLE), **user)
    with wired(acceptor, request.encode()) as (_, kind, body):
        assert kind == ACCEPT
        return decode_accept(body).user


@pytest.mark.parametrize(
    ("asked", "granted"), [(None, None), ((1, 1), (1, 1)), ((0, 0), (32, 1)), ((100, 9), (32, 1))]
)
def test_the_asynchronous_window_is_granted_up_to_a_bound(asked, granted):
    with listening() as (acceptor, _):
        assert accepted_user(acceptor, asynchronous=asked).asynchronous == granted


def test_the_longest_pdu_is_announced_as_limited():
    limits = AcceptorLimits(association=AssociationLimits(max_pdu_bytes=65536))
    with listening(limits=limits) as (acceptor, _):
        assert accepted_user(acceptor).max_pdu == 65536


def with_identity(request, kind, positive):
    """Return an encoded request with a user identity item (PS3.7 D.3.3.7.1)."""
    primary = b"operator"
    item = bytes((0x58, 0)) + (len(primary) + 6).to_bytes(2, "big")
    item += bytes((kind, positive)) + len(primary).to_bytes(2, "big") + primary + b"\0\0"
    raw = bytearray(request.encode() + item)
    raw[2:6] = (len(raw) - 6).to_bytes(4, "big")
    at = raw.index(b"\x50\x00") + 2
    raw[at : at + 2] = (int.from_bytes(raw[at : at + 2], "big") + len(item)).to_bytes(2, "big")
    return bytes(raw)


@pytest.mark.security
@pytest.mark.parametrize("positive", [True, False])
def test_user_identity_is_taken_note_of_when_the_configuration_accepts_it(positive):
    raw = with_identity(proposed((uids.VERIFICATION, uids.IMPLICIT_LITTLE)), 1, positive)
    with listening() as (acceptor, _), wired(acceptor, raw) as (_, kind, body):
        assert kind == ACCEPT
        assert decode_accept(body).user.identity_response == (b"" if positive else None)


@pytest.mark.security
def test_user_identity_is_refused_when_the_configuration_says_so():
    raw = with_identity(proposed((uids.VERIFICATION, uids.IMPLICIT_LITTLE)), 2, True)
    strict = EVERYTHING.model_copy(update={"security": SecurityConfig(accept_user_identity=False)})
    with (
        listening(RecordingProvider(strict)) as (acceptor, _),
        wired(acceptor, raw) as (_, kind, body),
    ):
        assert (kind, tuple(body[1:4])) == (REJECT, (1, 2, 1))


def test_identity_is_not_shown():
    assert "secret" not in repr(UserIdentity(2, False, b"secret"))


@pytest.mark.parametrize(
    ("found", "instead", "answer"),
    [
        (b"\0\1\0\0DRAW", b"\0\2\0\0DRAW", (1, 2, 2)),
        (b"1.2.840.10008.3.1.1.1", b"1.2.840.10008.3.1.1.9", (1, 1, 2)),
    ],
)
def test_another_protocol_or_application_is_rejected(found, instead, answer):
    raw = proposed((uids.VERIFICATION, uids.IMPLICIT_LITTLE)).encode()
    assert found in raw
    with listening() as (acceptor, provider):
        with wired(acceptor, raw.replace(found, instead)) as (_, kind, body):
            assert (kind, tuple(body[1:4])) == (REJECT, answer)
        assert len(provider.rejections) == 1


@pytest.mark.parametrize("operation", [Operation.C_ECHO, Operation.C_FIND, Operation.C_MOVE])
def test_an_operation_in_a_context_of_another_class_is_not_performed(operation):
    raw = message.encode(
        {
            CommandElement.AFFECTED_SOP_CLASS: CT,
            CommandElement.COMMAND: operation,
            CommandElement.MESSAGE_ID: 1,
            CommandElement.DATA_SET_TYPE: 0x0101,
        }
    )
    request = proposed((CT, uids.EXPLICIT_LITTLE)).encode()
    with listening() as (acceptor, _), wired(acceptor, request) as (wire, kind, _):
        assert kind == ACCEPT
        wire.send(fragments(raw, 1, COMMAND, 16384), 5)
        _, body = wire.read_pdu(5)
        assert message.decode(bytes(body[6:])).number(CommandElement.STATUS) == 0x0122


def test_a_p_data_pdu_without_items_is_a_violation():
    request = proposed((CT, uids.EXPLICIT_LITTLE)).encode()
    with listening() as (acceptor, _), wired(acceptor, request) as (wire, kind, _):
        assert kind == ACCEPT
        wire.send([b"\x04\x00\x00\x00\x00\x00"], 5)
        assert wire.read_pdu(5)[0] == ABORT
