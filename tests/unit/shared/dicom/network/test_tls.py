"""DICOM TLS: handshakes under a deadline, client certificates, renewal without restart.

Not covered here: DCMTK over TLS (e2e/test_interoperability).
"""

import shutil
import socket
import ssl
import subprocess
import time
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from draw_shared.dicom.encoding.uids import EXPLICIT_LITTLE, IMPLICIT_LITTLE, VERIFICATION
from draw_shared.dicom.network import acceptor as acceptor_module
from draw_shared.dicom.network.associate import ProposedContext
from draw_shared.dicom.network.fingerprints import fingerprint_of
from draw_shared.dicom.network.limits import AcceptorLimits
from draw_shared.dicom.network.peer_failures import PeerTrouble
from draw_shared.dicom.network.requestor import Remote, open_association
from draw_shared.dicom.network.store_sender import Outgoing, open_sender
from draw_shared.dicom.network.tls import ServerTls, TlsFiles, TlsUnusable
from support.certificates import Authority, trust
from support.engine import listening
from support.waiting import wait_until

pytestmark = pytest.mark.security

CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
CONTEXTS = (
    ProposedContext(1, VERIFICATION, (IMPLICIT_LITTLE,)),
    ProposedContext(3, CT_CLASS, (EXPLICIT_LITTLE,)),
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def files(authority, tmp_path):
    """Files of one server's own, so that a test may replace them."""
    made = authority.sign("server")
    for name, source in (("c.pem", made.certificate), ("k.pem", made.key)):
        shutil.copy(source, tmp_path / name)
    return TlsFiles(
        certificate_file=str(tmp_path / "c.pem"),
        key_file=str(tmp_path / "k.pem"),
        client_ca_file=authority.file,
    )


def remote(acceptor, context):
    return Remote("127.0.0.1", acceptor.port, "DRAW_SCP", "TESTER", 10.0, tls=context)


def test_echo_and_a_large_store_over_tls(authority, files):
    data = bytes(range(256)) * 4000
    with listening(tls=ServerTls(files)) as (acceptor, provider):
        with open_sender(remote(acceptor, trust(authority.file)), CONTEXTS) as made:
            assert made.association.echo() == 0
            sent = list(made.store([Outgoing(data, CT_CLASS, "1.2.3", EXPLICIT_LITTLE)] * 3))
        assert [one.status for one in sent] == [0, 0, 0]
        assert {raw for _, raw in provider.stored} == {data}


@pytest.mark.parametrize(
    ("latest", "ciphers"),
    [
        (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_2, "AES256-SHA256:AES128-SHA"),
    ],
)
def test_old_protocols_and_weak_ciphers_are_refused(files, latest, ciphers):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = latest
    context.set_ciphers(ciphers)
    with (
        listening(tls=ServerTls(files)) as (acceptor, _),
        socket.create_connection(("127.0.0.1", acceptor.port), 5) as plain,
        pytest.raises(ssl.SSLError),
        context.wrap_socket(plain),
    ):
        pass


@pytest.mark.parametrize("mode", [ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED])
def test_client_certificates(authority, files, tmp_path, mode):
    stranger = Authority(tmp_path, "stranger").sign("impostor")
    known = authority.sign("modality")
    tls = ServerTls(replace(files, client_certificates=mode))
    with listening(tls=tls) as (acceptor, _):

        def works(certificate=None):
            context = trust(authority.file, certificate)
            try:
                with open_association(remote(acceptor, context), CONTEXTS) as made:
                    return made.echo() == 0
            except PeerTrouble:
                return False

        assert works(known)
        assert works() == (mode is ssl.CERT_OPTIONAL)
        assert not works(stranger)


def test_an_association_knows_the_certificate_that_its_peer_has_proved_to_be_its_own(
    authority, files
):
    modality = authority.sign("ct1", hosts=("DNS:ct1.example.org", "IP:192.0.2.7"))
    tls = ServerTls(replace(files, client_certificates=ssl.CERT_OPTIONAL))
    with listening(tls=tls) as (acceptor, provider):
        for certificate in (modality, None):
            context = trust(authority.file, certificate)
            with open_association(remote(acceptor, context), CONTEXTS) as made:
                assert made.echo() == 0
    shown, nothing = provider.infos
    whole = ssl.PEM_cert_to_DER_cert(Path(modality.certificate).read_text("ascii"))
    assert shown.certificate.fingerprint == fingerprint_of(whole)
    assert shown.certificate.subject == "CN=ct1"
    assert shown.certificate.names == ("ct1.example.org", "192.0.2.7")
    assert shown.certificate.issuer == "CN=authority"
    assert shown.certificate.serial
    assert shown.certificate.not_after > shown.opened_at
    assert (shown.tls, nothing.tls) == ("TLSv1.3", "TLSv1.3")
    assert nothing.certificate is None


def test_without_tls_and_without_asking_there_is_no_certificate(authority, files):
    modality = authority.sign("ct2")
    context = trust(authority.file, modality)
    for tls, spoken, how in ((ServerTls(files), "TLSv1.3", context), (None, "", None)):
        with listening(tls=tls) as (acceptor, provider):
            with open_association(remote(acceptor, how), CONTEXTS) as made:
                assert made.echo() == 0
            assert [(info.tls, info.certificate) for info in provider.infos] == [(spoken, None)]


def test_what_went_wrong_is_logged_in_words(authority, files, tmp_path):
    required = replace(files, client_certificates=ssl.CERT_REQUIRED)
    stranger = Authority(tmp_path, "stranger")
    with capture_logs() as logs:
        with listening(tls=ServerTls(required)) as (acceptor, _):
            for how in (
                None,
                trust(authority.file),
                trust(authority.file, stranger.sign("impostor")),
                trust(stranger.file),
            ):
                with (
                    suppress(PeerTrouble),
                    open_association(remote(acceptor, how), CONTEXTS),
                ):
                    pass
            assert wait_until(lambda: acceptor.connections == 0)
        with listening() as (acceptor, _):
            with suppress(PeerTrouble):
                open_association(remote(acceptor, trust(authority.file)), CONTEXTS)
            assert wait_until(lambda: acceptor.connections == 0)
    said = {line.get("reason", "") for line in logs if line["event"] == "connection.dropped"}
    assert said == {
        "the peer speaks no TLS on a port for TLS",
        "the peer shows no certificate of its own",
        "the peer's certificate is not trusted: unable to get local issuer certificate",
        "the peer does not know the authority of our certificate",
        "the peer speaks TLS on a port without it",
    }


def served_certificate(acceptor):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", acceptor.port), 5) as plain,
        context.wrap_socket(plain) as made,
    ):
        return made.getpeercert(binary_form=True)


def test_a_renewed_certificate_is_served_without_a_restart(authority, files):
    renewed = authority.sign("renewed")
    context = trust(authority.file)
    with (
        listening(tls=ServerTls(files)) as (acceptor, _),
        open_association(remote(acceptor, context), CONTEXTS) as made,
    ):
        before = served_certificate(acceptor)
        shutil.copy(renewed.certificate, files.certificate_file)
        # Certificate and key disagree now: the old pair stays.
        assert served_certificate(acceptor) == before
        shutil.copy(renewed.key, files.key_file)
        wanted = ssl.PEM_cert_to_DER_cert(Path(renewed.certificate).read_text("ascii"))
        assert served_certificate(acceptor) == wanted
        assert made.echo() == 0, "running associations go on"


@pytest.mark.parametrize(
    ("field", "content", "words"),
    [
        ("certificate_file", None, "the certificate {} is not there"),
        ("key_file", None, "the key {} is not there"),
        ("client_ca_file", None, "the file of authorities {} is not there"),
        ("certificate_file", "empty", "the certificate {} holds none in PEM"),
        ("key_file", "empty", "the key {} holds none in PEM"),
        ("certificate_file", "-----BEGIN CERTIFICATE-----\ncut", "the certificate {} or the key"),
        ("key_file", "-----BEGIN PRIVATE KEY-----\ncut", " or the key {} is damaged"),
        ("client_ca_file", "-----BEGIN CERTIFICATE-----\ncut", "of authorities {} is damaged"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_why(files, tmp_path, field, content, words):
    file = tmp_path / "other.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(TlsUnusable) as caught:
        ServerTls(replace(files, **{field: str(file)}))
    assert words.format(file) in str(caught.value)


def test_a_folder_another_s_key_and_an_encrypted_one_are_told_apart(authority, files, tmp_path):
    def why(**changed):
        with pytest.raises(TlsUnusable) as caught:
            ServerTls(replace(files, **changed))
        return str(caught.value)

    assert why(key_file=str(tmp_path)) == f"the key {tmp_path} is a folder"
    other = authority.sign("other").key
    assert why(key_file=other) == (
        f"the key {other} does not fit the certificate {files.certificate_file}"
    )
    encrypted = tmp_path / "encrypted.key"
    subprocess.run(
        ["openssl", "rsa", "-aes128", "-passout", "pass:x", "-in", other, "-out", encrypted],
        check=True,
        capture_output=True,
    )
    assert why(key_file=str(encrypted)) == f"the key {encrypted} is encrypted"


def test_an_expired_certificate_is_told_and_renewed_files_must_not_be_expired(authority, files):
    assert ServerTls(files).problem == ""
    expired = authority.expired("expired")
    words = f"the certificate {files.certificate_file} has expired"
    with listening(tls=(tls := ServerTls(files))) as (acceptor, _):
        before = served_certificate(acceptor)
        shutil.copy(expired.certificate, files.certificate_file)
        shutil.copy(expired.key, files.key_file)
        assert served_certificate(acceptor) == before
        assert tls.problem == f"still with the certificate of before, because {words}"
        assert ServerTls(files).outdated == words
        renewed = authority.sign("renewed-again")
        shutil.copy(renewed.certificate, files.certificate_file)
        shutil.copy(renewed.key, files.key_file)
        assert served_certificate(acceptor) != before
        assert tls.problem == ""


def test_client_certificates_need_authorities(files):
    without = {"client_certificates": ssl.CERT_REQUIRED, "client_ca_file": ""}
    with pytest.raises(TlsUnusable, match="authorities"):
        ServerTls(replace(files, **without))


def test_who_does_not_finish_the_handshake_makes_room(authority, files):
    limits = AcceptorLimits(max_connections_per_address=5)
    context = trust(authority.file)
    with listening(limits=limits, tls=ServerTls(files)) as (acceptor, provider):
        silent = [socket.create_connection(("127.0.0.1", acceptor.port), 5) for _ in range(5)]
        silent[1].sendall(b"\x16\x03\x01")
        assert wait_until(lambda: acceptor.connections == 5)
        with open_association(remote(acceptor, context), CONTEXTS) as made:
            silent.append(socket.create_connection(("127.0.0.1", acceptor.port), 5))
            assert [one.recv(1) for one in silent[:2]] == [b"", b""]
            assert made.echo() == 0
        for one in silent:
            one.close()
        assert len(provider.rejections) == 2


def test_silence_and_crumbs_instead_of_a_handshake_are_closed_in_time(files, monkeypatch):
    monkeypatch.setattr(acceptor_module, "SETUP_TIMEOUT_SECONDS", 0.6)
    with listening(tls=ServerTls(files)) as (acceptor, provider):
        silent = socket.create_connection(("127.0.0.1", acceptor.port), 5)
        slow = socket.create_connection(("127.0.0.1", acceptor.port), 5)
        began = time.monotonic()
        slow.sendall(b"\x16\x03\x01")
        while acceptor.connections and time.monotonic() - began < 5:
            try:
                slow.send(b"\x00")
            except OSError:
                break
            time.sleep(0.1)
        assert wait_until(lambda: acceptor.connections == 0, 60)
        assert time.monotonic() - began < 4
        silent.close()
        slow.close()
        assert not provider.infos
