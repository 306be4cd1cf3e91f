"""Certificates of remote nodes on the page and over REST: pinned by hand or as they were shown.

That a pin is kept to is in tests/security/test_peer_trust.py.
"""

import json
from pathlib import Path

import pytest
from sqlalchemy import text

from support.certificates import Authority

pytestmark = [pytest.mark.integration, pytest.mark.security]

NODE = {"ae_title": "PACS", "host": "127.0.0.1", "port": 2762, "tls": True}


@pytest.fixture(scope="module")
def operator(shared_api):
    return shared_api.of_role("operator")


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority")).self_signed("device")


def keep_test(api, node_id, certificate):
    """Keep what a worker finds that does not trust a certificate."""
    found = {
        "reachable": False,
        "error": "no TLS with 127.0.0.1:2762: the certificate is for CT1",
        "certificate": {
            "fingerprint": certificate.fingerprint,
            "subject": "CN=<device>",
            "issuer": "CN=<device>",
            "names": ["ct1.example.org"],
            "valid_until": "2031-01-01T00:00:00+00:00",
        },
    }
    with api.database.session() as session:
        session.connection().execute(
            text("UPDATE remote_nodes SET last_test = CAST(:found AS jsonb) WHERE id = :id"),
            {"id": node_id, "found": json.dumps(found)},
        )
        session.commit()


def test_what_a_node_showed_is_shown_and_pinned_with_one_click(shared_api, operator, device):
    node = operator.post("/api/v1/nodes", json=NODE | {"name": "click"}).json()
    assert node["tls_fingerprint"] == ""
    here = f"/nodes/{node['id']}"
    assert "signed by an authority, for 127.0.0.1" in operator.get(here).text
    keep_test(shared_api, node["id"], device)
    shown = operator.get(here).text
    for words in ("Pin this certificate", "ct1.example.org", "CN=&lt;device&gt;"):
        assert words in shown
    assert device.fingerprint in shown
    looking = shared_api.of_role("viewer").get(here).text
    assert device.fingerprint in looking
    assert "Pin this certificate" not in looking
    form = {"csrf_token": operator.headers["X-CSRF-Token"], "fingerprint": device.fingerprint}
    sent = operator.post(f"{here}/pin", data=form)
    assert sent.status_code == 303
    page = operator.get(sent.headers["Location"]).text
    assert "trusted by this certificate alone" in page
    assert f"pinned: <code>{device.fingerprint}</code>" in page
    assert "Pin this certificate" not in page
    found = operator.get(f"/api/v1{here}").json()
    assert (found["tls_fingerprint"], found["last_test"]) == (device.fingerprint, {})
    assert shared_api.actions()[-1][1] == "node.pin"
    assert device.fingerprint in shared_api.actions()[-1][2]


def test_a_pin_is_a_fingerprint_as_openssl_prints_it_or_the_certificate(operator, device):
    node = operator.post("/api/v1/nodes", json=NODE | {"name": "forms"}).json()
    path = f"/api/v1/nodes/{node['id']}"
    pem = Path(device.certificate).read_text("ascii")
    bare = device.fingerprint.replace(":", "").lower()
    for typed in (
        device.fingerprint,
        bare,
        f"SHA256 Fingerprint={device.fingerprint}\n",
        pem,
        f"Bag Attributes\n{pem}{pem}",
    ):
        answer = operator.post(f"{path}/pin", json={"fingerprint": typed})
        assert (answer.status_code, answer.json()["tls_fingerprint"]) == (200, device.fingerprint)
        whole = NODE | {"name": "forms", "tls_fingerprint": typed}
        assert operator.put(path, json=whole).json()["tls_fingerprint"] == device.fingerprint
    assert operator.put(path, json=NODE | {"name": "forms"}).json()["tls_fingerprint"] == ""


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("AA:BB", "must be a SHA-256 fingerprint (64 hexadecimal digits"),
        ("0" * 63 + "g", "must be a SHA-256 fingerprint"),
        (
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
            "the certificate is damaged",
        ),
        ("-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----", "or a certificate in PEM"),
    ],
)
def test_what_is_no_certificate_is_refused_in_words_and_changes_nothing(operator, typed, words):
    name = f"refused {abs(hash(typed))}"
    node = operator.post("/api/v1/nodes", json=NODE | {"name": name}).json()
    path = f"/api/v1/nodes/{node['id']}"
    for answer in (
        operator.post(f"{path}/pin", json={"fingerprint": typed}),
        operator.put(path, json=NODE | {"name": name, "tls_fingerprint": typed}),
    ):
        assert answer.status_code == 422
        assert words in answer.text
    form = {"csrf_token": operator.headers["X-CSRF-Token"], **NODE, "name": name, "tls": "on"}
    page = operator.post(f"/nodes/{node['id']}/edit", data=form | {"tls_fingerprint": typed})
    assert page.status_code == 422
    assert words in page.text
    assert operator.get(path).json() == node


def test_without_tls_there_is_nothing_to_pin(operator, device):
    node = operator.post("/api/v1/nodes", json=NODE | {"name": "plain", "tls": False}).json()
    pinned = operator.post(
        f"/api/v1/nodes/{node['id']}/pin", json={"fingerprint": device.fingerprint}
    )
    assert pinned.status_code == 409
    assert "shows no certificate" in pinned.json()["detail"]
    assert operator.post("/api/v1/nodes/999999/pin", json={"fingerprint": "AA"}).status_code == 422
    gone = operator.post("/api/v1/nodes/999999/pin", json={"fingerprint": device.fingerprint})
    assert gone.status_code == 404
