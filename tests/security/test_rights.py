"""What a peer may ask for: rights of AE titles, this machine's exception, bound certificates.

Over real associations with the engine's acceptor. Not covered: the list in the database and on
the page (tests/integration/api/test_peers.py), the receiver as a process (test_reading_needs_the_
list.py beside this).
"""

import itertools
import socket
import ssl
from ipaddress import ip_network

import pytest
from prometheus_client import CollectorRegistry
from pydantic import TypeAdapter
from structlog.testing import capture_logs

from draw_scp.handlers.negotiate import Associations
from draw_scp.metrics import ScpMetrics
from draw_scp.services.audit import AuditService
from draw_shared.contracts.association_rules import access_rules, capabilities
from draw_shared.contracts.certificates import CertificateName
from draw_shared.contracts.config_snapshot import AllowedPeer
from draw_shared.contracts.server_config import (
    EVERYTHING,
    SecurityConfig,
)
from draw_shared.dicom.encoding import uids
from draw_shared.dicom.encoding.uids import EXPLICIT_LITTLE, IMPLICIT_LITTLE, VERIFICATION
from draw_shared.dicom.network.associate import (
    AssociateRequest,
    ProposedContext,
    Roles,
    UserInformation,
    decode_accept,
)
from draw_shared.dicom.network.association import accept_request
from draw_shared.dicom.network.authorization import (
    authorize,
    denial,
    denial_of_destination,
    denied_destination,
    denied_rights,
    determine_standing,
)
from draw_shared.dicom.network.limits import AcceptorLimits
from draw_shared.dicom.network.peer_failures import PeerRejected
from draw_shared.dicom.network.requestor import Remote, open_association
from draw_shared.dicom.network.rights import READING, Right
from draw_shared.dicom.network.service import (
    Accept,
    AssociationOutcome,
    Peer,
    PeerCertificate,
    Reject,
)
from draw_shared.dicom.network.tls import ServerTls, TlsFiles
from draw_shared.dicom.network.wire import Wire
from draw_shared.runtime.config_watch import LiveConfig
from support.certificates import Authority, trust
from support.engine import RecordingProvider, listening
from support.waiting import wait_until

pytestmark = pytest.mark.security

CT = "1.2.840.10008.5.1.4.1.1.2"
CLASSES = {
    Right.ECHO: VERIFICATION,
    Right.STORE: CT,
    Right.QUERY: uids.STUDY_ROOT_FIND,
    Right.RETRIEVE: uids.PATIENT_ROOT_GET,
    Right.MOVE: uids.STUDY_ROOT_MOVE,
}
ACCEPTED, USER_REJECTION, NO_CLASS = 0, 1, 3
ACCEPT, REJECT = 2, 3
OUTSIDE = "192.0.2.7"
OTHERS = ("192.0.2.7", "127.0.0.1.example", "10.0.0.1", "172.17.0.1", "fe80::1", "::ffff:10.0.0.1")
LOCAL = ("127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1")


def proposing(*classes, calling="RAW", **user):
    contexts = tuple(
        ProposedContext(2 * n + 1, one, (EXPLICIT_LITTLE, IMPLICIT_LITTLE))
        for n, one in enumerate(classes)
    )
    return AssociateRequest(calling, "DRAW_SCP", contexts, UserInformation(16384, "1.2.3", **user))


def decided(request, *listed, address=OUTSIDE, config=EVERYTHING, loopback_reads=False):
    rules = access_rules(config, listed, loopback_reads=loopback_reads)
    return authorize(Peer("a1", address, ""), request, rules, capabilities(config))


def results(decision):
    assert isinstance(decision, Accept), decision
    return [one.result for one in decision.results]


@pytest.mark.parametrize("number", range(len(Right) + 1))
def test_a_title_on_the_list_gets_the_services_of_its_rights_and_no_other(number):
    for rights in itertools.combinations(Right, number):
        decision = decided(proposing(*CLASSES.values()), AllowedPeer("RAW", rights=rights))
        told = dict(zip(CLASSES, results(decision), strict=True))
        assert told == {r: ACCEPTED if r in rights else USER_REJECTION for r in Right}
        assert decision.denied == tuple(r for r in Right if r not in rights)
        assert decision.rights == set(rights)


@pytest.mark.parametrize("right", sorted(READING))
def test_whoever_is_not_on_the_list_and_only_wants_to_read_is_rejected(right):
    decision = decided(proposing(CLASSES[right]), AllowedPeer("OTHER"))
    assert isinstance(decision, Reject)
    assert (decision.result, decision.source, decision.reason) == (1, 1, 3)
    assert decision.words == f"no right to {right}: the AE title is not on the list"


def test_whoever_is_not_on_the_list_verifies_and_stores_but_reads_nothing():
    request = proposing(*CLASSES.values())
    assert results(decided(request)) == [ACCEPTED, ACCEPTED, *[USER_REJECTION] * 3]


@pytest.mark.parametrize("echo", [True, False])
@pytest.mark.parametrize("store", [True, False])
def test_what_others_may_is_configured(echo, store):
    security = SecurityConfig(unknown_may_echo=echo, unknown_may_store=store)
    config = EVERYTHING.model_copy(update={"security": security})
    decision = decided(proposing(VERIFICATION, CT), config=config)
    if echo or store:
        told = [ACCEPTED if may else USER_REJECTION for may in (echo, store)]
        assert results(decision) == told
    else:
        assert decision.words == "no right to echo, store: the AE title is not on the list"


def test_a_service_that_is_off_is_not_supported_whatever_the_rights():
    services = EVERYTHING.services.model_copy(update={"c_find": False})
    config = EVERYTHING.model_copy(update={"services": services})
    request = proposing(VERIFICATION, uids.STUDY_ROOT_FIND)
    for listed in ((), (AllowedPeer("RAW"),)):
        decision = decided(request, *listed, config=config)
        assert (results(decision), decision.denied) == ([ACCEPTED, NO_CLASS], ())


def test_a_title_that_calls_from_elsewhere_is_as_if_it_were_not_on_the_list():
    listed = AllowedPeer("RAW", "192.0.2.8")
    decision = decided(proposing(uids.STUDY_ROOT_FIND), listed)
    assert decision.words == "no right to query: the AE title is expected from 192.0.2.8"
    decided_there = decided(proposing(uids.STUDY_ROOT_FIND), listed, address="::ffff:192.0.2.8")
    assert results(decided_there) == [ACCEPTED]


def test_c_get_s_way_back_is_not_a_way_to_store():
    roles = {CT: Roles(scu=True, scp=True)}
    listed = AllowedPeer("RAW", rights=(Right.RETRIEVE,))
    decision = decided(proposing(uids.PATIENT_ROOT_GET, CT, roles=roles), listed)
    assert results(decision) == [ACCEPTED, ACCEPTED]
    assert decision.roles == {CT: Roles(scu=False, scp=True)}
    assert Right.STORE not in decision.rights
    unlisted = decided(proposing(uids.PATIENT_ROOT_GET, CT, roles=roles))
    assert unlisted.roles == {CT: Roles(scu=True, scp=False)}


def test_rights_of_a_later_release_grant_nothing_here():
    listed = AllowedPeer("RAW", rights=("worklist", "echo"))
    told = results(decided(proposing(*CLASSES.values()), listed))
    assert told == [ACCEPTED, *[USER_REJECTION] * 4]


@pytest.mark.parametrize("address", [*LOCAL, *OTHERS])
def test_only_an_address_of_this_machine_reads_without_the_list_and_only_where_it_is_set(address):
    request = proposing(uids.STUDY_ROOT_FIND)
    assert isinstance(decided(request, address=address), Reject)
    excepted = decided(request, address=address, loopback_reads=True)
    assert isinstance(excepted, Accept) == (address in LOCAL)


def test_the_list_s_word_goes_before_that_of_the_address():
    listed = AllowedPeer("RAW", rights=(Right.ECHO, Right.STORE))
    request = proposing(uids.STUDY_ROOT_FIND)
    told = results(decided(request, listed, address="127.0.0.1", loopback_reads=True))
    assert told == [USER_REJECTION]


def answer(acceptor, raw):
    """Send bytes and return type and body of the answer."""
    with socket.create_connection(("127.0.0.1", acceptor.port), 60) as made:
        wire = Wire(made)
        wire.send([raw], 60)
        kind, body = wire.read_pdu(60)
        return kind, bytes(body)


def proxied(source):
    packed = socket.inet_aton(source)
    addresses = packed * 2 + b"\x9c\x40\x2b\x68"
    return b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + addresses


def test_the_client_behind_a_proxy_on_this_machine_is_not_of_this_machine():
    trusting = AcceptorLimits(trusted_proxies=(ip_network("127.0.0.0/8"),))
    request = proposing(uids.STUDY_ROOT_FIND).encode()
    with listening(RecordingProvider(), trusting) as (acceptor, provider):
        kind, body = answer(acceptor, proxied("10.0.0.9") + request)
        assert (kind, tuple(body[1:4])) == (REJECT, (1, 1, 3))
        assert answer(acceptor, proxied("127.0.0.1") + request)[0] == ACCEPT
        assert [one.words for one in provider.rejections] == [
            "no right to query: the AE title is not on the list"
        ]


def test_a_context_that_is_refused_says_so_over_the_wire():
    request = proposing(VERIFICATION, uids.STUDY_ROOT_FIND).encode()
    with listening(RecordingProvider(loopback_reads=False)) as (acceptor, provider):
        kind, body = answer(acceptor, request)
        assert kind == ACCEPT
        assert [one.result for one in decode_accept(body).results] == [ACCEPTED, USER_REJECTION]
        assert wait_until(lambda: provider.infos)
        assert set(provider.infos[0].contexts) == {1}


@pytest.mark.parametrize(
    "rights", [(Right.QUERY,), (Right.QUERY, Right.MOVE), tuple(Right), (Right.ECHO,)]
)
def test_recorded_words_tell_which_rights_were_lacking(rights):
    found = determine_standing(Peer("", OUTSIDE, ""), "RAW", access_rules(EVERYTHING, ()))
    words = denial(rights, found)
    assert denied_rights(words) == denied_rights(f"{words} (1/1/3)") == rights
    assert denied_destination(words) == ""


@pytest.mark.parametrize("title", ["STORE", "A: b, (1)", "X" * 16])
def test_recorded_words_tell_where_nothing_may_be_moved(title):
    assert denied_destination(denial_of_destination(title)) == title
    assert denied_rights("the calling AE title is not allowed (1/1/3)") == ()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def ct_room(authority):
    return authority.sign("ct-room-2")


@pytest.fixture(scope="module")
def tls(authority):
    made = authority.sign("server")
    return ServerTls(
        TlsFiles(
            certificate_file=made.certificate,
            key_file=made.key,
            client_ca_file=authority.file,
            client_certificates=ssl.CERT_OPTIONAL,
        )
    )


def echo(acceptor, authority, certificate=None):
    """Associate with TLS, showing this certificate or none, and return the status of a C-ECHO."""
    tls = trust(authority.file, certificate)
    remote = Remote("127.0.0.1", acceptor.port, "DRAW_SCP", "RAW", 60.0, tls=tls)
    contexts = (ProposedContext(1, VERIFICATION, (IMPLICIT_LITTLE,)),)
    with open_association(remote, contexts) as made:
        return made.echo()


@pytest.mark.parametrize("how", ["name", "fingerprint"])
def test_a_title_that_is_bound_is_refused_without_its_certificate(authority, ct_room, tls, how):
    bound = ("CT-ROOM-2" if how == "name" else ct_room.fingerprint,)
    another = authority.sign("another")
    provider = RecordingProvider(listed=(AllowedPeer("RAW", certificates=bound),))
    with listening(provider, tls=tls) as (acceptor, _):
        assert echo(acceptor, authority, ct_room) == 0
        for shown in (None, another):
            with pytest.raises(PeerRejected):
                echo(acceptor, authority, shown)
    assert [(one.source, one.reason, one.words) for one in provider.rejections] == [
        (1, 3, "the calling AE title is bound to a certificate; none was shown"),
        (1, 3, "the calling AE title is bound to another certificate"),
    ]
    [info] = provider.infos
    assert info.certificate.common_name == "ct-room-2"
    assert info.certificate.words == f"CN=ct-room-2 (SHA-256 {ct_room.fingerprint})"


def test_without_tls_a_bound_title_is_refused_also_from_this_machine():
    provider = RecordingProvider(listed=(AllowedPeer("RAW", certificates=("ct-room-2",)),))
    with listening(provider) as (acceptor, _):
        kind, body = answer(acceptor, proposing(VERIFICATION).encode())
    assert (kind, tuple(body[1:4])) == (REJECT, (1, 1, 3))


class Lines(list):
    """Takes lines of the transaction log."""

    def record(self, transaction):
        self.append(transaction)


@pytest.fixture
def receiver():
    """Return the receiver's admission with a list of one, and the lines that it records."""

    def at_once(action, *arguments):
        action(*arguments)

    lines = Lines()
    live = LiveConfig(1, EVERYTHING, (AllowedPeer("RAW", rights=(Right.ECHO,)),))
    metrics = ScpMetrics(CollectorRegistry())
    return Associations(lambda: live, AuditService(lines, None), metrics, at_once), lines


def test_who_a_peer_is_by_its_certificate_is_logged_with_its_association(receiver):
    associations, lines = receiver
    peer = Peer("a1", OUTSIDE, "", "TLSv1.3", PeerCertificate("AB:CD", "CN=ct-room"))
    request = proposing(VERIFICATION)
    _, info = accept_request(peer, request, associations.admit(peer, request), 16384)
    with capture_logs() as logs:
        associations.opened(info)
        associations.closed(info, AssociationOutcome.RELEASED, "")
    words = "CN=ct-room (SHA-256 AB:CD)"
    assert [line["certificate"] for line in logs] == [words] * 2
    assert lines[-1].detail == f"released; certificate {words}"


def test_what_was_denied_is_a_line_of_the_transaction_log(receiver):
    associations, lines = receiver
    with capture_logs() as logs:
        associations.admit(Peer("a1", OUTSIDE, ""), proposing(VERIFICATION, uids.STUDY_ROOT_FIND))
    [line] = lines
    assert (line.kind, line.outcome, line.calling_ae) == ("rejection", "rejected", "RAW")
    assert denied_rights(line.detail) == (Right.QUERY,)
    assert [one["event"] for one in logs] == ["association.denied"]


def test_a_fingerprint_may_be_written_as_programs_write_it():
    written = TypeAdapter(CertificateName).validate_python
    digits = "ab" * 32
    colons = ":".join(["AB"] * 32)
    for text in (digits, digits.upper(), colons, f"sha256 Fingerprint={colons}"):
        assert written(text) == colons
    assert written(" ct.example.org ") == "ct.example.org"
